//! Builds a node from its parts, and takes it down again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Bytes64, MachineId, ShardId, limits};
use policy::budget::Ledger;
use policy::{MachineConfig, ShardConfig};
use runtime::{Call, CallResult, Clock, Event, Events, MemoryUse, Platform, kernel};
use store::{Change, Month, Store, Subscription, Tenant};
use tokio::sync::oneshot;

use crate::catalog::Catalog;
use crate::control::{self, Cluster, Control, Flights, Memories, Message, Meters, Outbox};
use crate::executions::{self, Desk};
use crate::handle::Handle;
use crate::inner::{Executors, Inner};
use crate::nodes::{Keep, Naming, Nodes, Reload, Reloader};
use crate::queue::{Queue, QueueEvent};
use crate::settings::{Access, ExecutorMaker, Observer, Parts, Settings};
use crate::tenants::{default_tenant, new_key};
use crate::types::{NewKey, Role};
use crate::writer::{Write, Writer};

/// Events for the queue's task that may wait.
const QUEUE_EVENTS_MAX: usize = 4096;
/// The file with the first admin key, in the data directory.
const FIRST_KEY_FILE: &str = "admin-key";

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read or written.
    #[error("load what the store keeps")]
    Store(#[from] store::Error),
    /// A file or thread could not be made.
    #[error("{attempt}")]
    Io {
        /// Verb and object.
        attempt: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// A node and its threads.
pub struct Node {
    handle: Handle,
    /// Where the first admin key was written, if this start made it.
    first_key: Option<PathBuf>,
    threads: Vec<JoinHandle<()>>,
    executions: executions::Threads,
    others: Others,
    queue: tokio::task::JoinHandle<()>,
    sampler_stop: Sender<()>,
}

/// What hears of other nodes.
struct Others {
    subscription: Option<Box<dyn Subscription>>,
    reloader: JoinHandle<()>,
}

impl Node {
    /// Starts a node; must be called on a tokio runtime, which carries functions' calls and the
    /// queue.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(settings: &Settings, mut parts: Parts) -> Result<Self, StartError> {
        let clock = settings.clock;
        let store = Arc::clone(&parts.store);
        make_dir(&settings.data)?;
        let first_key = first_tenant_and_key(&*store, settings, &clock)?;
        let catalog = Catalog::load(&*store, &settings.data, settings.payload_bytes_max)?;

        let (mailbox, messages) = control::Mailbox::new(tokio::runtime::Handle::current());
        let (writer_tx, writer_rx) = mpsc::channel();
        let (executions_tx, executions_rx) = mpsc::channel();
        let (keeper_tx, keeper_rx) = mpsc::channel();
        let (reload_tx, reload_rx) = mpsc::channel();
        let naming = Naming {
            me: settings.node.clone(),
            address: settings.address.clone(),
            lease: settings.lease,
        };
        let nodes = Nodes::new(naming, Arc::clone(&store), keeper_tx)?;
        let (queue_tx, queue_rx) = tokio::sync::mpsc::channel(QUEUE_EVENTS_MAX);
        let observer = parts.observer.take();
        let interpreters = std::mem::take(&mut parts.interpreters);
        let (executors, mut in_force) = make_executors(parts, &mailbox)?;
        in_force.splice(0..0, settings.in_force.iter().cloned());
        let inner = Arc::new(Inner {
            clock,
            started: clock.now(),
            prices: settings.prices.clone(),
            access: settings.access,
            policy: settings.policy.name().to_owned(),
            in_force,
            payload_bytes_max: settings.payload_bytes_max,
            store,
            catalog,
            executors,
            control: mailbox.clone(),
            executions: executions_tx,
            execution_prices: settings.execution_prices,
            keep_executions: settings.keep_executions,
            interpreters,
            services: Desk::default(),
            nodes: Arc::new(nodes),
            reload: reload_tx,
            writer: writer_tx,
            queue: queue_tx,
            receipts_pending: Arc::default(),
            async_pending: Arc::new(AtomicU64::new(0)),
            draining: AtomicBool::new(false),
            look_micros: Arc::default(),
        });
        let control = make_control(settings, &inner)?;
        let writer = make_writer(&inner, observer.clone());
        let (sampler_stop, stop) = mpsc::channel();
        let sampled = Arc::clone(&inner);
        let memory = settings.memory.0.saturating_mul(u64::from(settings.machines.max(1)));
        let threads = vec![
            thread("fermata-control", move || mailbox.run(control, messages, &clock))?,
            thread("fermata-writer", move || writer.run(&writer_rx))?,
            thread("fermata-sampler", move || sample(&sampled, memory, &stop))?,
        ];
        let queue = tokio::spawn(Queue::new(Arc::clone(&inner)).run(queue_rx));
        // Before the leases are read, so that no change of them is missed.
        let subscription = Reloader::subscribe(&inner)?;
        let reloader = Reloader::new(Arc::clone(&inner));
        let reloader = thread("fermata-catalog", move || reloader.run(&reload_rx))?;
        let inboxes = executions::Inboxes { executions: executions_rx, keeper: keeper_rx };
        let executions = executions::Threads::start(&inner, inboxes, observer, thread)?;
        let handle = Handle { inner };
        let others = Others { subscription, reloader };
        Ok(Self { handle, first_key, threads, executions, others, queue, sampler_stop })
    }

    /// The way in.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the first admin key was written, if this start made one.
    #[must_use]
    pub fn first_key(&self) -> Option<&Path> {
        self.first_key.as_deref()
    }

    /// Takes no new work, gives what is under way `grace` to end, ends the rest, and writes
    /// everything down. Queued calls that have not begun stay queued for the next start.
    pub async fn shutdown(self, grace: Duration) {
        let inner = &self.handle.inner;
        inner.draining.store(true, Ordering::Relaxed);
        let _ = inner.queue.send(QueueEvent::Stop).await;
        inner.nodes.tell(Keep::Leave);
        let (reply, drained) = oneshot::channel();
        let drain = Message::Drain(Box::new(move || reply.send(()).unwrap_or_default()));
        if inner.control.send(drain).is_ok() && tokio::time::timeout(grace, drained).await.is_err()
        {
            tracing::warn!(?grace, "functions still run after the grace period and are ended");
        }
        let node = self;
        let stopped = tokio::task::spawn_blocking(move || node.stop());
        if let Err(error) = stopped.await {
            tracing::error!(%error, "the node did not stop in order");
        }
    }

    fn stop(self) {
        let inner = &self.handle.inner;
        self.queue.abort();
        let _ = self.sampler_stop.send(());
        for executor in inner.executors.wasm.iter().chain(&inner.executors.process) {
            executor.shutdown();
        }
        // Executors have told every end by now; the control thread passes them on before it stops.
        let _ = inner.control.send(Message::Stop);
        let mut threads = self.threads.into_iter();
        join(threads.next());
        self.executions.stop(inner, |thread| join(Some(thread)));
        drop(self.others.subscription);
        let _ = inner.reload.send(Reload::Stop);
        join(Some(self.others.reloader));
        let _ = inner.writer.send(Write::Stop);
        threads.for_each(|thread| join(Some(thread)));
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread of the node panicked");
    }
}

/// The default tenant, and an admin's key where there is none yet.
fn first_tenant_and_key(
    store: &dyn Store,
    settings: &Settings,
    clock: &Clock,
) -> Result<Option<PathBuf>, StartError> {
    let name = default_tenant();
    if !store.tenants()?.iter().any(|tenant| tenant.name == name) {
        let made = store.apply(&Change::CreateTenant(Tenant {
            name: name.clone(),
            created: clock.now(),
            monthly_budget: None,
            allow_network: settings.access == Access::Anybody,
        }));
        match made {
            // Another node made it at the same moment.
            Ok(()) | Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if settings.access == Access::Anybody || !store.keys()?.is_empty() {
        return Ok(None);
    }
    let new = NewKey { tenant: name, label: "first".into(), role: Role::Admin, max_class: None };
    let (key, secret) = new_key(new, clock.now());
    let path = settings.data.join(FIRST_KEY_FILE);
    // The file first: a key without its file would lock everybody out.
    write_secret(&path, &secret)?;
    store.apply(&Change::CreateKey(key))?;
    Ok(Some(path))
}

fn write_secret(path: &Path, secret: &str) -> Result<(), StartError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        writeln!(file, "{secret}")?;
        file.sync_all()
    });
    written
        .map_err(|source| StartError::Io { attempt: format!("write {}", path.display()), source })
}

