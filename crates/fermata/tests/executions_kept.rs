//! Executions over their whole life through the built server: which code they hold, what is billed for
//! them and where, how they are followed, cancelled and in the end forgotten.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, eventually, guest};

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn sequence(server: &Server, name: &str, functions: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let text = json!({ "sequence": functions }).to_string();
    server.ok(&["deploy", &file(folder.path(), &format!("{name}.sequence.json"), &text)]);
}

fn show(server: &Server, which: &str) -> Value {
    server.json(&["executions", "show", which])
}

fn until_it_waits(server: &Server, which: &str) {
    eventually(&format!("{which} waits"), || show(server, which)["status"] == "suspended");
}

/// µ¢ with decimals as pico-cents.
fn pico(amount: &Value) -> u64 {
    let text = amount.as_str().unwrap_or_else(|| panic!("{amount} is no amount"));
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{rest:0<6}").parse().unwrap()
}

#[test]
fn an_execution_keeps_the_version_that_it_began_with_and_drain_shows_it() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("paced"), "--name", "work", "--durable"]);
    server.ok(&["executions", "start", "work", "0 1", "--name", "old"]);
    until_it_waits(&server, "old");
    server.ok(&["deploy", &guest("nap"), "--name", "work", "--durable"]);
    let far = "4000000000000";
    server.ok(&["executions", "start", "work", far, "--name", "new"]);
    until_it_waits(&server, "new");
    let held = server.json(&["functions", "drain", "work"]);
    let held = held["items"].as_array().unwrap();
    let rows: Vec<_> =
        held.iter().map(|row| (&row["version"], &row["executions"], &row["latest"])).collect();
    let expected = [(&json!(1), &json!(1), &json!(false)), (&json!(2), &json!(1), &json!(true))];
    assert_eq!(rows, expected, "{held:#?}");
    assert_eq!(held[0]["oldest"], show(&server, "old")["id"]);
    assert!(server.ok(&["functions", "drain", "work"]).contains("signal \"go\""));
    let refused = server.run(&["functions", "delete", "work"]);
    assert!(refused.code == 3 && refused.err.contains("functions drain"), "{refused:?}");

    let server = server.kill_and_restart();
    server.ok(&["executions", "signal", "old", "go"]);
    let answer = server.ok(&["executions", "wait", "old"]);
    assert_eq!(answer.split_whitespace().count(), 2, "the old code answers: {answer}");
    server.ok(&["executions", "cancel", "new"]);
    eventually("nothing holds it", || {
        server.json(&["functions", "drain", "work"])["items"] == json!([])
    });
    server.ok(&["functions", "delete", "work"]);
}

#[test]
fn what_has_ended_is_forgotten_after_its_time_and_its_receipts_stay() {
    let server = Server::dev(&["--keep-executions-seconds", "1"]);
    server.ok(&["deploy", &guest("empty"), "--name", "empty"]);
    server.ok(&["deploy", &guest("paced"), "--name", "paced", "--durable"]);
    sequence(&server, "chain", &["empty"]);
    server.ok(&["executions", "start", "paced", "0 1", "--name", "open"]);
    let id = server.ok(&["executions", "start", "chain", "--name", "done"]);
    server.ok(&["executions", "wait", "done"]);
    eventually("it is gone", || {
        server.run(&["executions", "show", "done"]).err.contains("not-found")
    });
    let receipt = server.json(&["invocations", "show", &id.trim().replace("exe_", "inv_")]);
    assert_eq!(receipt["function"], "chain", "{receipt:#}");
    assert_eq!(show(&server, "open")["status"], "suspended", "what is open stays");
    server.ok(&["executions", "start", "chain", "--name", "done"]);
}

