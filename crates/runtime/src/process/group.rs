//! The server's view of one sandbox's control groups: stop it, let it go on, measure it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::{Hierarchy, Place, Tree};
use super::cores::Processor;
use super::paging::Pages;
use super::shared::unpoisoned;
use super::sys::read_again;
use crate::kernel::{self, Band};

const NICE_LOWEST: i8 = 19;
const WEIGHT_MIN: f64 = 2.0;
/// One step of nice is this much more or less of a core.
const NICE_STEP: f64 = 1.25;
/// From then on a stop that has not taken hold is helped by the highest weight.
const STOP_PATIENCE: Duration = Duration::from_millis(20);

/// One sandbox's groups, open.
pub(super) struct Group {
    stop: Stop,
    cpu: Usage,
    memory: Option<File>,
    pages: Pages,
    oom: Option<(File, &'static str)>,
    /// Members, by kernel thread id.
    threads: PathBuf,
    scheduling: Option<Scheduling>,
    weighing: Mutex<Weighing>,
    /// Where its threads may run, if that was told.
    pinned: Mutex<Option<Processor>>,
}

struct Weighing {
    band: Band,
    /// Whether it is to have no core.
    is_stopped: bool,
    /// Whether it is to notice its stop soon, whatever its band.
    is_urgent: bool,
    /// What the kernel was told last; it takes its time over each change.
    told: Option<Band>,
}

struct Scheduling {
    idle: Option<File>,
    weight: File,
    /// The weight of nice 0.
    normal: f64,
    weight_max: f64,
}

enum Stop {
    /// The group is frozen as a whole.
    Freeze { freeze: File, events: File },
    /// Each process gets a signal.
    Signal { processes: PathBuf },
}

enum Usage {
    Nanos(File),
    Stat(File),
}

impl Group {
    /// Opens the groups of sandbox `n`.
    pub(super) fn open(tree: &Tree, n: u32) -> io::Result<Self> {
        let any = tree.unified.as_ref().or(tree.pids.as_ref()).or(tree.cpuacct.as_ref());
        let any = any.ok_or_else(|| io::Error::other("this machine has no control groups"))?;
        let stop = match &tree.unified {
            Some(place) => {
                let group = place.group(n);
                let freeze = OpenOptions::new().write(true).open(group.join("cgroup.freeze"))?;
                Stop::Freeze { freeze, events: File::open(group.join("cgroup.events"))? }
            }
            None => Stop::Signal { processes: any.group(n).join("cgroup.procs") },
        };
        let cpu = match (&tree.cpuacct, &tree.unified) {
            (Some(place), _) => Usage::Nanos(File::open(place.group(n).join("cpuacct.usage"))?),
            (None, Some(place)) => Usage::Stat(File::open(place.group(n).join("cpu.stat"))?),
            (None, None) => return Err(io::Error::other("nothing counts CPU time here")),
        };
        let threads = match any.version {
            Hierarchy::V1 => "tasks",
            Hierarchy::V2 => "cgroup.threads",
        };
        let (memory, oom) = match &tree.memory {
            Some(place) => open_memory(place, n)?,
            None => (None, None),
        };
        Ok(Self {
            stop,
            cpu,
            memory,
            pages: Pages::new(&any.group(n), tree.memory.as_ref().map(|place| (place, n))),
            oom,
            threads: any.group(n).join(threads),
            scheduling: tree.cpu.as_ref().map(|place| open_scheduling(place, n)).transpose()?,
            weighing: Mutex::new(Weighing {
                band: Band::Normal { nice: 0 },
                is_stopped: false,
                is_urgent: false,
                told: None,
            }),
            pinned: Mutex::new(None),
        })
    }

    /// Lets its threads, and those that they make, run on this processor only.
    pub(super) fn pin(&self, processor: Processor) {
        let mut pinned = unpoisoned(&self.pinned);
        let mut only = CpuSet::new();
        if *pinned == Some(processor) || only.set(processor.0).is_err() {
            return;
        }
        let threads = fs::read_to_string(&self.threads).unwrap_or_default();
        for id in threads.lines().filter_map(|id| id.parse().ok()) {
            // It may have ended.
            let _ = sched_setaffinity(Pid::from_raw(id), &only);
        }
        // The program of a new sandbox may not be there yet.
        *pinned = (!threads.is_empty()).then_some(processor);
    }

