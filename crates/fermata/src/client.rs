//! Speaks to a server over HTTP.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::ServerArgs;

const SERVER_DEFAULT: &str = "http://127.0.0.1:4566";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a command did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The function failed.
    Function(String),
    /// The command line or a file it names is wrong.
    Usage(String),
    /// The server refused.
    Refused(String),
    /// No server answers.
    Unreachable(String),
}

/// A server, and who asks.
pub(crate) struct Client {
    base: String,
    key: Option<String>,
    http: Hyper<HttpConnector, Full<Bytes>>,
    tokio: tokio::runtime::Runtime,
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

/// `config.toml` in the user's configuration folder.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    server: Option<String>,
    key: Option<String>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Function(text)
            | Self::Usage(text)
            | Self::Refused(text)
            | Self::Unreachable(text) => f.write_str(text),
        }
    }
}

impl Failed {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Function(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Unreachable(_) => 4,
        })
    }
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failed> {
        let file = read_file()?;
        let base = args.server.clone().or(file.server).unwrap_or_else(|| SERVER_DEFAULT.to_owned());
        if !base.starts_with("http://") {
            return Err(Failed::Usage(format!("{base:?} is not a server: use http://HOST:PORT")));
        }
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let tokio = tokio.map_err(|error| Failed::Usage(format!("start a thread: {error}")))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = Hyper::builder(TokioExecutor::new()).build(connector);
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { base, key: args.key.clone().or(file.key), http, tokio })
    }

    /// Where it speaks to.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        decode(&self.accepted(Method::GET, path, Bytes::new())?)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failed> {
        decode(&self.accepted(Method::POST, path, Bytes::from(body.to_string()))?)
    }

    pub(crate) fn patch<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failed> {
        decode(&self.accepted(Method::PATCH, path, Bytes::from(body.to_string()))?)
    }

    /// A request whose answer has no body.
    pub(crate) fn act(&self, method: Method, path: &str) -> Result<(), Failed> {
        self.accepted(method, path, Bytes::new()).map(drop)
    }

    /// The body of an answer that is not JSON.
    pub(crate) fn get_bytes(&self, path: &str) -> Result<Bytes, Failed> {
        self.accepted(Method::GET, path, Bytes::new()).map(|answer| answer.body)
    }

    /// A request with a body of bytes; the answer's body.
    pub(crate) fn post_bytes(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Bytes, Failed> {
        let answer = self.send(Method::POST, path, headers, body)?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(refusal(&answer)) }
    }

    /// The answer of a function that ended, or how it failed.
    pub(crate) fn outcome(&self, path: &str) -> Result<Bytes, Failed> {
        let answer = self.send(Method::GET, path, &[], Bytes::new())?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let ran = answer.headers.contains_key("x-fermata-receipt");
        Err(if ran { Failed::Function(problem_text(&answer)) } else { refusal(&answer) })
    }

    /// Reads server-sent events until the server ends them; `each` is given the data of each.
    pub(crate) fn events(&self, path: &str, mut each: impl FnMut(&str)) -> Result<(), Failed> {
        let request = self.request(Method::GET, path, &[], Bytes::new())?;
        self.tokio.block_on(async {
            let response = self.http.request(request).await;
            let response = response.map_err(|error| self.unreachable(&error))?;
            let (parts, mut body) = response.into_parts();
            if !parts.status.is_success() {
                let body = body.collect().await.map_err(|error| self.unreachable(&error))?;
                let answer =
                    Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() };
                return Err(refusal(&answer));
            }
            let mut unread = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.unreachable(&error))?;
                unread.extend(frame.into_data().unwrap_or_default());
                while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = unread.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line);
                    if let Some(data) = line.strip_prefix("data:") {
                        each(data.trim());
                    }
                }
            }
            Ok(())
        })
    }

    fn accepted(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failed> {
        let json = ("content-type", "application/json".to_owned());
        let answer = self.send(method, path, &[json], body)?;
        if answer.status.is_success() { Ok(answer) } else { Err(refusal(&answer)) }
    }

    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, Failed> {
        let request = self.request(method, path, headers, body)?;
        self.tokio.block_on(async {
            let response = self.http.request(request).await;
            let (parts, body) = response.map_err(|error| self.unreachable(&error))?.into_parts();
            let body = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failed> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        request.body(Full::new(body)).map_err(|error| {
            Failed::Usage(format!("{}{path} cannot be requested: {error}", self.base))
        })
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failed {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Failed::Unreachable(format!(
            "no answer from {} ({error}{cause}); start one with `fermata serve --dev`, or name one \
             with --server",
            self.base
        ))
    }
}

/// What a problem document says, with its code.
pub(crate) fn refusal(answer: &Answer) -> Failed {
    Failed::Refused(problem_text(answer))
}

pub(crate) fn problem_text(answer: &Answer) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (problem["detail"].as_str(), problem["code"].as_str()) {
        (Some(detail), Some(code)) => format!("{detail} [{code}]"),
        _ => format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)),
    }
}

fn decode<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failed> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        Failed::Refused(format!("the server's answer is not what this version expects: {error}"))
    })
}

fn read_file() -> Result<File, Failed> {
    let Some(path) = config_path().filter(|path| path.is_file()) else {
        return Ok(File::default());
    };
    let wrong =
        |error: &dyn std::fmt::Display| Failed::Usage(format!("read {}: {error}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
    toml::from_str(&text).map_err(|error| wrong(&error))
}

fn config_path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    Some(folder?.join("fermata/config.toml"))
}
