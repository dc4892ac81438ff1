//! More memory wanted than there is, beside a top class at 30 %.
//!
//! The low-class functions each fill 256 MiB, then work and sleep in turns, so that all of them are
//! half-way at once. They all arrive at one moment. The platform runs in a memory control group of
//! its own where that is permitted: its limit is what functions may use and what the platform
//! itself may take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::super::data_dir;
use super::super::functions::{Function, LOWEST, Runtime, TOP, Task, spin_millis};
use super::device::{MIB, millis};
use super::order::Order;
use super::stalls::Watch;
use super::tail::Spent;
use crate::load::closed::{self, MakeRequest, Pressure};
use crate::load::connection::{Connection, invoke};
use crate::load::generator::{self, Settings};
use crate::load::plan::{Payload, Phase, Plan, Stream};
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start};
use crate::load::report::{ClassLabel, Run};
use crate::load::server::raise_open_files;
use crate::load::statistics::Sample;

/// The class above the lowest: of both, some functions hold memory.
pub(super) const LOW: &str = "economy";
const TOP_SHARE: f64 = 0.3;
const TOP_CPU_MS: u32 = 2;
const SEED: u64 = 11;
/// What the platform's own process may take beside the functions' memory.
pub(super) const MARGIN_BYTES: u64 = 256 * MIB;

/// Who gives way to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Price classes, with swap.
    ByClass,
    /// The same with so much memory that all functions fit.
    WithRoom,
    /// First come, first served, and kills when memory is full.
    FirstCome,
}

impl Manner {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ByClass => "swapping by class",
            Self::WithRoom => "with room for all",
            Self::FirstCome => "first come first served, killing when full",
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) runtime: Runtime,
    pub(super) manner: Manner,
    pub(super) times: u64,
    pub(super) memory: u64,
    pub(super) swap: u64,
    pub(super) each_mib: u64,
    pub(super) functions: u64,
    pub(super) rounds: u32,
    pub(super) sleep: Duration,
    calm: Duration,
    pressed: Duration,
}

impl Scenario {
    pub(super) fn new(times: u64, manner: Manner, quick: bool) -> Self {
        let (working_mib, each_mib) = if quick { (256, 32) } else { (2048, 256) };
        let memory_mib = match manner {
            Manner::ByClass | Manner::FirstCome => working_mib,
            // What is kept free is a part of it too.
            Manner::WithRoom => (times + 1) * working_mib,
        };
        // Somewhat longer than the low class takes.
        let (calm, pressed) = if quick { (1, 3) } else { (8, 10 * times) };
        Self {
            runtime: Runtime::Wasm,
            manner,
            times,
            memory: memory_mib * MIB,
            swap: 4 * working_mib * MIB,
            each_mib,
            functions: times * working_mib / each_mib,
            rounds: if quick { 4 } else { 20 },
            sleep: Duration::from_millis(if quick { 20 } else { 100 }),
            calm: Duration::from_secs(calm),
            pressed: Duration::from_secs(pressed),
        }
    }

    /// The same of sandboxed processes, which are slower to fill their memory: less of it.
    pub(super) fn of_processes(times: u64, quick: bool) -> Self {
        let wasm = Self::new(times, Manner::ByClass, quick);
        let (memory_mib, each_mib) = if quick { (192, 48) } else { (768, 96) };
        Self {
            runtime: Runtime::Process,
            memory: memory_mib * MIB,
            each_mib,
            functions: times * memory_mib / each_mib,
            ..wasm
        }
    }
}

