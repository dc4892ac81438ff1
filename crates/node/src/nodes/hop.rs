//! A request to the node that has an execution: one hop over HTTP, its answer, and when it is tried
//! again.
//!
//! A body is a length, a head in JSON, and bytes: an input or payload as it is. Whoever gets a hop
//! for a partition that it does not have says so and does not pass it on, so there is no loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{Input, Parent, Verdict};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use model::suspend::OpId;
use model::{ExecutionId, InvocationId, PriceList, Timestamp, Version, limits};
use serde::{Deserialize, Serialize};
use store::Revision;

use super::{Nodes, increment};
use crate::error::{Error, ErrorKind};
use crate::executions::{Order, StartResult, What};
use crate::inner::Wanted;

/// Where hops go.
pub(super) const PATH: &str = "/internal/node";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An input is taken within a commit; one that takes longer may have been taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a wait holds at the other node before it is asked again.
pub(crate) const WATCH_HOLD: Duration = Duration::from_secs(20);
/// Wait before the same is tried again, unless the leases change before.
const AGAIN: Duration = Duration::from_millis(200);
/// An answer says what became of something; it carries no payload.
const ANSWER_BYTES_MAX: usize = 64 << 10;

pub(crate) type Client = legacy::Client<HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new()).build(connector)
}

/// What is asked of the node that has an execution.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
}

/// What it is, but for its bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "hop", rename_all = "kebab-case")]
pub(crate) enum Head {
    /// Something happens to an execution.
    Input { id: String },
    /// Forget one.
    Purge { id: String },
    /// Begin one.
    Start(Box<StartHop>),
    /// Say when one ends, or has history after a record.
    Watch { id: String, after: Option<u64> },
}

/// An execution to be begun elsewhere. Classes go by name: price lists may differ for a while.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StartHop {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) replace: Option<(String, u64)>,
    /// Execution, ask and call.
    pub(crate) parent: Option<(String, u64, String)>,
    pub(crate) tenant: String,
    pub(crate) function: String,
    pub(crate) version: Option<u32>,
    pub(crate) class: String,
    pub(crate) max_class: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) depth: u32,
    pub(crate) arrived: u64,
    pub(crate) origin: Vec<u8>,
}

/// What the other node says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// What became of an input, as [`Verdict::encode`] has it.
    Verdict {
        bytes: Vec<u8>,
    },
    Started,
    /// There is one of that name or id.
    Exists {
        id: String,
    },
    /// It may have happened: look into the store.
    Look,
    /// The partition is not this node's.
    Moved,
    Refused {
        code: String,
        message: String,
        retry_after_ms: Option<u64>,
    },
}

/// What became of a hop.
pub(crate) enum Delivered {
    /// This node has the partition itself.
    Mine,
    Answer(Answer),
}

/// A text of another node that is not what this release says.
#[derive(Debug)]
pub(crate) struct Malformed;

impl Hop {
    /// What is to be done to an execution; None for what concerns only the node that has it.
    pub(crate) fn of(id: ExecutionId, what: &What) -> Option<Self> {
        let id = id.to_string();
        match what {
            What::Input(input) => {
                let body = input.encode()?.into();
                Some(Self { head: Head::Input { id }, body })
            }
            What::Purge => Some(Self { head: Head::Purge { id }, body: Bytes::new() }),
            What::Recorded(..) | What::Recover(_) => None,
        }
    }

    pub(crate) fn start(wanted: &Wanted, order: &Order, prices: &PriceList) -> Self {
        let class = |class| prices.get(class).name.clone();
        let start = StartHop {
            id: order.id.to_string(),
            name: order.name.clone(),
            replace: order.replace.map(|(id, revision)| (id.to_string(), revision.0)),
            parent: order
                .parent
                .map(|parent| (parent.execution.to_string(), parent.op.0, parent.id.to_string())),
            tenant: wanted.tenant.to_string(),
            function: wanted.function.to_string(),
            version: wanted.version.map(|version| version.0),
            class: class(wanted.class),
            max_class: class(wanted.max_class),
            traceparent: wanted.traceparent.clone(),
            caller: wanted.caller.map(|caller| caller.to_string()),
            depth: wanted.depth,
            arrived: wanted.arrived.0,
            origin: order.origin.clone(),
        };
        Self { head: Head::Start(Box::new(start)), body: wanted.payload.clone() }
    }

    pub(crate) fn watch(id: ExecutionId, after: Option<u64>) -> Self {
        Self { head: Head::Watch { id: id.to_string(), after }, body: Bytes::new() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let head = serde_json::to_vec(&self.head).expect("plain data is JSON");
        let len = u32::try_from(head.len()).expect("a head is short");
        [&len.to_be_bytes()[..], &head, &self.body].concat().into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let len = bytes.first_chunk::<4>().ok_or(Malformed)?;
        let end = 4_usize
            .checked_add(usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Malformed)?)
            .ok_or(Malformed)?;
        let head = bytes.get(4..end).ok_or(Malformed)?;
        let head = serde_json::from_slice(head).map_err(|_| Malformed)?;
        Ok(Self { head, body: bytes.slice(end..) })
    }

