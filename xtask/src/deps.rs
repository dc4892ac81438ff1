//! The edges between crates are a table in `docs/architecture.md`; any other edge is an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::command;

const TABLE: &str = "docs/architecture.md";

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Compares the workspace's edges with the table.
pub(crate) fn check() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(command::root().join(TABLE)).context(TABLE)?;
    let allowed = parse_table(&text);
    if allowed.is_empty() {
        bail!("{TABLE} has no table that begins `| crate | may use |`");
    }
    let metadata = command::output("cargo", ["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&metadata).context("parse cargo metadata")?;
    let problems = compare(&allowed, &edges(&metadata));
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\n")) }
}

/// Rows `| crate | a, b |` below the header; `–` is none.
fn parse_table(text: &str) -> Edges {
    let rows = text.lines().skip_while(|line| !line.starts_with("| crate | may use |")).skip(2);
    let mut edges = Edges::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, uses] = cells[..] else { continue };
        let plain = |text: &str| text.trim_matches('`').to_owned();
        let uses = uses.split(',').map(str::trim).filter(|name| *name != "–");
        edges.insert(plain(name), uses.map(plain).collect());
    }
    edges
}

/// Normal and build dependencies inside the workspace, by short name. Tests may use anything.
fn edges(metadata: &Value) -> Edges {
    let mut edges = Edges::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = short(package["name"].as_str().unwrap_or_default());
        let uses = edges.entry(name).or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if !dependency["path"].is_null() && dependency["kind"].as_str() != Some("dev") {
                uses.insert(short(dependency["name"].as_str().unwrap_or_default()));
            }
        }
    }
    edges
}

fn short(name: &str) -> String {
    name.strip_prefix("fermata-").unwrap_or(name).to_owned()
}

fn compare(allowed: &Edges, found: &Edges) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, uses) in found {
        let Some(may) = allowed.get(name) else {
            problems.push(format!("crate {name} is missing in the table of {TABLE}"));
            continue;
        };
        for other in uses.difference(may) {
            problems.push(format!("crate {name} must not use {other} ({TABLE})"));
        }
    }
    for name in allowed.keys().filter(|name| !found.contains_key(*name)) {
        problems.push(format!("{TABLE} names crate {name}, which is not there"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "x\n| crate | may use |\n|---|---|\n| `a` | – |\n| `b` | `a` |\n\nend";

    fn package(name: &str, uses: &[(&str, Value)]) -> Value {
        let dependency =
            |(name, kind): &(&str, Value)| json!({"name": name, "kind": kind, "path": "x"});
        json!({"name": name, "dependencies": uses.iter().map(dependency).collect::<Vec<_>>()})
    }

    #[test]
    fn an_edge_that_is_not_in_the_table_is_named() {
        let packages = [
            package("fermata-a", &[("fermata-b", Value::Null)]),
            package("fermata-b", &[("fermata-a", Value::Null), ("fermata-c", json!("dev"))]),
        ];
        let problems = compare(&parse_table(TEXT), &edges(&json!({"packages": packages})));
        assert_eq!(problems, ["crate a must not use b (docs/architecture.md)"]);
    }

    #[test]
    fn a_crate_that_is_only_on_one_side_is_named() {
        let packages = [package("fermata-a", &[]), package("new", &[])];
        let problems = compare(&parse_table(TEXT), &edges(&json!({"packages": packages})));
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("new") && problems[1].contains('b'), "{problems:?}");
    }
}
