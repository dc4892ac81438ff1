//! Map states, and their iterations where they are inline.

use serde_json::{Value, json};

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

/// What the items of a Map state are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The elements of an array.
    Array,
    /// The fields of an object, each as its `Key` and `Value`.
    Object,
}

/// One item of a Map state.
#[derive(Clone, Copy)]
pub(super) struct Item<'v> {
    pub(super) index: u32,
    /// What an iteration works on where nothing selects.
    pub(super) whole: &'v Value,
    pub(super) of: Source,
    /// Where it was found.
    pub(super) place: &'v str,
}

/// The place of items that came with the input of the state.
pub(super) const STATE_DATA: &str = "STATE_DATA";

impl<'v> Item<'v> {
    pub(super) fn key(&self) -> Option<&'v Value> {
        match self.of {
            Source::Array => None,
            Source::Object => self.whole.get("Key"),
        }
    }

    pub(super) fn value(&self) -> &'v Value {
        match self.of {
            Source::Array => self.whole,
            Source::Object => self.whole.get("Value").unwrap_or(&Value::Null),
        }
    }
}

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
        let (items, source) = match self.items(id, state, map, &effective) {
            Ok(found) => found,
            Err(error) => return self.broke(id, error),
        };
        let length = items.value().as_array().map_or(0, Vec::len);
        self.note(id, EventKind::MapStateStarted, Details::new().with("length", length));
        if map.distributed.is_some() {
            self.begin_run(id, map, effective, (items, source));
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
        if self.is_tried(id) {
            let shown = self.inspect_items(id, state, map);
            return shown.unwrap_or_else(|error| self.broke(id, error));
        }
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

    /// The items, and what they were taken from: of an inline Map state that is always an array.
    fn items(
        &mut self,
        id: BranchId,
        state: &State,
        map: &Map,
        effective: &Document,
    ) -> Result<(Document, Source), EvalError> {
        let takes_objects = map.distributed.is_some();
        let (items, path) = match &map.items {
            Some(Items::Path(path)) => {
                let sees = Sees { input: Some(effective.value()), ..Sees::default() };
                let items = self.with_env(id, sees, |env| path.query(env)).map(Document::new)?;
                self.inspect(|inspection| inspection.after_items_path = Some(items.clone()));
                (items, path.as_str().replacen("$$", "$", 1))
            }
            Some(Items::Template(Value::String(text))) => {
                let source = jsonata::unwrap(text).unwrap_or(text);
                let wanted = if takes_objects { Wanted::Items } else { Wanted::Array };
                let items = self.query_of(id, "Items", source, wanted, Sees::default())?;
                (items.into(), "$".to_owned())
            }
            Some(Items::Template(items)) => {
                let items = self.fill(id, Language::Jsonata, items, "Items", Sees::default())?;
                (items, "$".to_owned())
            }
            None => (effective.clone(), "$".to_owned()),
        };
        match items.value() {
            Value::Array(_) => return Ok((items, Source::Array)),
            Value::Object(fields) if takes_objects => {
                let pair = |(key, value)| json!({ "Key": key, "Value": value });
                let pairs: Value = fields.iter().map(pair).collect();
                return Ok((pairs.into(), Source::Object));
            }
            _ => {}
        }
        Err(match state.language {
            Language::Jsonata => EvalError::new(
                ErrorName::QueryEvaluationError,
                format!("Map state input must be an array but was: {}", items.text()),
            ),
            Language::JsonPath => {
                runtime(format!("Reference path \"{path}\" must point to array."))
            }
        })
    }

    /// What one iteration works on.
    pub(super) fn item_input(
        &self,
        id: BranchId,
        state: &State,
        map: &Map,
        effective: &Document,
        item: Item<'_>,
    ) -> Result<Document, EvalError> {
        let Some(selector) = &map.item_selector else { return Ok(item.whole.clone().into()) };
        let sees = Sees { input: Some(effective.value()), item: Some(item), ..Sees::default() };
        self.fill(id, state.language, selector, map.selector_field, sees)
    }

    /// Whether the state itself is tried: something else stands in for its iterations.
    pub(super) fn is_tried(&self, id: BranchId) -> bool {
        self.inspection.is_some() && self.branch(id).parent.is_none()
    }

    fn inspect_items(&mut self, id: BranchId, state: &State, map: &Map) -> Result<(), EvalError> {
        let Phase::Map(phase) = &self.branch(id).phase else { return Ok(()) };
        let mut inputs = Vec::new();
        for (index, whole) in (0..).zip(phase.items.value().as_array().into_iter().flatten()) {
            let item = Item { index, whole, of: Source::Array, place: STATE_DATA };
            let input = self.item_input(id, state, map, &phase.effective, item)?;
            inputs.push(input.into_value());
        }
        self.inspect_selected(map, inputs);
        Ok(())
    }

    /// Shows what the iterations of a state that is tried would work on.
    pub(super) fn inspect_selected(&mut self, map: &Map, inputs: Vec<Value>) {
        if map.item_selector.is_some() {
            self.inspect(|seen| seen.after_item_selector = Some(Value::Array(inputs).into()));
        }
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
        let one = Item { index: slot, whole: item, of: Source::Array, place: STATE_DATA };
        let input = match self.item_input(id, state, map, &effective, one) {
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
