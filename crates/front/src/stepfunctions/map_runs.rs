//! Map runs: what a distributed Map state does with its items.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use asl::ask::End;
use model::{ExecutionId, limits};
use node::states::{MapRunChange, change_signal};
use node::{ExecutionStatus, RunFilter, Which};
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::executions::{find, find_kept, views};
use super::machines::listed;
use super::page::page;
use super::view::{Kept, View};
use super::{Answer, Call, Ctx};
use crate::outside::Described;

/// Executions that are looked through for the one that a map run belongs to.
const SEARCH_MAX: usize = 1_000;

/// One map run, as the history of its execution tells it.
struct MapRun {
    arn: String,
    started: f64,
    stopped: Option<f64>,
    status: &'static str,
    /// How often it was redriven.
    redrives: u32,
}

/// Map runs whose executions were shown lately.
#[derive(Default)]
pub(super) struct Known(Mutex<BTreeMap<String, String>>);

impl Known {
    fn owner(&self, arn: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(arn).cloned()
    }

    fn note(&self, execution: &str, runs: &[MapRun]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + runs.len() > limits::MAP_RUNS_KNOWN_MAX {
            known.clear();
        }
        known.extend(runs.iter().map(|run| (run.arn.clone(), execution.to_owned())));
    }
}

/// The machine and the label in an ARN (`…:mapRun:MACHINE/LABEL:UUID`).
fn read(arn: &str) -> Result<(&str, &str), AwsError> {
    let invalid = || AwsError::new("InvalidArn", format!("Invalid Arn: 'Invalid ARN: {arn}'"));
    let rest = arn.split_once(":mapRun:").ok_or_else(invalid)?.1;
    rest.split_once(':').ok_or_else(invalid)?.0.split_once('/').ok_or_else(invalid)
}

fn missing(arn: &str) -> AwsError {
    AwsError::new("ResourceNotFound", format!("Resource not found: '{arn}'"))
}

/// The map runs of an execution, in order.
async fn of(ctx: &Ctx, view: &View) -> Result<Vec<MapRun>, AwsError> {
    let mut runs: Vec<MapRun> = Vec::new();
    for event in view.history(ctx).await? {
        let at = event["timestamp"].as_f64();
        match event["type"].as_str().unwrap_or_default() {
            "MapRunStarted" => {
                let arn = event["mapRunStartedEventDetails"]["mapRunArn"].as_str();
                runs.push(MapRun {
                    arn: arn.unwrap_or_default().to_owned(),
                    started: at.unwrap_or_default(),
                    stopped: None,
                    status: "RUNNING",
                    redrives: 0,
                });
            }
            kind @ ("MapRunSucceeded" | "MapRunFailed") => {
                // Events of one state follow each other, so the oldest open one is meant.
                if let Some(run) = runs.iter_mut().find(|run| run.stopped.is_none()) {
                    run.stopped = at;
                    run.status = if kind == "MapRunSucceeded" { "SUCCEEDED" } else { "FAILED" };
                }
            }
            "MapRunRedriven" => {
                let arn = event["mapRunRedrivenEventDetails"]["mapRunArn"].as_str();
                if let Some(run) = runs.iter_mut().find(|run| Some(run.arn.as_str()) == arn) {
                    (run.stopped, run.status) = (None, "RUNNING");
                    run.redrives += 1;
                }
            }
            "ExecutionAborted" | "ExecutionFailed" | "ExecutionTimedOut" => {
                for run in runs.iter_mut().filter(|run| run.stopped.is_none()) {
                    run.stopped = at;
                    run.status = "ABORTED";
                }
            }
            _ => {}
        }
    }
    Ok(runs)
}

