//! `fermata dead-letters`.

use hyper::Method;
use serde_json::Value;

use super::{Json, field, moment, show_list};
use crate::client::{Client, Failed};
use crate::text;

/// Asynchronous calls that failed at their last attempt
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List them, newest first
    List {
        /// Only older ones than this
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        json: Json,
    },
    /// Queue one again, with a fresh count of attempts
    Redrive { id: String },
    /// Throw one away
    Delete { id: String },
}

pub(crate) fn run(client: &Client, command: &Command) -> Result<(), Failed> {
    match command {
        Command::List { before, limit, json } => {
            let before = before.as_ref().map(|id| format!("&before={id}")).unwrap_or_default();
            let list: Value = client.get(&format!("/v1/dead-letters?limit={limit}{before}"))?;
            let header = ["id", "function", "class", ">attempts", "died", "why"];
            show_list(*json, &list, &header, |letter| {
                let why = format!(
                    "{}: {}",
                    field(&letter["failure"], "code"),
                    field(&letter["failure"], "message")
                );
                vec![
                    field(letter, "id"),
                    field(letter, "function"),
                    field(letter, "class"),
                    field(letter, "attempts"),
                    moment(letter, "died_ms"),
                    text::filtered(why.as_bytes()),
                ]
            });
            Ok(())
        }
        Command::Redrive { id } => {
            client.act(Method::POST, &format!("/v1/dead-letters/{id}/redrive"))?;
            text::print(&format!("{id} is queued again\n"));
            Ok(())
        }
        Command::Delete { id } => {
            client.act(Method::DELETE, &format!("/v1/dead-letters/{id}"))?;
            text::print(&format!("{id} is gone\n"));
            Ok(())
        }
    }
}