/// What one run gave.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) runtime: &'static str,
    pub(super) manner: &'static str,
    pub(super) times_memory: u64,
    pub(super) functions: u64,
    /// Low-class functions that answered, and whether each answer was right.
    pub(super) completed: u64,
    pub(super) right: u64,
    /// From the first arrival to the last answer.
    pub(super) makespan_s: f64,
    pub(super) slowdown_mean: f64,
    /// Of the lowest class, and of the one above it.
    pub(super) slowdowns: [f64; 2],
    pub(super) cpu_s: f64,
    /// What the low class had in RAM, in the mean over the makespan.
    pub(super) memory_mean_bytes: f64,
    /// Whether those who were swapped out or killed were of the lowest class there was.
    pub(super) order: Option<Order>,
    pub(super) top_p99_calm_ms: Option<f64>,
    pub(super) top_p99_pressed_ms: Option<f64>,
    pub(super) top_p99_ratio: Option<f64>,
    /// In calm and under pressure: how long the machine itself was away from a core, in milliseconds
    /// a second, and at most at once ([`super::stalls`]).
    pub(super) machine_away_ms: [(f64, f64); 2],
    /// The slowest hundredth of the top-class calls under pressure.
    pub(super) top_tail: Spent,
    /// A hundredth of all of them.
    pub(super) top_spent: Spent,
    /// The low-class functions.
    pub(super) low_spent: Spent,
    pub(super) top_errors: u64,
    pub(super) top_swapped: u64,
    pub(super) top_killed: u64,
    /// By class, cheapest first: its name, swapped out, bytes, killed.
    pub(super) classes: Vec<(String, u64, u64, u64)>,
    pub(super) swap_written_bytes: u64,
    pub(super) swap_read_bytes: u64,
    pub(super) swap_zero_bytes: u64,
    pub(super) memory_peak_bytes: u64,
    pub(super) memory_limit_bytes: u64,
    /// Of the platform's whole process.
    pub(super) process_peak_bytes: Option<u64>,
    /// The control group's limit, its peak, and whether the kernel killed in it.
    pub(super) group_limit_bytes: Option<u64>,
    pub(super) group_peak_bytes: Option<u64>,
    pub(super) group_kills: Option<u64>,
}

impl Figures {
    pub(super) fn is(&self, times: u64, manner: Manner) -> bool {
        (self.runtime, self.times_memory, self.manner) == ("wasm", times, manner.name())
    }

    pub(super) fn show(&self, name: &str) {
        let ms =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms"));
        println!("{name}:");
        println!(
            "  {} of {} low-class functions answered, {} right, in {:.1} s; mean slowdown {:.1}×",
            self.completed, self.functions, self.right, self.makespan_s, self.slowdown_mean
        );
        println!(
            "  top class p99 {} calm, {} pressed ({}×); {} errors, {} swapped, {} killed",
            ms(self.top_p99_calm_ms),
            ms(self.top_p99_pressed_ms),
            self.top_p99_ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            self.top_errors,
            self.top_swapped,
            self.top_killed,
        );
        let [(calm, calm_most), (pressed, pressed_most)] = self.machine_away_ms;
        println!(
            "  the machine itself was away from a core for {calm:.1} ms a second in calm, {pressed:.1} \
             pressed; at most {calm_most:.1} and {pressed_most:.1} ms at once"
        );
        self.top_tail.show("slowest of the top class");
        self.top_spent.show("of all of the top class");
        self.low_spent.show("low-class functions");
        println!("  the low-class functions computed for {:.1} s in all", self.cpu_s);
        for (class, outs, bytes, kills) in self.classes.iter().filter(|of| of.1 + of.3 > 0) {
            println!("  {class}: {outs} swapped out ({} MiB), {kills} killed", bytes / MIB);
        }
        if let Some(Order { looked_at: looked_at @ 1.., out_of_order, out_mb_s, in_mb_s }) =
            self.order
        {
            println!(
                "  of {looked_at} swapped out or killed, {out_of_order} while a lower class had \
                 memory; moved at {:.0} MB/s out, {:.0} MB/s in",
                out_mb_s.unwrap_or(f64::NAN),
                in_mb_s.unwrap_or(f64::NAN)
            );
        }
        println!(
            "  memory at most {} MiB of {} MiB; the process {} MiB",
            self.memory_peak_bytes / MIB,
            self.memory_limit_bytes / MIB,
            self.process_peak_bytes
                .map_or_else(|| "?".to_owned(), |bytes| (bytes / MIB).to_string()),
        );
        if let (Some(limit), Some(peak), Some(kills)) =
            (self.group_limit_bytes, self.group_peak_bytes, self.group_kills)
        {
            let (peak, limit) = (peak / MIB, limit / MIB);
            println!("  control group: {peak} MiB of {limit} MiB at most, {kills} kernel kills");
        }
    }
}

/// One low-class call that ended.
struct Ended {
    class: &'static str,
    right: bool,
    answered: bool,
    took: Duration,
    cpu: Duration,
    byte_seconds: u64,
}

/// What is looked at when all have ended.
struct Afterwards {
    status: Value,
    process_peak_bytes: Option<u64>,
    order: Option<Order>,
    top: [Spent; 2],
    low_spent: Spent,
    away: [(f64, f64); 2],
}

