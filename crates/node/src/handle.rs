//! The one way into a node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use model::{Durable, FunctionName, InvocationId, Kind, PriceList, Timestamp, Version, limits};
use runtime::{Condition, Executor};
use store::{BlobHash, Change, Cursor, Day, Detail, FunctionSpec, Grouping, InvocationQuery};
use tokio::sync::oneshot;

use crate::catalog::{max_class, suspends};
use crate::control::Message;
use crate::error::{Error, ErrorKind};
use crate::executions::Source;
use crate::inner::{Executors, Inner, Wanted, bad_package, internal, make_artifact, storage};
use crate::queue::QueueEvent;
use crate::record::{from_peek, from_queued, from_record};
use crate::settings::Access;
use crate::tenants::{default_tenant, role_of};
use crate::types::{
    BillQuery, BillRow, DeadLetter, FunctionInfo, InvocationFilter, InvocationInfo, Invoke,
    Invoked, NewFunction, Page, Principal, Role, RuntimeStatus, Status,
};
use crate::writer::Write;

/// A running node, as a protocol sees it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

impl Handle {
    /// Who presents this secret (`fk_…`).
    ///
    /// # Errors
    /// `Unauthenticated` for a wrong or revoked one. In `--dev` any is right.
    pub fn authenticate(&self, secret: &str) -> Result<Principal, Error> {
        if let Some(anybody) = self.anonymous() {
            return Ok(anybody);
        }
        let refuse = |message| Err(Error::new(ErrorKind::Unauthenticated, message));
        let Some(key) = self.inner.catalog.key(secret) else {
            return refuse("the key is unknown; `fermata key create` makes one");
        };
        if key.revoked.is_some() {
            return refuse("the key was revoked; ask for a new one");
        }
        Ok(self.principal(key))
    }

    pub(crate) fn principal(&self, key: store::Key) -> Principal {
        Principal {
            max_class: max_class(&key, &self.inner.prices),
            tenant: key.tenant,
            key: Some(key.id),
            role: role_of(key.role),
        }
    }

    /// Who asks without credentials: nobody, but in `--dev` the one tenant.
    #[must_use]
    pub fn anonymous(&self) -> Option<Principal> {
        (self.inner.access == Access::Anybody).then(|| Principal {
            tenant: default_tenant(),
            key: None,
            role: Role::Admin,
            max_class: self.inner.prices.highest(),
        })
    }

    /// The operator's price list.
    #[must_use]
    pub fn prices(&self) -> &PriceList {
        &self.inner.prices
    }

