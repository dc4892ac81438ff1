//! What all of a node's parts share, and the way of one call.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use model::{
    ClassId, ExecutionId, FailureKind, FunctionName, InvocationId, Kind, PriceList, TenantName,
    Timestamp, Version, limits,
};
use runtime::{Call, CallMode, CallResult, Clock, DurableTurn, Executor, Prepare, PrepareError};
use store::{AsyncCall, BlobHash, Mode, Store};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{Catalog, Entry};
use crate::control::{self, Caller, Done, Message, RecordedBy, Reply, Submission};
use crate::error::{Error, ErrorKind};
use crate::executions::{self, Desk, ExecutionPrices, Interpreters};
use crate::ids;
use crate::nodes::{Nodes, Reload};
use crate::queue::QueueEvent;
use crate::settings::Access;
use crate::writer::Write;

/// Receipts that may wait for the store before new work is refused.
const RECEIPTS_PENDING_MAX: u64 = 100_000;

/// Runs functions, by kind.
pub(crate) struct Executors {
    pub(crate) wasm: Option<Arc<dyn Executor>>,
    pub(crate) process: Option<Arc<dyn Executor>>,
}

pub(crate) struct Inner {
    pub(crate) clock: Clock,
    pub(crate) started: Timestamp,
    pub(crate) prices: PriceList,
    pub(crate) access: Access,
    pub(crate) policy: String,
    pub(crate) in_force: Vec<String>,
    pub(crate) payload_bytes_max: usize,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Catalog,
    pub(crate) executors: Executors,
    pub(crate) control: control::Mailbox,
    /// To the executions' thread.
    pub(crate) executions: Sender<executions::Message>,
    pub(crate) execution_prices: ExecutionPrices,
    pub(crate) keep_executions: Duration,
    /// This node among those that share the store.
    pub(crate) nodes: Arc<Nodes>,
    /// To the thread that reads what other nodes change.
    pub(crate) reload: Sender<Reload>,
    pub(crate) interpreters: Interpreters,
    /// What executions ask for and no function does.
    pub(crate) services: Desk,
    pub(crate) writer: Sender<Write>,
    pub(crate) queue: mpsc::Sender<QueueEvent>,
    pub(crate) receipts_pending: Arc<AtomicU64>,
    pub(crate) async_pending: Arc<AtomicU64>,
    pub(crate) draining: AtomicBool,
    /// How long the sampler of memory waits between two looks.
    pub(crate) look_micros: Arc<AtomicU64>,
}

/// A call as it is wanted, before it is known whether it can be made.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) tenant: TenantName,
    pub(crate) function: FunctionName,
    pub(crate) version: Option<Version>,
    pub(crate) class: ClassId,
    pub(crate) max_class: ClassId,
    pub(crate) payload: Bytes,
    pub(crate) traceparent: Option<String>,
    pub(crate) caller: Option<InvocationId>,
    pub(crate) depth: u32,
    pub(crate) arrived: Timestamp,
}

/// Which attempt of which call this is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: InvocationId,
    pub(crate) attempt: u32,
    pub(crate) first_attempt: u32,
    pub(crate) mode: Mode,
    pub(crate) recorded_by: RecordedBy,
}

impl Attempt {
    pub(crate) const fn only(id: InvocationId) -> Self {
        let recorded_by = RecordedBy::Writer;
        Self { id, attempt: 1, first_attempt: 1, mode: Mode::Sync, recorded_by }
    }
}

impl Inner {
    /// The class of that name, at most `max`.
    pub(crate) fn class(&self, name: &str, max: ClassId) -> Result<ClassId, Error> {
        let Some(class) = self.prices.find(name) else {
            let names: Vec<&str> = self.prices.iter().map(|(_, class)| &*class.name).collect();
            let message = format!("no class {name:?}; the price list has {}", names.join(", "));
            return Err(Error::new(ErrorKind::UnknownClass, message));
        };
        if class > max {
            let allowed = &self.prices.get(max).name;
            let message =
                format!("class {name} is above {allowed}, the highest your key may state");
            return Err(Error::new(ErrorKind::ClassNotAllowed, message));
        }
        Ok(class)
    }