fn make_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::Io {
        attempt: format!("make the data directory {}", path.display()),
        source,
    })
}

struct Calls(control::Mailbox);

impl Platform for Calls {
    fn call(
        &self,
        caller: model::InvocationId,
        call: Call,
        reply: Box<dyn FnOnce(CallResult) + Send>,
    ) {
        let unsent = self.0.send(Message::Call(caller, call, reply));
        if let Err(mpsc::SendError(Message::Call(_, _, reply))) = unsent {
            reply(CallResult::caller_gone());
        }
    }
}

fn make_executors(
    parts: Parts,
    mailbox: &control::Mailbox,
) -> Result<(Executors, Vec<String>), StartError> {
    let make = |maker: Option<ExecutorMaker>, is_reentrant: bool| {
        let sender = mailbox.clone();
        let events: Events = Arc::new(move |event| tell(&sender, event, is_reentrant));
        let calls: Arc<dyn Platform> = Arc::new(Calls(mailbox.clone()));
        maker.map(|maker| maker(events, calls)).transpose()
    };
    let failed = |kind: &str| {
        let attempt = format!("start the {kind} runtime");
        move |source| StartError::Io { attempt, source }
    };
    // Wasm needs nothing of the machine; sandboxes need rights that it may not give.
    let wasm = make(parts.wasm, true).map_err(failed("wasm"))?;
    let (process, mut in_force) = match make(parts.process, false) {
        Ok(process) => (process, Vec::new()),
        Err(error) => (None, vec![format!("no process functions: {error}")]),
    };
    in_force.extend(wasm.iter().chain(&process).flat_map(|executor| executor.in_force()));
    Ok((Executors { wasm, process }, in_force))
}