    /// Which execution it concerns.
    pub(crate) fn id(&self) -> Result<ExecutionId, Malformed> {
        let id = match &self.head {
            Head::Input { id } | Head::Purge { id } | Head::Watch { id, .. } => id,
            Head::Start(start) => &start.id,
        };
        id.parse().map_err(|_| Malformed)
    }

    pub(crate) fn input(&self) -> Result<Input, Malformed> {
        Input::decode(&self.body).map_err(|_| Malformed)
    }
}

impl StartHop {
    /// What is wanted, by this node's price list.
    pub(crate) fn wanted(&self, prices: &PriceList, payload: Bytes) -> Result<Wanted, Malformed> {
        let class = |name: &str| prices.find(name).unwrap_or_else(|| prices.lowest());
        Ok(Wanted {
            tenant: self.tenant.parse().map_err(|_| Malformed)?,
            function: self.function.parse().map_err(|_| Malformed)?,
            version: self.version.map(Version),
            class: class(&self.class),
            max_class: class(&self.max_class),
            payload,
            traceparent: self.traceparent.clone(),
            caller: optional::<InvocationId>(self.caller.as_deref())?,
            depth: self.depth,
            arrived: Timestamp(self.arrived),
        })
    }

    pub(crate) fn order(&self) -> Result<Order, Malformed> {
        let replace = self
            .replace
            .as_ref()
            .map(|(id, revision)| Ok((id.parse().map_err(|_| Malformed)?, Revision(*revision))));
        let parent = self.parent.as_ref().map(|(execution, op, id)| {
            Ok(Parent {
                execution: execution.parse().map_err(|_| Malformed)?,
                op: OpId(*op),
                id: id.parse().map_err(|_| Malformed)?,
            })
        });
        Ok(Order {
            id: self.id.parse().map_err(|_| Malformed)?,
            name: self.name.clone(),
            replace: replace.transpose()?,
            parent: parent.transpose()?,
            origin: self.origin.clone(),
        })
    }
}

fn optional<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, Malformed> {
    text.map(|text| text.parse().map_err(|_| Malformed)).transpose()
}

