//! Parallel states.

use serde_json::Value;

use super::Machine;
use super::branch::{BranchId, Phase};
use super::recover::Failure;
use crate::definition::{Parallel, State};
use crate::document::Document;
use crate::history::{Details, EventKind};

/// Branches under way.
#[derive(Debug)]
pub(super) struct ParallelPhase {
    pub(super) results: Vec<Option<Document>>,
}

impl Machine {
    pub(super) fn begin_parallel(&mut self, id: BranchId, state: &State, parallel: &Parallel) {
        let input = self
            .effective_input(id, state)
            .and_then(|effective| self.arguments(id, state, &effective, None));
        let input = match input {
            Ok(input) => input,
            Err(error) => return self.broke(id, error),
        };
        if input.text().len() > self.settings.data_bytes_max {
            self.failed(id, Failure::input_limit(&state.name));
            return;
        }
        let started = self.note(id, EventKind::ParallelStateStarted, Details::new());
        let results = vec![None; parallel.branches.len()];
        self.branch_mut(id).phase = Phase::Parallel(Box::new(ParallelPhase { results }));
        for (slot, chart) in (0..).zip(&parallel.branches) {
            self.add_branch(Some((id, slot)), *chart, input.clone(), started);
        }
    }

    pub(super) fn parallel_branch_ended(
        &mut self,
        id: BranchId,
        slot: u32,
        output: Document,
        previous: u64,
    ) {
        self.branch_mut(id).previous = previous;
        let Phase::Parallel(parallel) = &mut self.branch_mut(id).phase else { return };
        parallel.results[slot as usize] = Some(output);
        if parallel.results.iter().any(Option::is_none) {
            return;
        }
        let results: Vec<Value> =
            parallel.results.iter().flatten().map(|result| result.value().clone()).collect();
        self.note_aside(id, EventKind::ParallelStateSucceeded, Details::new());
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        match self.output(id, state, Value::Array(results).into()) {
            Ok(left) => self.leave(id, left, state.next),
            Err(error) => self.broke(id, error),
        }
    }
}
