//! The job that a worker thread goes on with: one that was dispatched on that very thread while it did
//! a step of whoever waited for an end, or woke a function, and need not wait until another one wakes.

use std::cell::RefCell;
use std::sync::Arc;

use super::job::Job;

thread_local! {
    static HAND: RefCell<Option<Hand>> = const { RefCell::new(None) };
}

/// Of a thread that is about to be free.
struct Hand {
    /// Whose thread it is.
    pool: usize,
    job: Option<Arc<Job>>,
}

/// This thread of the pool is about to be free. What its hand holds stays.
pub(super) fn open(pool: usize) {
    HAND.with_borrow_mut(|hand| _ = hand.get_or_insert(Hand { pool, job: None }));
}

/// Gives this thread the job, or back where it is not about to be free for one.
pub(super) fn offer(pool: usize, job: Arc<Job>) -> Result<(), Arc<Job>> {
    HAND.with_borrow_mut(|hand| match hand {
        Some(Hand { pool: of, job: free @ None }) if *of == pool => {
            *free = Some(job);
            Ok(())
        }
        Some(_) | None => Err(job),
    })
}

/// Empties the hand.
pub(super) fn take() -> Option<Arc<Job>> {
    HAND.with_borrow_mut(|hand| hand.as_mut()?.job.take())
}

/// Empties the hand, and takes no more: the thread is busy from now on, or idle.
pub(super) fn close() -> Option<Arc<Job>> {
    HAND.with_borrow_mut(|hand| hand.take()?.job)
}
