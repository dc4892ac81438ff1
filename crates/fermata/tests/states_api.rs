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
fn a_map_run_of_no_machine_is_a_resource_that_is_not_there() {
    let server = Server::dev(&[]);
    let run = json!({ "mapRunArn": format!("{STATES}:mapRun:m/l:0") });
    refused(&server, "DescribeMapRun", &run, "ResourceNotFound");
    refused(&server, "ListExecutions", &run, "ResourceNotFound");
    let update = json!({ "mapRunArn": run["mapRunArn"], "maxConcurrency": 1 });
    refused(&server, "UpdateMapRun", &update, "ResourceNotFound");
}

#[test]
fn an_execution_tells_the_trace_that_it_was_started_with() {
    let server = Server::dev(&[]);
    let mut made = machine("m");
    let kept = aws(&server, "CreateStateMachine", &made).unwrap();
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let start = json!({ "stateMachineArn": kept["stateMachineArn"], "traceHeader": trace });
    let started = aws(&server, "StartExecution", &start).unwrap();
    let told = json!({ "executionArn": started["executionArn"] });
    assert_eq!(aws(&server, "DescribeExecution", &told).unwrap()["traceHeader"], trace);
    made["name"] = "express".into();
    made["type"] = "EXPRESS".into();
    let made = aws(&server, "CreateStateMachine", &made).unwrap();
    let start = json!({ "stateMachineArn": made["stateMachineArn"], "traceHeader": trace });
    assert_eq!(aws(&server, "StartSyncExecution", &start).unwrap()["traceHeader"], trace);
}

/// A machine that fails, and an execution of it, as requests name them.
fn failing(server: &Server) -> (Value, Value) {
    let mut fails = machine("m");
    fails["definition"] =
        json!({ "StartAt": "F", "States": { "F": { "Type": "Fail" } } }).to_string().into();
    let made = aws(server, "CreateStateMachine", &fails).unwrap();
    let start = json!({ "stateMachineArn": made["stateMachineArn"] });
    let started = aws(server, "StartExecution", &start).unwrap();
    (start, json!({ "executionArn": started["executionArn"] }))
}

