//! Chains and fan-outs of state machines: how much longer they take than what they wait for.

mod beside;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use serde::Serialize;
use serde_json::{Value, json};

use super::functions::TOP;
use super::maps;
use super::steps::time_fsyncs;
use super::{Common, Origin, data_dir, save, temporary_folder};
use crate::load::connection::{Answer, Connection, invoke};
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start};
use crate::load::report::rounded;

/// Chains and fan-outs of state machines
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Large Map states only: 10,000 items inline and 100,000 distributed
    #[arg(long)]
    maps: bool,
    /// Another server of the same API: chains and fan-outs of states without functions, on both
    #[arg(long, value_name = "URL")]
    beside: Option<String>,
    /// Let the server's processors take so many microseconds to wake, as `serve --wake-us`
    #[arg(long, value_name = "N")]
    wake_us: Option<u32>,
}

/// What is measured, and how long each function sleeps, in milliseconds.
const SHAPES: [(&str, u64); 3] = [("chain", 10), ("chain", 0), ("fan-out", 10)];
/// What is carried from state to state beside what the functions see.
const PAYLOADS: [usize; 2] = [0, 32 << 10];
const SLEEPER: &[u8] = include_bytes!("../../../../examples/guests/sleep.wasm");

#[derive(Clone, Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    origin: Origin,
    /// One call of the function itself, in milliseconds.
    function_p50_ms: f64,
    /// An `fdatasync` of a few bytes on the disk of the server's data, one after the other.
    fsync_busy_p50_ms: f64,
    /// The same, 10 ms after the one before.
    fsync_paused_p50_ms: f64,
    rows: Vec<Row>,
    beside: Vec<beside::Row>,
    maps: Vec<maps::Row>,
    notes: Vec<&'static str>,
}

/// One machine, run again and again.
#[derive(Clone, Debug, Serialize)]
struct Row {
    /// `chain` or `fan-out`.
    shape: &'static str,
    functions: usize,
    /// How long each function sleeps.
    sleep_ms: u64,
    /// `standard` (through `/v1`) or `express` (StartSyncExecution).
    sort: &'static str,
    payload_bytes: usize,
    runs: usize,
    p50_ms: f64,
    max_ms: f64,
    /// The median of what is spent outside of the functions, as in section 4 of "Comparison of
    /// Production Serverless Function Orchestration Systems": in a chain beyond what its functions
    /// took, from their first instruction to their end, in a fan-out beyond what one sleeps.
    overhead_ms: f64,
    /// The median beyond what the functions sleep, one after the other in a chain.
    beyond_sleep_ms: f64,
}

/// An invocation in a list.
#[derive(serde::Deserialize)]
struct Listed {
    id: String,
}

#[derive(Clone, Copy)]
struct Case {
    shape: &'static str,
    functions: usize,
    sleep_ms: u64,
    sort: &'static str,
    payload: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("states");
    let beside = match &args.beside {
        Some(url) => beside::measure(url, args.common.quick)?,
        None => Vec::new(),
    };
    let shapes = if args.maps || args.beside.is_some() { Shapes::default() } else { shapes(args)? };
    let sizes = if args.common.quick { [20, 20] } else { [10_000, 100_000] };
    let mut measured = Vec::new();
    if args.maps || args.common.quick {
        for (mode, items) in ["inline", "distributed"].into_iter().zip(sizes) {
            let row = maps::measure(mode, items)?;
            println!("{row}");
            measured.push(row);
        }
    }
    let notes = vec![
        "overhead: the median of what is spent outside of the functions, in a fan-out beyond the sleep of one",
        "standard: durable, each transition committed to SQLite before the next step",
    ];
    let Shapes { function_p50_ms, fsync_busy_p50_ms, fsync_paused_p50_ms, rows } = shapes;
    let figures = Figures {
        origin,
        function_p50_ms,
        fsync_busy_p50_ms,
        fsync_paused_p50_ms,
        rows,
        beside,
        maps: measured,
        notes,
    };
    save(&args.common, &figures)
}

/// What chains and fan-outs come to, and what they are made of.
#[derive(Default)]
struct Shapes {
    function_p50_ms: f64,
    fsync_busy_p50_ms: f64,
    fsync_paused_p50_ms: f64,
    rows: Vec<Row>,
}

