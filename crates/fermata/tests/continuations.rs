//! Durable functions in WebAssembly through the built server: a kill in the middle of a turn.

mod support;

use serde_json::{Value, json};
use support::{Server, eventually};

/// Waits, computes for a while, waits again. What it drew before its first wait stays what it was.
const FUNCTION: &str = r#"
export default async function handler(input) {
  const drawn = Math.random();
  fermata.setStatus({ drawn });
  await fermata.signal("go");
  let sum = 0;
  for (let i = 0; i < input.rounds; i++) sum = (sum * 31 + i) % 1000003;
  await fermata.sleep(1);
  return { drawn, sum };
}
"#;
const ROUNDS: u64 = 20_000_000;

#[test]
fn a_turn_that_was_running_at_a_kill_runs_again_from_its_last_suspension() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("busy.js");
    std::fs::write(&path, FUNCTION).unwrap();
    let server = Server::dev(&[]);
    server.ok(&["deploy", "--durable", path.to_str().unwrap()]);
    let input = json!({"rounds": ROUNDS}).to_string();
    server.ok(&["executions", "start", "busy", &input, "--name", "b"]);
    let show = |server: &Server| server.json(&["executions", "show", "b"]);
    eventually("it waits", || show(&server)["status"] == "suspended");
    let drawn = show(&server)["custom_status"]["drawn"].clone();
    assert!(drawn.is_f64(), "{drawn}");
    server.ok(&["executions", "signal", "b", "go"]);
    eventually("it computes", || show(&server)["status"] == "running");

    let server = server.kill_and_restart();
    let answer: Value = serde_json::from_str(&server.ok(&["executions", "wait", "b"])).unwrap();
    let sum = (0..ROUNDS).fold(0, |sum, i| (sum * 31 + i) % 1_000_003);
    assert_eq!(answer, json!({"drawn": drawn, "sum": sum}));
}
