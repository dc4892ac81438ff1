//! A plain Python file as a durable function, through the built server and command line.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell why")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Server, fermata, root};

/// The interpreter, where it is there.
fn interpreter() -> Option<PathBuf> {
    let named = std::env::var_os("FERMATA_PYTHON_WASM").map(PathBuf::from);
    let path = named.unwrap_or_else(|| root().join("target/guest-tools/python/python.wasm"));
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: there is no {}; `cargo xtask python` makes it", path.display());
    None
}

fn deploy(server: &Server, interpreter: &Path, file: &Path, name: &str) {
    let (interpreter, file) = (interpreter.to_str().unwrap(), file.to_str().unwrap());
    let args = ["deploy", "--durable", "--python-wasm", interpreter, file, "--name", name];
    server.ok(&args);
}

#[track_caller]
fn until(server: &Server, which: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let execution = server.json(&["executions", "show", which]);
        if holds(&execution) {
            return execution;
        }
        assert!(Instant::now() < end, "still: {execution:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_python_order_survives_a_kill_in_the_middle_of_its_calls() {
    let Some(interpreter) = interpreter() else { return };
    let server = Server::dev(&[]);
    let folder = tempfile::tempdir().unwrap();
    // What it calls is durable Python too, so the interpreter is compiled once for all of them.
    for (name, answer) in
        [("charge", "{'paid': order['order']}"), ("ship", "'parcel of ' + order['item']")]
    {
        let path = folder.path().join(name).with_extension("py");
        std::fs::write(&path, format!("def handler(order):\n    return {answer}\n")).unwrap();
        deploy(&server, &interpreter, &path, name);
    }
    let order = root().join("examples/functions/python/order.py");
    deploy(&server, &interpreter, &order, "order");
    let input = r#"{"order": 7, "items": ["lamp", "bulb"], "to": "Ada"}"#;
    server.ok(&["executions", "start", "order", input, "--name", "first"]);
    let waits = |what: &'static str| {
        move |execution: &Value| execution["waits"].as_str().is_some_and(|w| w.contains(what))
    };
    let before = until(&server, "first", waits("approval"));
    assert_eq!(before["status"], "suspended");

    let server = server.kill_and_restart();
    let after = server.json(&["executions", "show", "first"]);
    assert_eq!(after["cost"]["cpu_ns"], before["cost"]["cpu_ns"], "nothing ran while it waited");
    server.ok(&["executions", "signal", "first", "approval", r#"{"by": "Bob"}"#]);
    let answer: Value = serde_json::from_str(&server.ok(&["executions", "wait", "first"])).unwrap();
    let expected = json!({"order": 7, "receipt": {"paid": 7}, "by": "Bob",
                          "parcels": ["parcel of lamp", "parcel of bulb"]});
    assert_eq!(answer, expected);
}

#[test]
fn without_the_interpreter_the_cure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.py");
    std::fs::write(&path, "def handler(x): return x\n").unwrap();
    let path = path.to_str().unwrap();
    let said = fermata(&["deploy", "--durable", "--python-wasm", "/nowhere/python.wasm", path]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("/nowhere/python.wasm"), "{said:?}");
}
