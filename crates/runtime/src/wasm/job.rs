//! One invocation: its state machine, what it used and what it printed.
//!
//! A job is in the hands of at most one worker. In `Running`, `Preempting` and `Ending` exactly one
//! worker has it or is about to get it; in the other states none has, and the fiber rests here.
//! Whoever changes the state under the lock also does what the change asks for, which is why two
//! callers can never both send the job to a worker.

mod short;
mod swapping;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use model::receipt::Used;
use model::{Bytes64, CpuTime, Failure, InvocationId};

use self::short::Short;
use self::swapping::Whereabouts;
use super::gate::Gate;
use super::tenant::Tenant;
use crate::Clock;
use crate::executor::{Code, Ended, Event, Events, Finished, Start};
use crate::kernel::{self, Band};
use crate::meter::{LogBuffer, MemoryMeter};
use crate::swap::Region;

/// A function on its own stack; ready when it has ended.
pub(super) type Fiber = Pin<Box<dyn Future<Output = Result<Ended, Failure>> + Send>>;

/// One invocation.
pub(super) struct Job {
    pub(super) id: InvocationId,
    pub(super) code: Arc<Code>,
    pub(super) class: String,
    pub(super) tenant: Arc<Tenant>,
    pub(super) memory: Mutex<MemoryMeter>,
    /// Where its linear memory is, while it has one.
    region: Mutex<Option<Region>>,
    short: Short,
    pub(super) logs: Mutex<LogBuffer>,
    clock: Clock,
    events: Events,
    /// A copy of "the state is `Preempting` or `Ending`", for the guest to see without the lock: a
    /// thread of the lowest band could be made to wait while it holds it.
    stop: AtomicBool,
    /// CPU time of finished polls, and the thread's clock at the beginning of the present one.
    cpu_nanos: AtomicU64,
    poll_began_nanos: AtomicU64,
    control: Mutex<Control>,
}

struct Control {
    state: State,
    body: Body,
    memory: Whereabouts,
    failure: Option<Failure>,
    wait: Wait,
    band: Band,
    /// Kernel id of the thread that polls the fiber.
    thread: Option<i32>,
    outbox: VecDeque<Event>,
    is_sending: bool,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It holds a core: a worker has it or is about to.
    Running,
    /// It runs and was asked to give the core back.
    Preempting,
    /// A preemption took hold.
    Parked,
    /// It waits for something else than a core.
    Blocked,
    /// What it waited for is there, but it has no core yet.
    Ready,
    /// It was told to end, and the worker that will drop its fiber has it or is about to.
    Ending,
    /// Its `Finished` is out or on its way.
    Ended,
}

/// What there is to run.
pub(super) enum Body {
    /// Nothing of it has run.
    New(Box<Start>),
    /// It has begun.
    Fiber(Fiber),
    /// A worker has it, or it is gone.
    Taken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    None,
    Pending,
    Done,
}

/// What the caller of a transition has to do after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Action {
    /// Nothing.
    None,
    /// Give the job to a worker.
    Dispatch,
    /// Make the guest look at its stop flag, soon.
    Interrupt,
    /// Give its thread the job's band back.
    Calm,
    /// Have its memory brought back.
    Fetch,
}

/// What a worker that has the job does with it.
pub(super) enum Claim {
    /// Poll this.
    Poll(Body),
    /// Drop this, then finish the job with the failure.
    End(Body, Failure),
    /// Forget it: it rests, or is over.
    Leave,
}

impl Job {
    pub(super) fn new(
        start: Start,
        tenant: Arc<Tenant>,
        gate: Arc<Gate>,
        clock: Clock,
        events: Events,
    ) -> Self {
        Self {
            id: start.id,
            code: Arc::clone(&start.code),
            class: start.class.clone(),
            tenant,
            memory: Mutex::new(MemoryMeter::new(clock.now())),
            region: Mutex::new(None),
            short: Short::new(gate),
            logs: Mutex::new(LogBuffer::default()),
            clock,
            events,
            stop: AtomicBool::new(false),
            cpu_nanos: AtomicU64::new(0),
            poll_began_nanos: AtomicU64::new(0),
            control: Mutex::new(Control {
                state: State::Running,
                band: start.band,
                body: Body::New(Box::new(start)),
                memory: Whereabouts::In,
                failure: None,
                wait: Wait::None,
                thread: None,
                outbox: VecDeque::new(),
                is_sending: false,
            }),
        }
    }