    /// Largest payload and answer.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.inner.payload_bytes_max
    }

    /// What of kernel scheduling and isolation is in force, one line each.
    #[must_use]
    pub fn in_force(&self) -> &[String] {
        &self.inner.in_force
    }

    /// How each runtime is.
    #[must_use]
    pub fn runtimes(&self) -> Vec<RuntimeStatus> {
        let Executors { wasm, process } = &self.inner.executors;
        let kinds = [(Kind::Wasm, wasm), (Kind::Process, process)];
        let there = kinds.iter().filter_map(|(kind, executor)| Some((*kind, executor.as_ref()?)));
        let status = |(kind, executor): (Kind, &Arc<dyn Executor>)| {
            let Condition { trouble, restarts } = executor.condition();
            RuntimeStatus { kind, trouble, restarts }
        };
        there.map(status).collect()
    }

    /// The node's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Makes a function, or its next version. The package is compiled or unpacked before anything
    /// is kept, so a bad one leaves no trace.
    ///
    /// # Errors
    /// `Invalid`, `UnknownClass`, `ClassNotAllowed`, `BadPackage`, `UnavailableRuntime`,
    /// `Forbidden` (network), `Storage`.
    pub async fn create_function(
        &self,
        who: &Principal,
        new: NewFunction,
    ) -> Result<FunctionInfo, Error> {
        self.inner.check_open()?;
        let spec = self.check_function(who, &new)?;
        let inner = Arc::clone(&self.inner);
        if let Some(interpreter) = inner.interpreters.of(spec.kind) {
            let bad = |message| Error::new(ErrorKind::BadPackage, message);
            let source = Source {
                definition: &new.package,
                function: &new.name,
                environment: &new.environment,
            };
            interpreter.parse(&source).map_err(bad)?;
            let publish = move || publish(&inner, &spec, &new.package);
            let published = tokio::task::spawn_blocking(publish).await;
            return published.map_err(|error| internal("publish the function", error))?;
        }
        let executor = Arc::clone(inner.executor(spec.kind, &spec.runtime)?);
        let published = tokio::task::spawn_blocking(move || {
            let mut spec = spec;
            let durable = suspends(spec.kind, spec.durable);
            let package = instrument(&*executor, &new, durable)?;
            spec.code_hash = BlobHash::of(&package);
            let hash = spec.code_hash;
            let trial = runtime::Code {
                tenant: spec.tenant.clone(),
                function: spec.name.clone(),
                version: Version(0),
                runtime: spec.runtime.clone(),
                handler: spec.handler.clone(),
                environment: Vec::new(),
                network: runtime::Network::None,
                durable,
                timeout: spec.timeout,
                response_bytes_max: 0,
                hash: hash.0,
                artifact_dir: inner.catalog.artifact_dir(&spec.tenant, &spec.runtime, hash.0),
            };
            if !trial.artifact_dir.is_dir() {
                make_artifact(&*executor, &trial, &package)?;
            }
            publish(&inner, &spec, &package)
        });
        published.await.map_err(|error| internal("publish the function", error))?
    }

    /// The latest version of each function, by name.
    ///
    /// # Errors
    /// None today; a remote catalog may have some.
    pub async fn functions(&self, who: &Principal) -> Result<Vec<FunctionInfo>, Error> {
        Ok(self.inner.catalog.latest(&who.tenant))
    }

    /// One version, the latest where none is named.
    ///
    /// # Errors
    /// `UnknownFunction`.
    pub async fn function(
        &self,
        who: &Principal,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Result<FunctionInfo, Error> {
        Ok(self.inner.find(&who.tenant, name, version)?.info.clone())
    }

    /// All versions of one function, newest first.
    ///
    /// # Errors
    /// `UnknownFunction`.
    pub async fn versions(
        &self,
        who: &Principal,
        name: &FunctionName,
    ) -> Result<Vec<FunctionInfo>, Error> {
        self.inner.find(&who.tenant, name, None)?;
        Ok(self.inner.catalog.versions(&who.tenant, name))
    }

    /// Deletes a function with all versions. Receipts stay; what runs ends as usual.
    ///
    /// # Errors
    /// `UnknownFunction`, `Conflict` while executions hold its code, `Storage`.
    pub async fn delete_function(&self, who: &Principal, name: &FunctionName) -> Result<(), Error> {
        self.inner.find(&who.tenant, name, None)?;
        self.check_drained(who, name).await?;
        let change = Change::DeleteFunction {
            tenant: who.tenant.clone(),
            name: name.clone(),
            version: None,
        };
        self.apply(change).await?;
        self.inner.catalog.remove_function(&who.tenant, name);
        let executors = &self.inner.executors;
        for executor in executors.wasm.iter().chain(&executors.process) {
            executor.reclaim(runtime::Reclaim::Function(&who.tenant, name));
        }
        Ok(())
    }

    /// Calls a function and waits for its end. A caller that stops waiting (drops the future)
    /// withdraws a call that has not begun; one that has goes on.
    ///
    /// # Errors
    /// Why the call was not made. A function that fails is an [`Invoked`].
    pub async fn invoke(&self, who: &Principal, call: Invoke) -> Result<Invoked, Error> {
        let wanted = self.wanted(who, call)?;
        let id = self.inner.invocation_id(wanted.arrived);
        let (version, done) = self.inner.run(wanted, id).await?;
        let (receipt, durations) = (done.receipt, done.durations);
        Ok(Invoked { id, outcome: done.answer(), version, receipt, durations })
    }

    /// Queues a call durably: it is in the store when this returns.
    ///
    /// # Errors
    /// As [`Handle::invoke`].
    pub async fn invoke_async(&self, who: &Principal, call: Invoke) -> Result<InvocationId, Error> {
        self.inner.enqueue(self.wanted(who, call)?).await
    }

    /// Everything known of one invocation, running or ended; of several attempts the last.
    ///
    /// # Errors
    /// `UnknownInvocation`, `Storage`.
    pub async fn invocation(
        &self,
        who: &Principal,
        id: InvocationId,
    ) -> Result<InvocationInfo, Error> {
        let (reply, peek) = oneshot::channel();
        let ask = Message::Peek(id, Box::new(move |found| drop(reply.send(found))));
        let _ = self.inner.control.send(ask);
        if let Some(peek) = peek.await.ok().flatten().filter(|peek| peek.tenant == who.tenant) {
            return Ok(from_peek(id, peek, &self.inner.prices));
        }
        self.flush().await;
        let tenant = who.tenant.clone();
        let last = move |store: &dyn store::Store| {
            let attempts = store.invocation(&tenant, id)?;
            if let Some(last) = attempts.into_iter().next_back() {
                return Ok(Some(Err(last)));
            }
            if let Some(call) = store.queued(&tenant, id)? {
                return Ok(Some(Ok(call)));
            }
            // It left the queue between the two looks, and then its record is there.
            let attempts = store.invocation(&tenant, id)?;
            Ok(attempts.into_iter().next_back().map(Err))
        };
        match self.read(last).await? {
            Some(Ok(call)) => Ok(from_queued(call)),
            Some(Err(record)) => Ok(from_record(record, &self.inner.prices)),
            None => {
                let message = format!("no invocation {id}; the oldest are forgotten after a while");
                Err(Error::new(ErrorKind::UnknownInvocation, message))
            }
        }
    }

    /// Ended invocations, newest first.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn invocations(
        &self,
        who: &Principal,
        filter: InvocationFilter,
    ) -> Result<Page<InvocationInfo>, Error> {
        self.flush().await;
        let limit = filter.limit.clamp(1, limits::PAGE_MAX - 1);
        let query = InvocationQuery {
            function: filter.function,
            class: filter.class,
            status: filter.failed.map(|failed| match failed {
                true => store::Status::Failed,
                false => store::Status::Ok,
            }),
            since: None,
            before: filter.before.map(|id| Cursor { id, attempt: 0 }),
            limit: limit + 1,
            detail: if filter.whole { Detail::Whole } else { Detail::Summary },
        };
        let tenant = who.tenant.clone();
        let mut records = self.read(move |store| store.invocations(&tenant, &query)).await?;
        let more = records.len() > limit;
        records.truncate(limit);
        let info = |record| from_record(record, &self.inner.prices);
        Ok(Page { items: records.into_iter().map(info).collect(), more })
    }

    /// Asynchronous calls that failed for good, newest first.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn dead_letters(
        &self,
        who: &Principal,
        before: Option<InvocationId>,
        limit: usize,
    ) -> Result<Page<DeadLetter>, Error> {
        let limit = limit.clamp(1, limits::PAGE_MAX - 1);
        let query = store::DeadLetterQuery { function: None, before, limit: limit + 1 };
        let tenant = who.tenant.clone();
        let mut letters = self.read(move |store| store.dead_letters(&tenant, &query)).await?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        Ok(Page { items: letters.into_iter().map(dead_letter).collect(), more })
    }

    /// Queues a dead letter again, with a fresh count of attempts.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn redrive(&self, who: &Principal, id: InvocationId) -> Result<(), Error> {
        self.inner.check_open()?;
        let at = self.now();
        let tenant = who.tenant.clone();
        let letter = self.read(move |store| store.dead_letter(&tenant, id)).await?;
        self.apply(Change::Redrive { tenant: who.tenant.clone(), id, at }).await?;
        let mut call = letter.call;
        call.attempt += 1;
        call.first_attempt = call.attempt;
        call.not_before = at;
        call.last_failure = None;
        self.inner.async_pending.fetch_add(1, Ordering::Relaxed);
        let _ = self.inner.queue.send(QueueEvent::Accepted(Box::new(call))).await;
        Ok(())
    }

    /// Drops a dead letter.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn delete_dead_letter(&self, who: &Principal, id: InvocationId) -> Result<(), Error> {
        self.apply(Change::DeleteDeadLetter { tenant: who.tenant.clone(), id }).await
    }

    /// Daily sums by tenant, function and class.
    ///
    /// # Errors
    /// `Forbidden` where all tenants are asked for without an admin's key, `Storage`.
    pub async fn bill(&self, who: &Principal, query: BillQuery) -> Result<Vec<BillRow>, Error> {
        if query.all_tenants {
            self.check_admin(who)?;
        }
        self.flush().await;
        let query = store::BillQuery {
            tenant: (!query.all_tenants).then(|| who.tenant.clone()),
            first: Day(query.from_day.unwrap_or(0)),
            last: Day(query.to_day.unwrap_or(u32::MAX)),
            by: Grouping { tenant: true, day: true, function: true, class: true },
        };
        let rows = self.read(move |store| store.bill(&query)).await?;
        Ok(rows.into_iter().filter_map(bill_row).collect())
    }

    /// The node at this moment.
    pub async fn status(&self) -> Status {
        let (reply, control) = oneshot::channel();
        let ask = Message::Status(Box::new(move |status| drop(reply.send(status))));
        let _ = self.inner.control.send(ask);
        let (classes, machines, memory) = control
            .await
            .map_or_else(|_| Default::default(), |c| (c.classes, c.machines, c.memory));
        Status {
            at: self.now(),
            started: self.inner.started,
            policy: self.inner.policy.clone(),
            in_force: self.inner.in_force.clone(),
            classes,
            machines,
            runtimes: self.runtimes(),
            memory,
            async_pending: self.inner.async_pending.load(Ordering::Relaxed),
            receipts_pending: self.inner.receipts_pending.load(Ordering::Relaxed),
            nodes: self.inner.nodes.status(),
        }
    }

    pub(crate) fn wanted(&self, who: &Principal, call: Invoke) -> Result<Wanted, Error> {
        let inner = &self.inner;
        inner.check_payload(call.payload.len())?;
        let entry = inner.find(&who.tenant, &call.function, call.version)?;
        let class = match call.class.as_ref().or(entry.info.class.as_ref()) {
            Some(name) => inner.class(name, who.max_class)?,
            None => inner.prices.lowest(),
        };
        Ok(Wanted {
            tenant: who.tenant.clone(),
            function: call.function,
            version: call.version,
            class,
            max_class: who.max_class,
            payload: call.payload,
            traceparent: call.traceparent,
            caller: None,
            depth: 0,
            arrived: call.received,
        })
    }

    fn check_function(&self, who: &Principal, new: &NewFunction) -> Result<FunctionSpec, Error> {
        let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
        if let Some(class) = &new.class {
            self.inner.class(class, who.max_class)?;
        }
        let timeout = new.timeout.unwrap_or(limits::TIMEOUT_DEFAULT);
        if timeout < limits::TIMEOUT_MIN || timeout > limits::TIMEOUT_MAX {
            let (min, max) = (limits::TIMEOUT_MIN, limits::TIMEOUT_MAX);
            return invalid(format!(
                "the time limit {timeout:?} is not between {min:?} and {max:?}"
            ));
        }
        check_environment(&new.environment)?;
        if new.description.len() > limits::DESCRIPTION_BYTES_MAX {
            return invalid(format!(
                "a description has at most {} bytes",
                limits::DESCRIPTION_BYTES_MAX
            ));
        }
        if new.package.len() > limits::PACKAGE_BYTES_MAX {
            let max = limits::PACKAGE_BYTES_MAX;
            let message =
                format!("the package has {} bytes, the limit is {max}", new.package.len());
            return Err(Error::new(ErrorKind::BadPackage, message));
        }
        let kind = match (new.runtime.as_str(), self.inner.interpreters.kind(&new.runtime)) {
            (_, Some(kind)) => kind,
            ("wasm", None) => Kind::Wasm,
            (_, None) => Kind::Process,
        };
        check_durable(kind, new.durable)?;
        let tenant = self.inner.catalog.tenant(&who.tenant);
        if new.network && !tenant.is_some_and(|tenant| tenant.allow_network) {
            let message = format!(
                "tenant {} may not use the network; an admin grants it: \
                 `fermata tenant update {0} --network`",
                who.tenant
            );
            return Err(Error::new(ErrorKind::Forbidden, message));
        }
        Ok(FunctionSpec {
            tenant: who.tenant.clone(),
            name: new.name.clone(),
            kind,
            runtime: new.runtime.clone(),
            handler: new.handler.clone(),
            timeout,
            default_class: new.class.clone(),
            environment: new.environment.clone(),
            network: new.network,
            durable: new.durable,
            code_hash: BlobHash::of(&new.package),
            code_size_bytes: u64::try_from(new.package.len()).unwrap_or(u64::MAX),
            created: self.now(),
            description: new.description.clone(),
        })
    }

    /// Waits until every receipt so far is in the store, but no longer than a moment: a store that
    /// cannot write must not stop whoever only reads.
    async fn flush(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let (reply, flushed) = oneshot::channel();
        if self.inner.control.send(Message::Flush(Write::Flush(reply))).is_ok() {
            let _ = tokio::time::timeout(PATIENCE, flushed).await;
        }
    }

    pub(crate) async fn apply(&self, change: Change) -> Result<(), Error> {
        self.read(move |store| store.apply(&change)).await
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn store::Store) -> store::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.store_read(work).await
    }
}