/// Passes an executor's event on. That a function began is only written down, so it wakes nobody.
/// Where the executor holds no lock, the thread that brings a rest, the end of a wait or the end of the
/// function sees to what follows.
fn tell(mailbox: &control::Mailbox, event: Event, is_reentrant: bool) {
    let is_begin = matches!(event, Event::Running { .. });
    let goes_on = matches!(
        event,
        Event::Finished(_)
            | Event::Blocked { .. }
            | Event::Stopped { .. }
            | Event::Unblocked { .. }
    );
    let message = Message::Event(event);
    if is_begin {
        mailbox.leave(message);
    } else if goes_on && is_reentrant {
        // After the end there is nobody to tell.
        drop(mailbox.carry(message));
    } else {
        drop(mailbox.send(message));
    }
}

fn make_control(settings: &Settings, inner: &Arc<Inner>) -> Result<Control, StartError> {
    let machines: Vec<MachineId> = (0..settings.machines.max(1)).map(MachineId).collect();
    let shards: Vec<ShardId> = (0..settings.shards.max(1)).map(ShardId).collect();
    let prices = &settings.prices;
    let make_shard = |id: &ShardId| {
        settings.policy.shard(ShardConfig {
            id: *id,
            machines: machines.clone(),
            prices: prices.clone(),
            seed: settings.seed ^ u64::from(id.0),
            queue_max: limits::SHARD_QUEUE_MAX,
        })
    };
    let make_machine = |id: &MachineId| {
        settings.policy.machine(MachineConfig {
            id: *id,
            shards: shards.clone(),
            cores: settings.cores.max(1),
            admission_max: settings.admission_max,
            prices: prices.clone(),
            seed: settings.seed.rotate_left(32) ^ u64::from(id.0),
        })
    };
    let cluster = Cluster::new(
        shards.iter().map(make_shard).collect(),
        machines.iter().map(make_machine).collect(),
    );
    let mut ledger = Ledger::new(prices);
    let now = inner.clock.now();
    for tenant in inner.catalog.tenants() {
        if tenant.monthly_budget.is_some() {
            let spent = inner.store.month_spent(&tenant.name, Month::of(now))?;
            ledger.set(&tenant.name, tenant.monthly_budget, Some(spent), now);
        }
    }
    let tokio = tokio::runtime::Handle::current();
    let callee = Arc::clone(inner);
    let executions_thread = inner.executions.clone();
    let executors = &inner.executors;
    Ok(Control {
        clock: inner.clock,
        prices: prices.clone(),
        memory_price: settings.memory_price,
        bands: settings.bands,
        cores: settings.cores.max(1),
        memory_total: settings.memory,
        cluster,
        ledger,
        executors: executors.wasm.iter().chain(&executors.process).cloned().collect(),
        on_call: Box::new(move |caller, call, reply| {
            let inner = Arc::clone(&callee);
            tokio.spawn(async move { reply(inner.call(caller, call).await) });
        }),
        on_scarce: Box::new(move |class, freed| {
            let shrink = executions::Message::Shrink(class.to_owned(), Arc::clone(freed));
            // At the end of a run nobody listens any more.
            let _ = executions_thread.send(shrink);
        }),
        outbox: Outbox::new(inner.writer.clone()),
        receipts_pending: Arc::clone(&inner.receipts_pending),
        flights: Flights::new(prices),
        timers: BTreeSet::new(),
        meters: Meters::new(prices),
        memories: Memories::new(
            settings.memory,
            machines.len(),
            prices.len(),
            Arc::clone(&inner.look_micros),
        ),
        drained: Vec::new(),
        acts: Vec::new(),
    })
}

