//! The way in to executions.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use engine::{Birth, Input, Orchestrator, Parent, Payload, Refusal, SignalId, Token, Verdict};
use model::suspend::{Ask, OpId};
use model::{ExecutionId, FunctionName, InvocationId, Receipt, TenantName, Version, limits};
use runtime::Ended;
use sha2::{Digest, Sha256};
use store::{BlobHash, HistoryOrder, HistoryQuery, Revision};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::slot::{StartResult, Started, What};
use super::tenure::{MOVING, met_a_move, moves};
use super::types::{self, TokenAnswer};
use super::{
    Begun, ExecutionFilter, ExecutionInfo, FOLLOW_LAG_MAX, HistoryEntry, IfExists, Message,
    NewExecution, Source, Start, Which,
};
use crate::catalog::Entry;
use crate::control::Done;
use crate::error::{Error, ErrorKind};
use crate::handle::Handle;
use crate::ids;
use crate::inner::{Inner, Wanted, storage};
use crate::nodes::{Delivered, Hop, into_partition};
use crate::types::{Durations, Invoke, Invoked, Page, Principal};

/// Tries to replace an ended execution of a name that others take at the same time.
const REPLACE_TRIES: u32 = 3;

/// How an execution is to be begun.
pub(crate) struct Order {
    pub(crate) id: ExecutionId,
    pub(crate) name: Option<String>,
    pub(crate) replace: Option<(ExecutionId, Revision)>,
    pub(crate) parent: Option<Parent>,
    /// See [`engine::Birth`].
    pub(crate) origin: Vec<u8>,
}

impl Inner {
    /// Begins an execution, at the node that has its partition; `reply` hears when it is in the
    /// store. It is dropped unheard where this returns an error. Must be called on a tokio runtime.
    pub(crate) fn start_execution(
        &self,
        wanted: Wanted,
        order: &Order,
        reply: Started,
    ) -> Result<Version, Error> {
        let (id, partition) = (order.id, order.id.partition());
        if self.nodes.is_mine(partition) {
            return self.start_here(wanted, order, reply);
        }
        self.check_open()?;
        let entry = self.find(&wanted.tenant, &wanted.function, wanted.version)?;
        let version = entry.info.version;
        let wanted = Wanted { version: Some(version), ..wanted };
        let hop = Hop::start(&wanted, order, &self.prices);
        let (nodes, is_named) = (Arc::clone(&self.nodes), order.name.is_some());
        tokio::spawn(async move {
            reply(match nodes.deliver(partition, &hop).await {
                Ok(Delivered::Mine) => StartResult::Moved,
                Ok(Delivered::Answer(answer)) => answer.started(id, is_named),
                Err(error) => StartResult::Failed(error),
            });
        });
        Ok(version)
    }

