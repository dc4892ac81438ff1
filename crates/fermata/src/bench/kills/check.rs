//! What must hold in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{CALLS, WAITER};
use crate::load::connection::{Connection, get};

const PAGE: usize = 999;

/// Waits for the end of every execution and counts everything.
pub(super) async fn all(
    address: SocketAddr,
    executions: usize,
    signals: usize,
) -> anyhow::Result<()> {
    let mut client = Client { address, connection: Connection::open(address).await? };
    let mut ids = BTreeSet::new();
    for number in 0..executions {
        let name = format!("k-{number}");
        client.text(&format!("/v1/executions/{name}/output")).await.context(name.clone())?;
        let execution = client.json(&format!("/v1/executions/{name}")).await?;
        ensure!(execution["status"] == "succeeded", "{name}: {execution}");
        let id = execution["id"].as_str().context("an execution has an id")?.to_owned();
        history(&mut client, &name).await.with_context(|| format!("the history of {name}"))?;
        ensure!(ids.insert(id), "{name} is another one's execution");
    }
    let told = client.text(&format!("/v1/executions/{WAITER}/output")).await?;
    let woken = told.lines().count();
    ensure!(woken == signals, "{signals} signals woke it {woken} times");
    let listed = client.pages("/v1/executions?function=chain").await?;
    ensure!(listed.len() == executions, "{executions} starts made {} executions", listed.len());
    receipts(&mut client, &ids).await?;
    bill(&mut client, executions).await
}

/// Each record once and in order, each call asked and answered once, and one end.
async fn history(client: &mut Client, name: &str) -> anyhow::Result<()> {
    let history = client.json(&format!("/v1/executions/{name}/history?limit={PAGE}")).await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (entry, seq) in history["items"].as_array().context("it is a list")?.iter().zip(1_u64..) {
        ensure!(entry["seq"] == seq, "record {seq} is {entry}");
        *counts.entry(entry["what"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let count = |what| counts.get(what).copied().unwrap_or(0);
    let whole = [count("started"), count("asked"), count("resolved"), count("ended")];
    ensure!(whole == [1, CALLS, CALLS, 1], "started, asked, resolved, ended: {whole:?}");
    Ok(())
}

/// Every execution has a receipt for each of its calls.
async fn receipts(client: &mut Client, ids: &BTreeSet<String>) -> anyhow::Result<()> {
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for receipt in client.pages("/v1/invocations?function=empty").await? {
        let caller = receipt["caller"].as_str().context("a call has a caller")?;
        *calls.entry(caller.replace("inv_", "exe_")).or_default() += 1;
    }
    for id in ids {
        let found = calls.get(id).copied().unwrap_or(0);
        ensure!(found == CALLS, "{id} has the receipts of {found} calls");
    }
    Ok(())
}

/// The sums have each call and each execution once.
async fn bill(client: &mut Client, executions: usize) -> anyhow::Result<()> {
    let bill = client.json("/v1/bill").await?;
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for row in bill["items"].as_array().context("the bill is a list")? {
        let function = row["function"].as_str().unwrap_or_default();
        *sums.entry(function).or_default() += row["invocations"].as_u64().unwrap_or(0);
    }
    let expected = [("empty", executions * CALLS), ("chain", executions)];
    for (function, expected) in expected {
        let billed = sums.get(function).copied().unwrap_or(0);
        ensure!(billed == u64::try_from(expected)?, "{function}: {billed} billed, not {expected}");
    }
    Ok(())
}

struct Client {
    address: SocketAddr,
    connection: Connection,
}

impl Client {
    async fn text(&mut self, path: &str) -> anyhow::Result<String> {
        let answer = self.connection.send(get(self.address, path)).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if !answer.status.is_success() {
            bail!("{path}: {}: {text}", answer.status);
        }
        Ok(text)
    }

    async fn json(&mut self, path: &str) -> anyhow::Result<Value> {
        let text = self.text(path).await?;
        serde_json::from_str(&text).with_context(|| format!("read {path}"))
    }

    /// Every item of a list that comes in pages, the newest first.
    async fn pages(&mut self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let before = all.last().and_then(|last| last["id"].as_str());
            let before = before.map_or_else(String::new, |id| format!("&before={id}"));
            let page = self.json(&format!("{path}&limit={PAGE}{before}")).await?;
            all.extend(page["items"].as_array().context("it is a list")?.iter().cloned());
            if page["more"] != true {
                return Ok(all);
            }
        }
    }
}