pub(super) fn run(scenario: &Scenario, folder: &Path) -> anyhow::Result<Figures> {
    let data = data_dir(
        folder,
        &format!("pressure-{:?}-{}-{:?}", scenario.runtime, scenario.times, scenario.manner),
    );
    // The group of a server with sandboxes is theirs too, and outlives it for a moment.
    let is_alone = scenario.runtime == Runtime::Wasm;
    let group = is_alone.then(|| Group::make(scenario.memory + MARGIN_BYTES)).flatten();
    let (memory, swap) = (scenario.memory.to_string(), scenario.swap.to_string());
    let mut arguments = vec!["--memory", &memory];
    let policy = match scenario.manner {
        Manner::ByClass | Manner::WithRoom => {
            arguments.extend(["--swap", &swap]);
            "xx"
        }
        Manner::FirstCome => "fifo",
    };
    let start = Start { policy, data_dir: &data, listen: ANY_PORT };
    let group_path = group.as_ref().map(|group| group.path.as_path());
    let mut platform = Platform::start_with(start, &arguments, group_path)?;
    let functions = functions(scenario.runtime);
    for function in &functions {
        if let Deployed::Refused(reason) = function.deploy(&platform, folder)? {
            bail!("{} cannot run here: {reason}", function.name);
        }
    }
    let expected = expected(&platform, scenario)?;
    let mut plan = plan(&platform, scenario)?;
    let address = platform.address();
    let low_scenario = scenario.clone();
    let calm = scenario.calm;
    let low = std::thread::spawn(move || {
        std::thread::sleep(calm);
        low_calls(address, &low_scenario, &expected)
    });
    let settings =
        Settings { address, in_flight_max: raise_open_files() / 2, drain: Duration::from_secs(2) };
    let pressed_ms = unix_ms() + millis_of(calm);
    let (watch, begun) = (Watch::begin()?, Instant::now());
    let mut measured = generator::run(&plan, settings, |_| {})?;
    let stalls = watch.end();
    let low = low.join().map_err(|_| anyhow::anyhow!("the low calls panicked"))??;
    end_pressure(&mut plan, &mut measured.samples, low.1);
    platform.check()?;
    let run = Run::new(policy, &plan, &ClassLabel::default_list(), &measured);
    let status: Value = serde_json::from_str(&platform.print_of(&["top", "--once", "--json"])?)
        .context("read the status")?;
    let by_class = scenario.manner != Manner::FirstCome;
    let order = by_class.then(|| Order::load(&platform, &HOLDERS)).transpose()?;
    let top = Spent::of_top(&platform, pressed_ms..pressed_ms + millis_of(low.1))?;
    // Later than those that told the right answers, and no later than the first.
    let since_ms = pressed_ms - millis_of(scenario.calm / 2);
    let low_spent = Spent::of_functions(&platform, &HOLDERS, since_ms)?;
    let process_peak_bytes = process_peak(platform.process_id());
    drop(platform);
    let away = [stalls.between(begun, calm), stalls.between(begun + calm, low.1)];
    let afterwards = Afterwards { status, process_peak_bytes, order, top, low_spent, away };
    Ok(figures(scenario, &run, &low, afterwards, group.as_ref()))
}

/// The functions that hold memory, by class.
const HOLDERS: [&str; 2] = ["hold-lowest", "hold-low"];

/// Pressure is over when the low class has ended: what came later is of a phase of its own.
fn end_pressure(plan: &mut Plan, samples: &mut [Sample], makespan: Duration) {
    let Some(after) = plan.phases[1].length.checked_sub(makespan) else { return };
    plan.phases[1].length = makespan;
    plan.phases.push(Phase { name: "after", length: after });
    for stream in &mut plan.streams {
        stream.rates_per_s.extend(stream.rates_per_s.last().copied());
    }
    for sample in samples {
        sample.phase = plan.phase_at(sample.intended);
    }
}

/// Now, as the platform tells when a call arrived.
fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    millis_of(now.unwrap_or_default())
}

