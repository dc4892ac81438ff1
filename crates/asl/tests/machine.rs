//! What holds of the interpreter whatever the definition is: it ends, it is bounded, it survives a crash
//! between any two steps.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use asl::Document;
use asl::ask::{Ask, End, Failed, Input};
use asl::definition::{ChartId, Definition, MachineType, parse};
use asl::history::{self, Event, EventKind};
use asl::machine::{Encoded, Facts, Machine, Redrive, RunChange, Settings, Start, Turn, World};
use model::Timestamp;
use model::suspend::OpId;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn definition(value: &Value) -> Arc<Definition> {
    Arc::new(parse(&value.to_string(), MachineType::Standard).into_result().unwrap())
}

fn facts() -> Facts {
    let states = "arn:aws:states:us-east-1:000000000000";
    Facts {
        execution_arn: format!("{states}:execution:m:e"),
        execution_name: "e".to_owned(),
        role_arn: "arn:aws:iam::000000000000:role/r".to_owned(),
        started: NOW,
        redrive_count: Some(0),
        machine_arn: format!("{states}:stateMachine:m"),
        machine_name: "m".to_owned(),
    }
}

fn token(op: OpId) -> String {
    format!("token-{}", op.0)
}

fn world(now: Timestamp) -> World<'static> {
    World { now, token: &token }
}

fn begin(definition: &Arc<Definition>, input: Value) -> (Machine, Turn) {
    let start = Start { facts: facts(), input: input.into(), chart: ChartId(0), seed: 1 };
    Machine::start(Arc::clone(definition), Settings::default(), start, &world(NOW))
}

fn tasks(turn: &Turn) -> Vec<OpId> {
    let task = |(op, ask): &(OpId, Ask)| matches!(ask, Ask::Task(_)).then_some(*op);
    turn.asks.iter().filter_map(task).collect()
}

fn timers(turn: &Turn) -> Vec<(OpId, Timestamp)> {
    turn.asks
        .iter()
        .filter_map(|(op, ask)| match ask {
            Ask::Timer { at } => Some((*op, *at)),
            Ask::Task(_) | Ask::Read(_) | Ask::Child(_) | Ask::Write(_) => None,
        })
        .collect()
}

fn done(op: OpId, value: Value) -> Input {
    Input::TaskEnded(op, Ok(value.into()))
}

