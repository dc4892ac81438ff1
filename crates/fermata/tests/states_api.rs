//! The Step Functions API through the built server: what AWS documents of its actions.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]

mod support;

use serde_json::{Value, json};
use support::{Server, aws, eventually};

const STATES: &str = "arn:aws:states:us-east-1:000000000000";
const ROLE: &str = "arn:aws:iam::000000000000:role/r";

fn pass() -> String {
    json!({ "StartAt": "P", "States": { "P": { "Type": "Pass", "End": true } } }).to_string()
}

fn machine(name: &str) -> Value {
    json!({ "name": name, "definition": pass(), "roleArn": ROLE })
}

#[track_caller]
fn refused(server: &Server, action: &str, body: &Value, code: &str) -> String {
    let error = aws(server, action, body).unwrap_err();
    assert_eq!(error["__type"], code, "{error}");
    error["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_state_machine_is_made_once_whatever_role_and_tags_its_requests_name() {
    let server = Server::dev(&[]);
    let first = aws(&server, "CreateStateMachine", &machine("m")).unwrap();
    let mut again = machine("m");
    again["roleArn"] = "arn:aws:iam::000000000000:role/other".into();
    again["tags"] = json!([{ "key": "k", "value": "v" }]);
    assert_eq!(aws(&server, "CreateStateMachine", &again).unwrap(), first);
    let arn = json!({ "stateMachineArn": first["stateMachineArn"] });
    assert_eq!(aws(&server, "DescribeStateMachine", &arn).unwrap()["roleArn"], ROLE);
    let tags = json!({ "resourceArn": first["stateMachineArn"] });
    assert_eq!(aws(&server, "ListTagsForResource", &tags).unwrap()["tags"], json!([]));

    for (field, value) in [
        ("type", json!("EXPRESS")),
        ("definition", json!(pass().replace("\"P\"", "\"Q\""))),
        ("tracingConfiguration", json!({ "enabled": true })),
    ] {
        let mut other = machine("m");
        other[field] = value;
        refused(&server, "CreateStateMachine", &other, "StateMachineAlreadyExists");
    }
    // An update makes another revision of it; what says the same as that is the same machine.
    let mut update = arn;
    update["definition"] = pass().replace("\"P\"", "\"Q\"").into();
    aws(&server, "UpdateStateMachine", &update).unwrap();
    refused(&server, "CreateStateMachine", &machine("m"), "StateMachineAlreadyExists");
    let mut same = machine("m");
    same["definition"] = update["definition"].clone();
    assert_eq!(aws(&server, "CreateStateMachine", &same).unwrap(), first);
}

#[test]
fn an_answer_of_metadata_only_has_no_definition_and_no_data() {
    let server = Server::dev(&[]);
    let made = aws(&server, "CreateStateMachine", &machine("m")).unwrap();
    let arn = made["stateMachineArn"].clone();
    let start = json!({ "stateMachineArn": arn, "name": "e", "input": "{\"a\":1}" });
    let started = aws(&server, "StartExecution", &start).unwrap();
    let execution = started["executionArn"].clone();
    let all = json!({ "executionArn": execution });
    eventually("it ends", || {
        aws(&server, "DescribeExecution", &all).unwrap()["status"] == "SUCCEEDED"
    });
    assert_eq!(aws(&server, "DescribeExecution", &all).unwrap()["output"], "{\"a\":1}");

    let only = json!({ "executionArn": execution, "includedData": "METADATA_ONLY" });
    let told = aws(&server, "DescribeExecution", &only).unwrap();
    assert_eq!((told.get("input"), told.get("output")), (None, None));
    assert_eq!(told["outputDetails"]["included"], false);
    let told = aws(&server, "DescribeStateMachineForExecution", &only).unwrap();
    assert_eq!((&told["definition"], &told["roleArn"]), (&json!("{}"), &json!(ROLE)));
    let only = json!({ "stateMachineArn": arn, "includedData": "METADATA_ONLY" });
    assert_eq!(aws(&server, "DescribeStateMachine", &only).unwrap()["definition"], "{}");
}

#[test]
fn what_is_no_standard_execution_is_not_looked_at() {
    let server = Server::dev(&[]);
    let mut express = machine("x");
    express["type"] = "EXPRESS".into();
    let made = aws(&server, "CreateStateMachine", &express).unwrap();
    let start = json!({ "stateMachineArn": made["stateMachineArn"], "name": "e" });
    let started = aws(&server, "StartExecution", &start).unwrap();
    let execution = json!({ "executionArn": started["executionArn"] });
    for action in [
        "DescribeExecution",
        "DescribeStateMachineForExecution",
        "GetExecutionHistory",
        "ListMapRuns",
        "RedriveExecution",
        "StopExecution",
    ] {
        let message = refused(&server, action, &execution, "InvalidArn");
        let expected = "Invalid Arn: 'Resource type not valid in this context: express'";
        assert_eq!(message, expected, "{action}");
    }
}

#[test]
fn executions_are_listed_of_a_machine_or_of_a_map_run() {
    let server = Server::dev(&[]);
    let made = aws(&server, "CreateStateMachine", &machine("m")).unwrap();
    let arn = &made["stateMachineArn"];
    let run = format!("{STATES}:mapRun:m/l:0");
    for body in [
        json!({}),
        json!({ "stateMachineArn": arn, "mapRunArn": run }),
        json!({ "stateMachineArn": arn, "statusFilter": "PENDING_REDRIVE" }),
        json!({ "stateMachineArn": arn, "redriveFilter": "REDRIVEN" }),
        json!({ "stateMachineArn": arn, "statusFilter": "DONE" }),
        json!({ "stateMachineArn": arn, "maxResults": 1_001 }),
    ] {
        refused(&server, "ListExecutions", &body, "ValidationException");
    }
    let known = json!({ "stateMachineArn": arn });
    assert_eq!(aws(&server, "ListExecutions", &known).unwrap()["executions"], json!([]));
}

#[test]
fn a_redriven_execution_tells_when_that_was() {
    let server = Server::dev(&[]);
    let mut fails = machine("m");
    fails["definition"] =
        json!({ "StartAt": "F", "States": { "F": { "Type": "Fail" } } }).to_string().into();
    let made = aws(&server, "CreateStateMachine", &fails).unwrap();
    let start = json!({ "stateMachineArn": made["stateMachineArn"] });
    let started = aws(&server, "StartExecution", &start).unwrap();
    let execution = json!({ "executionArn": started["executionArn"] });
    let failed = || {
        let told = aws(&server, "DescribeExecution", &execution).unwrap();
        (told["status"] == "FAILED").then_some(told)
    };
    eventually("it fails", || failed().is_some());
    assert_eq!(failed().unwrap().get("redriveDate"), None);
    aws(&server, "RedriveExecution", &execution).unwrap();
    eventually("it fails again", || failed().is_some_and(|told| told["redriveCount"] == 1));
    let told = failed().unwrap();
    assert!(told["redriveDate"].as_f64().unwrap() >= told["startDate"].as_f64().unwrap());
    let listed = aws(&server, "ListExecutions", &start).unwrap();
    assert_eq!(listed["executions"][0]["redriveDate"], told["redriveDate"]);
}

#[test]
fn a_wait_state_that_is_tried_goes_on_at_once_with_what_it_hands_on() {
    let server = Server::dev(&[]);
    let tried = |state: &Value| {
        let test = json!({ "definition": state.to_string(), "input": "{\"a\":1}" });
        aws(&server, "TestState", &test).unwrap()
    };
    let told = tried(&json!({ "Type": "Wait", "Seconds": 3600, "OutputPath": "$.a", "Next": "N" }));
    assert_eq!(told, json!({ "status": "SUCCEEDED", "output": "1", "nextState": "N" }));
    let told = tried(&json!({
        "Type": "Wait", "QueryLanguage": "JSONata", "Seconds": 3600, "End": true,
        "Output": "{% $states.input.a + 1 %}",
    }));
    assert_eq!(told, json!({ "status": "SUCCEEDED", "output": "2" }));
}
