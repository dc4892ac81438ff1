//! How much load is offered: measured against what this machine can do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::shop::{Item, OVERLOAD};
use crate::load::closed::{self, Closed, MakeRequest, Pressure};
use crate::load::connection::invoke;
use crate::load::plan::{Payload, Phase, Plan, Stream};

/// How long each function is measured.
const MEASURE: Duration = Duration::from_millis(700);
/// How long each is called before a run, so that no run pays another's cold starts.
const WARM: Duration = Duration::from_millis(300);
/// Before the overload, in it, after it.
const PHASES: [(&str, f64); 3] = [("calm", 0.3), ("overload", 0.35), ("after", 0.35)];

/// The shop's functions that work here, and what the machine can do of each.
#[derive(Debug)]
pub(crate) struct Offer {
    items: Vec<(&'static Item, f64)>,
}

impl Offer {
    /// Calls each function alone and reads from the receipts what CPU time a call costs. A function
    /// that fails is left out; `say` is told the reason.
    pub(crate) fn measure(
        address: SocketAddr,
        items: &[&'static Item],
        mut say: impl FnMut(&'static Item, Result<f64, anyhow::Error>),
    ) -> Self {
        let mut working = Vec::new();
        for &item in items {
            // Once without looking: the first calls start processes.
            let warm = press(address, item, WARM);
            let measured = warm.and_then(|_| press(address, item, MEASURE));
            let result = measured.and_then(|closed| closed.capacity_per_s());
            if let Ok(per_s) = result {
                working.push((item, per_s));
            }
            say(item, result);
        }
        Self { items: working }
    }

    /// Calls each function for a moment, so that it is warm.
    pub(crate) fn warm(&self, address: SocketAddr) -> anyhow::Result<()> {
        for (item, _) in &self.items {
            press(address, item, WARM)?;
        }
        Ok(())
    }

    /// Whether no function works.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The functions that work, dearest class first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.items.iter().map(|(item, _)| item.name)
    }

    /// The load of one run.
    pub(crate) fn plan(&self, length: Duration, seed: u64) -> Plan {
        let phase = |(name, share)| Phase { name, length: length.mul_f64(share) };
        let stream = |&(item, per_s): &(&'static Item, f64)| Stream {
            function: item.name.into(),
            class: item.class.into(),
            payload: Payload::Seed,
            rates_per_s: self.shares(item).map(|share| share * per_s).to_vec(),
        };
        Plan {
            phases: PHASES.map(phase).to_vec(),
            streams: self.items.iter().map(stream).collect(),
            seed,
        }
    }

    /// What is offered in each phase, as a multiple of what the machine can do.
    pub(crate) fn totals(&self) -> [f64; 3] {
        let mut totals = [0.0; 3];
        for (item, _) in &self.items {
            let shares = self.shares(item);
            totals = std::array::from_fn(|phase| totals[phase] + shares[phase]);
        }
        totals
    }

    fn shares(&self, item: &Item) -> [f64; 3] {
        let (calm, overload) = self.own_shares(item);
        let is_cheapest = self.items.last().is_some_and(|(last, _)| last.name == item.name);
        if !is_cheapest {
            return [calm, overload, calm];
        }
        let all: f64 = self.items.iter().map(|(other, _)| self.own_shares(other).1).sum();
        [calm, overload + (OVERLOAD - all).max(0.0), calm]
    }

    /// What the item's own demand comes to under its limit of calls a second.
    fn own_shares(&self, item: &Item) -> (f64, f64) {
        let found = self.items.iter().find(|(other, _)| other.name == item.name);
        let per_s = found.map_or(f64::INFINITY, |(_, per_s)| *per_s);
        let limit = item.demand.per_s_max / per_s;
        (item.demand.calm.min(limit), item.demand.overload.min(limit))
    }
}

fn press(address: SocketAddr, item: &'static Item, length: Duration) -> anyhow::Result<Closed> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Twice the cores: while one answer travels, the next call runs.
    let pressure = Pressure { address, connections: 2 * cores, length };
    let request: MakeRequest = Arc::new(move |number| {
        invoke(address, item.name, item.class, Payload::Seed.render(number))
    });
    closed::run(pressure, &request)
}

#[cfg(test)]
mod tests {
    use super::super::shop::ITEMS;
    use super::*;

    fn offer(items: &[(usize, f64)]) -> Offer {
        Offer { items: items.iter().map(|&(index, per_s)| (&ITEMS[index], per_s)).collect() }
    }

    #[test]
    fn the_overload_is_more_than_three_machines_and_mostly_the_cheapest_class() {
        for here in [
            vec![(0, 5_000.0), (1, 500.0), (2, 150.0), (3, 20.0)],
            vec![(0, 5_000.0), (3, 20.0)],
            vec![(1, 500.0), (2, 150.0)],
        ] {
            let offer = offer(&here);
            let [calm, overload, after] = offer.totals();
            assert!(calm < 0.5 && (calm - after).abs() < 1e-9, "{calm}");
            assert!((overload - OVERLOAD).abs() < 1e-9, "{overload}");
            let plan = offer.plan(Duration::from_secs(20), 1);
            let (last, per_s) = (plan.streams.last().unwrap(), here.last().unwrap().1);
            assert!(last.rates_per_s[1] / per_s > OVERLOAD / 2.0);
        }
    }

    #[test]
    fn a_quick_function_is_not_called_more_often_than_the_figures_need() {
        let plan = offer(&[(0, 50_000.0), (3, 20.0)]).plan(Duration::from_secs(20), 1);
        assert!(plan.streams[0].rates_per_s.iter().all(|&rate| rate <= 120.0));
        assert_eq!(plan.length(), Duration::from_secs(20));
    }
}
