//! The world against formulas that need no simulation.

use model::{ClassId, PriceList};
use sim::random::{Purpose, Stream};
use sim::workload::{Arrival, Arrivals, Phases, Workload};
use sim::world::Completion;
use sim::{Entry, WorldConfig, find, simulate};

const MS: f64 = 1e6;

/// Poisson arrivals; run times with mean 1 ms, of that shape.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Exponential,
    Constant,
    /// 0.1 ms with probability 0.9, else 9.1 ms.
    TwoPoint,
}

#[derive(Debug)]
struct Queue {
    load: f64,
    shape: Shape,
    count: usize,
    prices: PriceList,
}

impl Workload for Queue {
    fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        let mut arrival = Stream::new(seed, Purpose::Arrival);
        let mut run_time = Stream::new(seed, Purpose::RunTime);
        let mut at = 0.0;
        Box::new((0..self.count).map(move |_| {
            at += arrival.exponential() / self.load * MS;
            let cpu = match self.shape {
                Shape::Exponential => run_time.exponential(),
                Shape::Constant => 1.0,
                Shape::TwoPoint => {
                    if run_time.unit() < 0.9 {
                        0.1
                    } else {
                        9.1
                    }
                }
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive times of a short run"
            )]
            let (at_ns, cpu_ns) = (at as u64, (cpu * MS) as u64);
            let class = ClassId(0);
            Arrival { at_ns, function: 0, class, cpu_ns: cpu_ns.max(1), memory_peak: 0 }
        }))
    }

    fn prices(&self) -> &PriceList {
        &self.prices
    }

    fn phases(&self) -> Phases {
        Phases::NONE
    }

    fn recipe(&self) -> String {
        "a queue".into()
    }
}

fn completions(policy: &Entry, load: f64, shape: Shape) -> Vec<Completion> {
    let world = WorldConfig { machines: 1, cores: 1, shards: 1, ..WorldConfig::default() };
    let workload = Queue { load, shape, count: 100_000, prices: PriceList::default() };
    let mut all = simulate(&world, policy, &workload, 1).completions;
    all.sort_by_key(|completion| completion.arrived_ns);
    // The beginning finds an empty queue.
    all.split_off(5_000)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[track_caller]
fn near(value: f64, expected: f64, tolerance: f64) {
    let error = (value / expected - 1.0).abs();
    assert!(error < tolerance, "{value} is not within {tolerance} of {expected}");
}

#[test]
fn first_come_first_served_waits_as_pollaczek_and_khinchine_say() {
    let fifo = find("fifo", 1).unwrap();
    for load in [0.5, 0.75] {
        // M/M/1: mean time in the system 1/(μ − λ).
        let all = completions(&fifo, load, Shape::Exponential);
        near(mean(all.iter().map(|c| c.latency_ns() as f64 / MS)), 1.0 / (1.0 - load), 0.05);
        // M/D/1: mean wait ρ/(2μ(1 − ρ)).
        let all = completions(&fifo, load, Shape::Constant);
        let wait = load / (2.0 * (1.0 - load));
        near(mean(all.iter().map(|c| c.latency_ns() as f64 / MS)), 1.0 + wait, 0.05);
    }
}

#[test]
fn processor_sharing_slows_everyone_down_alike_whatever_the_run_times() {
    let hermod = find("hermod", 1).unwrap();
    for (load, shape) in [
        (0.5, Shape::Exponential),
        (0.5, Shape::Constant),
        (0.5, Shape::TwoPoint),
        (0.75, Shape::Exponential),
    ] {
        // M/G/1-PS: a job of length x takes x/(1 − ρ) on average, for every x.
        let all = completions(&hermod, load, shape);
        near(mean(all.iter().map(Completion::slowdown)), 1.0 / (1.0 - load), 0.05);
    }
}

#[test]
fn strict_classes_of_one_class_are_first_come_first_served() {
    let xx = find("xx-polling", 1).unwrap();
    let fifo = find("fifo", 1).unwrap();
    let of = |policy| completions(policy, 0.7, Shape::Exponential);
    assert_eq!(of(&xx), of(&fifo));
}
