//! Who is swapped out, and how memory grows: pure decisions, for the simulator and later for the
//! live dispatcher (paper XX, section 3.2, "Dispatcher"; DESIGN rule 6).

use model::{Bytes64, ClassId, InvocationId, Timestamp};

/// Rank of a function for memory: a lower one gives way to a higher one. The lowest class first,
/// in it the youngest. The order is total, so that the highest always gets on and none wait for
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: ClassId,
    age: std::cmp::Reverse<(Timestamp, InvocationId)>,
}

impl Rank {
    /// The rank of a function of that class that arrived then.
    #[must_use]
    pub const fn new(class: ClassId, arrived: Timestamp, id: InvocationId) -> Self {
        Self { class, age: std::cmp::Reverse((arrived, id)) }
    }
}

/// What a function does with its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Neither runs nor is next: its memory is not needed soon.
    Later,
    /// Would get the next core that is free.
    Next,
    /// Has a core.
    Running,
}

/// A function with memory in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Which invocation.
    pub id: InvocationId,
    /// Its rank.
    pub rank: Rank,
    /// What it has in RAM.
    pub bytes: Bytes64,
    /// Whether it will need it soon.
    pub standing: Standing,
}

/// What to do to free memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Those written to the list are swapped out; that is enough.
    SwapOut,
    /// There is enough to swap out, and not enough swap to take it: someone must be killed.
    SwapFull,
    /// All that rank below the one that needs memory do not have enough: it has to wait.
    Wait,
}

/// Chooses whole functions to swap out, until `needed` bytes are free, for one of rank `by`.
///
/// Only lower ranks give way. Of them the lowest first, whoever would run next and whoever runs
/// only where the others are not enough. `residents` come lowest rank first. The chosen are
/// appended to `chosen`; where the answer is not [`Plan::SwapOut`] they mean nothing.
pub fn plan(
    residents: impl Iterator<Item = Resident> + Clone,
    by: Rank,
    needed: Bytes64,
    swap_free: Bytes64,
    chosen: &mut Vec<(InvocationId, Bytes64)>,
) -> Plan {
    let lower = residents.take_while(|resident| resident.rank < by).filter(|r| r.bytes.0 > 0);
    let (later, soon) = (lower.clone().filter(|r| r.standing == Standing::Later), lower.clone());
    let soon = [Standing::Next, Standing::Running]
        .into_iter()
        .flat_map(move |standing| soon.clone().filter(move |r| r.standing == standing));
    let (mut freed, mut swap_left) = (0_u64, swap_free.0);
    let mut swap_full = false;
    for resident in later.chain(soon) {
        if freed >= needed.0 {
            break;
        }
        freed = freed.saturating_add(resident.bytes.0);
        if let Some(left) = swap_left.checked_sub(resident.bytes.0) {
            swap_left = left;
            chosen.push((resident.id, resident.bytes));
        } else {
            swap_full = true;
        }
    }
    match (freed >= needed.0, swap_full) {
        (true, false) => Plan::SwapOut,
        (true, true) => Plan::SwapFull,
        (false, _) => Plan::Wait,
    }
}

/// How a function's memory grows over its run, from its start to its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Growth {
    /// Fast at first: after a part p of its run it has grown by 1 − (1 − p)² of the way. The
    /// prototype's growth is front-loaded too; its formula is not published.
    #[default]
    FrontLoaded,
    /// Evenly.
    Linear,
}

/// Steps in which memory grows: how finely the curve is followed.
pub const GROWTH_STEPS: u32 = 8;

impl Growth {
    /// The progress, of `cpu_ns`, at which step `level` (1 to [`GROWTH_STEPS`]) is taken. A step is
    /// taken where the curve is half-way up it.
    #[must_use]
    pub fn step_ns(self, level: u32, cpu_ns: u64) -> u64 {
        let grown = (f64::from(level) - 0.5) / f64::from(GROWTH_STEPS);
        let part = match self {
            Self::FrontLoaded => 1.0 - (1.0 - grown).sqrt(),
            Self::Linear => grown,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of 2³² between 0 and 1"
        )]
        let part = (part * f64::from(u32::MAX)) as u64;
        let at = u128::from(part) * u128::from(cpu_ns) / u128::from(u32::MAX);
        u64::try_from(at).expect("a part of a u64")
    }

    /// Memory after that many steps.
    #[must_use]
    pub fn bytes(level: u32, start: u64, peak: u64) -> u64 {
        start + peak.saturating_sub(start) * u64::from(level) / u64::from(GROWTH_STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(id: u64, class: u8, bytes: u64, standing: Standing) -> Resident {
        let invocation = InvocationId(u128::from(id));
        let rank = Rank::new(ClassId(class), Timestamp(id), invocation);
        Resident { id: invocation, rank, bytes: Bytes64(bytes), standing }
    }

    #[track_caller]
    fn check(mut residents: Vec<Resident>, needed: u64, swap: u64, expected: (Plan, &[u128])) {
        residents.sort_by_key(|r| r.rank);
        let by = Rank::new(ClassId(3), Timestamp(5), InvocationId(5));
        let mut chosen = vec![];
        let swap = Bytes64(swap);
        let plan = plan(residents.into_iter(), by, Bytes64(needed), swap, &mut chosen);
        let ids: Vec<u128> = chosen.iter().map(|(id, _)| id.0).collect();
        assert_eq!(plan, expected.0);
        if plan == Plan::SwapOut {
            assert_eq!(ids, expected.1);
        }
    }

    #[test]
    fn the_lowest_class_goes_first_then_the_youngest() {
        use Standing::Later;
        let all =
            || vec![resident(1, 0, 4, Later), resident(2, 0, 4, Later), resident(3, 1, 4, Later)];
        check(all(), 3, 99, (Plan::SwapOut, &[2]));
        check(all(), 8, 99, (Plan::SwapOut, &[2, 1]));
        check(all(), 9, 99, (Plan::SwapOut, &[2, 1, 3]));
        check(all(), 13, 99, (Plan::Wait, &[]));
        check(all(), 8, 7, (Plan::SwapFull, &[]));
    }

    #[test]
    fn who_runs_or_runs_next_goes_last_and_higher_ranks_never() {
        use Standing::{Later, Next, Running};
        let all = || {
            vec![
                resident(1, 0, 4, Running),
                resident(2, 1, 4, Next),
                resident(3, 2, 4, Later),
                resident(4, 3, 4, Later),
                resident(9, 3, 4, Later),
            ]
        };
        check(all(), 8, 99, (Plan::SwapOut, &[3, 9]));
        check(all(), 16, 99, (Plan::SwapOut, &[3, 9, 2, 1]));
        check(all(), 17, 99, (Plan::Wait, &[]));
    }

    #[test]
    fn memory_grows_from_start_to_peak_faster_at_first_where_front_loaded() {
        for growth in [Growth::FrontLoaded, Growth::Linear] {
            let steps: Vec<u64> =
                (1..=GROWTH_STEPS).map(|level| growth.step_ns(level, 1_000)).collect();
            assert!(steps.is_sorted() && steps[0] > 0 && steps[7] < 1_000, "{steps:?}");
        }
        assert!(Growth::FrontLoaded.step_ns(4, 1_000) < Growth::Linear.step_ns(4, 1_000));
        assert_eq!(Growth::bytes(0, 100, 900), 100);
        assert_eq!(Growth::bytes(GROWTH_STEPS, 100, 900), 900);
    }
}
