//! The generator of paper XX, section 4.1, with the parameters of its prototype.
//!
//! Run time: Pareto with a constant α, whose minimum x_m is drawn for each invocation from a normal
//! distribution, clamped. Class: by weights, bimodal. Memory: from a common start to a uniform peak.

use model::{ClassId, PriceList};

use super::{Arrival, Arrivals, MB, Phases, TICK_NS, Workload};
use crate::random::{Purpose, Stream, normal_quantile};

/// How invocations are spread over a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// A Poisson process in continuous time.
    #[default]
    Poisson,
    /// A Poisson number of them, all at the tick's beginning, as a simulator in ticks does.
    Batched,
}

/// How long invocations run, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunTime {
    /// Mean of the normal distribution of x_m.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// The smallest x_m.
    pub min: f64,
    /// The largest x_m.
    pub max: f64,
    /// Shape of the Pareto tail. 25: nearly none. 1.5: heavy. Infinite: none.
    pub alpha: f64,
    /// The longest run; without it the mean of a heavy tail hangs on one draw.
    pub longest: f64,
}

/// Whether class and run time depend on each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Correlation {
    /// They do not (the paper).
    #[default]
    None,
    /// With this probability an invocation's x_m stands as far from the top as its class from the
    /// bottom: dear functions are short. Both distributions stay as they are.
    DearIsShort(f64),
    /// The reverse: dear functions are long.
    DearIsLong(f64),
}

/// A rate of arrival from some tick on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From which tick.
    pub from_tick: u64,
    /// Invocations a tick.
    pub rate: f64,
}

/// The paper's workload. `Default` is Figure 3's.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// Length of a tick.
    pub tick_ns: u64,
    /// Rates, in order of their ticks; the first is of tick 0.
    pub steps: Vec<Step>,
    /// No arrivals from this tick on.
    pub end_tick: u64,
    /// Poisson or batched.
    pub spread: Spread,
    /// How long they run.
    pub run_time: RunTime,
    /// The classes.
    pub prices: PriceList,
    /// How often each class is drawn, by class.
    pub weights: Vec<u32>,
    /// Whether dear ones are short.
    pub correlation: Correlation,
    /// Peak memory is uniform between these, in MB.
    pub memory_mb: (u64, u64),
    /// How many functions there are, each called equally often.
    pub functions: u32,
    /// When the middle phase begins and ends, in ticks.
    pub overload_ticks: (u64, u64),
}

impl Default for RunTime {
    fn default() -> Self {
        Self { mean: 2.0, deviation: 5.0, min: 0.2, max: 100.0, alpha: 25.0, longest: 10_000.0 }
    }
}

impl RunTime {
    /// The heavy-tailed variant: α = 1.5, the load as it was.
    #[must_use]
    pub fn heavy_tail() -> Self {
        Self::with_tail(1.5)
    }

    /// The paper's run times with another α above 1. x_m is made smaller by a constant factor, so
    /// that the mean, and with it the load, stays that of α = 25. Runs are cut at `longest` ticks,
    /// of which the factor does not know; the mean is a little lower.
    #[must_use]
    pub fn with_tail(alpha: f64) -> Self {
        let light = Self::default();
        let mean = |alpha: f64| if alpha.is_infinite() { 1.0 } else { alpha / (alpha - 1.0) };
        let shrink = mean(light.alpha) / mean(alpha);
        Self {
            mean: light.mean * shrink,
            deviation: light.deviation * shrink,
            min: light.min * shrink,
            max: light.max * shrink,
            alpha,
            ..light
        }
    }

    /// The run time at these two quantiles: of x_m, and of the Pareto tail above it.
    fn at(&self, minimum: f64, tail: f64) -> f64 {
        let x_m = (self.mean + self.deviation * normal_quantile(minimum)).clamp(self.min, self.max);
        (x_m * tail.powf(-1.0 / self.alpha)).min(self.longest)
    }

    /// The mean run time in ticks, by numerical integration over both quantiles.
    #[must_use]
    pub fn mean_ticks(&self) -> f64 {
        let points = 2_000;
        let middle = |i: i32| (f64::from(i) + 0.5) / f64::from(points);
        let minima = (0..points).map(|i| {
            (self.mean + self.deviation * normal_quantile(middle(i))).clamp(self.min, self.max)
        });
        // The mean of a Pareto cut at L: x_m·(α − (x_m/L)^(α−1)) / (α − 1).
        let mean_of = |x_m: f64| {
            if self.alpha.is_infinite() {
                return x_m.min(self.longest);
            }
            let cut = (x_m / self.longest).min(1.0).powf(self.alpha - 1.0);
            x_m * (self.alpha - cut) / (self.alpha - 1.0)
        };
        minima.map(mean_of).sum::<f64>() / f64::from(points)
    }
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            tick_ns: TICK_NS,
            steps: vec![
                Step { from_tick: 0, rate: 170.0 },
                Step { from_tick: 50, rate: 300.0 },
                Step { from_tick: 80, rate: 170.0 },
            ],
            end_tick: 200,
            spread: Spread::Poisson,
            run_time: RunTime::default(),
            prices: PriceList::default(),
            weights: vec![35, 25, 2, 15, 23],
            correlation: Correlation::None,
            memory_mb: (100, 10_000),
            functions: 1_000,
            overload_ticks: (50, 80),
        }
    }
}

