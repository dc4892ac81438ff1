//! Two interpreters of the same language beside each other: this server's and another's that speaks the
//! same API, on states that call no function.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::{data_dir, temporary_folder};
use super::{median, millis};
use crate::load::connection::Connection;
use crate::load::platform::{ANY_PORT, Platform, Start};
use crate::load::report::rounded;

/// One machine on both servers, from StartExecution to the first answer of DescribeExecution that says
/// that it has ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// `pass` and `wait` are chains; the branches of `parallel` pass once each.
    shape: &'static str,
    states: usize,
    /// What Wait states wait for together.
    waits_ms: u64,
    here_p50_ms: f64,
    beside_p50_ms: f64,
}

/// Whom the other server takes a request for: it looks for the service here, and at nothing else.
const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=bench/20261127/us-east-1/states/aws4_request, \
                          SignedHeaders=host, Signature=0";
/// An execution that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn measure(url: &str, is_quick: bool) -> anyhow::Result<Vec<Row>> {
    let other = url.trim_start_matches("http://").trim_end_matches('/');
    let other = other.to_socket_addrs().with_context(|| format!("find {url}"))?;
    let other = other.into_iter().next().with_context(|| format!("find {url}"))?;
    let (sizes, runs): (&[usize], usize) =
        if is_quick { (&[2], 1) } else { (&[5, 10, 20, 40, 80], 9) };
    let mut cases: Vec<(&str, usize)> = Vec::new();
    for shape in ["pass", "parallel"] {
        cases.extend(sizes.iter().map(|states| (shape, *states)));
    }
    cases.push(("wait", if is_quick { 1 } else { 3 }));
    let folder = temporary_folder()?;
    let data_dir = data_dir(folder.path(), "platform");
    let platform = Platform::start(Start { policy: "xx", data_dir: &data_dir, listen: ANY_PORT })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the client")?.block_on(async {
        let mut here = Api::open(platform.address()).await?;
        let mut beside = Api::open(other).await?;
        // moto's server executes nothing unless it is told to; others do not know this.
        let execute = json!({ "stepfunctions": { "execute_state_machine": true } });
        let _ = beside.send("/moto-api/config", None, &execute).await?;
        let mut rows = Vec::new();
        for (shape, states) in cases {
            let waits_ms = if shape == "wait" { 1_000 * states as u64 } else { 0 };
            let here_p50_ms = here.time(shape, states, runs).await?;
            let beside_p50_ms = beside.time(shape, states, runs).await?;
            println!(
                "{shape:8} {states:3} states   here {here_p50_ms:8.1} ms   beside {beside_p50_ms:8.1} ms"
            );
            rows.push(Row { shape, states, waits_ms, here_p50_ms, beside_p50_ms });
        }
        Ok(rows)
    })
}

struct Api {
    connection: Connection,
    address: SocketAddr,
}

impl Api {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open(address).await?, address })
    }

    /// The median of so many runs, in milliseconds.
    async fn time(
        &mut self,
        shape: &'static str,
        states: usize,
        runs: usize,
    ) -> anyhow::Result<f64> {
        let name = format!("{shape}-{states}-{}", std::process::id());
        let machine = json!({
            "name": name,
            "definition": definition(shape, states).to_string(),
            "roleArn": "arn:aws:iam::000000000000:role/bench",
        });
        let made = self.act("CreateStateMachine", &machine).await?;
        let mut times = Vec::new();
        // Waits are long: a few runs tell enough.
        let runs = if shape == "wait" { runs.min(3) } else { runs };
        for run in 0..=runs {
            let start = json!({
                "stateMachineArn": made["stateMachineArn"],
                "name": format!("{name}-{run}"),
                "input": "{}",
            });
            let begun = Instant::now();
            let started = self.act("StartExecution", &start).await?;
            let execution = json!({ "executionArn": started["executionArn"] });
            loop {
                let shown = self.act("DescribeExecution", &execution).await?;
                match shown["status"].as_str() {
                    Some("SUCCEEDED") => break,
                    Some("RUNNING") if begun.elapsed() < PATIENCE => {}
                    _ => bail!("{name} stands so: {shown}"),
                }
                if shape == "wait" {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            if run > 0 {
                times.push(begun.elapsed());
            }
        }
        Ok(rounded(millis(median(&mut times))))
    }

    async fn act(&mut self, action: &str, body: &Value) -> anyhow::Result<Value> {
        let target = format!("AWSStepFunctions.{action}");
        let answer = self.send("/", Some(&target), body).await?;
        if let Some(code) = answer.error_code() {
            bail!(
                "{action} at {}: {code}: {}",
                self.address,
                String::from_utf8_lossy(&answer.body)
            );
        }
        serde_json::from_slice(&answer.body).context("read the answer")
    }

    async fn send(
        &mut self,
        path: &str,
        target: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<crate::load::connection::Answer> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, CREDENTIAL)
            .header(CONTENT_TYPE, "application/x-amz-json-1.0");
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        let body = Full::new(Bytes::from(body.to_string()));
        let request = request.body(body).context("make a request")?;
        // A server of Python may close a connection between two requests.
        match self.connection.send(request.clone()).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.connection = Connection::open(self.address).await?;
                Ok(self.connection.send(request).await?)
            }
        }
    }
}

fn definition(shape: &str, states: usize) -> Value {
    let named = |index: usize| format!("S{index}");
    if shape == "parallel" {
        let branch = |index: usize| {
            let pass = json!({ "Type": "Pass", "End": true });
            let states = serde_json::Map::from_iter([(named(index), pass)]);
            json!({ "StartAt": named(index), "States": states })
        };
        let branches: Vec<Value> = (0..states).map(branch).collect();
        let parallel = json!({ "Type": "Parallel", "Branches": branches, "End": true });
        return json!({ "StartAt": "P", "States": { "P": parallel } });
    }
    let state = |index: usize| {
        let mut state = match shape {
            "wait" => json!({ "Type": "Wait", "Seconds": 1 }),
            _ => json!({ "Type": "Pass" }),
        };
        if index + 1 < states {
            state["Next"] = named(index + 1).into();
        } else {
            state["End"] = true.into();
        }
        (named(index), state)
    };
    let states: serde_json::Map<String, Value> = (0..states).map(state).collect();
    json!({ "StartAt": "S0", "States": states })
}
