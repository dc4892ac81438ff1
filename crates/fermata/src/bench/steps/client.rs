//! What a client of executions does: start, wait, read the history, follow it, signal.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use hyper::{Method, Request};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::load::connection::{Answer, Connection, get};
use crate::load::generator::Priority;
use crate::load::statistics::Latencies;

/// Entries of one page of a history.
const PAGE: usize = 900;

/// A client with a thread of its own for each run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
}

/// Executions one after the other.
#[derive(Default)]
pub(super) struct Alone {
    /// From one answer to the next.
    pub(super) steps: Latencies,
    /// From sending the start to the answer that it is safe.
    pub(super) starts: Latencies,
}

/// Executions beside each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pressed {
    pub(super) executions: u64,
    pub(super) took: Duration,
}

#[derive(Deserialize)]
struct Started {
    execution: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Entry>,
    more: bool,
}

/// One record of a history.
#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) at_us: u64,
    pub(super) what: String,
}

impl Client {
    pub(super) const fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { address })
    }

    /// One execution, whose history must have that many answers.
    pub(super) fn warm_up(self, function: &str, steps: usize) -> anyhow::Result<()> {
        let alone = self.alone(function, 1)?;
        if usize::try_from(alone.steps.count())? + 1 != steps {
            bail!("an execution of {steps} calls had {} steps", alone.steps.count());
        }
        Ok(())
    }

    /// Executions one after the other.
    pub(super) fn alone(self, function: &str, executions: usize) -> anyhow::Result<Alone> {
        let mut alone = Alone::default();
        self.run(async || {
            let mut connection = Connection::open(self.address).await?;
            for _ in 0..executions {
                let sent = Instant::now();
                let id = self.start(&mut connection, function, "").await?;
                alone.starts.record(sent.elapsed());
                self.output(&mut connection, &id).await?;
                let times = self.answers(&mut connection, &id).await?;
                for (before, after) in times.iter().zip(times.iter().skip(1)) {
                    alone.steps.record(Duration::from_micros(after.saturating_sub(*before)));
                }
            }
            Ok(())
        })?;
        Ok(alone)
    }

    /// That many executions at once, each followed by another until the time is over.
    pub(super) fn press(
        self,
        function: &'static str,
        concurrency: usize,
        length: Duration,
    ) -> anyhow::Result<Pressed> {
        self.run(async || {
            let begun = Instant::now();
            let mut loops = JoinSet::new();
            for _ in 0..concurrency.max(1) {
                loops.spawn(async move {
                    let mut connection = Connection::open(self.address).await?;
                    let mut done = 0;
                    while done == 0 || begun.elapsed() < length {
                        let path = format!("/v1/functions/{function}/invoke");
                        accepted(&connection.send(self.post(&path, "")).await?)?;
                        done += 1;
                    }
                    anyhow::Ok(done)
                });
            }
            let mut executions = 0;
            while let Some(ended) = loops.join_next().await {
                executions += ended.context("drive an execution")??;
            }
            Ok(Pressed { executions, took: begun.elapsed() })
        })
    }

    /// Starts an execution, which is safe then.
    pub(super) async fn start(
        self,
        connection: &mut Connection,
        function: &str,
        input: &str,
    ) -> anyhow::Result<String> {
        let path = format!("/v1/functions/{function}/executions");
        let answer = connection.send(self.post(&path, input)).await?;
        accepted(&answer)?;
        let started: Started = serde_json::from_slice(&answer.body).context("read its id")?;
        Ok(started.execution)
    }

    /// Waits for its end.
    pub(super) async fn output(
        self,
        connection: &mut Connection,
        id: &str,
    ) -> anyhow::Result<Bytes> {
        let request = get(self.address, &format!("/v1/executions/{id}/output"));
        let answer = connection.send(request).await?;
        accepted(&answer)?;
        Ok(answer.body)
    }

    /// When its calls were answered, in microseconds.
    async fn answers(self, connection: &mut Connection, id: &str) -> anyhow::Result<Vec<u64>> {
        let (mut times, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/executions/{id}/history?after={after}&limit={PAGE}");
            let answer = connection.send(get(self.address, &path)).await?;
            accepted(&answer)?;
            let page: Page = serde_json::from_slice(&answer.body).context("read a history")?;
            let answered = page.items.iter().filter(|entry| entry.what == "resolved");
            times.extend(answered.map(|entry| entry.at_us));
            after = page.items.last().map_or(after, |entry| entry.seq);
            if !page.more {
                return Ok(times);
            }
        }
    }

    pub(super) fn post(self, path: &str, body: &str) -> Request<Full<Bytes>> {
        Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.address.to_string())
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .expect("names and ids have no character that a path forbids")
    }

    /// Runs the future on a thread of raised priority.
    pub(super) fn run<T: Send>(
        self,
        work: impl AsyncFnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                Priority::raise();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.context("start the client")?.block_on(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

pub(super) fn accepted(answer: &Answer) -> anyhow::Result<()> {
    match answer.error_code() {
        None => Ok(()),
        Some(code) => bail!("{code}: {}", String::from_utf8_lossy(&answer.body)),
    }
}
