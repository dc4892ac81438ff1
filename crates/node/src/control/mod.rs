//! The control plane: one owner of all shards, machines and invocations under way.
//!
//! It takes [`Message`]s, steps the schedulers, and acts on what they decide. Each message is
//! carried to its end before the next one, so what a test sees is what a machine does.

mod cluster;

mod flight;
mod flights;
mod mailbox;
mod memory;
mod meters;
mod outbox;
mod steps;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use model::{
    Amount, Bytes64, ClassId, Failure, FailureKind, InvocationId, MachineId, MemoryPrice,
    PriceList, Receipt, TenantName, Timestamp, limits,
};
use policy::budget::{Decision, Ledger};
use policy::{Job, MachineInput, ShardInput};
use runtime::{Call, CallResult, Clock, Event, Executor, Finished, MemoryUse, Start, kernel::Band};

pub(crate) use cluster::{Act, Cluster};
pub(crate) use flight::{Ending, Flight, Place, RecordedBy, Submission};
pub(crate) use flights::Flights;
pub(crate) use mailbox::Mailbox;
use mailbox::{Due, Turn};
pub(crate) use memory::Memories;
pub(crate) use meters::Meters;
pub(crate) use outbox::Outbox;
pub(crate) use steps::{Reason, word};

use crate::error::{Error, ErrorKind};
use crate::settings::Bands;
use crate::types::{ClassStatus, Durations, MachineStatus, MemoryStatus};
use crate::writer::Write;

/// What the control thread is told.
pub(crate) enum Message {
    Submit(Box<Submission>),
    Event(Event),
    /// A running function calls another one.
    Call(InvocationId, Call, Box<dyn FnOnce(CallResult) + Send>),
    /// The caller of a synchronous call is gone.
    Withdraw(InvocationId),
    /// End this one, wherever it is. Tells whether its end is still to come; one that has not begun
    /// is dropped unheard.
    Cancel(InvocationId, Box<dyn FnOnce(bool) + Send>),
    /// What all executors together hold.
    Sampled(MemoryUse),
    /// A tenant's budget changed, or its spending is known (at start).
    Budget {
        tenant: TenantName,
        monthly: Option<Amount>,
        spent: Option<Amount>,
    },
    /// To the writer, after every receipt so far.
    Flush(Write),
    Peek(InvocationId, Box<dyn FnOnce(Option<Peek>) + Send>),
    Status(Box<dyn FnOnce(ControlStatus) + Send>),
    /// Answer when nothing is under way any more.
    Drain(Box<dyn FnOnce() + Send>),
    Stop,
}

/// How an invocation's caller hears of its end.
pub(crate) type Reply = Box<dyn FnOnce(Result<Done, Error>) + Send>;

/// An invocation that ended, for its caller.
pub(crate) struct Done {
    pub(crate) outcome: Result<runtime::Ended, Failure>,
    pub(crate) receipt: Receipt,
    pub(crate) durations: Durations,
    /// The whole record, where the caller keeps it itself ([`RecordedBy::Caller`]).
    pub(crate) kept: Option<Box<Ended>>,
}

impl Done {
    /// The answer, for whoever did not run a turn: the control thread has seen to it that nothing
    /// else suspends.
    pub(crate) fn answer(self) -> Result<Bytes, Failure> {
        self.outcome.map(|ended| match ended {
            runtime::Ended::Answer(answer) => answer,
            runtime::Ended::Suspended { .. } => Bytes::new(),
        })
    }
}

/// An invocation that ended, for the store.
pub(crate) struct Ended {
    pub(crate) flight: Flight,
    pub(crate) finished: Timestamp,
    pub(crate) outcome: Result<u64, Failure>,
    pub(crate) receipt: Receipt,
    pub(crate) logs: runtime::Logs,
}

/// An invocation under way, for whoever asks.
pub(crate) struct Peek {
    pub(crate) tenant: TenantName,
    pub(crate) function: model::FunctionName,
    pub(crate) version: model::Version,
    pub(crate) class: ClassId,
    pub(crate) caller: Option<InvocationId>,
    pub(crate) asynchronous: bool,
    pub(crate) attempt: u32,
    pub(crate) place: Place,
    pub(crate) arrived: Timestamp,
    pub(crate) durations: Durations,
    pub(crate) cold: Option<bool>,
    pub(crate) steps: Vec<(Timestamp, Reason)>,
}

