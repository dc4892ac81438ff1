//! `fermata functions`.

use std::collections::BTreeMap;

use hyper::Method;
use serde_json::{Value, json};

use super::{Json, field, moment, number, show_list};
use crate::client::{Client, Failed};
use crate::text;

/// Functions and their versions
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the latest version of each
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Show one
    Show {
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// List all versions of one, newest first
    Versions {
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// Show which versions of one are held by executions that have not ended
    Drain {
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// Delete one with all its versions; its receipts stay. Refused while executions hold it
    Delete { name: String },
}

/// Executions read at once.
const PAGE: usize = 999;

const HEADER: [&str; 7] =
    ["name", ">version", "runtime", "class", ">limit", ">code", "deployed (UTC)"];

pub(crate) fn run(client: &Client, command: &Command) -> Result<(), Failed> {
    match command {
        Command::List { json } => {
            show_list(*json, &client.get("/v1/functions")?, &HEADER, row);
        }
        Command::Versions { name, json } => {
            let list = client.get(&format!("/v1/functions/{name}/versions"))?;
            show_list(*json, &list, &HEADER, row);
        }
        Command::Show { name, json } => {
            let function: Value = client.get(&format!("/v1/functions/{name}"))?;
            if json.json {
                text::print_json(&function);
            } else {
                let fields = function.as_object().into_iter().flatten();
                let rows: Vec<Vec<String>> =
                    fields.map(|(name, _)| vec![name.clone(), field(&function, name)]).collect();
                text::print(&text::table(&["field", "value"], &rows));
            }
        }
        Command::Drain { name, json } => drain(client, name, *json)?,
        Command::Delete { name } => {
            client.act(Method::DELETE, &format!("/v1/functions/{name}"))?;
            text::print(&format!("{name} is deleted\n"));
        }
    }
    Ok(())
}

/// Each version with its executions that have not ended, the oldest version first.
fn drain(client: &Client, name: &str, json: Json) -> Result<(), Failed> {
    let function: Value = client.get(&format!("/v1/functions/{name}"))?;
    let latest = number(&function, "version");
    let mut held: BTreeMap<u64, (u64, Value)> = BTreeMap::new();
    let mut before = String::new();
    loop {
        let path = format!("/v1/executions?function={name}&open=true&limit={PAGE}{before}");
        let page: Value = client.get(&path)?;
        for execution in page["items"].as_array().into_iter().flatten() {
            // Newest first: the last one of a version is its oldest.
            let (count, oldest) = held.entry(number(execution, "version")).or_default();
            *count += 1;
            *oldest = execution.clone();
            before = format!("&before={}", field(execution, "id"));
        }
        if page["more"] != true {
            break;
        }
    }
    let items = held.into_iter().map(|(version, (executions, oldest))| {
        json!({
            "version": version,
            "latest": version == latest,
            "executions": executions,
            "oldest": oldest["id"],
            "oldest_created_ms": oldest["created_ms"],
            "oldest_waits": oldest["waits"],
        })
    });
    let list = json!({ "items": items.collect::<Vec<_>>(), "more": false });
    let header = [">version", "", ">executions", "oldest", "since (UTC)", "waits for"];
    show_list(json, &list, &header, |held| {
        vec![
            field(held, "version"),
            if held["latest"] == true { "latest".to_owned() } else { String::new() },
            field(held, "executions"),
            field(held, "oldest"),
            moment(held, "oldest_created_ms"),
            text::filtered(field(held, "oldest_waits").as_bytes()),
        ]
    });
    Ok(())
}

fn row(function: &Value) -> Vec<String> {
    let limit = std::time::Duration::from_millis(number(function, "timeout_ms"));
    vec![
        field(function, "name"),
        field(function, "version"),
        field(function, "runtime"),
        field(function, "class"),
        text::duration(limit),
        text::bytes(number(function, "code_bytes")),
        moment(function, "created_ms"),
    ]
}
