//! What an execution costs, in integers.
//!
//! A suspended execution holds bytes in the store and nothing else. They are billed as bytes × time,
//! exactly: the engine adds up byte-nanoseconds, and only the sum is rounded to byte-seconds. Prices
//! are the shell's.

use model::{Amount, ByteSeconds, CpuTime, Timestamp};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What something and all below it used. The shell prices storage and transitions; `amount` is what
/// receipts of invocations already say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Price of the invocations, by their receipts.
    pub amount: Amount,
    /// CPU time of the invocations.
    pub cpu: CpuTime,
    /// Memory of the invocations over time.
    pub memory: ByteSeconds,
    /// Invocations: turns that ran as one, and calls.
    pub invocations: u64,
    /// State and payloads kept while suspended, over time, in byte-nanoseconds.
    pub stored_byte_nanos: u128,
    /// Transitions of executions.
    pub transitions: u64,
}

impl Totals {
    /// Storage in byte-seconds, rounded half up.
    #[must_use]
    pub fn stored(&self) -> ByteSeconds {
        let rounded = self.stored_byte_nanos.saturating_add(NANOS_PER_SECOND / 2);
        ByteSeconds(u64::try_from(rounded / NANOS_PER_SECOND).unwrap_or(u64::MAX))
    }

    /// Both together; sums saturate.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            amount: self.amount + other.amount,
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
            invocations: self.invocations.saturating_add(other.invocations),
            stored_byte_nanos: self.stored_byte_nanos.saturating_add(other.stored_byte_nanos),
            transitions: self.transitions.saturating_add(other.transitions),
        }
    }
}

/// What the receipts of an execution itself say so far: its storage and transitions. One that was
/// redriven has a receipt for each end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Billed {
    pub(crate) receipts: u32,
    pub(crate) stored_byte_nanos: u128,
    pub(crate) transitions: u64,
}

impl Billed {
    /// What of `own` no receipt says; from now on one does.
    pub(crate) fn bill(&mut self, own: &Totals) -> Totals {
        let used = Totals {
            stored_byte_nanos: own.stored_byte_nanos.saturating_sub(self.stored_byte_nanos),
            transitions: own.transitions.saturating_sub(self.transitions),
            ..Totals::default()
        };
        *self = Self {
            receipts: self.receipts.saturating_add(1),
            stored_byte_nanos: own.stored_byte_nanos,
            transitions: own.transitions,
        };
        used
    }
}

/// The books of one execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its own turns, storage and transitions.
    pub own: Totals,
    /// What its awaited calls said that they and all below them used. Never billed here: their own
    /// receipts do that.
    pub below: Totals,
    /// Bytes that are billed now.
    pub bytes: u64,
    /// Until when storage is in `own`.
    pub counted_until: Timestamp,
}

impl Account {
    /// Everything that this execution and all below it used.
    #[must_use]
    pub fn total(&self) -> Totals {
        self.own.plus(self.below)
    }

    /// The books as they would be at `now`, without a step.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.accrue(now);
        self
    }

    /// Counts storage up to `now`. A clock that went back counts nothing, and nothing twice.
    pub(crate) fn accrue(&mut self, now: Timestamp) {
        let nanos = now.0.saturating_sub(self.counted_until.0);
        let grown = u128::from(self.bytes) * u128::from(nanos);
        self.own.stored_byte_nanos = self.own.stored_byte_nanos.saturating_add(grown);
        self.counted_until = self.counted_until.max(now);
    }
}
