//! One invocation: its state machine, what it used and what it printed.
//!
//! Events are sent while the job is locked, so they come in the order of the changes they tell of,
//! and none comes after `Finished`. Order of locks: job, pool, sandbox slot.

mod swapping;

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use model::receipt::Used;
use model::{Bytes64, CpuTime, Failure, InvocationId};
use tokio::sync::oneshot;

use self::swapping::Whereabouts;
use super::group::Group;
use super::sandbox::{Next, Sandbox};
use super::shared::{Shared, unpoisoned};
use crate::executor::{CallResult, Ended, Event, Finished, Logs, Start};
use crate::kernel::Band;
use crate::meter::MemoryMeter;

/// Looks in a row without CPU time used before a function counts as waiting. One alone could fall
/// between our sending and its waking.
const QUIET_LOOKS: u32 = 2;

/// One invocation.
pub(super) struct Job {
    pub(super) start: Start,
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
}

/// What becomes of the sandbox after an invocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    Keep,
    Discard,
}

/// Who has the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    /// The function.
    Held,
    /// Being taken.
    Stopping,
    /// Taken.
    Stopped,
    /// The function gave it up, and may notice by itself that it can go on.
    Blocked,
    /// It can go on and is stopped until `resume`.
    Unblocked,
}

struct Inner {
    core: Core,
    band: Band,
    sandbox: Option<Arc<Sandbox>>,
    is_cold: bool,
    is_delivered: bool,
    is_finished: bool,
    cpu_before: u64,
    cpu_last: u64,
    quiet_looks: u32,
    memory: MemoryMeter,
    whereabouts: Whereabouts,
    /// Answers to its calls that wait for `resume`.
    answers: Vec<(oneshot::Sender<CallResult>, CallResult)>,
}

impl Inner {
    fn is_stopping(&self) -> bool {
        self.core == Core::Stopping && !self.is_finished
    }
}

impl Job {
    pub(super) fn new(start: Start, shared: Arc<Shared>) -> Arc<Self> {
        let inner = Inner {
            core: Core::Held,
            band: start.band,
            sandbox: None,
            is_cold: true,
            is_delivered: false,
            is_finished: false,
            cpu_before: 0,
            cpu_last: 0,
            quiet_looks: 0,
            memory: MemoryMeter::new(shared.clock.now()),
            whereabouts: Whereabouts::Ram,
            answers: Vec::new(),
        };
        Arc::new(Self { start, shared, inner: Mutex::new(inner) })
    }

    pub(super) fn id(&self) -> InvocationId {
        self.start.id
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        unpoisoned(&self.inner)
    }

    fn emit(&self, event: Event) {
        (self.shared.events)(event);
    }

    /// Gives it a sandbox, whose slot names it already.
    pub(super) fn attach(&self, sandbox: &Arc<Sandbox>, is_cold: bool) {
        let mut inner = self.lock();
        if inner.is_finished {
            drop(inner);
            self.shared.discard(sandbox);
            return;
        }
        inner.sandbox = Some(Arc::clone(sandbox));
        inner.is_cold = is_cold;
        self.opened(&mut inner);
    }

    /// Its sandbox can be measured and stopped from now on.
    pub(super) fn sandbox_opened(&self) {
        self.opened(&mut self.lock());
    }

    /// It has a core from now on.
    fn take_core(&self, group: &Group, band: Band) {
        if let Some(cores) = &self.shared.cores {
            group.pin(cores.take(self.id(), band.into()));
        }
    }

    fn give_core_back(&self) {
        if let Some(cores) = &self.shared.cores {
            cores.give_back(self.id());
        }
    }

