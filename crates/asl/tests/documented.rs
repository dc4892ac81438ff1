//! What AWS documents of the language and no recording shows.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use asl::Document;
use asl::ask::{Ask, End, Failed, Input};
use asl::definition::{ChartId, MachineType, parse};
use asl::history::EventKind;
use asl::machine::{Facts, Machine, Redrive, Settings, Start, Turn, World};
use model::Timestamp;
use model::suspend::OpId;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_700_000_100_000);

fn world(now: Timestamp) -> World<'static> {
    World { now, token: &|op| format!("token-{}", op.0) }
}

fn begin_with(definition: &Value, input: Value, settings: Settings) -> (Machine, Turn) {
    let definition =
        Arc::new(parse(&definition.to_string(), MachineType::Standard).into_result().unwrap());
    let facts = Facts {
        execution_arn: "e".to_owned(),
        execution_name: "e".to_owned(),
        role_arn: "r".to_owned(),
        started: NOW,
        redrive_count: Some(0),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".to_owned(),
        machine_name: "m".to_owned(),
    };
    let start = Start { facts, input: input.into(), chart: ChartId(0), seed: 1 };
    Machine::start(definition, settings, start, &world(NOW))
}

fn begin(definition: &Value, input: Value) -> (Machine, Turn) {
    begin_with(definition, input, Settings::default())
}

/// A machine of one state.
fn one(state: &Value) -> Value {
    let mut state = state.clone();
    state["End"] = true.into();
    json!({ "StartAt": "S", "States": { "S": state } })
}

/// What is wrong with a machine of one state.
fn problems(state: &Value) -> Vec<String> {
    let parsed = parse(&one(state).to_string(), MachineType::Standard);
    parsed.problems.iter().map(ToString::to_string).collect()
}

fn not_supported(field: &str, language: &str, place: &str) -> String {
    format!(
        "SCHEMA_VALIDATION_FAILED: Field '{field}' is not supported when 'QueryLanguage' is '{language}' at \
         /States/S{place}"
    )
}

#[test]
fn catchers_readers_writers_and_batches_have_the_fields_of_their_language() {
    let task = |language: &str, field: &str, value: &Value| {
        let mut state = json!({
            "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "QueryLanguage": language, "Catch": [{ "ErrorEquals": ["E"], "Next": "S" }],
        });
        state["Catch"][0][field] = value.clone();
        problems(&state)
    };
    let path = json!("$.error");
    assert_eq!(task("JSONPath", "ResultPath", &path), [""; 0]);
    assert_eq!(task("JSONata", "Output", &json!(1)), [""; 0]);
    assert_eq!(
        task("JSONata", "ResultPath", &path),
        [not_supported("ResultPath", "JSONata", "/Catch[0]")]
    );
    assert_eq!(
        task("JSONPath", "Output", &json!(1)),
        [not_supported("Output", "JSONPath", "/Catch[0]")]
    );

    let map = |language: &str, more: &Value| {
        let mut state = json!({ "Type": "Map", "QueryLanguage": language, "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
            "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } },
        } });
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        problems(&state)
    };
    let reader = |field: &str| {
        json!({ "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject", field: {},
            "ReaderConfig": { "InputType": "JSON" },
        } })
    };
    assert_eq!(map("JSONata", &reader("Arguments")), [""; 0]);
    let wrong = not_supported("Parameters", "JSONata", "/ItemReader");
    assert_eq!(map("JSONata", &reader("Parameters")), [wrong]);
    let wrong = not_supported("Arguments", "JSONPath", "/ItemReader");
    assert_eq!(map("JSONPath", &reader("Arguments")), [wrong]);
    let mut bounded = reader("Arguments");
    bounded["ItemReader"]["ReaderConfig"]["MaxItemsPath"] = "$.n".into();
    let wrong = not_supported("MaxItemsPath", "JSONata", "/ItemReader/ReaderConfig");
    assert_eq!(map("JSONata", &bounded), [wrong]);
    let writer = json!({ "ResultWriter": {
        "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b" },
    } });
    let wrong = not_supported("Parameters", "JSONata", "/ResultWriter");
    assert_eq!(map("JSONata", &writer), [wrong]);
    let batches =
        json!({ "ItemBatcher": { "MaxItemsPerBatch": 2, "MaxItemsPerBatchPath": "$.n" } });
    let wrong = not_supported("MaxItemsPerBatchPath", "JSONata", "/ItemBatcher");
    assert_eq!(map("JSONata", &batches), [wrong]);
}

