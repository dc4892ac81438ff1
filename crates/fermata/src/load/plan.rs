//! What is offered when: phases, streams, and their seeded Poisson arrivals. Pure.

use std::time::Duration;

use bytes::Bytes;

/// A part of a run, in which every stream has one rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// `calm`, `overload`, `after`.
    pub(crate) name: &'static str,
    /// How long it lasts.
    pub(crate) length: Duration,
}

/// Calls of one function.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Which function.
    pub(crate) function: String,
    /// The class stated with each call.
    pub(crate) class: String,
    /// What each call carries.
    pub(crate) payload: Payload,
    /// Arrivals per second, one entry a phase.
    pub(crate) rates_per_s: Vec<f64>,
}

/// What a call carries.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// The same bytes each time.
    Fixed(Bytes),
    /// `{"seed":N}`, where N counts the calls of the stream.
    Seed,
}

impl Payload {
    /// The payload of the stream's call number `number`.
    pub(crate) fn render(&self, number: u64) -> Bytes {
        match self {
            Self::Fixed(bytes) => bytes.clone(),
            Self::Seed => Bytes::from(format!("{{\"seed\":{number}}}")),
        }
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its parts, in order.
    pub(crate) phases: Vec<Phase>,
    /// What is called.
    pub(crate) streams: Vec<Stream>,
    /// The same seed gives the same arrivals.
    pub(crate) seed: u64,
}

/// One call to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Counted from the start of the run.
    pub(crate) at: Duration,
    /// Index into [`Plan::streams`].
    pub(crate) stream: usize,
    /// Index into [`Plan::phases`].
    pub(crate) phase: usize,
    /// Counts the stream's calls.
    pub(crate) number: u64,
}

impl Plan {
    /// All calls of the run in the order of their time. Each stream draws from its own generator,
    /// so a change to one leaves the arrivals of the others as they were.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        for (index, stream) in self.streams.iter().enumerate() {
            let mut random = Random::new(self.seed ^ fnv1a(stream.function.as_bytes()));
            let (mut begin, mut number) = (Duration::ZERO, 0);
            for (phase, Phase { length, .. }) in self.phases.iter().enumerate() {
                let rate = stream.rates_per_s.get(phase).copied().unwrap_or(0.0);
                let mut offset = random.interval(rate);
                while offset < *length {
                    arrivals.push(Arrival { at: begin + offset, stream: index, phase, number });
                    number += 1;
                    offset = offset.saturating_add(random.interval(rate));
                }
                begin += *length;
            }
        }
        arrivals.sort_by_key(|arrival| (arrival.at, arrival.stream));
        arrivals
    }

    /// The length of all phases.
    pub(crate) fn length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.length).sum()
    }

    /// Where that phase begins.
    pub(crate) fn begin_of(&self, phase: usize) -> Duration {
        self.phases[..phase].iter().map(|phase| phase.length).sum()
    }

    /// The phase at that time of the run; the last one after its end.
    pub(crate) fn phase_at(&self, at: Duration) -> usize {
        let last = self.phases.len().saturating_sub(1);
        (0..last).find(|&phase| at < self.begin_of(phase + 1)).unwrap_or(last)
    }
}

/// `SplitMix64` (Steele, Lea and Flood 2014): small, seeded, and good enough for arrival times.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator for that seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly distributed, above zero and at most one.
    fn unit(&mut self) -> f64 {
        let upper = u32::try_from(self.bits() >> 32).expect("32 bits are left");
        (f64::from(upper) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }

    /// The time to the next arrival of a Poisson process with this rate. A rate of zero never
    /// arrives.
    fn interval(&mut self, rate_per_s: f64) -> Duration {
        let seconds = -self.unit().ln() / rate_per_s;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// FNV-1a: a stable number for a name.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(function: &str, rates_per_s: &[f64]) -> Stream {
        Stream {
            function: function.into(),
            class: "standard".into(),
            payload: Payload::Seed,
            rates_per_s: rates_per_s.to_vec(),
        }
    }

    fn plan(streams: Vec<Stream>) -> Plan {
        let phase = |name, seconds| Phase { name, length: Duration::from_secs(seconds) };
        Plan { phases: vec![phase("calm", 100), phase("overload", 50)], streams, seed: 7 }
    }

    #[test]
    fn arrivals_come_at_the_rate_of_their_phase_and_in_order() {
        let plan = plan(vec![stream("a", &[20.0, 100.0]), stream("b", &[0.0, 10.0])]);
        let arrivals = plan.arrivals();
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        let count = |stream, phase| {
            arrivals.iter().filter(|a| a.stream == stream && a.phase == phase).count()
        };
        // Four standard deviations of a Poisson count about the expected one.
        assert!(count(0, 0).abs_diff(2000) < 180, "{}", count(0, 0));
        assert!(count(0, 1).abs_diff(5000) < 283, "{}", count(0, 1));
        assert_eq!(count(1, 0), 0);
        assert!(count(1, 1).abs_diff(500) < 90, "{}", count(1, 1));
        assert!(arrivals.iter().all(|a| plan.phase_at(a.at) == a.phase && a.at < plan.length()));
    }

    #[test]
    fn intervals_vary_as_an_exponential_distribution_does() {
        let arrivals = plan(vec![stream("a", &[50.0])]).arrivals();
        let gaps: Vec<f64> =
            arrivals.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
        let count = f64::from(u32::try_from(gaps.len()).unwrap());
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        // Its standard deviation equals its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.1, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn one_stream_does_not_shift_another_and_a_seed_repeats() {
        let alone = plan(vec![stream("a", &[20.0, 100.0])]).arrivals();
        let both = plan(vec![stream("a", &[20.0, 100.0]), stream("b", &[50.0, 50.0])]).arrivals();
        let first: Vec<Arrival> = both.into_iter().filter(|a| a.stream == 0).collect();
        assert_eq!(alone, first);
    }

    #[test]
    fn a_seeded_payload_names_its_call() {
        assert_eq!(Payload::Seed.render(12), "{\"seed\":12}");
        assert_eq!(Payload::Fixed(Bytes::from_static(b"50")).render(12), "50");
    }
}