    /// Asks for the core back. Whoever waits or is parked holds none, so there is nothing to do.
    pub(super) fn preempt(&self) -> Action {
        self.change(|control, now| match control.state {
            // No worker has it yet: its memory is on its way.
            State::Running if !control.is_in() => {
                control.state = State::Parked;
                control.outbox.push_back(Event::Stopped { id: self.id, at: now() });
                Action::None
            }
            State::Running => {
                control.state = State::Preempting;
                Action::Interrupt
            }
            State::Preempting
            | State::Parked
            | State::Blocked
            | State::Ready
            | State::Ending
            | State::Ended => Action::None,
        })
    }

    /// Gives it a core. A preemption that has not taken hold yet is called off.
    pub(super) fn resume(&self) -> Action {
        self.change(|control, _| match control.state {
            State::Parked | State::Ready => {
                control.state = State::Running;
                control.go_on()
            }
            State::Preempting => {
                control.state = State::Running;
                Action::Calm
            }
            State::Running | State::Blocked | State::Ending | State::Ended => Action::None,
        })
    }

    /// Ends it. An answer that is complete before the guest sees this still counts.
    pub(super) fn end(&self, failure: Failure) -> Action {
        self.change(|control, _| match control.state {
            State::Running | State::Preempting if control.is_in() => {
                control.state = State::Ending;
                control.failure = Some(failure);
                Action::Interrupt
            }
            State::Running | State::Preempting | State::Parked | State::Blocked | State::Ready => {
                control.state = State::Ending;
                control.failure = Some(failure);
                control.go_end()
            }
            State::Ending | State::Ended => Action::None,
        })
    }

    /// For the worker that has the job: what to do with it now.
    pub(super) fn claim(&self) -> Claim {
        self.change(|control, now| match control.state {
            State::Running => Claim::Poll(control.take_body()),
            State::Preempting => {
                control.state = State::Parked;
                control.outbox.push_back(Event::Stopped { id: self.id, at: now() });
                Claim::Leave
            }
            State::Ending => {
                let failure = control.failure.take();
                let failure = failure.expect("`end` leaves a reason with the state");
                Claim::End(control.take_body(), failure)
            }
            State::Parked | State::Blocked | State::Ready | State::Ended => Claim::Leave,
        })
    }

    /// Says which thread is about to poll it, before that takes the job's band: from there on it
    /// may not get far without `hasten`.
    pub(super) fn enter(&self, thread: i32) {
        self.poll_began_nanos.store(kernel::thread_cpu_nanos(), Ordering::Relaxed);
        self.lock().thread = Some(thread);
    }

    /// The band that it shall have now.
    pub(super) fn band(&self) -> Band {
        self.lock().band
    }

    /// The poll is over. The thread is the worker's own again.
    pub(super) fn leave(&self) {
        self.cpu_nanos.store(self.cpu_now().0, Ordering::Relaxed);
        self.lock().thread = None;
    }

    /// Puts the unfinished fiber back. Rests it if it waits or memory is short; otherwise `claim` tells what is next.
    pub(super) fn put_back(&self, fiber: Fiber) -> Claim {
        let is_short = self.was_short();
        let rests = self.change(|control, now| {
            control.body = Body::Fiber(fiber);
            let runs = matches!(control.state, State::Running | State::Preempting);
            let waits = runs && control.wait == Wait::Pending;
            let stops = !waits && is_short && control.state == State::Running;
            if waits {
                control.state = State::Blocked;
                control.outbox.push_back(Event::Blocked { id: self.id });
            }
            if stops {
                control.state = State::Parked;
                control.outbox.push_back(Event::ShortOfMemory { id: self.id, at: now() });
            }
            waits || stops
        });
        if rests { Claim::Leave } else { self.claim() }
    }

    /// The one end of every job.
    pub(super) fn finish(&self, outcome: Result<Ended, Failure>) {
        self.set_region(None);
        let now = self.clock.now();
        let (memory, memory_peak) = self.close_meter(now);
        let cpu = CpuTime(self.cpu_nanos.load(Ordering::Relaxed));
        let logs = std::mem::take(&mut *unpoisoned(&self.logs)).into_logs();
        let used = Used { cpu, memory };
        let finished = Finished { id: self.id, outcome, used, memory_peak, logs };
        self.change(|control, _| {
            debug_assert_ne!(control.state, State::Ended, "a job finishes once");
            control.state = State::Ended;
            control.memory = Whereabouts::In;
            control.outbox.push_back(Event::Finished(Box::new(finished)));
        });
    }

    /// The handler's first instruction comes next.
    pub(super) fn begins(&self) {
        // Loading and instantiating were the platform's work: the function's own time begins here.
        self.cpu_nanos.store(0, Ordering::Relaxed);
        self.poll_began_nanos.store(kernel::thread_cpu_nanos(), Ordering::Relaxed);
        unpoisoned(&self.memory).begin(self.clock.now());
        self.change(|control, now| {
            control.outbox.push_back(Event::Running { id: self.id, at: now(), cold: true });
        });
    }

