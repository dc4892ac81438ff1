//! Input and output of a state.

use std::collections::BTreeMap;

use serde_json::{Map as Object, Value, json};

use super::Machine;
use super::branch::{BranchId, Wanted};
use super::map::Item;
use super::recover::Failure;
use crate::definition::{Catcher, Fail, Flow, Language, PathField, ResultPath, State};
use crate::document::Document;
use crate::env::{Env, ErrorName, EvalError};
use crate::{jsonata, template};

/// What a state hands on.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) output: Document,
    pub(super) assigned: BTreeMap<String, Document>,
}

/// The steps between input and output of the last state that was tried, as TestState shows them.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are those of TestState's inspectionData")]
pub struct Inspection {
    pub input: Option<Document>,
    pub after_input_path: Option<Document>,
    pub after_parameters: Option<Document>,
    pub after_arguments: Option<Document>,
    pub result: Option<Document>,
    pub after_result_selector: Option<Document>,
    pub after_result_path: Option<Document>,
    pub after_items_path: Option<Document>,
    pub after_item_selector: Option<Document>,
    pub after_item_batcher: Option<Document>,
    pub after_items_pointer: Option<Document>,
    pub variables: Option<Document>,
    pub max_concurrency: Option<u64>,
    pub tolerated_failure_count: Option<u64>,
    pub tolerated_failure_percentage: Option<f64>,
    pub catch_index: Option<u32>,
    pub retry_index: Option<u32>,
    pub retry_backoff_seconds: Option<u64>,
    /// The cause of an expression's failure, without the frame that an execution puts around it.
    pub cause: Option<String>,
    /// Where that expression stands.
    pub location: Option<String>,
}

/// What an expression sees besides the variables.
#[derive(Clone, Copy, Default)]
pub(super) struct Sees<'v> {
    pub(super) input: Option<&'v Value>,
    pub(super) result: Option<&'v Value>,
    pub(super) error: Option<&'v Value>,
    /// The item that an item selector is about.
    pub(super) item: Option<Item<'v>>,
    pub(super) token: Option<&'v str>,
}

