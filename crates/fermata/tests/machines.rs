//! State machines through the built server: functions like any other, durable at each transition, and
//! the Step Functions API on what the node keeps.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Server, aws};

const ECHO: &str = "def handler(event, context):\n    return event\n";
const FAIL: &str = "def handler(event, context):\n    raise ValueError('no')\n";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:";
const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:";
const ROLE: &str = "arn:aws:iam::000000000000:role/r";

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn server(files: &[(&str, String)]) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev(&[]);
    for (name, text) in files {
        server.ok(&["deploy", &file(folder.path(), name, text)]);
    }
    (server, folder)
}

fn create(server: &Server, name: &str, definition: &Value) {
    let body = json!({"name": name, "definition": definition.to_string(), "roleArn": ROLE});
    aws(server, "CreateStateMachine", &body).unwrap();
}

fn start(server: &Server, machine: &str, name: &str, input: &Value) -> String {
    let arn = format!("{MACHINE}{machine}");
    let body = json!({"stateMachineArn": arn, "name": name, "input": input.to_string()});
    let started = aws(server, "StartExecution", &body).unwrap();
    started["executionArn"].as_str().unwrap().to_owned()
}

fn describe(server: &Server, arn: &str) -> Value {
    aws(server, "DescribeExecution", &json!({"executionArn": arn})).unwrap()
}

