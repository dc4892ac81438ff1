//! A line: functions in their order, of which the first is wanted far more often than the others.

use alloc::collections::BTreeSet;

use crate::order::Order;

/// The first has a place of its own: in most lines there is nobody else, and a tree for one is a piece
/// of memory that is asked for and given back each time.
#[derive(Debug, Default)]
pub(super) struct Line {
    first: Option<Order>,
    /// Those behind it.
    rest: BTreeSet<Order>,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn first(&self) -> Option<&Order> {
        self.first.as_ref()
    }

    pub(super) fn insert(&mut self, order: Order) {
        match self.first {
            None => self.first = Some(order),
            Some(first) if order < first => {
                self.rest.insert(first);
                self.first = Some(order);
            }
            Some(first) if order > first => {
                self.rest.insert(order);
            }
            Some(_) => {}
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, order: Order) -> bool {
        if self.first == Some(order) {
            self.first = self.rest.pop_first();
            return true;
        }
        self.rest.remove(&order)
    }

    pub(super) fn pop_first(&mut self) -> Option<Order> {
        let first = self.first.take()?;
        self.first = self.rest.pop_first();
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use model::{InvocationId, Timestamp};

    use super::*;

    #[test]
    fn a_line_does_what_a_set_does() {
        let order =
            |n: u64| Order { turns: 0, arrived: Timestamp(n % 5), id: InvocationId(u128::from(n)) };
        let (mut line, mut set) = (Line::default(), BTreeSet::new());
        let mut word: u64 = 7;
        for _ in 0..10_000 {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let one = order((word >> 40) % 12);
            match (word >> 60) % 3 {
                0 => {
                    line.insert(one);
                    set.insert(one);
                }
                1 => assert_eq!(line.remove(one), set.remove(&one)),
                _ => assert_eq!(line.pop_first(), set.pop_first()),
            }
            assert_eq!(line.first(), set.first());
            assert_eq!(line.is_empty(), set.is_empty());
        }
    }
}