    pub(crate) fn find(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Result<Arc<Entry>, Error> {
        self.catalog.find(tenant, name, version).ok_or_else(|| {
            let message = match version {
                Some(version) => format!("function {name} has no version {version}"),
                None => format!("no function {name}; `fermata functions` lists yours"),
            };
            Error::new(ErrorKind::UnknownFunction, message)
        })
    }

    pub(crate) fn executor(&self, kind: Kind, runtime: &str) -> Result<&Arc<dyn Executor>, Error> {
        let executor = match kind {
            Kind::Wasm => self.executors.wasm.as_ref(),
            Kind::Process => self.executors.process.as_ref(),
            Kind::StateMachine | Kind::Sequence => None,
        };
        executor.ok_or_else(|| {
            let message = format!(
                "this node runs no {} functions, so runtime {runtime:?} is not available; \
                 its start-up log says why",
                kind.as_str()
            );
            Error::new(ErrorKind::UnavailableRuntime, message)
        })
    }

    pub(crate) fn check_payload(&self, bytes: usize) -> Result<(), Error> {
        if bytes <= self.payload_bytes_max {
            return Ok(());
        }
        let max = self.payload_bytes_max;
        let message = format!("the payload has {bytes} bytes, the cap is {max}");
        Err(Error::new(ErrorKind::PayloadTooLarge, message))
    }

    /// Refuses new work while the node shuts down or the store cannot keep up.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.draining.load(Ordering::Relaxed) {
            let error = Error::new(ErrorKind::Draining, "this node is shutting down");
            return Err(error.retry_after(Duration::from_secs(1)));
        }
        if self.receipts_pending.load(Ordering::Relaxed) > RECEIPTS_PENDING_MAX {
            let message = "too many receipts wait for the store, which cannot write; see the log";
            let error = Error::new(ErrorKind::Storage, message);
            return Err(error.retry_after(Duration::from_secs(5)));
        }
        Ok(())
    }

    /// Makes sure that the artifact is on the disk: after an upgrade or a restore it may be gone,
    /// and the package in the store is the truth.
    async fn ready(&self, entry: &Arc<Entry>, executor: &Arc<dyn Executor>) -> Result<(), Error> {
        let make = || async {
            let (entry, executor) = (Arc::clone(entry), Arc::clone(executor));
            let store = Arc::clone(&self.store);
            let made = tokio::task::spawn_blocking(move || {
                if entry.code.artifact_dir.is_dir() {
                    return Ok(());
                }
                let package = store.get_blob(BlobHash(entry.code.hash)).map_err(storage)?;
                make_artifact(&*executor, &entry.code, &package)
            });
            made.await.map_err(|error| internal("make the artifact", error))?
        };
        entry.ready.get_or_try_init(make).await.copied()
    }

    /// Hands one attempt to the schedulers. `reply` hears of its end; it is dropped unheard where
    /// this returns an error.
    pub(crate) async fn submit(
        &self,
        wanted: Wanted,
        attempt: Attempt,
        reply: Reply,
    ) -> Result<Version, Error> {
        self.submit_as(wanted, attempt, None, reply).await
    }

    /// The same for a turn of an execution.
    pub(crate) async fn submit_as(
        &self,
        wanted: Wanted,
        attempt: Attempt,
        durable: Option<DurableTurn>,
        reply: Reply,
    ) -> Result<Version, Error> {
        self.check_open()?;
        let entry = self.find(&wanted.tenant, &wanted.function, wanted.version)?;
        let executor = self.executor(entry.info.kind, &entry.info.runtime)?;
        if !entry.ready.initialized() {
            self.ready(&entry, executor).await?;
        }
        let token = match entry.info.kind {
            Kind::Wasm | Kind::StateMachine | Kind::Sequence => String::new(),
            Kind::Process => ids::token(),
        };
        let submission = Submission {
            id: attempt.id,
            code: Arc::clone(&entry.code),
            executor: Arc::clone(executor),
            class: wanted.class,
            max_class: wanted.max_class,
            arrived: wanted.arrived,
            payload: wanted.payload,
            traceparent: wanted.traceparent,
            caller: wanted.caller,
            depth: wanted.depth,
            attempt: attempt.attempt,
            first_attempt: attempt.first_attempt,
            mode: attempt.mode,
            token,
            durable,
            reply,
            recorded_by: attempt.recorded_by,
        };
        let sent = self.control.carry(Message::Submit(Box::new(submission)));
        sent.map_err(|_| Error::new(ErrorKind::Draining, "this node has stopped"))?;
        Ok(entry.info.version)
    }

    /// Submits and waits for the end. Where the caller stops waiting, what has not begun is
    /// dropped.
    pub(crate) async fn run(
        &self,
        wanted: Wanted,
        id: InvocationId,
    ) -> Result<(Version, Done), Error> {
        let entry = self.find(&wanted.tenant, &wanted.function, wanted.version)?;
        if entry.orchestrates() {
            let (tenant, id) = (wanted.tenant.clone(), ExecutionId(id.0));
            self.begin_execution(wanted, id).await?;
            return self.await_end(&tenant, id).await;
        }
        let (reply, ended) = oneshot::channel();
        let mut guard = Withdraw { control: &self.control, id, armed: true };
        let send = Box::new(move |done| drop(reply.send(done)));
        let version = self.submit(wanted, Attempt::only(id), send).await?;
        let done = ended.await;
        guard.armed = false;
        let done = done.map_err(|_| Error::new(ErrorKind::Draining, "this node has stopped"))??;
        Ok((version, done))
    }

    /// A new invocation's id: should it become an execution, it is one of this node.
    pub(crate) fn invocation_id(&self, now: Timestamp) -> InvocationId {
        let id = ids::invocation(now).0;
        InvocationId(self.nodes.near(id, ids::draw(id)))
    }

    /// A new execution's id, in a partition of this node where it has any.
    pub(crate) fn execution_id(&self, now: Timestamp) -> ExecutionId {
        ExecutionId(self.invocation_id(now).0)
    }

    /// Queues a call durably.
    pub(crate) async fn enqueue(&self, wanted: Wanted) -> Result<InvocationId, Error> {
        let id = self.invocation_id(self.clock.now());
        self.enqueue_as(wanted, id).await?;
        Ok(id)
    }

    /// The same under an id of the caller's. One that is queued already stays as it is.
    pub(crate) async fn enqueue_as(&self, wanted: Wanted, id: InvocationId) -> Result<(), Error> {
        self.check_open()?;
        let entry = self.find(&wanted.tenant, &wanted.function, wanted.version)?;
        if entry.orchestrates() {
            // An execution is as durable as the queue, and nobody waits for either.
            return self.begin_execution(wanted, ExecutionId(id.0)).await;
        }
        self.executor(entry.info.kind, &entry.info.runtime)?;
        let now = self.clock.now();
        let call = AsyncCall {
            id,
            tenant: wanted.tenant,
            function: wanted.function,
            version: wanted.version,
            class: self.prices.get(wanted.class).name.clone(),
            max_class: self.prices.get(wanted.max_class).name.clone(),
            payload: wanted.payload.to_vec(),
            caller: wanted.caller,
            depth: wanted.depth,
            traceparent: wanted.traceparent,
            arrived: wanted.arrived,
            attempt: 1,
            first_attempt: 1,
            not_before: now,
            last_failure: None,
        };
        let elsewhere = self.queued_elsewhere().await?;
        let pending = self.async_pending.fetch_add(1, Ordering::Relaxed) + elsewhere;
        let queued = if pending >= limits::ASYNC_PENDING_MAX {
            let message = format!("{pending} asynchronous calls are pending, which is the limit");
            Err(Error::new(ErrorKind::Overloaded, message).retry_after(Duration::from_secs(5)))
        } else {
            self.commit_call(&call).await
        };
        if let Err(error) = queued {
            self.async_pending.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        // The call is safe; if the queue's task is gone, the next start finds it in the store.
        let _ = self.queue.send(QueueEvent::Accepted(Box::new(call))).await;
        Ok(())
    }

    /// Asks the store, away from the threads that must not wait.
    pub(crate) async fn store_read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> store::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&*store)).await;
        done.map_err(|error| internal("use the store", error))?.map_err(storage)
    }

    async fn commit_call(&self, call: &AsyncCall) -> Result<(), Error> {
        let (reply, committed) = oneshot::channel();
        let stopped = || Error::new(ErrorKind::Draining, "this node has stopped");
        let write = Write::Enqueue(Box::new(call.clone()), reply);
        self.writer.send(write).map_err(|_| stopped())?;
        committed.await.map_err(|_| stopped())?.map_err(storage)
    }

    /// Carries a running function's call to its callee.
    pub(crate) async fn call(&self, caller: Caller, call: Call) -> CallResult {
        let mode = call.mode;
        let wanted = match self.wanted_by(caller, call) {
            Ok(wanted) => wanted,
            Err(error) => return refused(error),
        };
        match mode {
            CallMode::Async => match self.enqueue(wanted).await {
                Ok(id) => CallResult::Accepted(id),
                Err(error) => refused(error),
            },
            CallMode::Wait => {
                let id = self.invocation_id(wanted.arrived);
                let ended = match self.run(wanted, id).await {
                    Ok((_, done)) => done.answer(),
                    Err(error) => return refused(error),
                };
                match ended {
                    Ok(bytes) => CallResult::Ok(id, bytes),
                    Err(failure) => CallResult::Failed(id, failure),
                }
            }
        }
    }

    /// A call's effective class is never below its caller's; one that states none inherits it.
    fn wanted_by(&self, caller: Caller, call: Call) -> Result<Wanted, Error> {
        check_depth(caller.depth)?;
        self.check_payload(call.payload.len())?;
        let (function, version) = parse_target(&call.function)?;
        let stated = match &call.class {
            Some(name) => self.class(name, caller.max_class)?,
            None => caller.class,
        };
        Ok(Wanted {
            tenant: caller.tenant,
            function,
            version,
            class: stated.max(caller.class),
            max_class: caller.max_class,
            payload: call.payload,
            traceparent: caller.traceparent,
            caller: Some(caller.id),
            depth: caller.depth + 1,
            arrived: self.clock.now(),
        })
    }
}

