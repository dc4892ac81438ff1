//! `fermata invocations`: what became of calls, and why one was slow.

use std::time::Duration;

use serde_json::Value;

use super::{Json, field, micros, moment, nanos, number, show_list};
use crate::client::{Client, Failed};
use crate::text;

/// What became of calls, and why one was slow
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List ended ones, newest first
    List {
        /// Of this function only
        #[arg(long, value_name = "NAME")]
        function: Option<String>,
        /// Of this class only
        #[arg(long, value_name = "NAME")]
        class: Option<String>,
        /// Only those that failed
        #[arg(long)]
        failed: bool,
        /// Only older ones than this
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        json: Json,
    },
    /// Show one with every decision about it: why was this slow?
    Show {
        id: String,
        #[command(flatten)]
        json: Json,
    },
}

const HEADER: [&str; 7] =
    ["id", "function", "class", "status", "arrived (UTC)", ">CPU", ">total µ¢"];

pub(crate) fn run(client: &Client, command: &Command) -> Result<(), Failed> {
    match command {
        Command::List { function, class, failed, before, limit, json } => {
            let mut query = vec![format!("limit={limit}")];
            query.extend(function.iter().map(|name| format!("function={name}")));
            query.extend(class.iter().map(|name| format!("class={name}")));
            query.extend(before.iter().map(|id| format!("before={id}")));
            query.extend(failed.then(|| "failed=true".to_owned()));
            let list = client.get(&format!("/v1/invocations?{}", query.join("&")))?;
            show_list(*json, &list, &HEADER, row);
        }
        Command::Show { id, json } => {
            let invocation: Value = client.get(&format!("/v1/invocations/{id}"))?;
            if json.json {
                text::print_json(&invocation);
            } else {
                text::print(&story(&invocation));
            }
        }
    }
    Ok(())
}

fn row(invocation: &Value) -> Vec<String> {
    let failure = field(&invocation["failure"], "code");
    let status = if failure.is_empty() { field(invocation, "status") } else { failure };
    vec![
        field(invocation, "id"),
        format!("{}:{}", field(invocation, "function"), field(invocation, "version")),
        field(invocation, "class"),
        status,
        moment(invocation, "arrived_ms"),
        nanos(&invocation["receipt"], "cpu_ns"),
        field(&invocation["receipt"], "total"),
    ]
}

/// One invocation in words: what it was, where its time went, and each decision with its reason.
fn story(invocation: &Value) -> String {
    let mut text = format!(
        "{} of {}:{} in class {}: {}\n",
        field(invocation, "id"),
        field(invocation, "function"),
        field(invocation, "version"),
        field(invocation, "class"),
        field(invocation, "status"),
    );
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<9} {value}\n"));
        }
    };
    line("arrived", moment(invocation, "arrived_ms"));
    line("caller", field(invocation, "caller"));
    if invocation["failure"].is_object() {
        let failure = &invocation["failure"];
        let why = format!("{}: {}", field(failure, "code"), field(failure, "message"));
        line("failed", text::filtered(why.as_bytes()));
    }
    let receipt = &invocation["receipt"];
    if receipt.is_object() {
        let cost = format!("{} CPU, {} µ¢", nanos(receipt, "cpu_ns"), field(receipt, "total"));
        line("cost", cost);
    }
    let times = &invocation["times"];
    if times.is_object() {
        let phases = ["queued", "waiting", "starting", "preempted", "blocked", "memory", "running"];
        let spent = phases.iter().filter(|phase| number(times, &format!("{phase}_us")) > 0);
        let spent: Vec<String> = spent
            .map(|phase| format!("{phase} {}", micros(times, &format!("{phase}_us"))))
            .collect();
        line("time", format!("{} in all: {}", micros(times, "total_us"), spent.join(", ")));
    }
    let steps = invocation["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let step = |step: &Value| {
        let after = text::duration(Duration::from_micros(number(step, "after_us")));
        vec![format!("+{after}"), field(step, "what"), field(step, "why")]
    };
    let rows: Vec<Vec<String>> = steps.iter().map(step).collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&text::table(&[">after", "what", "why"], &rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_story_leaves_out_what_did_not_happen() {
        let told = story(&json!({
            "id": "inv_1", "function": "f", "version": 2, "class": "critical", "status": "succeeded",
            "receipt": {"cpu_ns": 1_500_000, "total": "0.003"},
            "times": {"queued_us": 0, "waiting_us": 12, "running_us": 1_500, "total_us": 1_512},
            "steps": [{"after_us": 0, "what": "queued", "why": "on shard-0"}],
        }));
        let expected = "inv_1 of f:2 in class critical: succeeded\n\
            \x20 cost      1.50 ms CPU, 0.003 µ¢\n\
            \x20 time      1.51 ms in all: waiting 12 µs, running 1.50 ms\n\n\
            after  what    why\n\
            +0 µs  queued  on shard-0\n";
        assert_eq!(told, expected);
    }
}