/// The execution that a map run belongs to, and the run.
async fn owner(ctx: &Ctx, arn: &str) -> Result<(View, MapRun), AwsError> {
    let (machine, _) = read(arn)?;
    // One that was shown lately is found without a search among its own children.
    if let Some(execution) = ctx.api.map_runs.owner(arn)
        && let Ok(view) = find(ctx, &execution).await
        && let Some(run) = of(ctx, &view).await?.into_iter().find(|run| run.arn == arn)
    {
        return Ok((view, run));
    }
    let machine_arn = ctx.api.place.machine(machine);
    let found = super::machines::find_in(ctx, &machine_arn).await.map_err(|error| {
        if error.code() == "StateMachineDoesNotExist" { missing(arn) } else { error }
    })?;
    let (function, _) = super::machines::pinned(ctx, &found.machine, &found.revision).await?;
    let filter = RunFilter { function: Some(function), ..RunFilter::default() };
    let (candidates, _) = views(ctx, filter, SEARCH_MAX, |view| view.map_run.is_none()).await?;
    for view in candidates {
        let runs = of(ctx, &view).await?;
        ctx.api.map_runs.note(&view.arn, &runs);
        if let Some(run) = runs.into_iter().find(|run| run.arn == arn) {
            return Ok((view, run));
        }
    }
    Err(missing(arn))
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    page::<()>(&call.params, Vec::new())?;
    let view = find_kept(call).await?;
    let runs = of(&call.ctx(), &view).await?;
    call.api.map_runs.note(&view.arn, &runs);
    let shown: Vec<Value> = runs
        .into_iter()
        .map(|run| {
            // The children have a machine of their own name: the Map state's label is part of it.
            let machine = read(&run.arn).map_or_else(
                |_| view.machine_name.clone(),
                |(machine, label)| format!("{machine}/{label}"),
            );
            let mut shown = json!({
                "executionArn": view.arn,
                "mapRunArn": run.arn,
                "stateMachineArn": call.place.machine(&machine),
                "startDate": run.started,
            });
            if let Some(at) = run.stopped {
                shown["stopDate"] = at.into();
            }
            shown
        })
        .collect();
    let (shown, next) = page(&call.params, shown)?;
    Ok(listed("mapRuns", shown, next))
}

pub(super) async fn describe(call: &Call<'_>) -> Answer {
    let ctx = call.ctx();
    let arn = call.params.required("mapRunArn")?;
    let (view, run) = owner(&ctx, arn).await?;
    let standing = standing(&view, arn);
    // What an execution last said of a run is not the run's end.
    let (items, executions) = match standing.filter(|_| run.stopped.is_none()) {
        Some(standing) => under_way(standing),
        None => of_children(&ctx, &view, &run, standing).await?,
    };
    let mut answer = Map::new();
    let mut put = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    put("mapRunArn", arn.into());
    put("executionArn", view.arn.clone().into());
    put("status", run.status.into());
    put("startDate", run.started.into());
    if let Some(at) = run.stopped {
        put("stopDate", at.into());
    }
    for limit in LIMITS {
        let known = standing.and_then(|standing| standing.get(limit)).cloned();
        put(limit, known.unwrap_or_else(|| 0.into()));
    }
    put("itemCounts", items.told());
    put("executionCounts", executions.told());
    put("redriveCount", run.redrives.into());
    Ok(answer)
}

/// Limits of a run.
const LIMITS: [&str; 3] = ["maxConcurrency", "toleratedFailureCount", "toleratedFailurePercentage"];

/// What its execution last said of a run.
fn standing<'v>(view: &'v View, arn: &str) -> Option<&'v Value> {
    let runs = ["mapRuns", "mapRunsEnded"].into_iter().filter_map(|name| view.standing.get(name));
    runs.filter_map(Value::as_array).flatten().find(|run| run["arn"] == arn)
}

/// How many there are of something, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    total: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    timed_out: u64,
    aborted: u64,
    written: u64,
}

impl Counts {
    /// So many more, with a child that has that status.
    const fn add(&mut self, status: &str, more: u64) {
        self.total += more;
        match status.as_bytes() {
            b"RUNNING" => self.running += more,
            b"SUCCEEDED" => self.succeeded += more,
            b"FAILED" => self.failed += more,
            b"TIMED_OUT" => self.timed_out += more,
            b"ABORTED" => self.aborted += more,
            _ => {}
        }
    }