/// Waits for the end of an execution.
#[track_caller]
fn ended(server: &Server, arn: &str) -> Value {
    let bound = Instant::now() + Duration::from_secs(60);
    loop {
        let described = describe(server, arn);
        if described["status"] != "RUNNING" {
            return described;
        }
        assert!(Instant::now() < bound, "it did not end: {described:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn history(server: &Server, arn: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut body = json!({"executionArn": arn, "maxResults": 1000});
    loop {
        let page = aws(server, "GetExecutionHistory", &body).unwrap();
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        match page.get("nextToken") {
            Some(token) => body["nextToken"] = token.clone(),
            None => return events,
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn task(resource: &str, next: &str) -> Value {
    let mut state = json!({"Type": "Task", "Resource": resource});
    if next.is_empty() {
        state["End"] = true.into();
    } else {
        state["Next"] = next.into();
    }
    state
}

fn machine(states: &Value, first: &str) -> Value {
    json!({"StartAt": first, "States": states})
}

#[test]
fn a_cancel_never_overtakes_the_start_of_a_nested_execution() {
    let (server, _folder) = server(&[]);
    let hour = json!({"W": {"Type": "Wait", "Seconds": 3600, "End": true}});
    create(&server, "inner", &machine(&hour, "W"));
    let mut nested = task("arn:aws:states:::states:startExecution.sync:2", "");
    // Large enough to lie beside the state: it is read before the nested one begins.
    let padding = " x".repeat(20_000);
    nested["Parameters"] = json!({"StateMachineArn": format!("{MACHINE}inner"), "Input.$": "$"});
    create(&server, "outer", &machine(&json!({"N": nested}), "N"));
    for number in 0..60 {
        let arn = start(&server, "outer", &format!("o{number}"), &json!({"padding": padding}));
        std::thread::sleep(Duration::from_micros(number * 100));
        aws(&server, "StopExecution", &json!({"executionArn": arn})).unwrap();
    }
    support::eventually("all have ended", || {
        let all = server.json(&["executions", "list", "--limit", "999"]);
        all["items"].as_array().unwrap().iter().all(|item| item["status"] == "cancelled")
    });
}

#[test]
fn a_machine_is_a_function_inside_compositions_of_every_kind_and_its_class_goes_down() {
    let echo = format!("{FUNCTION}echo");
    let inner = json!({
        "Both": {"Type": "Parallel", "Next": "Rest", "Branches": [
            machine(&json!({"A": task(&echo, "")}), "A"),
            machine(&json!({"B": {"Type": "Wait", "Seconds": 1, "End": true}}), "B"),
        ]},
        "Rest": {"Type": "Map", "End": true,
                 "ItemProcessor": machine(&json!({"I": task(&echo, "")}), "I")},
    });
    let outer = json!({"S": task(&format!("{FUNCTION}chain"), "")});
    let (server, folder) = server(&[
        ("echo.py", ECHO.to_owned()),
        ("inner.asl.json", machine(&inner, "Both").to_string()),
        ("chain.sequence.json", json!({"sequence": ["echo", "inner"]}).to_string()),
        ("outer.asl.json", machine(&outer, "S").to_string()),
    ]);
    let said = server.ok(&["invoke", "outer", "--class", "critical", r#"{"n":1}"#]);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer, json!([{"n": 1}, {"n": 1}]));

    let made = server.json(&["executions", "list"]);
    let made = made["items"].as_array().unwrap();
    assert_eq!(made.len(), 3, "{made:#?}");
    assert!(made.iter().all(|made| made["class"] == "critical"), "{made:#?}");
    let machine = made.iter().find(|made| made["function"] == "inner").unwrap();
    let shown = server.json(&["executions", "show", machine["id"].as_str().unwrap()]);
    assert_eq!(shown["cost"]["cpu_ns"], 0, "an interpreter computes nothing, least while it waits");
    assert_ne!(shown["cost"]["children"], "0.0");
    let calls = server.json(&["invocations", "list"]);
    let calls = calls["items"].as_array().unwrap();
    let echoes: Vec<_> = calls.iter().filter(|call| call["function"] == "echo").collect();
    assert_eq!(echoes.len(), 4, "{calls:#?}");
    assert!(echoes.iter().all(|call| call["class"] == "critical"), "{echoes:#?}");

    let bad = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"C":{"Type":"Wait"}}}"#;
    let said = server.run(&["deploy", &file(folder.path(), "bad.asl.json", bad)]);
    assert_eq!(said.code, 3, "{said:?}");
    for place in ["/States/A/Next", "/States/C"] {
        assert!(said.err.contains(place), "{said:?}");
    }
}

#[test]
fn a_failure_keeps_its_name_up_through_compositions() {
    let caught = json!({
        "Try": {"Type": "Task", "Resource": format!("{FUNCTION}inner"), "End": true,
                "Catch": [{"ErrorEquals": ["Mine"], "Next": "Caught"}]},
        "Caught": {"Type": "Succeed"},
    });
    let inner = json!({"F": {"Type": "Fail", "Error": "Mine", "Cause": "because"}});
    let (server, _folder) = server(&[
        ("inner.asl.json", machine(&inner, "F").to_string()),
        ("outer.asl.json", machine(&caught, "Try").to_string()),
    ]);
    let said = server.run(&["invoke", "inner", "{}"]);
    assert!(said.code == 1 && said.err.contains("Mine"), "{said:?}");
    let answer: Value = serde_json::from_str(&server.ok(&["invoke", "outer", "{}"])).unwrap();
    assert_eq!(answer["Error"], "Mine");
    assert!(answer["Cause"].as_str().unwrap().contains("because"), "{answer}");
}

#[test]
fn what_the_api_began_outlives_the_server_and_starting_is_idempotent() {
    let (server, _folder) = server(&[("echo.py", ECHO.to_owned())]);
    let activity = "arn:aws:states:us-east-1:000000000000:activity:review";
    aws(&server, "CreateActivity", &json!({"name": "review"})).unwrap();
    let states =
        json!({"Work": task(activity, "Then"), "Then": task(&format!("{FUNCTION}echo"), "")});
    create(&server, "flow", &machine(&states, "Work"));
    let arn = start(&server, "flow", "one", &json!({"a": 1}));
    assert_eq!(start(&server, "flow", "one", &json!({"a": 1})), arn, "the same request again");
    let other = json!({"stateMachineArn": format!("{MACHINE}flow"), "name": "one", "input": "{}"});
    let refused = aws(&server, "StartExecution", &other).unwrap_err();
    assert_eq!(refused["__type"], "ExecutionAlreadyExists");

    let server = server.kill_and_restart();
    assert_eq!(describe(&server, &arn)["status"], "RUNNING");
    let worker = json!({"activityArn": activity, "workerName": "w"});
    let taken = aws(&server, "GetActivityTask", &worker).unwrap();
    assert_eq!(taken["input"], r#"{"a":1}"#);
    let token = taken["taskToken"].as_str().unwrap().to_owned();

    let server = server.kill_and_restart();
    aws(&server, "SendTaskSuccess", &json!({"taskToken": token, "output": "[7]"})).unwrap();
    let done = ended(&server, &arn);
    assert_eq!((&done["status"], &done["output"]), (&json!("SUCCEEDED"), &json!("[7]")));
    let late = aws(&server, "SendTaskSuccess", &json!({"taskToken": token, "output": "1"}));
    assert_eq!(late.unwrap_err()["__type"], "TaskTimedOut");
    let never = aws(&server, "SendTaskSuccess", &json!({"taskToken": "x", "output": "1"}));
    assert_eq!(never.unwrap_err()["__type"], "InvalidToken");

    let events = history(&server, &arn);
    let expected = [
        "ExecutionStarted",
        "TaskStateEntered",
        "ActivityScheduled",
        "ActivityStarted",
        "ActivitySucceeded",
        "TaskStateExited",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ];
    assert_eq!(kinds(&events), expected);
    let listed = json!({"stateMachineArn": format!("{MACHINE}flow"), "statusFilter": "SUCCEEDED"});
    let listed = aws(&server, "ListExecutions", &listed).unwrap();
    assert_eq!(listed["executions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_stopped_execution_is_aborted_and_a_failed_one_goes_on_where_it_failed() {
    let (server, folder) = server(&[("echo.py", ECHO.to_owned()), ("flaky.py", FAIL.to_owned())]);
    create(
        &server,
        "long",
        &machine(&json!({"W": {"Type": "Wait", "Seconds": 600, "End": true}}), "W"),
    );
    let arn = start(&server, "long", "stopped", &json!({}));
    let stop = json!({"executionArn": arn, "error": "Enough", "cause": "too long"});
    aws(&server, "StopExecution", &stop).unwrap();
    let done = ended(&server, &arn);
    assert_eq!(done["status"], "ABORTED");
    assert_eq!((&done["error"], &done["cause"]), (&json!("Enough"), &json!("too long")));
    let events = history(&server, &arn);
    assert_eq!(*kinds(&events).last().unwrap(), "ExecutionAborted");
    assert_eq!(events.last().unwrap()["previousEventId"], 0);
    assert_eq!(events.last().unwrap()["executionAbortedEventDetails"]["error"], "Enough");

    let states = json!({
        "First": task(&format!("{FUNCTION}echo"), "Then"),
        "Then": task(&format!("{FUNCTION}flaky"), ""),
    });
    create(&server, "flow", &machine(&states, "First"));
    let arn = start(&server, "flow", "again", &json!({"k": 1}));
    let failed = ended(&server, &arn);
    assert_eq!((&failed["status"], &failed["error"]), (&json!("FAILED"), &json!("ValueError")));
    assert_eq!(failed["redriveStatus"], "REDRIVABLE");
    server.ok(&["deploy", &file(folder.path(), "flaky.py", ECHO)]);
    aws(&server, "RedriveExecution", &json!({"executionArn": arn})).unwrap();
    let done = ended(&server, &arn);
    assert_eq!((&done["status"], &done["redriveCount"]), (&json!("SUCCEEDED"), &json!(1)));
    let events = history(&server, &arn);
    let kinds = kinds(&events);
    assert_eq!(kinds.iter().filter(|kind| **kind == "LambdaFunctionSucceeded").count(), 2);
    assert!(kinds.contains(&"ExecutionRedriven"), "{kinds:?}");
    let refused = aws(&server, "RedriveExecution", &json!({"executionArn": arn})).unwrap_err();
    assert_eq!(refused["__type"], "ExecutionNotRedrivable");
}

#[test]
fn a_nested_execution_that_begins_again_with_a_redrive_is_told_of_as_itself() {
    let (server, folder) = server(&[("flaky.py", FAIL.to_owned())]);
    create(&server, "inner", &machine(&json!({"T": task(&format!("{FUNCTION}flaky"), "")}), "T"));
    let mut nested = task("arn:aws:states:::states:startExecution.sync:2", "");
    nested["Parameters"] = json!({"StateMachineArn": format!("{MACHINE}inner"), "Input.$": "$"});
    create(&server, "outer", &machine(&json!({"N": nested}), "N"));
    let arn = start(&server, "outer", "o", &json!({"k": 1}));
    let failed = ended(&server, &arn);
    assert_eq!(failed["error"], "States.TaskFailed", "{failed:#}");
    server.ok(&["deploy", &file(folder.path(), "flaky.py", ECHO)]);
    aws(&server, "RedriveExecution", &json!({"executionArn": arn})).unwrap();
    let done = ended(&server, &arn);
    assert_eq!(done["status"], "SUCCEEDED", "{done:#}");
    let told: Value = serde_json::from_str(done["output"].as_str().unwrap()).unwrap();
    let listed = json!({"stateMachineArn": format!("{MACHINE}inner"), "statusFilter": "SUCCEEDED"});
    let listed = aws(&server, "ListExecutions", &listed).unwrap();
    assert_eq!(listed["executions"][0]["executionArn"], told["ExecutionArn"]);
    let events = history(&server, &arn);
    let submitted = events.iter().filter(|event| event["type"] == "TaskSubmitted");
    let shown: Vec<bool> = submitted
        .map(|event| {
            let output = event["taskSubmittedEventDetails"]["output"].as_str().unwrap();
            output.contains(told["ExecutionArn"].as_str().unwrap())
        })
        .collect();
    assert_eq!(shown, [false, true], "each says which it is");
}

#[test]
fn a_job_that_is_told_the_token_of_its_state_may_end_it() {
    let (server, _folder) = server(&[]);
    let mut send = task("arn:aws:states:::aws-sdk:sfn:sendTaskSuccess", "Wait");
    send["Parameters"] = json!({"TaskToken.$": "$.token", "Output": "\"early\""});
    let job = json!({"Send": send, "Wait": {"Type": "Wait", "Seconds": 1000, "End": true}});
    create(&server, "job", &machine(&job, "Send"));
    let mut run = task("arn:aws:states:::states:startExecution.sync", "");
    run["Parameters"] = json!({"StateMachineArn": format!("{MACHINE}job"), "Name": "the-job",
        "Input": {"token.$": "$$.Task.Token"}});
    create(&server, "asks", &machine(&json!({"Run": run}), "Run"));
    let arn = start(&server, "asks", "run", &json!({}));
    let done = ended(&server, &arn);
    assert_eq!((&done["status"], &done["output"]), (&json!("SUCCEEDED"), &json!("\"early\"")));
    let told = history(&server, &arn);
    assert!(kinds(&told).ends_with(&[
        "TaskSubmitted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded"
    ]));
    let job = MACHINE.replace("stateMachine:", "execution:job:the-job");
    support::eventually("the job is stopped", || describe(&server, &job)["status"] == "ABORTED");
}

#[test]
fn a_silent_worker_is_given_up_after_its_heartbeat() {
    let (server, _folder) = server(&[]);
    let activity = "arn:aws:states:us-east-1:000000000000:activity:slow";
    aws(&server, "CreateActivity", &json!({"name": "slow"})).unwrap();
    let mut work = task(activity, "");
    work["HeartbeatSeconds"] = 2.into();
    create(&server, "flow", &machine(&json!({"Work": work}), "Work"));
    let arn = start(&server, "flow", "quiet", &json!({}));
    let taken = aws(&server, "GetActivityTask", &json!({"activityArn": activity})).unwrap();
    let token = taken["taskToken"].as_str().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        aws(&server, "SendTaskHeartbeat", &json!({"taskToken": token})).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(describe(&server, &arn)["status"], "RUNNING", "it gives signs of life");
    let done = ended(&server, &arn);
    assert_eq!((&done["status"], &done["error"]), (&json!("FAILED"), &json!("States.Timeout")));
    assert!(kinds(&history(&server, &arn)).contains(&"ActivityTimedOut"));
}

#[test]
fn a_map_run_is_shown_with_its_children() {
    let (server, _folder) = server(&[]);
    let mut processor = machine(&json!({"I": {"Type": "Pass", "End": true}}), "I");
    processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
    let map = json!({
        "Type": "Map",
        "Label": "Each",
        "ItemProcessor": processor,
        "MaxConcurrency": 7,
        "ToleratedFailurePercentage": 12.5,
        "Next": "W",
    });
    // What waits afterwards has said last where the execution stands.
    let states = json!({"M": map, "W": {"Type": "Wait", "Seconds": 0, "End": true}});
    create(&server, "many", &machine(&states, "M"));
    let items: Vec<u32> = (0..40).collect();
    let arn = start(&server, "many", "run", &json!(items));
    let done = ended(&server, &arn);
    assert_eq!(done["output"], json!(items).to_string());
    let runs = aws(&server, "ListMapRuns", &json!({"executionArn": arn})).unwrap();
    let run = runs["mapRuns"][0]["mapRunArn"].as_str().unwrap();
    let shown = aws(&server, "DescribeMapRun", &json!({"mapRunArn": run})).unwrap();
    assert_eq!(shown["status"], "SUCCEEDED");
    assert_eq!(shown["executionCounts"]["succeeded"], 40);
    assert_eq!((&shown["maxConcurrency"], &shown["toleratedFailureCount"]), (&json!(7), &json!(0)));
    assert_eq!(shown["toleratedFailurePercentage"], 12.5);
    let children = json!({"mapRunArn": run, "maxResults": 30});
    let first = aws(&server, "ListExecutions", &children).unwrap();
    assert_eq!(first["executions"].as_array().unwrap().len(), 30);
    let rest = json!({"mapRunArn": run, "nextToken": first["nextToken"]});
    let rest = aws(&server, "ListExecutions", &rest).unwrap();
    assert_eq!(rest["executions"].as_array().unwrap().len(), 10);
    let child = rest["executions"][0]["executionArn"].as_str().unwrap();
    assert_eq!(describe(&server, child)["mapRunArn"], run);
}

/// Draws from a seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What led to what: each event with all before it in its branch or iteration. It is the same however
/// branches interleave. Which iteration makes room for the next one, and which is the last to end, is not:
/// chains begin anew there.
fn causes(events: &[Value]) -> Vec<String> {
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    for event in events {
        let (id, previous) = (event["id"].as_u64().unwrap(), event["previousEventId"].as_u64());
        assert_eq!(id, known.len() as u64 + 1, "events are numbered without a gap");
        let before = known.get(&previous.unwrap()).cloned().unwrap_or_default();
        let kind = event["type"].as_str().unwrap();
        let details = event.as_object().unwrap().iter().find(|(key, _)| key.ends_with("Details"));
        let name = details.and_then(|(_, details)| details["name"].as_str()).unwrap_or_default();
        let chain = match kind {
            "MapIterationStarted" => {
                let index = &event["mapIterationStartedEventDetails"]["index"];
                format!("{kind}{index}")
            }
            "MapStateSucceeded" | "MapStateExited" => format!("{kind}{name}"),
            _ => format!("{before}/{kind}{name}"),
        };
        known.insert(id, chain);
    }
    let mut causes: Vec<String> = known.into_values().collect();
    causes.sort();
    causes
}

/// `kill -9` at random moments in the middle of Parallel in Map in nested executions: the outputs and
/// histories are those of a run that nobody disturbed.
#[test]
fn killed_again_and_again_an_execution_ends_as_if_nothing_had_been() {
    const KILLS: u32 = 36;
    let seed = std::env::var("FERMATA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 16 | 1);
    eprintln!("seed {seed}: run again with FERMATA_SEED={seed}");
    let echo = format!("{FUNCTION}echo");
    let (mut server, _folder) = server(&[]);
    server.ok(&["deploy", &support::guest("echo")]);
    let inner = json!({
        "Both": {"Type": "Parallel", "End": true, "Branches": [
            machine(&json!({"T": task(&echo, "U"), "U": task(&echo, "")}), "T"),
            machine(&json!({"P": {"Type": "Pass", "Result": "p", "End": true}}), "P"),
        ]},
    });
    create(&server, "inner", &machine(&inner, "Both"));
    let nested = json!({
        "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": true,
        "Parameters": {"StateMachineArn": format!("{MACHINE}inner"), "Input.$": "$"},
        "ResultPath": "$.nested", "ResultSelector": {"out.$": "$.Output"},
    });
    // One after the other, the whole history has one order.
    let branches = json!([
        machine(&json!({"N": nested}), "N"),
        machine(&json!({"Q": {"Type": "Pass", "Result": "q", "End": true}}), "Q"),
    ]);
    let iteration = json!({"B": {"Type": "Parallel", "Branches": branches, "End": true}});
    let map = |concurrency: u32| {
        let each = json!({"v.$": "$$.Map.Item.Value"});
        let states = json!({"M": {
            "Type": "Map", "MaxConcurrency": concurrency, "ItemSelector": each, "End": true,
            "ItemProcessor": machine(&iteration, "B"),
        }});
        machine(&states, "M")
    };
    create(&server, "ordered", &map(1));
    create(&server, "wide", &map(4));
    let input: Value = (1..=12).collect::<Vec<u32>>().into();
    let calm: Vec<(String, Vec<Value>)> = ["ordered", "wide"]
        .iter()
        .map(|machine| {
            let arn = start(&server, machine, "calm", &input);
            let done = ended(&server, &arn);
            assert_eq!(done["status"], "SUCCEEDED", "{done:#}");
            (done["output"].as_str().unwrap().to_owned(), history(&server, &arn))
        })
        .collect();

    let mut draws = Draws(seed);
    let (mut kills, mut round) = (0, 0);
    while kills < KILLS {
        round += 1;
        let name = format!("round-{round}");
        let arns = ["ordered", "wide"].map(|machine| start(&server, machine, &name, &input));
        loop {
            std::thread::sleep(Duration::from_millis(draws.below(60)));
            let open = arns.iter().any(|arn| describe(&server, arn)["status"] == "RUNNING");
            if !open || kills == KILLS {
                break;
            }
            server = server.kill_and_restart();
            kills += 1;
        }
        for (arn, (output, events)) in arns.iter().zip(&calm) {
            let done = ended(&server, arn);
            assert_eq!(done["output"].as_str(), Some(output.as_str()), "seed {seed}: {done:#}");
            let found = history(&server, arn);
            assert_eq!(causes(&found), causes(events), "seed {seed}, round {round}");
            if arn.contains(":ordered:") {
                assert_eq!(kinds(&found), kinds(events), "seed {seed}, round {round}");
            }
        }
    }
    eprintln!("{kills} kills in {round} rounds");
}

/// A place for objects: it keeps what is put, by its path, with the id of the key that signed it.
struct Objects {
    url: String,
    kept: Arc<Mutex<BTreeMap<String, (String, String)>>>,
}

impl Objects {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || Self::take(stream, &shared));
            }
        });
        Self { url, kept }
    }

    fn take(stream: TcpStream, kept: &Mutex<BTreeMap<String, (String, String)>>) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let path = line.split(' ').nth(1)?.to_owned();
            let (mut length, mut key) = (0, String::new());
            loop {
                line.clear();
                reader.read_line(&mut line).ok()?;
                let Some((name, value)) = line.split_once(':') else { break };
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().ok()?;
                }
                if let Some((_, credential)) = value.split_once("Credential=") {
                    key = credential.split('/').next()?.to_owned();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            kept.lock().unwrap().insert(path, (String::from_utf8(body).unwrap(), key));
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
        }
    }

    /// What was put last under a path that ends so.
    fn of(&self, end: &str) -> Value {
        let kept = self.kept.lock().unwrap();
        let found = kept.iter().find(|(path, _)| path.ends_with(end));
        let (_, (text, _)) =
            found.unwrap_or_else(|| panic!("{end} is not among {:?}", kept.keys()));
        serde_json::from_str(text).unwrap()
    }
}

/// A distributed Map state over numbers: 2 is for a function, the others succeed at once.
fn numbers(function: &str, kind: &str) -> Value {
    let mut processor = machine(
        &json!({
            "C": {"Type": "Choice", "Default": "P", "Choices": [
                {"Variable": "$", "NumericEquals": 2, "Next": "T"}]},
            "P": {"Type": "Pass", "End": true},
            "T": task(&format!("{FUNCTION}{function}"), ""),
        }),
        "C",
    );
    processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": kind});
    json!({"Type": "Map", "MaxConcurrency": 1, "ItemProcessor": processor, "End": true})
}

/// A server that has S3, and room for functions.
fn with_objects() -> (Objects, Server, tempfile::TempDir) {
    let objects = Objects::open();
    let server = Server::dev(&["--aws-endpoint", &format!("s3={}", objects.url)]);
    (objects, server, tempfile::tempdir().unwrap())
}

fn children(server: &Server, map_run: &Value) -> Vec<Value> {
    let listed = aws(server, "ListExecutions", &json!({"mapRunArn": map_run})).unwrap();
    listed["executions"].as_array().unwrap().clone()
}

fn map_run(server: &Server, arn: &str) -> Value {
    let runs = aws(server, "ListMapRuns", &json!({"executionArn": arn})).unwrap();
    let run = json!({"mapRunArn": runs["mapRuns"][0]["mapRunArn"]});
    aws(server, "DescribeMapRun", &run).unwrap()
}

/// Holds what a file of results has of a child against what its execution tells of itself.
#[track_caller]
fn check_entry(server: &Server, entry: &Value) {
    let told = describe(server, entry["ExecutionArn"].as_str().unwrap());
    let mut expected = json!({"OutputDetails": {"Included": true}});
    for (name, value) in told.as_object().unwrap() {
        let upper = name[..1].to_uppercase() + &name[1..];
        expected[upper.as_str()] = match (name.as_str(), value.as_f64()) {
            ("mapRunArn", _) => continue,
            ("inputDetails" | "outputDetails", _) => json!({"Included": true}),
            (date, Some(seconds)) if date.ends_with("Date") => {
                let written = entry[upper.as_str()].as_str().unwrap();
                let second = format!(":{:06.3}Z", seconds % 60.0);
                assert!(written.ends_with(&second), "{name}: {written} is not at {second}");
                written.into()
            }
            _ => value.clone(),
        };
    }
    assert_eq!(*entry, expected);
}

#[test]
fn a_redriven_map_run_goes_on_with_the_children_that_failed_and_writes_what_they_tell() {
    let (objects, server, folder) = with_objects();
    server.ok(&["deploy", &file(folder.path(), "flaky.py", FAIL)]);
    let mut map = numbers("flaky", "STANDARD");
    map["ResultWriter"] = json!({
        "Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b", "Prefix": "p"}});
    create(&server, "many", &machine(&json!({"M": map}), "M"));
    let arn = start(&server, "many", "run", &json!([1, 2, 3]));
    let failed = ended(&server, &arn);
    assert_eq!(failed["error"], "States.ExceedToleratedFailureThreshold", "{failed:#}");
    let run = map_run(&server, &arn);
    assert_eq!((&run["status"], &run["redriveCount"]), (&json!("FAILED"), &json!(0)));
    let before = children(&server, &run["mapRunArn"]);
    assert_eq!(before.len(), 2, "the third has not begun");
    let child = describe(&server, before[0]["executionArn"].as_str().unwrap());
    assert_eq!(
        (&child["status"], &child["redriveStatus"]),
        (&json!("FAILED"), &json!("REDRIVABLE_BY_MAP_RUN"))
    );
    let alone = json!({"executionArn": child["executionArn"]});
    let refused = aws(&server, "RedriveExecution", &alone).unwrap_err();
    assert_eq!(refused["__type"], "ValidationException");

    server.ok(&["deploy", &file(folder.path(), "flaky.py", ECHO)]);
    aws(&server, "RedriveExecution", &json!({"executionArn": arn})).unwrap();
    let done = ended(&server, &arn);
    assert_eq!(done["status"], "SUCCEEDED", "{done:#}");
    let run = map_run(&server, &arn);
    assert_eq!((&run["status"], &run["redriveCount"]), (&json!("SUCCEEDED"), &json!(1)));
    let after = children(&server, &run["mapRunArn"]);
    assert_eq!(after.len(), 3);
    let again = after.iter().find(|one| one["executionArn"] == child["executionArn"]).unwrap();
    assert_eq!((&again["status"], &again["redriveCount"]), (&json!("SUCCEEDED"), &json!(1)));
    assert_eq!(again["startDate"], child["startDate"]);
    let events = history(&server, &arn);
    let named = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    let redriven = named("MapRunRedriven");
    assert_eq!(redriven["previousEventId"], named("MapStateStarted")["id"]);
    let details = json!({"mapRunArn": run["mapRunArn"], "redriveCount": 1});
    assert_eq!(redriven["mapRunRedrivenEventDetails"], details);

    let written = objects.of("/SUCCEEDED_0.json");
    let written = written.as_array().unwrap();
    let inputs: Vec<&Value> = written.iter().map(|entry| &entry["Input"]).collect();
    assert_eq!(inputs, ["1", "2", "3"]);
    written.iter().for_each(|entry| check_entry(&server, entry));
    assert_eq!(objects.of("/manifest.json")["ResultFiles"]["FAILED"], json!([]));
}

#[test]
fn a_child_that_failed_is_written_as_its_execution_tells_of_it() {
    let (objects, server, folder) = with_objects();
    server.ok(&["deploy", &file(folder.path(), "flaky.py", FAIL)]);
    for kind in ["STANDARD", "EXPRESS"] {
        let mut map = numbers("flaky", kind);
        map["ToleratedFailureCount"] = 1.into();
        map["ResultWriter"] = json!({
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": kind}});
        create(&server, kind, &machine(&json!({"M": map}), "M"));
        let arn = start(&server, kind, "run", &json!([1, 2]));
        let done = ended(&server, &arn);
        assert_eq!(done["status"], "SUCCEEDED", "{done:#}");
        let output: Value = serde_json::from_str(done["output"].as_str().unwrap()).unwrap();
        let key = output["ResultWriterDetails"]["Key"].as_str().unwrap();
        let folder = key.strip_suffix("/manifest.json").unwrap();
        let written = objects.of(&format!("/{kind}/{folder}/FAILED_0.json"));
        let mut entry = written[0].clone();
        if kind == "EXPRESS" {
            assert_eq!(entry.get("RedriveStatus"), None);
            entry["RedriveStatus"] = "REDRIVABLE_BY_MAP_RUN".into();
        }
        check_entry(&server, &entry);
        assert_eq!((&entry["Status"], &entry["Error"]), (&json!("FAILED"), &json!("ValueError")));
    }
}

#[test]
fn events_that_a_machine_puts_reach_the_functions_of_the_rules_that_are_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let rules = r#"
        [event-rules.dear]
        pattern = '{"source": ["shop"], "detail": {"price": [{"numeric": [">", 100]}]}}'
        targets = ["hear", "gone"]
        [event-rules.others]
        pattern = '{"source": ["other"]}'
        targets = ["hear"]
        [event-rules.of-another-bus]
        pattern = '{"source": ["shop"]}'
        bus = "another"
        targets = ["hear"]
    "#;
    let config = file(folder.path(), "fermata.toml", rules);
    let mut server = Server::dev(&["--config", &config]);
    server.announce("no such function");
    create(&server, "hear", &machine(&json!({"P": {"Type": "Pass", "End": true}}), "P"));
    let entry = json!({
        "Source.$": "$.source", "DetailType": "order", "Detail": {"price.$": "$.price"},
        "EventBusName.$": "$.bus",
    });
    let put = json!({
        "Type": "Task", "Resource": "arn:aws:states:::events:putEvents", "End": true,
        "Parameters": {"Entries": [entry]},
    });
    create(&server, "put", &machine(&json!({"P": put}), "P"));
    let put = |name: &str, source: &str, price: u32, bus: &str| {
        let input = json!({"source": source, "price": price, "bus": bus});
        let arn = start(&server, "put", name, &input);
        (ended(&server, &arn), arn)
    };
    put("cheap", "shop", 100, "default");
    let (done, by) = put("dear", "shop", 101, "arn:aws:events:us-east-1:0:event-bus/default");
    let answer: Value = serde_json::from_str(done["output"].as_str().unwrap()).unwrap();
    assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    let heard = || {
        let body = json!({"stateMachineArn": format!("{MACHINE}hear")});
        let listed = aws(&server, "ListExecutions", &body).unwrap();
        listed["executions"].as_array().unwrap().clone()
    };
    support::eventually("the event is heard of", || heard().len() == 1);
    let heard = describe(&server, heard()[0]["executionArn"].as_str().unwrap());
    let event: Value = serde_json::from_str(heard["input"].as_str().unwrap()).unwrap();
    let expected = json!({
        "version": "0", "id": answer["Entries"][0]["EventId"], "detail-type": "order", "source": "shop",
        "account": "000000000000", "region": "us-east-1", "time": event["time"],
        "resources": [by, format!("{MACHINE}put")], "detail": {"price": 101},
    });
    assert_eq!(event, expected);

    let (failed, _) = put("wrong", "", 101, "default");
    assert_eq!(failed["error"], "EventBridge.FailedEntry", "{failed:#}");
    let cause: Value = serde_json::from_str(failed["cause"].as_str().unwrap()).unwrap();
    assert_eq!(cause["Entries"][0]["ErrorCode"], "InvalidArgument");
}

/// What a machine named `many` ended with that puts the entries of its input as AWS's SDK does.
fn put_many(server: &Server, name: &str, entries: &Value) -> Value {
    ended(server, &start(server, "many", name, &json!({"entries": entries})))
}

fn many(resource: &str) -> Value {
    machine(
        &json!({"P": {"Type": "Task", "End": true, "Resource": resource,
            "Parameters": {"Entries.$": "$.entries"}}}),
        "P",
    )
}

const ALL_EVENTS: &str =
    "[event-rules.all]\npattern = '{\"source\": [{\"exists\": true}]}'\ntargets = [\"hear\"]\n";

#[test]
fn ten_events_go_together_in_the_class_of_who_puts_them_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "fermata.toml", ALL_EVENTS);
    let server = Server::dev(&["--config", &config]);
    create(&server, "hear", &machine(&json!({"P": {"Type": "Pass", "End": true}}), "P"));
    create(&server, "many", &many("arn:aws:states:::aws-sdk:eventbridge:putEvents"));
    let entry = json!({"Source": "s", "DetailType": "d", "Detail": "{}"});
    let entries = |count: usize| Value::from(vec![entry.clone(); count]);

    let ten = json!({"entries": entries(10)}).to_string();
    let said = server.ok(&["invoke", "many", "--class", "critical", &ten]);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    let heard = || {
        let made = server.json(&["executions", "list"]);
        let made = made["items"].as_array().unwrap().clone();
        made.into_iter().filter(|made| made["function"] == "hear").collect::<Vec<_>>()
    };
    support::eventually("all are heard of", || heard().len() == 10);
    assert!(heard().iter().all(|made| made["class"] == "critical"), "{:#?}", heard());

    for (name, count) in [("none", 0), ("eleven", 11)] {
        let failed = put_many(&server, name, &entries(count));
        assert_eq!(failed["error"], "EventBridge.EventBridgeException", "{failed:#}");
        assert!(failed["cause"].as_str().unwrap().contains("between 1 and 10"), "{failed:#}");
    }
    let wrong = json!([entry, {"Source": "s", "DetailType": "d", "Detail": "[]"}]);
    let done = put_many(&server, "wrong", &wrong);
    let answer: Value = serde_json::from_str(done["output"].as_str().unwrap()).unwrap();
    assert_eq!(answer["FailedEntryCount"], 1, "the SDK's way does not fail the state: {answer}");
    assert_eq!(answer["Entries"][1]["ErrorCode"], "MalformedDetail");
    support::eventually("the other one is heard of", || heard().len() == 11);
}

#[test]
fn events_leave_the_server_where_their_service_has_an_endpoint_whatever_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "fermata.toml", ALL_EVENTS);
    let server = Server::dev(&["--config", &config, "--aws-endpoint", "events=http://127.0.0.1:1"]);
    create(&server, "many", &many("arn:aws:states:::events:putEvents"));
    let entry = json!({"Source": "s", "DetailType": "d", "Detail": "{}"});
    let failed = put_many(&server, "sent", &json!([entry]));
    assert_eq!(failed["error"], "EventBridge.SdkClientException", "nobody is there: {failed:#}");
}

