//! Process functions through the built server: Python, Node and native programs, chains across
//! kinds, and each way in which a handler can go wrong.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Server, eventually, guest};

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn check_fails(server: &Server, args: &[&str], code: &str) {
    let said = server.run(args);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("[{code}]")), "{said:?}");
}

const HANDLERS: &str = r#"
import os, sys, time

def handler(event, context):
    what = event.get("do")
    if what == "throw":
        raise ValueError("no luck")
    if what == "exit":
        sys.exit(3)
    if what == "abort":
        os.abort()
    if what == "hang":
        time.sleep(3600)
    if what == "large":
        return "x" * (17 << 20)
    if what == "unserializable":
        return object()
    if what == "print":
        print("\x1b[31mred", flush=True)
        sys.stderr.write("to stderr\n")
    return {"got": event, "id": context.aws_request_id, "user": os.environ.get("GREETING")}
"#;

#[test]
fn a_python_function_answers_logs_and_is_reused() {
    let server = Server::dev(&[]);
    let file = write(server.data(), "app.py", HANDLERS);
    server.ok(&["deploy", &file, "--class", "standard", "--env", "GREETING=hello"]);
    let first = server.json(&["invoke", "app", "{\"do\":\"print\"}"]);
    assert_eq!(first["answer"]["got"]["do"], "print");
    assert_eq!(first["answer"]["id"], first["invocation"]);
    assert_eq!(first["answer"]["user"], "hello");
    let logs = server.ok(&["logs", first["invocation"].as_str().unwrap()]);
    assert!(logs.contains("␛[31mred") && logs.contains("to stderr"), "{logs}");
    let second = server.json(&["invoke", "app", "{}"]);
    let shown = |call: &serde_json::Value| {
        server.json(&["invocations", "show", call["invocation"].as_str().unwrap()])
    };
    assert_eq!(
        (shown(&first)["cold"].as_bool(), shown(&second)["cold"].as_bool()),
        (Some(true), Some(false))
    );
    assert!(shown(&second)["receipt"]["cpu_ns"].as_u64().unwrap() > 0);
}

#[test]
fn each_way_a_handler_goes_wrong_has_its_code_and_the_next_call_works() {
    let server = Server::dev(&[]);
    let file = write(server.data(), "app.py", HANDLERS);
    server.ok(&["deploy", &file]);
    server.ok(&["deploy", &file, "--name", "hasty", "--timeout", "1"]);
    check_fails(&server, &["invoke", "hasty", "{\"do\":\"hang\"}"], "timed-out");
    for (what, code) in [
        ("throw", "handler-error"),
        ("exit", "exited"),
        ("abort", "exited"),
        ("large", "response-too-large"),
        ("unserializable", "handler-error"),
    ] {
        check_fails(&server, &["invoke", "app", &format!("{{\"do\":\"{what}\"}}")], code);
        assert_eq!(
            server.json(&["invoke", "app", "{}"])["answer"]["got"],
            serde_json::json!({}),
            "{what}"
        );
    }
    let broken = write(server.data(), "broken.py", "import no_such_module\n");
    server.ok(&["deploy", &broken]);
    check_fails(&server, &["invoke", "broken", "{}"], "init-error");
    let absent = write(server.data(), "absent.py", "x = 1\n");
    server.ok(&["deploy", &absent]);
    check_fails(&server, &["invoke", "absent", "{}"], "init-error");
}

#[test]
fn a_node_function_answers() {
    let server = Server::dev(&[]);
    let module = "export const handler = async (event, context) => ({ twice: event.n * 2, id: context.awsRequestId });\n";
    let file = write(server.data(), "twice.mjs", module);
    server.ok(&["deploy", &file]);
    let call = server.json(&["invoke", "twice", "{\"n\":21}"]);
    assert_eq!(
        (call["answer"]["twice"].as_u64(), &call["answer"]["id"]),
        (Some(42), &call["invocation"])
    );
    let failing =
        "exports.handler = (event, context, callback) => callback(new Error('no luck'));\n";
    let file = write(server.data(), "failing.cjs", failing);
    server.ok(&["deploy", &file]);
    check_fails(&server, &["invoke", "failing", "{}"], "handler-error");
}

