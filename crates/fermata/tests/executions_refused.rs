//! What is wrong is refused with a clear word, damages nothing, and the service goes on.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Said, Server, eventually, guest};

/// Shows callback tokens as its status: the first is answered by nobody in time, the second ends it.
const TOKENS: &str = r#"
def handler(event, context):
    turn = event["$fermata"]
    op = turn["next_op"]
    if turn["state"] is None:
        asks = [{"op": op, "token": {"heartbeat_ms": 100}}, {"op": op + 1, "token": {}}]
        return {"$fermata": {"wait": {"asks": asks, "until": {"all": [op, op + 1]}, "state": 1,
                                      "status": turn["tokens"][:2]}}}
    return {str(entry["op"]): entry for entry in turn["resolved"]}
"#;

fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn check(said: &Said, word: &str) {
    assert!(said.code == 3 && said.err.contains(word), "{said:?} is to be refused: {word}");
}

#[test]
fn tokens_of_others_used_up_and_out_of_time_are_refused() {
    let server = Server::with_keys(&[]);
    let admin = server.admin_key();
    let as_admin = |args: &[&str]| {
        let said = server.run_as(Some(&admin), args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    };
    let key = |tenant: &str| {
        as_admin(&["tenant", "create", tenant]);
        as_admin(&["key", "create", "--tenant", tenant, "--label", "x"]).trim().to_owned()
    };
    let (ours, theirs) = (key("acme"), key("globex"));
    let own = |args: &[&str]| server.run_as(Some(&ours), args);
    let other = |args: &[&str]| server.run_as(Some(&theirs), args);
    let folder = tempfile::tempdir().unwrap();
    let code = file(folder.path(), "tokens.py", TOKENS.as_bytes());
    assert_eq!(own(&["deploy", &code, "--durable", "--runtime", "python3"]).code, 0);
    assert_eq!(own(&["executions", "start", "tokens", "--name", "t"]).code, 0);
    let show = || -> Value {
        serde_json::from_str(&own(&["executions", "show", "t", "--json"]).out).unwrap_or_default()
    };
    eventually("it shows its tokens", || show()["custom_status"].is_array());
    let status = show()["custom_status"].clone();
    let [late, open] = [0, 1].map(|place| status[place].as_str().unwrap().to_owned());

    check(&other(&["executions", "show", "t"]), "not-found");
    check(&other(&["executions", "signal", "t", "go"]), "not-found");
    check(&other(&["executions", "succeed", &open, "1"]), "token-refused");
    eventually("the first token runs out", || {
        let open = show()["open"].clone();
        open.as_array().is_some_and(|open| open.iter().any(|ask| ask["resolved"] == true))
    });
    check(&own(&["executions", "succeed", &late, "1"]), "token-refused");
    check(&own(&["executions", "heartbeat", &late]), "token-refused");
    assert_eq!(own(&["executions", "succeed", &open, "2"]).code, 0);
    let again = own(&["executions", "succeed", &open, "3"]);
    // As the execution may have ended already.
    let is_refused =
        ["token-refused", "execution-ended"].iter().any(|word| again.err.contains(word));
    assert!(again.code == 3 && is_refused, "{again:?}");
    let answer = own(&["executions", "wait", "t"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.out.contains("\"ok\": 2") || answer.out.contains("\"ok\":2"), "{answer:?}");
    check(&own(&["executions", "signal", "t", "go"]), "execution-ended");
    check(&own(&["executions", "cancel", "t"]), "execution-ended");
}

#[test]
fn an_execution_without_budget_waits_and_goes_on_with_one() {
    let server = Server::with_keys(&[]);
    let admin = server.admin_key();
    let as_admin = |args: &[&str]| {
        let said = server.run_as(Some(&admin), args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    };
    as_admin(&["tenant", "create", "acme"]);
    let key = as_admin(&["key", "create", "--tenant", "acme", "--label", "x"]).trim().to_owned();
    let own = |args: &[&str]| server.run_as(Some(&key), args);
    let folder = tempfile::tempdir().unwrap();
    let chain = file(folder.path(), "chain.sequence.json", br#"{"sequence": ["empty", "empty"]}"#);
    assert_eq!(own(&["deploy", &guest("empty"), "--name", "empty"]).code, 0);
    assert_eq!(own(&["deploy", &guest("paced"), "--name", "paced", "--durable"]).code, 0);
    assert_eq!(own(&["deploy", &chain, "--name", "chain"]).code, 0);
    as_admin(&["tenant", "update", "acme", "--budget", "0"]);
    // A call of its own, and a turn.
    assert_eq!(own(&["executions", "start", "chain", "--name", "c"]).code, 0);
    assert_eq!(own(&["executions", "start", "paced", "0 1", "--name", "p"]).code, 0);
    assert_eq!(own(&["executions", "signal", "p", "go"]).code, 0);
    check(&own(&["invoke", "empty", "1"]), "over-budget");
    let stands = |name: &str, word: &str| {
        let said = own(&["executions", "show", name]);
        assert!(said.out.lines().next().unwrap_or_default().contains(word), "{said:?}");
    };
    stands("c", "suspended");
    stands("p", "running");
    as_admin(&["tenant", "update", "acme", "--budget", "unlimited"]);
    for name in ["c", "p"] {
        let said = own(&["executions", "wait", name]);
        assert_eq!(said.code, 0, "{said:?}");
    }
}

#[test]
fn what_is_over_the_cap_is_refused_everywhere_and_takes_nothing_along() {
    let server = Server::dev(&["--payload-max", "64K"]);
    server.ok(&["deploy", &guest("paced"), "--name", "paced", "--durable"]);
    server.ok(&["executions", "start", "paced", "0 1", "--name", "p"]);
    let folder = tempfile::tempdir().unwrap();
    let large = format!("@{}", file(folder.path(), "large", &vec![b'1'; 65 << 10]));
    check(&server.run(&["executions", "start", "paced", &large]), "payload-too-large");
    check(&server.run(&["executions", "signal", "p", "go", &large]), "payload-too-large");
    check(&server.run(&["executions", "succeed", "nonsense", &large]), "payload-too-large");
    check(&server.run(&["executions", "start", "paced", "--name", &"n".repeat(657)]), "invalid");
    check(&server.run(&["executions", "signal", "p", &"s".repeat(129)]), "invalid");
    check(&server.run(&["executions", "show", "nobody"]), "not-found");
    check(&server.run(&["executions", "show", "exe_00000000000000000000000001"]), "not-found");
    assert_eq!(server.json(&["executions", "list"])["items"].as_array().unwrap().len(), 1);
    server.ok(&["executions", "signal", "p", "go"]);
    server.ok(&["executions", "wait", "p"]);
}