impl Machine {
    /// Evaluates something in the surroundings of a branch.
    pub(super) fn with_env<T>(
        &self,
        id: BranchId,
        sees: Sees<'_>,
        evaluate: impl FnOnce(&Env<'_>) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let branch = self.branch(id);
        let context = Wanted::new(|| self.context(id, sees.item, sees.token));
        let scope = self.scope(id);
        evaluate(&Env {
            input: sees.input.unwrap_or_else(|| branch.input.value()),
            context: &context,
            variables: &scope,
            result: sees.result,
            error_output: sees.error,
            now: self.now,
            random: &self.random,
        })
    }

    /// The input after `InputPath`.
    pub(super) fn effective_input(
        &mut self,
        id: BranchId,
        state: &State,
    ) -> Result<Document, EvalError> {
        let input = self.branch(id).input.clone();
        let effective = self.path_field(id, &state.flow.input_path, input)?;
        let raw = self.branch(id).input.clone();
        let is_tested = self.branch(id).parent.is_none();
        self.inspect(|inspection| {
            inspection.input = Some(raw);
            // Not that of an iteration or a branch inside of it.
            if is_tested && state.language == Language::JsonPath {
                inspection.after_input_path = Some(effective.clone());
            }
        });
        Ok(effective)
    }

    fn path_field(
        &self,
        id: BranchId,
        field: &PathField,
        document: Document,
    ) -> Result<Document, EvalError> {
        match field {
            PathField::Whole => Ok(document),
            PathField::Nothing => Ok(json!({}).into()),
            PathField::Path(path) => {
                let sees = Sees { input: Some(document.value()), ..Sees::default() };
                self.with_env(id, sees, |env| path.query(env)).map(Document::new)
            }
        }
    }

    /// What a state works on: its input after `Parameters` or `Arguments`.
    pub(super) fn arguments(
        &mut self,
        id: BranchId,
        state: &State,
        effective: &Document,
        token: Option<&str>,
    ) -> Result<Document, EvalError> {
        let sees = Sees { input: Some(effective.value()), token, ..Sees::default() };
        let arguments = match &state.flow.arguments {
            None => effective.clone(),
            Some(wanted) => {
                let field =
                    if state.language == Language::Jsonata { "Arguments" } else { "Parameters" };
                self.fill(id, state.language, wanted, field, sees)?
            }
        };
        self.inspect(|inspection| match state.language {
            Language::JsonPath => inspection.after_parameters = Some(arguments.clone()),
            Language::Jsonata => inspection.after_arguments = Some(arguments.clone()),
        });
        Ok(arguments)
    }

    /// A template of either language, filled.
    pub(super) fn fill(
        &self,
        id: BranchId,
        language: Language,
        wanted: &Value,
        field: &str,
        sees: Sees<'_>,
    ) -> Result<Document, EvalError> {
        self.with_env(id, sees, |env| match language {
            Language::JsonPath => template::evaluate(wanted, env),
            Language::Jsonata => jsonata::evaluate_template(field, wanted, env),
        })
        .map(Document::new)
    }

    /// What a state hands on that had a result.
    pub(super) fn output(
        &mut self,
        id: BranchId,
        state: &State,
        result: Document,
    ) -> Result<Left, EvalError> {
        self.inspect(|inspection| inspection.result = Some(result.clone()));
        match state.language {
            Language::JsonPath => self.path_output(id, &state.flow, result),
            Language::Jsonata => {
                let sees = Sees { result: Some(result.value()), ..Sees::default() };
                self.query_output(id, [&state.flow.assign, &state.flow.output], sees, &result)
            }
        }
    }

    fn path_output(
        &mut self,
        id: BranchId,
        flow: &Flow,
        result: Document,
    ) -> Result<Left, EvalError> {
        let selected = match &flow.result_selector {
            None => result,
            Some(selector) => {
                let sees = Sees { input: Some(result.value()), ..Sees::default() };
                self.fill(id, Language::JsonPath, selector, "ResultSelector", sees)?
            }
        };
        self.inspect(|inspection| inspection.after_result_selector = Some(selected.clone()));
        let combined = self.combined(id, &flow.result_path, selected.clone())?;
        self.inspect(|inspection| inspection.after_result_path = Some(combined.clone()));
        let sees = Sees { input: Some(selected.value()), ..Sees::default() };
        let assigned = self.assigned(id, Language::JsonPath, flow.assign.as_ref(), sees)?;
        let output = self.path_field(id, &flow.output_path, combined)?;
        Ok(Left { output, assigned })
    }

    /// The result put into the input.
    fn combined(
        &self,
        id: BranchId,
        path: &ResultPath,
        result: Document,
    ) -> Result<Document, EvalError> {
        let input = &self.branch(id).input;
        match path {
            ResultPath::Whole => Ok(result),
            ResultPath::Nothing => Ok(input.clone()),
            ResultPath::Path(path) => {
                let mut document = input.value().clone();
                path.set(&mut document, result.value().clone())?;
                Ok(document.into())
            }
        }
    }

    /// `Assign` and `Output` of a JSONata state; without an output, `otherwise` is handed on.
    pub(super) fn query_output(
        &self,
        id: BranchId,
        [assign, output]: [&Option<Value>; 2],
        sees: Sees<'_>,
        otherwise: &Document,
    ) -> Result<Left, EvalError> {
        let assigned = self.assigned(id, Language::Jsonata, assign.as_ref(), sees)?;
        let output = match output {
            Some(output) => self.fill(id, Language::Jsonata, output, "Output", sees)?,
            None => otherwise.clone(),
        };
        Ok(Left { output, assigned })
    }

    /// The values of `Assign`.
    pub(super) fn assigned(
        &self,
        id: BranchId,
        language: Language,
        assign: Option<&Value>,
        sees: Sees<'_>,
    ) -> Result<BTreeMap<String, Document>, EvalError> {
        let Some(assign) = assign else { return Ok(BTreeMap::new()) };
        let values = self.fill(id, language, assign, "Assign", sees)?;
        match values.value() {
            Value::Object(values) => Ok(values
                .iter()
                .map(|(name, value)| (name.clone(), Document::new(value.clone())))
                .collect()),
            _ => Ok(BTreeMap::new()),
        }
    }

    /// What a state hands on that has no result: Wait, Succeed, Choice.
    pub(super) fn hand_on(&mut self, id: BranchId, state: &State) -> Result<Left, EvalError> {
        let effective = self.effective_input(id, state)?;
        self.hand_on_as(id, state, effective, [&state.flow.assign, &state.flow.output])
    }

    pub(super) fn hand_on_as(
        &self,
        id: BranchId,
        state: &State,
        effective: Document,
        [assign, output]: [&Option<Value>; 2],
    ) -> Result<Left, EvalError> {
        match state.language {
            Language::Jsonata => {
                self.query_output(id, [assign, output], Sees::default(), &effective)
            }
            Language::JsonPath => {
                let sees = Sees { input: Some(effective.value()), ..Sees::default() };
                let assigned = self.assigned(id, Language::JsonPath, assign.as_ref(), sees)?;
                let output = self.path_field(id, &state.flow.output_path, effective)?;
                Ok(Left { output, assigned })
            }
        }
    }

    pub(super) fn pass(
        &mut self,
        id: BranchId,
        state: &State,
        result: Option<&Value>,
    ) -> Result<Left, EvalError> {
        let effective = self.effective_input(id, state)?;
        match state.language {
            Language::Jsonata => {
                let flow = &state.flow;
                self.query_output(id, [&flow.assign, &flow.output], Sees::default(), &effective)
            }
            Language::JsonPath => {
                let arguments = self.arguments(id, state, &effective, None)?;
                let result = result.map_or(arguments, |result| Document::new(result.clone()));
                self.inspect(|inspection| inspection.result = Some(result.clone()));
                self.path_output(id, &state.flow, result)
            }
        }
    }

    pub(super) fn perform_fail(&mut self, id: BranchId, fail: &Fail) {
        let text = |field: &str, dynamic| self.text_field(id, field, dynamic);
        let error = fail.error.as_ref().map(|dynamic| text("Error", dynamic)).transpose();
        let cause = fail.cause.as_ref().map(|dynamic| text("Cause", dynamic)).transpose();
        match (error, cause) {
            (Ok(error), Ok(cause)) => {
                self.failed(id, Failure { error, cause, ..Failure::default() });
            }
            (Err(error), _) | (_, Err(error)) => self.broke(id, error),
        }
    }

    /// What a catcher hands on.
    pub(super) fn caught(
        &mut self,
        id: BranchId,
        language: Language,
        catcher: &Catcher,
        failure: &Failure,
    ) -> Result<Left, EvalError> {
        // Recorded: nulls where a failure has no name, and an empty cause of one that has.
        let cause = match (&failure.error, &failure.cause) {
            (None, None) => Value::Null,
            (_, cause) => cause.clone().unwrap_or_default().into(),
        };
        let mut error = Object::new();
        error.insert("Error".to_owned(), failure.error.clone().into());
        error.insert("Cause".to_owned(), cause);
        let error: Document = Value::Object(error).into();
        match language {
            Language::Jsonata => {
                let sees = Sees { error: Some(error.value()), ..Sees::default() };
                self.query_output(id, [&catcher.assign, &catcher.output], sees, &error)
            }
            Language::JsonPath => {
                let sees = Sees { input: Some(error.value()), ..Sees::default() };
                let assigned =
                    self.assigned(id, Language::JsonPath, catcher.assign.as_ref(), sees)?;
                let output = self.combined(id, &catcher.result_path, error.clone())?;
                Ok(Left { output, assigned })
            }
        }
    }

    /// What was collected for TestState, where the settings say so.
    #[must_use]
    pub fn inspection(&self) -> Option<&Inspection> {
        self.inspection.as_deref()
    }

    pub(super) fn inspect(&mut self, see: impl FnOnce(&mut Inspection)) {
        if let Some(inspection) = &mut self.inspection {
            see(inspection);
        }
    }
}

/// An error of the language itself.
pub(super) fn runtime(cause: impl Into<String>) -> EvalError {
    EvalError::new(ErrorName::Runtime, cause)
}
