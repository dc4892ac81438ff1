//! What users write is never trusted: definitions, expressions, files and damaged states end with an answer
//! or a refusal, never with a panic, and never without end.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use asl::Document;
use asl::ask::{Ask, Failed, Input};
use asl::definition::{ChartId, Format, MachineType, parse};
use asl::env::{Env, Random};
use asl::items::{Items, Layout};
use asl::jsonata::{Expression, Limits};
use asl::machine::{Encoded, Facts, Machine, Settings, Start, Turn, World};
use model::Timestamp;
use model::suspend::OpId;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Fields of states and of what stands in them.
const FIELDS: &[&str] = &[
    "Arguments",
    "Assign",
    "BackoffRate",
    "Branches",
    "Catch",
    "Choices",
    "Condition",
    "Default",
    "End",
    "Error",
    "ErrorEquals",
    "HeartbeatSeconds",
    "InputPath",
    "IntervalSeconds",
    "ItemBatcher",
    "ItemProcessor",
    "ItemReader",
    "ItemSelector",
    "Items",
    "ItemsPath",
    "Iterator",
    "MaxAttempts",
    "MaxConcurrency",
    "MaxDelaySeconds",
    "MaxItemsPerBatch",
    "Next",
    "Output",
    "OutputPath",
    "Parameters",
    "Parameters.$",
    "ProcessorConfig",
    "QueryLanguage",
    "ReaderConfig",
    "Resource",
    "Result",
    "ResultPath",
    "ResultSelector",
    "ResultWriter",
    "Retry",
    "Seconds",
    "SecondsPath",
    "StartAt",
    "States",
    "Timestamp",
    "TimeoutSeconds",
    "ToleratedFailureCount",
    "Type",
    "Variable",
    "a",
    "a.$",
    "b.$",
];

/// Texts that mean something in some field.
const TEXTS: &[&str] = &[
    "A",
    "B",
    "C",
    "Choice",
    "DISTRIBUTED",
    "EXPRESS",
    "FULL",
    "Fail",
    "INLINE",
    "JSONPath",
    "JSONata",
    "Map",
    "Parallel",
    "Pass",
    "STANDARD",
    "States.ALL",
    "States.Timeout",
    "Succeed",
    "Task",
    "Wait",
    "",
    "$",
    "$$",
    "$.a",
    "$.a[*].b",
    "$..a",
    "$.a[?(@.b > 1)]",
    "$v",
    "$$.Map.Item.Value",
    "2024-01-01T00:00:00Z",
    "States.Format('{}', $.a)",
    "States.ArrayRange(0, 900, 1)",
    "States.UUID()",
    "States.StringToJson($.t)",
    "{% $states.input.a %}",
    "{% [1..1000].($ * 2) %}",
    "{% $v %}",
    "{% $states.result %}",
    "{% $parse('[1') %}",
    "{% $f := function($n) { $f($n + 1) }; $f(0) %}",
    "arn:aws:lambda:us-east-1:000000000000:function:f",
    "arn:aws:states:::lambda:invoke",
    "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
    "arn:aws:states:::s3:getObject",
    "arn:aws:states:::states:startExecution.sync:2",
    "arn:aws:states:us-east-1:000000000000:activity:a",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(TEXTS).prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        2 => (0i64..5).prop_map(Value::from),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => Just(Value::Null),
    ]
}

