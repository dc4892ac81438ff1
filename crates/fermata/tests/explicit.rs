//! The helpers of explicit suspension (`sdk/python-durable`, `sdk/javascript-durable`): their own
//! tests, and their examples through the built server with a kill in the middle.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell why")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Server, root};

/// Whether a program is there; where not, the test says that it was skipped.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: there is no {program}");
    }
    found
}

#[track_caller]
fn passes(program: &str, args: &[&str], folder: &str) {
    if !is_there(program) {
        return;
    }
    let output =
        Command::new(program).args(args).current_dir(root().join(folder)).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_python_helper_passes_its_own_tests() {
    passes("python3", &["-B", "-m", "unittest", "-v"], "sdk/python-durable");
}

#[test]
fn the_javascript_helper_passes_its_own_tests() {
    passes("node", &["--test"], "sdk/javascript-durable");
}

/// Waits until an execution's custom status is as wanted, and gives it.
#[track_caller]
fn until(server: &Server, which: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let execution = server.json(&["executions", "show", which]);
        if holds(&execution) {
            return execution;
        }
        assert!(Instant::now() < end, "still: {execution:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Deploys an example and what it calls, and starts it twice: once to be approved by token, once by
/// signal, both after a kill.
#[track_caller]
fn survives_a_kill(example: &str, runtime: &str) {
    let program = if runtime == "python3" { "python3" } else { "node" };
    if !is_there(program) {
        return;
    }
    let server = Server::dev(&[]);
    let folder = tempfile::tempdir().unwrap();
    let callees = [("charge", "{'receipt': event['order']}"), ("ship", "'parcel of ' + event")];
    for (name, answer) in callees {
        let path = folder.path().join(name).with_extension("py");
        let text = format!("def handler(event, context):\n    return {answer}\n");
        std::fs::write(&path, text).unwrap();
        server.ok(&["deploy", path.to_str().unwrap()]);
    }
    let path = root().join("examples/functions/explicit").join(example);
    server.ok(&["deploy", "--durable", "--runtime", runtime, path.to_str().unwrap()]);
    let input = r#"{"id": 7, "items": ["lamp", "bulb"]}"#;
    let mut tokens = Vec::new();
    for name in ["one", "two"] {
        server.ok(&["executions", "start", "order", input, "--name", name]);
        let waits = |execution: &Value| execution["custom_status"]["waiting for"].is_string();
        let execution = until(&server, name, waits);
        tokens.push(execution["custom_status"]["waiting for"].as_str().unwrap().to_owned());
    }

    let server = server.kill_and_restart();
    server.ok(&["executions", "succeed", &tokens[0], "\"Ada\""]);
    server.ok(&["executions", "signal", "two", "approved", "\"Bob\""]);
    for (name, by) in [("one", "Ada"), ("two", "Bob")] {
        let answer: Value =
            serde_json::from_str(&server.ok(&["executions", "wait", name])).unwrap();
        let parcels = ["parcel of lamp", "parcel of bulb"];
        assert_eq!(answer, json!({"by": by, "receipt": {"receipt": 7}, "parcels": parcels}));
        let ended = server.json(&["executions", "show", name]);
        assert_eq!(ended["status"], "succeeded");
        assert_eq!(ended["cost"]["transitions"], json!(4), "a turn for each wait and the end");
    }
}

#[test]
fn the_python_example_survives_a_kill() {
    survives_a_kill("order.py", "python3");
}

#[test]
fn the_javascript_example_survives_a_kill() {
    survives_a_kill("order.mjs", "nodejs");
}
