//! Map states whose items are child executions of their own.

use std::collections::BTreeMap;

use model::suspend::OpId;
use serde_json::{Value, json};

use super::branch::{BranchId, Phase};
use super::flow::Sees;
use super::map::{Item, STATE_DATA, Source};
use super::recover::Failure;
use super::results::Results;
use super::{Machine, Role, Turn, World};
use crate::ask::{Ask, ChildAsk, ChildResult, Failed, ItemsFound, ReadAsk, WriteAsk};
use crate::definition::{Batcher, Distributed, Kind, Map, Reader, State, Writer};
use crate::document::Document;
use crate::env::{ErrorName, EvalError};
use crate::history::{Details, EventKind};
use crate::written::written;

/// A map run under way.
#[derive(Debug)]
pub(super) struct MapRunPhase {
    pub(super) arn: String,
    pub(super) label: String,
    /// An array, once it was read.
    pub(super) items: Document,
    pub(super) source: Source,
    /// Where the items were read from, as in [`ItemsFound`]; none of those of the state's input.
    pub(super) places: Document,
    pub(super) effective: Document,
    /// For each child the first item that is not its any more; none without batches.
    pub(super) batches: Option<Vec<u32>>,
    pub(super) children: usize,
    pub(super) next: usize,
    pub(super) running: BTreeMap<OpId, u32>,
    pub(super) concurrency: usize,
    pub(super) results: Results,
    pub(super) failures: BTreeMap<u32, Failed>,
    pub(super) failed: u64,
    pub(super) tolerated_count: Option<u64>,
    pub(super) tolerated_percentage: Option<f64>,
}

/// What a map run is about.
struct Run<'d> {
    state: &'d State,
    map: &'d Map,
    distributed: &'d Distributed,
}

/// How far a map run is.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRunProgress {
    /// Which one.
    pub arn: String,
    /// Its items; 0 while they are read.
    pub items: usize,
    /// Children, those that have not begun too.
    pub children: usize,
    /// Children under way.
    pub running: usize,
    /// Children that succeeded.
    pub succeeded: usize,
    /// Children that did not.
    pub failed: usize,
    /// Items of those under way, of those that succeeded and of those that did not: more than there are
    /// children, where they are put together.
    pub items_of: [usize; 3],
    /// Children that may run at the same time; 0 is as many as can.
    pub max_concurrency: usize,
    /// Children that may fail.
    pub tolerated_count: Option<u64>,
    /// Of a hundred children, how many may fail.
    pub tolerated_percentage: Option<f64>,
}

/// Other limits for a map run under way. What is not named stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunChange {
    /// Children that may run at the same time; 0 is as many as can.
    pub max_concurrency: Option<u64>,
    /// Children that may fail.
    pub tolerated_count: Option<u64>,
    /// Of a hundred children, how many may fail.
    pub tolerated_percentage: Option<f64>,
}

/// Failures whose words are kept for a `ResultWriter`.
const FAILURES_KEPT: usize = 10_000;

