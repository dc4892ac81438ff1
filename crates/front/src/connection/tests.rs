use super::*;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http2;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Semaphore, mpsc};

use crate::problem::Problem;

/// The limit under test is short; the other one must not be what ends a connection.
const SHORT: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_secs(60);
/// What has not happened by then never will.
const BOUND: Duration = Duration::from_secs(20);
const SHORT_HEAD: Patience = Patience { head: SHORT, body: LONG };
const SHORT_BODY: Patience = Patience { head: LONG, body: SHORT };
const SHORT_BOTH: Patience = Patience { head: SHORT, body: SHORT };

/// A server with the client's end of each connection in memory. Dropping it is a stop.
struct Server {
    router: Router,
    patience: Patience,
    under_way: GracefulShutdown,
    /// Lets one call of `/slow` end.
    end: Arc<Semaphore>,
}

impl Server {
    fn new(patience: Patience) -> Self {
        let end = Arc::new(Semaphore::new(0));
        let ended = Arc::clone(&end);
        let slow = move || async move { ended.acquire().await.map(|_| "done").unwrap_or("gone") };
        let echo = async |body: Body| match axum::body::to_bytes(body, 1_000).await {
            Ok(bytes) => bytes.into_response(),
            Err(error) => Problem::of_body(&error).into_response(),
        };
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(slow))
            .route("/echo", post(echo));
        Self { router, patience, under_way: GracefulShutdown::new(), end }
    }

    fn connect(&self) -> DuplexStream {
        let (near, far) = duplex(4_096);
        let watcher = self.under_way.watcher();
        tokio::spawn(speak(far, self.router.clone(), self.patience, watcher));
        near
    }

    async fn connect_http2(&self) -> http2::SendRequest<TestBody> {
        let io = TokioIo::new(self.connect());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

type TestBody = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

/// A body that the test sends piece by piece; it ends with the sender.
fn piecemeal() -> (mpsc::Sender<Bytes>, TestBody) {
    struct Pieces(mpsc::Receiver<Bytes>);
    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            ctx: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            self.0.poll_recv(ctx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }
    let (sender, receiver) = mpsc::channel(1);
    (sender, Pieces(receiver).boxed_unsync())
}

fn request(path: &str, kind: &str, body: TestBody) -> hyper::Request<TestBody> {
    let request = hyper::Request::post(format!("http://x{path}")).header(CONTENT_TYPE, kind);
    request.body(body).unwrap()
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(BOUND, what).await.expect("it happens within the bound")
}

/// What the server sends until it closes the connection.
async fn rest(stream: &mut DuplexStream) -> String {
    let mut all = Vec::new();
    within(stream.read_to_end(&mut all)).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Sends `bytes` and expects nothing but the end of the connection.
async fn check_closed(bytes: &'static [u8]) {
    let server = Server::new(SHORT_HEAD);
    let mut client = server.connect();
    client.write_all(bytes).await.unwrap();
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    check_closed(b"").await;
}

#[tokio::test]
async fn who_sends_half_a_head_is_cut_off() {
    check_closed(b"GET / HT").await;
    check_closed(b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ").await;
}

#[tokio::test]
async fn who_speaks_http2_and_asks_nothing_is_cut_off() {
    const PREFACE_AND_EMPTY_SETTINGS: &[u8] =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let server = Server::new(SHORT_HEAD);
    let mut client = server.connect();
    client.write_all(PREFACE_AND_EMPTY_SETTINGS).await.unwrap();
    // The server's own settings come first.
    rest(&mut client).await;
}

#[tokio::test]
async fn who_is_silent_after_an_answer_is_cut_off() {
    let server = Server::new(SHORT_HEAD);
    let mut client = server.connect();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT").await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_body_that_stops_is_refused_and_the_connection_closed() {
    let server = Server::new(SHORT_BODY);
    let mut client = server.connect();
    client
        .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1234")
        .await
        .unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"request-timeout\""), "{answer}");
}

#[tokio::test]
async fn a_body_in_http2_that_stops_is_refused() {
    let server = Server::new(SHORT_BODY);
    let mut client = server.connect_http2().await;
    let (pieces, body) = piecemeal();
    pieces.send("1234".into()).await.unwrap();
    let answer = within(client.send_request(request("/echo", "text/plain", body))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn each_piece_of_a_body_ends_a_silence() {
    let (pieces, body) = piecemeal();
    let mut heard = Heard::new(body, LONG);
    for _ in 0..2 {
        let waits = std::future::poll_fn(|ctx| {
            Poll::Ready(Pin::new(&mut heard).poll_frame(ctx).is_pending())
        });
        assert!(waits.await && heard.silence.is_some());
        pieces.send("1".into()).await.unwrap();
        heard.frame().await.unwrap().unwrap();
        assert!(heard.silence.is_none(), "the next silence begins anew");
    }
}

#[tokio::test]
async fn who_waits_for_an_answer_may_be_silent_for_long() {
    let server = Server::new(SHORT_BOTH);
    let mut client = server.connect();
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    // That long: others have come and were cut off for their silence, twice.
    for _ in 0..2 {
        rest(&mut server.connect()).await;
    }
    server.end.add_permits(1);
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn a_grpc_call_may_be_silent_for_long_while_its_client_answers_pings() {
    let server = Server::new(SHORT_BOTH);
    let mut client = server.connect_http2().await;
    let (pieces, body) = piecemeal();
    pieces.send("12".into()).await.unwrap();
    let answer = client.send_request(request("/echo", "application/grpc+proto", body));
    let answer = tokio::spawn(answer);
    for _ in 0..3 {
        rest(&mut server.connect()).await;
    }
    pieces.send("34".into()).await.unwrap();
    drop(pieces);
    let answer = within(answer).await.unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "1234");
}

#[tokio::test]
async fn an_http2_client_that_is_gone_without_a_word_is_cut_off() {
    // RFC 9113: the preface, empty SETTINGS, and HEADERS of stream 1 (`GET http://x/`, ended).
    const REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
        \0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x";
    let server = Server::new(SHORT_BOTH);
    let mut client = server.connect();
    client.write_all(REQUEST).await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.contains("hello"), "{answer:?}");
}

#[tokio::test]
async fn both_versions_are_spoken_and_a_stop_waits_for_what_is_under_way() {
    let server = Server::new(Patience { head: LONG, body: LONG });
    let mut client = server.connect_http2().await;
    let get = |path: &str| {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        hyper::Request::get(format!("http://x{path}")).body(body).unwrap()
    };
    let answer = within(client.send_request(get("/"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut idle = server.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    within(idle.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");

    let slow = tokio::spawn(client.send_request(get("/slow")));
    // Answered after `slow` was taken in: one connection carries both in order.
    within(client.send_request(get("/"))).await.unwrap();
    let Server { under_way, end, .. } = server;
    let stopped = tokio::spawn(under_way.shutdown());
    rest(&mut idle).await;
    assert!(!stopped.is_finished(), "a call is under way");
    end.add_permits(1);
    assert_eq!(within(slow).await.unwrap().unwrap().status(), StatusCode::OK);
    drop(client);
    within(stopped).await.unwrap();
}

#[test]
fn only_grpc_over_http2_is_a_conversation() {
    let check = |version, kind: Option<&str>, expected| {
        let request = Request::post("/").version(version);
        let request = match kind {
            Some(kind) => request.header(header::CONTENT_TYPE, kind),
            None => request,
        };
        assert_eq!(is_conversation(&request.body(Full::new(Bytes::new())).unwrap()), expected);
    };
    use axum::http::Version;
    check(Version::HTTP_2, Some("application/grpc"), true);
    check(Version::HTTP_2, Some("application/grpc+proto"), true);
    check(Version::HTTP_2, Some("application/json"), false);
    check(Version::HTTP_2, None, false);
    check(Version::HTTP_11, Some("application/grpc"), false);
}