/// The part of [`crate::Status`] that the control thread knows.
pub(crate) struct ControlStatus {
    pub(crate) classes: Vec<ClassStatus>,
    pub(crate) machines: Vec<MachineStatus>,
    pub(crate) memory: MemoryStatus,
}

/// A running function that calls, as far as the callee needs to know.
pub(crate) struct Caller {
    pub(crate) id: InvocationId,
    pub(crate) tenant: TenantName,
    pub(crate) class: ClassId,
    pub(crate) max_class: ClassId,
    pub(crate) depth: u32,
    pub(crate) traceparent: Option<String>,
}

/// What carries a function's call to its callee.
pub(crate) type OnCall = Box<dyn Fn(Caller, Call, Box<dyn FnOnce(CallResult) + Send>) + Send>;

/// Told of a class whose executions that only wait are to be forgotten, and where to count them.
pub(crate) type OnScarce = Box<dyn Fn(&str, &Arc<AtomicU64>) + Send>;

/// What the control thread is made of.
pub(crate) struct Control {
    pub(crate) clock: Clock,
    pub(crate) prices: PriceList,
    pub(crate) memory_price: MemoryPrice,
    pub(crate) bands: Bands,
    pub(crate) cores: usize,
    pub(crate) memory_total: Bytes64,
    pub(crate) memories: Memories,
    pub(crate) cluster: Cluster,
    pub(crate) ledger: Ledger,
    pub(crate) executors: Vec<Arc<dyn Executor>>,
    pub(crate) on_call: OnCall,
    pub(crate) on_scarce: OnScarce,
    /// To the writer of receipts.
    pub(crate) outbox: Outbox,
    /// Receipts that the writer has not committed.
    pub(crate) receipts_pending: Arc<AtomicU64>,
    pub(crate) flights: Flights,
    pub(crate) timers: BTreeSet<(Timestamp, InvocationId)>,
    pub(crate) meters: Meters,
    pub(crate) drained: Vec<Box<dyn FnOnce() + Send>>,
    pub(crate) acts: Vec<Act>,
}

impl Control {
    /// Takes messages, as many at most, until there is none.
    fn turn(&mut self, inbox: &Receiver<Message>, max: usize) -> Turn {
        for _ in 0..max {
            let now = self.clock.now();
            self.fire_timers(now);
            self.cluster.tick(now);
            self.outbox.tick(now);
            self.plan_due_memory(now);
            self.settle(now);
            let message = match inbox.try_recv() {
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => {
                    self.outbox.send();
                    return Turn::Stop;
                }
                Ok(message) => message,
                Err(TryRecvError::Empty) => return Turn::Idle(self.due()),
            };
            let now = self.clock.now();
            self.take(now, message);
            self.settle(now);
        }
        Turn::Enough
    }

    fn due(&self) -> Due {
        let timer = self.timers.first().map(|(at, _)| *at);
        let soon = [timer, self.cluster.deadline(), self.memories.deadline()];
        Due { soon: soon.into_iter().flatten().min(), receipts: self.outbox.deadline() }
    }

    fn take(&mut self, now: Timestamp, message: Message) {
        match message {
            Message::Submit(work) => self.submit(now, *work),
            Message::Event(event) => self.event(now, event),
            Message::Call(caller, call, reply) => self.call(caller, call, reply),
            Message::Withdraw(id) => self.withdraw(now, id),
            Message::Cancel(id, told) => told(self.cancel(now, id)),
            Message::Sampled(used) => self.sampled(now, &used),
            Message::Budget { tenant, monthly, spent } => {
                self.ledger.set(&tenant, monthly, spent, now);
            }
            Message::Flush(write) => self.outbox.send_with(write),
            Message::Peek(id, reply) => reply(self.flights.get(&id).map(peek)),
            Message::Status(reply) => reply(self.status(now)),
            Message::Drain(reply) => {
                self.drained.push(reply);
                self.tell_drained();
            }
            Message::Stop => {}
        }
    }