impl Machine {
    /// How far the map runs under way are.
    pub fn map_runs(&self) -> impl Iterator<Item = MapRunProgress> + '_ {
        let limit = self.settings.distributed_concurrency_max;
        self.branches.values().filter_map(move |branch| match &branch.phase {
            Phase::MapRun(phase) => Some(phase.progress(limit)),
            _ => None,
        })
    }

    /// Gives a map run under way other limits. Children that run go on, however many they are.
    pub fn change_run(&mut self, arn: &str, change: RunChange, world: &World<'_>) -> Turn {
        self.now = world.now;
        self.transitions = 0;
        let found = self.branches.iter().find_map(|(id, branch)| match &branch.phase {
            Phase::MapRun(phase) if phase.arn == arn => Some(*id),
            _ => None,
        });
        if let Some(id) = found {
            self.change_limits(id, change);
        }
        self.run(world);
        self.finish()
    }

    fn change_limits(&mut self, id: BranchId, change: RunChange) {
        let limit = self.settings.distributed_concurrency_max;
        let definition = std::sync::Arc::clone(&self.definition);
        let Some(run) = run_of(&definition, self, id) else { return };
        let Phase::MapRun(phase) = &mut self.branch_mut(id).phase else { return };
        let RunChange { max_concurrency, tolerated_count, tolerated_percentage } = change;
        if let Some(wanted) = max_concurrency {
            phase.concurrency = match usize::try_from(wanted) {
                Ok(wanted @ 1..) => wanted.min(limit),
                _ => limit,
            };
        }
        phase.tolerated_count = tolerated_count.or(phase.tolerated_count);
        phase.tolerated_percentage = tolerated_percentage.or(phase.tolerated_percentage);
        // Before its items are read, and while its results are written, nothing follows.
        if !phase.running.is_empty() {
            self.go_on(id, &run);
        }
    }

    /// After a child ended, or limits changed: the run fails, or more children begin.
    fn go_on(&mut self, id: BranchId, run: &Run<'_>) {
        let Phase::MapRun(phase) = &self.branch(id).phase else { return };
        if phase.exceeds_tolerance() {
            let cause = "The specified tolerated failure threshold was exceeded".to_owned();
            let failure = Failure::of(ErrorName::ExceedToleratedFailureThreshold, cause);
            return self.run_failed(id, failure);
        }
        self.begin_more(id, run);
    }

    /// Begins children, as many as may run at the same time.
    fn begin_more(&mut self, id: BranchId, run: &Run<'_>) {
        loop {
            let Phase::MapRun(phase) = &self.branch(id).phase else { return };
            let is_full = phase.running.len() >= phase.concurrency;
            if is_full || phase.next >= phase.children || !self.begin_child(id, run) {
                return;
            }
        }
    }

    /// Asks for the items of a run.
    pub(super) fn begin_reading(
        &mut self,
        id: BranchId,
        state: &State,
        map: &Map,
        reader: &Reader,
        effective: Document,
    ) {
        self.note(id, EventKind::MapStateStarted, Details::new().with("length", 0));
        let ask = self.read_ask(id, state, reader, &effective);
        let (ask, phase) = match (ask, self.new_run(id, map, effective)) {
            (Ok(ask), Ok(phase)) => (ask, phase),
            (Err(error), _) | (_, Err(error)) => return self.broke(id, error),
        };
        self.note_run_started(id, phase);
        self.ask(Some(id), Role::Read, Ask::Read(Box::new(ask)));
    }

    /// Begins a run whose items are here.
    pub(super) fn begin_run(
        &mut self,
        id: BranchId,
        map: &Map,
        effective: Document,
        (items, source): (Document, Source),
    ) {
        let mut phase = match self.new_run(id, map, effective) {
            Ok(phase) => phase,
            Err(error) => return self.broke(id, error),
        };
        phase.items = items;
        phase.source = source;
        self.note_run_started(id, phase);
        self.begin_children(id);
    }

    fn note_run_started(&mut self, id: BranchId, phase: MapRunPhase) {
        let details = Details::new().with("mapRunArn", phase.arn.clone());
        self.branch_mut(id).phase = Phase::MapRun(Box::new(phase));
        self.note(id, EventKind::MapRunStarted, details);
    }

    fn new_run(
        &mut self,
        id: BranchId,
        map: &Map,
        effective: Document,
    ) -> Result<MapRunPhase, EvalError> {
        let limit = self.settings.distributed_concurrency_max;
        let concurrency = self.concurrency(id, map, &effective, limit)?;
        let tolerated_count = match &map.tolerated_count {
            None => None,
            Some(dynamic) => {
                Some(self.count_field(id, "ToleratedFailureCount", dynamic, effective.value())?)
            }
        };
        let tolerated_percentage = match &map.tolerated_percentage {
            None => None,
            Some(dynamic) => Some(self.percentage_field(id, dynamic, effective.value())?),
        };
        self.inspect(|inspection| {
            inspection.tolerated_failure_count = tolerated_count;
            inspection.tolerated_failure_percentage = tolerated_percentage;
        });
        let label = map.distributed.as_ref().and_then(|distributed| distributed.label.clone());
        let label = label.unwrap_or_else(|| self.random.uuid());
        let run = self.random.uuid();
        let arn = format!("{}/{label}:{run}", self.facts.machine_arn).replacen(
            ":stateMachine:",
            ":mapRun:",
            1,
        );
        Ok(MapRunPhase {
            arn,
            label,
            items: json!([]).into(),
            source: Source::Array,
            places: json!([]).into(),
            effective,
            batches: None,
            children: 0,
            next: 0,
            running: BTreeMap::new(),
            concurrency,
            results: Results::default(),
            failures: BTreeMap::new(),
            failed: 0,
            tolerated_count,
            tolerated_percentage,
        })
    }

    fn read_ask(
        &self,
        id: BranchId,
        state: &State,
        reader: &Reader,
        effective: &Document,
    ) -> Result<ReadAsk, EvalError> {
        let sees = Sees { input: Some(effective.value()), ..Sees::default() };
        let arguments = match &reader.arguments {
            None => json!({}),
            Some(wanted) => {
                self.fill(id, state.language, wanted, "ItemReader", sees)?.value().clone()
            }
        };
        let max_items = match &reader.max_items {
            None => None,
            Some(dynamic) => Some(self.count_field(id, "MaxItems", dynamic, effective.value())?),
        };
        Ok(ReadAsk {
            role: self.facts.role_arn.clone(),
            resource: reader.resource.clone(),
            arguments,
            format: reader.format,
            csv_headers: reader.csv_headers.clone(),
            csv_delimiter: reader.csv_delimiter,
            // None and 0 are no bound.
            max_items: max_items.filter(|max| *max > 0),
            items_pointer: reader.items_pointer.clone(),
            manifest_type: reader.manifest_type.clone(),
            transformation: reader.transformation.clone(),
        })
    }

    pub(super) fn items_read(&mut self, id: BranchId, found: Result<ItemsFound, Failed>) {
        let found = match found {
            Ok(found) if found.items.value().is_array() => found,
            Ok(_) => {
                let cause = "Attempting to map over non-iterable node.".to_owned();
                return self.run_failed(id, Failure::of(ErrorName::ItemReaderFailed, cause));
            }
            Err(failed) => return self.run_failed(id, failed.into()),
        };
        if let Phase::MapRun(phase) = &mut self.branch_mut(id).phase {
            phase.items = found.items;
            phase.places = found.places;
        }
        self.begin_children(id);
    }

    fn begin_children(&mut self, id: BranchId) {
        let definition = std::sync::Arc::clone(&self.definition);
        let Some(run) = run_of(&definition, self, id) else { return };
        let Phase::MapRun(phase) = &self.branch(id).phase else { return };
        let effective = phase.effective.clone();
        let count = phase.items.value().as_array().map_or(0, Vec::len);
        let batches = match &run.distributed.batcher {
            None => None,
            Some(batcher) => match self.batches(id, &run, batcher, count, &effective) {
                Ok(batches) => Some(batches),
                Err(error) => return self.broke(id, error),
            },
        };
        let children = batches.as_ref().map_or(count, Vec::len);
        let Phase::MapRun(phase) = &mut self.branch_mut(id).phase else { return };
        phase.batches = batches;
        phase.children = children;
        phase.results = Results::new(children);
        if self.is_tried(id) {
            let shown = self.inspect_run(id, &run);
            return shown.unwrap_or_else(|error| self.broke(id, error));
        }
        if children == 0 {
            self.children_ended(id);
        } else {
            self.begin_more(id, &run);
        }
    }

    fn inspect_run(&mut self, id: BranchId, run: &Run<'_>) -> Result<(), EvalError> {
        let Phase::MapRun(phase) = &self.branch(id).phase else { return Ok(()) };
        let items = phase.items.clone();
        let mut inputs = Vec::new();
        for at in 0..items.value().as_array().map_or(0, Vec::len) {
            let item = phase.item(at);
            let input = self.item_input(id, run.state, run.map, &phase.effective, item)?;
            inputs.push(input.into_value());
        }
        let mut batches = Vec::new();
        for index in 0..phase.batches.as_ref().map_or(0, Vec::len) {
            batches.push(self.child_input(id, run, index)?.into_value());
        }
        let has_pointer =
            run.distributed.reader.as_ref().is_some_and(|reader| reader.items_pointer.is_some());
        self.inspect_selected(run.map, inputs);
        self.inspect(|seen| {
            seen.after_items_pointer = has_pointer.then_some(items);
            seen.after_item_batcher =
                run.distributed.batcher.as_ref().map(|_| Value::Array(batches).into());
        });
        Ok(())
    }

    /// Where each batch ends. It is as large as its child's input is, with all that stands around the items;
    /// one item is a batch, however large.
    fn batches(
        &self,
        id: BranchId,
        run: &Run<'_>,
        batcher: &Batcher,
        items: usize,
        effective: &Document,
    ) -> Result<Vec<u32>, EvalError> {
        let limit = |field: &str, dynamic: Option<&_>| match dynamic {
            None => Ok(u64::MAX),
            Some(dynamic) => self.count_field(id, field, dynamic, effective.value()),
        };
        let items_max = limit("MaxItemsPerBatch", batcher.max_items.as_ref())?.max(1);
        let bytes_max = limit("MaxInputBytesPerBatch", batcher.max_bytes.as_ref())?;
        let bytes_max = bytes_max.min(self.settings.data_bytes_max as u64);
        let around = self.batch(id, run, &[])?.text().len() as u64;
        let mut ends = Vec::new();
        let (mut in_batch, mut bytes) = (0u64, around);
        let count = u32::try_from(items).unwrap_or(u32::MAX);
        for index in 0..count {
            let Phase::MapRun(phase) = &self.branch(id).phase else { break };
            let item = phase.item(index as usize);
            let input = self.item_input(id, run.state, run.map, effective, item)?;
            let size = input.text().len() as u64;
            let is_full = in_batch >= items_max || bytes.saturating_add(size + 1) > bytes_max;
            if in_batch > 0 && is_full {
                ends.push(index);
                (in_batch, bytes) = (0, around);
            }
            bytes += size + u64::from(in_batch > 0);
            in_batch += 1;
        }
        if in_batch > 0 {
            ends.push(count);
        }
        Ok(ends)
    }

    fn child_input(
        &self,
        id: BranchId,
        run: &Run<'_>,
        index: usize,
    ) -> Result<Document, EvalError> {
        let Phase::MapRun(phase) = &self.branch(id).phase else { return Ok(json!(null).into()) };
        let input =
            |at: usize| self.item_input(id, run.state, run.map, &phase.effective, phase.item(at));
        let Some(ends) = &phase.batches else { return input(index) };
        let begin = index.checked_sub(1).map_or(0, |before| ends[before] as usize);
        let mut items = Vec::new();
        for at in begin..ends[index] as usize {
            items.push(input(at)?.value().clone());
        }
        self.batch(id, run, &items)
    }

    /// Items that are put together, and what they have in common.
    fn batch(&self, id: BranchId, run: &Run<'_>, items: &[Value]) -> Result<Document, EvalError> {
        let Phase::MapRun(phase) = &self.branch(id).phase else { return Ok(json!(null).into()) };
        let mut batch = json!({ "Items": items });
        if let Some(wanted) =
            run.distributed.batcher.as_ref().and_then(|batcher| batcher.batch_input.as_ref())
        {
            let sees = Sees { input: Some(phase.effective.value()), ..Sees::default() };
            let filled =
                self.fill(id, run.state.language, wanted, "ItemBatcher/BatchInput", sees)?;
            batch["BatchInput"] = filled.value().clone();
        }
        Ok(batch.into())
    }

    /// Whether the run goes on.
    fn begin_child(&mut self, id: BranchId, run: &Run<'_>) -> bool {
        let Phase::MapRun(phase) = &self.branch(id).phase else { return false };
        let index = phase.next;
        let input = match self.child_input(id, run, index) {
            Ok(input) => input,
            Err(error) => {
                self.drop_children(id);
                self.broke(id, error);
                return false;
            }
        };
        let Phase::MapRun(phase) = &self.branch(id).phase else { return false };
        let slot = u32::try_from(index).unwrap_or(u32::MAX);
        let ask = ChildAsk {
            map_run: phase.arn.clone(),
            label: phase.label.clone(),
            index: index as u64,
            chart: run.map.processor,
            machine_type: run.distributed.child_type,
            input,
        };
        let op = self.ask(Some(id), Role::Child(slot), Ask::Child(Box::new(ask)));
        if let Phase::MapRun(phase) = &mut self.branch_mut(id).phase {
            phase.next += 1;
            phase.running.insert(op, slot);
        }
        true
    }

    pub(super) fn child_ended(
        &mut self,
        id: BranchId,
        op: OpId,
        index: u32,
        outcome: Result<Document, Failed>,
    ) {
        let definition = std::sync::Arc::clone(&self.definition);
        let Some(run) = run_of(&definition, self, id) else { return };
        let keeps_failures = run.distributed.writer.is_some();
        let Phase::MapRun(phase) = &mut self.branch_mut(id).phase else { return };
        phase.running.remove(&op);
        match outcome {
            Ok(output) => phase.results.set(index as usize, Some(&output)),
            Err(failed) => {
                phase.results.set(index as usize, None);
                phase.failed += 1;
                if keeps_failures && phase.failures.len() < FAILURES_KEPT {
                    phase.failures.insert(index, failed);
                }
            }
        }
        if phase.results.missing == 0 && !phase.exceeds_tolerance() {
            self.children_ended(id);
        } else {
            self.go_on(id, &run);
        }
    }

    fn children_ended(&mut self, id: BranchId) {
        let definition = std::sync::Arc::clone(&self.definition);
        let Some(run) = run_of(&definition, self, id) else { return };
        match &run.distributed.writer {
            Some(writer) if writer.resource.is_some() => match self.write_ask(id, &run, writer) {
                Ok(ask) => {
                    self.ask(Some(id), Role::Write, Ask::Write(Box::new(ask)));
                }
                Err(error) => self.broke(id, error),
            },
            writer => {
                let Phase::MapRun(phase) = &self.branch(id).phase else { return };
                let result = phase.results.to_array();
                let flat = writer.as_ref().and_then(|writer| writer.transformation.as_deref());
                let result = if flat == Some("FLATTEN") { flattened(&result) } else { result };
                self.run_succeeded(id, result);
            }
        }
    }

    fn write_ask(
        &self,
        id: BranchId,
        run: &Run<'_>,
        writer: &Writer,
    ) -> Result<WriteAsk, EvalError> {
        let Phase::MapRun(phase) = &self.branch(id).phase else {
            unreachable!("results are written at the end of a map run")
        };
        let sees = Sees { input: Some(phase.effective.value()), ..Sees::default() };
        let arguments = match &writer.arguments {
            None => json!({}),
            Some(wanted) => {
                self.fill(id, run.state.language, wanted, "ResultWriter", sees)?.value().clone()
            }
        };
        let mut results = Vec::with_capacity(phase.children);
        for index in 0..phase.children {
            let input = self.child_input(id, run, index)?.text().to_owned();
            let outcome = match phase.results.get(index) {
                Some(output) => Ok(written(output)),
                None => {
                    let slot = u32::try_from(index).unwrap_or(u32::MAX);
                    Err(phase.failures.get(&slot).cloned().unwrap_or_else(|| Failed {
                        error: ErrorName::TaskFailed.as_str().to_owned(),
                        cause: None,
                    }))
                }
            };
            results.push(ChildResult { input, outcome });
        }
        Ok(WriteAsk {
            role: self.facts.role_arn.clone(),
            map_run: phase.arn.clone(),
            arguments,
            transformation: writer.transformation.clone(),
            output_type: writer.output_type.clone(),
            machine_type: run.distributed.child_type,
            results,
        })
    }

    pub(super) fn results_written(&mut self, id: BranchId, outcome: Result<Document, Failed>) {
        match outcome {
            Ok(result) => self.run_succeeded(id, result),
            Err(failed) => self.run_failed(id, failed.into()),
        }
    }

    fn run_succeeded(&mut self, id: BranchId, result: Document) {
        self.note(id, EventKind::MapRunSucceeded, Details::new());
        self.note_aside(id, EventKind::MapStateSucceeded, Details::new());
        self.map_result(id, result);
    }

    fn run_failed(&mut self, id: BranchId, failure: Failure) {
        self.drop_children(id);
        let details = Details::new()
            .maybe("error", failure.error.clone())
            .maybe("cause", failure.cause.clone());
        self.note(id, EventKind::MapRunFailed, details);
        self.failed(id, failure);
    }

    fn drop_children(&mut self, id: BranchId) {
        let Phase::MapRun(phase) = &mut self.branch_mut(id).phase else { return };
        for op in std::mem::take(&mut phase.running).into_keys() {
            self.drop_op(op);
        }
    }
}