/// Refuses a way to suspend that a kind of function does not have.
fn check_durable(kind: Kind, durable: Durable) -> Result<(), Error> {
    let ways = match kind {
        Kind::Wasm => "stackful or quiescent",
        Kind::Process => "explicit",
        Kind::StateMachine | Kind::Sequence => "no other than its own",
    };
    let fits = match (kind, durable) {
        (_, Durable::No)
        | (Kind::Wasm, Durable::Stackful | Durable::Quiescent)
        | (Kind::Process, Durable::Explicit) => true,
        (Kind::Wasm | Kind::Process | Kind::StateMachine | Kind::Sequence, _) => false,
    };
    if fits {
        return Ok(());
    }
    let message = format!(
        "a function of kind {} cannot be durable in the way {:?}; it has {ways}",
        kind.as_str(),
        durable.as_str()
    );
    Err(Error::new(ErrorKind::Invalid, message))
}

fn publish(inner: &Inner, spec: &FunctionSpec, package: &[u8]) -> Result<FunctionInfo, Error> {
    inner.store.put_blob(spec.code_hash, package).map_err(storage)?;
    let published = inner.store.publish(spec).map_err(storage)?;
    let entry = inner.catalog.add_function(published);
    if inner.interpreters.of(spec.kind).is_none() {
        let _ = entry.ready.set(());
    }
    Ok(entry.info.clone())
}

