//! Arrivals made by hand.

use model::PriceList;

use super::{Arrival, Arrivals, Phases, Workload};

/// Arrivals as listed, the same for every seed, in the default price classes.
#[derive(Clone, Debug)]
pub struct Listed {
    arrivals: Vec<Arrival>,
    prices: PriceList,
}

impl Listed {
    /// These, whatever their order.
    #[must_use]
    pub fn new(mut arrivals: Vec<Arrival>) -> Self {
        arrivals.sort_by_key(|arrival| arrival.at_ns);
        Self { arrivals, prices: PriceList::default() }
    }
}

impl Workload for Listed {
    fn arrivals(&self, _seed: u64) -> Arrivals<'_> {
        Box::new(self.arrivals.iter().copied())
    }

    fn prices(&self) -> &PriceList {
        &self.prices
    }

    fn phases(&self) -> Phases {
        Phases::NONE
    }

    fn recipe(&self) -> String {
        format!("{} arrivals by hand", self.arrivals.len())
    }
}
