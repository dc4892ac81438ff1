//! Calls back at given times: the end of a sleep, a second look at a slow stop.
//!
//! One thread at a time keeps watch: an idle worker, which can go on with the function that it wakes,
//! else the timer's own thread, from when no worker is idle until nothing is due any more.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use super::job::unpoisoned;
use crate::kernel;

type Callback = Box<dyn FnOnce() + Send>;
type Key = (Instant, u64);

/// Calls back at given times.
pub(super) struct Timer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// The timer's own thread.
    own: OnceLock<Thread>,
}

#[derive(Default)]
struct Entries {
    callbacks: BTreeMap<Key, Callback>,
    next: u64,
    is_closed: bool,
    watch: Option<Thread>,
}

/// Takes the callback back when dropped, unless it has been called.
pub(super) struct Entry {
    /// None once it is detached.
    shared: Option<Arc<Shared>>,
    key: Key,
}

/// What a thread that would keep watch does next.
pub(super) enum Watch {
    /// Sleep until it is woken: another one keeps watch, or there is nothing to watch.
    None,
    /// Sleep until then, or until it is woken. It has the watch.
    Until(Instant),
    /// [`fire`] this. It has the watch.
    Due(Callback),
}

impl Timer {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("wasm-timer".into()).spawn(move || {
            // Without the right to it, timers are as late as the machine is busy.
            let _ = kernel::apply(0, kernel::CONTROL);
            be_exact();
            of_thread.run();
        })?;
        let _ = shared.own.set(thread.thread().clone());
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Calls `callback` at `at` or soon after.
    pub(super) fn at(&self, at: Instant, callback: Callback) -> Entry {
        let entry = self.at_rest(at, callback);
        self.see_to_watch();
        entry
    }

    /// The same, from a worker's thread that keeps watch itself where nobody does, or sees to it
    /// that somebody does ([`see_to_watch`](Self::see_to_watch)).
    pub(super) fn at_rest(&self, at: Instant, callback: Callback) -> Entry {
        let mut entries = unpoisoned(&self.shared.entries);
        let key = (at, entries.next);
        entries.next += 1;
        let is_first = entries.callbacks.first_key_value().is_none_or(|(first, _)| key < *first);
        if !entries.is_closed {
            entries.callbacks.insert(key, callback);
        }
        let watch = entries.watch.clone().filter(|_| is_first);
        drop(entries);
        if let Some(watch) = watch {
            watch.unpark();
        }
        Entry { shared: Some(Arc::clone(&self.shared)), key }
    }

    /// Has the timer's own thread keep watch where nobody does.
    pub(super) fn see_to_watch(&self) {
        self.shared.see_to_watch(&unpoisoned(&self.shared.entries));
    }

    /// Keeps watch where nobody does, or goes on doing so.
    pub(super) fn watch(&self, here: &Thread) -> Watch {
        self.shared.watch(here)
    }

    /// Keeps watch no longer, and sees to it that somebody does.
    pub(super) fn leave(&self, here: &Thread) {
        let mut entries = unpoisoned(&self.shared.entries);
        entries.watch.take_if(|watch| watch.id() == here.id());
        self.shared.see_to_watch(&entries);
    }

    /// Drops what is left and waits for the thread.
    pub(super) fn stop(&self) {
        let left = {
            let mut entries = unpoisoned(&self.shared.entries);
            entries.is_closed = true;
            std::mem::take(&mut entries.callbacks)
        };
        drop(left);
        if let Some(thread) = unpoisoned(&self.thread).take() {
            thread.thread().unpark();
            // A panic of a callback has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Calls back. A panic ends nothing else: somebody must go on keeping watch.
pub(super) fn fire(callback: Callback) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("the platform panicked while it woke a function");
    }
}

/// Has the kernel wake this thread when it asked for it: otherwise it adds 50 µs to each wait.
pub(super) fn be_exact() {
    let _ = nix::sys::prctl::set_timerslack(1);
}

impl Entry {
    /// Leaves the callback to be called though nobody holds the entry.
    pub(super) fn detach(mut self) {
        self.shared = None;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            // The callback may own what drops entries, so it goes after the lock.
            let callback = unpoisoned(&shared.entries).callbacks.remove(&self.key);
            drop(callback);
        }
    }
}

impl Shared {
    fn run(&self) {
        let here = std::thread::current();
        while !unpoisoned(&self.entries).is_closed {
            match self.watch(&here) {
                Watch::None => std::thread::park(),
                Watch::Until(at) => std::thread::park_timeout(at - Instant::now()),
                Watch::Due(callback) => fire(callback),
            }
        }
    }

    fn watch(&self, here: &Thread) -> Watch {
        let mut entries = unpoisoned(&self.entries);
        if entries.watch.as_ref().is_some_and(|watch| watch.id() != here.id()) {
            return Watch::None;
        }
        let Some((key, _)) = entries.callbacks.first_key_value() else {
            entries.watch = None;
            return Watch::None;
        };
        let key = *key;
        entries.watch.get_or_insert_with(|| here.clone());
        if key.0 > Instant::now() {
            return Watch::Until(key.0);
        }
        match entries.callbacks.remove(&key) {
            Some(callback) => Watch::Due(callback),
            None => Watch::None,
        }
    }

    fn see_to_watch(&self, entries: &Entries) {
        if entries.watch.is_none()
            && !entries.callbacks.is_empty()
            && let Some(own) = self.own.get()
        {
            own.unpark();
        }
    }
}
