//! The threads that move sandboxes' memory to the system's swap and back: one each way, so that who
//! comes back waits for nobody who leaves.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use model::Bytes64;

use super::job::Job;
use super::paging;
use super::sandbox::Sandbox;
use super::shared::unpoisoned;
use crate::executor::SwapUse;
use crate::kernel;
use crate::throttle::Throttle;

/// See the module.
pub(super) struct Pager {
    queues: Mutex<Option<[Sender<Order>; 2]>>,
    write_throttle: Throttle,
    read_throttle: Throttle,
    written: AtomicU64,
    read: AtomicU64,
    held: AtomicU64,
}

/// Whose memory to move.
enum Order {
    Job(Arc<Job>),
    Idle(Arc<Sandbox>),
}

impl Pager {
    /// Without threads yet; orders wait for them.
    pub(super) fn new(bandwidth: Option<Bytes64>) -> (Self, Orders) {
        let (leaving, out) = channel();
        let (returning, back) = channel();
        let pager = Self {
            queues: Mutex::new(Some([leaving, returning])),
            write_throttle: Throttle::new(bandwidth),
            read_throttle: Throttle::new(bandwidth),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            held: AtomicU64::new(0),
        };
        (pager, Orders { out, back })
    }

    /// Moves the memory of a job that said that it leaves.
    pub(super) fn send(&self, job: &Arc<Job>) {
        self.queue(0, Order::Job(Arc::clone(job)));
    }

    /// Brings the memory of a job back.
    pub(super) fn fetch(&self, job: &Arc<Job>) {
        self.queue(1, Order::Job(Arc::clone(job)));
    }

    /// Moves the memory of a warm sandbox out, unless it is put to use first.
    pub(super) fn send_idle(&self, sandbox: &Arc<Sandbox>) {
        self.queue(0, Order::Idle(Arc::clone(sandbox)));
    }

    fn queue(&self, which: usize, order: Order) {
        if let Some(queues) = &*unpoisoned(&self.queues) {
            // The threads end only after `stop`.
            let _ = queues[which].send(order);
        }
    }

    /// Lets the threads end after what they do now.
    pub(super) fn stop(&self) {
        drop(unpoisoned(&self.queues).take());
    }

    /// So much was moved out.
    pub(super) fn count_out(&self, bytes: u64) {
        self.write_throttle.pay(bytes);
        self.written.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much came back.
    pub(super) fn count_in(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.count_gone(bytes);
    }

    /// So much of what is out is of nobody any more.
    pub(super) fn count_gone(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        // Never fails: the closure always answers.
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Waits as long as that much takes at the bandwidth that is allowed.
    pub(super) fn pay_back(&self, bytes: u64) {
        self.read_throttle.pay(bytes);
    }

    /// The system's swap and what of it is ours; none where it has none.
    pub(super) fn usage(&self) -> Option<SwapUse> {
        let (total, free) = paging::system_swap()?;
        let get = |counter: &AtomicU64| Bytes64(counter.load(Ordering::Relaxed));
        Some(SwapUse {
            total,
            used: Bytes64(total.0.saturating_sub(free.0)),
            held: get(&self.held),
            written: get(&self.written),
            read: get(&self.read),
            zeros: Bytes64(0),
        })
    }
}

/// What the threads are told.
pub(super) struct Orders {
    out: Receiver<Order>,
    back: Receiver<Order>,
}

impl Orders {
    /// Begins to follow them, each way in a thread of its own.
    pub(super) fn follow(self) -> std::io::Result<Vec<JoinHandle<()>>> {
        let send = |order| match order {
            Order::Job(job) => job.move_out(),
            Order::Idle(sandbox) => move_idle_out(&sandbox),
        };
        let fetch = |order| match order {
            Order::Job(job) => job.move_in(),
            Order::Idle(_) => {}
        };
        Ok(vec![spawn("process-out", self.out, send)?, spawn("process-back", self.back, fetch)?])
    }
}

/// Moves the memory of a warm sandbox out for as long as nothing runs in it.
fn move_idle_out(sandbox: &Arc<Sandbox>) {
    let shared = &sandbox.shared;
    let is_idle = || sandbox.job().is_none() && !sandbox.is_gone() && !shared.is_closed();
    let Some(group) = sandbox.group().filter(|_| is_idle()) else { return };
    let (begun, before) = (Instant::now(), group.memory_bytes());
    let mut last = before;
    let moved = group.pages().send(&|| group.memory_bytes(), &mut |held| {
        shared.pager.count_out(last.saturating_sub(held));
        last = held;
        if is_idle() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let freed = before.saturating_sub(last);
    let is_out = moved.is_ok() && freed >= before / MOVED_PART;
    tracing::debug!(n = sandbox.n, before, freed, took = ?begun.elapsed(), "moved a warm sandbox out");
    let is_there = unpoisoned(&shared.pool).paged(sandbox, is_out.then_some(freed));
    if !is_there || !is_out {
        // Put to use or given up meanwhile, or it stays: what is out of it comes back as it is
        // touched.
        shared.pager.count_gone(freed);
    }
}

/// Less than one part in so many is not worth being called moved: there was no room for more.
pub(super) const MOVED_PART: u64 = 4;

fn spawn(
    name: &str,
    queue: Receiver<Order>,
    work: impl Fn(Order) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Where this is not permitted, it is an ordinary thread already.
        let _ = kernel::apply(0, kernel::SERVICE);
        while let Ok(order) = queue.recv() {
            work(order);
        }
    })
}
