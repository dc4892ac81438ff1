//! An executor that does what its payload says, for tests of whoever gives orders to executors.
//!
//! Payloads: `ok:TEXT` answers at once, `fail:TEXT` fails at once, `hold` runs until
//! [`Fake::finish`], `call:NAME:PAYLOAD` and `call-as:CLASS:NAME:PAYLOAD` call another function and
//! answer with its answer, `sleep` is blocked until [`Fake::wake`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use model::receipt::Used;
use model::{Bytes64, CpuTime, Failure, FailureKind, InvocationId, SwapPlace, Timestamp};

use crate::executor::{
    Call, CallMode, CallResult, Ended, Event, Events, Executor, Finished, Held, Logs, MemoryUse,
    Platform, Prepare, PrepareError, Prepared, Reclaim, Reclaimed, Start, SwapUse,
};
use crate::kernel::Band;

/// What a fake was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// `start`, with the class and band it was to run in.
    Start(InvocationId, String, Band),
    /// `preempt`.
    Preempt(InvocationId),
    /// `resume`.
    Resume(InvocationId),
    /// `end`.
    End(InvocationId, FailureKind),
    /// `swap_out`.
    SwapOut(InvocationId),
    /// `swap_in`.
    SwapIn(InvocationId),
}

/// The scripted executor.
pub struct Fake {
    me: Weak<Self>,
    events: Events,
    platform: Arc<dyn Platform>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    told: Vec<Told>,
    running: BTreeMap<InvocationId, Option<Result<Bytes, Failure>>>,
    memory: BTreeMap<InvocationId, u64>,
    swaps: bool,
    swapped: BTreeSet<InvocationId>,
    looks: u64,
}

impl Fake {
    /// A fake with nothing running.
    pub fn new(events: Events, platform: Arc<dyn Platform>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            events,
            platform,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Waits until what it was told satisfies `enough`, and returns that.
    ///
    /// # Panics
    /// After ten seconds.
    #[track_caller]
    pub fn wait(&self, enough: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let bound = Duration::from_secs(10);
        let waiting = |state: &mut State| !enough(&state.told);
        let result = self.changed.wait_timeout_while(self.lock(), bound, waiting);
        let (state, waited) = result.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "not told in time; told so far: {:?}", state.told);
        state.told.clone()
    }

    /// Ends a function that holds.
    pub fn finish(&self, id: InvocationId, outcome: Result<Bytes, Failure>) {
        if self.lock().running.remove(&id).is_some() {
            self.finished(id, outcome);
        }
    }

    /// Unblocks a function that sleeps; it answers `awake` once it is resumed.
    pub fn wake(&self, id: InvocationId) {
        self.unblock(id, Ok(Bytes::from_static(b"awake")));
    }

    /// Lets an invocation seem to hold so much memory.
    pub fn set_memory(&self, id: InvocationId, bytes: u64) {
        self.lock().memory.insert(id, bytes);
    }

    /// Has swap of any size, and moves memory at once.
    pub fn enable_swap(&self) {
        self.lock().swaps = true;
    }