/// A server whose roles are `r`, which may do little, `strong`, which may do all with keys of its own, and
/// `theirs`, which another tenant's machines may have.
fn with_roles(objects: &Objects) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keys = "aws_access_key_id = OFSTRONG\naws_secret_access_key = secret\n";
    let keys = file(folder.path(), "keys", keys);
    let roles = format!(
        r#"
        [aws-endpoints]
        s3 = "{}"
        [roles.r]
        allow = ["lambda:InvokeFunction may-*", "states:StartExecution may-*", "s3:PutObject open"]
        [roles.strong]
        allow = ["*"]
        aws-credentials = "{keys}"
        [roles.theirs]
        tenants = ["them"]
        allow = ["*"]
        "#,
        objects.url
    );
    let server = Server::dev(&["--config", &file(folder.path(), "fermata.toml", &roles)]);
    for name in ["may-pass", "pass"] {
        create(&server, name, &machine(&json!({"P": {"Type": "Pass", "End": true}}), "P"));
    }
    (server, folder)
}

fn role(name: &str) -> String {
    format!("arn:aws:iam::000000000000:role/{name}")
}

#[test]
fn a_machine_may_do_what_its_role_allows_and_a_task_what_its_credentials_allow() {
    let objects = Objects::open();
    let (server, _folder) = with_roles(&objects);
    let mut made = 0;
    let mut run = |resource: &str, parameters: &Value, credentials: Option<&str>| {
        made += 1;
        let mut state = task(resource, "");
        state["Parameters"] = parameters.clone();
        if let Some(name) = credentials {
            state["Credentials"] = json!({"RoleArn": role(name)});
        }
        let name = format!("m{made}");
        create(&server, &name, &machine(&json!({"T": state}), "T"));
        ended(&server, &start(&server, &name, "run", &json!({})))
    };
    let is_denied = |done: &Value, error: &str, action: &str| {
        assert_eq!(done["error"], error, "{done:#}");
        let cause = done["cause"].as_str().unwrap();
        let sentence = format!(
            "User: arn:aws:sts::000000000000:assumed-role/r/fermata is not authorized to perform: {action} on"
        );
        assert!(cause.contains(&sentence), "{cause}");
    };
    let none = json!({});
    let [open, closed] = ["may-pass", "pass"].map(|name| format!("{FUNCTION}{name}"));
    let strong = Some("strong");
    assert_eq!(run(&open, &none, None)["status"], "SUCCEEDED");
    assert_eq!(run(&closed, &none, strong)["status"], "SUCCEEDED");
    is_denied(&run(&closed, &none, None), "Lambda.AWSLambdaException", "lambda:InvokeFunction");
    let by_name = json!({"FunctionName": "pass"});
    let invoke = "arn:aws:states:::lambda:invoke";
    is_denied(&run(invoke, &by_name, None), "Lambda.AWSLambdaException", "lambda:InvokeFunction");

    let [open, closed] =
        ["may-pass", "pass"].map(|name| json!({"StateMachineArn": format!("{MACHINE}{name}")}));
    for resource in ["states:startExecution", "states:startExecution.sync:2"] {
        let resource = format!("arn:aws:states:::{resource}");
        assert_eq!(run(&resource, &open, None)["status"], "SUCCEEDED");
        let denied = run(&resource, &closed, None);
        is_denied(&denied, "StepFunctions.AccessDeniedException", "states:StartExecution");
    }
    let list = "arn:aws:states:::aws-sdk:sfn:listStateMachines";
    is_denied(&run(list, &none, None), "Sfn.AccessDeniedException", "states:ListStateMachines");

    let put = "arn:aws:states:::aws-sdk:s3:putObject";
    let object = |bucket: &str| json!({"Bucket": bucket, "Key": "k", "Body": "\"x\""});
    is_denied(&run(put, &object("closed"), None), "S3.S3Exception", "s3:PutObject");
    assert_eq!(run(put, &object("open"), None)["status"], "SUCCEEDED");
    assert_eq!(run(put, &object("closed"), strong)["status"], "SUCCEEDED");
    let kept = objects.kept.lock().unwrap();
    assert_eq!((&*kept["/open/k"].1, &*kept["/closed/k"].1), ("fermata", "OFSTRONG"));

    let refused = run(&closed_function(), &none, Some("theirs"));
    assert_eq!(refused["error"], "States.TaskFailed", "{refused:#}");
    let cause = format!(
        "The role {ROLE} is not authorized to assume the task state's role, {}.",
        role("theirs")
    );
    assert_eq!(refused["cause"], cause);
}