fn millis_of(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn functions(runtime: Runtime) -> Vec<Function> {
    let function = |name: &str, task, class| Function {
        name: name.to_owned(),
        runtime: if task == Task::Hold { runtime } else { Runtime::Wasm },
        task,
        class,
    };
    vec![
        function("top", Task::Spin, TOP),
        function(HOLDERS[0], Task::Hold, LOWEST),
        function(HOLDERS[1], Task::Hold, LOW),
    ]
}

/// The seeds are few, so that each right answer is known beforehand.
const SEEDS: u64 = 2;

fn payload(scenario: &Scenario, seed: u64, sleep: Duration) -> Bytes {
    let text = format!("{} {} {} {seed}", scenario.each_mib, scenario.rounds, sleep.as_millis());
    Bytes::from(match scenario.runtime {
        Runtime::Wasm => text,
        Runtime::Process => format!("\"{text}\""),
    })
}

/// The right answers, by seed: computed alone and without sleeping.
fn expected(platform: &Platform, scenario: &Scenario) -> anyhow::Result<Vec<Bytes>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(platform.address()).await?;
        let mut answers = Vec::new();
        for seed in 0..SEEDS {
            let payload = payload(scenario, seed, Duration::ZERO);
            let request = invoke(platform.address(), "hold-low", LOW, payload);
            let answer = connection.send(request).await?;
            if let Some(code) = answer.error_code() {
                bail!("{code}: {}", String::from_utf8_lossy(&answer.body));
            }
            answers.push(answer.body);
        }
        Ok(answers)
    })
}

fn plan(platform: &Platform, scenario: &Scenario) -> anyhow::Result<Plan> {
    let address = platform.address();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let request: MakeRequest =
        Arc::new(move |_| invoke(address, "top", TOP, spin_millis(TOP_CPU_MS)));
    let length = Duration::from_millis(500).min(scenario.calm);
    let pressure = Pressure { address, connections: 2 * cores, length };
    let per_s =
        closed::run(pressure, &request)?.capacity_per_s().context("measure the top class")?;
    Ok(Plan {
        phases: vec![
            Phase { name: "calm", length: scenario.calm },
            Phase { name: "overload", length: scenario.pressed },
        ],
        streams: vec![Stream {
            function: "top".into(),
            class: TOP.into(),
            payload: Payload::Fixed(spin_millis(TOP_CPU_MS)),
            rates_per_s: vec![TOP_SHARE * per_s, TOP_SHARE * per_s],
        }],
        seed: SEED,
    })
}

/// All low-class calls at once; each on a connection of its own.
fn low_calls(
    address: std::net::SocketAddr,
    scenario: &Scenario,
    expected: &[Bytes],
) -> anyhow::Result<(Vec<Ended>, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for index in 0..scenario.functions {
            let seed = index % SEEDS;
            let right = usize::try_from(seed).ok().and_then(|seed| expected.get(seed)).cloned();
            let right = right.context("every seed has an answer")?;
            // The lower class first and last, so that order of arrival is not order of class.
            let (name, class) =
                if index % 2 == 0 { (HOLDERS[0], LOWEST) } else { (HOLDERS[1], LOW) };
            let payload = payload(scenario, seed, scenario.sleep);
            calls.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let begun = Instant::now();
                let answer = connection.send(invoke(address, name, class, payload)).await?;
                let receipt = crate::load::receipt::Receipt::parse(&answer).ok();
                let answered = answer.error_code().is_none();
                anyhow::Ok(Ended {
                    class,
                    answered,
                    right: answered && answer.body == right,
                    took: begun.elapsed(),
                    cpu: receipt.map(|receipt| receipt.cpu()).unwrap_or_default(),
                    byte_seconds: receipt.map_or(0, |receipt| receipt.byte_seconds()),
                })
            });
        }
        let mut ended = Vec::new();
        while let Some(call) = calls.join_next().await {
            ended.push(call.context("wait for a call")??);
        }
        Ok((ended, begun.elapsed()))
    })
}