impl MapRunPhase {
    /// One of the items, and where it was found.
    fn item(&self, at: usize) -> Item<'_> {
        let places = self.places.value().as_array().map_or(&[][..], Vec::as_slice);
        let begins = |place: &Value| place[0].as_u64().is_some_and(|first| first <= at as u64);
        let found = places.partition_point(begins).checked_sub(1).map(|last| &places[last]);
        let are_fields = found.is_some_and(|place| place[2] == true);
        Item {
            index: u32::try_from(at).unwrap_or(u32::MAX),
            whole: &self.items.value()[at],
            of: if are_fields { Source::Object } else { self.source },
            place: found.and_then(|place| place[1].as_str()).unwrap_or(STATE_DATA),
        }
    }

    fn progress(&self, limit: usize) -> MapRunProgress {
        let ended = self.next - self.running.len();
        let failed = usize::try_from(self.failed).unwrap_or(usize::MAX);
        MapRunProgress {
            arn: self.arn.clone(),
            items: self.items.value().as_array().map_or(0, Vec::len),
            children: self.children,
            running: self.running.len(),
            succeeded: ended.saturating_sub(failed),
            failed,
            items_of: self.items_of([self.running.len(), ended.saturating_sub(failed), failed]),
            max_concurrency: if self.concurrency == limit { 0 } else { self.concurrency },
            tolerated_count: self.tolerated_count,
            tolerated_percentage: self.tolerated_percentage,
        }
    }

    /// Items of so many children that run, succeeded and failed.
    fn items_of(&self, children: [usize; 3]) -> [usize; 3] {
        let Some(ends) = &self.batches else { return children };
        let size = |index: usize| {
            let begin = index.checked_sub(1).map_or(0, |before| ends[before]);
            ends[index].saturating_sub(begin) as usize
        };
        let running = self.running.values().map(|index| size(*index as usize)).sum();
        let under_way = |index: &usize| self.running.values().any(|at| *at as usize == *index);
        // Few fail, and only then each child is looked at.
        let failed = if self.failed == 0 {
            0
        } else {
            let ended = (0..self.next).filter(|index| self.results.get(*index).is_none());
            ended.filter(|index| !under_way(index)).map(size).sum()
        };
        let begun = self.next.checked_sub(1).map_or(0, |last| ends[last] as usize);
        [running, begun.saturating_sub(running + failed), failed]
    }

    fn exceeds_tolerance(&self) -> bool {
        if self.failed == 0 {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let percentage = self.failed as f64 * 100.0 / self.children.max(1) as f64;
        match (self.tolerated_count, self.tolerated_percentage) {
            (None, None) => true,
            (count, limit) => {
                count.is_some_and(|count| self.failed > count)
                    || limit.is_some_and(|limit| percentage > limit)
            }
        }
    }
}