#[test]
fn a_redriven_execution_tells_when_that_was() {
    let server = Server::dev(&[]);
    let (start, execution) = failing(&server);
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
fn a_redrive_that_is_asked_for_twice_with_one_token_is_one() {
    let server = Server::dev(&[]);
    let (_, execution) = failing(&server);
    let redrives = |count: u64| {
        eventually("it fails", || {
            let told = aws(&server, "DescribeExecution", &execution).unwrap();
            told["status"] == "FAILED" && told["redriveCount"] == count
        });
    };
    redrives(0);
    let redrive = |token: &str| {
        let mut body = execution.clone();
        body["clientToken"] = token.into();
        aws(&server, "RedriveExecution", &body).unwrap()["redriveDate"].clone()
    };
    let first = redrive("one");
    redrives(1);
    assert_eq!(redrive("one"), first);
    redrives(1);
    assert_ne!(redrive("two"), first);
    redrives(2);
}

#[test]
fn an_alias_is_changed_by_something_and_deleted_once() {
    let server = Server::dev(&[]);
    let mut published = machine("m");
    published["publish"] = true.into();
    published["versionDescription"] = "first".into();
    let made = aws(&server, "CreateStateMachine", &published).unwrap();
    // The same request has the same answer; another description is another request.
    assert_eq!(aws(&server, "CreateStateMachine", &published).unwrap(), made);
    published["versionDescription"] = "other".into();
    refused(&server, "CreateStateMachine", &published, "StateMachineAlreadyExists");

    let alias = json!({ "name": "a", "routingConfiguration": [
        { "stateMachineVersionArn": made["stateMachineVersionArn"], "weight": 100 }] });
    let created = aws(&server, "CreateStateMachineAlias", &alias).unwrap();
    assert_eq!(aws(&server, "CreateStateMachineAlias", &alias).unwrap(), created);
    let arn = json!({ "stateMachineAliasArn": created["stateMachineAliasArn"] });
    let error = aws(&server, "UpdateStateMachineAlias", &arn).unwrap_err();
    assert_eq!(error["__type"], "ValidationException");
    assert_eq!(error["reason"], "MISSING_REQUIRED_PARAMETER");
    let mut wrong = arn.clone();
    wrong["routingConfiguration"] = alias["routingConfiguration"].clone();
    wrong["routingConfiguration"][0]["weight"] = 99.into();
    let error = aws(&server, "UpdateStateMachineAlias", &wrong).unwrap_err();
    assert_eq!(error["reason"], "INVALID_ROUTING_CONFIGURATION");
    let mut same = arn.clone();
    same["routingConfiguration"] = alias["routingConfiguration"].clone();
    aws(&server, "UpdateStateMachineAlias", &same).unwrap();
    aws(&server, "DeleteStateMachineAlias", &arn).unwrap();
    refused(&server, "DeleteStateMachineAlias", &arn, "ResourceNotFound");
}

#[test]
fn an_activity_is_made_once_with_one_key() {
    let server = Server::dev(&[]);
    let made = aws(&server, "CreateActivity", &json!({ "name": "a" })).unwrap();
    let tagged = json!({ "name": "a", "tags": [{ "key": "k", "value": "v" }],
        "encryptionConfiguration": { "type": "AWS_OWNED_KEY" } });
    assert_eq!(aws(&server, "CreateActivity", &tagged).unwrap(), made);
    let key = json!({ "type": "CUSTOMER_MANAGED_KMS_KEY", "kmsKeyId": "alias/k" });
    let other = json!({ "name": "a", "encryptionConfiguration": key });
    refused(&server, "CreateActivity", &other, "ActivityAlreadyExists");
    let other = json!({ "name": "b", "encryptionConfiguration": key });
    let made = aws(&server, "CreateActivity", &other).unwrap();
    let told = json!({ "activityArn": made["activityArn"] });
    let told = aws(&server, "DescribeActivity", &told).unwrap();
    assert_eq!(told["encryptionConfiguration"]["kmsKeyId"], "alias/k");
}

#[test]
fn a_map_run_counts_items_and_its_children_tell_how_many_they_have() {
    let server = Server::dev(&[]);
    let mut mapped = machine("m");
    mapped["definition"] = json!({ "StartAt": "M", "States": { "M": {
        "Type": "Map", "MaxConcurrency": 1, "ItemBatcher": { "MaxItemsPerBatch": 2 }, "End": true,
        "ToleratedFailureCount": 1,
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
            "StartAt": "C", "States": {
                "C": { "Type": "Choice", "Default": "P", "Choices": [
                    { "Variable": "$.Items[0]", "NumericEquals": 3, "Next": "F" }] },
                "P": { "Type": "Pass", "End": true }, "F": { "Type": "Fail" } } } } } })
    .to_string()
    .into();
    let made = aws(&server, "CreateStateMachine", &mapped).unwrap();
    let start = json!({ "stateMachineArn": made["stateMachineArn"], "input": "[1, 2, 3, 4, 5]" });
    let started = aws(&server, "StartExecution", &start).unwrap();
    let execution = json!({ "executionArn": started["executionArn"] });
    eventually("it ends", || {
        aws(&server, "DescribeExecution", &execution).unwrap()["status"] == "SUCCEEDED"
    });
    let runs = aws(&server, "ListMapRuns", &execution).unwrap();
    let run = json!({ "mapRunArn": runs["mapRuns"][0]["mapRunArn"] });
    let told = aws(&server, "DescribeMapRun", &run).unwrap();
    let counted = |of: &str| ["total", "succeeded", "failed"].map(|name| told[of][name].as_u64());
    assert_eq!(counted("itemCounts"), [Some(5), Some(3), Some(2)]);
    assert_eq!(counted("executionCounts"), [Some(3), Some(2), Some(1)]);
    let listed = |filter: &str, value: &str| -> Vec<u64> {
        let mut body = run.clone();
        body[filter] = value.into();
        let listed = aws(&server, "ListExecutions", &body).unwrap();
        let all = listed["executions"].as_array().unwrap();
        all.iter().map(|one| one["itemCount"].as_u64().unwrap()).collect()
    };
    assert_eq!(listed("statusFilter", "SUCCEEDED"), [1, 2], "the newest first");
    assert_eq!(listed("statusFilter", "FAILED"), [2]);
    assert_eq!(listed("statusFilter", "PENDING_REDRIVE"), [0; 0]);
    assert_eq!(listed("redriveFilter", "NOT_REDRIVEN"), [1, 2, 2]);
    assert_eq!(listed("redriveFilter", "REDRIVEN"), [0; 0]);
}

