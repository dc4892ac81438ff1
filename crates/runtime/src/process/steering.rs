//! Keeps the server's own threads away from the processors on which the highest class runs.
//!
//! A thread of the server that wakes beside a function of the lowest class takes its core at once; one that
//! wakes on the processor of a function of the highest class waits up to a tick, or takes time from it. Where
//! all processors are busy the kernel stops looking for a better place, although one with nothing but a
//! background function would be better. So it is told where not to look, whenever that changes.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::cores::Processor;
use crate::kernel::Band;

/// The threads that are steered, by their names. Not those that start processes or run functions: what they
/// start would be kept to the same processors.
const STEERED: [&str; 5] =
    ["fermata-front", "fermata-control", "fermata-writer", "process-stops", "process-looks"];
/// How often threads that are new are looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// One in so many processors must be left to the server at least, or it may use all.
const LEFT_MIN: usize = 4;

/// How high what holds a processor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(i8);

impl Rank {
    /// Of a processor that nobody holds: as good a place for the server as beside the lowest class, which gives
    /// way at once.
    pub(super) const NOBODY: Self = Self(i8::MIN);
}

impl From<Band> for Rank {
    fn from(band: Band) -> Self {
        match band {
            Band::Idle => Self::NOBODY,
            Band::Normal { nice } => Self(-nice),
        }
    }
}

/// See the module.
pub(super) struct Steering {
    all: Vec<Processor>,
    /// Where they were told to be.
    told: Vec<Processor>,
    threads: HashMap<i32, Vec<Processor>>,
    looked: Option<Instant>,
}

impl Steering {
    pub(super) fn new(all: &[Processor]) -> Self {
        Self { all: all.to_vec(), told: Vec::new(), threads: HashMap::new(), looked: None }
    }

    /// Moves them, if what holds the processors asks for it.
    pub(super) fn steer(&mut self, held: impl Iterator<Item = (Processor, Rank)> + Clone) {
        let wanted = places(held);
        if wanted == self.told {
            return;
        }
        self.look();
        let mut set = CpuSet::new();
        // A number that does not fit came from such a set.
        let _ = wanted.iter().try_for_each(|processor| set.set(processor.0));
        self.threads.retain(|thread, at| {
            if *at == wanted {
                return true;
            }
            at.clone_from(&wanted);
            // One that has ended is forgotten.
            sched_setaffinity(Pid::from_raw(*thread), &set).is_ok()
        });
        self.told = wanted;
    }

    fn look(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        self.looked = Some(Instant::now());
        for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if self.threads.contains_key(&thread) {
                continue;
            }
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if STEERED.contains(&name.trim_end()) {
                self.threads.insert(thread, Vec::new());
            }
        }
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        let mut set = CpuSet::new();
        let _ = self.all.iter().try_for_each(|processor| set.set(processor.0));
        for thread in self.threads.keys() {
            let _ = sched_setaffinity(Pid::from_raw(*thread), &set);
        }
    }
}

/// All processors but those of the highest rank; all, where these are all or too many.
fn places(held: impl Iterator<Item = (Processor, Rank)> + Clone) -> Vec<Processor> {
    let highest = held.clone().map(|(_, rank)| rank).max();
    let all = held.clone().count();
    let left: Vec<Processor> = held
        .clone()
        .filter(|(_, rank)| Some(*rank) < highest)
        .map(|(processor, _)| processor)
        .collect();
    if left.is_empty() || left.len() * LEFT_MIN < all {
        return held.map(|(processor, _)| processor).collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places_of(ranks: &[Rank]) -> Vec<usize> {
        let held = ranks.iter().enumerate().map(|(n, rank)| (Processor(n), *rank));
        places(held).into_iter().map(|processor| processor.0).collect()
    }

    #[test]
    fn the_highest_class_that_runs_is_left_alone_as_long_as_there_is_room() {
        let (low, high) = (Rank::from(Band::Idle), Rank::from(Band::Normal { nice: -15 }));
        assert_eq!(places_of(&[Rank::NOBODY, Rank::NOBODY]), [0, 1]);
        assert_eq!(places_of(&[low, Rank::NOBODY]), [0, 1]);
        assert_eq!(places_of(&[low, high]), [0]);
        assert_eq!(places_of(&[high, high]), [0, 1]);
        let middle = Rank::from(Band::Normal { nice: 10 });
        assert_eq!(places_of(&[low, middle, high, high]), [0, 1]);
        assert_eq!(places_of(&[high, high, high, high, low]), [0, 1, 2, 3, 4], "one is too few");
    }

    #[test]
    fn threads_of_the_server_are_moved_and_others_are_not() {
        let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
        let all: Vec<Processor> = (0..CpuSet::count())
            .filter(|n| allowed.is_set(*n).unwrap_or_default())
            .map(Processor)
            .collect();
        if all.len() < 2 {
            eprintln!("skipped: one processor only");
            return;
        }
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let builder = std::thread::Builder::new().name("process-looks".into());
        let thread = builder.spawn(move || {
            tell.send(crate::kernel::thread_id()).unwrap();
            let _ = wait.recv();
        });
        let id = told.recv().unwrap();
        let places = |id| {
            let set = nix::sched::sched_getaffinity(Pid::from_raw(id)).unwrap();
            (0..CpuSet::count()).filter(|n| set.is_set(*n).unwrap_or_default()).count()
        };
        let mut steering = Steering::new(&all);
        let high = Rank::from(Band::Normal { nice: -15 });
        let held = all
            .iter()
            .enumerate()
            .map(|(n, processor)| (*processor, if n == 0 { high } else { Rank::from(Band::Idle) }));
        steering.steer(held);
        assert_eq!(places(id), all.len() - 1);
        assert_eq!(places(0), all.len(), "this thread has another name");
        drop(steering);
        assert_eq!(places(id), all.len());
        drop(done);
        thread.unwrap().join().unwrap();
    }
}
