//! From completions to figures: exact quantiles of each run, means and 95 % confidence intervals
//! over runs.

use model::PriceList;

use crate::workload::Phases;
use crate::world::{Completion, Outcome};

/// A mean over seeds with its 95 % confidence interval (Student's t). With one seed the interval is
/// the value itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Seeds that gave a value.
    pub seeds: usize,
}

/// Two-sided 95 % points of Student's t, for 1 to 30 degrees of freedom.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

impl Estimate {
    /// From one value a seed.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let seeds = values.len();
        if seeds == 0 {
            return Self::default();
        }
        let mean = values.iter().sum::<f64>() / seeds as f64;
        if seeds == 1 {
            return Self { mean, low: mean, high: mean, seeds };
        }
        let freedom = seeds - 1;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / freedom as f64 / seeds as f64).sqrt();
        let half = T_95.get(freedom - 1).copied().unwrap_or(1.96) * error;
        Self { mean, low: mean - half, high: mean + half, seeds }
    }
}

/// The smallest value that at least `part` of all values do not exceed. Sorts `values`.
#[must_use]
pub fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    let rank = rank(values.len(), part)?;
    let (_, value, _) = values.select_nth_unstable_by(rank, f64::total_cmp);
    Some(*value)
}

fn rank(count: usize, part: f64) -> Option<usize> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between zero and the count"
    )]
    let rank = (part * count as f64).ceil() as usize;
    (count > 0).then(|| rank.clamp(1, count) - 1)
}

/// One class in one phase of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// Invocations.
    pub count: usize,
    /// Slowdown: median, 99 % quantile, mean.
    pub p50_slowdown: f64,
    /// 99 % quantile of the slowdown.
    pub p99_slowdown: f64,
    /// Mean slowdown.
    pub mean_slowdown: f64,
    /// 99 % quantile of the latency, in milliseconds.
    pub p99_ms: f64,
}

/// One class in one phase, over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseReport {
    /// Invocations of all seeds together.
    pub count: usize,
    /// Median slowdown.
    pub p50_slowdown: Estimate,
    /// 99 % quantile of the slowdown.
    pub p99_slowdown: Estimate,
    /// Mean slowdown.
    pub mean_slowdown: Estimate,
    /// 99 % quantile of the latency, in milliseconds.
    pub p99_ms: Estimate,
}

/// One class under one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassReport {
    /// The policy.
    pub policy: String,
    /// The class's name.
    pub class: String,
    /// Its price, in µ¢ per CPU second.
    pub price: f64,
    /// Those that arrived before the overload.
    pub before: PhaseReport,
    /// Those that arrived in it.
    pub overload: PhaseReport,
    /// Those that arrived after it.
    pub after: PhaseReport,
}

/// Figures of one class in one phase of one run.
#[must_use]
pub fn cell<'a>(completions: impl Iterator<Item = &'a Completion>) -> Cell {
    let mut slowdowns = Vec::new();
    let mut latencies_ms = Vec::new();
    for completion in completions {
        slowdowns.push(completion.slowdown());
        latencies_ms.push(completion.latency_ns() as f64 / 1e6);
    }
    let count = slowdowns.len();
    let mean_slowdown = slowdowns.iter().sum::<f64>() / count.max(1) as f64;
    Cell {
        count,
        mean_slowdown,
        p50_slowdown: quantile(&mut slowdowns, 0.5).unwrap_or(0.0),
        p99_slowdown: quantile(&mut slowdowns, 0.99).unwrap_or(0.0),
        p99_ms: quantile(&mut latencies_ms, 0.99).unwrap_or(0.0),
    }
}

/// All cells of one run: by phase, then by class.
#[must_use]
pub fn cells(outcome: &Outcome, phases: Phases, classes: usize) -> [Vec<Cell>; 3] {
    cells_of(&outcome.completions, phases, classes)
}

/// The same of completions.
#[must_use]
pub fn cells_of(completions: &[Completion], phases: Phases, classes: usize) -> [Vec<Cell>; 3] {
    let mut sorted: Vec<Vec<&Completion>> = vec![Vec::new(); 3 * classes];
    for completion in completions {
        let phase = phases.of(completion.arrived_ns);
        sorted[phase * classes + usize::from(completion.class.0)].push(completion);
    }
    let mut of_phase = |phase: usize| {
        (0..classes).map(|class| cell(sorted[phase * classes + class].drain(..))).collect()
    };
    [of_phase(0), of_phase(1), of_phase(2)]
}

/// Joins the runs of one policy into one report a class, dearest class first.
#[must_use]
pub fn reports(policy: &str, prices: &PriceList, runs: &[[Vec<Cell>; 3]]) -> Vec<ClassReport> {
    let phase = |class: usize, phase: usize| {
        let cells: Vec<Cell> =
            runs.iter().map(|run| run[phase][class]).filter(|cell| cell.count > 0).collect();
        let estimate =
            |part: fn(&Cell) -> f64| Estimate::of(&cells.iter().map(part).collect::<Vec<f64>>());
        PhaseReport {
            count: cells.iter().map(|cell| cell.count).sum(),
            p50_slowdown: estimate(|cell| cell.p50_slowdown),
            p99_slowdown: estimate(|cell| cell.p99_slowdown),
            mean_slowdown: estimate(|cell| cell.mean_slowdown),
            p99_ms: estimate(|cell| cell.p99_ms),
        }
    };
    let report = |(id, class): (model::ClassId, &model::PriceClass)| {
        let index = usize::from(id.0);
        ClassReport {
            policy: policy.to_owned(),
            class: class.name.clone(),
            price: class.price.0 as f64 / model::amount::PICO_PER_MICRO as f64,
            before: phase(index, 0),
            overload: phase(index, 1),
            after: phase(index, 2),
        }
    };
    prices.iter().rev().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), Some(50.0));
        assert_eq!(quantile(&mut values, 0.99), Some(99.0));
        assert_eq!(quantile(&mut values, 1.0), Some(100.0));
        assert_eq!(quantile(&mut [7.0], 0.01), Some(7.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }

    #[test]
    fn the_interval_is_student_s() {
        // Mean 3, standard deviation √2.5, five values: 3 ± 2.776 · √0.5.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((estimate.mean - 3.0).abs() < 1e-12);
        assert!((estimate.high - 4.963).abs() < 1e-3, "{estimate:?}");
        assert!((estimate.low - 1.037).abs() < 1e-3);
        let one = Estimate::of(&[2.0]);
        assert_eq!((one.low, one.high, one.seeds), (2.0, 2.0, 1));
    }
}
