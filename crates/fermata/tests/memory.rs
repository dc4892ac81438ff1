//! Memory of the built server: a real control group around it, and the system's swap.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and tell why")]

mod support;
#[path = "../../runtime/tests/process/system_swap.rs"]
mod system_swap;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::Server;
use system_swap::SystemSwap;

const MIB: u64 = 1 << 20;

/// A memory control group; removed with what was in it.
struct Group {
    path: PathBuf,
    is_v1: bool,
}

impl Group {
    fn make(limit: u64) -> Option<Self> {
        let name = format!("fermata-test-{}", std::process::id());
        let places = [("/sys/fs/cgroup/memory", true), ("/sys/fs/cgroup", false)];
        let made = places.into_iter().find_map(|(parent, is_v1)| {
            let path = Path::new(parent).join(&name);
            let file = if is_v1 { "memory.limit_in_bytes" } else { "memory.max" };
            std::fs::create_dir(&path).ok()?;
            let group = Self { path, is_v1 };
            std::fs::write(group.path.join(file), limit.to_string()).ok()?;
            Some(group)
        });
        if made.is_none() {
            eprintln!("skipped: no memory control group can be made here");
        }
        made
    }

    fn enter(&self, pid: u32) {
        std::fs::write(self.path.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    fn number(&self, v1: &str, v2: &str) -> u64 {
        let text =
            std::fs::read_to_string(self.path.join(if self.is_v1 { v1 } else { v2 })).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.unwrap_or_else(|| text.trim()).trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let end = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.path).is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn deploy_python(server: &Server, name: &str, class: &str, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "name = \"{name}\"\nclass = \"{class}\"\nruntime = \"python3\"\nhandler = \"app.handler\"\n"
    );
    std::fs::write(folder.path().join("fermata.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("app.py"), text).unwrap();
    server.ok(&["deploy", folder.path().to_str().unwrap()]);
}

fn metrics(server: &Server) -> String {
    let address = server.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn status(server: &Server) -> Value {
    server.json(&["top", "--once"])
}

/// Runs the calls at once; what each answered.
fn at_once(server: &Server, calls: &[(&str, String)]) -> Vec<support::Said> {
    std::thread::scope(|scope| {
        let call = |(name, payload): &(&str, String)| {
            let (name, payload) = ((*name).to_owned(), payload.clone());
            scope.spawn(move || server.run(&["invoke", &name, &payload]))
        };
        let threads: Vec<_> = calls.iter().map(call).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_server_in_a_real_control_group_outlives_functions_that_fill_it() {
    const MEMORY: u64 = 192;
    // What functions may have for a moment, and what the platform itself takes.
    const MARGIN: u64 = model::limits::MEMORY_OVER_BYTES_MAX / MIB + 96;
    let Some(group) = Group::make((MEMORY + MARGIN) * MIB) else { return };
    let mut server = Server::dev(&["--memory", "192M", "--swap", "512M", "--cores", "2"]);
    server.announce("out-of-memory");
    group.enter(server.pid());
    for guest in ["hold", "fill"] {
        server.ok(&["deploy", &support::guest(guest), "--class", "background"]);
    }
    server.ok(&["deploy", &support::guest("empty"), "--class", "critical"]);
    let alone = server.run(&["invoke", "hold", "64 10 0 1"]);
    assert_eq!(alone.code, 0, "{alone:?}");
    // Four times memory together, and two of which each alone is more than memory and grows as fast as it
    // can, one of them in a single instruction.
    let mut calls: Vec<(&str, String)> = (0..12).map(|_| ("hold", "64 10 20 1".into())).collect();
    calls.extend([("hold", "700 0 0 1".into()), ("fill", "700".into())]);
    let answers = std::thread::scope(|scope| {
        let low = scope.spawn(|| at_once(&server, &calls));
        let mut top = 0;
        while !low.is_finished() {
            let said = server.run(&["invoke", "empty", "null"]);
            assert_eq!(said.code, 0, "{said:?}");
            top += 1;
        }
        assert!(top > 0);
        low.join().unwrap()
    });
    for said in &answers[..12] {
        assert_eq!((said.code, &said.out), (0, &alone.out), "{said:?}");
    }
    for said in &answers[12..] {
        assert!(said.code == 1 && said.err.contains("memory"), "{said:?}");
    }
    let status = status(&server);
    let peak = status["memory"]["peak"].as_u64().unwrap();
    assert!(status["memory"]["swap"]["written"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(group.number("memory.oom_control", "memory.events"), 0, "the kernel killed");
    let whole = group.number("memory.max_usage_in_bytes", "memory.peak");
    assert!(whole <= (MEMORY + MARGIN) * MIB, "{whole}");
    eprintln!("functions had {} MiB, the whole server {} MiB", peak / MIB, whole / MIB);
    let most = MEMORY * MIB + model::limits::MEMORY_OVER_BYTES_MAX;
    assert!(peak <= most, "functions had {} MiB", peak / MIB);
    drop(server);
}

/// All files below a folder, by name.
fn files_below(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let names = entries.flat_map(|entry| {
        let is_folder = entry.file_type().unwrap().is_dir();
        let name = entry.file_name().into_string().unwrap();
        if is_folder { files_below(&entry.path()) } else { vec![name] }
    });
    names.collect()
}

#[test]
fn killed_while_it_swaps_the_server_comes_back_loses_no_call_and_leaves_no_swap_file() {
    let server = Server::dev(&["--memory", "128M", "--swap", "320M", "--cores", "2"]);
    server.ok(&["deploy", &support::guest("hold"), "--class", "background"]);
    let payload = |n: usize| format!("40 30 40 {}", n % 2);
    let alone: Vec<_> = (0..2).map(|n| server.ok(&["invoke", "hold", &payload(n)])).collect();
    let calls: Vec<String> = (0..8)
        .map(|n| server.ok(&["invoke", "hold", &payload(n), "--async"]).trim().to_owned())
        .collect();
    support::eventually("one has left and others are about to", || {
        status(&server)["memory"]["swap"]["held"].as_u64().unwrap() > 0
    });
    let server = server.kill_and_restart();
    let left = files_below(server.data());
    assert!(!left.iter().any(|name| name.starts_with("swap")), "{left:?}");
    for id in &calls {
        support::eventually("each call that was taken succeeds", || {
            server.json(&["invocations", "show", id])["status"] == "succeeded"
        });
    }
    assert_eq!(status(&server)["memory"]["swap"]["used"], 0);
    for (n, alone) in alone.iter().enumerate() {
        assert_eq!(&server.ok(&["invoke", "hold", &payload(n)]), alone);
    }
}

#[test]
fn executions_that_only_wait_leave_memory_before_functions_of_their_class_and_go_on_later() {
    let server = Server::dev(&["--memory", "192M", "--swap", "512M", "--cores", "2"]);
    server.ok(&["deploy", &support::guest("hold"), "--class", "standard"]);
    for class in ["background", "critical"] {
        let deploy =
            ["deploy", &support::guest("paced"), "--name", class, "--durable", "--class", class];
        server.ok(&deploy);
        for n in 0..3 {
            let name = format!("{class}-{n}");
            server.ok(&["executions", "start", class, "0 1", "--name", &name]);
            support::eventually(&format!("{name} waits"), || {
                server.json(&["executions", "show", &name])["status"] == "suspended"
            });
        }
    }
    let calls: Vec<(&str, String)> = (0..6).map(|_| ("hold", "64 10 20 1".into())).collect();
    for said in at_once(&server, &calls) {
        assert_eq!(said.code, 0, "{said:?}");
    }
    let status = status(&server);
    let classes = &status["memory"]["classes"];
    assert!(classes[2]["swap_outs"].as_u64().unwrap() > 0, "{status:#}");
    // Nobody above the functions that left had to go.
    let freed = |class: usize| classes[class]["executions_freed"].as_u64().unwrap();
    assert_eq!((freed(0), freed(4)), (3, 0), "{status:#}");
    for name in ["background-0", "critical-0"] {
        server.ok(&["executions", "signal", name, "go"]);
        server.ok(&["executions", "wait", name]);
    }
}

const HOLD: &str = include_str!("../src/bench/guests/hold.py");

#[test]
fn processes_beyond_memory_are_moved_to_the_systems_swap_by_class_and_all_finish() {
    let Some(_swap) = SystemSwap::get() else { return };
    let server = Server::dev(&["--memory", "320M", "--cores", "1"]);
    deploy_python(&server, "low", "background", HOLD);
    deploy_python(&server, "high", "standard", HOLD);
    let payload = |seed: u32| format!("\"96 12 60 {seed}\"");
    let alone: Vec<_> =
        (0..2).map(|seed| server.run(&["invoke", "high", &payload(seed)])).collect();
    let names = ["low", "low", "low", "high"];
    let calls: Vec<_> = (0..4).map(|n| (names[n as usize], payload(n % 2))).collect();
    let answers = at_once(&server, &calls);
    for (n, said) in answers.iter().enumerate() {
        assert_eq!((said.code, &said.out), (0, &alone[n % 2].out), "{said:?}");
    }
    let status = status(&server);
    let memory = &status["memory"];
    let number = |class: usize, name: &str| memory["classes"][class][name].as_u64().unwrap();
    assert!(number(0, "swap_outs") > 0 && number(0, "swap_ins") > 0, "{memory}");
    assert_eq!((number(2, "swap_outs"), number(0, "kills"), number(2, "kills")), (0, 0, 0));
    assert!(memory["system_swap"]["written"].as_u64().unwrap() >= 64 * MIB, "{memory}");
    let metrics = metrics(&server);
    assert!(metrics.contains("swap_io_bytes_total{place=\"system\",way=\"written\"}"), "{metrics}");
}