    fn told(self) -> Value {
        let Self { total, running, succeeded, failed, timed_out, aborted, written } = self;
        let begun = running + succeeded + failed + timed_out + aborted;
        json!({
            "total": total,
            "pending": total.saturating_sub(begun),
            "running": running,
            "succeeded": succeeded,
            "failed": failed,
            "timedOut": timed_out,
            "aborted": aborted,
            "resultsWritten": written,
            "failuresNotRedrivable": 0,
            "pendingRedrive": 0,
        })
    }
}

/// Counts of items and of children of a run under way, as its execution knows them: its children need not
/// be looked at.
fn under_way(run: &Value) -> (Counts, Counts) {
    let counts = |total: &str, of: &Value| {
        let count = |name: &str| of[name].as_u64().unwrap_or_default();
        Counts {
            total: run[total].as_u64().unwrap_or_default(),
            running: count("running"),
            succeeded: count("succeeded"),
            failed: count("failed"),
            ..Counts::default()
        }
    };
    (counts("items", &run["itemsOf"]), counts("children", run))
}

/// What is told of the children of a run in the files of its results, by their numbers.
pub(super) async fn described(
    ctx: &Ctx,
    execution: ExecutionId,
    map_run: &str,
) -> Result<BTreeMap<u64, Described>, AwsError> {
    let filter = RunFilter { parent: Some(execution), ..RunFilter::default() };
    let of_run = |view: &View| view.map_run.as_deref() == Some(map_run) && view.index.is_some();
    let (children, _) = views(ctx, filter, usize::MAX - 1, of_run).await?;
    let now = ctx.handle.now();
    let described = children.into_iter().filter_map(|view| {
        let (redrive_status, reason) = super::redrives::status(&view, now, ctx.api.quotas);
        let (error, cause) = match view.end.as_ref().map(|(_, end)| end) {
            Some(End::Failed { error, cause } | End::Aborted { error, cause }) => {
                (error.clone(), cause.clone())
            }
            Some(End::Succeeded(_) | End::TimedOut) | None => (None, None),
        };
        let child = Described {
            machine: ctx.api.place.machine(&view.machine_name),
            status: view.status(),
            started: view.started,
            stopped: view.end.as_ref().map(|(at, _)| *at),
            redrives: view.redrives,
            redriven: view.begun_again,
            redrive_status,
            reason,
            error,
            cause,
            arn: view.arn,
            name: view.name,
        };
        Some((view.index?, child))
    });
    Ok(described.collect())
}

/// Counts of items and of children of a run that has ended.
async fn of_children(
    ctx: &Ctx,
    view: &View,
    run: &MapRun,
    standing: Option<&Value>,
) -> Result<(Counts, Counts), AwsError> {
    let Kept::Node(id, ..) = view.kept else { return Err(missing(&run.arn)) };
    let filter = RunFilter { parent: Some(id), ..RunFilter::default() };
    let of_run = |view: &View| view.map_run.as_deref() == Some(&run.arn);
    let (children, _) = views(ctx, filter, usize::MAX - 1, of_run).await?;
    let has_batches = has_batches(standing);
    let (mut items, mut executions) = (Counts::default(), Counts::default());
    for child in &children {
        executions.add(child.status(), 1);
        let size = if has_batches { batch(ctx, child).await? } else { 1 };
        items.add(child.status(), size);
    }
    if run.status == "SUCCEEDED" {
        (items.written, executions.written) = (items.total, executions.total);
    }
    Ok((items, executions))
}

/// Whether children of a run have several items.
fn has_batches(standing: Option<&Value>) -> bool {
    standing.is_some_and(|standing| standing["items"] != standing["children"])
}