    fn opened(&self, inner: &mut Inner) {
        let Some(sandbox) = inner.sandbox.clone() else { return };
        let Some(group) = sandbox.group() else { return };
        group.set_band(inner.band);
        inner.cpu_before = group.cpu_nanos();
        inner.cpu_last = inner.cpu_before;
        // The start of a sandbox is the platform's work: the bill begins where it can run.
        let now = self.shared.clock.now();
        inner.memory = MemoryMeter::new(now);
        inner.memory.sample(group.memory_bytes(), now);
        match inner.core {
            Core::Held => {
                self.take_core(group, inner.band);
                group.go_on();
            }
            Core::Blocked => group.go_on(),
            Core::Stopping | Core::Stopped | Core::Unblocked => group.stop(),
        }
        self.try_deliver(inner);
    }

    /// Hands the invocation to the function's program, if that asks and a core is there.
    pub(super) fn deliver(&self) {
        self.try_deliver(&mut self.lock());
    }

    fn try_deliver(&self, inner: &mut Inner) {
        if inner.is_delivered || inner.is_finished || inner.core != Core::Held {
            return;
        }
        let Some(asking) = inner.sandbox.as_ref().and_then(|sandbox| sandbox.take_asking()) else {
            return;
        };
        if let Some(group) = inner.sandbox.as_ref().and_then(|sandbox| sandbox.group()) {
            self.take_core(group, inner.band);
        }
        inner.is_delivered = true;
        let at = self.shared.clock.now();
        self.emit(Event::Running { id: self.id(), at, cold: inner.is_cold });
        // Where the program has just gone, its end finishes this invocation.
        let _ = asking.send(Next(self.start.clone()));
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.lock().is_delivered
    }

    /// See [`crate::Executor::preempt`].
    pub(super) fn preempt(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.is_finished || inner.core != Core::Held {
            return;
        }
        self.give_core_back();
        let sandbox = inner.sandbox.clone();
        match sandbox.as_ref().and_then(|sandbox| sandbox.group()) {
            Some(group) => {
                inner.core = Core::Stopping;
                group.stop();
                self.shared.confirm_stop(Arc::clone(self));
            }
            None => {
                inner.core = Core::Stopped;
                self.emit(Event::Stopped { id: self.id(), at: self.shared.clock.now() });
            }
        }
    }

    /// Waits until a stop took hold and tells. For the thread that does only this.
    pub(super) fn await_stop(&self) {
        let sandbox = self.lock().sandbox.clone();
        let group = sandbox.as_ref().and_then(|sandbox| sandbox.group());
        let is_wanted = || self.lock().is_stopping();
        if group.is_some_and(|group| !group.await_stop(super::STOP_BOUND, is_wanted)) && is_wanted()
        {
            // Such a thread waits in the kernel and cannot be interrupted; it uses no core.
            tracing::debug!(id = %self.id(), "a thread takes long to stop");
        }
        let mut inner = self.lock();
        if inner.is_stopping() {
            inner.core = Core::Stopped;
            self.emit(Event::Stopped { id: self.id(), at: self.shared.clock.now() });
        }
    }

    /// See [`crate::Executor::resume`].
    pub(super) fn resume(&self) {
        let mut inner = self.lock();
        match inner.core {
            Core::Stopping | Core::Stopped | Core::Unblocked if !inner.is_finished => {}
            _ => return,
        }
        inner.core = Core::Held;
        inner.quiet_looks = 0;
        self.goes_on_touching(&mut inner);
        if let Some(group) = inner.sandbox.as_ref().and_then(|sandbox| sandbox.group()) {
            self.take_core(group, inner.band);
            group.go_on();
        }
        for (waiting, answer) in std::mem::take(&mut inner.answers) {
            // The function may have stopped waiting for it.
            let _ = waiting.send(answer);
        }
        self.try_deliver(&mut inner);
    }

    /// See [`crate::Executor::set_band`].
    pub(super) fn set_band(&self, band: Band) {
        let mut inner = self.lock();
        inner.band = band;
        if let Some(group) = inner.sandbox.as_ref().and_then(|sandbox| sandbox.group()) {
            group.set_band(band);
        }
    }

    /// It has made a call and waits for the answer.
    pub(super) fn wait_for_call(&self) {
        self.block(&mut self.lock());
    }