fn closed_function() -> String {
    format!("{FUNCTION}pass")
}

#[test]
fn the_api_takes_only_roles_that_are_there_and_open_to_the_tenant() {
    let (server, _folder) = with_roles(&Objects::open());
    let pass = machine(&json!({"P": {"Type": "Pass", "End": true}}), "P").to_string();
    let state = task(&closed_function(), "").to_string();
    let is_denied = |action: &str, body: &Value| {
        let refused = aws(&server, action, body).unwrap_err();
        assert_eq!(refused["__type"], "AccessDeniedException", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("assume the provided role"));
    };
    for name in ["theirs", "nobody"] {
        let role = role(name);
        let machine = json!({"name": "m", "definition": pass, "roleArn": role});
        is_denied("CreateStateMachine", &machine);
        let update = json!({"stateMachineArn": format!("{MACHINE}pass"), "roleArn": role});
        is_denied("UpdateStateMachine", &update);
        is_denied("TestState", &json!({"definition": state, "roleArn": role}));
    }
    let tested = |name: &str| {
        aws(&server, "TestState", &json!({"definition": state, "roleArn": role(name)})).unwrap()
    };
    assert_eq!(tested("strong")["status"], "SUCCEEDED");
    assert_eq!(tested("r")["error"], "Lambda.AWSLambdaException");

    // One that was deployed without a role has one that nobody defined.
    let definition = machine(&json!({"T": task(&closed_function(), "")}), "T").to_string();
    let folder = tempfile::tempdir().unwrap();
    server.ok(&["deploy", &file(folder.path(), "own.asl.json", &definition)]);
    let said = server.run(&["invoke", "own", "{}"]);
    assert!(said.code == 1 && said.err.contains("Lambda.AWSLambdaException"), "{said:?}");
}

