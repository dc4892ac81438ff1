//! What belongs to one tenant: its engines, its pool of instances, its loaded modules.
//!
//! Each tenant has an engine of its own, so that no slot, stack or page that one tenant has used is
//! ever given to another. The engine takes instances from a pool of slots; where a module does not
//! fit into a slot, all slots are taken, or the address space is too small for another pool, a
//! second engine makes them on demand (some 35 µs slower each).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use model::{Bytes64, Failure, FailureKind, FunctionName, limits};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker,
    PoolingAllocationConfig,
};

use super::durable::{self, Layout};
use super::host::Host;
use super::job::unpoisoned;
use super::{abi, artifact, wasi};
use crate::executor::Code;

/// One tenant's engines. They are made at the first use: a pool costs milliseconds.
pub(super) struct Tenant {
    pool_slots: u32,
    /// `None` inside: no pool could be made.
    pooled: OnceLock<Option<Home>>,
    on_demand: OnceLock<Result<Home, String>>,
}

/// A module linked with the host's functions.
pub(super) struct Linked {
    pub(super) instance: InstancePre<Host>,
    /// Of a durable function: what of its state is where.
    pub(super) layout: Option<Layout>,
    /// See [`Linked::has_start`].
    pub(super) has_start: OnceLock<bool>,
}

/// An engine with what is loaded into it.
pub(super) struct Home {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Host>,
    modules: Mutex<HashMap<[u8; 32], Loaded>>,
}

#[derive(Default)]
struct Loaded {
    /// Locked while it is being loaded, so that it is loaded once.
    module: Arc<Mutex<Option<Arc<Linked>>>>,
    functions: BTreeSet<FunctionName>,
    /// It needs more than a slot of this engine's pool holds.
    is_refused: bool,
}

impl Linked {
    /// Whether code of it may run as soon as there is an instance.
    pub(super) fn has_start(&self, code: &Code) -> bool {
        *self.has_start.get_or_init(|| artifact::has_start(code))
    }
}

impl Tenant {
    /// A tenant without engines yet. No pool where `pool_slots` is zero.
    pub(super) const fn new(pool_slots: u32) -> Self {
        Self { pool_slots, pooled: OnceLock::new(), on_demand: OnceLock::new() }
    }

    /// Where instances come from a pool, if there is one.
    pub(super) fn pooled(&self) -> Option<&Home> {
        let make = || match Home::new(&pooled_config(self.pool_slots)) {
            Ok(home) => Some(home),
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "no pool for this tenant's instances");
                None
            }
        };
        if self.pool_slots == 0 { None } else { self.pooled.get_or_init(make).as_ref() }
    }

    /// Where instances are made on demand.
    pub(super) fn on_demand(&self) -> Result<&Home, Failure> {
        let make = || Home::new(&config()).map_err(|error| format!("{error:#}"));
        self.on_demand.get_or_init(make).as_ref().map_err(|error| {
            Failure::new(FailureKind::Platform, format!("no engine for Wasm: {error}"))
        })
    }

    /// Makes every running guest of this tenant look at its stop flag.
    pub(super) fn interrupt(&self) {
        for home in self.homes() {
            home.engine.increment_epoch();
        }
    }

    /// Forgets the modules that only this function uses, or all. Running instances keep theirs.
    pub(super) fn forget(&self, function: Option<&FunctionName>) {
        for home in self.homes() {
            let mut modules = unpoisoned(&home.modules);
            let Some(function) = function else {
                modules.clear();
                continue;
            };
            modules.retain(|_, loaded| {
                !loaded.functions.remove(function) || !loaded.functions.is_empty()
            });
        }
    }

    /// Memory that the pool keeps for the next instance.
    pub(super) fn idle(&self) -> Bytes64 {
        let pooled = self.pooled.get().and_then(Option::as_ref);
        let metrics = pooled.and_then(|home| home.engine.pooling_allocator_metrics());
        metrics.map_or(Bytes64(0), |metrics| {
            let bytes =
                metrics.unused_memory_bytes_resident() + metrics.unused_table_bytes_resident();
            Bytes64(bytes as u64)
        })
    }

    fn homes(&self) -> impl Iterator<Item = &Home> {
        let pooled = self.pooled.get().and_then(Option::as_ref);
        let on_demand = self.on_demand.get().and_then(|home| home.as_ref().ok());
        pooled.into_iter().chain(on_demand)
    }
}

impl Home {
    fn new(config: &Config) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        wasi::link(&mut linker)?;
        abi::link(&mut linker)?;
        durable::link(&mut linker)?;
        Ok(Self { engine, linker, modules: Mutex::default() })
    }

    /// An engine that only compiles and checks.
    pub(super) fn compiler() -> wasmtime::Result<Self> {
        Self::new(&config())
    }

    /// The code's module; loaded at its first use.
    pub(super) fn load(&self, code: &Code) -> Result<Arc<Linked>, Failure> {
        let module = {
            let mut modules = unpoisoned(&self.modules);
            let loaded = modules.entry(code.hash).or_default();
            if !loaded.functions.contains(&code.function) {
                loaded.functions.insert(code.function.clone());
            }
            if loaded.is_refused {
                return Err(Failure::new(FailureKind::Platform, "larger than a slot of the pool"));
            }
            Arc::clone(&loaded.module)
        };
        let mut module = unpoisoned(&module);
        if let Some(module) = &*module {
            return Ok(Arc::clone(module));
        }
        let loaded = Arc::new(artifact::load(&self.engine, &self.linker, code)?);
        *module = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The code's module, where it was loaded and not forgotten since.
    pub(super) fn loaded(&self, code: &Code) -> Option<Arc<Linked>> {
        let module = Arc::clone(&unpoisoned(&self.modules).get(&code.hash)?.module);
        unpoisoned(&module).clone()
    }

    /// Does not try to load this code again.
    pub(super) fn refuse(&self, code: &Code) {
        unpoisoned(&self.modules).entry(code.hash).or_default().is_refused = true;
    }
}

/// The settings that machine code depends on are the same for all engines, so that one artifact
/// serves them all.
fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // Addresses are 32 bits wide in WASI preview 1, and it means the one memory.
    config.wasm_memory64(false).wasm_multi_memory(false);
    config.max_wasm_stack(1 << 20).async_stack_size(2 << 20);
    config
}

fn pooled_config(slots: u32) -> Config {
    const MEMORY_KEEP_BYTES: usize = 256 << 10;
    const TABLE_KEEP_BYTES: usize = 16 << 10;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        .total_memories(slots)
        .total_tables(slots)
        .total_stacks(slots)
        .max_memory_size(usize::try_from(limits::WASM_MEMORY_BYTES_MAX).unwrap_or(usize::MAX))
        .max_unused_warm_slots(slots)
        .linear_memory_keep_resident(MEMORY_KEEP_BYTES)
        .table_keep_resident(TABLE_KEEP_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
