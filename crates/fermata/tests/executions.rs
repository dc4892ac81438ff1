//! Durable executions through the built server and command line: what is acknowledged survives, each
//! event counts once, and compositions are functions like any other.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Server;

/// Waits for an approval or three days, after a charge; then ships or not.
const ORDER: &str = r#"
def handler(event, context):
    turn = event["$fermata"]
    op, state = turn["next_op"], turn["state"]
    if state is None:
        charge = {"op": op, "invoke": {"function": "charge", "payload": turn["input"]}}
        return wait([charge], {"all": [op]}, {"step": "charge"}, "charging")
    got = {entry["op"]: entry for entry in turn["resolved"]}
    if state["step"] == "charge":
        asks = [{"op": op, "signal": "approved"}, {"op": op + 1, "after_ms": 3 * 24 * 3600 * 1000}]
        receipt = next(iter(got.values()))["ok"]
        return wait(asks, {"any": [op, op + 1]}, {"step": "decide", "op": op, "receipt": receipt}, "waits")
    if state["op"] in got:
        return {"shipped": True, "by": got[state["op"]]["ok"], "receipt": state["receipt"]}
    return {"shipped": False}

def wait(asks, until, state, status):
    return {"$fermata": {"wait": {"asks": asks, "until": until, "state": state, "status": status}}}
"#;

const CHARGE: &str = "def handler(event, context):\n    return {\"charged\": event}\n";

/// Shows a callback token as its status and waits for its answer.
const CALLBACK: &str = r#"
def handler(event, context):
    turn = event["$fermata"]
    if turn["state"] is None:
        op = turn["next_op"]
        return {"$fermata": {"wait": {"asks": [{"op": op, "token": {}}], "until": {"any": [op]},
                                      "state": 1, "status": turn["tokens"][0]}}}
    return turn["resolved"][0]
"#;

/// Waits for a signal, then fails the first time and succeeds after a redrive.
const WAITER: &str = r#"
def handler(event, context):
    turn = event["$fermata"]
    if turn["state"] is None:
        op = turn["next_op"]
        return {"$fermata": {"wait": {"asks": [{"op": op, "signal": "go"}], "until": {"any": [op]},
                                      "state": {"n": 1}}}}
    return turn["resolved"][0]["ok"]
"#;

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server with these functions; those that are not `charge` are durable.
fn server(functions: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev(&[]);
    for (name, text) in functions {
        let path = file(folder.path(), name, text);
        let mut args = vec!["deploy", &path];
        if !name.starts_with("charge") && Path::new(name).extension().is_some_and(|e| e == "py") {
            args.extend(["--durable", "--runtime", "python3"]);
        }
        server.ok(&args);
    }
    (server, folder)
}

fn show(server: &Server, which: &str) -> Value {
    server.json(&["executions", "show", which])
}

