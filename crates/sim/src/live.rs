//! The live policies in the simulated world: shards and machines of the crate `policy`, and a
//! network between them.
//!
//! Without delay a message is taken in before time goes on. With delay all messages are equally
//! late, so that those under way form one queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use model::{InvocationId, MachineId, ShardId, Timestamp};
use policy::{
    Machine, MachineConfig, MachineInput, MachineOutput, Policy, RunReason, Shard, ShardConfig,
    ShardInput, ShardOutput, ToMachine, ToShard,
};

use crate::random::{Purpose, Stream, derive};
use crate::scheduler::{Cluster, Input, Output, Scheduler};

/// Shards, machines, and the messages between them.
pub struct Live {
    policy: Arc<dyn Policy>,
    cluster: Cluster,
    shards: Vec<Box<dyn Shard>>,
    /// None while the machine is lost.
    machines: Vec<Option<Box<dyn Machine>>>,
    balance: Stream,
    /// To be taken in now.
    pending: VecDeque<Message>,
    /// Under way.
    in_flight: VecDeque<(u64, Message)>,
    /// When which actor wants a tick, superseded ones included.
    ticks: BinaryHeap<Reverse<(u64, Actor)>>,
    /// The earliest tick in `ticks` of each shard and machine.
    armed_shards: Vec<u64>,
    armed_machines: Vec<u64>,
    /// Actors that took a message in since their deadlines were last looked at.
    touched: Vec<Actor>,
    messages: u64,
    held: usize,
    restarts: u64,
    from_shard: Vec<ShardOutput>,
    from_machine: Vec<MachineOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    Shard(u32),
    Machine(u32),
}

#[derive(Debug)]
enum Message {
    ToShard(u32, ShardInput),
    ToMachine(u32, MachineInput),
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("an index fits")
}

impl Live {
    /// Shards and machines of that policy, nothing placed.
    #[must_use]
    pub fn new(policy: Arc<dyn Policy>, cluster: Cluster) -> Self {
        let machines: Vec<MachineId> = (0..cluster.machines).map(MachineId).collect();
        let mut seeds = Stream::new(cluster.seed, Purpose::Shard);
        let shards = (0..cluster.shards)
            .map(|id| {
                policy.shard(ShardConfig {
                    id: ShardId(id),
                    machines: machines.clone(),
                    prices: cluster.prices.clone(),
                    seed: seeds.bits(),
                    queue_max: cluster.queue_max,
                })
            })
            .collect();
        let mut live = Self {
            shards,
            machines: Vec::with_capacity(machines.len()),
            balance: Stream::new(cluster.seed, Purpose::Balance),
            pending: VecDeque::new(),
            in_flight: VecDeque::new(),
            ticks: BinaryHeap::new(),
            armed_shards: vec![u64::MAX; index(cluster.shards)],
            armed_machines: vec![u64::MAX; machines.len()],
            touched: Vec::new(),
            messages: 0,
            held: 0,
            restarts: 0,
            from_shard: Vec::new(),
            from_machine: Vec::new(),
            policy,
            cluster,
        };
        for id in 0..live.cluster.machines {
            let machine = live.new_machine(id);
            live.machines.push(Some(machine));
        }
        live
    }

    fn new_machine(&self, id: u32) -> Box<dyn Machine> {
        // Each start of a machine draws anew.
        let seed = derive(self.cluster.seed, Purpose::Machine)
            .wrapping_add((self.restarts << 32) + u64::from(id));
        self.policy.machine(MachineConfig {
            id: MachineId(id),
            shards: (0..self.cluster.shards).map(ShardId).collect(),
            cores: self.cluster.cores,
            admission_max: self.cluster.admission_max,
            prices: self.cluster.prices.clone(),
            seed,
        })
    }

    fn send(&mut self, now: Timestamp, message: Message) {
        if self.cluster.delay_ns == 0 {
            // Of many machines each is out of the cache when it is asked. Of those that are asked together
            // the memory is to be on its way together.
            if let Message::ToMachine(machine, _) = message
                && let Some(machine) = &self.machines[index(machine)]
            {
                std::hint::black_box(machine.functions());
            }
            self.pending.push_back(message);
        } else {
            self.in_flight.push_back((now.0 + self.cluster.delay_ns, message));
        }
    }

