//! `fermata nodes`.

use std::time::Duration;

use serde_json::Value;

use super::{Json, field, show_list};
use crate::client::{Client, Failed};
use crate::text;

/// Servers that share the store, and which executions each has (for admins)
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    json: Json,
}

const HEADER: [&str; 5] = ["node", "address", ">partitions", ">lease age", "which"];

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    show_list(args.json, &client.get("/v1/nodes")?, &HEADER, row);
    Ok(())
}

fn row(node: &Value) -> Vec<String> {
    let partitions = node["partitions"].as_array().map_or(&[][..], Vec::as_slice);
    let which: Vec<String> = partitions.iter().map(Value::to_string).collect();
    let age = text::duration(Duration::from_millis(node["lease_age_ms"].as_u64().unwrap_or(0)));
    let name = if node["this"] == true {
        format!("{} (asked)", field(node, "name"))
    } else {
        field(node, "name")
    };
    vec![name, field(node, "address"), partitions.len().to_string(), age, which.join(" ")]
}