fn shapes(args: &Args) -> anyhow::Result<Shapes> {
    let (sizes, runs): (&[usize], usize) =
        if args.common.quick { (&[2], 1) } else { (&[5, 10, 20, 40, 80], 9) };
    let folder = temporary_folder()?;
    let data_dir = data_dir(folder.path(), "platform");
    let start = Start { policy: "xx", data_dir: &data_dir, listen: ANY_PORT };
    let wake: Vec<String> =
        args.wake_us.iter().flat_map(|us| ["--wake-us".to_owned(), us.to_string()]).collect();
    let platform = Platform::start_with(start, &wake, None)?;
    let path = folder.path().join("sleeper.wasm");
    std::fs::write(&path, SLEEPER).context("write the function")?;
    if let Deployed::Refused(why) = platform.deploy(&path)? {
        bail!("the function is refused: {why}");
    }
    let fsync = |pause| {
        let mut times = Vec::new();
        time_fsyncs(&data_dir, 10 * runs, pause, |time| times.push(time))?;
        anyhow::Ok(millis(median(&mut times)))
    };
    let (busy, paused) = (fsync(Duration::ZERO)?, fsync(Duration::from_millis(10))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (function, rows) = runtime.context("start the client")?.block_on(async {
        let mut client =
            Client { connection: Connection::open(platform.address()).await?, platform: &platform };
        let mut function = Vec::new();
        for _ in 0..=runs {
            let call = invoke(platform.address(), "sleeper", TOP, Bytes::from_static(b"10"));
            function.push(client.timed(call).await?.0);
        }
        let mut rows = Vec::new();
        for payload in PAYLOADS {
            for (shape, sleep_ms) in SHAPES {
                for sort in ["standard", "express"] {
                    for functions in sizes.iter().copied() {
                        let case = Case { shape, functions, sleep_ms, sort, payload };
                        let row = client.measure(case, runs).await?;
                        println!(
                            "{:8} {:3} of {:2} ms {:9} {:6} B   p50 {:8.1} ms   beyond the sleep {:7.1}   overhead {:7.1} ms",
                            row.shape,
                            row.functions,
                            row.sleep_ms,
                            row.sort,
                            row.payload_bytes,
                            row.p50_ms,
                            row.beyond_sleep_ms,
                            row.overhead_ms
                        );
                        rows.push(row);
                    }
                }
            }
        }
        anyhow::Ok((millis(median(&mut function)), rows))
    })?;
    println!("\none call of the function: p50 {function:.1} ms");
    println!("fdatasync of 4 KiB: p50 {busy:.2} ms, after a pause of 10 ms {paused:.2} ms");
    Ok(Shapes {
        function_p50_ms: function,
        fsync_busy_p50_ms: busy,
        fsync_paused_p50_ms: paused,
        rows,
    })
}

pub(super) struct Client<'p> {
    pub(super) connection: Connection,
    pub(super) platform: &'p Platform,
}

