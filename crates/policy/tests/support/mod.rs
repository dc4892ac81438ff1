//! A small cluster driven by hand: shards and machines whose messages are carried at once, or lost.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{InvocationId, MachineId, PriceList, ShardId, Timestamp};
use policy::{
    Job, Machine, MachineConfig, MachineInput, MachineOutput, Policy, Shard, ShardConfig,
    ShardInput, ShardOutput, ToMachine,
};

/// What was decided, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    Shard(ShardId, ShardOutput),
    Machine(MachineId, MachineOutput),
}

/// A message under way.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    Shard(ShardId, ShardInput),
    Machine(MachineId, MachineInput),
}

pub(crate) struct Cluster {
    pub(crate) shards: Vec<Box<dyn Shard>>,
    pub(crate) machines: Vec<Box<dyn Machine>>,
    pub(crate) mail: VecDeque<Mail>,
    /// Machines from and to which nothing comes through.
    pub(crate) cut_off: BTreeSet<MachineId>,
    /// Where each placed invocation is.
    pub(crate) placed: BTreeMap<InvocationId, MachineId>,
    pub(crate) prices: PriceList,
}

/// What a cluster is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) shards: u32,
    pub(crate) machines: u32,
    pub(crate) cores: usize,
    pub(crate) admission_max: usize,
    pub(crate) queue_max: usize,
    pub(crate) seed: u64,
}

impl Cluster {
    pub(crate) fn new(policy: &dyn Policy, size: Size) -> Self {
        let prices = PriceList::default();
        let machines: Vec<MachineId> = (0..size.machines).map(MachineId).collect();
        let shards: Vec<ShardId> = (0..size.shards).map(ShardId).collect();
        let shard = |id: &ShardId| {
            policy.shard(ShardConfig {
                id: *id,
                machines: machines.clone(),
                prices: prices.clone(),
                seed: size.seed ^ u64::from(id.0),
                queue_max: size.queue_max,
            })
        };
        let machine = |id: &MachineId| {
            policy.machine(MachineConfig {
                id: *id,
                shards: shards.clone(),
                cores: size.cores,
                admission_max: size.admission_max,
                prices: prices.clone(),
                seed: size.seed ^ (u64::from(id.0) << 32),
            })
        };
        Self {
            shards: shards.iter().map(shard).collect(),
            machines: machines.iter().map(machine).collect(),
            mail: VecDeque::new(),
            cut_off: BTreeSet::new(),
            placed: BTreeMap::new(),
            prices,
        }
    }

    pub(crate) fn arrive(&mut self, shard: u32, job: Job) {
        self.mail.push_back(Mail::Shard(ShardId(shard), ShardInput::Arrive(job)));
    }

    /// Tells the machine that an invocation was placed on.
    pub(crate) fn tell(&mut self, id: InvocationId, input: MachineInput) {
        if let Some(machine) = self.placed.get(&id) {
            self.mail.push_back(Mail::Machine(*machine, input));
        }
    }

    /// Sends a tick to everyone whose deadline is reached.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        let due = |deadline: Option<Timestamp>| deadline.is_some_and(|at| at <= now);
        for (id, shard) in (0..).zip(&self.shards) {
            if due(shard.deadline()) {
                self.mail.push_back(Mail::Shard(ShardId(id), ShardInput::Tick));
            }
        }
        for (id, machine) in (0..).zip(&self.machines) {
            if due(machine.deadline()) {
                self.mail.push_back(Mail::Machine(MachineId(id), MachineInput::Tick));
            }
        }
    }

    /// The next thing that is due by itself.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let shards = self.shards.iter().filter_map(|shard| shard.deadline());
        shards.chain(self.machines.iter().filter_map(|machine| machine.deadline())).min()
    }

    /// Delivers everything in order; gives what was decided.
    pub(crate) fn carry(&mut self, now: Timestamp) -> Vec<Decided> {
        let mut decided = Vec::new();
        while let Some(mail) = self.mail.pop_front() {
            self.deliver(now, mail, &mut decided);
        }
        decided
    }

    /// Delivers one message.
    pub(crate) fn deliver(&mut self, now: Timestamp, mail: Mail, decided: &mut Vec<Decided>) {
        match mail {
            Mail::Shard(id, input) => {
                let mut out = Vec::new();
                self.shards[index(id.0)].step(now, input, &mut out);
                for output in out {
                    self.said_by_shard(id, &output);
                    decided.push(Decided::Shard(id, output));
                }
            }
            Mail::Machine(id, input) => {
                let mut out = Vec::new();
                self.machines[index(id.0)].step(now, input, &mut out);
                for output in out {
                    self.said_by_machine(id, &output);
                    decided.push(Decided::Machine(id, output));
                }
            }
        }
    }

    fn said_by_shard(&mut self, shard: ShardId, output: &ShardOutput) {
        if let ShardOutput::ToMachine(machine, message) = output {
            if let ToMachine::Place(job, _) = message {
                self.placed.insert(job.id, *machine);
            }
            if !self.cut_off.contains(machine) {
                let input = MachineInput::FromShard(shard, message.clone());
                self.mail.push_back(Mail::Machine(*machine, input));
            }
        }
    }

    fn said_by_machine(&mut self, machine: MachineId, output: &MachineOutput) {
        if let MachineOutput::ToShard(shard, message) = output
            && !self.cut_off.contains(&machine)
        {
            let input = ShardInput::FromMachine(machine, message.clone());
            self.mail.push_back(Mail::Shard(*shard, input));
        }
    }
}

pub(crate) fn index(id: u32) -> usize {
    usize::try_from(id).expect("a list's index fits")
}