/// Results that are lists, as one list.
fn flattened(results: &Document) -> Document {
    let mut flat = Vec::new();
    for result in results.value().as_array().into_iter().flatten() {
        match result.as_array() {
            Some(items) => flat.extend(items.iter().cloned()),
            None => flat.push(result.clone()),
        }
    }
    Value::Array(flat).into()
}

fn run_of<'d>(
    definition: &'d crate::definition::Definition,
    machine: &Machine,
    id: BranchId,
) -> Option<Run<'d>> {
    let branch = machine.branch(id);
    let state = definition.state(branch.chart, branch.state);
    let Kind::Map(map) = &state.kind else { return None };
    let distributed = map.distributed.as_deref()?;
    Some(Run { state, map, distributed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_tolerance_fails_with_its_first_child() {
        let phase = |failed, count, percentage| MapRunPhase {
            arn: String::new(),
            label: String::new(),
            items: Value::Null.into(),
            source: Source::Array,
            places: Value::Null.into(),
            effective: Value::Null.into(),
            batches: None,
            children: 10,
            next: 0,
            running: BTreeMap::new(),
            concurrency: 1,
            results: Results::default(),
            failures: BTreeMap::new(),
            failed,
            tolerated_count: count,
            tolerated_percentage: percentage,
        };
        assert!(!phase(0, None, None).exceeds_tolerance());
        assert!(phase(1, None, None).exceeds_tolerance());
        assert!(!phase(2, Some(2), None).exceeds_tolerance());
        assert!(phase(3, Some(2), None).exceeds_tolerance());
        assert!(!phase(3, None, Some(30.0)).exceeds_tolerance());
        assert!(phase(4, None, Some(30.0)).exceeds_tolerance());
    }
}