impl Answer {
    pub(crate) fn refused(error: &Error) -> Self {
        Self::Refused {
            code: error.kind.code().to_owned(),
            message: error.message.clone(),
            retry_after_ms: error
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The verdict on an input.
    pub(crate) fn verdict(self) -> Result<Verdict, Error> {
        match self {
            Self::Verdict { bytes } => Verdict::decode(&bytes).map_err(|_| strange()),
            other => Err(other.error()),
        }
    }

    /// What became of a start of `id`. A start that is repeated finds itself.
    pub(crate) fn started(self, id: ExecutionId, is_named: bool) -> StartResult {
        match self {
            Self::Started => StartResult::New,
            Self::Exists { id: other } => match other.parse::<ExecutionId>() {
                Ok(other) if other == id && is_named => StartResult::New,
                Ok(other) => StartResult::Exists(other),
                Err(_) => StartResult::Failed(strange()),
            },
            other => StartResult::Failed(other.error()),
        }
    }

    fn error(self) -> Error {
        let Self::Refused { code, message, retry_after_ms } = self else { return strange() };
        let kind = ErrorKind::from_code(&code).unwrap_or(ErrorKind::Internal);
        let mut error = Error::new(kind, message);
        error.retry_after = retry_after_ms.map(Duration::from_millis);
        error
    }

    /// Whether another node may say otherwise, or the same one soon.
    fn passes(&self) -> bool {
        match self {
            Self::Moved => true,
            Self::Refused { code, .. } => {
                let codes = [ErrorKind::OwnerAway, ErrorKind::Draining];
                codes.iter().any(|kind| kind.code() == code)
            }
            Self::Verdict { .. } | Self::Started | Self::Exists { .. } | Self::Look => false,
        }
    }
}

impl Nodes {
    /// Brings a hop to whoever has the partition, again until it is answered: by another node, if
    /// need be, once that has it. What it asks for may then have happened already; inputs and starts
    /// bear that.
    ///
    /// # Errors
    /// `OwnerAway` where nobody answered in time.
    pub(crate) async fn deliver(&self, partition: u32, hop: &Hop) -> Result<Delivered, Error> {
        let is_wait = matches!(hop.head, Head::Watch { .. });
        let _permit = if is_wait { &self.waits } else { &self.hops }.acquire().await;
        increment(&self.counts.hops);
        let end = Instant::now() + self.patience();
        let body = hop.encode();
        let hold = if is_wait { WATCH_HOLD } else { Duration::ZERO };
        let mut views = self.view.subscribe();
        let mut why = String::new();
        loop {
            let (owner, is_mine) = {
                let view = views.borrow_and_update();
                (view.owner(partition).cloned(), view.mine.contains(&partition))
            };
            match owner {
                _ if is_mine => return Ok(Delivered::Mine),
                Some(owner) => match self.send(&owner.address, &body, hold).await {
                    Ok(answer) if !answer.passes() => return Ok(Delivered::Answer(answer)),
                    Ok(Answer::Refused { message, .. }) => why = message,
                    Ok(_) => why = format!("{} has it no more", owner.node),
                    Err(error) => why = format!("{} does not answer: {error}", owner.node),
                },
                None if why.is_empty() => why.push_str("the node that had it is gone"),
                None => {}
            }
            if Instant::now() >= end {
                increment(&self.counts.hops_failed);
                let message = format!("no node can be reached that has this execution: {why}");
                return Err(Error::new(ErrorKind::OwnerAway, message).retry_after(AGAIN * 5));
            }
            self.look();
            let _ = tokio::time::timeout(AGAIN, views.changed()).await;
        }
    }

    async fn send(&self, address: &str, body: &Bytes, hold: Duration) -> Result<Answer, String> {
        if address.is_empty() {
            return Err("it has no address; start it with --advertise".to_owned());
        }
        let mut answer = self.send_once(address, body, hold).await?;
        if answer.0 == StatusCode::UNAUTHORIZED {
            // Of two nodes that began at the same moment one made the secret later.
            self.refresh_secret().await;
            answer = self.send_once(address, body, hold).await?;
        }
        let (status, bytes) = answer;
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        serde_json::from_slice(&bytes).map_err(|_| "its answer is malformed".to_owned())
    }

    async fn send_once(
        &self,
        address: &str,
        body: &Bytes,
        hold: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{address}{PATH}"))
            .header(header::AUTHORIZATION, format!("Node {}", self.secret().unwrap_or_default()))
            .body(Full::new(body.clone()));
        let request = request.map_err(|error| error.to_string())?;
        let answered = async {
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok((parts.status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        match tokio::time::timeout(ANSWER_TIMEOUT + hold, answered).await {
            Ok(answered) => answered,
            Err(_) => Err("it takes too long".to_owned()),
        }
    }

    pub(crate) async fn refresh_secret(&self) {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || store.setting(super::SECRET));
        if let Ok(Ok(Some(bytes))) = read.await
            && let Ok(text) = String::from_utf8(bytes)
        {
            *self.secret.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(text);
        }
    }
}

fn strange() -> Error {
    Error::new(ErrorKind::Internal, "another node's answer is not what this version expects")
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// Largest body of a hop: a payload, and the head around it.
pub(crate) const fn body_bytes_max(payload_bytes_max: usize) -> usize {
    payload_bytes_max + limits::EXECUTION_NAME_BYTES_MAX + (64 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_arrives_as_it_was_and_anything_else_is_refused() {
        let what = What::Input(Box::new(Input::Cancel { reason: "enough\n\"now\"".into() }));
        let hop = Hop::of(ExecutionId(7), &what).unwrap();
        let bytes = hop.encode();
        let back = Hop::decode(&bytes).unwrap();
        assert_eq!(back.id().unwrap(), ExecutionId(7));
        assert_eq!(back.input().unwrap(), Input::Cancel { reason: "enough\n\"now\"".into() });
        for end in 0..bytes.len() {
            let cut = Hop::decode(&bytes.slice(..end));
            assert!(cut.is_err() || cut.unwrap().input().is_err(), "{end}");
        }
        assert!(Hop::decode(&Bytes::from_static(&[255; 40])).is_err());
        assert!(Hop::of(ExecutionId(7), &What::Input(Box::new(Input::TimerDue))).is_none());
    }

    #[test]
    fn a_refusal_keeps_its_kind_and_a_move_is_tried_again() {
        let error = Error::new(ErrorKind::Overloaded, "full").retry_after(Duration::from_secs(5));
        let back = Answer::refused(&error).verdict().unwrap_err();
        assert_eq!((back.kind, back.retry_after), (error.kind, error.retry_after));
        assert!(!Answer::refused(&error).passes());
        assert!(Answer::Moved.passes());
        assert!(Answer::refused(&Error::new(ErrorKind::OwnerAway, "x")).passes());
        let bytes = Verdict::Duplicate.encode();
        assert_eq!(Answer::Verdict { bytes }.verdict().unwrap(), Verdict::Duplicate);
    }
}