/// How many items a child has.
async fn batch(ctx: &Ctx, child: &View) -> Result<u64, AwsError> {
    let Kept::Node(id, ..) = child.kept else { return Ok(1) };
    let run = ctx.handle.run(&ctx.who, &Which::Id(id)).await?;
    let input: Value = serde_json::from_slice(&run.input).unwrap_or_default();
    Ok(input["Items"].as_array().map_or(1, |items| items.len() as u64))
}

pub(super) async fn update(call: &Call<'_>) -> Answer {
    let arn = call.params.required("mapRunArn")?;
    let given = |name: &str| call.params.get(name);
    let change = MapRunChange {
        max_concurrency: given("maxConcurrency").and_then(Value::as_u64),
        tolerated_failure_count: given("toleratedFailureCount").and_then(Value::as_u64),
        tolerated_failure_percentage: given("toleratedFailurePercentage").and_then(Value::as_f64),
    };
    let (view, run) = owner(&call.ctx(), arn).await?;
    let Kept::Node(id, ..) = view.kept else { return Err(missing(arn)) };
    if run.stopped.is_some() {
        let message = format!("Map Run '{arn}' is {} and can no longer be updated", run.status);
        return Err(AwsError::validation(message).because("CANNOT_UPDATE_COMPLETED_MAP_RUN"));
    }
    let change = serde_json::to_vec(&change).expect("numbers are JSON").into();
    call.handle.signal(call.who, &Which::Id(id), change_signal(arn), change, None).await?;
    Ok(Map::new())
}

/// The children of a map run.
pub(super) async fn children(
    call: &Call<'_>,
    ctx: &Ctx,
    arn: &str,
    size: usize,
    before: Option<ExecutionId>,
) -> Answer {
    let (view, _) = owner(ctx, arn).await?;
    let view = find(ctx, &view.arn).await?;
    let has_batches = has_batches(standing(&view, arn));
    let redriven = call.params.text("redriveFilter")?.map(|filter| filter == "REDRIVEN");
    let Kept::Node(id, ..) = view.kept else { return Err(missing(arn)) };
    let wanted = call.params.text("statusFilter")?;
    let filter = RunFilter {
        parent: Some(id),
        open: wanted == Some("RUNNING"),
        status: (wanted == Some("SUCCEEDED")).then_some(ExecutionStatus::Succeeded),
        before,
        ..RunFilter::default()
    };
    let fits = |view: &View| {
        view.map_run.as_deref() == Some(arn)
            && wanted.is_none_or(|wanted| view.status() == wanted)
            && redriven.is_none_or(|redriven| (view.redrives > 0) == redriven)
    };
    let (views, next) = views(ctx, filter, size, fits).await?;
    let mut shown = Vec::with_capacity(views.len());
    for view in &views {
        let mut summary = view.summary(call.place);
        let items = if has_batches { batch(ctx, view).await? } else { 1 };
        summary.insert("itemCount".to_owned(), items.into());
        if let Some(at) = view.redriven_at(ctx).await? {
            summary.insert("redriveDate".to_owned(), at);
        }
        shown.push(Value::Object(summary));
    }
    Ok(listed("executions", shown, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_of_known_runs_all_are_forgotten_but_the_new_ones() {
        let run = |number: usize| MapRun {
            arn: format!("run-{number}"),
            started: 0.0,
            stopped: None,
            status: "RUNNING",
            redrives: 0,
        };
        let known = Known::default();
        let runs: Vec<MapRun> = (0..limits::MAP_RUNS_KNOWN_MAX).map(run).collect();
        known.note("first", &runs);
        let owner = |number| known.owner(&run(number).arn);
        assert_eq!(owner(0).as_deref(), Some("first"));
        assert_eq!(owner(limits::MAP_RUNS_KNOWN_MAX - 1).as_deref(), Some("first"));
        known.note("second", &[run(limits::MAP_RUNS_KNOWN_MAX)]);
        assert_eq!(owner(0), None);
        assert_eq!(owner(limits::MAP_RUNS_KNOWN_MAX).as_deref(), Some("second"));
    }
}