/// Anything that is made of the language's words.
fn anything() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 48, 6, |inner| {
        let field = prop::sample::select(FIELDS).prop_map(str::to_owned);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            3 => prop::collection::btree_map(field, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A state that may well be one: the fields of its type, and sometimes others.
fn state() -> impl Strategy<Value = Value> {
    let step = prop_oneof![
        Just(json!({ "Type": "Pass", "Next": "B" })),
        Just(
            json!({ "Type": "Pass", "Result": [1, { "b": 2 }], "ResultPath": "$.a", "Next": "C" })
        ),
        Just(json!({ "Type": "Wait", "Seconds": 1, "Next": "B" })),
        Just(json!({ "Type": "Succeed" })),
        Just(json!({ "Type": "Fail", "Error": "E" })),
        Just(json!({ "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true,
                     "Retry": [{ "ErrorEquals": ["States.ALL"], "MaxAttempts": 2 }] })),
        Just(json!({ "Type": "Choice", "Default": "C",
                     "Choices": [{ "Variable": "$.a", "IsPresent": true, "Next": "B" }] })),
        Just(json!({ "Type": "Map", "ItemsPath": "$.a", "End": true,
                     "ItemProcessor": { "StartAt": "I", "States": { "I": { "Type": "Pass", "End": true } } } })),
        Just(json!({ "Type": "Map", "End": true, "ItemsPath": "$.a",
                     "ItemProcessor": { "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
                                        "StartAt": "D", "States": { "D": { "Type": "Pass", "End": true } } } })),
        Just(json!({ "Type": "Parallel", "End": true, "Branches": [
                     { "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } } }] })),
        Just(
            json!({ "Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.input.a %}",
                     "Assign": { "v": "{% 1 %}" }, "End": true })
        ),
    ];
    let field = prop::sample::select(FIELDS).prop_map(str::to_owned);
    let others = prop_oneof![
        4 => Just(BTreeMap::new()),
        1 => prop::collection::btree_map(field, anything(), 1..3),
    ];
    (step, others).prop_map(|(mut state, others)| {
        for (name, value) in others {
            state[name] = value;
        }
        state
    })
}

fn definition() -> impl Strategy<Value = Value> {
    // Every state can be reached: others are refused.
    let whole = (state(), state(), state()).prop_map(|(a, b, c)| {
        let first = json!({ "Type": "Choice", "Default": "C", "Choices": [
            { "Variable": "$.k", "NumericEquals": 0, "Next": "A" },
            { "Variable": "$.k", "NumericEquals": 1, "Next": "B" },
        ] });
        json!({ "StartAt": "First", "States": { "First": first, "A": a, "B": b, "C": c } })
    });
    prop_oneof![3 => whole, 1 => anything()]
}

fn input() -> impl Strategy<Value = Value> {
    let inner =
        prop_oneof![Just(json!([1, { "b": 2 }, "x"])), Just(json!({ "b": [[]] })), anything(),];
    (inner, 0..3).prop_map(|(a, k)| json!({ "a": a, "t": "{}", "k": k }))
}

/// Steps of one execution; some go round for ever, and wait or count as they do.
const STEPS: usize = 60;

/// Runs it for a while. Everything that is asked for answers in turn, well and badly.
fn run(definition: asl::definition::Definition, input: Value) -> Vec<Vec<u8>> {
    let definition = Arc::new(definition);
    let settings = Settings { events_max: 2_000, transitions_per_step: 200, ..Settings::default() };
    let token = |op: OpId| format!("token-{}", op.0);
    let mut now = Timestamp::from_millis(1_700_000_000_000);
    let facts = Facts {
        execution_arn: "arn:aws:states:us-east-1:000000000000:execution:m:e".to_owned(),
        execution_name: "e".to_owned(),
        role_arn: "arn:aws:iam::000000000000:role/r".to_owned(),
        started: now,
        redrive_count: Some(0),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".to_owned(),
        machine_name: "m".to_owned(),
    };
    let start = Start { facts, input: input.into(), chart: ChartId(0), seed: 1 };
    let world = World { now, token: &token };
    let (mut machine, mut turn) =
        Machine::start(Arc::clone(&definition), settings.clone(), start, &world);
    let (mut parts, mut states, mut open) = (BTreeMap::new(), Vec::new(), Vec::new());
    for round in 0..STEPS {
        let Turn { asks, drops, events: _, end } = turn;
        if end.is_some() {
            break;
        }
        let Encoded { state, parts: new, live } = machine.encode();
        parts.extend(new);
        parts.retain(|number, _| live.contains(number));
        states.push(state.clone());
        machine =
            Machine::decode(&state, &parts, Arc::clone(&definition), settings.clone()).unwrap();
        open.retain(|(op, _)| !drops.contains(op));
        open.extend(asks);
        if open.is_empty() {
            // States that go round without a wait.
            turn = machine.step([], &World { now, token: &token });
            continue;
        }
        let (op, ask) = open.remove(0);
        now = now + std::time::Duration::from_secs(3_600);
        let inputs = answers(op, &ask, round);
        turn = machine.step(inputs, &World { now, token: &token });
    }
    states
}

fn answers(op: OpId, ask: &Ask, round: usize) -> [Input; 1] {
    let failed = || Failed { error: "E".to_owned(), cause: None };
    let outcome =
        |value: Value| if round % 3 == 2 { Err(failed()) } else { Ok(Document::new(value)) };
    [match ask {
        Ask::Timer { .. } => Input::Fired(op),
        Ask::Task(_) => Input::TaskEnded(op, outcome(json!({ "a": [1] }))),
        Ask::Read(_) => Input::ItemsRead(op, outcome(json!([1, 2])).map(Into::into)),
        Ask::Child(_) => Input::ChildEnded(op, outcome(json!([3]))),
        Ask::Write(_) => Input::ResultsWritten(op, outcome(json!({}))),
    }]
}

fn layouts() -> impl Strategy<Value = Layout> {
    let formats =
        [None, Some(Format::Csv), Some(Format::Json), Some(Format::Jsonl), Some(Format::Manifest)];
    let pointer = prop_oneof![Just(None), Just(Some("/a".to_owned()))];
    let most = prop_oneof![3 => Just(None), 1 => (0u64..3).prop_map(Some)];
    (prop::sample::select(formats.to_vec()), pointer, most).prop_map(
        |(format, items_pointer, max_items)| Layout {
            format,
            csv_headers: None,
            csv_delimiter: ',',
            items_pointer,
            max_items,
        },
    )
}

fn read(layout: &Layout, bytes: &[u8], size: usize) -> Result<Vec<Value>, Failed> {
    let mut items = Items::new(layout.clone(), 10_000);
    for bit in bytes.chunks(size) {
        if items.is_full() {
            break;
        }
        items.push(bit)?;
    }
    items.finish().map(|held| held.items)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_definition_is_refused_or_runs_and_its_state_is_read_again(
        definition in definition(),
        input in input(),
    ) {
        for sort in [MachineType::Standard, MachineType::Express] {
            let parsed = parse(&definition.to_string(), sort);
            if let Some(definition) = parsed.definition {
                run(definition, input.clone());
            } else {
                prop_assert!(!parsed.problems.is_empty());
            }
        }
    }

    #[test]
    fn a_text_that_is_nearly_json_is_no_definition(text in r#"[\[\]{}":,a-z$.0-9 \\]{0,60}"#) {
        let _ = parse(&text, MachineType::Standard);
    }

    #[test]
    fn a_damaged_state_is_refused(
        input in input(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let text = json!({ "StartAt": "M", "States": { "M": { "Type": "Map", "ItemsPath": "$.a", "End": true,
            "ItemProcessor": { "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 1, "End": true } } } } } });
        let parse = || parse(&text.to_string(), MachineType::Standard).definition.unwrap();
        let none = BTreeMap::<u64, Vec<u8>>::new();
        for mut state in run(parse(), input).into_iter().take(2) {
            let at = at.index(state.len());
            state[at] ^= byte;
            let definition = Arc::new(parse());
            let _ = Machine::decode(&state, &none, Arc::clone(&definition), Settings::default());
            state.truncate(at);
            let _ = Machine::decode(&state, &none, definition, Settings::default());
        }
    }

    #[test]
    fn a_file_gives_the_same_items_however_it_comes(
        layout in layouts(),
        text in r#"[\[\]{}"\\,:1a\n\r é]{0,24}|(\[[1-3"a,{}\[\]]{0,8},?){0,4}\]?|("?[a-c,\n]{0,4}"?[,\n]){0,6}"#,
        size in 1usize..5,
    ) {
        let whole = read(&layout, text.as_bytes(), usize::MAX);
        let bits = read(&layout, text.as_bytes(), size);
        // What comes behind the last item that is wanted may be wrong or not, and is not looked at.
        if layout.max_items.is_none() {
            prop_assert_eq!(&whole, &bits);
        } else if let (Ok(whole), Ok(bits)) = (&whole, &bits) {
            prop_assert_eq!(whole, bits);
        }
    }

    #[test]
    fn a_file_of_any_bytes_is_read_or_refused(
        layout in layouts(),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let _ = read(&layout, &bytes, 7);
    }
}

/// Expressions that are made of calls in calls.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("$states.input.a".to_owned()),
        Just("[1..99999]".to_owned()),
        Just("'x'".to_owned()),
        Just("{'k': 1}".to_owned()),
        Just("9007199254740993".to_owned()),
        Just("-1e308".to_owned()),
        Just("$r".to_owned()),
        Just("/a+(b*)c/".to_owned()),
        (-3i64..70).prop_map(|number| number.to_string()),
    ];
    let calls = [
        "$string",
        "$number",
        "$pad",
        "$join",
        "$split",
        "$replace",
        "$map",
        "$filter",
        "$reduce",
        "$sort",
        "$zip",
        "$append",
        "$merge",
        "$spread",
        "$each",
        "$keys",
        "$lookup",
        "$substring",
        "$match",
        "$formatNumber",
        "$formatBase",
        "$toMillis",
        "$fromMillis",
        "$base64decode",
        "$power",
        "$round",
        "$sum",
        "$distinct",
        "$shuffle",
        "$range",
        "$partition",
        "$hash",
        "$parse",
        "$uuid",
        "$sift",
        "$single",
        "$error",
        "$assert",
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        prop_oneof![
            4 => (prop::sample::select(calls.to_vec()), prop::collection::vec(inner.clone(), 0..4))
                .prop_map(|(name, arguments)| format!("{name}({})", arguments.join(", "))),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} & {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).({b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => inner.clone().prop_map(|a| format!("($r := {a}; [$r, $r])")),
            1 => inner.prop_map(|a| format!("function($r, $i) {{ {a} }}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn calls_in_calls_end_within_their_limits(text in expression(), input in input()) {
        let Ok(expression) = Expression::parse(&text) else { return Ok(()) };
        let (variables, context) = (BTreeMap::<String, Value>::new(), Value::Object(Map::new()));
        let env = Env {
            input: &input,
            context: &context,
            variables: &variables,
            result: None,
            error_output: None,
            now: Timestamp::from_millis(1_700_000_000_000),
            random: &Random::new(1),
        };
        let limits = Limits { time_ms: 100, total_size: 1 << 20, value_size: 1 << 18, ..Limits::DEFAULT };
        // A value that is let out is within the limit of one value.
        if let Ok(value) = expression.evaluate_within("Output", &env, &limits) {
            prop_assert!(value.to_string().len() < 8 << 20);
        }
    }
}