    /// Carries all messages and acts on every decision.
    fn settle(&mut self, now: Timestamp) {
        let mut acts = std::mem::take(&mut self.acts);
        loop {
            self.cluster.carry(now, &mut acts);
            if acts.is_empty() {
                break;
            }
            for act in acts.drain(..) {
                self.act(now, act);
            }
        }
        self.acts = acts;
    }

    fn submit(&mut self, now: Timestamp, mut work: Submission) {
        let stated = work.class;
        match self.ledger.admit(&work.code.tenant, stated, now) {
            Decision::AsStated => {}
            Decision::Demote { class, .. } => work.class = class,
            Decision::Refuse { retry_after, .. } => {
                self.meters.refused(stated);
                let message = format!(
                    "tenant {} has spent its budget and the tolerance; raise the budget or wait",
                    work.code.tenant
                );
                let error = Error::new(ErrorKind::OverBudget, message).retry_after(retry_after);
                (work.reply)(Err(error));
                return;
            }
        }
        if self.flights.same_or_higher(work.class) >= limits::IN_FLIGHT_MAX {
            self.meters.refused(stated);
            (work.reply)(Err(overloaded(limits::IN_FLIGHT_MAX)));
            return;
        }
        let (id, class, arrived) = (work.id, work.class, work.arrived);
        let shard = self.cluster.arrive(Job { id, class, arrived });
        let mut flight = Flight::new(work, shard);
        flight.note(now, Reason::Queued(shard, stated));
        if class != stated {
            flight.note(now, Reason::Demoted { from: stated, to: class });
        }
        self.flights.insert(flight);
    }

    fn act(&mut self, now: Timestamp, act: Act) {
        match act {
            Act::Run(id, reason) => self.run_function(now, id, reason),
            Act::Preempt(id, reason) => {
                let Some(flight) = self.flights.get_mut(&id) else { return };
                flight.durations.preemptions += 1;
                flight.note(now, Reason::Preempted(reason));
                flight.work.executor.preempt(id);
                self.move_to(now, id, Place::Preempted);
            }
            Act::Placed(id, machine, reason) => {
                let Some(flight) = self.flights.get_mut(&id) else { return };
                flight.machine = Some(machine);
                flight.note(now, Reason::Placed(machine, reason));
                self.move_to(now, id, Place::Waiting);
            }
            Act::Refused(id, machine, reason) => {
                let Some(flight) = self.flights.get_mut(&id) else { return };
                flight.machine = None;
                flight.note(now, Reason::Refused(machine, reason));
                self.move_to(now, id, Place::Queued);
            }
            Act::Held(id) => self.note(now, id, Reason::Held),
            Act::Reject(id, _) => {
                let Some(flight) = self.flights.remove(&id) else { return };
                self.meters.refused(flight.work.class);
                (flight.work.reply)(Err(overloaded(limits::SHARD_QUEUE_MAX)));
                self.tell_drained();
            }
        }
    }

    fn run_function(&mut self, now: Timestamp, id: InvocationId, reason: policy::RunReason) {
        if !self.may_run(now, id) {
            return;
        }
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.note(now, Reason::Ran(reason));
        flight.memory.rests = false;
        if flight.launched {
            let place = if flight.started.is_some() { Place::Running } else { Place::Starting };
            flight.work.executor.resume(id);
            self.move_to(now, id, place);
            return;
        }
        flight.launched = true;
        let work = &flight.work;
        let start = Start {
            id,
            code: Arc::clone(&work.code),
            payload: work.payload.clone(),
            band: band(self.bands, work.class, &self.prices),
            class: self.prices.get(work.class).name.clone(),
            deadline: now + work.code.timeout,
            token: work.token.clone(),
            traceparent: work.traceparent.clone(),
            durable: work.durable.clone(),
        };
        let executor = Arc::clone(&work.executor);
        self.move_to(now, id, Place::Starting);
        executor.start(start);
    }

