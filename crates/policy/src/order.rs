//! First come, first served: the one order inside a class.

use model::{InvocationId, Timestamp};

use crate::message::Job;

/// A job's place inside its class: by first arrival at the platform, then by id.
///
/// It is a property of the job alone, so that a job that was refused, restarted or unblocked finds
/// its old place again wherever it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub(crate) arrived: Timestamp,
    pub(crate) id: InvocationId,
}

impl Order {
    pub(crate) const fn of(job: &Job) -> Self {
        Self { arrived: job.arrived, id: job.id }
    }
}
