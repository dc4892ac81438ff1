//! First come, first served: the one order inside a class.

use model::{InvocationId, Timestamp};

use crate::message::Job;

/// A job's place inside its class: by first arrival at the platform, then by id; where turns are
/// taken, by turns before that.
///
/// Without turns it is a property of the job alone, so that a job that was refused, restarted or unblocked finds
/// its old place again wherever it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    /// Whole turns that it had; always 0 where no turns are taken.
    pub(crate) turns: u64,
    pub(crate) arrived: Timestamp,
    pub(crate) id: InvocationId,
}

impl Order {
    pub(crate) const fn of(job: &Job) -> Self {
        Self { turns: 0, arrived: job.arrived, id: job.id }
    }
}
