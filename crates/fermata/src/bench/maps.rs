//! Large Map states: how long they take, what the server's memory comes to, and what is seen meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::memory::pressure::process_peak;
use super::states::Client;
use super::{data_dir, temporary_folder};
use crate::load::connection::Connection;
use crate::load::platform::{ANY_PORT, Platform, Start};
use crate::load::report::rounded;

/// One Map state, run once by a server of its own.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// `inline` or `distributed`.
    mode: &'static str,
    items: usize,
    seconds: f64,
    items_per_second: f64,
    /// The most that the server ever had in RAM.
    peak_mib: f64,
    /// The same before the run.
    idle_mib: f64,
    /// Different counts of ended children that were seen while it ran.
    counts_seen: usize,
    /// The longest that one look took.
    look_max_ms: f64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, items, seconds, items_per_second, peak_mib, idle_mib, .. } = self;
        write!(
            f,
            "Map {mode:11} {items:7} items   {seconds:7.1} s   {items_per_second:7.0}/s   memory \
             {idle_mib:.0} to {peak_mib:.0} MiB"
        )?;
        if *mode == "distributed" {
            write!(
                f,
                "   {} counts seen, look at most {:.0} ms",
                self.counts_seen, self.look_max_ms
            )?;
        }
        Ok(())
    }
}

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(1_800);

pub(super) fn measure(mode: &'static str, items: usize) -> anyhow::Result<Row> {
    let folder = temporary_folder()?;
    let data_dir = data_dir(folder.path(), "platform");
    let start = Start { policy: "xx", data_dir: &data_dir, listen: ANY_PORT };
    // AWS's limit of events would end an inline Map of 10,000 items.
    let platform = Platform::start_with(start, &["--states-quotas", "platform"], None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the client")?.block_on(run(&platform, mode, items))
}

async fn run(platform: &Platform, mode: &'static str, items: usize) -> anyhow::Result<Row> {
    let mut client = Client { connection: Connection::open(platform.address()).await?, platform };
    let body = json!({
        "name": "map",
        "definition": definition(mode, items).to_string(),
        "roleArn": "arn:aws:iam::000000000000:role/bench",
    });
    let made = client.aws("CreateStateMachine", &body).await?;
    let idle = process_peak(platform.process_id()).unwrap_or_default();
    let begun = Instant::now();
    let body = json!({ "stateMachineArn": made["stateMachineArn"], "input": "{}" });
    let started = client.aws("StartExecution", &body).await?;
    let execution = json!({ "executionArn": started["executionArn"] });
    let (mut map_run, mut counts, mut longest) = (Value::Null, Vec::new(), Duration::ZERO);
    loop {
        let shown = client.aws("DescribeExecution", &execution).await?;
        if shown["status"] == "SUCCEEDED" {
            break;
        }
        if shown["status"] != "RUNNING" || begun.elapsed() > PATIENCE {
            bail!("the Map state of {items} items stands so: {shown}");
        }
        if mode == "distributed" {
            let looked = Instant::now();
            if map_run.is_null() {
                let runs = client.aws("ListMapRuns", &execution).await?;
                map_run = runs["mapRuns"][0]["mapRunArn"].clone();
            } else {
                let body = json!({ "mapRunArn": map_run });
                let shown = client.aws("DescribeMapRun", &body).await?;
                counts.push(shown["executionCounts"]["succeeded"].as_u64().unwrap_or_default());
            }
            longest = longest.max(looked.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    counts.dedup();
    let peak = process_peak(platform.process_id()).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "counts and bytes of this size")]
    let (rate, mib) = (items as f64 / seconds, |bytes: u64| rounded(bytes as f64 / 1_048_576.0));
    Ok(Row {
        mode,
        items,
        seconds: rounded(seconds),
        items_per_second: rounded(rate),
        peak_mib: mib(peak),
        idle_mib: mib(idle),
        counts_seen: counts.len(),
        look_max_ms: rounded(longest.as_secs_f64() * 1_000.0),
    })
}

/// A Map state whose iterations only pass a number on.
fn definition(mode: &str, items: usize) -> Value {
    let mut processor = json!({
        "StartAt": "P",
        "States": { "P": { "Type": "Pass", "Output": 1, "End": true } },
    });
    if mode == "distributed" {
        processor["ProcessorConfig"] =
            json!({ "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" });
    }
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "M",
        "States": { "M": {
            "Type": "Map",
            "Items": format!("{{% [1..{items}] %}}"),
            "ItemProcessor": processor,
            "Output": "{% $count($states.result) %}",
            "End": true,
        } },
    })
}
