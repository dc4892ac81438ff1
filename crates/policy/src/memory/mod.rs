//! The memory planner: who is swapped out, who is brought back, who must wait, who is killed
//! (paper XX, section 3.2, "Dispatcher"; DESIGN rule 6).
//!
//! No function declares how much memory it needs. The shell looks at what they use and shows it as
//! a [`View`]; [`Planner::plan`] answers with [`Action`]s, each with its reason. The shell carries
//! them out and shows the next view. What is on its way counts as done, so that nothing is ordered
//! twice.
//!
//! Rules:
//! - [`Rank`] is a total order: class first, then age. A lower rank gives way to a higher one, and
//!   never the other way round. So the highest always gets on, and no two wait for each other.
//! - Memory is freed when less than the low [`Watermarks`] is free, up to the high one: idle
//!   sandboxes first, then whole functions, the lowest class first; inside a class those that do
//!   not run before those that do, the youngest first.
//! - Who waits for memory gets it by rank, and nobody is let past a waiter of higher rank.
//! - Whoever was brought back stays for a while, unless a higher class needs the place.
//! - Killing is for when RAM and swap are full: lowest class, least progress.

mod planner;
mod victim;

use core::cmp::Reverse;

use model::{Bytes64, ClassId, CpuTime, InvocationId, SwapPlace, SwapRoom, Timestamp};

pub use self::planner::{Planner, Watermarks};
pub use self::victim::{Candidate, KillReason, victim};

/// Rank of a function for memory: a lower one gives way to a higher one. The lowest class first,
/// in it the youngest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: ClassId,
    age: Reverse<(Timestamp, InvocationId)>,
}

impl Rank {
    /// The rank of a function of that class that arrived then.
    #[must_use]
    pub const fn new(class: ClassId, arrived: Timestamp, id: InvocationId) -> Self {
        Self { class, age: Reverse((arrived, id)) }
    }

    /// Its class.
    #[must_use]
    pub const fn class(&self) -> ClassId {
        self.class
    }

    /// When it first arrived.
    #[must_use]
    pub const fn arrived(&self) -> Timestamp {
        self.age.0.0
    }
}

/// What a function does with its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Neither runs nor is next: its memory is not needed soon.
    Later,
    /// Would get the next core that is free.
    Next,
    /// Has a core.
    Running,
    /// Could have a core and waits for memory.
    Waiting,
}

/// Where a function's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// In RAM, as far as it has any.
    Ram,
    /// On its way out of RAM: to swap, or for good because the function is being ended.
    Leaving,
    /// In swap.
    Swap,
    /// On its way back. Its room in RAM is taken already.
    Returning,
}

/// A function with memory, or one that waits for its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which invocation.
    pub id: InvocationId,
    /// Its rank.
    pub rank: Rank,
    /// Its progress: what a kill throws away.
    pub cpu: CpuTime,
    /// What it has in RAM.
    pub resident: Bytes64,
    /// What it has in swap.
    pub swapped: Bytes64,
    /// What it needs more in RAM before it can go on. Looked at where it is
    /// [`Standing::Waiting`].
    pub wants: Bytes64,
    /// What it grows by in a second.
    pub growth: Bytes64,
    /// Whether it will need its memory soon.
    pub standing: Standing,
    /// Where its memory is.
    pub whereabouts: Whereabouts,
    /// Whether it cannot be swapped out at all.
    pub fixed: bool,
    /// Where it would go.
    pub swaps_to: SwapPlace,
}

/// Warm sandboxes that run nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The class of what they last ran.
    pub class: ClassId,
    /// What they hold.
    pub bytes: Bytes64,
}

/// A machine's memory as its shell sees it now.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What functions may use in all.
    pub total: Bytes64,
    /// What is in use: what is leaving included, and what was promised to those that return.
    pub used: Bytes64,
    /// Of `used`, what will be free without a further decision.
    pub leaving: Bytes64,
    /// What swap can still take, with what is on its way there counted as there.
    pub swap_free: SwapRoom,
    /// All functions with memory and all that wait for some, lowest rank first.
    pub holders: &'a [Holder],
    /// Warm sandboxes, lowest class first.
    pub idle: &'a [Idle],
}

/// What the shell shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forget the warm sandboxes of this class.
    Forget(ClassId, FreeReason),
    /// Swap the function out; take its core first if it has one.
    SwapOut(InvocationId, FreeReason),
    /// Take its core; it waits for memory.
    Hold(InvocationId, HoldReason),
    /// Let it have what it waits for: bring its memory back, and let it want a core.
    Bring(InvocationId, BringReason),
    /// End it. It may begin again.
    Kill(InvocationId, EndReason),
}

/// Why memory is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeReason {
    /// Free memory, with what is leaving, is below the low watermark, or will be in a moment.
    Watermark {
        /// Free, with what is leaving.
        free: Bytes64,
        /// The low watermark.
        low: Bytes64,
    },
    /// A function of higher rank needs it.
    HigherRank {
        /// Who.
        by: InvocationId,
        /// Its class.
        by_class: ClassId,
        /// What it needs.
        needs: Bytes64,
    },
}

/// Why a function waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldReason {
    /// Free memory now.
    pub free: Bytes64,
    /// The least that must be free.
    pub min: Bytes64,
    /// What the function grew by in a second.
    pub growth: Bytes64,
}

/// Why a function is brought back now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BringReason {
    /// Free memory before it.
    pub free: Bytes64,
    /// What it needs.
    pub needs: Bytes64,
}

/// Why a function is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// RAM and swap are full, and it was the one to go.
    Full {
        /// Why it was this one.
        chosen: KillReason,
        /// What its swap could still take.
        swap_free: Bytes64,
    },
    /// It needs more than the whole machine has.
    TooLarge {
        /// What it needs.
        needs: Bytes64,
        /// What the machine has.
        total: Bytes64,
    },
}

#[cfg(test)]
mod tests;
