//! A small seeded generator: the same seed draws the same numbers on every machine.

use alloc::vec::Vec;

/// Draws that are equally likely and repeatable (SplitMix64, public domain). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that draws what its seed says.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, each equally likely.
    ///
    /// # Panics
    /// Where `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "nothing is below zero");
        let bound = bound as u64;
        // The product's upper half is the draw. The few lower halves that would make some draws
        // likelier than others are drawn again (Lemire, 2019).
        let unfair = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            let (upper, lower) = (product >> 64, product & u128::from(u64::MAX));
            if lower >= u128::from(unfair) {
                return usize::try_from(upper).expect("below the bound, which is a usize");
            }
        }
    }

    /// Appends `count` different items of `from` to `chosen`, in random order; all, where there
    /// are fewer. Takes time in `count`, not in the length of `from`.
    pub fn choose<T: Copy>(&mut self, from: &[T], count: usize, chosen: &mut Vec<T>) {
        // A shuffle of the first `count` places that remembers only the places it has touched.
        let mut touched: Vec<(usize, usize)> = Vec::with_capacity(count.min(from.len()));
        let at = |touched: &[(usize, usize)], place: usize| {
            touched.iter().rev().find(|swap| swap.0 == place).map_or(place, |swap| swap.1)
        };
        for place in 0..count.min(from.len()) {
            let other = place + self.below(from.len() - place);
            chosen.push(from[at(&touched, other)]);
            let displaced = at(&touched, place);
            touched.push((other, displaced));
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draws = |seed| {
            let mut rng = Rng::new(seed);
            (0..8).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        // The generator's published first output for seed 0.
        assert_eq!(Rng::new(0).next_u64(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn every_ordered_choice_is_equally_likely() {
        let mut rng = Rng::new(1);
        let mut seen = alloc::collections::BTreeMap::new();
        for _ in 0..24_000 {
            let mut chosen = vec![];
            rng.choose(&[1, 2, 3, 4], 3, &mut chosen);
            *seen.entry(chosen).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 24, "4 × 3 × 2 ordered choices without repeats");
        assert!(seen.values().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn choosing_more_than_there_are_takes_all() {
        let mut chosen = vec![];
        Rng::new(3).choose(&[5, 6], 3, &mut chosen);
        chosen.sort_unstable();
        assert_eq!(chosen, [5, 6]);
        Rng::new(3).choose(&[] as &[i32], 3, &mut chosen);
        assert_eq!(chosen, [5, 6]);
    }
}
