//! The same scenario in the simulator: the same planner, with the bandwidth that was measured.

use std::time::Duration;

use model::ClassId;
use policy::memory::Watermarks;
use serde::Serialize;
use sim::memory::Growth;
use sim::workload::{Arrival, Listed};
use sim::world::{IoConfig, MemoryConfig};
use sim::{WorldConfig, find, simulate as play};

use super::device;
use super::pressure::{self, Scenario};

/// Predicted and measured, side by side.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    times_memory: u64,
    predicted: Side,
    measured: Side,
}

#[derive(Debug, Serialize)]
struct Side {
    makespan_s: f64,
    /// Part of the cores that the low class used over the makespan.
    low_cores_busy: f64,
    swapped_out_gb: f64,
    swap_outs: u64,
    slowdown_mean: f64,
    kills: u64,
}

/// Plays the scenario with the CPU time that was measured.
pub(super) fn simulate(
    scenario: &Scenario,
    measured: &pressure::Figures,
    plain: &device::Coded,
) -> Figures {
    const SECOND_NS: f64 = 1e9;
    const TOP_CPU_NS: u64 = 2_000_000;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let each_ns = nanos(Duration::from_secs_f64(measured.cpu_s / count(scenario.functions)));
    let arrival = |at_ns, class, cpu_ns, memory_peak| Arrival {
        at_ns,
        function: u32::from(class),
        class: ClassId(class),
        cpu_ns: u64::max(cpu_ns, 1),
        memory_peak,
    };
    let low = (0..scenario.functions).map(|index| {
        let class = u8::from(index % 2 == 1);
        arrival(index, class, each_ns, scenario.each_mib * device::MIB)
    });
    // The top class at 30 % of all cores, evenly, as long as the low class was at work.
    let gap = TOP_CPU_NS * 10 / 3 / cores as u64;
    let until = nanos(Duration::from_secs_f64(measured.makespan_s));
    let top = (0..until / gap).map(|index| arrival((index + 1) * gap, 4, TOP_CPU_NS, 1 << 20));
    let config = WorldConfig {
        machines: 1,
        cores,
        shards: 1,
        memory: Some(MemoryConfig {
            ram: scenario.memory,
            swap: scenario.swap,
            swap_out_per_s: bytes(plain.out_mb_s * 1e6),
            swap_in_per_s: bytes(plain.in_mb_s * 1e6),
            start: 1 << 20,
            growth: Growth::FrontLoaded,
            marks: Watermarks::default(),
        }),
        io: Some(IoConfig {
            waits: scenario.rounds,
            length_ns: nanos(scenario.sleep),
            up_to: ClassId(1),
        }),
        ..WorldConfig::default()
    };
    let listed = Listed::new(low.chain(top).collect());
    let policy = find("xx", 1).expect("the laboratory knows the live policy");
    let outcome = play(&config, &policy, &listed, 1);
    let low = || outcome.completions.iter().filter(|done| done.class < ClassId(2));
    let end_ns = low().map(|done| done.finished_ns).max().unwrap_or(0);
    let slowdown: f64 = low().map(sim::world::Completion::slowdown).sum();
    let swap_bytes: u64 = outcome.pressure.iter().map(|class| class.swap_bytes).sum();
    let makespan_s = count(end_ns) / SECOND_NS;
    let predicted = Side {
        makespan_s,
        low_cores_busy: measured.cpu_s / (makespan_s * count(cores as u64)),
        swapped_out_gb: count(swap_bytes) / 1e9,
        swap_outs: outcome.counts.swap_outs,
        slowdown_mean: slowdown / count(low().count() as u64).max(1.0),
        kills: outcome.counts.kills,
    };
    let sum = |part: fn(&(String, u64, u64, u64)) -> u64| measured.classes.iter().map(part).sum();
    let measured_bytes: u64 = sum(|class| class.2);
    let measured_side = Side {
        makespan_s: measured.makespan_s,
        low_cores_busy: measured.cpu_s / (measured.makespan_s * count(cores as u64)),
        swapped_out_gb: count(measured_bytes) / 1e9,
        swap_outs: sum(|class| class.1),
        slowdown_mean: measured.slowdown_mean,
        kills: sum(|class| class.3),
    };
    Figures { times_memory: scenario.times, predicted, measured: measured_side }
}

impl Figures {
    pub(super) fn show(&self) {
        println!("  {:14} {:>10} {:>10}", "", "simulated", "measured");
        type Value = fn(&Side) -> f64;
        let rows: [(&str, Value); 5] = [
            ("makespan, s", |side| side.makespan_s),
            ("cores busy, low", |side| side.low_cores_busy),
            ("swapped out, GB", |side| side.swapped_out_gb),
            ("swap-outs", |side| count(side.swap_outs)),
            ("slowdown, mean", |side| side.slowdown_mean),
        ];
        for (name, value) in rows {
            println!("  {name:15} {:>9.2} {:>10.2}", value(&self.predicted), value(&self.measured));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn count(number: u64) -> f64 {
    number as f64
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measured rate, positive and far below 2⁶³"
)]
fn bytes(rate: f64) -> u64 {
    rate.max(1.0) as u64
}
