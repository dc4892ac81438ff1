//! WebAssembly functions inside this process: an instance and a fiber for each invocation.
//!
//! A function is a core module with WASI preview 1 ([`wasi`]) and the import module `fermata`
//! ([`abi`]). It is compiled at deploy ([`artifact`]). Each invocation gets an instance of its own
//! from its tenant's pool ([`tenant`]), which is never used again, and runs on a stack of its own
//! ([`guest`]) that worker threads poll ([`worker`]). A preempted or waiting function is a stack
//! that nobody polls ([`job`]).
//!
//! Preemption: the compiled code looks at a counter of its engine at each loop and call. `preempt`
//! sets the job's flag and moves the counter; each running guest of the tenant then looks at its
//! flag, and the one that is meant yields. The counter never moves otherwise. A guest that has just
//! looked when its flag is set would not notice, so a stop that is outstanding is looked at again
//! by the timer, which moves the counter once more.

mod abi;
mod ahead;
mod artifact;
mod durable;
mod gate;
mod gauge;
mod guest;
mod hand;
mod host;
mod job;
mod load;
mod memory;
mod program;
mod swapper;
mod tenant;
mod tick;
mod timer;
mod wasi;
mod worker;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{Bytes64, Failure, FailureKind, InvocationId, SwapPlace, TenantName, limits};

use self::ahead::Bench;
pub use self::durable::parts as image_parts;
use self::gate::Gate;
use self::gauge::Gauge;
use self::guest::{Jobs, Services};
use self::job::{Action, Job, unpoisoned};
pub use self::program::{javascript, python, waits_in_calls};
use self::swapper::Swapper;
use self::tenant::{Home, Tenant};
use self::timer::Timer;
use self::worker::Workers;
use crate::Clock;
use crate::executor::{
    Events, Executor, Held, IdleUse, MemoryUse, Platform, Prepare, PrepareError, Prepared, Reclaim,
    Reclaimed, Start,
};
use crate::kernel::Band;
use crate::swap::{Swap, SwapOptions};

/// Runs WebAssembly functions.
pub struct WasmExecutor {
    services: Arc<Services>,
    workers: Arc<Workers>,
    swapper: Option<Arc<Swapper>>,
    gauge_thread: Mutex<Option<JoinHandle<()>>>,
    compiler: Home,
    tenants: Mutex<HashMap<TenantName, Arc<Tenant>>>,
    events: Events,
    pool_slots: u32,
    wasm_opt: Option<PathBuf>,
    is_closed: AtomicBool,
}

/// Bounds of an executor.
#[derive(Clone, Debug)]
pub struct WasmOptions {
    /// Threads that run functions, at least one; jobs above wait for one. Functions that wait or
    /// are preempted need none.
    pub threads_max: usize,
    /// Linear memory of one instance.
    pub memory_bytes_max: u64,
    /// Changed memory of one function that suspends.
    pub image_bytes_max: u64,
    /// Instances in each tenant's pool, for which it reserves 4 GiB of address space each; the
    /// ones above are made on demand. Zero: no pools.
    pub pool_slots: u32,
    /// binaryen's `wasm-opt`, for the deploy of durable functions that wait in the middle of a
    /// call; none: the one on `PATH`.
    pub wasm_opt: Option<PathBuf>,
    /// Where memory of functions that rest may go.
    pub swap: Option<SwapOptions>,
}