    /// The same for one of this node's partitions.
    pub(crate) fn start_here(
        &self,
        wanted: Wanted,
        order: &Order,
        reply: Started,
    ) -> Result<Version, Error> {
        self.check_open()?;
        let entry = self.find(&wanted.tenant, &wanted.function, wanted.version)?;
        if !entry.orchestrates() {
            let message = format!(
                "{} is not durable: deploy it with --durable, or invoke it",
                wanted.function
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let version = entry.info.version;
        let row = types::first_row(&wanted, order, &entry, &self.prices);
        let birth = Birth {
            id: order.id,
            tenant: wanted.tenant,
            function: wanted.function,
            version,
            class: wanted.class,
            max_class: wanted.max_class,
            depth: wanted.depth,
            parent: order.parent,
            input: Payload::Inline(wanted.payload.to_vec()),
            timeout: limits::EXECUTION_TIMEOUT_MAX,
            secret: ids::execution_secret(),
            origin: order.origin.clone(),
        };
        let orchestrator = self.orchestrator(&entry)?;
        let replace = order.replace;
        let start = Start { birth, row, entry, orchestrator, replace, reply };
        let sent = self.executions.send(Message::Start(Box::new(start)));
        sent.map_err(|_| stopped())?;
        Ok(version)
    }

    /// Begins an execution and waits until it is in the store. One of that id is taken as it is.
    pub(crate) async fn begin_execution(
        &self,
        wanted: Wanted,
        id: ExecutionId,
    ) -> Result<(), Error> {
        let (name, replace, parent, origin) = (None, None, None, Vec::new());
        let order = Order { id, name, replace, parent, origin };
        match self.started(&wanted, &order).await?.1 {
            StartResult::New | StartResult::Exists(_) => Ok(()),
            StartResult::Failed(error) => Err(error),
            StartResult::Moved => Err(moves(id)),
        }
    }

    /// Begins an execution and tells what became of that; once more where its partition just moves.
    async fn started(
        &self,
        wanted: &Wanted,
        order: &Order,
    ) -> Result<(Version, StartResult), Error> {
        let end = Instant::now() + self.nodes.patience();
        loop {
            let (reply, started) = oneshot::channel();
            let told = Box::new(move |result| drop(reply.send(result)));
            let version = self.start_execution(wanted.clone(), order, told)?;
            match started.await.map_err(|_| stopped())? {
                StartResult::Moved if Instant::now() < end => tokio::time::sleep(MOVING).await,
                result => return Ok((version, result)),
            }
        }
    }

    /// Waits for the end of an execution, and what it cost.
    pub(crate) async fn await_end(
        &self,
        tenant: &TenantName,
        id: ExecutionId,
    ) -> Result<(Version, Done), Error> {
        let found = self.until_ended(tenant, id).await?;
        let execution = types::decode(&found)?;
        let outcome = match execution.outcome() {
            Some((_, Ok(payload))) => Ok(Ended::Answer(self.load_payload(payload).await?)),
            Some((_, Err(failure))) => Err(failure.clone()),
            None => {
                let message = format!("{id} was redriven before its end could be told");
                return Err(Error::new(ErrorKind::Conflict, message));
            }
        };
        let totals = execution.account().own;
        let class = self.prices.find(&found.row.class);
        let receipt = Receipt {
            class: class.unwrap_or_else(|| self.prices.lowest()),
            cpu: totals.cpu,
            memory: totals.memory,
            cpu_cost: totals.amount,
            memory_cost: self.execution_prices.of(&totals),
        };
        let finished = found.row.finished.unwrap_or(found.row.updated);
        let total = finished.since(found.row.created);
        let durations = Durations { total, blocked: total, ..Durations::default() };
        Ok((found.row.version, Done { outcome, receipt, durations, kept: None }))
    }

    pub(super) async fn load_payload(&self, payload: &Payload) -> Result<Bytes, Error> {
        match payload {
            Payload::Inline(bytes) => Ok(bytes.clone().into()),
            Payload::Stored { hash, .. } => {
                let hash = BlobHash(*hash);
                Ok(self.store_read(move |store| store.get_blob(hash)).await?.into())
            }
        }
    }

    /// The interpreter of a function's definition; none where its turns are invocations. Reads the
    /// definition at its first use.
    pub(crate) fn orchestrator(
        &self,
        entry: &Entry,
    ) -> Result<Option<Arc<dyn Orchestrator>>, Error> {
        let Some(interpreter) = self.interpreters.of(entry.info.kind) else { return Ok(None) };
        if let Some(orchestrator) = entry.orchestrator.get() {
            return Ok(Some(Arc::clone(orchestrator)));
        }
        let definition = self.store.get_blob(BlobHash(entry.code.hash)).map_err(storage)?;
        let orchestrator = interpreter
            .parse(&Source {
                definition: &definition,
                function: &entry.info.name,
                environment: &entry.info.environment,
            })
            .map_err(|message| Error::new(ErrorKind::BadPackage, message))?;
        Ok(Some(Arc::clone(entry.orchestrator.get_or_init(|| orchestrator))))
    }

    /// That execution, where it is the tenant's.
    pub(crate) async fn execution_of(
        &self,
        tenant: &TenantName,
        id: ExecutionId,
    ) -> Result<ExecutionId, Error> {
        let owner = tenant.clone();
        self.store_read(move |store| store.execution(&owner, id)).await.map(|found| found.id)
    }

    /// The tenant's execution of that name.
    pub(crate) async fn execution_named(
        &self,
        tenant: &TenantName,
        name: &str,
    ) -> Result<ExecutionId, Error> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.store_read(move |store| store.execution_named(&tenant, &name))
            .await
            .map(|found| found.id)
    }

    /// Steps an execution and waits until that is in the store.
    pub(super) async fn step(&self, id: ExecutionId, mut what: What) -> Result<Verdict, Error> {
        self.check_open()?;
        let end = Instant::now() + self.nodes.patience();
        loop {
            // Only where executions move is there anything to be sent again.
            let again = self.nodes.shared.then(|| what.clone());
            let (reply, taken) = oneshot::channel();
            let ack = Box::new(move |verdict| drop(reply.send(verdict)));
            let sent = self.executions.send(Message::Happens(id, what, Some(ack)));
            sent.map_err(|_| stopped())?;
            let taken = taken.await.map_err(|_| stopped())?;
            match again {
                Some(again) if met_a_move(&taken) && Instant::now() < end => what = again,
                _ => return taken,
            }
            tokio::time::sleep(MOVING).await;
        }
    }
}

impl Handle {
    /// Starts an execution of a durable function or composition: it is safe when this returns.
    ///
    /// # Errors
    /// `Conflict` where there is one of that name (see [`IfExists`]), `Invalid`,
    /// `UnknownFunction`, `UnknownClass`, `ClassNotAllowed`, `PayloadTooLarge`, `Storage`.
    pub async fn start_execution(
        &self,
        who: &Principal,
        new: NewExecution,
    ) -> Result<Begun, Error> {
        if let Some(name) = &new.name {
            check_name(name)?;
        }
        let (name, if_exists, origin) = (new.name.clone(), new.if_exists, new.origin);
        let call = Invoke {
            function: new.function,
            version: new.version,
            class: new.class,
            payload: new.payload,
            traceparent: None,
            received: new.received,
        };
        let mut replace = None;
        for _ in 0..REPLACE_TRIES {
            let wanted = self.wanted(who, call.clone())?;
            let id = self.inner.execution_id(self.now());
            // One commit takes the name from the one that has it, so both are of one partition.
            let id = replace.map_or(id, |(other, _): (ExecutionId, _)| {
                ExecutionId(into_partition(id.0, other.partition()))
            });
            let (name, origin) = (name.clone(), origin.clone());
            let order = Order { id, name, replace, parent: None, origin };
            let other = match self.inner.started(&wanted, &order).await? {
                (version, StartResult::New) => return Ok(Begun { id, version, joined: false }),
                (_, StartResult::Failed(error)) => return Err(error),
                (_, StartResult::Moved) => return Err(moves(id)),
                (_, StartResult::Exists(other)) => other,
            };
            let tenant = who.tenant.clone();
            let found = self.read(move |store| store.execution(&tenant, other)).await?;
            match if_exists {
                IfExists::Join => {
                    return Ok(Begun { id: other, version: found.row.version, joined: true });
                }
                IfExists::Replace if found.row.finished.is_some() => {
                    replace = Some((other, found.revision));
                }
                IfExists::Refuse | IfExists::Replace => break,
            }
        }
        let name = name.unwrap_or_default();
        let message = format!("there is an execution named {name:?} already");
        Err(Error::new(ErrorKind::Conflict, message))
    }

