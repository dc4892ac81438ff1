//! What all parts of the executor share: the way to the warden, and who is where.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Bytes64, Failure, FailureKind, InvocationId};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::runtime::Handle;

use super::Config;
use super::cgroup::Tree;
use super::cores::Cores;
use super::group::Group;
use super::interpreter::Interpreter;
use super::job::{Afterwards, Job};
use super::pager::Pager;
use super::pool::Pool;
use super::sandbox::{Claim, End, Owner, Sandbox};
use super::wire::{self, Answer, Order, Plan, Recipe};
use crate::Clock;
use crate::executor::{Code, Condition, Events, IdleUse, Network, Platform, Reclaimed};

/// See the module.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) events: Events,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) tokio: Handle,
    pub(super) tree: Tree,
    pub(super) users_first: u32,
    pub(super) interpreters: Vec<Interpreter>,
    pub(super) config: Config,
    /// None where functions share cores.
    pub(super) cores: Option<Cores>,
    warden: Mutex<Option<Line>>,
    /// Tells of the end, for who waits before a next attempt.
    closing: Condvar,
    restarts: AtomicU64,
    next_n: AtomicU32,
    is_closed: AtomicBool,
    jobs: Mutex<HashMap<InvocationId, Arc<Job>>>,
    /// All that are not yet removed.
    sandboxes: Mutex<HashMap<u32, Arc<Sandbox>>>,
    fewer_sandboxes: Condvar,
    pub(super) pool: Mutex<Pool>,
    more_ready: Condvar,
    stops: mpsc::Sender<Arc<Job>>,
    pub(super) pager: Pager,
    /// No interpreters are started ahead before that: memory was scarce.
    refill_from: Mutex<Option<Instant>>,
    sampler: Mutex<Option<Thread>>,
}

/// The way to a warden.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) socket: Arc<OwnedFd>,
    /// Its process.
    pub(super) id: u32,
}

/// After interpreters that had run nothing were given up for their memory.
const REFILL_PAUSE: Duration = Duration::from_secs(10);

const NO_WARDEN: &str = "the warden, which makes sandboxes, ended and is being started again";

/// What [`Shared`] is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) events: Events,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) tree: Tree,
    pub(super) users_first: u32,
    pub(super) interpreters: Vec<Interpreter>,
    pub(super) line: Line,
    pub(super) stops: mpsc::Sender<Arc<Job>>,
    pub(super) pager: Pager,
}

