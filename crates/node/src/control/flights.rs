//! All invocations under way, counted by class.

use std::collections::HashMap;

use model::{ClassId, InvocationId, MachineId, PriceList};

use super::flight::Flight;

/// All invocations under way.
pub(crate) struct Flights {
    by_id: HashMap<InvocationId, Flight>,
    by_class: Vec<usize>,
}

impl Flights {
    pub(crate) fn new(prices: &PriceList) -> Self {
        Self { by_id: HashMap::new(), by_class: vec![0; prices.len()] }
    }

    pub(crate) fn insert(&mut self, flight: Flight) {
        self.by_class[usize::from(flight.work.class.0)] += 1;
        let before = self.by_id.insert(flight.work.id, flight);
        assert!(before.is_none(), "an invocation is under way once");
    }

    pub(crate) fn remove(&mut self, id: &InvocationId) -> Option<Flight> {
        let flight = self.by_id.remove(id)?;
        self.by_class[usize::from(flight.work.class.0)] -= 1;
        Some(flight)
    }

    pub(crate) fn get(&self, id: &InvocationId) -> Option<&Flight> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &InvocationId) -> Option<&mut Flight> {
        self.by_id.get_mut(id)
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.by_id.values()
    }

    /// Those on a machine, in no order.
    pub(crate) fn on(&self, machine: MachineId) -> impl Iterator<Item = &Flight> {
        self.iter().filter(move |flight| flight.machine == Some(machine))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many are under way of this class and those above it: what limits a class is never held
    /// by a lower one.
    pub(crate) fn same_or_higher(&self, class: ClassId) -> usize {
        self.by_class[usize::from(class.0)..].iter().sum()
    }
}
