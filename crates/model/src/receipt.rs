//! The bill of one invocation.

use crate::amount::{Amount, ByteSeconds, CpuTime, MemoryPrice, Price};
use crate::class::ClassId;

/// The bill of one invocation, recomputable from its measured use and the prices of its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The effective class, at which CPU time is billed.
    pub class: ClassId,
    /// CPU time really used.
    pub cpu: CpuTime,
    /// Memory really used, over time.
    pub memory: ByteSeconds,
    /// Price of the CPU time.
    pub cpu_cost: Amount,
    /// Price of the memory.
    pub memory_cost: Amount,
}

impl Receipt {
    /// The bill for `cpu` and `memory` at these prices.
    #[must_use]
    pub fn new(class: ClassId, price: Price, memory_price: MemoryPrice, used: Used) -> Self {
        Self {
            class,
            cpu: used.cpu,
            memory: used.memory,
            cpu_cost: price.of(used.cpu),
            memory_cost: memory_price.of(used.memory),
        }
    }

    /// CPU and memory together.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.cpu_cost + self.memory_cost
    }
}

/// What an invocation used, as measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU time: of the fiber (Wasm), or by the kernel's accounting (process).
    pub cpu: CpuTime,
    /// Memory over time.
    pub memory: ByteSeconds,
}