    fn block(&self, inner: &mut Inner) {
        if inner.core == Core::Held && !inner.is_finished {
            inner.core = Core::Blocked;
            self.give_core_back();
            // The way into its waiting is not yet "used a core again".
            inner.quiet_looks = 0;
            self.emit(Event::Blocked { id: self.id() });
        }
    }

    fn unblock(&self, inner: &mut Inner) {
        if let Some(group) = inner.sandbox.as_ref().and_then(|sandbox| sandbox.group()) {
            group.stop();
        }
        inner.core = Core::Unblocked;
        self.emit(Event::Unblocked { id: self.id() });
    }

    /// A call of it was answered; it hears so once it has a core.
    pub(super) fn call_answered(&self, waiting: oneshot::Sender<CallResult>, answer: CallResult) {
        let mut inner = self.lock();
        if inner.is_finished {
            return;
        }
        if inner.core == Core::Held {
            let _ = waiting.send(answer);
            return;
        }
        inner.answers.push((waiting, answer));
        if inner.core == Core::Blocked {
            self.unblock(&mut inner);
        }
    }

    /// Looks whether it waits, or has begun to use a core again.
    pub(super) fn look(&self, with_memory: bool) {
        let mut inner = self.lock();
        let Some(sandbox) = inner.sandbox.clone() else { return };
        let Some(group) = sandbox.group() else { return };
        if inner.is_finished {
            return;
        }
        if with_memory {
            inner.memory.sample(group.memory_bytes(), self.shared.clock.now());
        }
        let cpu = group.cpu_nanos();
        let is_quiet = cpu == inner.cpu_last;
        inner.cpu_last = cpu;
        match inner.core {
            Core::Held if !is_quiet || !inner.is_delivered => inner.quiet_looks = 0,
            Core::Held => {
                inner.quiet_looks += 1;
                if inner.quiet_looks >= QUIET_LOOKS && group.all_sleep() {
                    self.block(&mut inner);
                    inner.quiet_looks = QUIET_LOOKS;
                }
            }
            Core::Blocked if is_quiet => inner.quiet_looks += 1,
            // After a call, the first look sees the way into its waiting.
            Core::Blocked if inner.quiet_looks == 0 => inner.quiet_looks = 1,
            Core::Blocked => self.unblock(&mut inner),
            Core::Stopping | Core::Stopped | Core::Unblocked => {}
        }
    }

    /// Memory it held at the last look.
    pub(super) fn memory(&self) -> Bytes64 {
        self.lock().memory.bytes()
    }

    /// Ends the invocation; whether it was this call that did.
    pub(super) fn finish(&self, outcome: Result<Bytes, Failure>, afterwards: Afterwards) -> bool {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.is_finished, true) {
            return false;
        }
        self.give_core_back();
        inner.answers.clear();
        let sandbox = inner.sandbox.take();
        let (mut cpu, mut logs) = (0, Logs::default());
        if let Some(sandbox) = &sandbox {
            logs = sandbox.take_output();
            if let Some(group) = sandbox.group() {
                cpu = group.cpu_nanos().saturating_sub(inner.cpu_before);
                inner.memory.sample(group.memory_bytes(), self.shared.clock.now());
            }
        }
        self.leaves_swap(&mut inner);
        let (memory, memory_peak) = inner.memory.finish(self.shared.clock.now());
        let finished = Finished {
            id: self.id(),
            outcome: outcome.map(Ended::Answer),
            used: Used { cpu: CpuTime(cpu), memory },
            memory_peak,
            logs,
        };
        self.shared.forget(self.id());
        if let Some(sandbox) = sandbox {
            match afterwards {
                Afterwards::Keep => self.shared.keep(&sandbox, &self.start.class),
                Afterwards::Discard => self.shared.discard(&sandbox),
            }
        }
        self.emit(Event::Finished(Box::new(finished)));
        true
    }
}
