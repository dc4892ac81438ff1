//! The same scenario in the simulator: the same planner, with the bandwidth that was measured.

use std::time::Duration;

use model::ClassId;
use policy::memory::Watermarks;
use serde::Serialize;
use sim::memory::Growth;
use sim::workload::{Arrival, Listed};
use sim::world::{Completion, IoConfig, MemoryConfig, Taking};
use sim::{WorldConfig, find, simulate as play};

use super::device;
use super::order::Order;
use super::pressure::{self, Scenario};

/// Predicted and measured, side by side.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    times_memory: u64,
    /// The part of a function's CPU time in which it fills its memory, as measured.
    fill_percent: u8,
    predicted: Side,
    measured: Side,
}

#[derive(Debug, Serialize)]
struct Side {
    makespan_s: f64,
    /// Part of the cores that the low class used over the makespan.
    low_cores_busy: f64,
    /// Part of memory that functions had in RAM, in the mean over the makespan.
    memory_in_use: f64,
    swapped_out_gb: f64,
    swap_outs: u64,
    slowdown_mean: f64,
    /// Of the lowest class, and of the one above it.
    slowdowns: [f64; 2],
    top_p99_ms: f64,
    kills: u64,
}

/// Between two looks of the platform where memory is scarce.
const LOOK_NS: u64 = 10_000_000;
const TOP_CPU_NS: u64 = 2_000_000;
const TOP_CLASS: ClassId = ClassId(4);

/// Plays the scenario with the time for which functions held a core and the bandwidth that were
/// measured, with nothing to swap the disk's alone, and with memory that is taken as fast as one function
/// fills it alone. A function holds its core for longer than it computes: the platform's own threads,
/// those that move memory and the client use the cores too.
pub(super) fn simulate(
    scenario: &Scenario,
    measured: &pressure::Figures,
    plain: &device::Coded,
    fill_mib: Duration,
) -> Figures {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let each_s = measured.low_spent.core_s();
    let fill_s = fill_mib.as_secs_f64() * count(scenario.each_mib);
    let fill_percent = percent(fill_s / each_s);
    // Beside functions that compute and a top class that comes and goes, memory moves slower than alone.
    let rate = |of: fn(&Order) -> Option<f64>, alone: f64| {
        measured.order.as_ref().and_then(of).unwrap_or(alone) * 1e6
    };
    let config = WorldConfig {
        machines: 1,
        cores,
        shards: 1,
        memory: Some(MemoryConfig {
            ram: scenario.memory,
            swap: scenario.swap,
            swap_out_per_s: bytes(rate(|order| order.out_mb_s, plain.out_mb_s)),
            swap_in_per_s: bytes(rate(|order| order.in_mb_s, plain.in_mb_s)),
            start: 1 << 20,
            growth: Growth::First { percent: fill_percent },
            taking: Taking::Unasked { look_ns: LOOK_NS },
            marks: Watermarks::default(),
        }),
        io: Some(IoConfig {
            waits: scenario.rounds,
            length_ns: nanos(scenario.sleep),
            after_percent: fill_percent,
            up_to: ClassId(1),
        }),
        ..WorldConfig::default()
    };
    let listed = Listed::new(arrivals(scenario, measured, cores as u64));
    let policy = find("xx", 1).expect("the laboratory knows the live policy");
    let outcome = play(&config, &policy, &listed, 1);
    let predicted = predicted(scenario, measured, &outcome, cores as u64);
    let sum = |part: fn(&(String, u64, u64, u64)) -> u64| measured.classes.iter().map(part).sum();
    let measured_bytes: u64 = sum(|class| class.2);
    let measured = Side {
        makespan_s: measured.makespan_s,
        low_cores_busy: measured.cpu_s / (measured.makespan_s * count(cores as u64)),
        memory_in_use: measured.memory_mean_bytes / count(scenario.memory),
        swapped_out_gb: count(measured_bytes) / 1e9,
        swap_outs: sum(|class| class.1),
        slowdown_mean: measured.slowdown_mean,
        slowdowns: measured.slowdowns,
        top_p99_ms: measured.top_p99_pressed_ms.unwrap_or(f64::NAN),
        kills: sum(|class| class.3),
    };
    Figures { times_memory: scenario.times, fill_percent, predicted, measured }
}

