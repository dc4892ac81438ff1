//! Executions as a protocol sees them that tells their whole story in words of its own: with input,
//! outcome, origin, and the notes of their interpreter.

use bytes::Bytes;
use engine::{Event, Payload, Record, Verdict};
use model::{ExecutionId, Failure, FunctionName, Timestamp, limits};
use store::{HistoryOrder, HistoryQuery};

use super::handle::stopped;
use super::slot::What;
use super::types::{self, ExecutionInfo, TokenAnswer, Which};
use crate::error::Error;
use crate::handle::Handle;
use crate::inner::Inner;
use crate::types::{Page, Principal};

/// One execution, whole.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is known of every execution; the outcome is there where it has ended.
    pub info: ExecutionInfo,
    /// What whoever started it wants to know again.
    pub origin: Vec<u8>,
    /// How often it was redriven.
    pub redrives: u32,
    /// Which of its states this is.
    pub revision: store::Revision,
    /// Its input; not in a list.
    pub input: Bytes,
}

/// Which executions to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this function.
    pub function: Option<FunctionName>,
    /// Only those that have not ended.
    pub open: bool,
    /// Of this status only.
    pub status: Option<super::ExecutionStatus>,
    /// Only those called by this one.
    pub parent: Option<ExecutionId>,
    /// Only those started at or after this time.
    pub from: Option<Timestamp>,
    /// Only older ones than this (the last of the page before).
    pub before: Option<ExecutionId>,
    /// At most this many, 1 to 999.
    pub limit: usize,
}

/// What happened to an execution, for whoever tells its story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// Its interpreter noted this.
    Note(Bytes),
    /// Somebody stopped it.
    Cancelled {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// It goes on after a failure.
    Redriven {
        /// When.
        at: Timestamp,
    },
    /// It ended.
    Ended {
        /// When.
        at: Timestamp,
        /// Why it failed, where it did.
        failure: Option<Failure>,
    },
}

/// What became of an answer to a callback token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTaken {
    /// It was taken.
    Yes,
    /// It was a good token once; nobody waits for it any more.
    TooLate,
    /// It never was one of this tenant.
    Never,
}