fn distributed(more: &Value) -> Value {
    let mut state = json!({ "Type": "Map", "ItemProcessor": {
        "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
        "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } },
    } });
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one(&state)
}

fn inputs(turn: &Turn) -> Vec<Value> {
    turn.asks
        .iter()
        .filter_map(|(_, ask)| match ask {
            Ask::Child(child) => Some(child.input.value().clone()),
            Ask::Timer { .. } | Ask::Task(_) | Ask::Read(_) | Ask::Write(_) => None,
        })
        .collect()
}

#[test]
fn a_distributed_map_runs_once_for_each_field_of_an_object() {
    let fields = json!({ "b": 2, "a": { "x": 1 } });
    let pairs = [json!({ "Key": "b", "Value": 2 }), json!({ "Key": "a", "Value": { "x": 1 } })];
    let (_, turn) = begin(&distributed(&json!({ "ItemsPath": "$.of" })), json!({ "of": fields }));
    assert_eq!(inputs(&turn), pairs);
    let queried = json!({ "QueryLanguage": "JSONata", "Items": "{% $states.input %}" });
    let (_, turn) = begin(&distributed(&queried), fields.clone());
    assert_eq!(inputs(&turn), pairs);
    let written = json!({ "QueryLanguage": "JSONata", "Items": fields });
    let (_, turn) = begin(&distributed(&written), json!({}));
    assert_eq!(inputs(&turn), pairs);

    let selected = json!({
        "MaxConcurrency": 1,
        "ItemSelector": { "k.$": "$$.Map.Item.Key", "v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index" },
    });
    let (mut machine, turn) = begin(&distributed(&selected), fields);
    assert_eq!(inputs(&turn), [json!({ "k": "b", "v": 2, "i": 0 })]);
    // What the items are taken from outlives a crash.
    let encoded = machine.encode();
    let parts: BTreeMap<u64, Vec<u8>> = encoded.parts.into_iter().collect();
    let definition = Arc::new(machine.definition().clone());
    let mut machine =
        Machine::decode(&encoded.state, &parts, definition, Settings::default()).unwrap();
    let (op, _) = turn.asks.first().unwrap();
    let turn = machine.step([Input::ChildEnded(*op, Ok(json!(null).into()))], &world(NOW));
    assert_eq!(inputs(&turn), [json!({ "k": "a", "v": { "x": 1 }, "i": 1 })]);
}

#[test]
fn an_item_tells_where_it_was_found() {
    let selector = json!({ "from.$": "$$.Map.Item.Source", "v.$": "$$.Map.Item.Value" });
    let from = |place: &str, value: i32| json!({ "from": place, "v": value });
    let inline = json!({
        "Type": "Map", "ItemSelector": selector,
        "ItemProcessor": { "StartAt": "P", "States": { "P": {
            "Type": "Pass", "Parameters": { "from.$": "$$.Map.Item.Source", "v.$": "$.v" }, "End": true } } },
    });
    let (machine, _) = begin(&one(&inline), json!([1]));
    assert_eq!(machine.end(), Some(&End::Succeeded(json!([from("STATE_DATA", 1)]).into())));
    let (_, turn) = begin(&distributed(&json!({ "ItemSelector": selector })), json!([1, 2]));
    assert_eq!(inputs(&turn), [from("STATE_DATA", 1), from("STATE_DATA", 2)]);

    let read = distributed(&json!({
        "MaxConcurrency": 1, "ItemSelector": { "from.$": "$$.Map.Item.Source", "item.$": "$$.Map.Item" },
        "ItemReader": { "Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": { "Bucket": "b" },
            "ReaderConfig": { "InputType": "JSON", "Transformation": "LOAD_AND_FLATTEN" } },
    }));
    let (mut machine, turn) = begin(&read, json!({}));
    let found = json!({
        "Items": [1, 2, { "Key": "k", "Value": 3 }],
        "Places": [[0, "s3://b/x"], [2, "s3://b/y", true]],
    });
    let found = Document::new(found).into();
    let mut turn = machine.step([Input::ItemsRead(turn.asks[0].0, Ok(found))], &world(NOW));
    let item = |place: &str, mut item: Value| {
        item["Source"] = place.into();
        json!({ "from": place, "item": item })
    };
    let expected = [
        item("s3://b/x", json!({ "Index": 0, "Value": 1 })),
        item("s3://b/x", json!({ "Index": 1, "Value": 2 })),
        item("s3://b/y", json!({ "Index": 2, "Key": "k", "Value": 3 })),
    ];
    for expected in expected {
        assert_eq!(inputs(&turn), [expected]);
        // Where the items are from outlives a crash.
        let encoded = machine.encode();
        let parts: BTreeMap<u64, Vec<u8>> = encoded.parts.into_iter().collect();
        let definition = Arc::new(machine.definition().clone());
        machine = Machine::decode(&encoded.state, &parts, definition, Settings::default()).unwrap();
        let ended = Input::ChildEnded(turn.asks[0].0, Ok(json!(null).into()));
        turn = machine.step([ended], &world(NOW));
    }
    assert!(matches!(machine.end(), Some(End::Succeeded(_))));
}

