//! Exact processor sharing on one machine.
//!
//! Jobs that progress at the same rate form a group with a virtual time: the CPU time that a member
//! present from the beginning would have had. A job is due when its group's virtual time has risen
//! by what it needs, so that an arrival or a departure changes one rate and no job: O(log n) an
//! event. Equal sharing has one group; sharing weighted by price has one a class.
//!
//! Virtual time is counted in 2⁻³² ns. Rates are rounded down to 2⁻³², so the error is below
//! 2⁻³² of the time passed, and the same on every machine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A rate of one: a whole core.
const WHOLE: u64 = 1 << 32;

#[derive(Debug)]
struct Group {
    weight: u64,
    members: u64,
    virtual_time: u128,
    /// Share of a core that each member has, in 2⁻³².
    rate: u64,
    /// Virtual time at which each is due, with its slot and generation; departed ones included.
    due: BinaryHeap<Reverse<(u128, u32, u32)>>,
}

/// The jobs that share one machine's cores.
#[derive(Debug)]
pub(crate) struct Shares {
    cores: u64,
    groups: Vec<Group>,
    now_ns: u64,
    /// The planned event with this number is the valid one.
    pub(crate) generation: u32,
}

impl Shares {
    /// One group for each weight.
    pub(crate) fn new(cores: usize, weights: &[u64]) -> Self {
        let group = |&weight| Group {
            weight,
            members: 0,
            virtual_time: 0,
            rate: WHOLE,
            due: BinaryHeap::new(),
        };
        let groups = weights.iter().map(group).collect();
        Self { cores: cores as u64, groups, now_ns: 0, generation: 0 }
    }

    /// A group's virtual time.
    pub(crate) fn time(&self, group: usize) -> u128 {
        self.groups[group].virtual_time
    }

    pub(crate) fn members(&self) -> u64 {
        self.groups.iter().map(|group| group.members).sum()
    }

    /// Moves all virtual times on to `now_ns`.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        let passed = u128::from(now_ns - self.now_ns);
        self.now_ns = now_ns;
        for group in self.groups.iter_mut().filter(|group| group.members > 0) {
            group.virtual_time += passed * u128::from(group.rate);
        }
    }

    /// A job that needs `needed_ns` until its milestone joins. Gives the virtual time it joined at.
    pub(crate) fn join(
        &mut self,
        group: usize,
        needed_ns: u64,
        slot: u32,
        generation: u32,
    ) -> u128 {
        let group = &mut self.groups[group];
        group.members += 1;
        let due = group.virtual_time + (u128::from(needed_ns) << 32);
        group.due.push(Reverse((due, slot, generation)));
        group.virtual_time
    }

    /// A job leaves. Its generation has risen, or it was taken by [`Shares::take_due`].
    pub(crate) fn leave(&mut self, group: usize) {
        self.groups[group].members -= 1;
    }

    /// CPU time had since it joined at `since`.
    pub(crate) fn had_ns(&self, group: usize, since: u128) -> u64 {
        let had = (self.groups[group].virtual_time - since) >> 32;
        u64::try_from(had).expect("no longer than the run")
    }

    /// Takes one job whose milestone is reached.
    pub(crate) fn take_due(&mut self, is_current: impl Fn(u32, u32) -> bool) -> Option<u32> {
        for group in &mut self.groups {
            while let Some(&Reverse((due, slot, generation))) = group.due.peek() {
                let current = is_current(slot, generation);
                if current && due > group.virtual_time {
                    break;
                }
                group.due.pop();
                if current {
                    return Some(slot);
                }
            }
        }
        None
    }

    /// Gives each group its rate: cores by weight, none more than a whole core a member.
    pub(crate) fn rebalance(&mut self) {
        let mut capacity = u128::from(self.cores) * u128::from(WHOLE);
        let mut open: u32 = 0;
        for (index, group) in self.groups.iter().enumerate() {
            open |= u32::from(group.members > 0) << index;
        }
        while open != 0 {
            let is_open = |index: usize| open & (1 << index) != 0;
            let weights = self.groups.iter().enumerate().filter(|(index, _)| is_open(*index));
            let total: u128 =
                weights.map(|(_, g)| u128::from(g.weight) * u128::from(g.members)).sum();
            let mut capped = 0;
            for (index, group) in self.groups.iter_mut().enumerate().filter(|(i, _)| is_open(*i)) {
                let rate = capacity * u128::from(group.weight) / total;
                group.rate = u64::try_from(rate.min(u128::from(WHOLE))).expect("at most a core");
                capped |= u32::from(group.rate == WHOLE) << index;
            }
            if capped == 0 {
                return;
            }
            // What those who have a whole core leave over goes to the others.
            for (index, group) in self.groups.iter().enumerate() {
                if capped & (1 << index) != 0 {
                    capacity -= u128::from(group.members) * u128::from(WHOLE);
                }
            }
            open &= !capped;
        }
    }

    /// When the next milestone is reached, if nothing changes.
    pub(crate) fn next_ns(&mut self, is_current: impl Fn(u32, u32) -> bool) -> Option<u64> {
        let mut next = None;
        for group in &mut self.groups {
            while let Some(&Reverse((due, slot, generation))) = group.due.peek() {
                if !is_current(slot, generation) {
                    group.due.pop();
                    continue;
                }
                let needed = due.saturating_sub(group.virtual_time);
                let wait = needed.div_ceil(u128::from(group.rate.max(1)));
                let at = self.now_ns + u64::try_from(wait).expect("within the run");
                next = Some(next.map_or(at, |other: u64| other.min(at)));
                break;
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(cores: usize, weights: &[u64], members: &[u64]) -> Vec<f64> {
        let mut shares = Shares::new(cores, weights);
        for (group, &count) in members.iter().enumerate() {
            for slot in 0..count {
                shares.join(group, 1, u32::try_from(slot).unwrap(), 0);
            }
        }
        shares.rebalance();
        shares.groups.iter().map(|group| group.rate as f64 / WHOLE as f64).collect()
    }

    #[test]
    fn nobody_gets_more_than_a_core_and_nothing_is_left_over() {
        assert_eq!(rates(8, &[1], &[4]), [1.0]);
        assert_eq!(rates(8, &[1], &[32]), [0.25]);
        // One dear job has its core; the nine others share what is left.
        assert_eq!(rates(4, &[1, 100], &[9, 1])[1], 1.0);
        assert!((rates(4, &[1, 100], &[9, 1])[0] - 3.0 / 9.0).abs() < 1e-9);
        let mixed = rates(2, &[1, 3], &[4, 4]);
        assert!((mixed[1] / mixed[0] - 3.0).abs() < 1e-6);
        assert!((4.0 * (mixed[0] + mixed[1]) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn two_jobs_on_one_core_end_where_arithmetic_says() {
        let mut shares = Shares::new(1, &[1]);
        let since = shares.join(0, 100, 0, 0);
        shares.join(0, 300, 1, 0);
        shares.rebalance();
        let current = |_: u32, _: u32| true;
        assert_eq!(shares.next_ns(current), Some(200));
        shares.advance(200);
        assert_eq!(shares.take_due(current), Some(0));
        assert_eq!(shares.had_ns(0, since), 100);
        shares.leave(0);
        shares.rebalance();
        assert_eq!(shares.next_ns(current), Some(400));
        assert_eq!(shares.take_due(current), None);
    }
}
