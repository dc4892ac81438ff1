//! HTTP/1.1 connections to a platform, kept open and used again.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection that is not made by then will not be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CLASS_HEADER: &str = "x-fermata-class";

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// Nobody listens there, or too slowly.
    #[error("connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("send a request")]
    Broken(#[from] hyper::Error),
}

impl Lost {
    /// A short word for statistics.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "unreachable",
            Self::Broken(_) => "connection-lost",
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body, whole.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The public code of a refusal or failure (problem details), else the status.
    pub(crate) fn error_code(&self) -> Option<String> {
        if self.status.is_success() {
            return None;
        }
        let problem: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let code = problem.as_ref().and_then(|problem| problem.get("code")?.as_str());
        Some(code.map_or_else(|| self.status.as_u16().to_string(), str::to_owned))
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Lost::Connect`] where nobody answers, [`Lost::Broken`] where it is no HTTP.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Lost> {
        let lost = |source| Lost::Connect { address, source };
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|elapsed| lost(elapsed.into()))?
            .map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The task ends with the connection, which ends when its sender is dropped.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`Lost::Broken`]; the connection is of no further use then.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Sends a request and gives the answer's body while it still comes. The connection is of no
    /// other use meanwhile.
    ///
    /// # Errors
    /// [`Lost::Broken`].
    pub(crate) async fn open_stream(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Incoming, Lost> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?.into_body())
    }

    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Connections to one address. The one used last is used first, so that few stay busy.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// An empty pool.
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::new(Vec::new()) }
    }

    /// Sends a request over an idle connection, or over a new one where there is none.
    ///
    /// # Errors
    /// See [`Lost`].
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let answer = connection.send(request).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(Connection::is_open)
    }
}

/// Reads a resource of the platform's API.
pub(crate) fn get(address: SocketAddr, path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .uri(path)
        .header(HOST, address.to_string())
        .body(Full::new(Bytes::new()))
        .expect("the paths of the API have no character that is forbidden")
}

/// A call of a function that waits for its answer.
pub(crate) fn invoke(
    address: SocketAddr,
    function: &str,
    class: &str,
    payload: Bytes,
) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("/v1/functions/{function}/invoke"))
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(CLASS_HEADER, class)
        .body(Full::new(payload))
        .expect("function and class names have no character that a header or path forbids")
}