impl Handle {
    /// One execution with its input, outcome and origin.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn run(&self, who: &Principal, which: &Which) -> Result<Run, Error> {
        let found = self.find_execution(who, which).await?;
        let mut info = types::info(&found, &self.inner.execution_prices, self.now())?;
        let execution = types::decode(&found)?;
        info.outcome = outcome(&self.inner, &execution).await?;
        let birth = execution.birth();
        let input = self.inner.load_payload(&birth.input).await?;
        let (origin, redrives) = (birth.origin.clone(), execution.redrives());
        Ok(Run { info, origin, redrives, revision: found.revision, input })
    }

    /// Executions, newest first. Answers are left out, failures are there.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn runs(&self, who: &Principal, filter: RunFilter) -> Result<Page<Run>, Error> {
        let limit = filter.limit.clamp(1, limits::PAGE_MAX - 1);
        let query = store::ExecutionQuery {
            status: filter.status.map(types::to_store),
            open: filter.open,
            function: filter.function,
            version: None,
            name_prefix: None,
            parent: filter.parent,
            since: filter.from,
            until: None,
            before: filter.before,
            limit: limit + 1,
        };
        let tenant = who.tenant.clone();
        let whole = self.read(move |store| {
            let found = store.executions(&tenant, &query)?;
            let ids: Vec<ExecutionId> = found.iter().map(|found| found.id).collect();
            store.load_executions(&ids)
        });
        let mut found = whole.await?;
        found.sort_unstable_by_key(|found| std::cmp::Reverse(found.id));
        let more = found.len() > limit;
        found.truncate(limit);
        let runs = found.iter().map(|found| {
            let execution = types::decode(found)?;
            let mut info = types::summary(found);
            info.outcome = execution.outcome().map(|(_, outcome)| match outcome {
                Ok(_) => Ok(Bytes::new()),
                Err(failure) => Err(failure.clone()),
            });
            let (origin, redrives) = (execution.birth().origin.clone(), execution.redrives());
            let revision = found.revision;
            Ok(Run { info, origin, redrives, revision, input: Bytes::new() })
        });
        Ok(Page { items: runs.collect::<Result<_, Error>>()?, more })
    }

    /// What happened to an execution, in order, as its interpreter noted it.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn run_events(&self, who: &Principal, which: &Which) -> Result<Vec<RunEvent>, Error> {
        let id = self.find_execution(who, which).await?.id;
        let events = self.run_events_from(id, 1).await?;
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }

    /// The same from that entry of its history on, each with its number.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn run_events_from(
        &self,
        id: ExecutionId,
        mut from: u64,
    ) -> Result<Vec<(u64, RunEvent)>, Error> {
        let mut events = Vec::new();
        loop {
            let query = HistoryQuery { order: HistoryOrder::From(from), limit: limits::PAGE_MAX };
            let rows = self.read(move |store| store.history(id, &query)).await?;
            let Some(last) = rows.last() else { return Ok(events) };
            let is_last = rows.len() < limits::PAGE_MAX;
            from = last.seq + 1;
            for row in &rows {
                let Record { seq, at, event, .. } = types::record(row)?;
                let event = match event {
                    Event::Note(note) => RunEvent::Note(self.inner.load_payload(&note).await?),
                    Event::Cancelled { reason } => RunEvent::Cancelled { at, reason },
                    Event::Redriven { .. } => RunEvent::Redriven { at },
                    Event::Ended { outcome } => RunEvent::Ended { at, failure: outcome.err() },
                    _ => continue,
                };
                events.push((seq, event));
            }
            if is_last {
                return Ok(events);
            }
        }
    }

    /// Answers a callback token, and tells apart what is no token from one that is too late.
    ///
    /// # Errors
    /// `PayloadTooLarge`, `Storage`, `Draining`.
    pub async fn end_token(
        &self,
        who: &Principal,
        token: &str,
        answer: TokenAnswer,
    ) -> Result<TokenTaken, Error> {
        let Ok(token) = engine::Token::parse(token) else { return Ok(TokenTaken::Never) };
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
        let input = engine::Input::Token { tenant, token, answer };
        match self.inner.step(id, What::Input(Box::new(input))).await {
            Ok(Verdict::Applied | Verdict::Duplicate) => Ok(TokenTaken::Yes),
            Ok(Verdict::Late(refusal) | Verdict::Refused(refusal)) => Ok(match refusal {
                engine::Refusal::TokenForged | engine::Refusal::TokenForeign => TokenTaken::Never,
                _ => TokenTaken::TooLate,
            }),
            Err(error) if error.kind == crate::ErrorKind::NotFound => Ok(TokenTaken::Never),
            Err(error) => Err(error),
        }
    }

    /// The package of a version of a function.
    ///
    /// # Errors
    /// `UnknownFunction`, `Storage`.
    pub async fn package(
        &self,
        who: &Principal,
        name: &FunctionName,
        version: model::Version,
    ) -> Result<Bytes, Error> {
        let hash = store::BlobHash(self.inner.find(&who.tenant, name, Some(version))?.code.hash);
        Ok(self.read(move |store| store.get_blob(hash)).await?.into())
    }

    /// Waits until an execution has ended.
    ///
    /// # Errors
    /// `NotFound`, `Draining`, `Storage`.
    pub async fn run_ended(&self, who: &Principal, which: &Which) -> Result<(), Error> {
        let id = self.find_execution(who, which).await?.id;
        let (reply, ended) = tokio::sync::oneshot::channel();
        let watch = super::Message::Watch(id, reply);
        self.inner.executions.send(watch).map_err(|_| stopped())?;
        // It may have ended before the watch began.
        if self.find_execution(who, &Which::Id(id)).await?.row.finished.is_some() {
            return Ok(());
        }
        ended.await.map(drop).map_err(|_| stopped())
    }
}

async fn outcome(
    inner: &Inner,
    execution: &engine::Execution,
) -> Result<Option<Result<Bytes, Failure>>, Error> {
    Ok(match execution.outcome() {
        None => None,
        Some((_, Ok(payload))) => Some(Ok(inner.load_payload(payload).await?)),
        Some((_, Err(failure))) => Some(Err(failure.clone())),
    })
}