impl Client<'_> {
    async fn measure(&mut self, case: Case, runs: usize) -> anyhow::Result<Row> {
        let Case { shape, functions, sleep_ms, sort, payload } = case;
        let name = format!("{shape}-{functions}-{sleep_ms}-{sort}-{payload}");
        let body = json!({
            "name": name,
            "definition": definition(case).to_string(),
            "roleArn": "arn:aws:iam::000000000000:role/bench",
            "type": sort.to_uppercase(),
        });
        let made = self.aws("CreateStateMachine", &body).await?;
        let arn = made["stateMachineArn"].as_str().context("read the machine's ARN")?.to_owned();
        let input = json!({ "ms": sleep_ms, "data": "x".repeat(payload) });
        let mut took = Vec::new();
        // The first one reads the definition and warms the functions up.
        for run in 0..=runs {
            let time = if sort == "standard" {
                let payload = Bytes::from(input.to_string());
                self.timed(invoke(self.platform.address(), &name, TOP, payload)).await?.0
            } else {
                let body = json!({ "stateMachineArn": arn, "input": input.to_string() });
                let (time, answer) = self.timed(self.request("StartSyncExecution", &body)).await?;
                let ended: Value = serde_json::from_slice(&answer.body)?;
                if ended["status"] != "SUCCEEDED" {
                    bail!("{name} ended so: {ended}");
                }
                time
            };
            if run > 0 {
                took.push(time);
            }
        }
        let sleep = Duration::from_millis(sleep_ms);
        let (slept, mut outside) = if shape == "chain" {
            let inside = self.inside_functions(functions, runs).await?;
            let outside = took.iter().zip(inside).map(|(took, inside)| took.saturating_sub(inside));
            (sleep * u32::try_from(functions)?, outside.collect())
        } else {
            (sleep, took.iter().map(|took| took.saturating_sub(sleep)).collect::<Vec<_>>())
        };
        let max_ms = millis(*took.iter().max().context("run it at least once")?);
        let p50_ms = millis(median(&mut took));
        let overhead_ms = millis(median(&mut outside));
        let beyond_sleep_ms = rounded(p50_ms - millis(slept));
        Ok(Row {
            shape,
            functions,
            sleep_ms,
            sort,
            payload_bytes: payload,
            runs,
            p50_ms,
            max_ms,
            overhead_ms,
            beyond_sleep_ms,
        })
    }

    /// What the functions of each of the last runs of a chain took, from their first instruction to
    /// their end, as the platform recorded it.
    async fn inside_functions(
        &mut self,
        functions: usize,
        runs: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        // What ended is recorded in company, some milliseconds later.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let path = format!("/v1/invocations?function=sleeper&limit={}", functions * runs);
        let listed = self.get(&path).await?;
        let ids: Vec<String> = serde_json::from_value::<Vec<Listed>>(listed["items"].clone())
            .context("read the invocations")?
            .into_iter()
            .map(|listed| listed.id)
            .collect();
        let mut inside = Vec::new();
        for run in ids.chunks(functions).rev() {
            let mut micros = 0;
            for id in run {
                let times = &self.get(&format!("/v1/invocations/{id}")).await?["times"];
                for part in ["running_us", "blocked_us"] {
                    micros += times[part].as_u64().context("read an invocation's times")?;
                }
            }
            inside.push(Duration::from_micros(micros));
        }
        Ok(inside)
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let request = Request::get(path)
            .header(HOST, self.platform.address().to_string())
            .body(Full::default())
            .expect("the path has no character that is forbidden");
        let (_, answer) = self.timed(request).await?;
        serde_json::from_slice(&answer.body).context("read the answer")
    }

    async fn timed(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(Duration, Answer)> {
        let sent = Instant::now();
        let answer = self.connection.send(request).await?;
        let time = sent.elapsed();
        if let Some(code) = answer.error_code() {
            bail!("{code}: {}", String::from_utf8_lossy(&answer.body));
        }
        Ok((time, answer))
    }

    pub(super) async fn aws(&mut self, action: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(action, body);
        let (_, answer) = self.timed(request).await?;
        serde_json::from_slice(&answer.body).context("read the answer")
    }

    fn request(&self, action: &str, body: &Value) -> Request<Full<Bytes>> {
        Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(HOST, self.platform.address().to_string())
            .header(CONTENT_TYPE, "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AWSStepFunctions.{action}"))
            .header("x-fermata-class", TOP)
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("the headers have no character that is forbidden")
    }
}

fn definition(case: Case) -> Value {
    let task = |next: Option<String>| {
        let mut state = json!({
            "Type": "Task",
            "Resource": "arn:aws:lambda:us-east-1:000000000000:function:sleeper",
            "InputPath": "$.ms",
            "ResultPath": "$.took",
        });
        match next {
            Some(next) => state["Next"] = next.into(),
            None => state["End"] = true.into(),
        }
        state
    };
    let n = case.functions;
    if case.shape == "chain" {
        let states =
            (0..n).map(|i| (format!("S{i}"), task((i + 1 < n).then(|| format!("S{}", i + 1)))));
        return json!({ "StartAt": "S0", "States": Value::Object(states.collect()) });
    }
    // A state's name is its own in the whole machine.
    let branch = |i: usize| {
        let name = format!("S{i}");
        let states = serde_json::Map::from_iter([(name.clone(), task(None))]);
        json!({ "StartAt": name, "States": states })
    };
    let parallel = json!({
        "Type": "Parallel",
        "Branches": (0..n).map(branch).collect::<Vec<_>>(),
        // What all branches carry together is more than an answer may have.
        "ResultSelector": { "done": true },
        "End": true,
    });
    json!({ "StartAt": "P", "States": { "P": parallel } })
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1_000.0)
}
