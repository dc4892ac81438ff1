//! What another node asks of this one.

use std::time::Duration;

use bytes::Bytes;
use store::{HistoryOrder, HistoryQuery};
use subtle::ConstantTimeEq as _;
use tokio::sync::{mpsc, oneshot};

use super::hop::{self, Answer, Head, Hop, Malformed, WATCH_HOLD};
use super::increment;
use crate::error::{Error, ErrorKind};
use crate::executions::{Message, StartResult, What};
use crate::handle::Handle;

impl Handle {
    /// Where other nodes send what concerns this one's executions.
    pub const NODE_PATH: &str = hop::PATH;

    /// Largest body that another node sends.
    #[must_use]
    pub fn node_request_bytes_max(&self) -> usize {
        hop::body_bytes_max(self.inner.payload_bytes_max)
    }

    /// Whether `secret` is the one that nodes of this store prove themselves with.
    pub async fn is_node(&self, secret: &str) -> bool {
        let nodes = &self.inner.nodes;
        let is = |known: Option<String>| {
            known.is_some_and(|known| known.as_bytes().ct_eq(secret.as_bytes()).into())
        };
        if is(nodes.secret()) {
            return true;
        }
        if !nodes.shared || !secret.starts_with("fk_") {
            return false;
        }
        // Somebody made a new one at the same moment.
        nodes.refresh_secret().await;
        is(nodes.secret())
    }

    /// Answers a request of another node, which has proved to be one.
    ///
    /// # Errors
    /// `Invalid` for one that this release does not understand.
    pub async fn answer_node(&self, request: Bytes) -> Result<Vec<u8>, Error> {
        let strange = |Malformed| Error::new(ErrorKind::Invalid, "not a request between nodes");
        let hop = Hop::decode(&request).map_err(strange)?;
        let id = hop.id().map_err(strange)?;
        increment(&self.inner.nodes.counts().answered);
        let answer = if self.inner.nodes.is_mine(id.partition()) {
            match &hop.head {
                Head::Input { .. } => {
                    let input = hop.input().map_err(strange)?;
                    self.answer_input(id, What::Input(Box::new(input))).await
                }
                Head::Purge { .. } => self.answer_input(id, What::Purge).await,
                Head::Start(start) => {
                    let payload = hop.body.clone();
                    let wanted = start.wanted(&self.inner.prices, payload).map_err(strange)?;
                    let order = start.order().map_err(strange)?;
                    self.answer_start(wanted, order).await
                }
                Head::Watch { after, .. } => self.answer_watch(id, *after).await,
            }
        } else {
            Answer::Moved
        };
        Ok(serde_json::to_vec(&answer).expect("plain data is JSON"))
    }

    async fn answer_input(&self, id: model::ExecutionId, what: What) -> Answer {
        if let Err(error) = self.inner.check_open() {
            return Answer::refused(&error);
        }
        let (reply, taken) = oneshot::channel();
        let ack = Box::new(move |verdict| drop(reply.send(verdict)));
        if self.inner.executions.send(Message::Arrives(id, what, ack)).is_err() {
            return Answer::Moved;
        }
        match taken.await {
            Ok(Ok(verdict)) => Answer::Verdict { bytes: verdict.encode() },
            Ok(Err(error)) => Answer::refused(&error),
            Err(_) => Answer::Moved,
        }
    }

    async fn answer_start(
        &self,
        wanted: crate::inner::Wanted,
        order: crate::executions::Order,
    ) -> Answer {
        if self.inner.find(&wanted.tenant, &wanted.function, wanted.version).is_err() {
            // It may have been deployed at the other node a moment ago.
            self.inner.reload_catalog().await;
        }
        let (reply, started) = oneshot::channel();
        let told = Box::new(move |result| drop(reply.send(result)));
        if let Err(error) = self.inner.start_here(wanted, &order, told) {
            return Answer::refused(&error);
        }
        match started.await {
            Ok(StartResult::New) => Answer::Started,
            Ok(StartResult::Exists(id)) => Answer::Exists { id: id.to_string() },
            Ok(StartResult::Failed(error)) => Answer::refused(&error),
            Ok(StartResult::Moved) | Err(_) => Answer::Moved,
        }
    }

    /// Answers when an execution ended or, with `after`, when its history goes on; after a while in
    /// any case.
    async fn answer_watch(&self, id: model::ExecutionId, after: Option<u64>) -> Answer {
        let (ended, end) = oneshot::channel();
        let (news, mut new) = mpsc::channel(1);
        let _ = self.inner.executions.send(Message::Watch(id, ended));
        if after.is_some() {
            let _ = self.inner.executions.send(Message::Follow(id, news));
        }
        // It may have happened before that.
        let seen = self.inner.store_read(move |store| {
            let Some(found) = store.load_executions(&[id])?.into_iter().next() else {
                return Ok(true);
            };
            let Some(after) = after else { return Ok(found.row.finished.is_some()) };
            let query =
                HistoryQuery { order: HistoryOrder::From(after.saturating_add(1)), limit: 1 };
            Ok(found.row.finished.is_some() || !store.history(id, &query)?.is_empty())
        });
        match seen.await {
            Ok(false) => {}
            Ok(true) => return Answer::Look,
            Err(error) => return Answer::refused(&error),
        }
        let hold = tokio::time::sleep(WATCH_HOLD - Duration::from_secs(1));
        tokio::select! {
            () = hold => Answer::Look,
            ended = end => ended.map_or(Answer::Moved, |_| Answer::Look),
            entry = new.recv(), if after.is_some() => {
                entry.map_or(Answer::Moved, |_| Answer::Look)
            }
        }
    }
}
