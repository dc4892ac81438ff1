//! Several servers on one PostgreSQL: each has its part of the executions and answers for all, and what
//! a lost one had goes on at the others, once.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]

#[path = "../../store/tests/suite/cluster.rs"]
mod cluster;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::http;
use support::proxy::Proxy;
use support::{Server, eventually, guest};

/// Takes signals named `n` until one says `"end"`, and answers with all of them.
const COLLECT: &str = r#"
def handler(event, context):
    turn = event["$fermata"]
    got = (turn["state"] or []) + [entry["ok"] for entry in turn["resolved"]]
    if got and got[-1] == "end":
        return got[:-1]
    op = turn["next_op"]
    return {"$fermata": {"wait": {"asks": [{"op": op, "signal": "n"}], "until": {"any": [op]},
                                  "state": got}}}
"#;

/// Sleeps as many milliseconds as it is told.
const SLEEPER: &str = r#"
def handler(event, context):
    turn = event["$fermata"]
    if turn["state"] is not None:
        return "awake"
    op = turn["next_op"]
    asks = [{"op": op, "after_ms": turn["input"]}]
    return {"$fermata": {"wait": {"asks": asks, "until": {"any": [op]}, "state": 1}}}
"#;

/// Shows a callback token as its status, and answers with what answered it.
const TOKEN: &str = r#"
def handler(event, context):
    turn = event["$fermata"]
    if turn["state"] is not None:
        return turn["resolved"][0]["ok"]
    op = turn["next_op"]
    return {"$fermata": {"wait": {"asks": [{"op": op, "token": {}}], "until": {"any": [op]},
                                  "state": 1, "status": turn["tokens"][0]}}}
"#;

/// What servers lose sight of each other say, and rightly.
const OF_A_LOSS: [&str; 9] = [
    "leases",
    "partition",
    "store cannot",
    "PostgreSQL",
    "a step was not taken",
    "cannot be read",
    "owner-away",
    "a request failed",
    "receipts wait",
];

fn serve(url: &str, name: &str, lease: &str) -> Server {
    serve_with(url, name, lease, &[])
}

fn serve_with(url: &str, name: &str, lease: &str, more: &[&str]) -> Server {
    let flags = ["--store", url, "--node", name, "--lease-seconds", lease, "--cores", "1"];
    let mut server = Server::dev(&[&flags, more].concat());
    OF_A_LOSS.iter().for_each(|text| server.announce(text));
    server
}

/// Two servers that begin at the same moment.
fn pair(urls: [&str; 2], lease: &str) -> [Server; 2] {
    pair_with(urls, lease, &[])
}

/// The same with more flags for the second one.
fn pair_with(urls: [&str; 2], lease: &str, more: &[&str]) -> [Server; 2] {
    let pair = std::thread::scope(|scope| {
        let other = scope.spawn(|| serve_with(urls[1], "b", lease, more));
        [serve(urls[0], "a", lease), other.join().unwrap()]
    });
    eventually("each has its share", || {
        partitions(&pair[0]) == BTreeMap::from([("a".to_owned(), 8), ("b".to_owned(), 8)])
    });
    pair
}

fn partitions(server: &Server) -> BTreeMap<String, usize> {
    let nodes = http::json(server.url(), "GET", "/v1/nodes", "").unwrap_or_default();
    let items = nodes["items"].as_array().cloned().unwrap_or_default();
    let count = |node: &Value| node["partitions"].as_array().unwrap().len();
    items.iter().map(|node| (node["name"].as_str().unwrap().to_owned(), count(node))).collect()
}

/// Deploys at one server and waits until the others know.
fn deploy(servers: &[Server; 2], folder: &Path, functions: &[(&str, &str)]) {
    servers[0].ok(&["deploy", &guest("echo")]);
    for (name, text) in functions {
        let path: PathBuf = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let mut args = vec!["deploy", path.to_str().unwrap()];
        if path.extension().is_some_and(|extension| extension == "py") {
            args.extend(["--durable", "--runtime", "python3"]);
        }
        servers[0].ok(&args);
    }
    let known = || servers[1].json(&["functions", "list"])["items"].as_array().unwrap().len();
    eventually("the other one knows the functions", || known() == functions.len() + 1);
}

