//! Where memory goes that leaves RAM.

use crate::Bytes64;

/// The two places that swapped memory can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SwapPlace {
    /// Fermata's own swap file.
    File,
    /// The operating system's swap.
    System,
}

/// What each place can still take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapRoom {
    /// Fermata's own swap file.
    pub file: Bytes64,
    /// The operating system's swap.
    pub system: Bytes64,
}

impl SwapRoom {
    /// What this place can take.
    #[must_use]
    pub const fn at(self, place: SwapPlace) -> Bytes64 {
        match place {
            SwapPlace::File => self.file,
            SwapPlace::System => self.system,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn sum(self) -> Bytes64 {
        Bytes64(self.file.0.saturating_add(self.system.0))
    }

    /// The room that is left when so much more goes there, if it fits.
    #[must_use]
    pub const fn without(self, place: SwapPlace, bytes: Bytes64) -> Option<Self> {
        let Some(left) = self.at(place).0.checked_sub(bytes.0) else { return None };
        Some(match place {
            SwapPlace::File => Self { file: Bytes64(left), ..self },
            SwapPlace::System => Self { system: Bytes64(left), ..self },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_fills_by_itself() {
        let room = SwapRoom { file: Bytes64(10), system: Bytes64(5) };
        assert_eq!(room.without(SwapPlace::System, Bytes64(6)), None);
        let left = room.without(SwapPlace::System, Bytes64(5)).unwrap();
        assert_eq!((left.file, left.system, left.sum()), (Bytes64(10), Bytes64(0), Bytes64(10)));
        assert_eq!(left.without(SwapPlace::File, Bytes64(4)).unwrap().sum(), Bytes64(6));
    }
}
