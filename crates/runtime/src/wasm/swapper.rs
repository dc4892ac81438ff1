//! The threads that move memory: one out of RAM, one back, so that who comes back waits for nobody
//! who leaves.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

use super::job::{Action, Job, unpoisoned};
use crate::kernel;
use crate::swap::Swap;

/// What a swap thread has done to a job, for the executor to act on.
pub(super) type After = Arc<dyn Fn(&Arc<Job>, Action) + Send + Sync>;

/// See the module.
pub(super) struct Swapper {
    swap: Arc<Swap>,
    queues: Mutex<Option<[Sender<Weak<Job>>; 2]>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Swapper {
    pub(super) fn start(swap: Arc<Swap>, after: &After) -> std::io::Result<Self> {
        let (leaving, out) = channel();
        let (returning, back) = channel();
        let (of_out, of_back) = (Arc::clone(after), Arc::clone(after));
        let (device, again) = (Arc::clone(&swap), Sender::clone(&returning));
        let send = move |job: &Arc<Job>| match job.move_out(&device) {
            Action::Fetch => drop(again.send(Arc::downgrade(job))),
            action => of_out(job, action),
        };
        let threads = vec![
            spawn("wasm-swap-out", out, send)?,
            spawn("wasm-swap-in", back, move |job| of_back(job, job.move_in()))?,
        ];
        let queues = Mutex::new(Some([leaving, returning]));
        Ok(Self { swap, queues, threads: Mutex::new(threads) })
    }

    pub(super) fn swap(&self) -> &Arc<Swap> {
        &self.swap
    }

    /// Moves the memory of a job that said that it leaves.
    pub(super) fn send(&self, job: &Arc<Job>) {
        self.queue(0, job);
    }

    /// Brings the memory of a job back.
    pub(super) fn fetch(&self, job: &Arc<Job>) {
        self.queue(1, job);
    }

    fn queue(&self, which: usize, job: &Arc<Job>) {
        if let Some(queues) = &*unpoisoned(&self.queues) {
            // The threads end only after `stop`.
            let _ = queues[which].send(Arc::downgrade(job));
        }
    }

    /// Ends the threads after what they do now. All jobs must have finished.
    pub(super) fn stop(&self) {
        drop(unpoisoned(&self.queues).take());
        for thread in std::mem::take(&mut *unpoisoned(&self.threads)) {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn spawn(
    name: &str,
    queue: Receiver<Weak<Job>>,
    work: impl Fn(&Arc<Job>) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Where this is not permitted, it is an ordinary thread already.
        let _ = kernel::apply(0, kernel::SERVICE);
        while let Ok(job) = queue.recv() {
            if let Some(job) = job.upgrade() {
                work(&job);
            }
        }
    })
}