fn figures(
    scenario: &Scenario,
    run: &Run,
    low: &(Vec<Ended>, Duration),
    afterwards: Afterwards,
    group: Option<&Group>,
) -> Figures {
    let (ended, makespan) = (&low.0, low.1);
    let top = run.classes.iter().find(|class| class.class == TOP);
    let memory = &afterwards.status["memory"];
    let classes: Vec<(String, u64, u64, u64)> = memory["classes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(|class| {
            let number = |name: &str| class[name].as_u64().unwrap_or(0);
            let name = class["class"].as_str().unwrap_or_default().to_owned();
            (name, number("swap_outs"), number("swapped_out"), number("kills"))
        })
        .collect();
    let of_top = classes.iter().find(|(name, ..)| name == TOP).cloned().unwrap_or_default();
    let alone = |call: &Ended| {
        call.cpu.as_secs_f64() + scenario.sleep.as_secs_f64() * f64::from(scenario.rounds)
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let slowdown = |of: &dyn Fn(&Ended) -> bool| {
        let answered = || ended.iter().filter(|call| call.answered && of(call));
        let sum: f64 = answered().map(|call| call.took.as_secs_f64() / alone(call)).sum();
        sum / answered().count().max(1) as f64
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let byte_seconds = ended.iter().map(|call| call.byte_seconds).sum::<u64>() as f64;
    let place = match scenario.runtime {
        Runtime::Wasm => "swap",
        Runtime::Process => "system_swap",
    };
    let swap = |name: &str| memory[place][name].as_u64().unwrap_or(0);
    let [top_tail, top_spent] = afterwards.top;
    Figures {
        runtime: match scenario.runtime {
            Runtime::Wasm => "wasm",
            Runtime::Process => "process",
        },
        manner: scenario.manner.name(),
        times_memory: scenario.times,
        functions: scenario.functions,
        completed: ended.iter().filter(|call| call.answered).count() as u64,
        right: ended.iter().filter(|call| call.right).count() as u64,
        makespan_s: millis(makespan) / 1_000.0,
        slowdown_mean: slowdown(&|_| true),
        slowdowns: [LOWEST, LOW].map(|class| slowdown(&|call| call.class == class)),
        memory_mean_bytes: byte_seconds / makespan.as_secs_f64(),
        order: afterwards.order,
        cpu_s: ended.iter().map(|call| call.cpu.as_secs_f64()).sum(),
        top_p99_calm_ms: top.and_then(|top| top.calm.p99_ms),
        top_p99_pressed_ms: top.and_then(|top| top.overload.p99_ms),
        top_p99_ratio: top.and_then(|top| top.overload.slowdown),
        machine_away_ms: afterwards.away,
        top_tail,
        top_spent,
        low_spent: afterwards.low_spent,
        top_errors: top.map_or(0, |top| top.calm.errors + top.overload.errors),
        top_swapped: of_top.1,
        top_killed: of_top.3,
        classes,
        swap_written_bytes: swap("written"),
        swap_read_bytes: swap("read"),
        swap_zero_bytes: swap("zeros"),
        memory_peak_bytes: memory["peak"].as_u64().unwrap_or(0),
        memory_limit_bytes: scenario.memory,
        process_peak_bytes: afterwards.process_peak_bytes,
        group_limit_bytes: group.map(|group| group.limit),
        group_peak_bytes: group.and_then(Group::peak),
        group_kills: group.and_then(Group::kills),
    }
}

/// The most that a process ever had in RAM.
pub(in crate::bench) fn process_peak(id: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// A control group with a memory limit, version 1 or 2. Removed when it is dropped.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) path: PathBuf,
    pub(super) limit: u64,
    is_v1: bool,
}

impl Group {
    /// None where this machine or our rights do not allow it.
    pub(super) fn make(limit: u64) -> Option<Self> {
        let name = format!("fermata-bench-{}", std::process::id());
        let places = [("/sys/fs/cgroup/memory", true), ("/sys/fs/cgroup", false)];
        places.into_iter().find_map(|(parent, is_v1)| {
            let path = Path::new(parent).join(&name);
            let file = if is_v1 { "memory.limit_in_bytes" } else { "memory.max" };
            std::fs::create_dir(&path).ok()?;
            let group = Self { path, limit, is_v1 };
            std::fs::write(group.path.join(file), limit.to_string()).ok()?;
            Some(group)
        })
    }

    fn read(&self, v1: &str, v2: &str) -> Option<String> {
        std::fs::read_to_string(self.path.join(if self.is_v1 { v1 } else { v2 })).ok()
    }

    pub(super) fn peak(&self) -> Option<u64> {
        self.read("memory.max_usage_in_bytes", "memory.peak")?.trim().parse().ok()
    }

    /// Processes that the kernel killed in it for want of memory.
    pub(super) fn kills(&self) -> Option<u64> {
        let text = self.read("memory.oom_control", "memory.events")?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was in it may take a moment to go.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
