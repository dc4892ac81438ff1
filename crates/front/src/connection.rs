//! Connections: HTTP/1.1 and HTTP/2 on one port, with a bound on every silence of a client.
//!
//! A call may run for a day, so nothing here bounds the time to an answer. What is bounded is the
//! time in which a client that has more to send sends nothing: else a few thousand half-sent
//! requests would hold every file descriptor of the server.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use model::limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, timeout};

/// Time between two attempts to accept while the machine has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client that has something to send may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Before a request, and within its head.
    pub(crate) head: Duration,
    /// Within its body.
    pub(crate) body: Duration,
}

impl Patience {
    pub(crate) const LIMITS: Self =
        Self { head: limits::HEAD_SILENCE_MAX, body: limits::BODY_SILENCE_MAX };
}

/// A client that was to send more of a body sent nothing for too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silent {
    patience: Duration,
}

impl fmt::Display for Silent {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "nothing more of the body came for {:?}", self.patience)
    }
}

impl Error for Silent {}

impl Silent {
    /// The silence that caused an error, if one did.
    pub(crate) fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(silent) = error.downcast_ref() {
                return Some(silent);
            }
            next = error.source();
        }
        None
    }
}

/// Serves `router` until `stop` ends, then takes no new connection and ends when the requests under
/// way are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    stop: impl Future<Output = ()> + Send,
) {
    let under_way = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut stop => break,
        };
        tokio::spawn(speak(stream, router.clone(), patience, under_way.watcher()));
    }
    drop(listener);
    under_way.shutdown().await;
}

/// Carries one connection to its end, or until its client has asked nothing for too long.
async fn speak<S>(stream: S, router: Router, patience: Patience, under_way: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let (asks, inner) = (Arc::clone(&asked), TowerToHyperService::new(router));
    let service = service_fn(move |request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        let bound = (!is_conversation(&request)).then_some(patience.body);
        inner.call(request.map(|body| match bound {
            Some(bound) => Body::new(Heard::new(body, bound)),
            None => Body::new(body),
        }))
    });
    let connection = http(patience).serve_connection(TokioIo::new(stream), service).into_owned();
    let mut connection = pin!(under_way.watch(connection));
    // Later requests are bounded by the protocol's own timer, which does not run yet while a client
    // has not even said which protocol it speaks.
    let ended = match timeout(patience.head, &mut connection).await {
        Ok(ended) => ended,
        Err(_) if !asked.load(Ordering::Relaxed) => return,
        Err(_) => connection.await,
    };
    // A client that breaks off is its own business; what it asked for was logged or billed.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Whether the body may last as long as the call: in gRPC a client may talk for hours and say
/// little. Its connection holds many calls, and pings bound it.
fn is_conversation<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
        && request.version() == axum::http::Version::HTTP_2
}

/// Speaks both versions, the one that the client begins with.
fn http(patience: Patience) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(patience.head);
    // A peer that is gone without a word is found by asking it.
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(patience.head)
        .keep_alive_timeout(patience.body);
    http
}

/// The next connection. One that is gone before it was taken is passed over.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small: waiting to fill a packet would only delay them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A body that fails with [`Silent`] where its sender says nothing for too long.
struct Heard<B> {
    body: B,
    patience: Duration,
    /// Runs while a frame is awaited; most bodies are there at once and never need it.
    silence: Option<Pin<Box<Sleep>>>,
}

impl<B> Heard<B> {
    const fn new(body: B, patience: Duration) -> Self {
        Self { body, patience, silence: None }
    }
}

impl<B> HttpBody for Heard<B>
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(ctx) {
            this.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = this.patience;
        let begun = || Box::pin(tokio::time::sleep(patience));
        ready!(this.silence.get_or_insert_with(begun).as_mut().poll(ctx));
        Poll::Ready(Some(Err(Silent { patience }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
