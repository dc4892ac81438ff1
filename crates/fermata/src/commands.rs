//! The commands that speak to a server, one file each.

pub(crate) mod bill;
pub(crate) mod dead_letters;
pub(crate) mod deploy;
pub(crate) mod executions;
pub(crate) mod functions;
pub(crate) mod invocations;
pub(crate) mod invoke;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod nodes;
mod package;
pub(crate) mod prices;
mod python;
pub(crate) mod store;
pub(crate) mod tenants;
pub(crate) mod top;

use std::time::Duration;

use serde_json::Value;

use crate::text;

/// Prints the answer as JSON.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints a list: as JSON as it came, or as a table of the rows that `row` makes.
fn show_list(json: Json, list: &Value, header: &[&str], row: impl Fn(&Value) -> Vec<String>) {
    if json.json {
        text::print_json(list);
        return;
    }
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    text::print(&text::table(header, &rows));
    if list["more"].as_bool() == Some(true) {
        text::print("(there are more; see --before and --limit)\n");
    }
}

/// A field as text; absent is nothing.
fn field(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn micros(value: &Value, name: &str) -> String {
    text::duration(Duration::from_micros(number(value, name)))
}

fn nanos(value: &Value, name: &str) -> String {
    text::duration(Duration::from_nanos(number(value, name)))
}

fn moment(value: &Value, name: &str) -> String {
    value[name].as_u64().map(text::moment).unwrap_or_default()
}
