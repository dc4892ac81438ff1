//! The command line against the built server: every command, its exit codes, its refusals.

mod support;

use support::{Server, fermata, guest, root};

#[track_caller]
fn check(said: &support::Said, code: i32, text: &str) {
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.err.contains(text), "{said:?}");
}

fn calls_billed(server: &Server) -> u64 {
    let bill = server.json(&["bill"]);
    let rows = bill["items"].as_array().into_iter().flatten();
    rows.filter_map(|row| row["invocations"].as_u64()).sum()
}

#[test]
fn a_function_is_deployed_called_looked_at_and_deleted() {
    let server = Server::dev(&[]);
    let told = server.ok(&["deploy", &guest("echo"), "--class", "interactive"]);
    assert_eq!(told, "deployed echo:1 (wasm, interactive)\n");
    assert_eq!(server.ok(&["invoke", "echo", "{\"a\":1}"]), "{\"a\":1}");
    let file = server.data().join("payload");
    std::fs::write(&file, "from a file").unwrap();
    assert_eq!(server.ok(&["invoke", "echo", &format!("@{}", file.display())]), "from a file");

    let call = server.json(&["invoke", "echo", "[1]", "--class", "critical"]);
    assert_eq!(
        (call["answer"][0].as_u64(), call["receipt"]["class"].as_str()),
        (Some(1), Some("critical"))
    );
    let id = call["invocation"].as_str().unwrap();
    let shown = server.json(&["invocations", "show", id]);
    assert_eq!(shown["status"], "succeeded");
    assert_eq!(shown["receipt"]["total"], call["receipt"]["total"]);
    let story = server.ok(&["invocations", "show", id]);
    assert!(story.contains("a core was free") && story.contains("in class critical"), "{story}");

    let list = server.json(&["invocations", "list", "--function", "echo"]);
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let classes = server.json(&["invocations", "list", "--class", "critical"]);
    assert_eq!(classes["items"].as_array().unwrap().len(), 1);
    assert_eq!(calls_billed(&server), 3);

    server.ok(&["deploy", &guest("empty"), "--name", "echo"]);
    assert_eq!(server.ok(&["invoke", "echo", "x"]), "");
    assert_eq!(server.ok(&["invoke", "echo", "x", "--version", "1"]), "x");
    assert_eq!(server.ok(&["invoke", "echo:1", "x"]), "x");
    let versions = server.json(&["functions", "versions", "echo"]);
    assert_eq!(
        (versions["items"][0]["version"].as_u64(), versions["items"][1]["version"].as_u64()),
        (Some(2), Some(1))
    );
    server.ok(&["functions", "delete", "echo"]);
    check(&server.run(&["invoke", "echo"]), 3, "unknown-function");
    assert_eq!(server.json(&["functions", "list"])["items"].as_array().unwrap().len(), 0);
    // A number is never given twice, and receipts stay.
    assert!(server.ok(&["deploy", &guest("echo")]).starts_with("deployed echo:3"));
    assert_eq!(server.json(&["invocations", "show", id])["status"], "succeeded");
}

#[test]
fn exit_codes_tell_who_is_to_blame() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("exit")]);
    server.ok(&["deploy", &guest("trap")]);
    check(&server.run(&["invoke", "exit", "3"]), 1, "exited");
    check(&server.run(&["invoke", "trap"]), 1, "trapped");
    check(&server.run(&["invoke", "nobody"]), 3, "unknown-function");
    check(&server.run(&["invoke", "exit", "--class", "urgent"]), 3, "unknown-class");
    check(&server.run(&["invoke", "exit", "@/nonexistent"]), 2, "/nonexistent");
    check(&server.run(&["deploy", "/nonexistent"]), 2, "/nonexistent");
    check(&server.run(&["invoke"]), 2, "NAME");
    check(&fermata(&["functions", "list", "--server", "http://127.0.0.1:9"]), 4, "serve --dev");
    check(&fermata(&["functions", "list", "--server", "ftp://x"]), 2, "http://");
}

#[test]
fn a_bad_package_is_refused_with_its_reason_and_leaves_nothing() {
    let server = Server::dev(&[]);
    let file = server.data().join("bad.wasm");
    std::fs::write(&file, b"\0asm\x01\0\0\0garbage").unwrap();
    check(&server.run(&["deploy", file.to_str().unwrap()]), 3, "bad-package");
    let zip = server.data().join("bad.zip");
    std::fs::write(&zip, b"not a zip").unwrap();
    check(&server.run(&["deploy", zip.to_str().unwrap()]), 2, "--runtime");
    let unknown = ["deploy", zip.to_str().unwrap(), "--runtime", "cobol"];
    check(&server.run(&unknown), 3, "unavailable-runtime");
    check(&server.run(&["deploy", &guest("echo"), "--name", "a/b"]), 3, "invalid");
    check(&server.run(&["deploy", &guest("echo"), "--timeout", "100000"]), 3, "time limit");
    assert_eq!(server.json(&["functions", "list"])["items"].as_array().unwrap().len(), 0);
}