const SEQUENCES: [(&str, &str); 2] = [
    ("chain.sequence.json", r#"{"sequence": ["echo", "echo", "echo", "echo"]}"#),
    ("pair.sequence.json", r#"{"sequence": ["chain", "chain"]}"#),
];

fn start(url: &str, function: &str, name: &str, input: &str) -> Option<String> {
    let path = format!("/v1/functions/{function}/executions?name={name}&if_exists=join");
    let started = http::json(url, "POST", &path, input)?;
    Some(started["execution"].as_str().unwrap().to_owned())
}

/// The last character of an id has five bits; the partition is the lowest four.
fn partition(id: &str) -> u64 {
    let last = id.chars().next_back().unwrap();
    let digit = "0123456789abcdefghjkmnpqrstvwxyz".chars().position(|c| c == last).unwrap();
    u64::try_from(digit % 16).unwrap()
}

/// Names of new executions of `function`, one in a partition of each server.
fn one_of_each(servers: &[Server; 2], function: &str, prefix: &str, input: &str) -> [String; 2] {
    [0, 1].map(|index| {
        let name = format!("{prefix}-{index}");
        let id = start(servers[index].url(), function, &name, input).unwrap();
        assert!(owns(&servers[index], &id), "started where it is asked for");
        name
    })
}

fn owns(server: &Server, id: &str) -> bool {
    let nodes = http::json(server.url(), "GET", "/v1/nodes", "").unwrap();
    let this = nodes["items"].as_array().unwrap().iter().find(|node| node["this"] == true).unwrap();
    this["partitions"].as_array().unwrap().contains(&json!(partition(id)))
}

fn show(server: &Server, name: &str) -> Option<Value> {
    http::json(server.url(), "GET", &format!("/v1/executions/{name}"), "")
}

fn signal(url: &str, name: &str, payload: &str, event: &str) -> Option<u16> {
    let address = format!("/v1/executions/{name}/signals/n");
    let answer = http::send_with(url, "POST", &address, &[("x-fermata-event-id", event)], payload);
    answer.map(|(status, _)| status)
}

/// Each thing of a history happened once, and the numbers have no gap.
fn check_history(server: &Server, name: &str) {
    let path = format!("/v1/executions/{name}/history?limit=900");
    let history = http::json(server.url(), "GET", &path, "").unwrap();
    let entries = history["items"].as_array().unwrap();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{name}");
    let mut seen = BTreeSet::new();
    for entry in entries {
        let (what, why) = (entry["what"].as_str().unwrap(), entry["why"].as_str().unwrap());
        assert!(seen.insert((what, why)), "twice in {name}: {entry}\n{history:#}");
    }
    let count = |word: &str| entries.iter().filter(|entry| entry["what"] == word).count();
    assert_eq!((count("started"), count("ended")), (1, 1), "{history:#}");
}

fn metric(server: &Server, name: &str) -> u64 {
    let (_, text) = http::send(server.url(), "GET", "/metrics", "").unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
    line.trim().parse().unwrap()
}

/// Ends the load where a test fails: its threads are waited for.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts executions one after the other through both servers until told to stop, each for certain.
fn load(urls: [&str; 2], stop: &AtomicBool, started: &AtomicUsize, prefix: &str) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{prefix}-{number}");
        let function = if number % 4 == 0 { "pair" } else { "chain" };
        let mut tries = (number..).map(|turn| start(urls[turn % 2], function, &name, "7"));
        assert!(tries.by_ref().take(400).any(|id| {
            let done = id.is_some();
            if !done {
                std::thread::sleep(Duration::from_millis(50));
            }
            done
        }));
        started.fetch_add(1, Ordering::Relaxed);
    }
}

