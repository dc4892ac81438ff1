//! Functions as sandboxed processes that speak the AWS Lambda Runtime API.
//!
//! Three sorts of process. The server (this one) decides, speaks HTTP with the functions and
//! measures them. Its warden ([`warden`]) makes and removes sandboxes. Each sandbox has an init
//! ([`init`]), which builds what the sandbox sees ([`place`]), and the function's program
//! ([`payload`]), without any right.
//!
//! An invocation ([`job`]) gets a [`sandbox`]: a warm one of the same tenant, function and version,
//! or a generic interpreter from the [`pool`] that has run nothing yet and now gets the code
//! mounted, or a new one. It calls the server ([`api`]) over a listening socket that was made in
//! its own network namespace, so the server knows who calls without a name or a secret.
//!
//! The warden is watched ([`guard`]): where it dies, so do all sandboxes; what ran in them fails,
//! and a new warden is started.
//!
//! Preemption: the sandbox's control group is frozen as a whole ([`group`]); no process in it can
//! notice, refuse or undo that.

mod api;
mod bootstrap;
mod cgroup;
mod cores;
mod filter;
mod group;
mod guard;
mod init;
mod interpreter;
mod job;
mod pager;
mod paging;
mod payload;
mod peer;
mod place;
mod pool;
mod sampler;
mod sandbox;
mod shared;
mod steering;
mod sys;
mod warden;
mod wire;

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use model::{Bytes64, Failure, InvocationId, SwapPlace};
use tokio::runtime::Handle;

pub use self::interpreter::Interpreters;
pub use self::warden::{WARDEN_ARG, warden_main};

use self::cgroup::Tree;
use self::guard::Warden;
use self::interpreter::Interpreter;
use self::job::{Afterwards, Job};
use self::pager::Pager;
use self::shared::{Parts, Shared, unpoisoned};
use self::wire::Plan;
use crate::Clock;
use crate::executor::{
    Code, Condition, Events, Executor, Held, MemoryUse, Platform, Prepare, PrepareError, Prepared,
    Reclaim, Reclaimed, Start,
};
use crate::kernel::Band;
use crate::package;

/// Longest wait for a stop to take hold; what takes longer waits in the kernel.
const STOP_BOUND: Duration = Duration::from_millis(250);
/// Longest wait for sandboxes to go at shutdown.
const CLOSE_BOUND: Duration = Duration::from_secs(10);
/// What a `provided` package must have.
const BOOTSTRAP: &str = "/var/task/bootstrap";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs functions as sandboxed processes.
pub struct ProcessExecutor {
    shared: Arc<Shared>,
    /// Whether the server competes as a group above the sandboxes'.
    has_own_group: bool,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// How an executor is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// A folder of its own.
    pub state_dir: PathBuf,
    /// Memory of all sandboxes together; above, the kernel ends the largest.
    pub memory_bytes: u64,
    /// The node's clock.
    pub clock: Clock,
    /// The program that calls [`warden_main`], with its arguments ([`WARDEN_ARG`]).
    pub warden: Vec<OsString>,
    /// Runs the sockets.
    pub tokio: Handle,
    /// Interpreters of each language that are started ahead.
    pub pool_per_interpreter: usize,
    /// Warm sandboxes that may be idle; above, the longest idle goes.
    pub idle_max: usize,
    /// How long one may be idle.
    pub idle_age: Duration,
    /// Cores that functions hold one at a time; none where they share them.
    pub cores: Option<usize>,
    /// Most that is moved to the system's swap in a second, and back from it.
    pub swap_bandwidth: Option<Bytes64>,
}

impl Config {
    /// The usual bounds: two interpreters of each language ahead, 64 idle sandboxes for ten minutes.
    #[must_use]
    pub const fn new(state_dir: PathBuf, memory_bytes: u64, clock: Clock, tokio: Handle) -> Self {
        Self {
            state_dir,
            memory_bytes,
            clock,
            warden: Vec::new(),
            tokio,
            pool_per_interpreter: 2,
            idle_max: 64,
            idle_age: Duration::from_secs(600),
            cores: None,
            swap_bandwidth: None,
        }
    }
}