#[test]
fn what_a_function_prints_is_its_log_and_cannot_steer_the_terminal() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("flood-log")]);
    let call = server.json(&["invoke", "flood-log", "1000000"]);
    let id = call["invocation"].as_str().unwrap();
    let logs = server.ok(&["logs", id]);
    assert!(logs.len() < 300_000, "limited: {}", logs.len());
    assert!(logs.contains("were dropped at the limit"), "{}", &logs[logs.len() - 100..]);
    assert!(!server.ok(&["logs", "flood-log"]).contains('\u{1b}'));
}

#[test]
fn a_call_that_is_not_waited_for_runs_and_failures_become_dead_letters() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("echo")]);
    server.ok(&["deploy", &guest("trap")]);
    let id = server.ok(&["invoke", "echo", "later", "--async"]);
    support::eventually("the call succeeds", || {
        server.json(&["invocations", "show", id.trim()])["status"] == "succeeded"
    });
    let dead = server.ok(&["invoke", "trap", "--async"]);
    support::eventually("a dead letter", || {
        !server.json(&["dead-letters", "list"])["items"].as_array().unwrap().is_empty()
    });
    let letters = server.json(&["dead-letters", "list"]);
    assert_eq!(letters["items"][0]["id"].as_str(), Some(dead.trim()));
    assert_eq!(letters["items"][0]["attempts"].as_u64(), Some(3));
    server.ok(&["dead-letters", "redrive", dead.trim()]);
    support::eventually("it is a dead letter again", || {
        let letters = server.json(&["dead-letters", "list"]);
        letters["items"].as_array().is_some_and(|items| items.len() == 1)
    });
    server.ok(&["dead-letters", "delete", dead.trim()]);
    check(&server.run(&["dead-letters", "delete", dead.trim()]), 3, "not-found");
}

#[test]
fn a_function_is_ended_at_its_time_limit() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", &guest("spin"), "--timeout", "0.2"]);
    check(&server.run(&["invoke", "spin", "forever"]), 1, "timed-out");
    assert_eq!(server.json(&["top"])["classes"][0]["running"].as_u64(), Some(0));
}

#[test]
fn keys_decide_who_may_do_what() {
    let server = Server::with_keys(&[]);
    let admin = server.admin_key();
    let mode = std::process::Command::new("stat")
        .args(["-c", "%a"])
        .arg(server.data().join("admin-key"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&mode.stdout).trim(), "600");
    check(&server.run(&["functions", "list"]), 3, "unauthenticated");
    check(&server.run_as(Some("fk_0"), &["functions", "list"]), 3, "unauthenticated");
    let as_admin = |args: &[&str]| {
        let said = server.run_as(Some(&admin), args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    };
    as_admin(&["tenant", "create", "acme", "--budget", "1.5"]);
    assert!(as_admin(&["tenant", "list"]).contains("acme"));
    assert!(
        as_admin(&["tenant", "update", "acme", "--budget", "unlimited", "--json"]).contains("null")
    );
    let key = as_admin(&[
        "key",
        "create",
        "--tenant",
        "acme",
        "--label",
        "web",
        "--max-class",
        "standard",
    ]);
    let key = key.trim();
    let as_member = |args: &[&str]| server.run_as(Some(key), args);
    assert_eq!(as_member(&["deploy", &guest("echo")]).code, 0);
    assert_eq!(as_member(&["invoke", "echo", "x", "--class", "standard"]).out, "x");
    check(&as_member(&["invoke", "echo", "x", "--class", "critical"]), 3, "class-not-allowed");
    check(&as_member(&["deploy", &guest("echo"), "--class", "critical"]), 3, "class-not-allowed");
    check(&as_member(&["deploy", &guest("echo"), "--network"]), 3, "tenant update");
    check(&as_member(&["tenant", "create", "other"]), 3, "forbidden");
    check(&as_member(&["key", "list"]), 3, "forbidden");
    check(&as_member(&["bill", "--all"]), 3, "forbidden");
    assert_eq!(as_member(&["bill"]).code, 0);
    // Another tenant's function is as good as none.
    check(&server.run_as(Some(&admin), &["invoke", "echo"]), 3, "unknown-function");
    let keys: serde_json::Value =
        serde_json::from_str(&as_admin(&["key", "list", "--tenant", "acme", "--json"])).unwrap();
    assert!(keys["items"][0]["secret"].is_null());
    as_admin(&["key", "revoke", keys["items"][0]["id"].as_str().unwrap()]);
    check(&as_member(&["functions", "list"]), 3, "revoked");
}

#[test]
fn development_mode_is_for_loopback_only() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let said = fermata(&["serve", "--dev", "--listen", "0.0.0.0:0", "--data", data]);
    check(&said, 2, "loopback");
    check(
        &fermata(&["serve", "--policy", "lottery", "--data", data]),
        2,
        "xx, xx-turns, hermod, fifo",
    );
    check(&fermata(&["serve", "--memory", "lots", "--data", data]), 2, "lots");
    check(&fermata(&["serve", "--config", "/nonexistent", "--data", data]), 2, "/nonexistent");
}