impl Synthetic {
    /// One rate from beginning to end; all of it is phase "before".
    #[must_use]
    pub fn steady(rate: f64, ticks: u64) -> Self {
        Self {
            steps: vec![Step { from_tick: 0, rate }],
            end_tick: ticks,
            overload_ticks: (ticks, ticks),
            ..Self::default()
        }
    }

    /// Cores that one invocation a tick keeps busy: the mean run time in ticks.
    #[must_use]
    pub fn cores_per_rate(&self) -> f64 {
        self.run_time.mean_ticks()
    }
}

impl Workload for Synthetic {
    fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        Box::new(Draws::new(self, seed))
    }

    fn prices(&self) -> &PriceList {
        &self.prices
    }

    fn phases(&self) -> Phases {
        let (overload, after) = self.overload_ticks;
        Phases {
            overload_ns: overload.saturating_mul(self.tick_ns),
            after_ns: after.saturating_mul(self.tick_ns),
        }
    }

    fn recipe(&self) -> String {
        let steps: Vec<String> =
            self.steps.iter().map(|s| format!("{} from tick {}", s.rate, s.from_tick)).collect();
        let run = &self.run_time;
        format!(
            "synthetic ({:?}): {} a tick until {}; tick {} ms; x_m = clamp(N({}, {}), {}, {}), α = {}; \
             weights {:?}; correlation {:?}; memory to U({}, {}) MB",
            self.spread,
            steps.join(", "),
            self.end_tick,
            self.tick_ns / 1_000_000,
            run.mean,
            run.deviation,
            run.min,
            run.max,
            run.alpha,
            self.weights,
            self.correlation,
            self.memory_mb.0,
            self.memory_mb.1,
        )
    }
}

/// The draws of one run.
struct Draws<'a> {
    workload: &'a Synthetic,
    clock: Clock<'a>,
    run_time: Stream,
    class: Stream,
    memory: Stream,
    function: Stream,
    weights_total: u32,
}

/// When the next one arrives.
struct Clock<'a> {
    workload: &'a Synthetic,
    stream: Stream,
    /// In ticks.
    now: f64,
    step: usize,
    /// Batched: how many are still to come in this tick.
    left: u64,
    tick: u64,
}

impl Clock<'_> {
    fn next_tick(&mut self) -> Option<f64> {
        match self.workload.spread {
            Spread::Poisson => self.next_poisson(),
            Spread::Batched => self.next_batched(),
        }
    }

    fn next_poisson(&mut self) -> Option<f64> {
        let steps = &self.workload.steps;
        loop {
            let end = steps.get(self.step + 1).map_or(u64::MAX, |step| step.from_tick);
            let end = end.min(self.workload.end_tick) as f64;
            let rate = steps.get(self.step)?.rate;
            let next = self.now + self.stream.exponential() / rate;
            if next < end {
                self.now = next;
                return Some(next);
            }
            // What has not arrived by then arrives at the next rate: the process has no memory.
            self.now = end;
            self.step += 1;
        }
    }

    fn next_batched(&mut self) -> Option<f64> {
        while self.left == 0 {
            if self.tick >= self.workload.end_tick {
                return None;
            }
            let rate = self.workload.steps.iter().rev().find(|s| s.from_tick <= self.tick)?.rate;
            self.left = self.stream.poisson(rate);
            self.tick += 1;
        }
        self.left -= 1;
        Some((self.tick - 1) as f64)
    }
}

impl<'a> Draws<'a> {
    fn new(workload: &'a Synthetic, seed: u64) -> Self {
        let stream = |purpose| Stream::new(seed, purpose);
        let clock = Clock {
            workload,
            stream: stream(Purpose::Arrival),
            now: 0.0,
            step: 0,
            left: 0,
            tick: 0,
        };
        Self {
            workload,
            clock,
            run_time: stream(Purpose::RunTime),
            class: stream(Purpose::Class),
            memory: stream(Purpose::Memory),
            function: stream(Purpose::Function),
            weights_total: workload.weights.iter().sum(),
        }
    }