#[test]
fn items_and_results_are_read_and_written_with_the_role_of_the_machine() {
    let objects = Objects::open();
    let (server, _folder) = with_roles(&objects);
    let writer = |bucket: &str| {
        let mut map = numbers("may-pass", "STANDARD");
        map["ResultWriter"] = json!({
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": bucket}});
        machine(&json!({"M": map}), "M")
    };
    create(&server, "writes", &writer("open"));
    create(&server, "may-not", &writer("closed"));
    let mut map = numbers("may-pass", "STANDARD");
    map["ItemReader"] = json!({"Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSON"}, "Parameters": {"Bucket": "open", "Key": "k"}});
    create(&server, "reads", &machine(&json!({"M": map}), "M"));
    let run = |name: &str| ended(&server, &start(&server, name, "run", &json!([1])));
    assert_eq!(run("writes")["status"], "SUCCEEDED");
    for (name, error) in
        [("may-not", "States.ResultWriterFailed"), ("reads", "States.ItemReaderFailed")]
    {
        let done = run(name);
        assert_eq!(done["error"], error, "{done:#}");
        assert!(done["cause"].as_str().unwrap().contains("not authorized to perform: s3:"));
    }
    assert!(objects.kept.lock().unwrap().keys().all(|path| path.starts_with("/open/")));
}

const GROUP: &str = "/aws/vendedlogs/states/m";

fn logging(level: &str, has_data: bool) -> Value {
    let arn = format!("arn:aws:logs:us-east-1:000000000000:log-group:{GROUP}:*");
    json!({"level": level, "includeExecutionData": has_data,
        "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": arn}}]})
}

