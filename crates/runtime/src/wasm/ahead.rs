//! An instance made ahead: while a thread is idle on a calm machine, it takes the last function's
//! instance apart and makes a new one for the next call of the same function. Both take longer than
//! what else there is to do between two functions.
//!
//! Nothing of the function has run in such an instance, and no call has seen it: modules with a start
//! function get none. It holds no memory that is billed; from its call on it is measured as any other.
//! What is kept is told as idle memory and goes at each reclaim. While anything else runs, an instance
//! is taken apart at once and none is made, since an idle thread's work goes before that of functions.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::task::{Context, Poll, Waker};

use wasmtime::Store;

use super::abi::Reply;
use super::guest::{self, Made};
use super::host::Host;
use super::job::{Job, unpoisoned};
use super::memory::region_of;
use super::wasi::Wasi;
use crate::swap::Pagemap;

/// What is larger is taken apart at once: its memory may be wanted.
const KEPT_BYTES_MAX: u64 = 1 << 20;

/// What the idle threads of an executor have before them. A call never waits for it.
#[derive(Default)]
pub(super) struct Bench(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// Its function has ended.
    over: Option<Store<Host>>,
    ahead: Option<Made>,
}

impl Bench {
    /// Takes an instance whose function has ended: apart at once, or later where nobody wants the
    /// time.
    pub(super) fn keep(&self, mut store: Store<Host>) {
        let host = store.data_mut();
        // What it was given may be large, and is not told of.
        (host.wasi, host.reply) = (Wasi::none(), Reply::default());
        let is_small = host.job.memory_now().0 <= KEPT_BYTES_MAX;
        if is_small
            && host.services.jobs.has_only(&host.job)
            && let Some(mut held) = self.try_lock()
        {
            let before = held.over.replace(store);
            drop(held);
            drop(before);
        }
    }

    /// The instance that was made for the next call of this job's function.
    pub(super) fn take(&self, job: &Job) -> Option<Made> {
        self.try_lock()?.ahead.take_if(|ahead| ahead.is_of(job))
    }

    /// Does what was left for a time when the thread is idle.
    pub(super) fn prepare(&self) {
        // Locked to the end, so that memory on its way from one to the other is neither overlooked
        // nor reclaimed in vain.
        let mut held = unpoisoned(&self.0);
        let Some(over) = held.over.take() else { return };
        let host = over.into_data();
        let has_one = held.ahead.as_ref().is_some_and(|ahead| ahead.is_of(&host.job));
        if !has_one && host.services.jobs.is_calm() {
            held.ahead = make(host);
        }
    }

    /// Bytes in RAM that it keeps.
    pub(super) fn bytes(&self, pagemap: &Pagemap) -> u64 {
        let held = unpoisoned(&self.0);
        let ahead = held.ahead.as_ref().map(|ahead| &ahead.store);
        let regions = held.over.as_ref().into_iter().chain(ahead).filter_map(|store| {
            let memory = store.data().memory?;
            Some(region_of(&memory, store))
        });
        // Where the kernel does not tell, it is little: see `KEPT_BYTES_MAX`.
        regions.map(|region| region.touched(pagemap).unwrap_or(0) as u64).sum()
    }

    /// Takes all apart.
    pub(super) fn clear(&self) {
        *unpoisoned(&self.0) = Held::default();
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Held>> {
        match self.0.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn make(host: Host) -> Option<Made> {
    let (tenant, code) = (Arc::clone(&host.job.tenant), Arc::clone(&host.job.code));
    let module = tenant.pooled()?.loaded(&code)?;
    if module.layout.is_some() || module.has_start(&code) {
        return None;
    }
    let making = std::pin::pin!(guest::instantiate(&module, host, &code));
    match making.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(made) => made.ok(),
        Poll::Pending => None,
    }
}
