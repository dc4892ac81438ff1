//! Polls under way: who was asked on behalf of which job, who answered, which answer is best.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use model::{ClassId, InvocationId, MachineId, Timestamp};

use super::queue::Queued;
use crate::message::{Load, PollId};
use crate::options::PollCount;

/// One question to several machines.
#[derive(Debug)]
pub(super) struct Poll {
    /// On whose behalf. None: only to learn whether the machine has room, or the job is withdrawn.
    pub(super) job: Option<Queued>,
    pub(super) asked: Vec<Asked>,
    pub(super) best: Option<Best>,
    deadline: Timestamp,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) machine: MachineId,
    pub(super) answered: bool,
}

/// The best answer with room so far. Compares by the smallest count, then the most free memory,
/// then the order of asking, which is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Best {
    pub(super) counted: usize,
    memory_free: Reverse<u64>,
    place: usize,
    pub(super) machine: MachineId,
}

#[derive(Debug)]
pub(super) struct Polls {
    count: PollCount,
    last: u64,
    /// Every poll waits equally long, so the first one is always the first to be due.
    open: BTreeMap<PollId, Poll>,
    by_job: BTreeMap<InvocationId, PollId>,
}

impl Poll {
    pub(super) fn answered(&self) -> usize {
        self.asked.iter().filter(|asked| asked.answered).count()
    }

    fn is_complete(&self) -> bool {
        self.asked.iter().all(|asked| asked.answered)
    }
}

impl Polls {
    pub(super) fn new(count: PollCount) -> Self {
        Self { count, last: 0, open: BTreeMap::new(), by_job: BTreeMap::new() }
    }

    /// Jobs whose poll is under way.
    pub(super) fn jobs(&self) -> usize {
        self.by_job.len()
    }

    /// The classes of those jobs.
    pub(super) fn classes(&self) -> impl Iterator<Item = ClassId> {
        self.open.values().filter_map(|poll| poll.job.map(|queued| queued.job.class))
    }

    pub(super) fn contains(&self, id: InvocationId) -> bool {
        self.by_job.contains_key(&id)
    }

    pub(super) fn start(
        &mut self,
        job: Option<Queued>,
        asked: Vec<Asked>,
        deadline: Timestamp,
    ) -> (PollId, &Poll) {
        self.last += 1;
        let id = PollId(self.last);
        if let Some(queued) = job {
            self.by_job.insert(queued.job.id, id);
        }
        (id, self.open.entry(id).or_insert(Poll { job, asked, best: None, deadline }))
    }

    /// Takes an answer in; gives the poll back when it was the last one. Late, repeated and
    /// unasked answers change nothing.
    pub(super) fn answer(&mut self, id: PollId, machine: MachineId, load: &Load) -> Option<Poll> {
        let poll = self.open.get_mut(&id)?;
        let place = poll.asked.iter().position(|a| a.machine == machine && !a.answered)?;
        poll.asked[place].answered = true;
        if load.room {
            let counted = match self.count {
                PollCount::All => load.functions,
                PollCount::SameOrHigher => load.same_or_higher,
            };
            let memory_free = Reverse(load.memory_free.0);
            let best = Best { counted, memory_free, place, machine };
            poll.best = Some(poll.best.map_or(best, |other| other.min(best)));
        }
        if poll.is_complete() { self.close(id) } else { None }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.open.first_key_value().map(|(_, poll)| poll.deadline)
    }

    /// Takes a poll that waited long enough.
    pub(super) fn expired(&mut self, now: Timestamp) -> Option<Poll> {
        let (&id, poll) = self.open.first_key_value()?;
        if poll.deadline <= now { self.close(id) } else { None }
    }

    /// Forgets a job; its poll goes on only to learn who has room.
    pub(super) fn withdraw(&mut self, id: InvocationId) {
        let Some(poll) = self.by_job.remove(&id) else { return };
        self.open.get_mut(&poll).expect("a polling job has its poll").job = None;
    }

    pub(super) fn boost(&mut self, id: InvocationId, class: ClassId) {
        let Some(poll) = self.by_job.get(&id) else { return };
        let poll = self.open.get_mut(poll).expect("a polling job has its poll");
        if let Some(queued) = &mut poll.job {
            queued.job.class = queued.job.class.max(class);
        }
    }

    /// Expects no answer of that machine any more and forgets those it gave; appends the polls
    /// that are complete by that.
    pub(super) fn forget_machine(&mut self, machine: MachineId, complete: &mut Vec<Poll>) {
        let mut closed = Vec::new();
        for (id, poll) in &mut self.open {
            let before = poll.asked.len();
            poll.asked.retain(|asked| asked.machine != machine);
            if poll.best.is_some_and(|best| best.machine == machine) {
                poll.best = None;
            }
            if poll.asked.len() < before && poll.is_complete() {
                closed.push(*id);
            }
        }
        complete.extend(closed.into_iter().filter_map(|id| self.close(id)));
    }

    fn close(&mut self, id: PollId) -> Option<Poll> {
        let poll = self.open.remove(&id)?;
        if let Some(queued) = &poll.job {
            self.by_job.remove(&queued.job.id);
        }
        Some(poll)
    }
}