    fn event(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Running { id, at, cold } => {
                let Some(flight) = self.flights.get_mut(&id) else { return };
                flight.started = Some(at);
                flight.cold = cold;
                flight.note(at, Reason::Began { cold });
                if flight.place == Place::Starting {
                    self.move_to(at, id, Place::Running);
                }
            }
            Event::Blocked { id } => {
                self.rests(id);
                let Some(flight) = self.flights.get_mut(&id) else { return };
                flight.is_waiting_outside = true;
                flight.note(now, Reason::Blocked);
                if !flight.memory.waits {
                    self.move_to(now, id, Place::Blocked);
                    self.tell_machine_of(id, MachineInput::Blocked(id));
                }
            }
            Event::Unblocked { id } => {
                let Some(flight) = self.flights.get_mut(&id) else { return };
                flight.is_waiting_outside = false;
                flight.note(now, Reason::Unblocked);
                // One that waits for memory too goes on when it has that.
                if !flight.memory.waits {
                    self.move_to(now, id, Place::Preempted);
                    self.tell_machine_of(id, MachineInput::Unblocked(id));
                }
            }
            Event::Stopped { id, .. } => self.rests(id),
            Event::ShortOfMemory { id, .. } => {
                self.rests(id);
                self.short_of_memory(now, id);
            }
            Event::SwappedOut { id, bytes, took } => self.swapped_out(now, id, bytes, took),
            Event::SwappedIn { id, bytes, took } => self.swapped_in(now, id, bytes, took),
            Event::SwapFailed { id, why } => self.swap_failed(now, id, why),
            Event::Finished(finished) => self.finished(now, *finished),
        }
    }

    fn finished(&mut self, now: Timestamp, finished: Finished) {
        let id = finished.id;
        self.tell_machine_of(id, MachineInput::Finished(id));
        let Some(mut flight) = self.flights.remove(&id) else { return };
        if let Some(timer) = flight.limit_ends() {
            self.timers.remove(&(timer, id));
        }
        self.memory_freed(now, &mut flight);
        let killed = flight.ending == Some(Ending::Memory) && finished.outcome.is_err();
        if killed && flight.restarts < limits::KILL_RESTARTS_MAX {
            flight.begin_again(now);
            flight.note(now, Reason::Restarted(flight.restarts));
            let (class, arrived) = (flight.work.class, flight.work.arrived);
            flight.shard = self.cluster.arrive(Job { id, class, arrived });
            self.flights.insert(flight);
            return;
        }
        flight.enter(now, Place::Queued);
        flight.note(now, Reason::Ended);
        let class = flight.work.class;
        let price = self.prices.get(class).price;
        let receipt = Receipt::new(class, price, self.memory_price, finished.used);
        self.ledger.charge(&flight.work.code.tenant, receipt.total(), now);
        self.meters.ended(now, &receipt, &flight.durations, finished.outcome.is_ok());
        let answer = match flight.work.durable {
            Some(_) => finished.outcome,
            None => finished.answer().map(runtime::Ended::Answer),
        };
        let outcome = match &answer {
            Ok(runtime::Ended::Answer(bytes)) => Ok(bytes.len()),
            Ok(runtime::Ended::Suspended { image, .. }) => Ok(image.len()),
            Err(failure) => Err(failure.clone()),
        };
        let outcome = outcome.map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
        let reply = std::mem::replace(&mut flight.work.reply, Box::new(|_| {}));
        let durations = flight.durations;
        let ended = Ended { flight, finished: now, outcome, receipt, logs: finished.logs };
        let kept = match ended.flight.work.recorded_by {
            RecordedBy::Caller => Some(Box::new(ended)),
            RecordedBy::Writer => {
                self.receipts_pending.fetch_add(1, Ordering::Relaxed);
                self.outbox.put(now, ended);
                None
            }
        };
        reply(Ok(Done { outcome: answer, receipt, durations, kept }));
        self.tell_drained();
    }

    fn call(&mut self, id: InvocationId, call: Call, reply: Box<dyn FnOnce(CallResult) + Send>) {
        let Some(flight) = self.flights.get(&id) else {
            reply(CallResult::caller_gone());
            return;
        };
        let caller = Caller {
            id,
            tenant: flight.work.code.tenant.clone(),
            class: flight.work.class,
            max_class: flight.work.max_class,
            depth: flight.work.depth,
            traceparent: flight.work.traceparent.clone(),
        };
        (self.on_call)(caller, call, reply);
    }

    /// Nobody waits for the answer: work that has not begun is dropped; work that has goes on.
    fn withdraw(&mut self, now: Timestamp, id: InvocationId) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        if flight.launched {
            return;
        }
        match flight.machine {
            None => self.cluster.tell_shard(flight.shard, ShardInput::Withdraw(id)),
            Some(machine) => self.cluster.tell_machine(machine, MachineInput::Finished(id)),
        }
        let mut flight = self.flights.remove(&id).expect("found above");
        flight.enter(now, Place::Queued);
        self.meters.refused(flight.work.class);
        self.tell_drained();
    }

    /// Ends an invocation; false where nothing of it is left to hear of.
    fn cancel(&mut self, now: Timestamp, id: InvocationId) -> bool {
        let Some(flight) = self.flights.get_mut(&id) else { return false };
        if !flight.launched {
            self.withdraw(now, id);
            return false;
        }
        if flight.ending.is_none() {
            flight.ending = Some(Ending::Cancelled);
            flight.note(now, Reason::Cancelled);
            let message = "whoever waited for it no longer does";
            flight.work.executor.end(id, Failure::new(FailureKind::Cancelled, message));
        }
        true
    }

    fn fire_timers(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            let Some(flight) = self.flights.get_mut(&id) else { continue };
            flight.ending = Some(Ending::Timeout);
            flight.note(now, Reason::TimedOut);
            let limit = flight.work.code.timeout;
            let message = format!("still running at its time limit of {limit:?}");
            flight.work.executor.end(id, Failure::new(FailureKind::TimedOut, message));
        }
    }

    /// Books the time so far, moves the invocation and sets its timer anew.
    fn move_to(&mut self, now: Timestamp, id: InvocationId, place: Place) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        if let Some(timer) = flight.limit_ends() {
            self.timers.remove(&(timer, id));
        }
        flight.enter(now, place);
        if let Some(timer) = flight.limit_ends().filter(|_| flight.ending.is_none()) {
            self.timers.insert((timer, id));
        }
    }

    fn note(&mut self, now: Timestamp, id: InvocationId, reason: Reason) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.note(now, reason);
        }
    }

    fn tell_machine_of(&mut self, id: InvocationId, input: MachineInput) {
        if let Some(machine) = self.flights.get(&id).and_then(|flight| flight.machine) {
            self.cluster.tell_machine(machine, input);
        }
    }

    fn tell_drained(&mut self) {
        if self.flights.is_empty() {
            for reply in self.drained.drain(..) {
                reply();
            }
        }
    }

    fn status(&mut self, now: Timestamp) -> ControlStatus {
        let mut classes: Vec<ClassStatus> =
            self.prices.iter().map(|(_, class)| ClassStatus::idle(class)).collect();
        self.meters.fill(now, &mut classes);
        for (class, queued) in classes.iter_mut().zip(self.cluster.queued()) {
            class.queued = queued;
        }
        let mut machines = Vec::new();
        for (index, lanes) in (0..).zip(self.cluster.lanes()) {
            let id = MachineId(index);
            for (class, lane) in classes.iter_mut().zip(&lanes) {
                class.waiting += lane.waiting;
                class.running += lane.running;
                class.preempted += lane.preempted;
                class.blocked += lane.blocked;
            }
            machines.push(MachineStatus {
                id,
                cores: self.cores,
                cores_held: lanes.iter().map(|lane| lane.running).collect(),
                memory_total: self.memory_total,
                memory_used: self.memories.used(id),
            });
        }
        ControlStatus { classes, machines, memory: self.memories.status(&self.flights) }
    }
}

fn overloaded(limit: usize) -> Error {
    let message = format!("{limit} invocations are under way; retry later or add machines");
    Error::new(ErrorKind::Overloaded, message).retry_after(Duration::from_secs(1))
}

fn band(bands: Bands, class: ClassId, prices: &PriceList) -> Band {
    match bands {
        Bands::ByClass => Band::of_class(class, prices),
        Bands::Same => Band::Normal { nice: 0 },
    }
}

fn peek(flight: &Flight) -> Peek {
    let work = &flight.work;
    Peek {
        tenant: work.code.tenant.clone(),
        function: work.code.function.clone(),
        version: work.code.version,
        class: work.class,
        caller: work.caller,
        asynchronous: work.mode == store::Mode::Async,
        attempt: work.attempt,
        place: flight.place,
        arrived: work.arrived,
        durations: flight.durations,
        cold: flight.started.map(|_| flight.cold),
        steps: flight.steps.clone(),
    }
}