/// All that was started ended well, each thing once.
fn check_all(server: &Server, prefix: &str, count: usize) {
    for number in 0..count {
        let name = format!("{prefix}-{number}");
        let mut last = Value::Null;
        let end = Instant::now() + Duration::from_secs(40);
        while last["status"] != "succeeded" {
            assert!(Instant::now() < end, "{last:#}");
            last = show(server, &name).unwrap_or_default();
            if last["status"] != "succeeded" {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        assert_eq!(last["output"], json!(7), "{last:#}");
        check_history(server, &name);
    }
    // No call was billed twice, whoever made it and however often it was begun; receipts that the
    // killed one had not written yet, of its last moments, went with it.
    let mut billed = 0;
    let mut seen = BTreeSet::new();
    let mut before = String::new();
    loop {
        let path = format!("/v1/invocations?function=echo&limit=500{before}");
        let page = http::json(server.url(), "GET", &path, "").unwrap();
        for invocation in page["items"].as_array().unwrap() {
            billed += 1;
            seen.insert(invocation["id"].as_str().unwrap().to_owned());
            before = format!("&before={}", invocation["id"].as_str().unwrap());
        }
        if page["more"] != true {
            break;
        }
    }
    let pairs = count.div_ceil(4);
    let calls = 8 * pairs + 4 * (count - pairs);
    assert_eq!(seen.len(), billed);
    assert!(billed <= calls && billed + 100 >= calls, "{billed} of {calls}");
}

#[test]
fn each_server_has_its_share_and_answers_for_all() {
    let url = cluster::fresh_url();
    let mut servers = pair([&url, &url], "60");
    let folder = tempfile::tempdir().unwrap();
    deploy(&servers, folder.path(), &[SEQUENCES[0], SEQUENCES[1], ("collect.py", COLLECT)]);
    let table = servers[0].ok(&["nodes"]);
    assert!(table.contains("a (asked)") && table.contains(servers[1].url()), "{table}");

    // Whatever is done to an execution goes through either server.
    let names = one_of_each(&servers, "collect", "through", "0");
    for (index, name) in names.iter().enumerate() {
        let (owner, other) = (&servers[index], &servers[1 - index]);
        other.ok(&["executions", "signal", name, "n", "1"]);
        owner.ok(&["executions", "signal", name, "n", "2"]);
        other.ok(&["executions", "pause", name]);
        assert_eq!(show(owner, name).unwrap()["status"], "paused");
        other.ok(&["executions", "resume", name]);
        let (waited, followed) = std::thread::scope(|scope| {
            let wait = scope.spawn(|| other.ok(&["executions", "wait", name]));
            let tail = ["executions", "history", name, "--follow", "--json"];
            let follow = scope.spawn(move || other.ok(&tail));
            std::thread::sleep(Duration::from_millis(200));
            other.ok(&["executions", "signal", name, "n", "\"end\""]);
            (wait.join().unwrap(), follow.join().unwrap())
        });
        assert_eq!(serde_json::from_str::<Value>(&waited).unwrap(), json!([1, 2]));
        let history = other.json(&["executions", "history", name]);
        assert_eq!(followed.lines().count(), history["items"].as_array().unwrap().len());
        let late = other.run(&["executions", "signal", name, "n", "3"]);
        assert!(late.code == 3 && late.err.contains("execution-ended"), "{late:?}");
        // Its name is given to another one, which begins where the old one is.
        other.ok(&[
            "executions",
            "start",
            "collect",
            "0",
            "--name",
            name,
            "--if-exists",
            "replace",
        ]);
        other.ok(&["executions", "cancel", name]);
        eventually("it is cancelled", || show(owner, name).unwrap()["status"] == "cancelled");
        other.ok(&["executions", "purge", name]);
        assert!(owner.run(&["executions", "show", name]).err.contains("not-found"));
    }

    // The way between servers is closed to others.
    for server in &servers {
        let (status, body) = http::send(server.url(), "POST", "/internal/node", "x").unwrap();
        assert!(status == 401 && body.contains("unauthenticated"), "{status} {body}");
    }

    // Children of sixteen parents lie in partitions of both, and report home.
    for number in 0..16 {
        assert_eq!(servers[number % 2].ok(&["invoke", "pair", "7"]).trim(), "7");
    }
    assert!(metric(&servers[0], "fermata_hops_total{event=\"answered\"}") > 0);

    // An asynchronous call is run by whoever runs the queue.
    for server in &servers {
        server.ok(&["invoke", "echo", "--async", "5"]);
    }
    let ran = || servers[0].json(&["invocations", "list", "--function", "echo"])["items"].clone();
    let is_async = |call: &&Value| call["async"] == true;
    eventually("both calls ran", || ran().as_array().unwrap().iter().filter(is_async).count() >= 2);

    // One that ends in order gives everything back at once.
    let waiting = one_of_each(&servers, "collect", "left", "0");
    let before = Instant::now();
    assert_eq!(servers[0].terminate(), Some(0));
    let took_all = BTreeMap::from([("b".to_owned(), 16)]);
    eventually("the other one has all", || partitions(&servers[1]) == took_all);
    assert!(before.elapsed() < Duration::from_secs(20), "long before the lease runs out");
    for name in waiting {
        servers[1].ok(&["executions", "signal", &name, "n", "\"end\""]);
        assert_eq!(servers[1].ok(&["executions", "wait", &name]).trim(), "[]");
    }
}

#[test]
fn clocks_that_differ_cost_no_lease_and_tokens_are_answered_at_either_server() {
    let url = cluster::fresh_url();
    let mut servers = pair_with([&url, &url], "3", &["--clock-ahead-ms", "120000"]);
    let folder = tempfile::tempdir().unwrap();
    deploy(&servers, folder.path(), &[("asker.py", TOKEN), ("sleeper.py", SLEEPER)]);
    let both = BTreeMap::from([("a".to_owned(), 8), ("b".to_owned(), 8)]);
    let waiting = one_of_each(&servers, "asker", "asker", "0");
    for (index, name) in waiting.iter().enumerate() {
        let token = || show(&servers[index], name).unwrap()["custom_status"].clone();
        eventually("it shows its token", || token().is_string());
        let token = token();
        let other = &servers[1 - index];
        other.ok(&["executions", "succeed", token.as_str().unwrap(), "5"]);
        assert_eq!(servers[index].ok(&["executions", "wait", name]).trim(), "5");
        let again = other.run(&["executions", "succeed", token.as_str().unwrap(), "6"]);
        assert_eq!(again.code, 3, "{again:?}");
    }
    // A timer is reckoned by the clock of who has the execution, however far that is ahead.
    for name in one_of_each(&servers, "sleeper", "short", "300") {
        assert_eq!(servers[0].ok(&["executions", "wait", &name]).trim(), "\"awake\"");
    }
    // Longer than a lease, by either clock.
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert_eq!(partitions(&servers[0]), both, "neither takes what the other has");
        std::thread::sleep(Duration::from_millis(100));
    }
    for server in &servers {
        assert_eq!(metric(server, "fermata_leases_total{event=\"fenced\"}"), 0);
    }
    // What the slow one set for later is due at once for the fast one, and woken once.
    let asleep = one_of_each(&servers, "sleeper", "long", "100000");
    let status = |server: &Server, name: &str| Some(show(server, name)?["status"].clone());
    // A turn that the kill ended would be run again by the other, and sleep by its clock.
    for (server, name) in servers.iter().zip(&asleep) {
        eventually("it sleeps", || status(server, name) == Some("suspended".into()));
    }
    servers[0].kill();
    let other = &servers[1];
    eventually("it is awake at the other", || {
        status(other, &asleep[0]) == Some("succeeded".into())
    });
    assert_eq!(other.ok(&["executions", "wait", &asleep[0]]).trim(), "\"awake\"");
    assert_eq!(status(other, &asleep[1]), Some("suspended".into()));
}

#[test]
fn what_a_killed_server_had_goes_on_at_the_other_within_the_time_of_a_lease() {
    let url = cluster::fresh_url();
    let mut servers = pair([&url, &url], "3");
    let folder = tempfile::tempdir().unwrap();
    let python = [("collect.py", COLLECT), ("sleeper.py", SLEEPER)];
    deploy(&servers, folder.path(), &[SEQUENCES, python].concat());
    let collecting = one_of_each(&servers, "collect", "collect", "0");
    let asleep = one_of_each(&servers, "sleeper", "sleeper", "4000");
    let urls = [servers[0].url().to_owned(), servers[1].url().to_owned()];
    let urls = [urls[0].as_str(), urls[1].as_str()];
    let (stop, started) = (AtomicBool::new(false), AtomicUsize::new(0));
    let taken_over = std::thread::scope(|scope| {
        let _stops = StopAtEnd(&stop);
        scope.spawn(|| load(urls, &stop, &started, "x"));
        // Every signal again until it is acknowledged, by whichever server answers.
        let signals = collecting.each_ref().map(|name| {
            scope.spawn(move || {
                for number in 0..30 {
                    let event = format!("{name}-{number}");
                    let taken = (number..number + 600).any(|turn| {
                        let taken = signal(urls[turn % 2], name, &number.to_string(), &event);
                        let taken = taken.is_some_and(|status| status < 300);
                        std::thread::sleep(Duration::from_millis(if taken { 100 } else { 20 }));
                        taken
                    });
                    assert!(taken, "{event}");
                }
            })
        });
        eventually("there is load", || started.load(Ordering::Relaxed) >= 20);
        servers[0].kill();
        let killed = Instant::now();
        // What the killed one had takes an input as soon as it is the other's.
        while signal(urls[1], &collecting[0], "\"probe\"", "probe").is_none_or(|code| code >= 300) {
        }
        let taken_over = killed.elapsed();
        signals.into_iter().for_each(|thread| thread.join().unwrap());
        let so_far = started.load(Ordering::Relaxed);
        eventually("the load goes on", || started.load(Ordering::Relaxed) >= so_far + 10);
        stop.store(true, Ordering::Relaxed);
        taken_over
    });
    assert!(taken_over <= Duration::from_secs(3 + 2), "{taken_over:?}");
    assert_eq!(partitions(&servers[1])["b"], 16);
    for name in &collecting {
        servers[1].ok(&["executions", "signal", name, "n", "\"end\""]);
        let all: Vec<Value> =
            serde_json::from_str(&servers[1].ok(&["executions", "wait", name])).unwrap();
        let mut numbers: Vec<u64> = all.iter().filter_map(Value::as_u64).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..30).collect::<Vec<_>>(), "each signal once: {all:?}");
    }
    for name in &asleep {
        assert_eq!(servers[1].ok(&["executions", "wait", name]).trim(), "\"awake\"");
    }
    check_all(&servers[1], "x", started.load(Ordering::Relaxed));
}