/// Drops a call that has not begun once nobody waits for it.
struct Withdraw<'a> {
    control: &'a control::Mailbox,
    id: InvocationId,
    armed: bool,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        if self.armed {
            let _ = self.control.send(Message::Withdraw(self.id));
        }
    }
}

/// Makes an artifact beside its place and moves it there whole.
pub(crate) fn make_artifact(
    executor: &dyn Executor,
    code: &runtime::Code,
    package: &[u8],
) -> Result<(), Error> {
    let place = &code.artifact_dir;
    let parent = place.parent().expect("an artifact lies in its tenant's folder");
    let fresh = parent.join(format!("new-{}", ids::token()));
    std::fs::create_dir_all(&fresh).map_err(|e| internal("make a folder for the artifact", e))?;
    let prepare =
        Prepare { runtime: &code.runtime, handler: &code.handler, package, durable: code.durable };
    let made = executor.prepare(&prepare, &fresh).map_err(bad_package).and_then(|_| {
        match std::fs::rename(&fresh, place) {
            Ok(()) => Ok(()),
            // Somebody else made the same one meanwhile.
            Err(_) if place.is_dir() => Ok(()),
            Err(error) => Err(internal("move the artifact to its place", error)),
        }
    });
    if fresh.exists() {
        let _ = std::fs::remove_dir_all(&fresh);
    }
    made
}