fn is_limited(machine: &Machine) -> bool {
    match machine.end() {
        Some(End::Failed { error, .. }) => error.as_deref() == Some("States.DataLimitExceeded"),
        _ => false,
    }
}

/// A text of so many bytes; it has two quotes beside its characters.
fn text(bytes: usize) -> Value {
    "x".repeat(bytes - 2).into()
}

#[test]
fn what_a_state_assigns_may_be_as_large_as_an_output() {
    const ONE: usize = model::limits::ASL_DATA_BYTES_DEFAULT;
    let assigns = |first: &Value, second: &Value| {
        let state = json!({ "Type": "Pass", "Result": 1, "Assign": { "a": first, "b": second } });
        begin(&one(&state), json!({})).0
    };
    assert_eq!(
        assigns(&text(ONE / 2), &text(ONE / 2)).end(),
        Some(&End::Succeeded(json!(1).into()))
    );
    assert!(is_limited(&assigns(&text(ONE / 2), &text(ONE / 2 + 1))));
}

#[test]
fn all_variables_together_have_a_limit_with_the_quotas_of_aws_and_of_the_platform() {
    use model::limits::{
        ASL_DATA_BYTES_DEFAULT, ASL_VARIABLES_BYTES_MAX, ASL_VARIABLES_BYTES_PLATFORM,
    };
    // Each state keeps what the others assigned; what it assigns anew replaces what was there.
    let states = |all: usize, extra: usize| -> Value {
        const ONE: usize = ASL_DATA_BYTES_DEFAULT;
        let mut states = serde_json::Map::new();
        for n in 0..=all / ONE {
            let mut assign = serde_json::Map::new();
            let name = format!("v{}", n % (all / ONE));
            assign.insert(name, text(ONE));
            let next = format!("S{}", n + 1);
            states
                .insert(format!("S{n}"), json!({ "Type": "Pass", "Assign": assign, "Next": next }));
        }
        let last = format!("S{}", all / ONE + 1);
        let assign = if extra > 0 { json!({ "more": text(extra) }) } else { json!({}) };
        states.insert(last, json!({ "Type": "Pass", "Assign": assign, "End": true }));
        json!({ "StartAt": "S0", "States": states })
    };
    for all in [ASL_VARIABLES_BYTES_MAX, ASL_VARIABLES_BYTES_PLATFORM] {
        let settings = || Settings { variables_bytes_max: all, ..Settings::default() };
        let (fits, _) = begin_with(&states(all, 0), json!({}), settings());
        assert!(matches!(fits.end(), Some(End::Succeeded(_))), "{:?}", fits.end());
        let (too_much, _) = begin_with(&states(all, 2), json!({}), settings());
        assert!(is_limited(&too_much));
    }
}

