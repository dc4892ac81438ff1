//! Retry and Catch.

use std::time::Duration;

use super::branch::{BranchId, Phase, timers};
use super::{Machine, Role};
use crate::ask::Failed;
use crate::definition::{Jitter, Kind, Retrier, State};
use crate::env::ErrorName;
use crate::history::{Details, EventKind};

/// Longest delay before a retry.
const DELAY_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// Why a state failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: Option<String>,
    pub(super) cause: Option<String>,
    /// Another name under which it may be caught.
    pub(super) alias: Option<ErrorName>,
}

impl Failure {
    pub(super) fn of(name: ErrorName, cause: String) -> Self {
        Self { error: Some(name.as_str().to_owned()), cause: Some(cause), alias: None }
    }

    pub(super) fn data_limit(what: &str) -> Self {
        Self::of(
            ErrorName::DataLimitExceeded,
            format!(
                "The state/task '{what}' returned a result with a size exceeding the maximum number of bytes \
                 service limit."
            ),
        )
    }

    /// What a state would work on is too large.
    pub(super) fn input_limit(state: &str) -> Self {
        Self::of(
            ErrorName::DataLimitExceeded,
            format!(
                "The state/task '{state}' was given an input with a size exceeding the maximum number of bytes \
                 service limit."
            ),
        )
    }

    /// What a state assigns is too large.
    pub(super) fn assign_limit(state: &str) -> Self {
        Self::of(
            ErrorName::DataLimitExceeded,
            format!(
                "The state/task '{state}' assigned variables with a size exceeding the maximum number of bytes \
                 service limit."
            ),
        )
    }

    /// All variables together are too large.
    pub(super) fn variables_limit(state: &str) -> Self {
        Self::of(
            ErrorName::DataLimitExceeded,
            format!(
                "With what the state/task '{state}' assigned, the variables of the execution exceed the maximum \
                 number of bytes service limit."
            ),
        )
    }

    pub(super) fn is_timeout(&self) -> bool {
        self.error.as_deref() == Some(ErrorName::Timeout.as_str())
    }

    /// A callback may fail without saying with what.
    pub(super) fn is_named(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn matches(&self, names: &[String]) -> bool {
        let error = self.error.as_deref().unwrap_or_default();
        // Errors of the interpreter itself can not be caught, whatever is named.
        if error == ErrorName::Runtime.as_str() {
            return false;
        }
        names.iter().any(|name| {
            name == "States.ALL"
                || name == error
                || self.alias.is_some_and(|alias| alias.as_str() == name)
                // A wildcard for all but a timeout, also of what failed in a branch or an iteration.
                || (name == "States.TaskFailed" && !self.is_timeout())
        })
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let error = (!failed.error.is_empty()).then_some(failed.error);
        Self { error, cause: failed.cause, alias: None }
    }
}

impl Machine {
    /// The state of a branch failed: it is tried again, caught, or fails what is around it.
    pub(super) fn failed(&mut self, id: BranchId, failure: Failure) {
        for timer in timers(&self.branch(id).phase) {
            self.drop_op(timer);
        }
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        let Some(recovery) = state.kind.recovery() else {
            self.branch_failed(id, failure);
            return;
        };
        let matching =
            recovery.retriers.iter().position(|retrier| failure.matches(&retrier.errors));
        if let Some(index) = matching {
            let retrier = &recovery.retriers[index];
            let used = branch.retries.get(index).copied().unwrap_or(u32::MAX);
            if used < retrier.max_attempts {
                self.back_off(id, retrier, index, used);
                return;
            }
        }
        let matching =
            recovery.catchers.iter().position(|catcher| failure.matches(&catcher.errors));
        let Some(index) = matching else {
            self.note_failed(id, state);
            self.branch_failed(id, failure);
            return;
        };
        // Of a failure without a name AWS tells that the Parallel failed, although it is caught.
        let is_told = !failure.is_named() && matches!(state.kind, Kind::Parallel(_));
        if is_told {
            self.note_failed(id, state);
        }
        self.inspect(|inspection| inspection.catch_index = u32::try_from(index).ok());
        let catcher = &recovery.catchers[index];
        let left = self
            .caught(id, state.language, catcher, &failure)
            .map_err(|error| Failure::of(error.name, error.cause))
            .and_then(|left| self.excess(id, &left).map_or(Ok(left), Err));
        match left {
            Ok(left) => self.hand_over(id, left, Some(catcher.next)),
            // A catcher's own failure is not caught again.
            Err(failure) => {
                if !is_told {
                    self.note_failed(id, state);
                }
                self.branch_failed(id, failure);
            }
        }
    }

    fn note_failed(&mut self, id: BranchId, state: &State) {
        let branch = self.branch(id);
        let begun = matches!(branch.phase, Phase::Map(_) | Phase::MapRun(_) | Phase::Parallel(_));
        match state.kind {
            Kind::Map(_) if begun => {
                self.note(id, EventKind::MapStateFailed, Details::new());
            }
            Kind::Parallel(_) if begun => {
                self.note(id, EventKind::ParallelStateFailed, Details::new());
            }
            Kind::Pass { .. }
            | Kind::Task(_)
            | Kind::Choice(_)
            | Kind::Wait(_)
            | Kind::Succeed
            | Kind::Fail(_)
            | Kind::Parallel(_)
            | Kind::Map(_) => {}
        }
    }

    fn back_off(&mut self, id: BranchId, retrier: &Retrier, index: usize, used: u32) {
        let mut delay_ms = delay_ms(retrier, used);
        if retrier.jitter == Jitter::Full {
            delay_ms = self.random.draw() % (delay_ms + 1);
        }
        self.inspect(|inspection| {
            inspection.retry_index = u32::try_from(index).ok();
            inspection.retry_backoff_seconds = Some(delay_ms / 1_000);
        });
        let branch = self.branch_mut(id);
        branch.retries[index] += 1;
        branch.retry_count += 1;
        branch.phase = Phase::Waiting;
        let at = self.now + Duration::from_millis(delay_ms);
        self.timer(Some(id), Role::Backoff, at);
    }

    /// The delay is over.
    pub(super) fn retry(&mut self, id: BranchId) {
        self.branch_mut(id).phase = Phase::Retrying;
        self.ready.push_back(id);
    }
}

/// The delay before the retry that follows `used` others.
fn delay_ms(retrier: &Retrier, used: u32) -> u64 {
    let longest = retrier
        .max_delay_seconds
        .map_or(DELAY_MAX_MS, |seconds| u64::from(seconds) * 1_000)
        .min(DELAY_MAX_MS);
    let mut delay = u128::from(retrier.interval_seconds) * 1_000;
    for _ in 0..used {
        let next = delay * u128::from(retrier.backoff_thousandths) / 1_000;
        if next == delay || next >= u128::from(longest) {
            delay = next;
            break;
        }
        delay = next;
    }
    u64::try_from(delay).unwrap_or(longest).min(longest)
}