impl ProcessExecutor {
    /// Starts the warden and the first of the interpreters.
    ///
    /// # Errors
    /// The warden could not be started, or cannot make sandboxes here; the message says why.
    pub fn start(
        mut config: Config,
        interpreters: Interpreters,
        events: Events,
        platform: Arc<dyn Platform>,
    ) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(&config.state_dir)?;
        config.state_dir = config.state_dir.canonicalize()?;
        let tree = Tree::discover(&key(&config.state_dir))?;
        let interpreters = interpreters.found();
        let warden = Warden::start(&config, &interpreters, tree)?;
        let has_own_group = warden.tree.enter_server(warden.id());
        let (stops, stopping) = mpsc::channel::<Arc<Job>>();
        let (pager, orders) = Pager::new(config.swap_bandwidth);
        let parts = Parts {
            config,
            events,
            platform,
            tree: warden.tree.clone(),
            users_first: users_first(),
            interpreters,
            line: warden.line(),
            stops,
            pager,
        };
        let shared = Shared::new(parts);
        let (guarding, sampling) = (Arc::clone(&shared), Arc::clone(&shared));
        let mut threads = vec![
            named("process-warden", move || guard::run(&guarding, warden))?,
            named("process-stops", move || await_stops(&stopping))?,
            named("process-looks", move || sampler::run(&sampling))?,
        ];
        threads.extend(orders.follow()?);
        shared.refill();
        Ok(Arc::new(Self { shared, has_own_group, threads: Mutex::new(threads) }))
    }

    /// What is in force on this machine, for the log at start-up.
    #[must_use]
    fn lines_in_force(&self) -> Vec<String> {
        let tree = &self.shared.tree;
        let mut lines = vec![String::from(
            "sandboxes: own user, mount, pid, network, ipc and host-name namespaces, no \
             capabilities, seccomp filter, resource limits",
        )];
        let has = |name: &str, place: &Option<cgroup::Place>| match place {
            Some(place) => format!("{name}: cgroup {:?}", place.version).to_lowercase(),
            None => format!("{name}: no cgroup"),
        };
        lines.push(
            [
                has("stop", &tree.unified),
                has("cpu time", if tree.cpuacct.is_some() { &tree.cpuacct } else { &tree.unified }),
                has("scheduling", &tree.cpu),
                has("memory", &tree.memory),
                has("processes", &tree.pids),
            ]
            .join(", "),
        );
        if tree.unified.is_none() {
            lines.push("without a version 2 cgroup tree functions are stopped by SIGSTOP".into());
        }
        if self.has_own_group {
            lines.push("server: a control group of its own, above all sandboxes".into());
        } else {
            lines.push("server: shares the cores with sandboxes and other sessions as one".into());
        }
        if self.shared.cores.is_some() {
            lines.push(
                "processes: each function that holds a core has a processor to itself".into(),
            );
        }
        lines.push(match self.shared.pager.usage() {
            Some(swap) => format!("swap of processes: the system's, of {} bytes", swap.total.0),
            None => String::from(
                "no swap of processes: the system has none (swapon); where memory is full they \
                 are killed by class",
            ),
        });
        lines.extend(self.shared.interpreters.iter().map(Interpreter::describe));
        lines
    }

    /// Waits until the interpreters started ahead are ready, for benches and tests; whether they
    /// are.
    #[must_use]
    pub fn await_pool(&self, bound: Duration) -> bool {
        self.shared.await_pool(bound)
    }

    /// The warden's process id, while it is there.
    #[must_use]
    pub fn warden_id(&self) -> Option<u32> {
        self.shared.line().map(|line| line.id)
    }

    fn available(&self) -> String {
        let found: Vec<String> =
            self.shared.interpreters.iter().map(Interpreter::runtime).collect();
        format!("here are: {}", [vec![String::from("provided")], found].concat().join(", "))
    }

    fn check_runtime(&self, code: &Prepare<'_>) -> Result<(), PrepareError> {
        let refuse = |reason| Err(PrepareError::Runtime { runtime: code.runtime.into(), reason });
        let needs_handler = self.shared.interpreters.iter().any(|i| i.serves(code.runtime));
        if !needs_handler && !is_provided(code.runtime) {
            return refuse(self.available());
        }
        if needs_handler && !code.handler.contains('.') {
            let reason = format!("the handler {:?} is not module.function", code.handler);
            return Err(PrepareError::Package { reason });
        }
        Ok(())
    }
}

impl Executor for ProcessExecutor {
    fn in_force(&self) -> Vec<String> {
        self.lines_in_force()
    }

    fn prepare(&self, code: &Prepare<'_>, artifact_dir: &Path) -> Result<Prepared, PrepareError> {
        self.check_runtime(code)?;
        let unpacked = package::unpack(code.package, &artifact_dir.join("code"))?;
        if is_provided(code.runtime) && !unpacked.executables.iter().any(|name| name == "bootstrap")
        {
            let reason = "there is no executable file \"bootstrap\" at its top".into();
            return Err(PrepareError::Package { reason });
        }
        Ok(Prepared { artifact_bytes: unpacked.bytes })
    }

    fn start(&self, start: Start) {
        let job = Job::new(start, Arc::clone(&self.shared));
        self.shared.begin(&job);
    }