/// The package as it is stored: that of a durable function may be changed so that it can suspend.
fn instrument(
    executor: &dyn runtime::Executor,
    new: &NewFunction,
    durable: runtime::Durable,
) -> Result<Bytes, Error> {
    if durable == runtime::Durable::No {
        return Ok(new.package.clone());
    }
    let (runtime, handler) = (&new.runtime, &new.handler);
    let prepare = runtime::Prepare { runtime, handler, package: &new.package, durable };
    let changed = executor.instrument(&prepare).map_err(bad_package)?;
    Ok(changed.map_or_else(|| new.package.clone(), Bytes::from))
}

fn check_environment(environment: &[(String, String)]) -> Result<(), Error> {
    let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
    let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > limits::ENVIRONMENT_BYTES_MAX {
        let max = limits::ENVIRONMENT_BYTES_MAX;
        return invalid(format!("the environment has {bytes} bytes, the limit is {max}"));
    }
    for (name, value) in environment {
        let reserved = ["AWS_LAMBDA_", "FERMATA_", "LAMBDA_", "_HANDLER"];
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return invalid(format!("{name:?} cannot be an environment variable"));
        }
        if reserved.iter().any(|prefix| name.starts_with(prefix)) {
            return invalid(format!("the platform sets {name}; choose another name"));
        }
    }
    Ok(())
}

fn dead_letter(letter: store::DeadLetter) -> DeadLetter {
    let call = letter.call;
    let failure = call.last_failure.unwrap_or_else(|| store::FailureNote {
        kind: model::FailureKind::Platform,
        message: "no reason was kept".into(),
    });
    DeadLetter {
        id: call.id,
        function: call.function,
        class: call.class,
        payload: call.payload.into(),
        attempts: call.attempt + 1 - call.first_attempt,
        failure: model::Failure::new(failure.kind, failure.message),
        arrived: call.arrived,
        died: letter.died,
    }
}

fn bill_row(row: store::BillRow) -> Option<BillRow> {
    Some(BillRow {
        tenant: row.tenant?,
        function: row.function?.to_string(),
        class: row.class?,
        day: row.day?.0,
        invocations: row.usage.invocations,
        failures: row.usage.failures,
        cpu: row.usage.cpu,
        memory: row.usage.memory,
        cpu_cost: row.usage.cpu_cost,
        memory_cost: row.usage.memory_cost,
    })
}
