//! Map states, and their iterations where they are inline.

use serde_json::Value;

use super::Machine;
use super::branch::{BranchId, Phase};
use super::fields::Wanted;
use super::flow::{Sees, runtime};
use super::results::Results;
use crate::definition::{Items, Kind, Language, Map, State};
use crate::document::Document;
use crate::env::{ErrorName, EvalError};
use crate::history::{Details, EventKind};
use crate::jsonata;

/// Iterations under way.
#[derive(Debug)]
pub(super) struct MapPhase {
    /// An array.
    pub(super) items: Document,
    /// What `$` is in an item selector.
    pub(super) effective: Document,
    /// The first item that was not begun.
    pub(super) next: usize,
    pub(super) running: usize,
    pub(super) concurrency: usize,
    pub(super) results: Results,
}

impl Machine {
    pub(super) fn begin_map(&mut self, id: BranchId, state: &State, map: &Map) {
        let effective = match self.effective_input(id, state) {
            Ok(effective) => effective,
            Err(error) => return self.broke(id, error),
        };
        let reader = map.distributed.as_ref().and_then(|distributed| distributed.reader.as_ref());
        if let Some(reader) = reader {
            self.begin_reading(id, state, map, reader, effective);
            return;
        }
        let items = match self.items(id, state, map, &effective) {
            Ok(items) => items,
            Err(error) => return self.broke(id, error),
        };
        let length = items.value().as_array().map_or(0, Vec::len);
        self.note(id, EventKind::MapStateStarted, Details::new().with("length", length));
        if map.distributed.is_some() {
            self.begin_run(id, state, map, effective, items);
            return;
        }
        let limit = self.settings.inline_concurrency_max;
        let concurrency = match self.concurrency(id, map, &effective, limit) {
            Ok(concurrency) => concurrency,
            Err(error) => return self.broke(id, error),
        };
        let phase = MapPhase {
            items,
            effective,
            next: 0,
            running: 0,
            concurrency,
            results: Results::new(length),
        };
        self.branch_mut(id).phase = Phase::Map(Box::new(phase));
        if length == 0 {
            self.map_succeeded(id);
            return;
        }
        let started = self.branch(id).previous;
        for _ in 0..concurrency.min(length) {
            self.begin_iteration(id, started);
        }
    }

    /// How many iterations run at the same time.
    pub(super) fn concurrency(
        &mut self,
        id: BranchId,
        map: &Map,
        effective: &Document,
        limit: usize,
    ) -> Result<usize, EvalError> {
        let wanted = match &map.max_concurrency {
            None => 0,
            Some(dynamic) => self.count_field(id, "MaxConcurrency", dynamic, effective.value())?,
        };
        self.inspect(|inspection| inspection.max_concurrency = Some(wanted));
        match usize::try_from(wanted) {
            Ok(wanted @ 1..) => Ok(wanted.min(limit)),
            _ => Ok(limit),
        }
    }

    fn items(
        &mut self,
        id: BranchId,
        state: &State,
        map: &Map,
        effective: &Document,
    ) -> Result<Document, EvalError> {
        match &map.items {
            Some(Items::Path(path)) => {
                let sees = Sees { input: Some(effective.value()), ..Sees::default() };
                let items = self.with_env(id, sees, |env| path.query(env)).map(Document::new)?;
                self.inspect(|inspection| inspection.after_items_path = Some(items.clone()));
                if items.value().is_array() {
                    return Ok(items);
                }
                let shown = path.as_str().replacen("$$", "$", 1);
                Err(runtime(format!("Reference path \"{shown}\" must point to array.")))
            }
            Some(Items::Template(Value::String(text))) => {
                let source = jsonata::unwrap(text).unwrap_or(text);
                self.query_of(id, "Items", source, Wanted::Array, Sees::default())
                    .map(Document::new)
            }
            Some(Items::Template(items)) => {
                self.fill(id, Language::Jsonata, items, "Items", Sees::default())
            }
            None if effective.value().is_array() => Ok(effective.clone()),
            None => match state.language {
                Language::Jsonata => Err(EvalError::new(
                    ErrorName::QueryEvaluationError,
                    format!("Map state input must be an array but was: {}", effective.text()),
                )),
                Language::JsonPath => Err(runtime("Reference path \"$\" must point to array.")),
            },
        }
    }

    /// What one iteration works on.
    pub(super) fn item_input(
        &self,
        id: BranchId,
        state: &State,
        map: &Map,
        effective: &Document,
        item: (u32, &Value),
    ) -> Result<Document, EvalError> {
        let Some(selector) = &map.item_selector else { return Ok(item.1.clone().into()) };
        let sees = Sees { input: Some(effective.value()), item: Some(item), ..Sees::default() };
        self.fill(id, state.language, selector, map.selector_field, sees)
    }

    fn begin_iteration(&mut self, id: BranchId, previous: u64) {
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch_mut(id);
        let state = definition.state(branch.chart, branch.state);
        let (Phase::Map(phase), Kind::Map(map)) = (&mut branch.phase, &state.kind) else { return };
        let index = phase.next;
        phase.next += 1;
        phase.running += 1;
        let (items, effective) = (phase.items.clone(), phase.effective.clone());
        let slot = u32::try_from(index).unwrap_or(u32::MAX);
        let item = &items.value()[index];
        let input = match self.item_input(id, state, map, &effective, (slot, item)) {
            Ok(input) => input,
            Err(error) => return self.broke(id, error),
        };
        let details = self.iteration_details(id, slot);
        let started = self.record(previous, EventKind::MapIterationStarted, details);
        let child = self.add_branch(Some((id, slot)), map.processor, input, started);
        self.branch_mut(child).item = Some((slot, item.clone().into()));
    }

    pub(super) fn iteration_details(&self, id: BranchId, slot: u32) -> Details {
        let branch = self.branch(id);
        let name = self.definition.state(branch.chart, branch.state).name.clone();
        Details::new().with("name", name).with("index", slot)
    }

    pub(super) fn iteration_ended(
        &mut self,
        id: BranchId,
        slot: u32,
        output: &Document,
        previous: u64,
    ) {
        let details = self.iteration_details(id, slot);
        let succeeded = self.record(previous, EventKind::MapIterationSucceeded, details);
        let Phase::Map(phase) = &mut self.branch_mut(id).phase else { return };
        phase.running -= 1;
        phase.results.set(slot as usize, Some(output));
        let total = phase.items.value().as_array().map_or(0, Vec::len);
        if phase.results.missing == 0 {
            self.branch_mut(id).previous = succeeded;
            self.map_succeeded(id);
        } else if phase.next < total {
            self.begin_iteration(id, previous);
        }
    }

    fn map_succeeded(&mut self, id: BranchId) {
        let Phase::Map(phase) = &self.branch(id).phase else { return };
        let results = phase.results.to_array();
        self.note_aside(id, EventKind::MapStateSucceeded, Details::new());
        self.map_result(id, results);
    }

    /// The result of a Map state, of either mode.
    pub(super) fn map_result(&mut self, id: BranchId, result: Document) {
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        match self.output(id, state, result) {
            Ok(left) => self.leave(id, left, state.next),
            Err(error) => self.broke(id, error),
        }
    }
}