fn make_writer(inner: &Inner, observer: Option<Observer>) -> Writer {
    let queue = inner.queue.clone();
    Writer {
        store: Arc::clone(&inner.store),
        prices: inner.prices.clone(),
        pending: Arc::clone(&inner.receipts_pending),
        settled: Box::new(move |change| {
            drop(queue.blocking_send(QueueEvent::Settled(Box::new(change))))
        }),
        observer,
    }
}

/// A named thread of the control plane, above all functions where that is permitted. What it calls
/// may spawn tasks: what is refused is tried again later by one.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    let tokio = tokio::runtime::Handle::current();
    let spawned = builder.spawn(move || {
        let _inside = tokio.enter();
        // Without the right to it the thread stays an ordinary one; start-up has said so.
        let _ = kernel::apply(0, kernel::CONTROL);
        work();
    });
    spawned.map_err(|source| StartError::Io { attempt: format!("start thread {name}"), source })
}

/// Looks at what functions hold, again and again, and tells Wasm functions what they may: what is
/// left of the memory of all machines.
fn sample(inner: &Inner, memory: u64, stop: &Receiver<()>) {
    let sum = |used: &MemoryUse| used.held.iter().map(|held| held.resident.0).sum::<u64>();
    let pause = || Duration::from_micros(inner.look_micros.load(Ordering::Relaxed));
    while stop.recv_timeout(pause()) == Err(RecvTimeoutError::Timeout) {
        let (mut all, mut in_wasm) = (MemoryUse::default(), 0);
        for executor in inner.executors.wasm.iter().chain(&inner.executors.process) {
            let used = executor.memory();
            if inner.executors.wasm.as_ref().is_some_and(|wasm| Arc::ptr_eq(wasm, executor)) {
                in_wasm = sum(&used);
            }
            all.held.extend(used.held);
            all.idle.extend(used.idle);
            all.swap = all.swap.or(used.swap);
            all.system_swap = all.system_swap.or(used.system_swap);
        }
        if let Some(wasm) = &inner.executors.wasm {
            let elsewhere = sum(&all) - in_wasm + all.idle_bytes().0;
            let may_hold = (memory + limits::MEMORY_STOP_BYTES).saturating_sub(elsewhere);
            wasm.set_memory_max(Bytes64(may_hold));
        }
        if inner.control.send(Message::Sampled(all)).is_err() {
            return;
        }
    }
}