#[test]
fn a_server_that_was_cut_off_from_the_store_is_refused_and_comes_back() {
    let url = cluster::fresh_url();
    let schema = url.split("schema=").nth(1).unwrap().to_owned();
    let socket = url.split('@').nth(1).unwrap().split('/').next().unwrap().replace("%2F", "/");
    let proxy = Proxy::new(&Path::new(&socket).join(".s.PGSQL.5432"));
    let servers = pair([&url, &proxy.url(&schema)], "2");
    let folder = tempfile::tempdir().unwrap();
    deploy(&servers, folder.path(), &SEQUENCES);
    let urls = [servers[0].url(), servers[1].url()];
    let (stop, started) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _stops = StopAtEnd(&stop);
        // Each server its own, so that one goes on while the other waits.
        let loads = [(urls[0], "x"), (urls[1], "y")].map(|(url, prefix)| {
            let (stop, started) = (&stop, &started);
            scope.spawn(move || load_one(url, stop, started, prefix))
        });
        eventually("there is load", || started.load(Ordering::Relaxed) >= 20);
        proxy.cut();
        let cut = Instant::now();
        let all = BTreeMap::from([("a".to_owned(), 16)]);
        eventually("the other one has all", || partitions(&servers[0]) == all);
        assert!(cut.elapsed() <= Duration::from_secs(2 + 2), "{:?}", cut.elapsed());
        eventually("it knows that it has none", || metric(&servers[1], "fermata_partitions") == 0);
        let so_far = started.load(Ordering::Relaxed);
        eventually("the load goes on", || started.load(Ordering::Relaxed) >= so_far + 5);
        proxy.mend();
        let both = BTreeMap::from([("a".to_owned(), 8), ("b".to_owned(), 8)]);
        eventually("it has its share again", || partitions(&servers[0]) == both);
        let so_far = started.load(Ordering::Relaxed);
        eventually("the load goes on", || started.load(Ordering::Relaxed) >= so_far + 10);
        stop.store(true, Ordering::Relaxed);
        let counts = loads.map(|load| load.join().unwrap());
        for (prefix, count) in ["x", "y"].iter().zip(counts) {
            (0..count).for_each(|number| ended(&servers[0], &format!("{prefix}-{number}")));
        }
    });
    let refused = metric(&servers[1], "fermata_leases_total{event=\"fenced\"}");
    assert!(refused > 0, "what it had begun to write before it was cut off was refused");
}