    fn preempt(&self, id: InvocationId) {
        if let Some(job) = self.shared.job(id) {
            job.preempt();
        }
    }

    fn resume(&self, id: InvocationId) {
        if let Some(job) = self.shared.job(id) {
            job.resume();
        }
    }

    fn end(&self, id: InvocationId, failure: Failure) {
        if let Some(job) = self.shared.job(id) {
            job.finish(Err(failure), Afterwards::Discard);
        }
    }

    fn set_band(&self, id: InvocationId, band: Band) {
        if let Some(job) = self.shared.job(id) {
            job.set_band(band);
        }
    }

    fn memory(&self) -> MemoryUse {
        let jobs = self.shared.jobs();
        let system_swap = self.shared.pager.usage();
        let held = |job: &Arc<Job>| Held {
            id: job.id(),
            resident: job.memory(),
            swapped: job.swapped(),
            fixed: system_swap.is_none(),
            swaps_to: SwapPlace::System,
        };
        MemoryUse {
            held: jobs.iter().map(held).collect(),
            idle: self.shared.idle_memory(),
            swap: None,
            system_swap,
        }
    }

    fn swap_out(&self, id: InvocationId) {
        if let Some(job) = self.shared.job(id) {
            job.swap_out();
        }
    }

    fn swap_in(&self, id: InvocationId) {
        if let Some(job) = self.shared.job(id) {
            job.swap_in();
        }
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }

    fn reclaim(&self, which: Reclaim<'_>) -> Reclaimed {
        let taken = match which {
            Reclaim::Class(class) => return self.shared.free_idle(class),
            Reclaim::Function(tenant, function) => {
                unpoisoned(&self.shared.pool).take_function(tenant, function)
            }
            Reclaim::Idle => unpoisoned(&self.shared.pool).take_all(),
        };
        let bytes = taken.iter().filter_map(|sandbox| Some(sandbox.group()?.memory_bytes())).sum();
        let reclaimed = Reclaimed { sandboxes: taken.len() as u64, bytes: Bytes64(bytes) };
        self.shared.discard_all(taken);
        reclaimed
    }

    fn shutdown(&self) {
        self.shared.tree.leave_server();
        self.shared.close(CLOSE_BOUND);
        for thread in std::mem::take(&mut *unpoisoned(&self.threads)) {
            if thread.thread().name() != Some("process-stops") {
                // A thread that panicked has said so already.
                let _ = thread.join();
            }
        }
    }
}

fn await_stops(stopping: &mpsc::Receiver<Arc<Job>>) {
    // Best effort: a stop is confirmed before functions get a core.
    let _ = crate::kernel::apply(0, crate::kernel::CONTROL);
    let _ = nix::sys::prctl::set_timerslack(1);
    while let Ok(job) = stopping.recv() {
        job.await_stop();
    }
}

fn named(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run)
}

fn is_provided(runtime: &str) -> bool {
    runtime == "provided" || runtime.starts_with("provided.")
}

/// Keeps the control groups of two servers on one machine apart.
fn key(state_dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    state_dir.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Users that no other server on this machine gives to its sandboxes, and no person has.
fn users_first() -> u32 {
    const FIRST: u32 = 0x4000_0000;
    FIRST + std::process::id() % (FIRST / Plan::USERS_EACH) * Plan::USERS_EACH
}

/// Where a version's code is.
fn code_dir(code: &Code) -> PathBuf {
    code.artifact_dir.join("code")
}

/// What an interpreter sees before it knows its function.
fn generic_environment() -> Vec<(String, String)> {
    let pairs = [
        ("PATH", PATH),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("TZ", ":UTC"),
        ("LAMBDA_TASK_ROOT", place::TASK),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("PYTHONPATH", "/var/runtime"),
    ];
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// What a function sees, without the addresses that its sandbox adds. Its own variables go first,
/// so that none of the platform's can be changed.
fn environment(code: &Code) -> Vec<(String, String)> {
    let mut all: std::collections::BTreeMap<String, String> =
        generic_environment().into_iter().collect();
    all.extend(code.environment.iter().cloned());
    let own = [
        ("LAMBDA_TASK_ROOT", place::TASK.to_owned()),
        ("_HANDLER", code.handler.clone()),
        ("AWS_LAMBDA_FUNCTION_NAME", code.function.to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", code.version.to_string()),
        // Memory is not reserved ahead; runtimes that insist on a number get the largest of AWS.
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "10240".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", code.function)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", code.version.to_string()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    all.retain(|name, _| name != "AWS_LAMBDA_RUNTIME_API" && name != "FERMATA_ENDPOINT");
    all.into_iter().collect()
}