    /// Begins to take all cores away. [`Group::await_stop`] tells when that took hold.
    pub(super) fn stop(&self) {
        unpoisoned(&self.weighing).is_stopped = true;
        match &self.stop {
            Stop::Freeze { freeze, .. } => ignore_gone(freeze.write_at(b"1", 0)),
            Stop::Signal { processes } => signal_all(processes, Signal::SIGSTOP),
        }
    }

    /// Lets it use cores again.
    pub(super) fn go_on(&self) {
        {
            let mut weighing = unpoisoned(&self.weighing);
            (weighing.is_stopped, weighing.is_urgent) = (false, false);
            self.tell(&mut weighing);
        }
        match &self.stop {
            Stop::Freeze { freeze, .. } => ignore_gone(freeze.write_at(b"0", 0)),
            Stop::Signal { processes } => signal_all(processes, Signal::SIGCONT),
        }
    }

    /// Waits until a stop took hold, at most for `bound` and for as long as it `is_wanted`; whether
    /// it did.
    ///
    /// It looks again and again: the kernel would tell, but at most once in ten milliseconds. What
    /// has a core stops at once. What has none needs one to stop on, and in a low band may wait for
    /// it for long, using none. It is given a high weight for that, but late: the kernel's scheduler
    /// lets a group keep the core time that it was owed at its old weight, so each moment of a high
    /// weight is paid for, after it, by those above the group's own band.
    pub(super) fn await_stop(&self, bound: Duration, is_wanted: impl Fn() -> bool) -> bool {
        const PAUSE_FIRST: Duration = Duration::from_micros(50);
        const PAUSE_MAX: Duration = Duration::from_millis(1);
        let begin = Instant::now();
        let mut pause = PAUSE_FIRST;
        while !self.is_stopped() {
            let waited = begin.elapsed();
            if waited >= bound || !is_wanted() {
                return false;
            }
            if waited >= STOP_PATIENCE {
                self.urge();
            }
            if let Stop::Signal { processes } = &self.stop {
                // A process that was forked between two looks has had no signal yet.
                signal_all(processes, Signal::SIGSTOP);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        true
    }

    fn is_stopped(&self) -> bool {
        match &self.stop {
            Stop::Freeze { events, .. } => {
                let mut buffer = [0; 64];
                read_again(events, &mut buffer).is_ok_and(|text| text.contains("frozen 1"))
            }
            Stop::Signal { .. } => self.all_threads_are(|state| matches!(state, 'T' | 't' | 'Z')),
        }
    }

    /// CPU time used by all that ran here, in nanoseconds; also of processes that have ended.
    pub(super) fn cpu_nanos(&self) -> u64 {
        let mut buffer = [0; 256];
        let read = match &self.cpu {
            Usage::Nanos(file) => {
                read_again(file, &mut buffer).ok().and_then(|t| t.trim().parse().ok())
            }
            Usage::Stat(file) => read_again(file, &mut buffer)
                .ok()
                .and_then(|text| text.lines().next()?.strip_prefix("usage_usec ")?.parse().ok())
                .map(|micros: u64| micros * 1000),
        };
        read.unwrap_or_default()
    }

    /// Memory held now, `/tmp` included.
    pub(super) fn memory_bytes(&self) -> u64 {
        let mut buffer = [0; 32];
        let text = self.memory.as_ref().and_then(|file| read_again(file, &mut buffer).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    /// Its memory, to be moved while it is stopped.
    pub(super) const fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Processes that the kernel killed here because memory ran out.
    pub(super) fn oom_kills(&self) -> u64 {
        let mut buffer = [0; 512];
        let Some((file, word)) = &self.oom else { return 0 };
        let Ok(text) = read_again(file, &mut buffer) else { return 0 };
        let count = text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        count.unwrap_or_default()
    }

    /// Whether no thread has or wants a core.
    pub(super) fn all_sleep(&self) -> bool {
        self.all_threads_are(|state| matches!(state, 'S' | 'D' | 'Z' | 'X' | 'I'))
    }

    fn all_threads_are(&self, wanted: impl Fn(char) -> bool) -> bool {
        let Ok(ids) = fs::read_to_string(&self.threads) else { return true };
        ids.lines().all(|id| thread_state(id).is_none_or(&wanted))
    }

    /// Tells the kernel how to weigh this sandbox against all else, now or when it goes on.
    pub(super) fn set_band(&self, band: Band) {
        let mut weighing = unpoisoned(&self.weighing);
        weighing.band = band;
        self.tell(&mut weighing);
    }

    /// A process notices only on a core that it is to stop. One that the kernel keeps from all
    /// cores, by its low band, could hold what is taken from it for long.
    fn urge(&self) {
        let mut weighing = unpoisoned(&self.weighing);
        // It may have been let go on meanwhile.
        weighing.is_urgent = weighing.is_stopped;
        self.tell(&mut weighing);
    }

    fn tell(&self, weighing: &mut Weighing) {
        let band = if weighing.is_urgent { kernel::CONTROL } else { weighing.band };
        // Without a group of its own, each new thread has to be told.
        if weighing.told != Some(band) || self.scheduling.is_none() {
            weighing.told = Some(band);
            self.weigh(band);
        }
    }

    fn weigh(&self, band: Band) {
        let Some(scheduling) = &self.scheduling else {
            for id in fs::read_to_string(&self.threads).unwrap_or_default().lines() {
                if let Ok(id) = id.parse() {
                    // The thread may have ended.
                    let _ = kernel::apply(id, band);
                }
            }
            return;
        };
        let idle = if band == Band::Idle { b"1" } else { b"0" };
        // Older kernels have no such file; then the weight alone tells.
        let has_idle = scheduling.idle.as_ref().is_some_and(|file| file.write_at(idle, 0).is_ok());
        let nice = match band {
            Band::Idle if has_idle => return,
            Band::Idle => NICE_LOWEST,
            Band::Normal { nice } => nice,
        };
        let weight = scheduling.normal * NICE_STEP.powi(-i32::from(nice));
        let weight = weight.round().clamp(WEIGHT_MIN, scheduling.weight_max);
        ignore_gone(scheduling.weight.write_at(weight.to_string().as_bytes(), 0));
    }
}

type Memory = (Option<File>, Option<(File, &'static str)>);

fn open_memory(place: &Place, n: u32) -> io::Result<Memory> {
    let group = place.group(n);
    let (usage, oom, word) = match place.version {
        Hierarchy::V1 => ("memory.usage_in_bytes", "memory.oom_control", "oom_kill "),
        Hierarchy::V2 => ("memory.current", "memory.events", "oom_kill "),
    };
    let oom = File::open(group.join(oom))?;
    Ok((Some(File::open(group.join(usage))?), Some((oom, word))))
}

fn open_scheduling(place: &Place, n: u32) -> io::Result<Scheduling> {
    let group = place.group(n);
    let open = |name: &str| OpenOptions::new().write(true).open(group.join(name));
    let (weight, normal, weight_max) = match place.version {
        Hierarchy::V1 => ("cpu.shares", 1024.0, 262_144.0),
        Hierarchy::V2 => ("cpu.weight", 100.0, 10_000.0),
    };
    Ok(Scheduling { idle: open("cpu.idle").ok(), weight: open(weight)?, normal, weight_max })
}

fn thread_state(id: &str) -> Option<char> {
    let stat = fs::read_to_string(Path::new("/proc").join(id).join("stat")).ok()?;
    // The name before may contain anything, closing parentheses too.
    stat.rsplit_once(") ")?.1.chars().next()
}

fn signal_all(processes: &Path, signal: Signal) {
    for id in fs::read_to_string(processes).unwrap_or_default().lines() {
        if let Ok(id) = id.parse() {
            // It may have ended.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }
}

/// A group that is gone neither stops nor goes on, and its end is reported elsewhere.
fn ignore_gone(result: io::Result<usize>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a sandbox's group is gone");
    }
}