/// The same through one server; how many there are.
fn load_one(url: &str, stop: &AtomicBool, started: &AtomicUsize, prefix: &str) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        while start(url, "chain", &format!("{prefix}-{count}"), "7").is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        count += 1;
        started.fetch_add(1, Ordering::Relaxed);
    }
    count
}

fn ended(server: &Server, name: &str) {
    let is_over = || show(server, name).is_some_and(|found| found["status"] == "succeeded");
    eventually(&format!("{name} ended"), is_over);
    check_history(server, name);
}

#[test]
fn what_cannot_be_brought_to_its_server_is_refused_and_what_can_goes_on() {
    let url = cluster::fresh_url();
    let lost = ["--store", &url, "--node", "b", "--lease-seconds", "2", "--cores", "1"];
    // Nothing answers there.
    let mut lost = Server::dev(&[&lost[..], &["--advertise", "127.0.0.1:1"]].concat());
    OF_A_LOSS.iter().for_each(|text| lost.announce(text));
    let servers = [serve(&url, "a", "2"), lost];
    let both = BTreeMap::from([("a".to_owned(), 8), ("b".to_owned(), 8)]);
    eventually("each has its share", || partitions(&servers[0]) == both);
    let folder = tempfile::tempdir().unwrap();
    deploy(&servers, folder.path(), &[("collect.py", COLLECT)]);
    let names = one_of_each(&servers, "collect", "away", "0");
    let refused = servers[0].run(&["executions", "signal", &names[1], "n", "1"]);
    assert!(refused.code == 3 && refused.err.contains("owner-away"), "{refused:?}");
    assert!(refused.err.contains('b'), "it names the one that does not answer: {refused:?}");
    // The other way is open, and so is what each does alone.
    for name in &names {
        servers[1].ok(&["executions", "signal", name, "n", "\"end\""]);
        assert_eq!(servers[1].ok(&["executions", "wait", name]).trim(), "[]");
    }
}