#[test]
fn an_express_execution_ends_after_its_time_and_not_before() {
    const SECONDS: u64 = model::limits::EXPRESS_SECONDS_MAX;
    let at = |seconds: u64| NOW + std::time::Duration::from_secs(seconds);
    let waits = one(&json!({ "Type": "Wait", "Seconds": SECONDS + 1 }));
    let settings = Settings { seconds_max: Some(SECONDS), ..Settings::default() };
    let (mut machine, turn) = begin_with(&waits, json!({}), settings.clone());
    let due: Vec<Timestamp> = turn
        .asks
        .iter()
        .map(|(_, ask)| match ask {
            Ask::Timer { at } => *at,
            other => panic!("it waits only: {other:?}"),
        })
        .collect();
    assert_eq!(due, [at(SECONDS), at(SECONDS + 1)]);
    let _ = machine.step([Input::Fired(turn.asks[0].0)], &world(at(SECONDS)));
    assert_eq!(machine.end(), Some(&End::TimedOut));
    // A shorter time of its own counts.
    let mut short = waits;
    short["TimeoutSeconds"] = (SECONDS - 1).into();
    let (_, turn) = begin_with(&short, json!({}), settings);
    assert!(matches!(turn.asks[0].1, Ask::Timer { at: due } if due == at(SECONDS - 1)));
}

#[test]
fn a_batch_has_no_more_bytes_than_its_limit_with_all_that_stands_around_its_items() {
    // {"Items":[11,22],"BatchInput":{"a":"b"}} has 40 bytes.
    let batches = |name: &str, limit: Value, bytes: u64| -> Vec<Value> {
        let mut batcher = json!({ "BatchInput": { "a.$": "$.b" } });
        batcher[name] = limit;
        let state = distributed(&json!({ "ItemsPath": "$.items", "ItemBatcher": batcher }));
        let input = json!({ "items": [11, 22, 33], "b": "b", "limit": bytes });
        let (_, turn) = begin(&state, input);
        inputs(&turn).into_iter().map(|input| input["Items"].clone()).collect()
    };
    let by = |bytes: u64| batches("MaxInputBytesPerBatch", bytes.into(), bytes);
    assert_eq!(by(40), [json!([11, 22]), json!([33])]);
    assert_eq!(by(39), [json!([11]), json!([22]), json!([33])]);
    assert_eq!(by(43), [json!([11, 22, 33])]);
    // An item is never left out.
    assert_eq!(by(1), [json!([11]), json!([22]), json!([33])]);
    let path = batches("MaxInputBytesPerBatchPath", "$.limit".into(), 40);
    assert_eq!(path, [json!([11, 22]), json!([33])]);

    let queried = |limit: &str| {
        let state = json!({ "QueryLanguage": "JSONata", "Items": "{% $states.input.items %}",
            "ItemBatcher": { "MaxInputBytesPerBatch": limit } });
        let input = json!({ "items": [11, 22, 33], "limit": 15 });
        inputs(&begin(&distributed(&state), input).1)
    };
    // {"Items":[11,22]} has 17 bytes.
    assert_eq!(queried("{% $states.input.limit + 2 %}").len(), 2);
    assert_eq!(queried("{% $states.input.limit + 1 %}").len(), 3);
}

#[test]
fn a_batch_is_no_larger_than_an_input_may_be() {
    const HALF: usize = model::limits::ASL_DATA_BYTES_DEFAULT / 2;
    let state = distributed(&json!({ "ItemBatcher": { "MaxItemsPerBatch": 9 } }));
    // {"Items":[,]} has 13 bytes.
    let sizes = |bytes: usize| {
        let (_, turn) = begin(&state, json!([text(HALF), text(bytes)]));
        inputs(&turn).iter().map(|input| input["Items"].as_array().unwrap().len()).collect()
    };
    let fits: Vec<usize> = sizes(HALF - 13);
    assert_eq!(fits, [2]);
    let too_much: Vec<usize> = sizes(HALF - 12);
    assert_eq!(too_much, [1, 1]);
}

