//! `fermata functions`.

use hyper::Method;
use serde_json::Value;

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
    /// Delete one with all its versions; its receipts stay
    Delete { name: String },
}

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
        Command::Delete { name } => {
            client.act(Method::DELETE, &format!("/v1/functions/{name}"))?;
            text::print(&format!("{name} is deleted\n"));
        }
    }
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