#[test]
fn an_execution_is_followed_as_it_goes_on() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("paced"), "--name", "paced", "--durable"]);
    server.ok(&["executions", "start", "paced", "0 2", "--name", "p"]);
    until_it_waits(&server, "p");
    let mut follower = Command::new(env!("CARGO_BIN_EXE_fermata"))
        .args(["executions", "history", "p", "--follow", "--json", "--server", server.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let before = [next(), next(), next()].map(|entry| entry["what"].clone());
    assert_eq!(before, [json!("started"), json!("asked"), json!("suspended")]);
    server.ok(&["executions", "signal", "p", "go"]);
    let live = [next(), next(), next()].map(|entry| entry["what"].clone());
    assert_eq!(live, [json!("resolved"), json!("asked"), json!("suspended")]);
    server.ok(&["executions", "signal", "p", "go"]);
    let last = [next(), next()];
    assert_eq!(last[1]["what"], "ended");
    assert_eq!(last[1]["seq"], 8, "each record once");
    assert!(follower.wait().unwrap().success(), "the end of the execution is that of the tail");

    // The same as any client of server-sent events sees it, going on where it was.
    let address = server.url().strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = "GET /v1/executions/p/tail HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 6\r\n\
                Connection: close\r\n\r\n";
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut events = String::new();
    stream.read_to_string(&mut events).unwrap();
    assert!(events.contains("text/event-stream"), "{events}");
    let ids: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids, ["7", "8"], "{events}");
}

#[test]
fn a_parent_shows_what_its_calls_cost_and_nothing_is_billed_twice() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("empty"), "--name", "empty"]);
    sequence(&server, "inner", &["empty", "empty"]);
    sequence(&server, "outer", &["inner", "empty"]);
    server.ok(&["executions", "start", "outer", "--name", "o"]);
    server.ok(&["executions", "wait", "o"]);
    // Its own receipt is written when the books of all below it are closed.
    eventually("there are all receipts", || {
        server.json(&["invocations", "list"])["items"].as_array().unwrap().len() == 5
    });
    let receipts = server.json(&["invocations", "list"]);
    let of = |function: &str| -> u64 {
        let items = receipts["items"].as_array().unwrap().iter();
        items
            .filter(|item| item["function"] == function)
            .map(|item| pico(&item["receipt"]["total"]))
            .sum()
    };
    let cost = &show(&server, "o")["cost"];
    assert_eq!(pico(&cost["children"]), of("inner") + of("empty"), "{receipts:#} {cost:#}");
    assert_eq!(pico(&cost["total"]), of("outer"));
    let bill = server.json(&["bill"]);
    let billed: u64 = bill["items"].as_array().unwrap().iter().map(|row| pico(&row["total"])).sum();
    assert_eq!(billed, of("outer") + of("inner") + of("empty"));
}

#[test]
fn a_redriven_execution_has_a_receipt_for_each_of_its_ends() {
    let server = Server::dev(&[]);
    sequence(&server, "chain", &["later"]);
    let id = server.ok(&["executions", "start", "chain", "--name", "c"]);
    eventually("it fails", || show(&server, "c")["status"] == "failed");
    server.ok(&["deploy", &guest("empty"), "--name", "later"]);
    server.ok(&["executions", "redrive", "c"]);
    server.ok(&["executions", "wait", "c"]);
    let cost = show(&server, "c")["cost"].clone();
    let bill = server.json(&["bill"]);
    let rows = bill["items"].as_array().unwrap().iter().filter(|row| row["function"] == "chain");
    let (mut ends, mut billed) = (0, 0);
    for row in rows {
        ends += row["invocations"].as_u64().unwrap();
        billed += pico(&row["total"]);
    }
    assert_eq!((ends, billed), (2, pico(&cost["total"])), "{bill:#} {cost:#}");
    let last = server.json(&["invocations", "show", &id.trim().replace("exe_", "inv_")]);
    assert_eq!(last["attempt"], 2, "{last:#}");
}

#[test]
fn a_cancel_never_overtakes_the_start_of_a_child() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("paced"), "--name", "paced", "--durable"]);
    sequence(&server, "parent", &["paced"]);
    // Large enough to lie beside the state: it is read before the child starts.
    let input = format!("0 1{}", " ".repeat(40_000));
    let folder = tempfile::tempdir().unwrap();
    let input = format!("@{}", file(folder.path(), "input", &input));
    for number in 0..60 {
        let name = format!("p{number}");
        server.ok(&["executions", "start", "parent", &input, "--name", &name]);
        server.ok(&["executions", "cancel", &name]);
    }
    eventually("all have ended", || {
        let open = server.json(&["executions", "list", "--limit", "999"]);
        open["items"].as_array().unwrap().iter().all(|item| item["status"] == "cancelled")
    });
}