#[test]
fn a_server_of_the_same_name_goes_on_at_once_and_an_older_one_stands_back() {
    let url = cluster::fresh_url();
    let [first, second] = pair([&url, &url], "60");
    let folder = tempfile::tempdir().unwrap();
    let mut servers = [first, second];
    deploy(&servers, folder.path(), &[("collect.py", COLLECT)]);
    let names = one_of_each(&servers, "collect", "again", "0");
    let [first, second] = servers;
    let before = Instant::now();
    servers = [first, second.kill_and_restart()];
    OF_A_LOSS.iter().for_each(|text| servers[1].announce(text));
    servers[0].ok(&["executions", "signal", &names[1], "n", "1"]);
    assert!(before.elapsed() < Duration::from_secs(30), "long before the lease runs out");

    // A third one takes the name of the second, which is there.
    servers[1].announce("another server runs under this node's name");
    let third = serve(&url, "b", "60");
    let address = || {
        let nodes = third.json(&["nodes"]);
        let items = nodes["items"].as_array().unwrap().clone();
        items.iter().find(|node| node["name"] == "b").unwrap()["address"].clone()
    };
    eventually("the newer one has the name", || {
        address() == third.url() && partitions(&third)["b"] == 8
    });
    // All three answer, for what the newest has.
    for server in [&servers[0], &servers[1], &third] {
        server.ok(&["executions", "signal", &names[1], "n", "2"]);
    }
    servers[0].ok(&["executions", "signal", &names[1], "n", "\"end\""]);
    let all = servers[1].ok(&["executions", "wait", &names[1]]);
    assert_eq!(serde_json::from_str::<Value>(&all).unwrap(), json!([1, 2, 2, 2]));
}