/// Refuses a call of a function that has `depth` above it, where the chain would be too long.
pub(crate) fn check_depth(depth: u32) -> Result<(), Error> {
    if depth + 1 >= limits::CALL_DEPTH_MAX {
        let max = limits::CALL_DEPTH_MAX;
        let message = format!("{max} functions wait for each other already: a runaway chain?");
        return Err(Error::new(ErrorKind::TooDeep, message));
    }
    Ok(())
}

/// `name` or `name:version`.
pub(crate) fn parse_target(text: &str) -> Result<(FunctionName, Option<Version>), Error> {
    let (name, version) = match text.split_once(':') {
        None => (text, None),
        Some((name, version)) => {
            let number = version.parse().ok().filter(|number| *number > 0);
            let invalid = || {
                let message = format!("{version:?} is not a version: use a number from 1");
                Error::new(ErrorKind::Invalid, message)
            };
            (name, Some(Version(number.ok_or_else(invalid)?)))
        }
    };
    let name = FunctionName::from_str(name)
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("{name:?}: {error}")))?;
    Ok((name, version))
}

pub(crate) fn storage(error: store::Error) -> Error {
    let kind = match &error {
        store::Error::NotFound { .. } => ErrorKind::NotFound,
        store::Error::Conflict { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, error.to_string()).because(error)
}

pub(crate) fn internal(
    attempt: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot {attempt}")).because(error)
}

pub(crate) fn bad_package(error: PrepareError) -> Error {
    let kind = match &error {
        PrepareError::Package { .. } => ErrorKind::BadPackage,
        PrepareError::Runtime { .. } => ErrorKind::UnavailableRuntime,
        PrepareError::Io(_) => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string()).because(error)
}

fn refused(error: Error) -> CallResult {
    CallResult::Refused { code: error.kind.code(), message: error.message }
}

/// The failure of a queued call that could not be started.
pub(crate) fn not_started(error: &Error) -> store::FailureNote {
    store::FailureNote { kind: FailureKind::Platform, message: error.message.clone() }
}