#[test]
fn a_state_that_is_tried_shows_the_variables_that_it_leaves() {
    let server = Server::dev(&[]);
    let tried = |state: &Value| {
        let test = json!({
            "definition": state.to_string(), "input": "1", "variables": "{\"x\":1,\"a-b\":2}",
            "inspectionLevel": "DEBUG",
        });
        aws(&server, "TestState", &test).unwrap()
    };
    let mut state = json!({
        "Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $x %}", "End": true,
        "Assign": { "y": "{% $x + 1 %}", "x": 0 },
    });
    let told = tried(&state);
    let seen = json!({ "input": "1", "variables": r#"{"a-b":2,"x":0,"y":2}"# });
    assert_eq!(told, json!({ "status": "SUCCEEDED", "output": "1", "inspectionData": seen }));
    state["Output"] = "{% $gone %}".into();
    let told = tried(&state);
    assert_eq!(
        (&told["status"], &told["inspectionData"]),
        (&json!("FAILED"), &json!({ "input": "1" }))
    );
}

#[test]
fn a_map_state_that_is_tried_shows_what_its_iterations_would_work_on() {
    let server = Server::dev(&[]);
    let tried = |state: &Value, configured: &Value| {
        let test = json!({
            "definition": state.to_string(), "input": "{\"a\":{\"b\":[1,2,3]}}",
            "inspectionLevel": "DEBUG", "mock": { "result": "[7]" },
            "stateConfiguration": configured,
        });
        aws(&server, "TestState", &test).unwrap()
    };
    let seen = |told: &Value, name: &str| -> Value {
        serde_json::from_str(told["inspectionData"][name].as_str().unwrap()).unwrap()
    };
    let mut state = json!({
        "Type": "Map", "ItemsPath": "$.a.b", "End": true,
        "ItemSelector": { "i.$": "$$.Map.Item.Index", "from.$": "$$.Map.Item.Source" },
        "ItemProcessor": { "StartAt": "F", "States": { "F": { "Type": "Fail" } } },
    });
    let told = tried(&state, &json!({}));
    assert_eq!((&told["status"], &told["output"]), (&json!("SUCCEEDED"), &json!("[7]")));
    let item = |index: u32, from: &str| json!({ "i": index, "from": from });
    let from_input = [0, 1, 2].map(|index| item(index, "STATE_DATA"));
    assert_eq!(seen(&told, "afterItemSelector"), json!(from_input));
    state["ItemSelector"] = json!({ "gone.$": "$.gone" });
    let told = tried(&state, &json!({}));
    assert_eq!(told["status"], "FAILED", "its own fields are not mocked: {told:#}");

    let read = json!({
        "Type": "Map", "End": true,
        "ItemReader": { "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": { "InputType": "JSON", "ItemsPointer": "/of" },
            "Parameters": { "Bucket": "b", "Key": "k" } },
        "ItemSelector": { "k.$": "$$.Map.Item.Key", "from.$": "$$.Map.Item.Source" },
        "ItemBatcher": { "MaxItemsPerBatch": 2 },
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
            "StartAt": "F", "States": { "F": { "Type": "Fail" } } },
    });
    let told = tried(&read, &json!({ "mapItemReaderData": "{\"of\":{\"x\":1,\"y\":2,\"z\":3}}" }));
    assert_eq!(told["status"], "SUCCEEDED", "{told:#}");
    let pair = |key: &str, value: u32| json!({ "Key": key, "Value": value });
    let pairs = json!([pair("x", 1), pair("y", 2), pair("z", 3)]);
    assert_eq!(seen(&told, "afterItemsPointer"), pairs);
    let [x, y, z] = ["x", "y", "z"].map(|key| json!({ "k": key, "from": "s3://b/k" }));
    assert_eq!(seen(&told, "afterItemSelector"), json!([x, y, z]));
    let batches = json!([{ "Items": [x, y] }, { "Items": [z] }]);
    assert_eq!(seen(&told, "afterItemBatcher"), batches);
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