/// A lock whose holder panicked protects data that is still whole: no step here leaves it half-way.
pub(super) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let Parts { config, events, platform, tree, users_first, interpreters, line, stops, pager } =
            parts;
        Arc::new(Self {
            clock: config.clock,
            events,
            platform,
            tokio: config.tokio.clone(),
            tree,
            users_first,
            pool: Mutex::new(Pool::new(interpreters.len())),
            interpreters,
            cores: Cores::new(config.cores),
            config,
            warden: Mutex::new(Some(line)),
            closing: Condvar::new(),
            restarts: AtomicU64::new(0),
            next_n: AtomicU32::new(1),
            is_closed: AtomicBool::new(false),
            jobs: Mutex::default(),
            sandboxes: Mutex::default(),
            fewer_sandboxes: Condvar::new(),
            more_ready: Condvar::new(),
            stops,
            pager,
            refill_from: Mutex::new(None),
            sampler: Mutex::new(None),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The user of sandbox `n`.
    pub(super) fn user(&self, n: u32) -> u32 {
        Plan::user(self.users_first, n)
    }

    pub(super) fn job(&self, id: InvocationId) -> Option<Arc<Job>> {
        unpoisoned(&self.jobs).get(&id).cloned()
    }

    pub(super) fn jobs(&self) -> Vec<Arc<Job>> {
        unpoisoned(&self.jobs).values().cloned().collect()
    }

    pub(super) fn forget(&self, id: InvocationId) {
        unpoisoned(&self.jobs).remove(&id);
    }

    pub(super) fn confirm_stop(&self, job: Arc<Job>) {
        // The thread at the other end lives as long as the executor.
        let _ = self.stops.send(job);
    }

    /// Gives the invocation a sandbox: a warm one of its own, else a generic interpreter, else a
    /// new one.
    pub(super) fn begin(self: &Arc<Self>, job: &Arc<Job>) {
        unpoisoned(&self.jobs).insert(job.id(), Arc::clone(job));
        self.wake_sampler();
        if self.is_closed() {
            fail(job, "the process runtime has stopped");
            return;
        }
        let owner = Owner::of(&job.start.code);
        loop {
            let Some(sandbox) = unpoisoned(&self.pool).take_warm(&owner) else { break };
            if matches!(sandbox.claim(owner.clone(), job), Claim::Taken) {
                job.attach(&sandbox, false);
                return;
            }
        }
        let code = &job.start.code;
        let language = self.interpreters.iter().position(|i| i.serves(&code.runtime));
        if let Some(language) = language.filter(|_| code.network == Network::None) {
            loop {
                let Some(sandbox) = unpoisoned(&self.pool).take_generic(language) else { break };
                self.refill_soon();
                if matches!(sandbox.claim(owner.clone(), job), Claim::Taken) {
                    job.attach(&sandbox, true);
                    let order = Order::Attach { n: sandbox.n, code: super::code_dir(code) };
                    if let Err(error) = self.order(&order, &[]) {
                        fail(job, &format!("mount the code: {error}"));
                    }
                    return;
                }
            }
        }
        if let Err(error) = self.begin_fresh(job, owner, language) {
            fail(job, &format!("make a sandbox: {error}"));
        }
    }

    fn begin_fresh(
        self: &Arc<Self>,
        job: &Arc<Job>,
        owner: Owner,
        language: Option<usize>,
    ) -> io::Result<()> {
        let code = &job.start.code;
        let (command, environment) = match language {
            Some(language) => (self.interpreters[language].command(), super::generic_environment()),
            None if code.runtime.starts_with("provided") => {
                (vec![super::BOOTSTRAP.into()], super::environment(code))
            }
            None => return Err(io::Error::other(format!("nothing runs {:?} here", code.runtime))),
        };
        if language.is_some() {
            self.refill_soon();
        }
        let recipe = Recipe {
            n: 0,
            has_network: code.network == Network::Granted,
            command,
            environment,
            code: Some(super::code_dir(code)),
        };
        self.create(recipe, |sandbox| {
            // Nobody else knows a new sandbox, so it cannot be gone.
            let _ = sandbox.claim(owner, job);
            if language.is_some() {
                sandbox.assign(assignment(code));
            }
            job.attach(sandbox, true);
        })
    }

    /// Makes a generic interpreter for the pool.
    pub(super) fn create_generic(self: &Arc<Self>, language: usize) -> io::Result<()> {
        let recipe = Recipe {
            n: 0,
            has_network: false,
            command: self.interpreters[language].command(),
            environment: super::generic_environment(),
            code: None,
        };
        self.create(recipe, |sandbox| {
            unpoisoned(&self.pool).add_generic(language, Arc::clone(sandbox));
        })
    }

    fn create(
        self: &Arc<Self>,
        mut recipe: Recipe,
        introduce: impl FnOnce(&Arc<Sandbox>),
    ) -> io::Result<()> {
        let n = self.next_n.fetch_add(1, Ordering::Relaxed);
        recipe.n = n;
        let (ours, theirs) = wire::pair()?;
        let (output, printed) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        for fd in [&ours, &output] {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let sandbox = Sandbox::new(&recipe, Arc::clone(self), output);
        unpoisoned(&self.sandboxes).insert(n, Arc::clone(&sandbox));
        introduce(&sandbox);
        let order = Order::Create(Box::new(recipe));
        if let Err(error) = self.order(&order, &[theirs.as_fd(), printed.as_fd()]) {
            unpoisoned(&self.sandboxes).remove(&n);
            self.discard(&sandbox);
            return Err(error);
        }
        let entered = self.tokio.enter();
        self.tokio.spawn(sandbox.watch(ours));
        drop(entered);
        Ok(())
    }

    /// Tells the warden.
    fn order(&self, order: &Order, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<()> {
        let line = self.line().ok_or_else(|| io::Error::other(NO_WARDEN))?;
        // Where it is about to be gone, whoever listens to it ends everything.
        wire::send(line.socket.as_fd(), order, descriptors).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => io::Error::other(NO_WARDEN),
            _ => error,
        })
    }

    /// Listens to a warden until it is gone.
    pub(super) fn listen(self: &Arc<Self>, warden: &OwnedFd) {
        while let Ok(Some((answer, _))) = wire::receive(warden) {
            match answer {
                Answer::Ready(_) => {}
                Answer::Attached { n, error } => self.attached(n, error),
                Answer::NotCreated { n, error } => {
                    if let Some(sandbox) = self.sandbox(n) {
                        sandbox
                            .ended(End::Unmade(format!("the sandbox could not be made: {error}")));
                    }
                }
                Answer::Removed { n } => {
                    unpoisoned(&self.sandboxes).remove(&n);
                    self.fewer_sandboxes.notify_all();
                }
            }
        }
    }

    /// Ends all that the warden held. What was ordered from it before it went is among that.
    pub(super) fn warden_lost(self: &Arc<Self>) {
        *unpoisoned(&self.warden) = None;
        let all = std::mem::take(&mut *unpoisoned(&self.sandboxes));
        for sandbox in all.into_values() {
            sandbox.ended(End::Unmade(NO_WARDEN.into()));
        }
        // Its sandboxes die with it; what they leave nobody else removes before the next start.
        self.tree.remove_leftovers();
        self.fewer_sandboxes.notify_all();
    }

    /// From now on there is a warden again.
    pub(super) fn warden_found(&self, line: Line) {
        *unpoisoned(&self.warden) = Some(line);
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// The way to the warden, while it is there.
    pub(super) fn line(&self) -> Option<Line> {
        unpoisoned(&self.warden).clone()
    }

    pub(super) fn condition(&self) -> Condition {
        let is_missing = !self.is_closed() && self.line().is_none();
        Condition {
            trouble: is_missing.then(|| NO_WARDEN.to_owned()),
            restarts: self.restarts.load(Ordering::Relaxed),
        }
    }

    /// Waits; whether the executor is still wanted then.
    pub(super) fn pause_unless_closed(&self, pause: Duration) -> bool {
        let line = unpoisoned(&self.warden);
        let result = self.closing.wait_timeout_while(line, pause, |_| !self.is_closed());
        drop(result.unwrap_or_else(PoisonError::into_inner));
        !self.is_closed()
    }

    fn attached(&self, n: u32, error: Option<String>) {
        let Some(sandbox) = self.sandbox(n) else { return };
        let Some(job) = sandbox.job() else { return };
        match error {
            None => sandbox.assign(assignment(&job.start.code)),
            Some(error) => fail(&job, &format!("mount the code: {error}")),
        }
    }

    fn sandbox(&self, n: u32) -> Option<Arc<Sandbox>> {
        unpoisoned(&self.sandboxes).get(&n).cloned()
    }

    /// Keeps a sandbox whose invocation has ended, for the next of its owner.
    pub(super) fn keep(&self, sandbox: &Arc<Sandbox>, class: &str) {
        sandbox.release();
        let surplus = match sandbox.owner() {
            Some(owner) if !self.is_closed() => {
                let pool = &mut unpoisoned(&self.pool);
                let (class, idle_max) = (class.to_owned(), self.config.idle_max);
                pool.add_warm(owner, class, Arc::clone(sandbox), idle_max)
            }
            _ => Some(Arc::clone(sandbox)),
        };
        if let Some(surplus) = surplus {
            self.discard(&surplus);
        }
        self.wake_sampler();
    }

    /// Ends a sandbox.
    pub(super) fn discard(&self, sandbox: &Arc<Sandbox>) {
        if !sandbox.set_gone() {
            return;
        }
        let was_generic = unpoisoned(&self.pool).remove(sandbox);
        // Where the warden is gone, so is the sandbox.
        let is_ordered = self.order(&Order::Remove { n: sandbox.n }, &[]).is_ok();
        if was_generic && is_ordered && !self.is_closed() {
            tracing::warn!(n = sandbox.n, "a generic interpreter ended by itself");
        }
    }

    pub(super) fn discard_all(&self, sandboxes: Vec<Arc<Sandbox>>) {
        for sandbox in sandboxes {
            self.discard(&sandbox);
        }
    }

    /// Fills the pool a little later, when the call that took from it has had its core.
    fn refill_soon(self: &Arc<Self>) {
        const PAUSE: Duration = Duration::from_millis(10);
        let shared = Arc::clone(self);
        self.tokio.spawn(async move {
            tokio::time::sleep(PAUSE).await;
            shared.refill();
        });
    }

    pub(super) fn refill(self: &Arc<Self>) {
        if unpoisoned(&self.refill_from).is_some_and(|from| Instant::now() < from) {
            return;
        }
        for language in 0..self.interpreters.len() {
            let missing =
                unpoisoned(&self.pool).missing(language, self.config.pool_per_interpreter);
            for _ in 0..missing {
                if self.is_closed() {
                    return;
                }
                if let Err(error) = self.create_generic(language) {
                    tracing::warn!(%error, "cannot start an interpreter ahead");
                    return;
                }
            }
        }
    }

    pub(super) fn interpreter_is_ready(&self) {
        drop(unpoisoned(&self.pool));
        self.more_ready.notify_all();
    }

    /// Waits until the pool is full; whether it is.
    pub(super) fn await_pool(&self, bound: Duration) -> bool {
        let wanted = self.config.pool_per_interpreter;
        let is_lacking = |pool: &mut Pool| !pool.is_full(wanted);
        let pool = unpoisoned(&self.pool);
        let result = self.more_ready.wait_timeout_while(pool, bound, is_lacking);
        !result.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What idle sandboxes hold, by the class of what they last ran.
    pub(super) fn idle_memory(&self) -> Vec<IdleUse> {
        let idle = unpoisoned(&self.pool).idle();
        let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
        for (class, sandbox) in idle {
            let bytes = sandbox.group().map_or(0, Group::memory_bytes);
            *by_class.entry(class).or_default() += bytes;
        }
        let idle = |(class, bytes)| IdleUse { class, bytes: Bytes64(bytes) };
        by_class.into_iter().map(idle).collect()
    }

    /// Asks the idle sandboxes of a class to go, for memory is scarce.
    pub(super) fn free_idle(&self, class: &str) -> Reclaimed {
        let mut room = self.pager.usage().map_or(0, |swap| swap.total.0 - swap.used.0);
        let mut freed = 0;
        let may_leave = |sandbox: &Sandbox| {
            let bytes = sandbox.group().map_or(0, Group::memory_bytes);
            let left = room.checked_sub(bytes).filter(|_| bytes > 0);
            room = left.unwrap_or(room);
            left.is_some()
        };
        let going = unpoisoned(&self.pool).ask_to_go(class, Instant::now(), may_leave);
        for sandbox in going.out.iter().chain(&going.forgotten) {
            freed += sandbox.group().map_or(0, Group::memory_bytes);
        }
        going.out.iter().for_each(|sandbox| self.pager.send_idle(sandbox));
        let sandboxes = going.out.len() + going.forgotten.len();
        if class.is_empty() && !going.forgotten.is_empty() {
            *unpoisoned(&self.refill_from) = Some(Instant::now() + REFILL_PAUSE);
        }
        self.discard_all(going.forgotten);
        Reclaimed { sandboxes: sandboxes as u64, bytes: Bytes64(freed) }
    }

    pub(super) fn set_sampler(&self, thread: Thread) {
        *unpoisoned(&self.sampler) = Some(thread);
    }

    pub(super) fn wake_sampler(&self) {
        if let Some(thread) = &*unpoisoned(&self.sampler) {
            thread.unpark();
        }
    }

    /// Ends everything and waits until it is gone.
    pub(super) fn close(&self, bound: Duration) {
        self.is_closed.store(true, Ordering::Release);
        for job in self.jobs() {
            let failure = Failure::new(FailureKind::Cancelled, "the server stopped");
            job.finish(Err(failure), Afterwards::Discard);
        }
        let all: Vec<Arc<Sandbox>> = unpoisoned(&self.sandboxes).values().cloned().collect();
        self.discard_all(all);
        let sandboxes = unpoisoned(&self.sandboxes);
        let result =
            self.fewer_sandboxes.wait_timeout_while(sandboxes, bound, |all| !all.is_empty());
        drop(result.unwrap_or_else(PoisonError::into_inner));
        // The warden ends when it sees this.
        if let Some(line) = self.line() {
            let _ = shutdown(line.socket.as_raw_fd(), Shutdown::Both);
        }
        self.closing.notify_all();
        self.pager.stop();
        self.wake_sampler();
    }
}

/// What a generic interpreter is told.
fn assignment(code: &Code) -> Bytes {
    let environment: HashMap<String, String> = super::environment(code).into_iter().collect();
    serde_json::json!({ "environment": environment }).to_string().into()
}

fn fail(job: &Job, message: &str) {
    job.finish(Err(Failure::new(FailureKind::Platform, message)), Afterwards::Discard);
}