/// What the log group has once it has so much: an end is told of a moment before it is logged.
#[track_caller]
fn logged_all(server: &Server, count: usize) -> Vec<Value> {
    support::eventually("all is logged", || logged(server).len() >= count);
    let told = logged(server);
    assert_eq!(told.len(), count, "{:?}", types(&told));
    told
}

/// What the log group has, by the platform's own client.
fn logged(server: &Server) -> Vec<Value> {
    let lines = server.run(&["logs", "--group", GROUP]).out;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn events_of_executions_are_in_the_log_group_of_their_machine() {
    let (server, _folder) = server(&[]);
    let create = |name: &str, kind: &str, states: &Value, logging: &Value| {
        let body = json!({"name": name, "type": kind, "definition": machine(states, "S").to_string(),
            "roleArn": ROLE, "loggingConfiguration": logging});
        aws(&server, "CreateStateMachine", &body).unwrap();
    };
    let pass = json!({"S": {"Type": "Pass", "End": true}});
    create("all", "STANDARD", &pass, &logging("ALL", true));
    let arn = start(&server, "all", "run", &json!({"a": 1}));
    ended(&server, &arn);
    let told = logged_all(&server, 4);
    let expected =
        ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"];
    assert_eq!(types(&told), expected);
    let first = json!({
        "id": "1", "type": "ExecutionStarted", "previous_event_id": "0", "redrive_count": "0",
        "event_timestamp": told[0]["event_timestamp"], "execution_arn": arn,
        "details": {"input": "{\"a\":1}", "inputDetails": {"truncated": false}, "roleArn": ROLE},
    });
    assert_eq!(told[0], first);

    // An EXPRESS execution, without data.
    create("express", "EXPRESS", &pass, &logging("ALL", false));
    let arn = format!("{MACHINE}express");
    let body = json!({"stateMachineArn": arn, "input": "{\"secret\": 1}"});
    aws(&server, "StartExecution", &body).unwrap();
    let told = logged_all(&server, 8);
    assert_eq!(types(&told[4..]), expected);
    assert!(!told[4..].iter().any(|event| event.to_string().contains("secret")), "{told:#?}");

    // What somebody stops, and what failed and is redriven.
    let wait = json!({"S": {"Type": "Wait", "Seconds": 1000, "End": true}});
    create("stopped", "STANDARD", &wait, &logging("FATAL", true));
    let arn = start(&server, "stopped", "run", &json!({}));
    aws(&server, "StopExecution", &json!({"executionArn": arn, "error": "E"})).unwrap();
    let fail = json!({"S": {"Type": "Fail", "Error": "Mine"}});
    create("failing", "STANDARD", &fail, &logging("ERROR", true));
    let arn = start(&server, "failing", "run", &json!({}));
    ended(&server, &arn);
    aws(&server, "RedriveExecution", &json!({"executionArn": arn})).unwrap();
    ended(&server, &arn);
    let told = logged_all(&server, 13);
    let expected = [
        "ExecutionAborted",
        "FailStateEntered",
        "ExecutionFailed",
        "FailStateEntered",
        "ExecutionFailed",
    ];
    assert_eq!(types(&told[8..]), expected, "{told:#?}");
    assert_eq!(told[8]["details"]["error"], "E");
    let counts: Vec<&Value> = told[9..].iter().map(|event| &event["redrive_count"]).collect();
    assert_eq!(counts, ["0", "0", "1", "1"]);
}

#[test]
fn each_event_is_logged_once_and_in_order_however_fast_they_come() {
    let (server, _folder) = server(&[]);
    create(&server, "pass", &machine(&json!({"P": {"Type": "Pass", "End": true}}), "P"));
    let states: serde_json::Map<String, Value> = (0..8)
        .map(|number| {
            let next = if number == 7 { String::new() } else { format!("S{}", number + 1) };
            (format!("S{number}"), task(&format!("{FUNCTION}pass"), &next))
        })
        .collect();
    let body = json!({"name": "chain", "definition": machine(&states.into(), "S0").to_string(),
        "roleArn": ROLE, "loggingConfiguration": logging("ALL", false)});
    aws(&server, "CreateStateMachine", &body).unwrap();
    let runs: Vec<String> =
        (0..6).map(|run| start(&server, "chain", &format!("run-{run}"), &json!({}))).collect();
    for arn in &runs {
        assert_eq!(ended(&server, arn)["status"], "SUCCEEDED");
    }
    let all = runs.iter().map(|arn| history(&server, arn).len()).sum();
    let told = logged_all(&server, all);
    for arn in &runs {
        let ids: Vec<u64> = told
            .iter()
            .filter(|event| event["execution_arn"] == arn.as_str())
            .map(|event| event["id"].as_str().unwrap().parse().unwrap())
            .collect();
        let all: Vec<u64> = (1..=history(&server, arn).len() as u64).collect();
        assert_eq!(ids, all, "{arn}");
    }
}

#[test]
fn what_was_logged_outlives_the_server_and_is_told_once() {
    let (server, _folder) = server(&[]);
    let states = json!({
        "S": {"Type": "Pass", "Next": "W"}, "W": {"Type": "Wait", "Seconds": 2, "End": true}});
    let body = json!({"name": "m", "definition": machine(&states, "S").to_string(), "roleArn": ROLE,
        "loggingConfiguration": logging("ALL", true)});
    aws(&server, "CreateStateMachine", &body).unwrap();
    let arn = start(&server, "m", "run", &json!({}));
    support::eventually("it waits", || types(&logged(&server)).last() == Some(&"WaitStateEntered"));
    let server = server.kill_and_restart();
    assert_eq!(ended(&server, &arn)["status"], "SUCCEEDED");
    let events = history(&server, &arn);
    let told = logged_all(&server, events.len());
    assert_eq!(types(&told), types(&events), "all of its history, and none of it twice");
    let ids: Vec<String> = events.iter().map(|event| event["id"].to_string()).collect();
    let told: Vec<&str> = told.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(told, ids);
    let said = server.run(&["logs", "--group", "/nobody"]);
    assert!(said.code == 3 && said.err.contains("/nobody"), "{said:?}");
}

const MOCKS: &str = r#"{
    "StateMachines": {"m": {"TestCases": {
        "Happy": {"Call": "fine", "Wait": "told", "Sync": "ended"},
        "Retried": {"Call": "late", "Wait": "told", "Sync": "ended"},
        "Sad": {"Call": "never"},
        "Real": {"Wait": "told", "Sync": "ended"}
    }}, "quick": {"TestCases": {"Happy": {"Call": "fine"}}}, "many": {"TestCases": {"Happy": {"Call": "fine"}}}},
    "MockedResponses": {
        "fine": {"0": {"Return": {"mocked": 1}}},
        "late": {"0-1": {"Throw": {"Error": "Busy", "Cause": "later"}}, "2": {"Return": {"mocked": 2}}},
        "never": {"0-9": {"Throw": {"Error": "Gone", "Cause": "for good"}}},
        "told": {"0": {"Return": "told"}},
        "ended": {"0": {"Return": {"Output": "{}"}}}
    }
}"#;

