//! Price classes: the one thing a developer states (paper XX, section 3).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::amount::{PICO_PER_MICRO, Price};
use crate::limits;

/// A class's place in its price list, cheapest first: a higher id is a dearer class.
///
/// Comparing two ids of one list compares the classes, so the effective class of a call is
/// `caller.max(stated)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u8);

/// One entry of the operator's fixed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceClass {
    /// Lower-case letters, digits and `-`.
    pub name: String,
    /// What a CPU second costs in this class.
    pub price: Price,
}

/// The operator's fixed list of price classes, cheapest first, each name and price once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceList {
    classes: Vec<PriceClass>,
}

/// Why a list of classes cannot be a price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceListError {
    /// Fewer than one class or more than [`limits::CLASSES_MAX`].
    Size(usize),
    /// The name is empty, too long, or has other characters than `a-z`, `0-9`, `-`.
    Name(String),
    /// Two classes of the same name.
    DuplicateName(String),
    /// Two classes of the same price: their order would not be defined.
    DuplicatePrice(Price),
    /// A price of zero, which would never be chosen at the shard.
    Free(String),
}

impl PriceList {
    /// A list from classes in any order.
    ///
    /// # Errors
    /// Tells the first class that does not fit; see [`PriceListError`].
    pub fn new(mut classes: Vec<PriceClass>) -> Result<Self, PriceListError> {
        if classes.is_empty() || classes.len() > limits::CLASSES_MAX {
            return Err(PriceListError::Size(classes.len()));
        }
        classes.sort_by_key(|class| class.price);
        for (index, class) in classes.iter().enumerate() {
            if !is_class_name(&class.name) {
                return Err(PriceListError::Name(class.name.clone()));
            }
            if class.price.0 == 0 {
                return Err(PriceListError::Free(class.name.clone()));
            }
            for other in &classes[..index] {
                if other.name == class.name {
                    return Err(PriceListError::DuplicateName(class.name.clone()));
                }
                if other.price == class.price {
                    return Err(PriceListError::DuplicatePrice(class.price));
                }
            }
        }
        Ok(Self { classes })
    }

    /// The class of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ClassId> {
        let index = self.classes.iter().position(|class| class.name == name)?;
        Some(ClassId(u8::try_from(index).expect("CLASSES_MAX fits in a byte")))
    }

    /// The class of that id. An id of another list may panic.
    #[must_use]
    pub fn get(&self, id: ClassId) -> &PriceClass {
        &self.classes[usize::from(id.0)]
    }

    /// The class of that id, where there is one.
    #[must_use]
    pub fn try_get(&self, id: ClassId) -> Option<&PriceClass> {
        self.classes.get(usize::from(id.0))
    }

    /// All classes, cheapest first.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (ClassId, &PriceClass)> + ExactSizeIterator {
        self.classes.iter().enumerate().map(|(index, class)| {
            (ClassId(u8::try_from(index).expect("CLASSES_MAX fits in a byte")), class)
        })
    }

    /// The number of classes, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a price list is never empty")]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// The cheapest class.
    #[must_use]
    pub const fn lowest(&self) -> ClassId {
        ClassId(0)
    }

    /// The dearest class.
    #[must_use]
    pub fn highest(&self) -> ClassId {
        ClassId(u8::try_from(self.classes.len() - 1).expect("CLASSES_MAX fits in a byte"))
    }
}

/// The list of DESIGN section 1: background 0.3 … critical 2.0 µ¢ per CPU second.
impl Default for PriceList {
    fn default() -> Self {
        let classes = [
            ("background", 300_000),
            ("economy", 700_000),
            ("standard", PICO_PER_MICRO),
            ("interactive", 1_500_000),
            ("critical", 2_000_000),
        ];
        let class =
            |(name, price): (&str, u64)| PriceClass { name: name.into(), price: Price(price) };
        Self::new(classes.map(class).to_vec()).expect("the default list is a price list")
    }
}

impl fmt::Display for PriceListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(n) => {
                write!(f, "a price list has 1 to {} classes, this one has {n}", limits::CLASSES_MAX)
            }
            Self::Name(name) => {
                write!(f, "class name {name:?} must be 1 to 32 of a-z, 0-9 and -")
            }
            Self::DuplicateName(name) => write!(f, "class {name:?} stands twice in the price list"),
            Self::DuplicatePrice(price) => {
                write!(f, "two classes have the price {price} µ¢, so neither is the higher one")
            }
            Self::Free(name) => write!(f, "class {name:?} has price 0 and would never be chosen"),
        }
    }
}

impl core::error::Error for PriceListError {}

fn is_class_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= limits::CLASS_NAME_BYTES_MAX && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    fn class(name: &str, price: u64) -> PriceClass {
        PriceClass { name: name.into(), price: Price(price) }
    }

    #[test]
    fn ids_order_classes_by_price_whatever_the_order_of_the_list() {
        let list = PriceList::new(vec![class("dear", 9), class("cheap", 1)]).unwrap();
        assert!(list.find("dear") > list.find("cheap"));
        assert_eq!(list.get(list.highest()).name, "dear");
        assert_eq!(list.find("other"), None);
    }

    #[test]
    fn a_list_that_does_not_order_its_classes_is_refused() {
        let check = |classes: Vec<PriceClass>, expected: PriceListError| {
            assert_eq!(PriceList::new(classes), Err(expected));
        };
        check(vec![], PriceListError::Size(0));
        check(vec![class("a", 1), class("a", 2)], PriceListError::DuplicateName("a".into()));
        check(vec![class("a", 1), class("b", 1)], PriceListError::DuplicatePrice(Price(1)));
        check(vec![class("a", 0)], PriceListError::Free("a".into()));
        check(vec![class("A", 1)], PriceListError::Name("A".into()));
        let many = (1..=17).map(|n| class(&std::format!("c{n}"), n)).collect();
        check(many, PriceListError::Size(17));
    }
}