#[test]
fn what_a_catcher_makes_too_large_is_not_caught_again() {
    let caught = |catcher: &Value| {
        let mut catcher = catcher.clone();
        catcher["ErrorEquals"] = json!(["E", "States.DataLimitExceeded"]);
        catcher["Next"] = "C".into();
        let machine = json!({ "StartAt": "T", "States": {
            "T": { "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
                   "Catch": [catcher], "End": true },
            "C": { "Type": "Pass", "End": true },
        } });
        let settings = Settings { data_bytes_max: 1_000, ..Settings::default() };
        let (mut machine, turn) = begin_with(&machine, json!({ "a": "x".repeat(900) }), settings);
        let failed = Failed { error: "E".to_owned(), cause: Some("y".repeat(200)) };
        machine.step([Input::TaskEnded(turn.asks[0].0, Err(failed))], &world(NOW)).end.unwrap()
    };
    let is_limited = |end: End| matches!(end, End::Failed { error, .. } if error.as_deref() == Some("States.DataLimitExceeded"));
    assert!(is_limited(caught(&json!({ "ResultPath": "$.error" }))));
    assert!(is_limited(caught(&json!({
        "Assign": { "much": "z".repeat(1_000) } }))));
    assert!(!is_limited(caught(&json!({}))));
}

#[test]
fn an_inline_map_takes_arrays_only() {
    let map = json!({ "Type": "Map", "ItemProcessor": {
        "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } },
    } });
    let (machine, _) = begin(&one(&map), json!({ "a": 1 }));
    let Some(End::Failed { cause: Some(cause), .. }) = machine.end() else {
        panic!("{:?}", machine.end())
    };
    assert!(cause.ends_with("Reference path \"$\" must point to array."), "{cause}");
    let written = json!({
        "Type": "Map", "QueryLanguage": "JSONata", "Items": { "a": 1 },
        "ItemProcessor": map["ItemProcessor"],
    });
    assert_eq!(problems(&written).len(), 1);
}

fn waiting(turn: &Turn) -> Vec<(OpId, Timestamp)> {
    let timer = |(op, ask): &(OpId, Ask)| match ask {
        Ask::Timer { at } => Some((*op, *at)),
        Ask::Task(_) | Ask::Child(_) | Ask::Read(_) | Ask::Write(_) => None,
    };
    turn.asks.iter().filter_map(timer).collect()
}

#[test]
fn an_execution_takes_no_longer_than_its_settings_allow() {
    let wait = one(&json!({ "Type": "Wait", "Seconds": 600 }));
    let settings = Settings { seconds_max: Some(300), ..Settings::default() };
    let (mut machine, turn) = begin_with(&wait, json!({}), settings.clone());
    let (limit, at) = waiting(&turn)[0];
    assert_eq!(at, NOW + std::time::Duration::from_secs(300));
    machine.step([Input::Fired(limit)], &world(at));
    assert_eq!(machine.end(), Some(&End::TimedOut));

    let mut shorter = wait;
    shorter["TimeoutSeconds"] = 20.into();
    let (_, turn) = begin_with(&shorter, json!({}), settings);
    assert_eq!(waiting(&turn)[0].1, NOW + std::time::Duration::from_secs(20));
}

#[test]
fn after_a_redrive_the_limit_of_the_whole_begins_anew_and_the_context_tells_of_it() {
    let mut definition = one(&json!({
        "Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage",
        "Parameters": {
            "count.$": "$$.Execution.RedriveCount", "context.$": "$$.Execution",
        },
    }));
    definition["TimeoutSeconds"] = 60.into();
    let task = |turn: &Turn| {
        turn.asks.iter().find_map(|(op, ask)| match ask {
            Ask::Task(task) => Some((*op, task.input.value().clone())),
            Ask::Timer { .. } | Ask::Child(_) | Ask::Read(_) | Ask::Write(_) => None,
        })
    };
    let (mut machine, turn) = begin(&definition, json!({}));
    let (work, first) = task(&turn).unwrap();
    assert_eq!((&first["count"], first["context"].get("RedriveTime")), (&json!(0), None));
    let encoded = machine.encode();
    let failed = Failed { error: "E".to_owned(), cause: None };
    machine.step([Input::TaskEnded(work, Err(failed))], &world(NOW));
    assert!(matches!(machine.end(), Some(End::Failed { .. })));

    let parts = BTreeMap::<u64, Vec<u8>>::new();
    let definition = Arc::new(machine.definition().clone());
    let mut machine =
        Machine::decode(&encoded.state, &parts, Arc::clone(&definition), Settings::default())
            .unwrap();
    let mut again = vec![work];
    let redrive = Redrive { count: 1, made_again: Vec::new() };
    let turn = machine.redrive(&redrive, &mut again, &world(LATER));
    assert_eq!(again, [], "it has begun again");
    let (_, second) = task(&turn).unwrap();
    assert_eq!(second["count"], 1);
    assert_eq!(second["context"]["RedriveTime"], "2023-11-14T22:15:00.000Z");
    assert_eq!(waiting(&turn)[0].1, LATER + std::time::Duration::from_secs(60));
    // It is remembered.
    let encoded = machine.encode();
    let mut machine =
        Machine::decode(&encoded.state, &parts, definition, Settings::default()).unwrap();
    assert_eq!(machine.encode().state, encoded.state);
}

