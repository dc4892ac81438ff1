//! One thread that calls back at given times: the end of a sleep, a second look at a slow stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::job::unpoisoned;
use crate::kernel;

type Callback = Box<dyn FnOnce() + Send>;
type Key = (Instant, u64);

/// Calls back at given times, from its own thread.
pub(super) struct Timer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    entries: Mutex<Entries>,
    earlier: Condvar,
}

#[derive(Default)]
struct Entries {
    callbacks: BTreeMap<Key, Callback>,
    next: u64,
    is_closed: bool,
}

/// Takes the callback back when dropped, unless it has been called.
pub(super) struct Entry {
    /// None once it is detached.
    shared: Option<Arc<Shared>>,
    key: Key,
}

impl Timer {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("wasm-timer".into()).spawn(move || {
            // Without the right to it, timers are as late as the machine is busy.
            let _ = kernel::apply(0, kernel::CONTROL);
            // The kernel adds 50 µs to each wait of an ordinary thread unless told otherwise.
            let _ = nix::sys::prctl::set_timerslack(1);
            of_thread.run();
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Calls `callback` at `at` or soon after.
    pub(super) fn at(&self, at: Instant, callback: Callback) -> Entry {
        let mut entries = unpoisoned(&self.shared.entries);
        let key = (at, entries.next);
        entries.next += 1;
        let is_first = entries.callbacks.first_key_value().is_none_or(|(first, _)| key < *first);
        if !entries.is_closed {
            entries.callbacks.insert(key, callback);
        }
        drop(entries);
        if is_first {
            self.shared.earlier.notify_one();
        }
        Entry { shared: Some(Arc::clone(&self.shared)), key }
    }

    /// Drops what is left and waits for the thread.
    pub(super) fn stop(&self) {
        let left = {
            let mut entries = unpoisoned(&self.shared.entries);
            entries.is_closed = true;
            std::mem::take(&mut entries.callbacks)
        };
        drop(left);
        self.shared.earlier.notify_one();
        if let Some(thread) = unpoisoned(&self.thread).take() {
            // A panic of a callback has been reported by the panic hook.
            let _ = thread.join();
        }
    }
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
        let mut entries = unpoisoned(&self.entries);
        while !entries.is_closed {
            let now = Instant::now();
            let first = entries.callbacks.first_key_value().map(|(key, _)| *key);
            match first {
                None => {
                    entries = self.earlier.wait(entries).unwrap_or_else(PoisonError::into_inner);
                }
                Some(key) if key.0 > now => {
                    let wait = self.earlier.wait_timeout(entries, key.0 - now);
                    entries = wait.unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(key) => {
                    let callback = entries.callbacks.remove(&key);
                    drop(entries);
                    if let Some(callback) = callback {
                        callback();
                    }
                    entries = unpoisoned(&self.entries);
                }
            }
        }
    }
}