#[test]
fn two_servers_cannot_share_their_data() {
    let server = Server::dev(&[]);
    let data = server.data().to_str().unwrap();
    check(
        &fermata(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data", data]),
        2,
        "another process",
    );
    let address = server.url().trim_start_matches("http://");
    let other = tempfile::tempdir().unwrap();
    let taken = ["serve", "--dev", "--listen", address, "--data", other.path().to_str().unwrap()];
    check(&fermata(&taken), 2, address);
}

#[test]
fn everything_accepted_is_there_after_kill_9() {
    let server = Server::dev(&["--cores", "1"]);
    server.ok(&["deploy", &guest("echo")]);
    server.ok(&["deploy", &guest("spin")]);
    let done = server.json(&["invoke", "echo", "x", "--class", "critical"]);
    let receipt = server.json(&["invocations", "show", done["invocation"].as_str().unwrap()]);
    // The one core is taken, so what is queued now has not run when the server dies.
    let blocker = server.ok(&["invoke", "spin", "2000", "--class", "critical", "--async"]);
    let queued: Vec<String> = (0..20)
        .map(|number| {
            server.ok(&["invoke", "echo", &number.to_string(), "--async"]).trim().to_owned()
        })
        .collect();
    let server = server.kill_and_restart();
    assert_eq!(server.json(&["functions", "list"])["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        server.json(&["invocations", "show", done["invocation"].as_str().unwrap()]),
        receipt
    );
    for id in queued.iter().map(String::as_str).chain([blocker.trim()]) {
        support::eventually("every queued call succeeds", || {
            let said = server.run(&["invocations", "show", id, "--json"]);
            said.out.contains("\"succeeded\"")
        });
    }
    assert_eq!(calls_billed(&server), 22);
}

#[test]
fn sigterm_lets_running_work_end_and_keeps_what_is_queued() {
    let mut server = Server::dev(&["--cores", "1"]);
    server.ok(&["deploy", &guest("spin")]);
    let running = server.ok(&["invoke", "spin", "300", "--async"]);
    support::eventually("it runs", || {
        server.json(&["top"])["classes"][0]["running"].as_u64() == Some(1)
    });
    assert_eq!(server.terminate(), Some(0));
    let server = server.kill_and_restart();
    support::eventually("the running call was recorded or runs again", || {
        server.run(&["invocations", "show", running.trim()]).out.contains("succeeded")
    });
}

#[test]
fn several_machines_and_shards_serve_as_one() {
    for policy in ["xx", "hermod", "fifo"] {
        let server = Server::dev(&["--machines", "3", "--shards", "2", "--policy", policy]);
        server.ok(&["deploy", &guest("echo")]);
        for number in 0..12 {
            assert_eq!(server.ok(&["invoke", "echo", &number.to_string()]), number.to_string());
        }
        let status = server.json(&["top"]);
        assert_eq!(
            (status["machines"].as_array().unwrap().len(), status["policy"].as_str()),
            (3, Some(policy))
        );
        assert!(server.ok(&["top", "--once"]).contains("machine-2"));
    }
}

#[test]
fn the_shop_home_page_is_a_page() {
    let server = Server::dev(&[]);
    server.ok(&["deploy", root().join("examples/shop/home").to_str().unwrap()]);
    let page = server.ok(&["invoke", "home", "{\"seed\":7}"]);
    assert!(page.starts_with("<!doctype html>") && page.ends_with("\n"), "{page}");
    assert_eq!(page, server.ok(&["invoke", "home", "{\"seed\":7}"]));
}

#[test]
fn the_configuration_file_sets_prices() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fermata.toml");
    std::fs::write(&file, "shards = 2\n[classes]\nslow = 0.25\nfast = \"4\"\n").unwrap();
    let server = Server::dev(&["--config", file.to_str().unwrap()]);
    assert_eq!(
        server.ok(&["prices"]),
        "class  µ¢ per CPU second\nslow                0.25\nfast                 4.0\n"
    );
    std::fs::write(&file, "[classes]\na = 1\nb = 1\n").unwrap();
    let said = fermata(&[
        "serve",
        "--dev",
        "--config",
        file.to_str().unwrap(),
        "--data",
        dir.path().to_str().unwrap(),
    ]);
    check(&said, 2, "two classes have the price");
}

/// What the kernel lets processors take to wake, in microseconds, where it tells.
fn waking_us() -> Option<i32> {
    let bytes = std::fs::read("/dev/cpu_dma_latency").ok()?;
    Some(i32::from_ne_bytes(bytes.try_into().ok()?))
}

#[test]
fn processors_wake_within_a_bound_for_as_long_as_the_server_runs() {
    let Some(before) = waking_us() else {
        eprintln!("skipped: /dev/cpu_dma_latency is not there, or takes another user");
        return;
    };
    let mut server = Server::dev(&["--wake-us", "7"]);
    assert_eq!(waking_us(), Some(before.min(7)));
    server.terminate();
    assert_eq!(waking_us(), Some(before));
}