#[test]
fn a_wildcard_for_failed_tasks_catches_what_failed_in_a_branch_but_no_timeout() {
    let fails = |error: &str| {
        let branch =
            json!({ "StartAt": "F", "States": { "F": { "Type": "Fail", "Error": error } } });
        json!({
            "StartAt": "P",
            "States": {
                "P": { "Type": "Parallel", "End": true, "Branches": [branch],
                       "Catch": [{ "ErrorEquals": ["States.TaskFailed"], "Next": "C" }] },
                "C": { "Type": "Pass", "Result": "caught", "End": true },
            },
        })
    };
    let (machine, _) = begin(&fails("Mine"), json!({}));
    assert_eq!(machine.end(), Some(&End::Succeeded(json!("caught").into())));
    let (machine, _) = begin(&fails("States.Timeout"), json!({}));
    assert!(matches!(machine.end(), Some(End::Failed { .. })), "{:?}", machine.end());
}

#[test]
fn what_parameters_make_may_be_as_large_as_an_input_may() {
    let machine = |resource: &str| {
        json!({
            "StartAt": "T",
            "States": {
                "T": { "Type": "Task", "Resource": resource, "End": true,
                       "Parameters": { "a.$": "$.a", "b.$": "$.a" },
                       "Catch": [{ "ErrorEquals": ["States.DataLimitExceeded"], "Next": "C" }] },
                "C": { "Type": "Pass", "Result": "caught", "End": true },
            },
        })
    };
    let machine = machine("arn:aws:states:::sqs:sendMessage");
    // {"a":"…","b":"…"} has 15 bytes beside the two texts.
    let settings = || Settings { data_bytes_max: 1_015, ..Settings::default() };
    let input = |bytes: usize| json!({ "a": "x".repeat(bytes) });
    let (begun, turn) = begin_with(&machine, input(500), settings());
    assert_eq!((begun.end(), turn.asks.len()), (None, 1));
    let (refused, _) = begin_with(&machine, input(501), settings());
    assert_eq!(refused.end(), Some(&End::Succeeded(json!("caught").into())));
}

#[test]
fn a_service_is_called_in_the_ways_that_it_has() {
    let refused = |resource: &str| {
        !problems(&json!({ "Type": "Task", "Resource": format!("arn:aws:states:::{resource}") }))
            .is_empty()
    };
    for resource in [
        "lambda:invoke",
        "lambda:invoke.waitForTaskToken",
        "sqs:sendMessage.waitForTaskToken",
        "ecs:runTask.sync",
        "states:startExecution.sync:2",
        "aws-sdk:sfn:startExecution.waitForTaskToken",
        "aws-sdk:s3:getObject",
    ] {
        assert!(!refused(resource), "{resource}");
    }
    for resource in [
        "lambda:invoke.sync",
        "sqs:sendMessage.sync",
        "dynamodb:getItem.waitForTaskToken",
        "glue:startJobRun.waitForTaskToken",
        "http:invoke.sync",
        "ecs:runTask.sync:2",
        "aws-sdk:sfn:startExecution.sync",
        "s3:getObject",
    ] {
        assert!(refused(resource), "{resource}");
    }
}

#[test]
fn a_field_that_is_a_path_takes_no_intrinsic_function() {
    let wait = |path: &str| problems(&json!({ "Type": "Wait", "SecondsPath": path }));
    assert_eq!(wait("$.n"), [""; 0]);
    let wrong = "SCHEMA_VALIDATION_FAILED: Value is not a valid JSONPath: States.MathAdd(1, 2) at \
                 /States/S/SecondsPath";
    assert_eq!(wait("States.MathAdd(1, 2)"), [wrong]);
    let fail = json!({ "StartAt": "F", "States": {
        "F": { "Type": "Fail", "ErrorPath": "States.Format('E{}', $.n)" } } });
    let (machine, _) = begin(&fail, json!({ "n": 1 }));
    let Some(End::Failed { error, .. }) = machine.end() else { panic!("{:?}", machine.end()) };
    assert_eq!(error.as_deref(), Some("E1"));
}