    fn class_at(&self, quantile: f64) -> ClassId {
        let mut left = quantile * f64::from(self.weights_total);
        let mut class = 0;
        for (index, &weight) in self.workload.weights.iter().enumerate() {
            if weight > 0 {
                class = index;
            }
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
        ClassId(u8::try_from(class).expect("a price list has at most sixteen classes"))
    }

    fn cpu_ticks(&mut self, class_quantile: f64) -> f64 {
        let independent = self.run_time.unit();
        let (tail, coin) = (self.run_time.unit(), self.run_time.unit());
        let minimum = match self.workload.correlation {
            Correlation::DearIsShort(strength) if coin < strength => 1.0 - class_quantile,
            Correlation::DearIsLong(strength) if coin < strength => class_quantile,
            Correlation::None | Correlation::DearIsShort(_) | Correlation::DearIsLong(_) => {
                independent
            }
        };
        self.workload.run_time.at(minimum, tail)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive times below the cut, rounded to whole nanoseconds"
)]
fn to_ns(ticks: f64, tick_ns: u64) -> u64 {
    (ticks * tick_ns as f64) as u64
}

impl Iterator for Draws<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let tick_ns = self.workload.tick_ns;
        let at_ns = to_ns(self.clock.next_tick()?, tick_ns);
        let quantile = self.class.unit();
        let (low, high) = self.workload.memory_mb;
        let memory_mb = self.memory.uniform(low as f64, high as f64);
        let functions = usize::try_from(self.workload.functions.max(1)).expect("fits");
        Some(Arrival {
            at_ns,
            function: u32::try_from(self.function.below(functions)).expect("below a u32"),
            class: self.class_at(quantile),
            cpu_ns: to_ns(self.cpu_ticks(quantile), tick_ns).max(1),
            memory_peak: to_ns(memory_mb, MB),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(workload: &Synthetic) -> Vec<Arrival> {
        workload.arrivals(5).collect()
    }

    fn mean_ticks(arrivals: &[Arrival]) -> f64 {
        arrivals.iter().map(|a| a.cpu_ns as f64 / TICK_NS as f64).sum::<f64>()
            / arrivals.len() as f64
    }

    #[test]
    fn the_paper_s_draws_have_the_stated_mean_weights_and_rates() {
        let workload = Synthetic::default();
        let all = drawn(&workload);
        assert!((mean_ticks(&all) - 3.36).abs() < 0.05, "{}", mean_ticks(&all));
        assert!((workload.cores_per_rate() - 3.36).abs() < 0.02);
        let share = |class| {
            let count = all.iter().filter(|a| a.class == ClassId(class)).count();
            100.0 * count as f64 / all.len() as f64
        };
        for (class, expected) in [(0, 35.0), (1, 25.0), (2, 2.0), (3, 15.0), (4, 23.0)] {
            assert!((share(class) - expected).abs() < 1.0, "{class}: {}", share(class));
        }
        let overload =
            all.iter().filter(|a| (50..80).contains(&(a.at_ns / TICK_NS))).count() as f64;
        assert!((overload / 30.0 - 300.0).abs() < 15.0, "{overload}");
        assert!(all.is_sorted_by_key(|a| a.at_ns));
        assert!(all.iter().all(|a| (100 * MB..=10_000 * MB).contains(&a.memory_peak)));
    }

    #[test]
    fn nothing_arrives_from_the_end_on_wherever_it_lies() {
        for spread in [Spread::Poisson, Spread::Batched] {
            for end_tick in [30, 60, 100] {
                let all = drawn(&Synthetic { spread, end_tick, ..Synthetic::default() });
                let last = all.last().unwrap().at_ns / TICK_NS;
                assert_eq!(last, end_tick - 1, "{spread:?}");
            }
        }
    }

    #[test]
    fn batches_stand_at_the_beginning_of_their_tick() {
        let all = drawn(&Synthetic { spread: Spread::Batched, ..Synthetic::default() });
        assert!(all.iter().all(|a| a.at_ns % TICK_NS == 0));
        assert!((all.len() as f64 - 38_500.0).abs() < 800.0, "{}", all.len());
    }

    #[test]
    fn a_heavy_tail_keeps_the_load() {
        let run_time = RunTime::heavy_tail();
        let heavy = Synthetic { run_time, ..Synthetic::steady(300.0, 2_000) };
        let all = drawn(&heavy);
        let light = RunTime::default().mean_ticks();
        assert!((run_time.mean_ticks() / light - 1.0).abs() < 0.03, "{}", run_time.mean_ticks());
        assert!((mean_ticks(&all) / light - 1.0).abs() < 0.1, "{}", mean_ticks(&all));
        let longest = all.iter().map(|a| a.cpu_ns).max().unwrap();
        assert!(longest > 500 * TICK_NS, "a heavy tail has a long one: {longest}");
    }

    #[test]
    fn correlation_moves_run_time_between_classes_and_nothing_else() {
        let correlation = Correlation::DearIsShort(0.9);
        let all = drawn(&Synthetic { correlation, ..Synthetic::steady(300.0, 500) });
        let of = |class| -> Vec<Arrival> {
            all.iter().copied().filter(|a| a.class == ClassId(class)).collect()
        };
        assert!(mean_ticks(&of(0)) > 3.0 * mean_ticks(&of(4)));
        assert!((mean_ticks(&all) - 3.36).abs() < 0.05, "{}", mean_ticks(&all));
    }
}
