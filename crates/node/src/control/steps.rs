//! The reasons along an invocation's way, as data and in words.

use std::borrow::Cow;
use std::time::Duration;

use model::{Bytes64, ClassId, MachineId, PriceList, ShardId};
use policy::memory::{BringReason, EndReason, FreeReason, HoldReason};
use policy::{PlaceReason, PreemptReason, RefuseReason, RunReason};

/// One decision about an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Queued(ShardId, ClassId),
    Demoted { from: ClassId, to: ClassId },
    Held,
    Placed(MachineId, PlaceReason),
    Refused(MachineId, RefuseReason),
    Ran(RunReason),
    Began { cold: bool },
    Preempted(PreemptReason),
    Blocked,
    Unblocked,
    TimedOut,
    Cancelled,
    KilledForMemory(EndReason),
    Restarted(u32),
    Ended,
    SwapOut(FreeReason),
    SwappedOut { bytes: Bytes64, took: Duration },
    SwapFailed(String),
    HeldForMemory(HoldReason),
    Brought(BringReason),
    SwappedIn { bytes: Bytes64, took: Duration },
}

/// The words of [`crate::Step::what`].
const WORDS: [&str; 21] = [
    "queued",
    "demoted",
    "held",
    "placed",
    "refused",
    "ran",
    "began",
    "preempted",
    "blocked",
    "unblocked",
    "timed-out",
    "killed",
    "restarted",
    "ended",
    "swap-out",
    "swapped-out",
    "swap-failed",
    "held-for-memory",
    "brought",
    "swapped-in",
    "cancelled",
];

/// The static word equal to `text`, for steps read back from the store.
pub(crate) fn word(text: &str) -> &'static str {
    WORDS.iter().find(|word| **word == text).copied().unwrap_or("other")
}

impl Reason {
    pub(crate) const fn what(&self) -> &'static str {
        let index = match self {
            Self::Queued(..) => 0,
            Self::Demoted { .. } => 1,
            Self::Held => 2,
            Self::Placed(..) => 3,
            Self::Refused(..) => 4,
            Self::Ran(_) => 5,
            Self::Began { .. } => 6,
            Self::Preempted(_) => 7,
            Self::Blocked => 8,
            Self::Unblocked => 9,
            Self::TimedOut => 10,
            Self::KilledForMemory(_) => 11,
            Self::Restarted(_) => 12,
            Self::Ended => 13,
            Self::SwapOut(_) => 14,
            Self::SwappedOut { .. } => 15,
            Self::SwapFailed(_) => 16,
            Self::HeldForMemory(_) => 17,
            Self::Brought(_) => 18,
            Self::SwappedIn { .. } => 19,
            Self::Cancelled => 20,
        };
        WORDS[index]
    }

    /// Whether it tells of a core that was given, taken or left, as happens again and again.
    pub(crate) const fn is_of_core(&self) -> bool {
        matches!(self, Self::Ran(_) | Self::Preempted(_) | Self::Blocked | Self::Unblocked)
    }

    /// The reason in words, with its numbers.
    pub(crate) fn why(&self, prices: &PriceList) -> Cow<'static, str> {
        let class = |id: &ClassId| prices.try_get(*id).map_or("?", |class| class.name.as_str());
        match self {
            Self::Queued(shard, id) => format!("on {shard} in class {}", class(id)).into(),
            Self::Demoted { from, to } => {
                format!("from {} to {}: the tenant is over its budget", class(from), class(to))
                    .into()
            }
            Self::Held => "no machine has room".into(),
            Self::Placed(machine, reason) => format!("on {machine}: {}", placed(reason)).into(),
            Self::Refused(machine, reason) => format!("by {machine}: {}", refused(reason)).into(),
            Self::Ran(reason) => ran(reason, class),
            Self::Began { cold: true } => "in a new instance".into(),
            Self::Began { cold: false } => "in a warm instance".into(),
            Self::Preempted(PreemptReason::HigherClass { by, by_class }) => {
                format!("{by} of class {} wanted the core", class(by_class)).into()
            }
            Self::Preempted(PreemptReason::TurnOver { had }) => {
                format!("its turn was over after {had:?} on cores; others of its class waited")
                    .into()
            }
            Self::Blocked => "waits for something else than a core".into(),
            Self::Unblocked => "wants a core again".into(),
            Self::TimedOut => "its time limit was reached".into(),
            Self::Cancelled => "whoever waited for it no longer does".into(),
            Self::KilledForMemory(reason) => killed(reason).into(),
            Self::Restarted(times) => {
                format!("begun again, {times} of {}", model::limits::KILL_RESTARTS_MAX).into()
            }
            Self::Ended => Cow::Borrowed(""),
            Self::SwapOut(reason) => freed(reason, class).into(),
            Self::SwappedOut { bytes, took } => format!("{} bytes in {took:.1?}", bytes.0).into(),
            Self::SwappedIn { bytes, took } => format!("{} bytes in {took:.1?}", bytes.0).into(),
            Self::SwapFailed(why) => format!("it stays in memory: {why}").into(),
            Self::HeldForMemory(HoldReason { free, min, growth }) => format!(
                "{} bytes free of at least {}, and it grew by {} a second",
                free.0, min.0, growth.0
            )
            .into(),
            Self::Brought(BringReason { free, needs }) => {
                format!("{} bytes for it, of {} free", needs.0, free.0).into()
            }
        }
    }
}

fn placed(reason: &PlaceReason) -> String {
    match reason {
        PlaceReason::IdleList { functions, candidates, .. } => {
            format!("smallest queue ({functions} functions) of {candidates} on the idle list")
        }
        PlaceReason::Polled { counted, answered, .. } => {
            format!("fewest functions ({counted}) of {answered} machines polled")
        }
        PlaceReason::Direct { .. } => "the only choice".to_owned(),
    }
}

fn refused(reason: &RefuseReason) -> String {
    match reason {
        RefuseReason::Admission { limit } => format!("its limit of {limit} functions is reached"),
        RefuseReason::QueueFull { limit } => format!("the queue's limit of {limit} is reached"),
        RefuseReason::Memory { free } => format!("{} bytes of memory free", free.0),
    }
}

fn freed<'a>(reason: &FreeReason, class: impl Fn(&ClassId) -> &'a str) -> String {
    match reason {
        FreeReason::Watermark { free, low } => {
            format!("{} bytes free of at least {}; lowest class, youngest", free.0, low.0)
        }
        FreeReason::HigherRank { by, by_class, needs } => {
            format!("{by} of class {} needs {} bytes", class(by_class), needs.0)
        }
    }
}

fn killed(reason: &EndReason) -> String {
    match reason {
        EndReason::Full { chosen, swap_free } => format!(
            "memory and swap ({} bytes left) are full; lowest class, least progress of {}",
            swap_free.0, chosen.candidates
        ),
        EndReason::TooLarge { needs, total } => {
            format!("it needs {} bytes, and the whole machine has {}", needs.0, total.0)
        }
    }
}

fn ran<'a>(reason: &RunReason, class: impl Fn(&ClassId) -> &'a str) -> Cow<'static, str> {
    match reason {
        RunReason::CoreFree { .. } => "a core was free".into(),
        RunReason::Preempting { victim, victim_class, .. } => {
            format!("took the core of {victim} of class {}", class(victim_class)).into()
        }
        RunReason::Shared { sharing } => format!("{sharing} functions share the cores").into(),
    }
}
