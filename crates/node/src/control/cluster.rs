//! Carries messages between shards and machines. Here they lie in one process, so a message is a
//! step away; a network would take this file's place.

use std::collections::VecDeque;

use model::{InvocationId, MachineId, ShardId, Timestamp};
use policy::{
    Job, Lane, Machine, MachineInput, MachineOutput, PlaceReason, PreemptReason, RefuseReason,
    RunReason, Shard, ShardInput, ShardOutput, ToMachine, ToShard,
};

/// What the schedulers decided, for the shell to act on and to note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Run(InvocationId, RunReason),
    Preempt(InvocationId, PreemptReason),
    Placed(InvocationId, MachineId, PlaceReason),
    Refused(InvocationId, MachineId, RefuseReason),
    Held(InvocationId),
    Reject(InvocationId, RefuseReason),
}

enum Mail {
    Shard(ShardId, ShardInput),
    Machine(MachineId, MachineInput),
}

/// All shards and machines of this process. Ids are places in the lists.
pub(crate) struct Cluster {
    shards: Vec<Box<dyn Shard>>,
    machines: Vec<Box<dyn Machine>>,
    mail: VecDeque<Mail>,
    next_shard: usize,
}

impl Cluster {
    pub(crate) fn new(shards: Vec<Box<dyn Shard>>, machines: Vec<Box<dyn Machine>>) -> Self {
        assert!(!shards.is_empty() && !machines.is_empty(), "one of each at least");
        Self { shards, machines, mail: VecDeque::new(), next_shard: 0 }
    }

    /// Hands a new invocation to the next shard in turn, as a load balancer would.
    pub(crate) fn arrive(&mut self, job: Job) -> ShardId {
        let shard = shard_id(self.next_shard);
        self.next_shard = (self.next_shard + 1) % self.shards.len();
        self.mail.push_back(Mail::Shard(shard, ShardInput::Arrive(job)));
        shard
    }

    pub(crate) fn tell_shard(&mut self, shard: ShardId, input: ShardInput) {
        self.mail.push_back(Mail::Shard(shard, input));
    }

    pub(crate) fn tell_machine(&mut self, machine: MachineId, input: MachineInput) {
        self.mail.push_back(Mail::Machine(machine, input));
    }

    /// Sends `Tick` to whoever's deadline is reached.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        let due = |deadline: Option<Timestamp>| deadline.is_some_and(|at| at <= now);
        for (index, shard) in self.shards.iter().enumerate() {
            if due(shard.deadline()) {
                self.mail.push_back(Mail::Shard(shard_id(index), ShardInput::Tick));
            }
        }
        for (index, machine) in self.machines.iter().enumerate() {
            if due(machine.deadline()) {
                self.mail.push_back(Mail::Machine(machine_id(index), MachineInput::Tick));
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let shards = self.shards.iter().filter_map(|shard| shard.deadline());
        shards.chain(self.machines.iter().filter_map(|machine| machine.deadline())).min()
    }

    /// Carries messages until none is under way; what was decided is appended to `acts` in order.
    pub(crate) fn carry(&mut self, now: Timestamp, acts: &mut Vec<Act>) {
        let mut from_shard = Vec::new();
        let mut from_machine = Vec::new();
        while let Some(mail) = self.mail.pop_front() {
            match mail {
                Mail::Shard(id, input) => {
                    self.shards[index(id.0)].step(now, input, &mut from_shard);
                    for output in from_shard.drain(..) {
                        self.said_by_shard(id, output, acts);
                    }
                }
                Mail::Machine(id, input) => {
                    self.machines[index(id.0)].step(now, input, &mut from_machine);
                    for output in from_machine.drain(..) {
                        self.said_by_machine(id, output, acts);
                    }
                }
            }
        }
    }

    /// Invocations in the shards' queues, by class.
    pub(crate) fn queued(&self) -> Vec<usize> {
        self.shards.iter().map(|shard| shard.queued()).reduce(add).unwrap_or_default()
    }

    /// What each machine holds, by class.
    pub(crate) fn lanes(&self) -> Vec<Vec<Lane>> {
        self.machines.iter().map(|machine| machine.lanes()).collect()
    }

    fn said_by_shard(&mut self, shard: ShardId, output: ShardOutput, acts: &mut Vec<Act>) {
        match output {
            ShardOutput::ToMachine(machine, message) => {
                if let ToMachine::Place(job, reason) = &message {
                    acts.push(Act::Placed(job.id, machine, reason.clone()));
                }
                let input = MachineInput::FromShard(shard, message);
                self.mail.push_back(Mail::Machine(machine, input));
            }
            ShardOutput::Reject(job, reason) => acts.push(Act::Reject(job.id, reason)),
            ShardOutput::Held(id) => acts.push(Act::Held(id)),
        }
    }

    fn said_by_machine(&mut self, machine: MachineId, output: MachineOutput, acts: &mut Vec<Act>) {
        match output {
            MachineOutput::Run(id, reason) => acts.push(Act::Run(id, reason)),
            MachineOutput::Preempt(id, reason) => acts.push(Act::Preempt(id, reason)),
            MachineOutput::ToShard(shard, message) => {
                if let ToShard::Refused(job, reason) = &message {
                    acts.push(Act::Refused(job.id, machine, *reason));
                }
                let input = ShardInput::FromMachine(machine, message);
                self.mail.push_back(Mail::Shard(shard, input));
            }
        }
    }
}

fn add(mut sums: Vec<usize>, more: Vec<usize>) -> Vec<usize> {
    for (sum, value) in sums.iter_mut().zip(more) {
        *sum += value;
    }
    sums
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("a list's index fits")
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u32::try_from(index).expect("made from a u32"))
}

fn machine_id(index: usize) -> MachineId {
    MachineId(u32::try_from(index).expect("made from a u32"))
}
