//! One case of the corpus.

use std::collections::BTreeMap;

use asl::Document;
use asl::ask::End;
use asl::definition::{MachineType, parse, summary};
use asl::history::Event;
use asl::machine::Facts;
use model::Timestamp;
use serde_json::Value;

use super::pattern::Pattern;
use super::world::{Outcome, World};

pub(crate) enum Verdict {
    Passed,
    OutcomeOnly(String),
    Failed(String),
    NotHere,
}

/// Every definition of a case that AWS took.
pub(crate) fn definitions(case: &Value) -> Vec<(String, MachineType)> {
    let of = |value: &Value| match value["machine_type"].as_str().or_else(|| value["type"].as_str())
    {
        Some("EXPRESS") => MachineType::Express,
        _ => MachineType::Standard,
    };
    let mut definitions = Vec::new();
    if case["definition"].is_object() {
        definitions.push((case["definition"].to_string(), of(case)));
    }
    for run in case["runs"].as_array().into_iter().flatten() {
        if run["definition"].is_object() {
            definitions.push((run["definition"].to_string(), of(case)));
        }
    }
    for step in case["steps"].as_array().into_iter().flatten() {
        let creates =
            matches!(step["op"].as_str(), Some("CreateStateMachine" | "UpdateStateMachine"));
        if creates
            && step.get("expect_error").is_none()
            && let Some(text) = step["params"]["definition"].as_str()
        {
            definitions.push((text.to_owned(), of(&step["params"])));
        }
    }
    definitions
}

/// One verdict for each run of a case.
pub(crate) fn case(case: &Value) -> Vec<Verdict> {
    let runs: Vec<&Value> = match case["runs"].as_array() {
        Some(runs) => runs.iter().collect(),
        None => vec![case],
    };
    let needs: Vec<&str> =
        case["needs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let supported = needs.iter().all(|need| matches!(*need, "lambda" | "s3" | "logs"))
        && case.get("background_worker").is_none()
        && case.get("trace_stopped").is_none();
    let verdict = |run: &&Value| {
        if supported { self::run(case, run) } else { Verdict::NotHere }
    };
    runs.iter().map(verdict).collect()
}

fn run(case: &Value, run: &Value) -> Verdict {
    let definition =
        if run["definition"].is_object() { &run["definition"] } else { &case["definition"] };
    let machine_type = match case["machine_type"].as_str() {
        Some("EXPRESS") => MachineType::Express,
        _ => MachineType::Standard,
    };
    let parsed = parse(&definition.to_string(), machine_type);
    let Some(definition) = parsed.definition else {
        return Verdict::Failed(summary(&parsed.problems));
    };
    let expected = &run["expected"];
    if expected.get("incomplete").is_some() {
        return Verdict::NotHere;
    }
    let input = match (run["input_text"].as_str(), run.get("input")) {
        (Some(text), _) => Document::parse(text).unwrap(),
        (None, Some(input)) if !input.is_null() => Document::new(input.clone()),
        (None, _) => Document::new(serde_json::json!({})),
    };
    let Some(outcome) = World::new(case, definition).run(facts(case, machine_type), input) else {
        return Verdict::NotHere;
    };
    let pattern = Pattern::new(case);
    if let Some(why) = compare_end(&pattern, expected, &outcome) {
        return Verdict::Failed(why);
    }
    let Some(history) = expected["history"].as_array() else { return Verdict::Passed };
    let compared = if case["history_fidelity"] == "lossy" {
        None
    } else if case["concurrent_history"] == true {
        compare_kinds(history, &outcome.events)
    } else {
        compare_events(&pattern, history, &outcome.events)
    };
    compared.map_or(Verdict::Passed, Verdict::OutcomeOnly)
}

fn facts(case: &Value, machine_type: MachineType) -> Facts {
    let name = case["machine_name"].as_str().unwrap_or("machine");
    let account = "arn:aws:states:us-east-1:111111111111";
    let execution = "11111111-2222-4333-8444-555555555555";
    let (kind, run) = match machine_type {
        MachineType::Standard => ("execution", String::new()),
        MachineType::Express => ("express", format!(":{execution}")),
    };
    Facts {
        execution_arn: format!("{account}:{kind}:{name}:{execution}{run}"),
        execution_name: execution.to_owned(),
        role_arn: "arn:aws:iam::111111111111:role/test-sfn-role-uid00002".to_owned(),
        started: Timestamp::default(),
        redrive_count: (machine_type == MachineType::Standard).then_some(0),
        machine_arn: format!("{account}:stateMachine:{name}"),
        machine_name: name.to_owned(),
    }
}

fn compare_end(pattern: &Pattern, expected: &Value, outcome: &Outcome) -> Option<String> {
    let express = [&expected["response"], &expected["end_event"]["details"]];
    let expected = express.into_iter().find(|value| value.is_object()).unwrap_or(expected);
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    let (output, error, cause) = match &outcome.end {
        End::Succeeded(output) => {
            (Value::String(output.text().to_owned()), Value::Null, Value::Null)
        }
        End::Failed { error, cause } | End::Aborted { error, cause } => {
            (Value::Null, text(error), text(cause))
        }
        End::TimedOut => (Value::Null, Value::Null, Value::Null),
    };
    let status: Value = outcome.end.status().into();
    for (field, actual) in
        [("status", &status), ("error", &error), ("cause", &cause), ("output", &output)]
    {
        if field == "status" && expected[field].is_null() {
            continue;
        }
        if let Some(difference) = pattern.difference(&expected[field], actual) {
            return Some(format!("{field} {difference} (status {status}, cause {cause})"));
        }
    }
    None
}

fn compare_events(pattern: &Pattern, expected: &[Value], events: &[Event]) -> Option<String> {
    let kinds = |kinds: Vec<&str>| kinds.join(" ");
    let wanted = kinds(expected.iter().filter_map(|event| event["type"].as_str()).collect());
    let given = kinds(events.iter().map(|event| event.kind.name()).collect());
    if wanted != given {
        return Some(format!("types\n  expected {wanted}\n  was      {given}"));
    }
    for (expected, event) in expected.iter().zip(events) {
        let mut expected = expected.clone();
        // A recording is not sure about what leads to the end of a distributed Map state.
        if event.kind.name() == "MapStateExited" || event.kind.name() == "MapStateSucceeded" {
            expected["previousEventId"] = event.previous.into();
        }
        let rendered = event.render();
        if let Some(difference) = pattern.difference(&expected, &rendered) {
            return Some(format!("event {} {} {difference}", event.id, event.kind.name()));
        }
    }
    None
}

/// The same events happened, in whatever order.
fn compare_kinds(expected: &[Value], events: &[Event]) -> Option<String> {
    let mut counts: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut count = |kind: &str, details: &Value, by: i64| {
        let name = details["name"].as_str().unwrap_or_default().to_owned();
        *counts.entry((kind.to_owned(), name)).or_default() += by;
    };
    for event in expected {
        let details = event.as_object().unwrap().iter().find(|(key, _)| key.ends_with("Details"));
        let none = Value::Null;
        count(event["type"].as_str().unwrap(), details.map_or(&none, |(_, value)| value), 1);
    }
    for event in events {
        count(event.kind.name(), &Value::Object(event.details.clone()), -1);
    }
    counts.retain(|_, count| *count != 0);
    (!counts.is_empty()).then(|| format!("missing (above 0) or too much: {counts:?}"))
}