/// Ten functions that wait for each other, Wasm and Python in turn: all run and are billed in the
/// class of the first.
#[test]
fn a_chain_across_kinds_keeps_the_class() {
    let server = Server::dev(&["--cores", "1"]);
    let text = r#"
import fermata

def handler(event, context):
    depth = event["depth"]
    if depth == 0:
        return "bottom"
    return fermata.invoke("call", f'link\n{{"depth":{depth - 1}}}'.encode(), class_="background")
"#;
    server.ok(&["deploy", &write(server.data(), "link.py", text)]);
    server.ok(&["deploy", &guest("call")]);
    let call = server.json(&["invoke", "link", "{\"depth\":5}", "--class", "interactive"]);
    assert!(call["answer"].to_string().contains("bottom"), "{call}");
    let bill = server.json(&["bill"]);
    let rows = bill["items"].as_array().unwrap();
    let calls: u64 = rows.iter().map(|row| row["invocations"].as_u64().unwrap()).sum();
    assert_eq!(calls, 11);
    assert!(rows.iter().all(|row| row["class"] == "interactive"), "{bill}");
}

#[test]
fn a_function_that_calls_itself_for_ever_is_stopped() {
    let server = Server::dev(&[]);
    let text = "import fermata\n\ndef handler(event, context):\n    return fermata.invoke('loop', event)\n";
    server.ok(&["deploy", &write(server.data(), "loop.py", text)]);
    let said = server.run(&["invoke", "loop", "{}"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("too-deep"), "{said:?}");
}

#[test]
fn a_program_on_the_lambda_runtime_runs_unchanged() {
    let server = Server::dev(&[]);
    let folder = server.data().join("native");
    std::fs::create_dir(&folder).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_fermata")).with_file_name("shop-thumbnail");
    assert!(program.is_file(), "build the workspace first: {}", program.display());
    std::fs::copy(program, folder.join("bootstrap")).unwrap();
    server.ok(&[
        "deploy",
        folder.to_str().unwrap(),
        "--name",
        "thumbnail",
        "--runtime",
        "provided",
    ]);
    let call = server.json(&["invoke", "thumbnail", "{\"seed\":7}"]);
    assert!(call["answer"].is_object(), "{call}");
}

/// A busy loop in Python loses its core to a critical call and goes on to the right answer.
#[test]
fn background_work_in_python_gives_way_and_finishes() {
    let server = Server::dev(&["--cores", "1"]);
    let text = "def handler(event, context):\n    total = 0\n    for i in range(event['n']):\n        total += i * i % 7\n    return total\n";
    server.ok(&["deploy", &write(server.data(), "busy.py", text)]);
    server.ok(&["deploy", &guest("echo")]);
    let n: u64 = 20_000_000;
    let expected: u64 = (0..n).map(|i| i * i % 7).sum();
    let id = server.ok(&["invoke", "busy", &format!("{{\"n\":{n}}}"), "--async"]);
    support::eventually("it runs", || server.json(&["top"])["classes"][0]["running"] == 1);
    for _ in 0..20 {
        assert_eq!(server.ok(&["invoke", "echo", "x", "--class", "critical"]), "x");
    }
    support::eventually("it succeeds", || {
        server.json(&["invocations", "show", id.trim()])["status"] == "succeeded"
    });
    let shown = server.json(&["invocations", "show", id.trim()]);
    assert!(shown["times"]["preemptions"].as_u64().unwrap() >= 1, "{shown}");
    let answer = server.json(&["invoke", "busy", "{\"n\":1000}"]);
    let small: u64 = (0..1000_u64).map(|i| i * i % 7).sum();
    assert_eq!(answer["answer"].as_u64(), Some(small));
    assert_eq!(shown["response_bytes"].as_u64(), Some(expected.to_string().len() as u64));
}

#[test]
fn nothing_is_left_when_the_server_is_killed() {
    let server = Server::dev(&[]);
    let text = "import time\n\ndef handler(event, context):\n    time.sleep(3600)\n";
    server.ok(&["deploy", &write(server.data(), "sleeper.py", text)]);
    server.ok(&["invoke", "sleeper", "{}", "--async"]);
    support::eventually("it is blocked", || server.json(&["top"])["classes"][0]["blocked"] == 1);
    let children = children_of(server.pid());
    assert!(!children.is_empty());
    let server = server.kill_and_restart();
    support::eventually("all processes of the killed server are gone", || {
        children.iter().all(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    });
    drop(server);
}

/// All descendants of a process.
fn children_of(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// The status code and the body.
fn get(server: &Server, path: &str) -> (u16, String) {
    let address = server.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The process that makes the sandboxes: the only one that the server itself starts.
fn warden(server: &Server) -> Option<String> {
    let parent = server.pid().to_string();
    let found = Command::new("pgrep").args(["-P", &parent]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().next().map(str::to_owned)
}

#[test]
fn health_and_metrics_tell_that_processes_cannot_start_and_that_they_can_again() {
    let mut server = Server::dev(&[]);
    server.announce("warden");
    let file = write(server.data(), "app.py", "def handler(event, context):\n    return 1\n");
    server.ok(&["deploy", &file]);
    server.ok(&["invoke", "app"]);
    assert_eq!(get(&server, "/healthz"), (200, "ok\n".to_owned()));
    assert!(get(&server, "/metrics").1.contains("fermata_runtime_up{kind=\"process\"} 1"));
    // The pause before the next start becomes longer with each that died at once.
    let mut down = None;
    eventually("it is down for a while", || {
        if let Some(warden) = warden(&server) {
            assert!(Command::new("kill").args(["-9", &warden]).status().is_ok());
        }
        let health = get(&server, "/healthz");
        let is_down = health.0 == 503;
        if is_down {
            down = Some((health.1, get(&server, "/metrics").1));
        }
        is_down
    });
    let (health, metrics) = down.unwrap();
    assert!(health.starts_with("process functions: "), "{health}");
    assert!(metrics.contains("fermata_runtime_restarts_total{kind=\"process\"}"), "{metrics}");
    eventually("it is up again", || get(&server, "/healthz").0 == 200);
    server.ok(&["invoke", "app"]);
    let metrics = get(&server, "/metrics").1;
    assert!(metrics.contains("fermata_runtime_up{kind=\"process\"} 1"), "{metrics}");
}

#[test]
fn what_a_killed_server_left_is_removed_before_the_next_one_begins() {
    let mut server = Server::dev(&[]);
    let text = "import time\ndef handler(event, context):\n    time.sleep(0.2)\n    return 1\n";
    let file = write(server.data(), "app.py", text);
    server.ok(&["deploy", &file]);
    server.ok(&["invoke", "app", "--class", "critical"]);
    // It comes to its work late: a server that did not wait for it would lose its own sandboxes. Now and
    // then it is done before it can be stopped.
    let mut old = None;
    for _ in 0..20 {
        old = kill_and_stop_the_warden(&mut server);
        if old.is_some() {
            break;
        }
        server = server.kill_and_restart();
    }
    let old = old.expect("a warden is stopped at its work");
    let server = std::thread::scope(|scope| {
        let next = scope.spawn(|| server.kill_and_restart());
        eventually("the next one waits", || is_waited_for(old));
        kill(old, Signal::SIGCONT).unwrap();
        next.join().unwrap()
    });
    // Then it has no words, even where nobody has asked yet how it ended.
    assert!(std::fs::read(format!("/proc/{old}/cmdline")).unwrap_or_default().is_empty());
    for _ in 0..3 {
        server.ok(&["invoke", "app", "--class", "critical"]);
    }
}

/// Kills the server; its warden, where that could be stopped before it had ended.
fn kill_and_stop_the_warden(server: &mut Server) -> Option<Pid> {
    let warden = Pid::from_raw(warden(server).unwrap().parse().unwrap());
    let is_killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Once would not do: by the server's end the kernel wakes whom that orphans.
        scope.spawn(|| {
            while !is_killed.load(Ordering::Relaxed) && kill(warden, Signal::SIGSTOP).is_ok() {
                std::hint::spin_loop();
            }
        });
        server.kill();
        is_killed.store(true, Ordering::Relaxed);
    });
    // What it was last sent may reach it a moment later: it stops, or it ends.
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{warden}/stat")).unwrap_or_default();
        match stat.rsplit(") ").next().and_then(|rest| rest.chars().next()) {
            Some('T') => return Some(warden),
            None | Some('Z' | 'X') => return None,
            Some(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Whether somebody waits for a lock that this process has.
fn is_waited_for(process: Pid) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let id = process.to_string();
    let lines: Vec<Vec<&str>> =
        locks.lines().map(|line| line.split_whitespace().collect()).collect();
    let holds = |line: &&Vec<&str>| line.get(1) != Some(&"->") && line.get(4) == Some(&&*id);
    let waits = |number| lines.iter().any(|line| line[..2] == [number, "->"]);
    lines.iter().find(holds).is_some_and(|held| waits(held[0]))
}