    /// Waits for the end of an execution.
    ///
    /// # Errors
    /// `NotFound`, `Draining`, `Storage`.
    pub async fn await_execution(&self, who: &Principal, which: &Which) -> Result<Invoked, Error> {
        let id = self.find_execution(who, which).await?.id;
        let (version, done) = self.inner.await_end(&who.tenant, id).await?;
        let Done { outcome, receipt, durations, kept: _ } = done;
        let outcome = outcome.map(|ended| match ended {
            Ended::Answer(answer) => answer,
            Ended::Suspended { .. } => Bytes::new(),
        });
        Ok(Invoked { id: InvocationId(id.0), outcome, version, receipt, durations })
    }

    /// One execution.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn execution(&self, who: &Principal, which: &Which) -> Result<ExecutionInfo, Error> {
        let found = self.find_execution(who, which).await?;
        let mut info = types::info(&found, &self.inner.execution_prices, self.now())?;
        if let Some((_, outcome)) = types::decode(&found)?.outcome() {
            info.outcome = Some(match outcome {
                Ok(payload) => Ok(self.inner.load_payload(payload).await?),
                Err(failure) => Err(failure.clone()),
            });
        }
        Ok(info)
    }

    /// Executions, newest first, without their outcomes.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn executions(
        &self,
        who: &Principal,
        filter: ExecutionFilter,
    ) -> Result<Page<ExecutionInfo>, Error> {
        let limit = filter.limit.clamp(1, limits::PAGE_MAX - 1);
        let query = store::ExecutionQuery {
            status: filter.status.map(types::to_store),
            open: filter.open,
            function: filter.function,
            version: filter.version,
            name_prefix: filter.name_prefix,
            parent: filter.parent,
            since: filter.from,
            until: filter.to,
            before: filter.before,
            limit: limit + 1,
        };
        let tenant = who.tenant.clone();
        let mut found = self.read(move |store| store.executions(&tenant, &query)).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(Page { items: found.iter().map(types::summary).collect(), more })
    }

    /// What happened to one execution, in order, after record `after`.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn execution_history(
        &self,
        who: &Principal,
        which: &Which,
        after: u64,
        limit: usize,
    ) -> Result<Page<HistoryEntry>, Error> {
        let id = self.find_execution(who, which).await?.id;
        let limit = limit.clamp(1, limits::PAGE_MAX - 1);
        let order = HistoryOrder::From(after.saturating_add(1));
        let query = HistoryQuery { order, limit: limit + 1 };
        let mut rows = self.read(move |store| store.history(id, &query)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let items = rows.iter().map(types::entry_of_row).collect::<Result<_, _>>()?;
        Ok(Page { items, more })
    }

    /// The history from record `after` on, and what comes, until the execution ends.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn tail_execution(
        &self,
        who: &Principal,
        which: &Which,
        after: u64,
    ) -> Result<impl Stream<Item = HistoryEntry> + Send + 'static, Error> {
        let id = self.find_execution(who, which).await?.id;
        let (entries, shown) = mpsc::channel(FOLLOW_LAG_MAX);
        let (handle, who) = (self.clone(), who.clone());
        tokio::spawn(async move {
            let mut last = after;
            // Again from where it is, after the execution went to another node or comes from one.
            while handle.tail(&who, id, &mut last, &entries).await
                && handle.inner.check_running().is_ok()
            {}
        });
        Ok(ReceiverStream::new(shown))
    }

    /// Sends what there is of a history after `last`, and what comes. Tells whether more may come.
    async fn tail(
        &self,
        who: &Principal,
        id: ExecutionId,
        last: &mut u64,
        entries: &mpsc::Sender<HistoryEntry>,
    ) -> bool {
        let mut comes = self.inner.follow(id, FOLLOW_LAG_MAX);
        // Asked before the history is read: where it ends in between, its end is among the entries.
        let found = self.find_execution(who, &Which::Id(id)).await;
        let had_ended = found.is_ok_and(|found| found.row.finished.is_some());
        let mut ends = false;
        // What is there; what comes meanwhile waits in `comes`.
        loop {
            let page =
                self.execution_history(who, &Which::Id(id), *last, limits::PAGE_MAX - 1).await;
            let Ok(page) = page else { return false };
            for entry in page.items {
                *last = entry.seq;
                ends = entry.ends;
                if !send_entry(entries, entry).await {
                    return false;
                }
            }
            if !page.more {
                break;
            }
        }
        if had_ended || ends {
            return false;
        }
        let Some(comes) = &mut comes else {
            return self.inner.changed_elsewhere(id, Some(*last)).await.is_ok();
        };
        while let Some(entry) = comes.recv().await {
            if entry.seq <= *last {
                continue;
            }
            *last = entry.seq;
            let is_end = entry.ends;
            if !send_entry(entries, entry).await || is_end {
                return false;
            }
        }
        tokio::time::sleep(MOVING).await;
        true
    }

    /// Signals an execution. It is kept where nothing waits for it; one of the same `event` is taken
    /// once.
    ///
    /// # Errors
    /// `NotFound`, `ExecutionEnded`, `Overloaded` (too many kept), `Invalid`, `PayloadTooLarge`,
    /// `Storage`.
    pub async fn signal(
        &self,
        who: &Principal,
        which: &Which,
        name: String,
        payload: Bytes,
        event: Option<String>,
    ) -> Result<(), Error> {
        self.inner.check_payload(payload.len())?;
        let id = self.find_execution(who, which).await?.id;
        let event = event.map(|event| {
            let digest = Sha256::digest(event.as_bytes());
            let first = digest.first_chunk::<8>().expect("a digest is longer");
            SignalId(u64::from_be_bytes(*first))
        });
        // On its way to another node it may have to be sent twice.
        let event = event.or_else(|| self.inner.nodes.shared.then(ids::signal));
        let payload = Payload::Inline(payload.to_vec());
        self.apply_input(id, Input::Signal { name, id: event, payload }).await
    }

    /// Answers a callback token.
    ///
    /// # Errors
    /// `NotFound` or `TokenRefused` for one that is not good, `PayloadTooLarge`, `Storage`.
    pub async fn answer_token(
        &self,
        who: &Principal,
        token: &str,
        answer: TokenAnswer,
    ) -> Result<(), Error> {
        let forged = || Error::new(ErrorKind::TokenRefused, Refusal::TokenForged.message());
        let token = Token::parse(token).map_err(|_| forged())?;
        let answer = match answer {
            TokenAnswer::Success(bytes) => {
                self.inner.check_payload(bytes.len())?;
                engine::TokenAnswer::Ended(Ok(Payload::Inline(bytes.to_vec())))
            }
            TokenAnswer::Failure(failure) => engine::TokenAnswer::Ended(Err(failure)),
            TokenAnswer::Heartbeat => engine::TokenAnswer::Heartbeat,
        };
        let tenant = who.tenant.clone();
        let id = token.execution;
        let result = self.apply_input(id, Input::Token { tenant, token, answer }).await;
        match result {
            Err(error) if error.kind == ErrorKind::NotFound => Err(forged()),
            other => other,
        }
    }

    /// Ends an execution and the calls it waits for.
    ///
    /// # Errors
    /// `NotFound`, `ExecutionEnded`, `Storage`: so does each of the following.
    pub async fn cancel_execution(
        &self,
        who: &Principal,
        which: &Which,
        reason: String,
    ) -> Result<(), Error> {
        let id = self.find_execution(who, which).await?.id;
        self.apply_input(id, Input::Cancel { reason }).await
    }

    /// Lets no further turn begin.
    ///
    /// # Errors
    /// See [`Handle::cancel_execution`].
    pub async fn pause_execution(
        &self,
        who: &Principal,
        which: &Which,
        reason: String,
    ) -> Result<(), Error> {
        let id = self.find_execution(who, which).await?.id;
        self.apply_input(id, Input::Pause { reason }).await
    }

    /// Lets a paused execution go on.
    ///
    /// # Errors
    /// See [`Handle::cancel_execution`]; `Conflict` where it is not paused.
    pub async fn resume_execution(
        &self,
        who: &Principal,
        which: &Which,
        reason: String,
    ) -> Result<(), Error> {
        let id = self.find_execution(who, which).await?.id;
        self.apply_input(id, Input::Resume { reason }).await
    }

    /// Lets a failed execution go on from its last suspended state: calls that failed are made
    /// again.
    ///
    /// # Errors
    /// See [`Handle::cancel_execution`]; `Conflict` where it has not failed.
    pub async fn redrive_execution(
        &self,
        who: &Principal,
        which: &Which,
        reason: String,
    ) -> Result<(), Error> {
        let found = self.find_execution(who, which).await?;
        let ops = types::decode(&found)?.redrive_asks();
        let asks = self.asks_of(found.id, &ops).await?;
        self.apply_input(found.id, Input::Redrive { reason, asks }).await
    }

    /// Forgets an execution that has ended, with its history. Its receipts stay.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` while it is open, `Storage`.
    pub async fn purge_execution(&self, who: &Principal, which: &Which) -> Result<(), Error> {
        let id = self.find_execution(who, which).await?.id;
        taken(&self.inner.step(id, What::Purge).await?)
    }

    /// An execution that has not ended holds the code of its function.
    pub(crate) async fn check_drained(
        &self,
        who: &Principal,
        name: &FunctionName,
    ) -> Result<(), Error> {
        let function = Some(name.clone());
        let open = ExecutionFilter { open: true, function, limit: 1, ..ExecutionFilter::default() };
        match self.executions(who, open).await?.items.first() {
            None => Ok(()),
            Some(open) => {
                let message = format!(
                    "executions of {name} have not ended, such as {}: see `fermata functions drain`",
                    open.id
                );
                Err(Error::new(ErrorKind::Conflict, message))
            }
        }
    }

    pub(super) async fn find_execution(
        &self,
        who: &Principal,
        which: &Which,
    ) -> Result<store::Execution, Error> {
        let (tenant, which) = (who.tenant.clone(), which.clone());
        let found = self.read(move |store| match &which {
            Which::Id(id) => store.execution(&tenant, *id),
            Which::Name(name) => store.execution_named(&tenant, name),
        });
        found.await
    }

    async fn apply_input(&self, id: ExecutionId, input: Input) -> Result<(), Error> {
        taken(&self.inner.step(id, What::Input(Box::new(input))).await?)
    }

    /// The last ask of each of `ops`, as the history has it.
    async fn asks_of(
        &self,
        id: ExecutionId,
        ops: &[OpId],
    ) -> Result<Vec<(OpId, Ask<Payload>)>, Error> {
        let mut records = Vec::new();
        let mut from = 1;
        while !ops.is_empty() {
            let query = HistoryQuery { order: HistoryOrder::From(from), limit: limits::PAGE_MAX };
            let rows = self.read(move |store| store.history(id, &query)).await?;
            let Some(last) = rows.last() else { break };
            from = last.seq + 1;
            for row in &rows {
                records.push(types::record(row)?);
            }
        }
        Ok(engine::history::asks_of(records.iter(), ops))
    }
}

pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::Draining, "this node has stopped")
}

/// What a verdict is to whoever sent the input.
fn taken(verdict: &Verdict) -> Result<(), Error> {
    let refusal = match *verdict {
        Verdict::Applied | Verdict::Duplicate => return Ok(()),
        Verdict::Late(refusal) | Verdict::Refused(refusal) => refusal,
    };
    let kind = match refusal {
        Refusal::Ended(_) => ErrorKind::ExecutionEnded,
        Refusal::NotEnded
        | Refusal::Succeeded
        | Refusal::Stopping
        | Refusal::NotPaused
        | Refusal::WrongAsk(_) => ErrorKind::Conflict,
        Refusal::KeptFull => ErrorKind::Overloaded,
        Refusal::Malformed => ErrorKind::Invalid,
        Refusal::PayloadTooLarge => ErrorKind::PayloadTooLarge,
        Refusal::TokenForged
        | Refusal::TokenForeign
        | Refusal::TokenUsed
        | Refusal::TokenExpired
        | Refusal::TokenDropped
        | Refusal::TokenClosed => ErrorKind::TokenRefused,
    };
    Err(Error::new(kind, refusal.message()))
}

fn check_name(name: &str) -> Result<(), Error> {
    let max = limits::EXECUTION_NAME_BYTES_MAX;
    let is_id = name.parse::<ExecutionId>().is_ok();
    if name.is_empty() || name.len() > max || name.chars().any(char::is_control) || is_id {
        let message = format!(
            "{name:?} cannot name an execution: 1 to {max} bytes without control characters, and \
             not the shape of an id"
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(())
}

async fn send_entry(entries: &mpsc::Sender<HistoryEntry>, entry: HistoryEntry) -> bool {
    entries.send(entry).await.is_ok()
}