#[test]
fn a_test_case_stands_in_for_the_work_of_the_states_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let mocks = file(folder.path(), "MockConfigFile.json", MOCKS);
    let server = Server::dev(&["--states-mocks", &mocks]);
    server.ok(&["deploy", &file(folder.path(), "echo.py", ECHO)]);
    let mut call = task(&format!("{FUNCTION}echo"), "Wait");
    call["Retry"] = json!([{"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 3}]);
    call["ResultPath"] = "$.called".into();
    let mut wait = task("arn:aws:states:::sqs:sendMessage.waitForTaskToken", "Sync");
    wait["Parameters"] = json!({"QueueUrl": "q", "MessageBody.$": "$$.Task.Token"});
    wait["ResultPath"] = "$.waited".into();
    let mut sync = task("arn:aws:states:::states:startExecution.sync", "");
    sync["Parameters"] = json!({"StateMachineArn": format!("{MACHINE}nobody")});
    sync["ResultPath"] = Value::Null;
    let states = json!({"Call": call, "Wait": wait, "Sync": sync});
    create(&server, "m", &machine(&states, "Call"));
    let run =
        |case: &str| ended(&server, &start(&server, &format!("m#{case}"), case, &json!({"a": 0})));
    for (case, called) in [
        ("Happy", json!({"mocked": 1})),
        ("Retried", json!({"mocked": 2})),
        ("Real", json!({"a": 0})),
    ] {
        let done = run(case);
        let output: Value = serde_json::from_str(done["output"].as_str().unwrap()).unwrap();
        assert_eq!(output, json!({"a": 0, "called": called, "waited": "told"}), "{case}");
        assert_eq!(done["stateMachineArn"], format!("{MACHINE}m"));
    }
    let events =
        history(&server, &format!("{}Happy", MACHINE.replace("stateMachine:", "execution:m:")));
    let of_wait = ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"];
    let told = kinds(&events);
    assert!(told.windows(4).any(|four| four == of_wait), "{told:?}");
    let sad = run("Sad");
    assert_eq!((&sad["error"], &sad["cause"]), (&json!("Gone"), &json!("for good")), "{sad:#}");

    let refused = |name: &str| {
        let body = json!({"stateMachineArn": format!("{MACHINE}{name}"), "input": "{}"});
        aws(&server, "StartExecution", &body).unwrap_err()["message"].to_string()
    };
    assert!(refused("m#Unknown").contains("Unknown"));
    assert!(refused("nobody#Happy").contains("Happy"));

    let one = json!({"Call": task(&format!("{FUNCTION}nobody"), "")});
    let body = json!({"name": "quick", "type": "EXPRESS", "roleArn": ROLE,
        "definition": machine(&one, "Call").to_string()});
    aws(&server, "CreateStateMachine", &body).unwrap();
    let body = json!({"stateMachineArn": format!("{MACHINE}quick#Happy"), "input": "{}"});
    let done = aws(&server, "StartSyncExecution", &body).unwrap();
    assert_eq!(done["output"], "{\"mocked\":1}", "{done:#}");

    // Children of a map run have the case of its execution.
    let mut processor = machine(&one, "Call");
    processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
    let map = json!({"M": {"Type": "Map", "ItemProcessor": processor, "End": true}});
    create(&server, "many", &machine(&map, "M"));
    let done = ended(&server, &start(&server, "many#Happy", "run", &json!([1, 2])));
    assert_eq!(done["output"], "[{\"mocked\":1},{\"mocked\":1}]", "{done:#}");
}

#[test]
fn a_server_with_a_wrong_file_of_test_cases_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = file(folder.path(), "mocks.json", &MOCKS.replace("\"fine\": {", "\"good\": {"));
    let said = support::fermata(&["serve", "--dev", "--states-mocks", &wrong]);
    assert!(
        said.code != 0 && said.err.contains("there are no MockedResponses \"fine\""),
        "{said:?}"
    );
}