/// Waits until `holds` holds for an execution, and gives it.
#[track_caller]
fn until(server: &Server, which: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let execution = show(server, which);
        if holds(&execution) {
            return execution;
        }
        assert!(Instant::now() < end, "still: {execution:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn waits_for(what: &str) -> impl Fn(&Value) -> bool {
    move |execution| execution["waits"].as_str().is_some_and(|waits| waits.contains(what))
}

#[test]
fn an_order_survives_a_kill_while_it_waits_and_pays_no_compute_for_the_wait() {
    let (server, _folder) = server(&[("charge.py", CHARGE), ("order.py", ORDER)]);
    let id = server.ok(&["executions", "start", "order", r#"{"item":"book"}"#, "--name", "first"]);
    let before = until(&server, "first", waits_for("approved"));
    assert_eq!(before["status"], "suspended");
    assert_eq!(before["custom_status"], "waits");
    assert_eq!(before["open"].as_array().unwrap().len(), 2);

    let server = server.kill_and_restart();
    let after = show(&server, id.trim());
    assert_eq!(after["cost"]["cpu_ns"], before["cost"]["cpu_ns"], "nothing ran while it waited");
    assert_eq!(after["cost"]["transitions"], before["cost"]["transitions"]);
    server.ok(&["executions", "signal", "first", "approved", "\"ann\""]);
    let answer: Value = serde_json::from_str(&server.ok(&["executions", "wait", "first"])).unwrap();
    let receipt = json!({"charged": {"item": "book"}});
    assert_eq!(answer, json!({"shipped": true, "by": "ann", "receipt": receipt}));
    let ended = show(&server, "first");
    assert_eq!((&ended["status"], &ended["cost"]["transitions"]), (&json!("succeeded"), &json!(3)));

    let history = server.json(&["executions", "history", "first"]);
    let words: Vec<&str> =
        history["items"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!((words[0], *words.last().unwrap()), ("started", "ended"));
    let followed = server.ok(&["executions", "history", "first", "--follow", "--json"]);
    assert_eq!(followed.lines().count(), words.len(), "the tail of an ended one is its history");
}

#[test]
fn a_signal_that_comes_early_is_kept_and_a_repeated_one_counts_once() {
    let (server, _folder) = server(&[("waiter.py", WAITER)]);
    server.ok(&["executions", "start", "waiter", "--name", "w"]);
    server.ok(&["executions", "pause", "w", "--reason", "lunch"]);
    for payload in ["1", "2"] {
        server.ok(&["executions", "signal", "w", "go", payload, "--event-id", "same"]);
    }
    server.ok(&["executions", "resume", "w"]);
    assert_eq!(server.ok(&["executions", "wait", "w"]).trim(), "1");
    let late = server.run(&["executions", "signal", "w", "go", "3"]);
    assert_eq!(late.code, 3);
    assert!(late.err.contains("execution-ended"), "{late:?}");
    server.ok(&["executions", "purge", "w"]);
    assert!(server.run(&["executions", "show", "w"]).err.contains("not-found"));
}

#[test]
fn a_name_is_refused_joined_or_taken_over() {
    let (server, _folder) = server(&[("waiter.py", WAITER)]);
    let start = |how: &str| {
        let args = ["executions", "start", "waiter", "--name", "single", "--if-exists", how];
        server.run(&args)
    };
    let first = start("refuse").out;
    assert!(start("refuse").err.contains("conflict"));
    assert!(start("replace").err.contains("conflict"), "it is open");
    assert_eq!(start("join").out, first);
    server.ok(&["executions", "cancel", "single", "--reason", "enough"]);
    until(&server, "single", |execution| execution["status"] == "cancelled");
    let second = start("replace").out;
    assert_ne!(second, first);
    assert_eq!(show(&server, "single")["id"], second.trim());
    assert_eq!(show(&server, first.trim())["status"], "cancelled");
}

#[test]
fn a_callback_token_is_good_for_one_answer_of_its_own_tenant() {
    let (server, _folder) = server(&[("callback.py", CALLBACK)]);
    server.ok(&["executions", "start", "callback", "--name", "c"]);
    let waiting = until(&server, "c", waits_for("callback"));
    let token = waiting["custom_status"].as_str().unwrap();
    let refused = |token: &str| {
        let said = server.run(&["executions", "succeed", token, "1"]);
        assert!(said.code == 3 && said.err.contains("token-refused"), "{said:?}");
    };
    refused("nonsense");
    let last = if token.ends_with('0') { "1" } else { "0" };
    refused(&format!("{}{last}", &token[..token.len() - 1]));
    server.ok(&["executions", "heartbeat", token]);
    server.ok(&["executions", "succeed", token, "{\"ok\":7}"]);
    let answer: Value = serde_json::from_str(&server.ok(&["executions", "wait", "c"])).unwrap();
    assert_eq!(answer["ok"], json!({"ok": 7}));
    let again = server.run(&["executions", "fail", token, "no"]);
    assert_eq!(again.code, 3, "{again:?}");
}

#[test]
fn compositions_are_functions_that_compositions_call() {
    let (server, _folder) = server(&[
        ("charge.py", CHARGE),
        ("twice.sequence.json", r#"{"sequence": ["charge", "charge"]}"#),
        ("nested.sequence.json", r#"{"sequence": ["twice", "waiter", "twice"]}"#),
        ("waiter.py", WAITER),
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(&server.ok(&["invoke", "twice", "1"])).unwrap(),
        json!({"charged": {"charged": 1}})
    );
    let id = server.ok(&["executions", "start", "nested", "0"]);
    let waiting = until(&server, id.trim(), waits_for("waiter"));
    let child = waiting["open"][0]["call"].as_str().unwrap().replace("inv_", "exe_");
    until(&server, &child, waits_for("go"));
    let server = server.kill_and_restart();
    server.ok(&["executions", "signal", &child, "go", "5"]);
    let answer = server.ok(&["executions", "wait", id.trim()]);
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({"charged": {"charged": 5}}));
    let ended = show(&server, id.trim());
    assert_eq!(ended["cost"]["compute"], "0.0", "a composition computes nothing itself");
    assert_ne!(ended["cost"]["children"], "0.0");
    let bad = file(_folder.path(), "bad.sequence.json", r#"{"sequence": []}"#);
    assert!(server.run(&["deploy", &bad]).err.contains("bad-package"));
}

#[test]
fn a_malformed_suspension_fails_the_execution_with_its_reason() {
    let bad = "def handler(event, context):\n    return {\"$fermata\": {\"dream\": 1}}\n";
    let (server, _folder) = server(&[("bad.py", bad), ("charge.py", CHARGE)]);
    let said = server.run(&["invoke", "bad", "1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("dream"), "{said:?}");
    let plain = server.run(&["executions", "start", "charge", "1"]);
    assert!(plain.code == 3 && plain.err.contains("durable"), "{plain:?}");
    let wasm = server.run(&["executions", "show", "exe_00000000000000000000000001"]);
    assert!(wasm.err.contains("not-found"), "{wasm:?}");
}
