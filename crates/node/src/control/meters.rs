//! What is counted by class, for `/metrics` and `top`.

use std::collections::VecDeque;
use std::time::Duration;

use model::{Amount, ClassId, CpuTime, PriceList, Receipt, Timestamp};

use crate::types::{ClassStatus, Durations, Phase, PhaseHistogram};

/// Upper bounds of the latency histograms: from 50 µs to 60 s, about three a decade.
const BOUNDS: [Duration; 20] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// How far back "recent" reaches.
const RECENT: Duration = Duration::from_secs(10);
/// Latencies remembered of one class for its recent quantiles.
const RECENT_MAX: usize = 20_000;

/// Counters of all classes.
pub(crate) struct Meters {
    classes: Vec<Class>,
}

#[derive(Default)]
struct Class {
    succeeded: u64,
    failed: u64,
    refused: u64,
    preemptions: u64,
    cpu: CpuTime,
    cost: Amount,
    phases: Vec<([u64; BOUNDS.len() + 1], Duration)>,
    recent: VecDeque<(Timestamp, Duration)>,
}

impl Meters {
    pub(crate) fn new(prices: &PriceList) -> Self {
        let class = || Class {
            phases: vec![([0; BOUNDS.len() + 1], Duration::ZERO); Phase::ALL.len()],
            ..Class::default()
        };
        Self { classes: prices.iter().map(|_| class()).collect() }
    }

    pub(crate) fn refused(&mut self, class: ClassId) {
        self.classes[usize::from(class.0)].refused += 1;
    }

    pub(crate) fn ended(
        &mut self,
        now: Timestamp,
        receipt: &Receipt,
        durations: &Durations,
        succeeded: bool,
    ) {
        let class = &mut self.classes[usize::from(receipt.class.0)];
        if succeeded {
            class.succeeded += 1;
        } else {
            class.failed += 1;
        }
        class.preemptions += u64::from(durations.preemptions);
        class.cpu = class.cpu + receipt.cpu;
        class.cost += receipt.total();
        for (phase, (counts, sum)) in Phase::ALL.iter().zip(&mut class.phases) {
            let length = durations.of(*phase);
            counts[BOUNDS.partition_point(|bound| *bound < length)] += 1;
            *sum += length;
        }
        class.recent.push_back((now, durations.total));
        while class.recent.len() > RECENT_MAX {
            class.recent.pop_front();
        }
    }

    /// Fills what this counts into `status`, one entry a class.
    pub(crate) fn fill(&mut self, now: Timestamp, status: &mut [ClassStatus]) {
        for (class, status) in self.classes.iter_mut().zip(status) {
            status.succeeded = class.succeeded;
            status.failed = class.failed;
            status.refused = class.refused;
            status.preemptions = class.preemptions;
            status.cpu = class.cpu;
            status.phases = class.histograms();
            (status.recent_p50, status.recent_p99) = class.recent_quantiles(now);
        }
    }
}

impl Class {
    fn histograms(&self) -> Vec<(Phase, PhaseHistogram)> {
        let histogram = |(phase, (counts, sum)): (&Phase, &([u64; 21], Duration))| {
            (*phase, PhaseHistogram { bounds: &BOUNDS, counts: counts.to_vec(), sum: *sum })
        };
        Phase::ALL.iter().zip(&self.phases).map(histogram).collect()
    }

    fn recent_quantiles(&mut self, now: Timestamp) -> (Option<Duration>, Option<Duration>) {
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) > RECENT) {
            self.recent.pop_front();
        }
        let mut lengths: Vec<Duration> = self.recent.iter().map(|(_, length)| *length).collect();
        lengths.sort_unstable();
        let rank = |percent: usize| (lengths.len() * percent).div_ceil(100).saturating_sub(1);
        (lengths.get(rank(50)).copied(), lengths.get(rank(99)).copied())
    }
}

impl Durations {
    /// The length of one phase.
    #[must_use]
    pub const fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Queued => self.queued,
            Phase::Waiting => self.waiting,
            Phase::Starting => self.starting,
            Phase::Preempted => self.preempted,
            Phase::Blocked => self.blocked,
            Phase::Running => self.running,
            Phase::Total => self.total,
            Phase::Memory => self.memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{MemoryPrice, Price, receipt::Used};

    fn receipt(class: u8) -> Receipt {
        Receipt::new(ClassId(class), Price(1), MemoryPrice(1), Used::default())
    }

    fn status(meters: &mut Meters, now: Timestamp) -> Vec<ClassStatus> {
        let prices = PriceList::default();
        let mut status: Vec<_> = prices.iter().map(|(_, class)| ClassStatus::idle(class)).collect();
        meters.fill(now, &mut status);
        status
    }

    #[test]
    fn a_latency_on_a_bound_counts_at_that_bound() {
        let mut meters = Meters::new(&PriceList::default());
        for total in [Duration::from_micros(50), Duration::from_micros(51), Duration::from_secs(61)]
        {
            let durations = Durations { total, ..Durations::default() };
            meters.ended(Timestamp(0), &receipt(0), &durations, true);
        }
        let status = status(&mut meters, Timestamp(0));
        let (_, total) = status[0].phases.iter().find(|(p, _)| *p == Phase::Total).unwrap();
        assert_eq!((total.counts[0], total.counts[1], total.counts[20]), (1, 1, 1));
    }

    #[test]
    fn recent_quantiles_forget() {
        let mut meters = Meters::new(&PriceList::default());
        for ms in 1..=100 {
            let durations = Durations { total: Duration::from_millis(ms), ..Durations::default() };
            meters.ended(Timestamp(0), &receipt(1), &durations, ms != 1);
        }
        let now = status(&mut meters, Timestamp::from_millis(10_000));
        assert_eq!(now[1].recent_p50, Some(Duration::from_millis(50)));
        assert_eq!(now[1].recent_p99, Some(Duration::from_millis(99)));
        assert_eq!((now[1].succeeded, now[1].failed), (99, 1));
        assert_eq!(status(&mut meters, Timestamp::from_millis(10_001))[1].recent_p99, None);
    }
}