/// The low class at once, and the top class at 30 % of all cores, evenly, beyond its end.
fn arrivals(scenario: &Scenario, measured: &pressure::Figures, cores: u64) -> Vec<Arrival> {
    let each_ns = nanos(Duration::from_secs_f64(measured.low_spent.core_s()));
    let top_ns = nanos(Duration::from_secs_f64(measured.top_spent.core_s()));
    let arrival = |at_ns, class: u8, cpu_ns: u64, memory_peak| Arrival {
        at_ns,
        function: u32::from(class),
        class: ClassId(class),
        cpu_ns: cpu_ns.max(1),
        memory_peak,
    };
    let low = (0..scenario.functions).map(|index| {
        let class = u8::from(index % 2 == 1);
        arrival(index, class, each_ns, scenario.each_mib * device::MIB)
    });
    let gap = TOP_CPU_NS * 10 / 3 / cores;
    let until = nanos(Duration::from_secs_f64(2.0 * measured.makespan_s));
    let top =
        (0..until / gap).map(|index| arrival((index + 1) * gap, TOP_CLASS.0, top_ns, 1 << 20));
    low.chain(top).collect()
}

fn predicted(
    scenario: &Scenario,
    measured: &pressure::Figures,
    outcome: &sim::world::Outcome,
    cores: u64,
) -> Side {
    let of = |class: ClassId| outcome.completions.iter().filter(move |done| done.class == class);
    let low = || of(ClassId(0)).chain(of(ClassId(1)));
    let slowdown = |slowdowns: Vec<f64>| {
        slowdowns.iter().sum::<f64>() / count(slowdowns.len() as u64).max(1.0)
    };
    // Against what it computes and sleeps, as measured.
    let cpu_s = measured.cpu_s / count(scenario.functions);
    let alone_s = cpu_s + scenario.sleep.as_secs_f64() * f64::from(scenario.rounds);
    let slowdown_by = |done: &Completion| count(done.latency_ns()) / 1e9 / alone_s;
    let slowdown_of = |class| slowdown(of(class).map(slowdown_by).collect());
    let end_ns = low().map(|done| done.finished_ns).max().unwrap_or(0);
    let makespan_s = count(end_ns) / 1e9;
    let swap_bytes: u64 = outcome.pressure.iter().map(|class| class.swap_bytes).sum();
    let ram_mb_s = outcome.machines.first().map_or(0, |machine| machine.ram_mb_s);
    let mut top: Vec<u64> = of(TOP_CLASS).map(Completion::latency_ns).collect();
    top.sort_unstable();
    let p99_ns = top.get(top.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0);
    Side {
        makespan_s,
        low_cores_busy: measured.cpu_s / (makespan_s * count(cores)),
        memory_in_use: count(ram_mb_s) * 1e6 / makespan_s / count(scenario.memory),
        swapped_out_gb: count(swap_bytes) / 1e9,
        swap_outs: outcome.counts.swap_outs,
        slowdown_mean: slowdown(low().map(slowdown_by).collect()),
        slowdowns: [slowdown_of(ClassId(0)), slowdown_of(ClassId(1))],
        top_p99_ms: count(p99_ns) / 1e6,
        kills: outcome.counts.kills,
    }
}

impl Figures {
    pub(super) fn show(&self) {
        println!("  {:14} {:>10} {:>10}", "", "simulated", "measured");
        type Value = fn(&Side) -> f64;
        let rows: [(&str, Value); 9] = [
            ("makespan, s", |side| side.makespan_s),
            ("cores busy, low", |side| side.low_cores_busy),
            ("memory in use", |side| side.memory_in_use),
            ("swapped out, GB", |side| side.swapped_out_gb),
            ("swap-outs", |side| count(side.swap_outs)),
            ("slowdown, mean", |side| side.slowdown_mean),
            ("  lowest class", |side| side.slowdowns[0]),
            ("  next class", |side| side.slowdowns[1]),
            ("top p99, ms", |side| side.top_p99_ms),
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
    reason = "between 1 and 90: what comes after the fill takes some time too"
)]
fn percent(part: f64) -> u8 {
    (part * 100.0).clamp(1.0, 90.0) as u8
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measured rate, positive and far below 2⁶³"
)]
fn bytes(rate: f64) -> u64 {
    rate.max(1.0) as u64
}
