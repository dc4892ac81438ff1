//! Sends requests, over TLS where the URL says so. Redirects are answers like any other: nothing follows
//! them to a place that nobody named.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use model::limits;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Plain = legacy::Client<HttpConnector, Full<Bytes>>;
type Secure = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections, kept for the next request.
#[derive(Default)]
pub(super) struct Client {
    plain: OnceLock<Plain>,
    /// Made when it is needed first: the computer's certificates are read then.
    secure: OnceLock<Result<Secure, String>>,
}

/// What came back, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    connector
}

fn secure() -> Result<Secure, String> {
    let builder = HttpsConnectorBuilder::new().with_native_roots();
    let builder = builder.map_err(|error| format!("no certificates of this computer: {error}"))?;
    let connector = builder.https_only().enable_http1().wrap_connector(connector());
    Ok(legacy::Client::builder(TokioExecutor::new()).build(connector))
}

impl Client {
    /// The head of an answer. The caller bounds the time.
    pub(super) async fn begin(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let sent = if request.uri().scheme_str() == Some("https") {
            match self.secure.get_or_init(secure) {
                Ok(client) => client.request(request).await,
                Err(error) => return Err(error.clone()),
            }
        } else {
            let client = self
                .plain
                .get_or_init(|| legacy::Client::builder(TokioExecutor::new()).build(connector()));
            client.request(request).await
        };
        sent.map_err(|error| chain(&error))
    }

    /// A whole answer, within [`limits::OUTSIDE_CALL_TIME_MAX`].
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let whole = async {
            let (head, mut body) = self.begin(request).await?.into_parts();
            let mut bytes = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| chain(&error))?;
                if let Some(data) = frame.data_ref() {
                    if bytes.len() + data.len() > limits::OUTSIDE_ANSWER_BYTES_MAX {
                        let most = limits::OUTSIDE_ANSWER_BYTES_MAX;
                        return Err(format!("the answer has more than {most} bytes"));
                    }
                    bytes.extend_from_slice(data);
                }
            }
            Ok(Answer { status: head.status, headers: head.headers, body: bytes.freeze() })
        };
        match tokio::time::timeout(limits::OUTSIDE_CALL_TIME_MAX, whole).await {
            Ok(answer) => answer,
            Err(_) => {
                let most = limits::OUTSIDE_CALL_TIME_MAX.as_secs();
                Err(format!("no answer within {most} s"))
            }
        }
    }
}

/// An error with what led to it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