fn failed(op: OpId, error: &str) -> Input {
    Input::TaskEnded(op, Err(Failed { error: error.to_owned(), cause: None }))
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

fn lambda(next: &Value) -> Value {
    let mut state = json!({
        "Type": "Task",
        "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
    });
    state.as_object_mut().unwrap().extend(next.as_object().unwrap().clone());
    state
}

fn map_of_lambdas() -> Arc<Definition> {
    definition(&json!({
        "StartAt": "M",
        "States": { "M": { "Type": "Map", "End": true, "ItemProcessor": {
            "StartAt": "T", "States": { "T": lambda(&json!({ "End": true })) },
        } } },
    }))
}

#[test]
fn a_map_over_ten_thousand_items_writes_little_with_each_step() {
    const ITEMS: usize = 10_000;
    let definition = map_of_lambdas();
    let items: Vec<Value> = (0..ITEMS).map(|n| json!({ "number": n })).collect();
    let start =
        Start { facts: facts(), input: Value::Array(items).into(), chart: ChartId(0), seed: 1 };
    let settings = Settings { events_max: 1_000_000, ..Settings::default() };
    let (mut machine, turn) = Machine::start(definition, settings, start, &world(NOW));
    let mut open = tasks(&turn);
    let (mut largest, mut parts, mut steps) = (0, 0, 0usize);
    while let Some(op) = open.pop() {
        let turn = machine.step([done(op, json!({ "answer": steps }))], &world(NOW));
        open.extend(tasks(&turn));
        let Encoded { state, parts: new, .. } = machine.encode();
        largest = largest.max(state.len());
        parts += new.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        steps += 1;
    }
    let Some(End::Succeeded(output)) = machine.end() else { panic!("{:?}", machine.end()) };
    assert_eq!(output.value().as_array().unwrap().len(), ITEMS);
    assert_eq!(steps, ITEMS);
    assert!(largest < 64 << 10, "one step wrote {largest} bytes");
    assert!(parts < 2 << 20, "all steps wrote {parts} bytes of parts");
}

#[test]
fn eighty_branches_run_at_once_and_their_results_stand_in_order() {
    let branch = |n: usize| {
        let name = format!("T{n}");
        json!({ "StartAt": name, "States": { name: lambda(&json!({ "End": true })) } })
    };
    let branches: Vec<Value> = (0..80).map(branch).collect();
    let definition = definition(&json!({
        "StartAt": "P",
        "States": { "P": { "Type": "Parallel", "Branches": branches, "End": true } },
    }));
    let (mut machine, turn) = begin(&definition, json!({}));
    let open = tasks(&turn);
    assert_eq!(open.len(), 80);
    let inputs = open.iter().enumerate().rev().map(|(n, op)| done(*op, json!(n)));
    let turn = machine.step(inputs.collect::<Vec<_>>(), &world(NOW));
    let expected: Vec<usize> = (0..80).collect();
    assert_eq!(turn.end, Some(End::Succeeded(json!(expected).into())));
}

#[test]
fn a_machine_that_turns_in_circles_ends_and_lets_others_go_first() {
    let definition = definition(&json!({
        "StartAt": "A",
        "States": {
            "A": { "Type": "Pass", "Next": "C" },
            "C": { "Type": "Choice", "Default": "A", "Choices": [
                { "Variable": "$.end", "IsPresent": true, "Next": "E" },
            ] },
            "E": { "Type": "Succeed" },
        },
    }));
    let (mut machine, mut turn) = begin(&definition, json!({}));
    let mut steps = 1;
    while turn.end.is_none() {
        assert!(turn.events.len() <= 2 * 10_000 + 1);
        let inputs: Vec<Input> =
            timers(&turn).into_iter().map(|(op, _)| Input::Fired(op)).collect();
        assert_eq!(inputs.len(), 1, "it asks for another step");
        turn = machine.step(inputs, &world(NOW));
        steps += 1;
    }
    assert_eq!(steps, 2);
    let Some(End::Failed { error, cause }) = turn.end else { panic!("{:?}", turn.end) };
    assert_eq!(error.as_deref(), Some("States.Runtime"));
    assert!(cause.unwrap().contains("(25000)"));
}

#[test]
fn what_grows_without_end_is_stopped_at_its_limits() {
    let grow = |template: Value| {
        definition(&json!({
            "StartAt": "A",
            "States": {
                "A": { "Type": "Pass", "Parameters": template, "Next": "C" },
                "C": { "Type": "Choice", "Default": "A", "Choices": [
                    { "Variable": "$.end", "IsPresent": true, "Next": "E" },
                ] },
                "E": { "Type": "Succeed" },
            },
        }))
    };
    let wide = grow(json!({ "all.$": "States.Array($, $)" }));
    let Some(End::Failed { error, .. }) = begin(&wide, json!({ "all": 1 })).1.end else { panic!() };
    assert_eq!(error.as_deref(), Some("States.DataLimitExceeded"));
    let deep = grow(json!({ "all.$": "$" }));
    let Some(End::Failed { error, .. }) = begin(&deep, json!({})).1.end else { panic!() };
    assert_eq!(error.as_deref(), Some("States.Runtime"));
}

#[test]
fn delays_grow_up_to_their_limit_and_the_catcher_comes_last() {
    let definition = definition(&json!({
        "StartAt": "T",
        "States": {
            "T": lambda(&json!({
                "Retry": [{ "ErrorEquals": ["E"], "IntervalSeconds": 2, "MaxAttempts": 4, "BackoffRate": 3,
                    "MaxDelaySeconds": 10 }],
                "Catch": [{ "ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "S" }],
                "End": true,
            })),
            "S": { "Type": "Succeed" },
        },
    }));
    let (mut machine, mut turn) = begin(&definition, json!({ "a": 1 }));
    let mut delays = Vec::new();
    let mut now = NOW;
    while turn.end.is_none() {
        let [op] = tasks(&turn)[..] else { panic!("one task at a time") };
        turn = machine.step([failed(op, "E")], &world(now));
        if let [(timer, at)] = timers(&turn)[..] {
            delays.push(at.since(now));
            now = at;
            turn = machine.step([Input::Fired(timer)], &world(now));
        }
    }
    assert_eq!(delays, [2, 6, 10, 10].map(Duration::from_secs));
    let output = json!({ "a": 1, "error": { "Error": "E", "Cause": "" } });
    assert_eq!(turn.end, Some(End::Succeeded(output.into())));
}

#[test]
fn a_heartbeat_puts_its_limit_off_and_silence_is_a_timeout() {
    let definition = definition(&json!({
        "StartAt": "T",
        "States": {
            "T": {
                "Type": "Task",
                "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                "Parameters": { "QueueUrl": "q", "MessageBody": { "token.$": "$$.Task.Token" } },
                "TimeoutSeconds": 600,
                "HeartbeatSeconds": 10,
                "Catch": [{ "ErrorEquals": ["States.HeartbeatTimeout"], "Next": "S" }],
                "End": true,
            },
            "S": { "Type": "Succeed" },
        },
    }));
    let (mut machine, turn) = begin(&definition, json!({}));
    let Ask::Task(task) = &turn.asks[0].1 else { panic!("{:?}", turn.asks) };
    let op = turn.asks[0].0;
    assert_eq!(task.input.value()["MessageBody"]["token"], token(op));
    let [(timeout, _), (first, at)] = timers(&turn)[..] else { panic!("{:?}", turn.asks) };
    assert_eq!(at.since(NOW), Duration::from_secs(10));
    let later = NOW + Duration::from_secs(7);
    let turn = machine.step([Input::TaskHeartbeat(op)], &world(later));
    assert_eq!(turn.drops, [first]);
    let [(second, at)] = timers(&turn)[..] else { panic!("{:?}", turn.asks) };
    assert_eq!(at.since(NOW), Duration::from_secs(17));
    // The first timer was dropped: that it fired all the same is not heard any more.
    assert_eq!(machine.step([Input::Fired(first)], &world(at)).events, []);
    let turn = machine.step([Input::Fired(second)], &world(at));
    assert_eq!(turn.drops, [op, timeout]);
    let error = json!({ "Error": "States.Timeout", "Cause": "" });
    assert_eq!(turn.end, Some(End::Succeeded(error.into())));
}

#[test]
fn errors_of_the_interpreter_are_not_caught() {
    let definition = definition(&json!({
        "StartAt": "T",
        "States": {
            "T": lambda(&json!({
                "InputPath": "$.absent",
                "Retry": [{ "ErrorEquals": ["States.ALL"] }],
                "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "S" }],
                "End": true,
            })),
            "S": { "Type": "Succeed" },
        },
    }));
    let (_, turn) = begin(&definition, json!({}));
    let Some(End::Failed { error, .. }) = turn.end else { panic!("{:?}", turn.end) };
    assert_eq!(error.as_deref(), Some("States.Runtime"));
}

#[test]
fn one_failed_branch_ends_the_others_and_their_asks() {
    let definition = definition(&json!({
        "StartAt": "P",
        "States": { "P": { "Type": "Parallel", "End": true, "Branches": [
            { "StartAt": "A", "States": { "A": lambda(&json!({ "End": true })) } },
            { "StartAt": "B", "States": { "B": { "Type": "Wait", "Seconds": 60, "End": true } } },
        ] } },
    }));
    let (mut machine, turn) = begin(&definition, json!({}));
    let (task, wait) = (tasks(&turn)[0], timers(&turn)[0].0);
    let turn = machine.step([failed(task, "E")], &world(NOW));
    assert_eq!(turn.drops, [wait]);
    assert_eq!(
        kinds(&turn.events),
        ["LambdaFunctionFailed", "WaitStateAborted", "ParallelStateFailed", "ExecutionFailed"]
    );
    assert_eq!(machine.open().count(), 0);
}

#[test]
fn a_branch_that_fails_without_a_name_is_told_as_aborted_and_its_state_as_failed_though_caught() {
    let definition = definition(&json!({
        "StartAt": "P",
        "States": {
            "P": {
                "Type": "Parallel", "End": true,
                "Branches": [{ "StartAt": "A", "States": { "A": lambda(&json!({ "End": true })) } }],
                "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "S" }],
            },
            "S": { "Type": "Succeed" },
        },
    }));
    let told = |error: &str| {
        let (mut machine, turn) = begin(&definition, json!({}));
        let turn = machine.step([failed(tasks(&turn)[0], error)], &world(NOW));
        kinds(&turn.events)[..4].join(" ")
    };
    let expected = "LambdaFunctionFailed TaskStateAborted ParallelStateFailed ParallelStateExited";
    assert_eq!(told(""), expected);
    let expected =
        "LambdaFunctionFailed ParallelStateExited SucceedStateEntered SucceedStateExited";
    assert_eq!(told("E"), expected);
}

#[test]
fn an_abort_and_a_deadline_end_everything() {
    let definition = definition(&json!({
        "StartAt": "W",
        "TimeoutSeconds": 5,
        "States": { "W": { "Type": "Wait", "Seconds": 60, "End": true } },
    }));
    let (mut machine, turn) = begin(&definition, json!({}));
    let [(deadline, at), (wait, _)] = timers(&turn)[..] else { panic!("{:?}", turn.asks) };
    let turn = machine.step([Input::Fired(deadline)], &world(at));
    assert_eq!((turn.end, turn.drops), (Some(End::TimedOut), vec![wait]));
    let (mut machine, _) = begin(&definition, json!({}));
    let cause = Some("enough".to_owned());
    let turn = machine.step([Input::Abort { error: None, cause: cause.clone() }], &world(NOW));
    assert_eq!(turn.end, Some(End::Aborted { error: None, cause }));
    assert_eq!(turn.events[0].kind, EventKind::ExecutionAborted);
    let turn = machine.step([Input::Fired(wait)], &world(at));
    assert_eq!(turn.events, []);
}

#[test]
fn a_distributed_map_tolerates_what_it_says() {
    let definition = definition(&json!({
        "StartAt": "M",
        "States": { "M": {
            "Type": "Map", "End": true, "ToleratedFailureCount": 1, "MaxConcurrency": 2,
            "ItemBatcher": { "MaxItemsPerBatch": 2 },
            "ItemProcessor": {
                "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS" },
                "StartAt": "T", "States": { "T": { "Type": "Pass", "End": true } },
            },
        } },
    }));
    let children = |turn: &Turn| -> Vec<(OpId, Value)> {
        turn.asks
            .iter()
            .filter_map(|(op, ask)| match ask {
                Ask::Child(child) => Some((*op, child.input.value().clone())),
                Ask::Timer { .. } | Ask::Task(_) | Ask::Read(_) | Ask::Write(_) => None,
            })
            .collect()
    };
    let failed = || Err(Failed { error: "E".to_owned(), cause: None });
    let (mut machine, turn) = begin(&definition, json!([1, 2, 3, 4, 5]));
    let [(first, one), (second, two)] = &children(&turn)[..] else { panic!("two at a time") };
    assert_eq!([one, two], [&json!({ "Items": [1, 2] }), &json!({ "Items": [3, 4] })]);
    let counted = |machine: &Machine| {
        let run = machine.map_runs().next().expect("it runs");
        ([run.running, run.succeeded, run.failed], run.items_of)
    };
    assert_eq!(counted(&machine), ([2, 0, 0], [4, 0, 0]));
    let turn = machine.step([Input::ChildEnded(*first, failed())], &world(NOW));
    let (third, three) = children(&turn)[0].clone();
    assert_eq!(three, json!({ "Items": [5] }));
    assert_eq!(counted(&machine), ([2, 0, 1], [3, 0, 2]), "items and not children");
    let ended = |op| Input::ChildEnded(op, Ok(json!("ok").into()));
    let turn = machine.step([ended(*second), ended(third)], &world(NOW));
    assert_eq!(turn.end, Some(End::Succeeded(json!(["ok", "ok"]).into())));

    let (mut machine, turn) = begin(&definition, json!([1, 2, 3, 4, 5]));
    let [(first, _), (second, _)] = children(&turn)[..] else { panic!("two at a time") };
    let inputs = [first, second].map(|op| Input::ChildEnded(op, failed()));
    let turn = machine.step(inputs, &world(NOW));
    let Some(End::Failed { error, .. }) = turn.end else { panic!("{:?}", turn.end) };
    assert_eq!(error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
}

#[test]
fn a_map_run_under_way_takes_other_limits() {
    let definition = definition(&json!({
        "StartAt": "M",
        "States": { "M": {
            "Type": "Map", "End": true, "MaxConcurrency": 1,
            "ItemProcessor": {
                "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
                "StartAt": "T", "States": { "T": { "Type": "Pass", "End": true } },
            },
        } },
    }));
    let children = |turn: &Turn| turn.asks.iter().map(|(op, _)| *op).collect::<Vec<OpId>>();
    let (mut machine, turn) = begin(&definition, json!([1, 2, 3, 4, 5]));
    let first = children(&turn);
    assert_eq!(first.len(), 1);
    let run = machine.map_runs().next().expect("it runs");
    assert_eq!((run.max_concurrency, run.tolerated_count), (1, None));
    let change = |max_concurrency, tolerated_count| RunChange {
        max_concurrency,
        tolerated_count,
        tolerated_percentage: None,
    };
    let turn = machine.change_run(&run.arn, change(Some(3), Some(1)), &world(NOW));
    let more = children(&turn);
    assert_eq!(more.len(), 2, "as many as may run");
    let turn = machine.change_run(&run.arn, change(Some(1), None), &world(NOW));
    assert_eq!(children(&turn), [], "those that run go on");
    let failed = Err(Failed { error: "E".to_owned(), cause: None });
    let turn = machine.step([Input::ChildEnded(first[0], failed)], &world(NOW));
    assert_eq!((children(&turn), turn.end), (Vec::new(), None), "one may fail, and none begins");
    let ended = |op| Input::ChildEnded(op, Ok(json!("ok").into()));
    let turn = machine.step(more.into_iter().map(ended), &world(NOW));
    let fourth = children(&turn);
    assert_eq!(fourth.len(), 1);
    let run = machine.map_runs().next().expect("it runs");
    assert_eq!((run.max_concurrency, run.tolerated_count, run.running), (1, Some(1), 1));
    let turn = machine.change_run(&run.arn, change(Some(0), Some(0)), &world(NOW));
    let Some(End::Failed { error, .. }) = turn.end else { panic!("{:?}", turn.end) };
    assert_eq!(error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
    assert_eq!(turn.drops, fourth);
}

/// A machine in the midst of everything that its state can hold.
fn midst() -> Machine {
    let definition = midst_definition();
    let (mut machine, turn) =
        begin(&definition, json!({ "items": [1, 2, 3], "long": "x".repeat(3_000) }));
    let op = tasks(&turn)[0];
    machine.step([failed(op, "E")], &world(NOW));
    machine
}

fn midst_definition() -> Arc<Definition> {
    definition(&json!({
        "StartAt": "A",
        "TimeoutSeconds": 100,
        "States": {
            "A": { "Type": "Pass", "Assign": { "v": [1, "two"] }, "Next": "P" },
            "P": { "Type": "Parallel", "End": true, "Branches": [
                { "StartAt": "T", "States": { "T": lambda(&json!({
                    "TimeoutSeconds": 20, "Retry": [{ "ErrorEquals": ["E"] }], "End": true })) } },
                { "StartAt": "U", "States": { "U": lambda(&json!({
                    "TimeoutSeconds": 20, "HeartbeatSeconds": 5, "End": true })) } },
                { "StartAt": "M", "States": { "M": { "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2,
                    "ItemProcessor": { "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 3, "End": true } } },
                    "End": true } } },
                { "StartAt": "D", "States": { "D": { "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 1,
                    "ToleratedFailurePercentage": 50, "ItemBatcher": { "MaxItemsPerBatch": 2 }, "Label": "L",
                    "ItemProcessor": {
                        "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
                        "StartAt": "X", "States": { "X": { "Type": "Pass", "End": true } } },
                    "End": true } } },
            ] },
        },
    }))
}

#[test]
fn a_state_of_each_format_can_still_be_read() {
    check_golden(1, midst(), midst_definition(), "P T U M D W W");
    let definition = definition(&json!({ "StartAt": "D", "States": { "D": {
        "Type": "Map", "ItemsPath": "$.items", "Label": "L", "End": true,
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
            "StartAt": "X", "States": { "X": { "Type": "Pass", "End": true } } },
    } } }));
    let (mut machine, _) = begin(&definition, json!({ "items": { "a": 1, "b": [2] } }));
    machine.redrive(&first_redrive(), &mut Vec::new(), &world(NOW));
    check_golden(2, machine, definition, "D");
    let (machine, definition) = reads();
    check_golden(3, machine, definition, "D");
}

fn first_redrive() -> Redrive {
    Redrive { count: 1, made_again: Vec::new() }
}

/// A map run over items that were read from two files.
fn reads() -> (Machine, Arc<Definition>) {
    let definition = definition(&json!({ "StartAt": "D", "States": { "D": {
        "Type": "Map", "Label": "L", "End": true,
        "ItemReader": { "Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": { "Bucket": "b" } },
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
            "StartAt": "X", "States": { "X": { "Type": "Pass", "End": true } } },
    } } }));
    let (mut machine, turn) = begin(&definition, json!({}));
    let found = json!({ "Items": [1, 2], "Places": [[0, "s3://b/x"], [1, "s3://b/y"]] });
    let found = Document::new(found).into();
    machine.step([Input::ItemsRead(turn.asks[0].0, Ok(found))], &world(NOW));
    (machine, definition)
}

#[track_caller]
fn check_golden(format: u8, mut machine: Machine, definition: Arc<Definition>, standing: &str) {
    let path = format!("{}/tests/golden/state-v{format}.json", env!("CARGO_MANIFEST_DIR"));
    let encoded = machine.encode();
    assert_eq!(encoded.state[0], format);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parts: BTreeMap<String, String> =
        encoded.parts.iter().map(|(part, bytes)| (part.to_string(), hex(bytes))).collect();
    let written = format!("{:#}\n", json!({ "state": hex(&encoded.state), "parts": parts }));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let bytes = |value: &Value| -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    };
    let parts: BTreeMap<u64, Vec<u8>> = golden["parts"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(part, value)| (part.parse().unwrap(), bytes(value)))
        .collect();
    let state = bytes(&golden["state"]);
    let mut machine = Machine::decode(&state, &parts, definition, Settings::default()).unwrap();
    assert_eq!(machine.encode().state, state, "what was read is written as it was");
    assert_eq!(machine.standing().collect::<Vec<_>>().join(" "), standing);
}

#[test]
fn an_event_is_read_as_it_was_written() {
    let (_, turn) = begin(&map_of_lambdas(), json!([1]));
    let bytes = history::encode(&turn.events).expect("there are some");
    assert_eq!(history::decode(&bytes), turn.events);
}

/// Runs a machine; `crash` tells after which steps it is loaded anew.
fn run(
    definition: &Arc<Definition>,
    input: Value,
    answers: &[bool],
    crash: &[bool],
) -> (Vec<Event>, Option<End>) {
    let settings = Settings { events_max: 2_000, ..Settings::default() };
    let start = Start { facts: facts(), input: input.into(), chart: ChartId(0), seed: 1 };
    let (mut machine, mut turn) =
        Machine::start(Arc::clone(definition), settings.clone(), start, &world(NOW));
    let mut parts = BTreeMap::new();
    let (mut events, mut open, mut now) = (Vec::new(), Vec::new(), NOW);
    for step in 0..3_000usize {
        events.append(&mut turn.events);
        if turn.end.is_some() {
            return (events, turn.end);
        }
        open.append(&mut turn.asks);
        open.retain(|(op, _)| !turn.drops.contains(op));
        let encoded = machine.encode();
        parts.extend(encoded.parts);
        if crash.get(step % crash.len().max(1)) == Some(&true) {
            machine =
                Machine::decode(&encoded.state, &parts, Arc::clone(definition), settings.clone())
                    .unwrap();
        }
        let Some((op, ask)) = (!open.is_empty()).then(|| open.remove(0)) else { break };
        let ok = answers.get(step % answers.len().max(1)) != Some(&false);
        let outcome = |value: Value| match ok {
            true => Ok(Document::new(value)),
            false => Err(Failed { error: "E".to_owned(), cause: None }),
        };
        let input = match ask {
            Ask::Timer { at } => {
                now = now.max(at);
                Input::Fired(op)
            }
            Ask::Task(task) => Input::TaskEnded(op, outcome(task.input.value().clone())),
            Ask::Read(_) => Input::ItemsRead(op, outcome(json!([1, 2, 3])).map(Into::into)),
            Ask::Child(child) => Input::ChildEnded(op, outcome(child.input.value().clone())),
            Ask::Write(_) => Input::ResultsWritten(op, outcome(json!({}))),
        };
        turn = machine.step([input], &world(now));
    }
    panic!("it neither ends nor asks for anything");
}

/// States that lead to one another in any way.
fn machines() -> impl Strategy<Value = Value> {
    let path = prop::sample::select(vec![
        "$",
        "$.a",
        "$.items",
        "$..a",
        "$.items[0]",
        "$$.State",
        "$v",
        "$.items[?(@ > 1)]",
    ]);
    let target = prop::sample::select(vec!["S0", "S1", "S2", "S3"]);
    let leaf = (0usize..8, path, target).prop_map(|(kind, path, target)| match kind {
        0 => json!({ "Type": "Pass", "Parameters": { "a.$": path, "b": 1 }, "ResultPath": "$.a", "Next": target }),
        1 => json!({ "Type": "Pass", "Assign": { "v.$": path }, "OutputPath": path, "Next": target }),
        2 => json!({ "Type": "Wait", "Seconds": 1, "Next": target }),
        3 => json!({ "Type": "Choice", "Default": target, "Choices": [
            { "Variable": path, "NumericGreaterThan": 1, "Next": "S3" } ] }),
        4 => lambda(&json!({ "InputPath": path, "Next": target, "Retry": [{ "ErrorEquals": ["E"], "MaxAttempts": 1 }],
            "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "S3" }] })),
        5 => json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Next": target,
            "Output": { "items": "{% [$states.input, 2] %}", "a": "{% $exists($v) ? $v : 1 %}" } }),
        6 => json!({ "Type": "Fail", "ErrorPath": path }),
        _ => json!({ "Type": "Succeed", "InputPath": path }),
    });
    let chart = |states: Vec<Value>, names: [&'static str; 4]| {
        let text: Vec<String> = states.iter().map(|state| state.to_string()).collect();
        let mut object = serde_json::Map::new();
        for (name, text) in names.into_iter().zip(text) {
            let renamed = (0..4).fold(text, |text, n| {
                text.replace(&format!("\"S{n}\""), &format!("\"{}\"", names[n]))
            });
            object.insert(name.to_owned(), serde_json::from_str(&renamed).unwrap());
        }
        json!({ "StartAt": names[0], "States": object })
    };
    let leaves = prop::collection::vec(leaf, 4);
    (leaves.clone(), leaves, 0usize..3).prop_map(move |(outer, inner, around)| {
        let mut outer = outer;
        let inner = chart(inner, ["I0", "I1", "I2", "I3"]);
        let state = match around {
            0 => json!({ "Type": "Parallel", "Branches": [inner], "Next": "S2",
                "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "S3" }] }),
            1 => json!({ "Type": "Map", "ItemsPath": "$.items", "ItemProcessor": inner, "ResultPath": "$.a",
                "MaxConcurrency": 2, "Next": "S2" }),
            _ => {
                let mut inner = inner;
                inner["ProcessorConfig"] = json!({ "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" });
                json!({ "Type": "Map", "ItemsPath": "$.items", "ItemProcessor": inner, "Next": "S2",
                    "ToleratedFailureCount": 1 })
            }
        };
        outer[1] = state;
        chart(outer, ["S0", "S1", "S2", "S3"])
    })
}

fn without_times(events: &[Event]) -> Vec<(u64, u64, EventKind, String)> {
    let shown = |event: &Event| {
        (event.id, event.previous, event.kind, Value::Object(event.details.clone()).to_string())
    };
    events.iter().map(shown).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Any machine ends, and a crash after any step changes nothing of what happens.
    #[test]
    fn a_crash_changes_nothing(
        machine in machines(),
        answers in prop::collection::vec(any::<bool>(), 1..8),
        crash in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let parsed = parse(&machine.to_string(), MachineType::Standard);
        if let Some(definition) = parsed.definition {
            let definition = Arc::new(definition);
            let input = json!({ "items": [1, 2, 3], "a": { "a": 1 } });
            let calm = run(&definition, input.clone(), &answers, &[false]);
            let crashed = run(&definition, input, &answers, &crash);
            prop_assert_eq!(without_times(&calm.0), without_times(&crashed.0));
            prop_assert_eq!(calm.1, crashed.1);
        } else {
            prop_assert!(!parsed.problems.is_empty());
        }
    }

    /// No text makes the parser panic, and what it refuses it gives a reason for.
    #[test]
    fn any_definition_is_taken_or_refused(
        machine in machines(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:$.a0-9nN]{0,3}"), 0..4),
    ) {
        let mut text = machine.to_string();
        for (at, put) in cuts {
            let mut at = at.index(text.len() + 1);
            while !text.is_char_boundary(at) { at -= 1; }
            let end = text[at..].char_indices().nth(2).map_or(text.len(), |(skip, _)| at + skip);
            text.replace_range(at..end, &put);
        }
        let parsed = parse(&text, MachineType::Express);
        prop_assert!(parsed.definition.is_some() || !parsed.problems.is_empty());
    }

    /// Damaged bytes are no machine, and never a panic.
    #[test]
    fn a_damaged_state_is_refused_or_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut machine = midst();
        let encoded = machine.encode();
        let parts: BTreeMap<u64, Vec<u8>> = encoded.parts.into_iter().collect();
        let mut bytes = encoded.state;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let read = |bytes: &[u8]| Machine::decode(bytes, &parts, midst_definition(), Settings::default());
        let _ = read(&bytes);
        prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
    }
}
