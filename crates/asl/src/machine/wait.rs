//! Wait states.

use std::time::Duration;

use model::Timestamp;
use serde_json::Value;

use super::branch::{BranchId, Phase};
use super::fields::{Wanted, plain};
use super::flow::{Sees, runtime};
use super::{Machine, Role};
use crate::definition::{Dynamic, State, Wait};
use crate::env::{ErrorName, EvalError};
use crate::time;

impl Machine {
    pub(super) fn wait(&mut self, id: BranchId, state: &State, wait: &Wait) {
        let at = self.effective_input(id, state).and_then(|input| match wait {
            Wait::Seconds(dynamic) => self.wait_seconds(id, dynamic, input.value()),
            Wait::Timestamp(dynamic) => self.wait_until(id, dynamic, input.value()),
        });
        match at {
            Err(error) => self.broke(id, error),
            Ok(at) if at <= self.now => self.waited(id),
            Ok(at) => {
                self.branch_mut(id).phase = Phase::Waiting;
                self.timer(Some(id), Role::Wait, at);
            }
        }
    }

    pub(super) fn waited(&mut self, id: BranchId) {
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        match self.hand_on(id, state) {
            Ok(left) => self.leave(id, left, state.next),
            Err(error) => self.broke(id, error),
        }
    }

    fn wait_seconds(
        &self,
        id: BranchId,
        dynamic: &Dynamic,
        input: &Value,
    ) -> Result<Timestamp, EvalError> {
        const SECONDS_MAX: u64 = 99_999_999;
        let sees = Sees { input: Some(input), ..Sees::default() };
        let (value, path) = match dynamic {
            Dynamic::Fixed(value) => (value.clone(), None),
            Dynamic::Query(source) => {
                (self.query_of(id, "Seconds", source, Wanted::Number, Sees::default())?, None)
            }
            Dynamic::Expression(expression) => {
                let path = expression.as_str();
                let value = self.with_env(id, sees, |env| expression.evaluate(env));
                let value = value.map_err(|_| {
                    runtime(format!(
                        "The SecondsPath parameter does not reference an input value: {path}"
                    ))
                })?;
                (value, Some(path))
            }
        };
        let problem = match (value.as_u64(), value.as_i64(), path) {
            (Some(seconds), _, _) if seconds <= SECONDS_MAX => {
                return Ok(self.now + Duration::from_secs(seconds));
            }
            (None, None, Some(path)) => format!(
                "The SecondsPath parameter cannot be parsed as a long value: {path} == {}",
                plain(&value)
            ),
            (None, None, None) => format!("The Seconds field must be an integer, but was: {value}"),
            (_, _, Some(path)) => format!(
                "The SecondsPath parameter references an invalid value, expected a number between 0 and \
                 {SECONDS_MAX}: {path} == {value}"
            ),
            (_, _, None) => {
                format!("The Seconds field must be between 0 and {SECONDS_MAX}, but was: {value}")
            }
        };
        Err(match dynamic {
            Dynamic::Query(_) => {
                EvalError::new(ErrorName::QueryEvaluationError, problem).at("Seconds")
            }
            Dynamic::Fixed(_) | Dynamic::Expression(_) => runtime(problem),
        })
    }

    fn wait_until(
        &self,
        id: BranchId,
        dynamic: &Dynamic,
        input: &Value,
    ) -> Result<Timestamp, EvalError> {
        let sees = Sees { input: Some(input), ..Sees::default() };
        let text = match dynamic {
            Dynamic::Fixed(value) => plain(value),
            Dynamic::Query(source) => {
                plain(&self.query_of(id, "Timestamp", source, Wanted::Text, Sees::default())?)
            }
            Dynamic::Expression(expression) => {
                let value = self.with_env(id, sees, |env| expression.evaluate(env));
                plain(&value.map_err(|_| {
                    runtime(format!(
                        "The TimestampPath parameter does not reference an input value: {}",
                        expression.as_str()
                    ))
                })?)
            }
        };
        let Some(nanos) = time::parse(&text) else {
            return Err(match dynamic {
                Dynamic::Expression(expression) => runtime(format!(
                    "The TimestampPath parameter does not reference a valid ISO-8601 extended offset \
                     date-time format string: {} == {text}",
                    expression.as_str()
                )),
                Dynamic::Fixed(_) | Dynamic::Query(_) => EvalError::new(
                    ErrorName::QueryEvaluationError,
                    format!(
                        "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time \
                         format string: {text}"
                    ),
                )
                .at("Timestamp"),
            });
        };
        Ok(Timestamp(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)))
    }
}