#[test]
fn a_reader_knows_the_words_of_its_configuration() {
    let read = |config: &Value| {
        let mut config = config.clone();
        config["InputType"] = "MANIFEST".into();
        let parsed = parse(
            &distributed(&json!({ "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": config,
            } }))
            .to_string(),
            MachineType::Standard,
        );
        parsed.problems.len()
    };
    for right in [
        json!({ "ManifestType": "ATHENA_DATA", "Transformation": "LOAD_AND_FLATTEN" }),
        json!({ "ManifestType": "S3_INVENTORY", "Transformation": "NONE" }),
        json!({ "ItemsPointer": "/a/b" }),
        json!({ "ItemsPointer": "" }),
    ] {
        assert_eq!(read(&right), 0, "{right}");
    }
    for wrong in [
        json!({ "ManifestType": "ATHENA" }),
        json!({ "Transformation": "FLATTEN" }),
        json!({ "ItemsPointer": "$.a" }),
    ] {
        assert_eq!(read(&wrong), 1, "{wrong}");
    }
}

#[test]
fn a_call_that_ran_out_of_time_is_not_begun_twice_by_a_redrive_and_its_retries_are_counted_anew() {
    let definition = one(&json!({
        "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "TimeoutSeconds": 10,
        "Retry": [{ "ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "IntervalSeconds": 1 }],
    }));
    let of_task = |turn: &Turn| {
        turn.asks.iter().find_map(|(op, ask)| matches!(ask, Ask::Task(_)).then_some(*op))
    };
    let (mut machine, turn) = begin(&definition, json!({}));
    let failed = || Err(Failed { error: "E".to_owned(), cause: None });
    let turn = machine.step([Input::TaskEnded(of_task(&turn).unwrap(), failed())], &world(NOW));
    let turn = machine.step([Input::Fired(waiting(&turn)[0].0)], &world(NOW));
    let (work, (limit, _)) = (of_task(&turn).unwrap(), waiting(&turn)[0]);
    let encoded = machine.encode();
    machine.step([Input::Fired(limit)], &world(NOW));
    assert!(matches!(machine.end(), Some(End::Failed { .. })), "its one retry was used up");

    let definition = Arc::new(machine.definition().clone());
    let parts = BTreeMap::<u64, Vec<u8>>::new();
    let mut machine =
        Machine::decode(&encoded.state, &parts, definition, Settings::default()).unwrap();
    let redriven = Timestamp(LATER.0 - 1_000_000_000);
    let redrive = Redrive { count: 1, made_again: vec![(work, redriven)] };
    let turn = machine.redrive(&redrive, &mut vec![limit], &world(LATER));
    let told: Vec<_> = turn.events.iter().map(|event| (event.kind, event.at)).collect();
    let expected = [EventKind::LambdaFunctionScheduled, EventKind::LambdaFunctionStarted];
    assert_eq!(told, expected.map(|kind| (kind, redriven)));
    assert_eq!(turn.events[0].previous, 2, "it follows the entry of its state");
    // Whoever makes the call again still waits for the same one.
    assert_eq!((of_task(&turn), &turn.drops[..]), (None, &[limit][..]));
    assert_eq!(waiting(&turn)[0].1, LATER + std::time::Duration::from_secs(10));
    machine.step([Input::TaskEnded(work, failed())], &world(LATER));
    assert_eq!(machine.end(), None, "it is tried again");
}

#[test]
fn a_field_with_another_word_and_an_empty_list_are_refused_as_aws_words_it() {
    let parsed = parse(&one(&json!({ "Type": "Loop" })).to_string(), MachineType::Standard);
    assert_eq!(
        parsed.problems[0].to_string(),
        "SCHEMA_VALIDATION_FAILED: The field 'Type' should have one of these values: [Task, Wait, Pass, Succeed, \
         Fail, Choice, Parallel, Map] at /States/S/Type"
    );
    assert_eq!(
        problems(&json!({ "Type": "Parallel", "Branches": [] })),
        ["SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States/S/Branches"]
    );
}