    /// Changes its band, and that of the thread that polls it. What the kernel says is returned.
    pub(super) fn set_band(&self, band: Band) -> std::io::Result<()> {
        let mut control = self.lock();
        control.band = band;
        control.thread.map_or(Ok(()), |thread| kernel::apply(thread, band))
    }

    /// While it is to stop, lifts the thread that polls it above all functions, so that it comes to
    /// where it stops though others want its core. Afterwards the worker sees to its own band.
    pub(super) fn hasten(&self) {
        let control = self.lock();
        if let (Some(thread), State::Preempting | State::Ending) = (control.thread, control.state) {
            // Without the right to do this, it stops when the kernel lets it run.
            let _ = kernel::apply(thread, kernel::CONTROL);
        }
    }

    /// Undoes `hasten` where the preemption was called off.
    pub(super) fn calm(&self) {
        let control = self.lock();
        if let (Some(thread), State::Running) = (control.thread, control.state) {
            // As above: where it could not be lifted, it need not be lowered.
            let _ = kernel::apply(thread, control.band);
        }
    }

    /// Whether the guest shall give its core back as soon as it can.
    pub(super) fn must_stop(&self) -> bool {
        // Pairs with the fence in `change`: whoever sees the new epoch also sees the flag.
        fence(Ordering::SeqCst);
        self.stop.load(Ordering::SeqCst)
    }

    /// Yields, and stays so as long as the guest is to stop.
    ///
    /// A guest goes on from here. Looking once more as late as this leaves only an instant in which
    /// an interrupt can come too early for it to notice.
    pub(super) async fn pause(self: Arc<Self>) {
        let mut has_yielded = false;
        std::future::poll_fn(|_| {
            let first = !std::mem::replace(&mut has_yielded, true);
            if first || self.must_stop() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Whether it waits for something else than a core.
    pub(super) fn is_blocked(&self) -> bool {
        self.lock().state == State::Blocked
    }

    /// CPU time used so far. Only right on the thread that polls the fiber.
    pub(super) fn cpu_now(&self) -> CpuTime {
        let began = self.poll_began_nanos.load(Ordering::Relaxed);
        let present = kernel::thread_cpu_nanos().saturating_sub(began);
        CpuTime(self.cpu_nanos.load(Ordering::Relaxed).saturating_add(present))
    }

    /// Memory held in RAM when it was last looked at.
    pub(super) fn memory_now(&self) -> Bytes64 {
        unpoisoned(&self.memory).bytes()
    }

    /// Gives the core back until `begin`'s callback has been called, and returns what it was called
    /// with. The callback may be called from any thread, at once or never (then only `end` helps).
    pub(super) async fn wait_for<T: Send + 'static, G>(
        self: &Arc<Self>,
        begin: impl FnOnce(Box<dyn FnOnce(T) + Send>) -> G,
    ) -> T {
        self.lock().wait = Wait::Pending;
        let slot = Arc::new(Mutex::new(None));
        let (done, job) = (Arc::clone(&slot), Arc::downgrade(self));
        let guard = begin(Box::new(move |value| {
            *unpoisoned(&done) = Some(value);
            if let Some(job) = job.upgrade() {
                job.wake();
            }
        }));
        let value = std::future::poll_fn(|_| match unpoisoned(&slot).take() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        })
        .await;
        drop(guard);
        self.lock().wait = Wait::None;
        value
    }

    fn wake(&self) {
        self.change(|control, _| {
            control.wait = Wait::Done;
            if control.state == State::Blocked {
                control.state = State::Ready;
                control.outbox.push_back(Event::Unblocked { id: self.id });
            }
        });
    }

    /// Changes the state under the lock, then sends the events in the order of the changes. They
    /// are sent without the lock, so that a receiver may call the executor.
    fn change<T>(
        &self,
        transition: impl FnOnce(&mut Control, &dyn Fn() -> model::Timestamp) -> T,
    ) -> T {
        let mut control = self.lock();
        let result = transition(&mut control, &|| self.clock.now());
        let stop = matches!(control.state, State::Preempting | State::Ending);
        self.stop.store(stop, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if control.is_sending {
            return result;
        }
        control.is_sending = true;
        while let Some(event) = control.outbox.pop_front() {
            drop(control);
            (self.events)(event);
            control = self.lock();
        }
        control.is_sending = false;
        result
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        unpoisoned(&self.control)
    }
}

impl Control {
    fn take_body(&mut self) -> Body {
        std::mem::replace(&mut self.body, Body::Taken)
    }
}

/// Locks; a panic of one job while it held the lock does not spread to others.
pub(super) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
