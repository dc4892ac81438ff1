//! How much of the machines is used, over time and in all.

use super::events::Event;
use super::ram::Ram;
use super::{MachineUse, Sample, World, index};

impl World {
    pub(super) fn sample(&mut self) {
        let busy: u64 = (0..self.machines.len()).map(|m| self.busy_ns(m)).sum();
        let capacity = self.config.sample_ns * (self.config.cores * self.machines.len()) as u64;
        let (ram, swap) = self.ram.as_ref().map_or(([0.0; 5], [0; 5]), Ram::spread);
        self.samples.push(Sample {
            at_ns: self.now_ns,
            cores: (busy - self.last_sample_busy_ns) as f64 / capacity as f64,
            ram,
            swap,
            held: self.scheduler.held(),
        });
        self.last_sample_busy_ns = busy;
        self.agenda.plan(self.now_ns + self.config.sample_ns, Event::Sample);
    }

    pub(super) fn busy_ns(&self, machine: usize) -> u64 {
        let site = &self.machines[machine];
        site.busy_ns + (self.now_ns - site.busy_since_ns) * site.busy as u64
    }

    pub(super) fn set_busy(&mut self, machine: u32, busy: usize) {
        let at = index(machine);
        let busy_ns = self.busy_ns(at);
        let site = &mut self.machines[at];
        site.busy_ns = busy_ns;
        site.busy_since_ns = self.now_ns;
        site.busy = busy;
    }

    /// Notes usage up to the last arrival: what comes after is only the drain.
    pub(super) fn freeze_usage(&mut self) {
        self.usage = (0..self.machines.len())
            .map(|machine| MachineUse {
                busy_ns: self.busy_ns(machine),
                ram_mb_s: self.ram.as_mut().map_or(0, |ram| ram.mb_s(machine, self.now_ns)),
                ..MachineUse::default()
            })
            .collect();
    }
}