    /// How often its memory was looked at.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.lock().looks
    }

    /// Whether its memory is out.
    #[must_use]
    pub fn is_swapped(&self, id: InvocationId) -> bool {
        self.lock().swapped.contains(&id)
    }

    fn unblock(&self, id: InvocationId, outcome: Result<Bytes, Failure>) {
        if let Some(answer) = self.lock().running.get_mut(&id) {
            *answer = Some(outcome);
        }
        (self.events)(Event::Unblocked { id });
    }

    fn tell(&self, told: Told) {
        self.lock().told.push(told);
        self.changed.notify_all();
    }

    fn call(&self, id: InvocationId, class: Option<&str>, target: &str) {
        let (function, payload) = target.split_once(':').unwrap_or((target, ""));
        let call = Call {
            function: function.to_owned(),
            class: class.map(str::to_owned),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            mode: CallMode::Wait,
        };
        (self.events)(Event::Blocked { id });
        let me = self.me.clone();
        let answered = move |result| {
            let Some(me) = me.upgrade() else { return };
            me.unblock(
                id,
                match result {
                    CallResult::Ok(_, bytes) => Ok(bytes),
                    CallResult::Failed(_, failure) => Err(failure),
                    CallResult::Accepted(id) => Ok(Bytes::from(id.to_string())),
                    CallResult::Refused { code, message } => {
                        Err(Failure::new(FailureKind::Handler, format!("{code}: {message}")))
                    }
                },
            );
        };
        self.platform.call(id, call, Box::new(answered));
    }

    fn finished(&self, id: InvocationId, outcome: Result<Bytes, Failure>) {
        {
            let mut state = self.lock();
            state.memory.remove(&id);
            state.swapped.remove(&id);
        }
        (self.events)(Event::Finished(Box::new(Finished {
            id,
            outcome: outcome.map(Ended::Answer),
            used: Used { cpu: CpuTime(1_000_000), ..Used::default() },
            memory_peak: Bytes64(0),
            logs: Logs { bytes: b"log line\n".to_vec(), dropped: 0 },
        })));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executor for Fake {
    fn prepare(&self, code: &Prepare<'_>, _: &Path) -> Result<Prepared, PrepareError> {
        if code.package == b"bad" {
            return Err(PrepareError::Package { reason: "it says so".into() });
        }
        Ok(Prepared::default())
    }

    fn start(&self, start: Start) {
        let id = start.id;
        self.lock().running.insert(id, None);
        self.tell(Told::Start(id, start.class.clone(), start.band));
        (self.events)(Event::Running { id, at: Timestamp(0), cold: true });
        let payload = String::from_utf8_lossy(&start.payload).into_owned();
        let (word, rest) = payload.split_once(':').unwrap_or((&payload, ""));
        match word {
            "hold" => {}
            "sleep" => (self.events)(Event::Blocked { id }),
            "call" => self.call(id, None, rest),
            "call-as" => {
                let (class, target) = rest.split_once(':').unwrap_or((rest, ""));
                self.call(id, Some(class), target);
            }
            "fail" => self.finish(id, Err(Failure::new(FailureKind::Handler, rest))),
            _ => self.finish(id, Ok(Bytes::copy_from_slice(rest.as_bytes()))),
        }
    }

    fn preempt(&self, id: InvocationId) {
        self.tell(Told::Preempt(id));
        (self.events)(Event::Stopped { id, at: Timestamp(0) });
    }

    fn resume(&self, id: InvocationId) {
        self.tell(Told::Resume(id));
        let answer = self.lock().running.get_mut(&id).and_then(Option::take);
        if let Some(outcome) = answer {
            self.finish(id, outcome);
        }
    }

    fn end(&self, id: InvocationId, failure: Failure) {
        self.tell(Told::End(id, failure.kind));
        self.finish(id, Err(failure));
    }

    fn set_band(&self, _: InvocationId, _: Band) {}

    fn memory(&self) -> MemoryUse {
        let mut state = self.lock();
        state.looks += 1;
        self.changed.notify_all();
        let held = |(id, bytes): (&InvocationId, &u64)| {
            let (bytes, none) = (Bytes64(*bytes), Bytes64(0));
            let is_out = state.swapped.contains(id);
            let (resident, swapped) = if is_out { (none, bytes) } else { (bytes, none) };
            Held { id: *id, resident, swapped, fixed: !state.swaps, swaps_to: SwapPlace::File }
        };
        let swap = state.swaps.then(|| SwapUse { total: Bytes64(u64::MAX), ..SwapUse::default() });
        MemoryUse { held: state.memory.iter().map(held).collect(), swap, ..MemoryUse::default() }
    }

    fn swap_out(&self, id: InvocationId) {
        self.tell(Told::SwapOut(id));
        let bytes = {
            let mut state = self.lock();
            state.swapped.insert(id);
            Bytes64(state.memory.get(&id).copied().unwrap_or_default())
        };
        (self.events)(Event::SwappedOut { id, bytes, took: Duration::from_millis(1) });
    }

    fn swap_in(&self, id: InvocationId) {
        self.tell(Told::SwapIn(id));
        let bytes = {
            let mut state = self.lock();
            state.swapped.remove(&id);
            Bytes64(state.memory.get(&id).copied().unwrap_or_default())
        };
        (self.events)(Event::SwappedIn { id, bytes, took: Duration::from_millis(1) });
    }

    fn reclaim(&self, _: Reclaim<'_>) -> Reclaimed {
        Reclaimed::default()
    }

    fn shutdown(&self) {
        let ids: Vec<InvocationId> = self.lock().running.keys().copied().collect();
        for id in ids {
            self.end(id, Failure::new(FailureKind::Cancelled, "the server stopped"));
        }
    }
}