    fn take(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Arrive(submission) => {
                let shard = self.balance.below(self.shards.len());
                let shard = u32::try_from(shard).expect("as many shards as a u32 counts");
                self.held += 1;
                let arrive = ShardInput::Arrive(submission.job);
                self.pending.push_back(Message::ToShard(shard, arrive));
            }
            Input::Finished(machine, id) => self.tell(machine, MachineInput::Finished(id)),
            Input::Blocked(machine, id) => self.tell(machine, MachineInput::Blocked(id)),
            Input::Unblocked(machine, id) => self.tell(machine, MachineInput::Unblocked(id)),
            Input::Memory(machine, memory) => self.tell(machine, MachineInput::Memory(memory)),
            Input::Lost(machine) => {
                self.machines[index(machine.0)] = None;
                for shard in 0..self.cluster.shards {
                    let lost = ShardInput::MachineLost(machine);
                    self.pending.push_back(Message::ToShard(shard, lost));
                }
            }
            Input::Joined(machine) => {
                self.restarts += 1;
                self.machines[index(machine.0)] = Some(self.new_machine(machine.0));
                for shard in 0..self.cluster.shards {
                    let joined = ShardInput::MachineJoined(machine);
                    self.pending.push_back(Message::ToShard(shard, joined));
                }
            }
            Input::Wake => self.wake(now),
        }
    }

    fn tell(&mut self, machine: MachineId, input: MachineInput) {
        self.pending.push_back(Message::ToMachine(machine.0, input));
    }

    /// Makes due messages and ticks pending.
    fn wake(&mut self, now: Timestamp) {
        while self.in_flight.front().is_some_and(|(due, _)| *due <= now.0) {
            let (_, message) = self.in_flight.pop_front().expect("looked at");
            self.pending.push_back(message);
        }
        while let Some(&Reverse((due, actor))) = self.ticks.peek() {
            if due > now.0 {
                return;
            }
            self.ticks.pop();
            self.disarm(actor, due);
            match self.deadline_of(actor) {
                Some(deadline) if deadline <= now => self.pending.push_back(match actor {
                    Actor::Shard(shard) => Message::ToShard(shard, ShardInput::Tick),
                    Actor::Machine(machine) => Message::ToMachine(machine, MachineInput::Tick),
                }),
                Some(_) => self.touched.push(actor),
                None => {}
            }
        }
    }

    fn disarm(&mut self, actor: Actor, due: u64) {
        let armed = self.armed(actor);
        if *armed == due {
            *armed = u64::MAX;
        }
    }

    fn armed(&mut self, actor: Actor) -> &mut u64 {
        match actor {
            Actor::Shard(shard) => &mut self.armed_shards[index(shard)],
            Actor::Machine(machine) => &mut self.armed_machines[index(machine)],
        }
    }

    fn deadline_of(&self, actor: Actor) -> Option<Timestamp> {
        match actor {
            Actor::Shard(shard) => self.shards[index(shard)].deadline(),
            Actor::Machine(machine) => self.machines[index(machine)].as_ref()?.deadline(),
        }
    }

    /// Arranges ticks for the actors that were touched.
    fn arm(&mut self) {
        while let Some(actor) = self.touched.pop() {
            if let Some(deadline) = self.deadline_of(actor)
                && deadline.0 < *self.armed(actor)
            {
                *self.armed(actor) = deadline.0;
                self.ticks.push(Reverse((deadline.0, actor)));
            }
        }
    }

    fn deliver(&mut self, now: Timestamp, message: Message, out: &mut Vec<Output>) {
        self.messages += 1;
        match message {
            Message::ToShard(shard, input) => self.deliver_to_shard(now, shard, input, out),
            Message::ToMachine(machine, input) => self.deliver_to_machine(now, machine, input, out),
        }
    }

    fn deliver_to_shard(
        &mut self,
        now: Timestamp,
        shard: u32,
        input: ShardInput,
        out: &mut Vec<Output>,
    ) {
        let mut said = std::mem::take(&mut self.from_shard);
        self.shards[index(shard)].step(now, input, &mut said);
        for output in said.drain(..) {
            match output {
                ShardOutput::ToMachine(machine, message) => {
                    let input = MachineInput::FromShard(ShardId(shard), message);
                    self.send(now, Message::ToMachine(machine.0, input));
                }
                ShardOutput::Reject(job, _) => {
                    self.held -= 1;
                    out.push(Output::Reject(job.id));
                }
                ShardOutput::Held(_) => {}
            }
        }
        self.from_shard = said;
        self.touched.push(Actor::Shard(shard));
    }

    fn deliver_to_machine(
        &mut self,
        now: Timestamp,
        id: u32,
        input: MachineInput,
        out: &mut Vec<Output>,
    ) {
        let placing = match &input {
            MachineInput::FromShard(shard, ToMachine::Place(job, _)) => Some((*shard, *job)),
            _ => None,
        };
        let Some(machine) = &mut self.machines[index(id)] else {
            // A job on its way to a machine that is gone comes back to its shard.
            if let Some((shard, job)) = placing {
                self.send(now, Message::ToShard(shard.0, ShardInput::Arrive(job)));
            }
            return;
        };
        let machine_id = MachineId(id);
        if let Some((_, job)) = placing {
            self.held = self.held.wrapping_sub(1);
            out.push(Output::Placed(machine_id, job.id));
        }
        let mut said = std::mem::take(&mut self.from_machine);
        machine.step(now, input, &mut said);
        for output in said.drain(..) {
            match output {
                MachineOutput::Run(job, RunReason::Shared { .. }) => {
                    out.push(Output::Share(machine_id, job));
                }
                MachineOutput::Run(job, _) => out.push(Output::Run(machine_id, job)),
                MachineOutput::Preempt(job, _) => out.push(Output::Preempt(machine_id, job)),
                MachineOutput::ToShard(shard, message) => {
                    if let ToShard::Refused(job, _) = &message {
                        self.held += 1;
                        out.push(Output::Returned(machine_id, job.id));
                    }
                    let input = ShardInput::FromMachine(machine_id, message);
                    self.send(now, Message::ToShard(shard.0, input));
                }
            }
        }
        self.from_machine = said;
        self.touched.push(Actor::Machine(id));
    }
}

impl Scheduler for Live {
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        self.take(now, input);
        while let Some(message) = self.pending.pop_front() {
            self.deliver(now, message, out);
        }
        self.arm();
    }

    fn deadline(&self) -> Option<Timestamp> {
        let message = self.in_flight.front().map(|(due, _)| *due);
        let tick = self.ticks.peek().map(|Reverse((due, _))| *due);
        message.into_iter().chain(tick).min().map(Timestamp)
    }

    fn foresee(&self, machine: MachineId, id: InvocationId) {
        if let Some(Some(machine)) = self.machines.get(index(machine.0)) {
            std::hint::black_box(machine.holds(id));
        }
    }

    fn held(&self) -> usize {
        self.held
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}
