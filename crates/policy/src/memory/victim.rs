//! Who is killed when memory is full.

use core::cmp::Reverse;

use model::{ClassId, CpuTime, InvocationId, Timestamp};

/// A function that could be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which invocation.
    pub id: InvocationId,
    /// Its effective class.
    pub class: ClassId,
    /// Its progress: what a kill throws away.
    pub cpu: CpuTime,
    /// When it first arrived at the platform.
    pub arrived: Timestamp,
}

/// Why it was this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillReason {
    /// The lowest class on the machine.
    pub class: ClassId,
    /// The least progress in that class.
    pub cpu: CpuTime,
    /// Functions that could have been killed.
    pub candidates: usize,
}

/// The function to kill when memory is full: of the lowest class, the one with the least progress;
/// of equal ones the youngest. None where there is no candidate.
pub fn victim(
    candidates: impl IntoIterator<Item = Candidate>,
) -> Option<(InvocationId, KillReason)> {
    let mut count = 0;
    let victim = candidates
        .into_iter()
        .inspect(|_| count += 1)
        .min_by_key(|c| (c.class, c.cpu, Reverse((c.arrived, c.id))))?;
    let reason = KillReason { class: victim.class, cpu: victim.cpu, candidates: count };
    Some((victim.id, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn candidate(id: u128, class: u8, cpu: u64, arrived_ms: u64) -> Candidate {
        let arrived = Timestamp::from_millis(arrived_ms);
        Candidate { id: InvocationId(id), class: ClassId(class), cpu: CpuTime(cpu), arrived }
    }

    #[track_caller]
    fn check(candidates: &[Candidate], expected: Option<u128>) {
        let victim = victim(candidates.iter().copied());
        assert_eq!(victim.map(|(id, _)| id), expected.map(InvocationId));
    }

    #[test]
    fn the_lowest_class_dies_first_then_the_least_progress_then_the_youngest() {
        check(&[], None);
        check(&[candidate(1, 1, 0, 0), candidate(2, 0, 900, 0)], Some(2));
        check(
            &[candidate(1, 0, 500, 9), candidate(2, 0, 400, 1), candidate(3, 0, 600, 5)],
            Some(2),
        );
        check(&[candidate(1, 0, 4, 1), candidate(2, 0, 4, 3), candidate(3, 0, 4, 2)], Some(2));
    }

    #[test]
    fn the_reason_tells_the_numbers_that_decided() {
        let (_, reason) = victim([candidate(1, 2, 7, 0), candidate(2, 4, 1, 0)]).unwrap();
        let expected = KillReason { class: ClassId(2), cpu: CpuTime(7), candidates: 2 };
        assert_eq!(reason, expected);
    }
}