/// The executor could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No thread.
    #[error("start the timer thread")]
    Thread(#[source] std::io::Error),
    /// No swap file: the folder cannot be written, or the disk is too full.
    #[error("make the swap file of {bytes} bytes in {folder}")]
    Swap {
        /// Its size.
        bytes: u64,
        /// Where.
        folder: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The kernel does not tell of memory.
    #[error("read /proc/self/pagemap")]
    Memory(#[source] std::io::Error),
    /// The compiler does not know this machine, or there is no memory.
    #[error("make the compiler: {reason}")]
    Engine {
        /// wasmtime's words.
        reason: String,
    },
}

impl Default for WasmOptions {
    fn default() -> Self {
        Self {
            threads_max: limits::WASM_THREADS_MAX,
            memory_bytes_max: limits::WASM_MEMORY_BYTES_MAX,
            image_bytes_max: limits::WASM_IMAGE_BYTES_MAX,
            pool_slots: 128,
            wasm_opt: None,
            swap: None,
        }
    }
}

impl WasmExecutor {
    /// An executor without tenants or threads; they come with the first calls.
    ///
    /// # Errors
    /// [`OpenError`]: the machine has no thread or memory left, or is of an unknown sort.
    pub fn open(
        options: WasmOptions,
        clock: Clock,
        platform: Arc<dyn Platform>,
        events: Events,
    ) -> Result<Self, OpenError> {
        let compiler =
            Home::compiler().map_err(|error| OpenError::Engine { reason: format!("{error:#}") })?;
        let WasmOptions {
            threads_max,
            memory_bytes_max,
            image_bytes_max,
            pool_slots,
            wasm_opt,
            swap,
        } = options;
        let swap = swap.map(|swap| open_swap(&swap)).transpose()?;
        let gauge = Arc::new(Gauge::open().map_err(OpenError::Memory)?);
        let gauge_thread = gauge.start().map_err(OpenError::Thread)?;
        let services = Arc::new(Services {
            clock,
            platform,
            timer: Timer::start().map_err(OpenError::Thread)?,
            memory_bytes_max: memory_bytes_max.min(limits::WASM_MEMORY_BYTES_MAX),
            image_bytes_max: image_bytes_max.min(limits::WASM_IMAGE_BYTES_MAX),
            gauge,
            gate: Arc::new(Gate::new()),
            jobs: Jobs::default(),
            bench: Bench::default(),
        });
        let workers = Workers::new(Arc::clone(&services), threads_max);
        let after = swapped(&workers);
        let swapper = swap.map(|swap| Swapper::start(swap, &after)).transpose();
        let swapper = swapper.map_err(OpenError::Thread)?.map(Arc::new);
        Ok(Self {
            workers,
            swapper,
            gauge_thread: Mutex::new(Some(gauge_thread)),
            services,
            compiler,
            tenants: Mutex::default(),
            events,
            pool_slots,
            wasm_opt,
            is_closed: AtomicBool::new(false),
        })
    }

    /// Threads made so far for functions.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.workers.thread_count()
    }

    fn tenant(&self, name: &TenantName) -> Arc<Tenant> {
        let mut tenants = unpoisoned(&self.tenants);
        if let Some(tenant) = tenants.get(name) {
            return Arc::clone(tenant);
        }
        let tenant = Arc::new(Tenant::new(self.pool_slots));
        tenants.insert(name.clone(), Arc::clone(&tenant));
        tenant
    }

    fn act(&self, job: &Arc<Job>, action: Action) {
        match action {
            Action::None => {}
            Action::Dispatch => self.workers.dispatch(Arc::clone(job)),
            Action::Interrupt => {
                job.tenant.interrupt();
                job.hasten();
                look_again(&self.services, Arc::downgrade(job), SECOND_LOOK);
            }
            Action::Calm => job.calm(),
            Action::Fetch => {
                if let Some(swapper) = &self.swapper {
                    swapper.fetch(job);
                }
            }
        }
    }
}

/// Time until an outstanding stop is looked at again; it doubles each time.
const SECOND_LOOK: Duration = Duration::from_micros(500);
/// Longest time between two looks.
const SECOND_LOOK_MAX: Duration = Duration::from_millis(16);

/// Interrupts the guest once more where it has not stopped after `pause`.
fn look_again(services: &Arc<Services>, job: Weak<Job>, pause: Duration) {
    let of_callback = Arc::downgrade(services);
    let callback = move || {
        let (Some(services), Some(stopping)) = (of_callback.upgrade(), job.upgrade()) else {
            return;
        };
        if stopping.must_stop() {
            stopping.hasten();
            stopping.tenant.interrupt();
            look_again(&services, job, (pause * 2).min(SECOND_LOOK_MAX));
        }
    };
    services.timer.at(Instant::now() + pause, Box::new(callback)).detach();
}

impl Executor for WasmExecutor {
    fn prepare(&self, code: &Prepare<'_>, artifact_dir: &Path) -> Result<Prepared, PrepareError> {
        artifact::prepare(&self.compiler, code, artifact_dir)
    }

    fn instrument(&self, code: &Prepare<'_>) -> Result<Option<Vec<u8>>, PrepareError> {
        artifact::instrument(&self.compiler.engine, self.wasm_opt.as_deref(), code)
    }

    fn start(&self, start: Start) {
        let tenant = self.tenant(&start.code.tenant);
        let events = Arc::clone(&self.events);
        let gate = Arc::clone(&self.services.gate);
        let job = Arc::new(Job::new(start, tenant, gate, self.services.clock, events));
        if !self.services.jobs.insert(&job) {
            tracing::error!(invocation = %job.id, "started twice; the second start is ignored");
            return;
        }
        if self.is_closed.load(Ordering::SeqCst) {
            // Either this sees that it is closed, or `shutdown` sees the job.
            return self.services.finish(&job, Err(stopped()));
        }
        self.workers.dispatch(job);
    }

    fn preempt(&self, id: InvocationId) {
        if let Some(job) = self.services.jobs.get(id) {
            self.act(&job, job.preempt());
        }
    }

    fn resume(&self, id: InvocationId) {
        if let Some(job) = self.services.jobs.get(id) {
            self.act(&job, job.resume());
        }
    }

    fn end(&self, id: InvocationId, failure: Failure) {
        if let Some(job) = self.services.jobs.get(id) {
            self.act(&job, job.end(failure));
        }
    }

    fn set_band(&self, id: InvocationId, band: Band) {
        if let Some(job) = self.services.jobs.get(id) {
            self.workers.set_band(&job, band);
        }
    }

    fn memory(&self) -> MemoryUse {
        let jobs = self.services.jobs.all();
        let tenants = unpoisoned(&self.tenants);
        let in_pools: u64 = tenants.values().map(|tenant| tenant.idle().0).sum();
        let idle = in_pools + self.services.gauge.bytes_of(&self.services.bench);
        let held = |job: &Arc<Job>| Held {
            id: job.id,
            resident: job.memory_now(),
            swapped: job.swapped_now(),
            fixed: self.swapper.is_none() || !job.has_region(),
            swaps_to: SwapPlace::File,
        };
        MemoryUse {
            held: jobs.iter().map(held).collect(),
            // What is kept for the next instances belongs to no class.
            idle: vec![IdleUse { class: String::new(), bytes: Bytes64(idle) }],
            swap: self.swapper.as_ref().map(|swapper| swapper.swap().usage()),
            system_swap: None,
        }
    }

    fn set_memory_max(&self, bytes: Bytes64) {
        self.services.gate.set_limit(bytes.0);
    }

    fn swap_out(&self, id: InvocationId) {
        let Some(job) = self.services.jobs.get(id) else { return };
        match &self.swapper {
            Some(swapper) if job.begin_leaving() => swapper.send(&job),
            Some(_) => job.refuse_to_leave("it is in use"),
            None => job.refuse_to_leave("there is no swap"),
        }
    }

    fn swap_in(&self, id: InvocationId) {
        if let Some(job) = self.services.jobs.get(id) {
            self.act(&job, job.want_back());
        }
    }

    fn in_force(&self) -> Vec<String> {
        let swap = self.swapper.as_ref().map(|swapper| swapper.swap().describe());
        vec![swap.unwrap_or_else(|| "no swap of Wasm functions: --swap is not set".to_owned())]
    }

    fn reclaim(&self, which: Reclaim<'_>) -> Reclaimed {
        match which {
            Reclaim::Class(class) if !class.is_empty() => return Reclaimed::default(),
            Reclaim::Function(tenant, function) => {
                let tenant = unpoisoned(&self.tenants).get(tenant).cloned();
                if let Some(tenant) = tenant {
                    tenant.forget(Some(function));
                }
            }
            Reclaim::Class(_) | Reclaim::Idle => {
                let tenants: Vec<_> = unpoisoned(&self.tenants).values().cloned().collect();
                tenants.iter().for_each(|tenant| tenant.forget(None));
            }
        }
        // After that no idle thread makes an instance of what is forgotten.
        self.services.bench.clear();
        // Pools keep memory, not sandboxes.
        Reclaimed::default()
    }

    fn shutdown(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        for job in self.services.jobs.all() {
            self.act(&job, job.end(stopped()));
        }
        self.services.jobs.wait_until_none();
        if let Some(swapper) = &self.swapper {
            swapper.stop();
        }
        self.workers.stop();
        self.services.bench.clear();
        self.services.gauge.stop();
        if let Some(thread) = unpoisoned(&self.gauge_thread).take() {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
        self.services.timer.stop();
    }
}

impl Drop for WasmExecutor {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn open_swap(options: &SwapOptions) -> Result<Arc<Swap>, OpenError> {
    Swap::open(options).map_err(|source| OpenError::Swap {
        bytes: options.bytes.0,
        folder: options.folder.display().to_string(),
        source,
    })
}

/// What follows when a swap thread is done with a job.
fn swapped(workers: &Arc<Workers>) -> swapper::After {
    let workers = Arc::downgrade(workers);
    Arc::new(move |job, action| {
        let Some(workers) = workers.upgrade() else { return };
        match action {
            Action::Dispatch => workers.dispatch(Arc::clone(job)),
            Action::None | Action::Interrupt | Action::Calm | Action::Fetch => {}
        }
    })
}

fn stopped() -> Failure {
    Failure::new(FailureKind::Cancelled, "the server stopped")
}
