//! Which processor each function that holds a core runs on.
//!
//! The kernel's fair scheduler balances accounts, not classes: a thread that ran longer than its
//! share pays back later, up to a tick, and it pays to whoever else wants the same processor, even
//! to one that is to run only where nothing else does (`cpu.idle`). It also takes a processor with
//! only such threads for an idle one when it looks for a place. Together that made one start in
//! twenty wait for a background function that had a core of its own. So whoever gets a core gets
//! the processor that was freed for it, and functions meet only the control plane there.
//!
//! The control plane in turn is kept away from the processors of the highest class that runs, as long
//! as others are left to it: see [`super::steering`].

use std::sync::Mutex;
use std::time::Instant;

use model::InvocationId;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::shared::unpoisoned;
use super::steering::{Rank, Steering};

/// One of the computer's processors, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Processor(pub(super) usize);

/// See the module.
pub(super) struct Cores {
    seats: Mutex<Seats>,
}

struct Seats {
    all: Vec<Seat>,
    steering: Steering,
}

struct Seat {
    processor: Processor,
    /// More than one only where a function uses a core that was not given to it, as one does that
    /// has just woken.
    holders: Vec<(InvocationId, Rank)>,
    freed: Option<Instant>,
}

impl Cores {
    /// Those that this process may use, if they are as many as there are cores to be held: where
    /// functions share cores, the kernel balances better.
    pub(super) fn new(cores: Option<usize>) -> Option<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let all = (0..CpuSet::count()).filter(|n| allowed.is_set(*n).unwrap_or_default());
        let mut all: Vec<Processor> = all.map(Processor).collect();
        if !all.is_empty() {
            // So that two servers do not begin at the same one.
            let first = usize::try_from(std::process::id()).unwrap_or_default() % all.len();
            all.rotate_left(first);
        }
        Self::of(all, cores?)
    }

    fn of(processors: Vec<Processor>, cores: usize) -> Option<Self> {
        let is_enough = cores <= processors.len() && processors.len() > 1;
        is_enough.then(|| {
            let steering = Steering::new(&processors);
            let seat = |processor| Seat { processor, holders: Vec::new(), freed: None };
            let all = processors.into_iter().map(seat).collect();
            Self { seats: Mutex::new(Seats { all, steering }) }
        })
    }

    /// A processor for `id`: the one with the fewest holders; of those, the one that was freed last.
    pub(super) fn take(&self, id: InvocationId, rank: Rank) -> Processor {
        let mut seats = unpoisoned(&self.seats);
        let all = &mut seats.all;
        if let Some(seat) = all.iter().find(|seat| seat.holders.iter().any(|(one, _)| *one == id)) {
            return seat.processor;
        }
        let best =
            all.iter_mut().min_by_key(|seat| (seat.holders.len(), std::cmp::Reverse(seat.freed)));
        let seat = best.expect("there are two at least");
        seat.holders.push((id, rank));
        let processor = seat.processor;
        seats.steer();
        processor
    }

    /// `id` has no core any more.
    pub(super) fn give_back(&self, id: InvocationId) {
        let mut seats = unpoisoned(&self.seats);
        let mut is_changed = false;
        for seat in &mut seats.all {
            let before = seat.holders.len();
            seat.holders.retain(|(holder, _)| *holder != id);
            if seat.holders.len() < before {
                seat.freed = Some(Instant::now());
                is_changed = true;
            }
        }
        if is_changed {
            seats.steer();
        }
    }
}

impl Seats {
    fn steer(&mut self) {
        let ranks = self.all.iter().map(|seat| {
            let highest = seat.holders.iter().map(|(_, rank)| *rank).max();
            (seat.processor, highest.unwrap_or(Rank::NOBODY))
        });
        self.steering.steer(ranks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_core_away_gets_its_processor() {
        let cores = Cores::of((0..3).map(Processor).collect(), 3).unwrap();
        let id = |n| InvocationId(n);
        let first: Vec<usize> = (0..3).map(|n| cores.take(id(n), Rank::NOBODY).0).collect();
        assert_eq!(first, [0, 1, 2]);
        cores.give_back(id(1));
        assert_eq!(cores.take(id(7), Rank::NOBODY), Processor(1));
        assert_eq!(cores.take(id(7), Rank::NOBODY), Processor(1), "it has one already");
        cores.give_back(id(2));
        cores.give_back(id(0));
        assert_eq!(cores.take(id(8), Rank::NOBODY), Processor(0), "the one that was freed last");
        assert_eq!(cores.take(id(9), Rank::NOBODY), Processor(2));
        assert_eq!(cores.take(id(10), Rank::NOBODY), Processor(0), "all are taken: one is shared");
    }

    #[test]
    fn where_cores_are_shared_nobody_has_one_of_its_own() {
        let processors = || (0..2).map(Processor).collect();
        assert!(Cores::of(processors(), 3).is_none());
        assert!(Cores::of(processors(), 2).is_some());
        assert!(Cores::of(vec![Processor(0)], 1).is_none(), "there is nothing to choose");
        assert!(Cores::new(None).is_none());
    }
}
