//! Which parts of the swap file are free.

use std::collections::BTreeMap;

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) at: u64,
    pub(crate) length: u64,
}

/// The free parts. None is empty, no two touch.
#[derive(Debug)]
pub(crate) struct Extents {
    /// Length by place.
    free: BTreeMap<u64, u64>,
    total: u64,
    used: u64,
}

impl Extents {
    /// All of `total` bytes free.
    pub(crate) fn new(total: u64) -> Self {
        let free = (total > 0).then_some((0, total)).into_iter().collect();
        Self { free, total, used: 0 }
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) const fn used(&self) -> u64 {
        self.used
    }

    /// Takes `length` bytes in one piece, or the largest piece there is where none is as long. None
    /// where nothing is free.
    pub(crate) fn take(&mut self, length: u64) -> Option<Extent> {
        assert!(length > 0, "an extent has a length");
        let fits = self.free.iter().find(|(_, free)| **free >= length);
        let (at, free) = fits.or_else(|| self.free.iter().max_by_key(|(_, free)| **free))?;
        let (at, free) = (*at, *free);
        let taken = length.min(free);
        self.free.remove(&at);
        if taken < free {
            self.free.insert(at + taken, free - taken);
        }
        self.used += taken;
        Some(Extent { at, length: taken })
    }

    /// Gives a part back.
    pub(crate) fn give(&mut self, extent: Extent) {
        let Extent { mut at, mut length } = extent;
        self.used -= length;
        if let Some((&before, &free)) = self.free.range(..at).next_back() {
            assert!(before + free <= at, "given back twice");
            if before + free == at {
                self.free.remove(&before);
                (at, length) = (before, free + length);
            }
        }
        if let Some(free) = self.free.remove(&(at + length)) {
            length += free;
        }
        self.free.insert(at, length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_fit_in_one_piece_comes_in_the_largest() {
        let mut extents = Extents::new(100);
        let parts: Vec<Extent> = (0..4).map(|_| extents.take(25).unwrap()).collect();
        assert_eq!(extents.take(1), None);
        extents.give(parts[0]);
        extents.give(parts[2]);
        extents.give(parts[3]);
        assert_eq!(extents.take(60), Some(Extent { at: 50, length: 50 }));
        assert_eq!(extents.take(60), Some(Extent { at: 0, length: 25 }));
        assert_eq!(extents.used(), 100);
    }

    proptest! {
        #[test]
        fn nothing_is_given_out_twice_and_all_comes_back(
            steps in proptest::collection::vec((any::<bool>(), 1_u64..40, any::<usize>()), 1..200),
        ) {
            let mut extents = Extents::new(200);
            let mut held: Vec<Extent> = Vec::new();
            for (takes, length, which) in steps {
                if takes {
                    if let Some(new) = extents.take(length) {
                        prop_assert!(new.length <= length && new.length > 0);
                        for old in &held {
                            let apart = old.at + old.length <= new.at
                                || new.at + new.length <= old.at;
                            prop_assert!(apart, "{old:?} {new:?}");
                        }
                        held.push(new);
                    } else {
                        prop_assert_eq!(extents.used(), 200);
                    }
                } else if !held.is_empty() {
                    extents.give(held.swap_remove(which % held.len()));
                }
                prop_assert_eq!(extents.used(), held.iter().map(|e| e.length).sum::<u64>());
            }
            held.into_iter().for_each(|extent| extents.give(extent));
            prop_assert_eq!(extents.take(200), Some(Extent { at: 0, length: 200 }));
        }
    }
}
