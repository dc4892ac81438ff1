//! What works.

use std::sync::Arc;

use model::{CpuTime, InvocationId};
use runtime::{Code, Event, Executor};

use crate::house::{House, Options, answer, failure};

/// A `provided` bootstrap in shell, by way of bash's own sockets.
const BOOTSTRAP: &str = r#"#!/bin/bash
ask() {
    exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/:/\/}"
    printf '%s\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' "$1" "${#2}" "$2" >&3
    answer=$(cat <&3)
    exec 3>&-
}
while ask "GET /2018-06-01/runtime/invocation/next HTTP/1.1" ""; do
    id=$(sed -n 's/^lambda-runtime-aws-request-id: \([a-z0-9_]*\).*/\1/ip' <<< "$answer")
    body=${answer##*$'\r\n\r\n'}
    echo "from the shell" >&2
    ask "POST /2018-06-01/runtime/invocation/$id/response HTTP/1.1" "shell:$body"
done
"#;

#[test]
fn a_python_handler_answers_and_its_sandbox_is_used_again() {
    let house = House::new();
    let code = house.python("import os\ncount = 0\ndef handler(event, context):\n    global count\n    count += 1\n    print('hello', count)\n    return {'got': event, 'count': count, 'id': context.aws_request_id}\n");
    let first = house.run(&code, r#"{"a": 1}"#);
    let id = first.id;
    assert_eq!(answer(&first), format!(r#"{{"got": {{"a": 1}}, "count": 1, "id": "{id}"}}"#));
    assert_eq!(first.logs.bytes, b"hello 1\n");
    assert!(first.used.cpu > CpuTime(0) && first.memory_peak.0 > 1 << 20, "{first:?}");
    assert!(house.was_cold(id));

    let second = house.run(&code, "null");
    assert!(answer(&second).contains(r#""count": 2"#), "the same process");
    assert_eq!(second.logs.bytes, b"hello 2\n");
    assert!(!house.was_cold(second.id));
}

#[test]
fn an_interpreter_from_the_pool_runs_code_that_it_gets_later() {
    let house = House::with(Options { pool: 1, ..Options::default() });
    let code = house.python("import os\ndef handler(event, context):\n    return [os.environ['MINE'], os.environ['AWS_LAMBDA_FUNCTION_NAME'], sorted(os.listdir('/var/task'))]\n");
    let mut code = Arc::unwrap_or_clone(code);
    code.environment = vec![("MINE".into(), "own".into())];
    let code = Arc::new(code);
    let finished = house.run(&code, "{}");
    assert_eq!(answer(&finished), format!(r#"["own", "{}", ["app.py"]]"#, code.function));
    assert!(house.was_cold(finished.id));
}

#[test]
fn a_node_handler_answers() {
    let house = House::new();
    let text = "export const handler = async (event) => { console.log('node'); return { twice: event.n * 2 }; };";
    let code = Arc::new(house.deploy("nodejs", "index.handler", &[("index.mjs", text)]));
    let finished = house.run(&code, r#"{"n": 21}"#);
    assert_eq!(answer(&finished), r#"{"twice":42}"#);
    assert_eq!(finished.logs.bytes, b"node\n");
    assert_eq!(answer(&house.run(&code, r#"{"n": 4}"#)), r#"{"twice":8}"#);
}

#[test]
fn any_executable_that_speaks_the_runtime_api_answers() {
    let house = House::new();
    let code = Arc::new(house.deploy("provided.al2023", "", &[("bootstrap", BOOTSTRAP)]));
    let finished = house.run(&code, "payload");
    assert_eq!(answer(&finished), "shell:payload");
    assert_eq!(finished.logs.bytes, b"from the shell\n");
    assert_eq!(answer(&house.run(&code, "again")), "shell:again");
}

#[test]
fn a_busy_loop_is_preempted_goes_on_and_has_the_right_result() {
    let house = House::new();
    let code = house.python(
        "def handler(event, context):\n    total = 0\n    for n in range(event):\n        total += n * n % 7\n    return total\n",
    );
    let count = 3_000_000_u64;
    let id = house.start(&code, &count.to_string());
    house.wait_for(id, |e| matches!(e, Event::Running { .. }));
    house.executor.preempt(id);
    house.wait_for(id, |e| matches!(e, Event::Stopped { .. }));
    house.executor.resume(id);
    let expected: u64 = (0..count).map(|n| n * n % 7).sum();
    assert_eq!(answer(&house.finish(id)), expected.to_string());
}

/// The unmodified crates.io `lambda_runtime`, as `examples/functions/native` uses it. A process
/// test cannot ask Cargo for another package's program, so it builds it.
#[test]
fn a_function_with_the_lambda_runtime_crate_runs_unchanged() {
    let manifest =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/functions/native/Cargo.toml");
    let built = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--manifest-path", manifest, "--message-format=json"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success());
    let messages = String::from_utf8(built.stdout).unwrap();
    let program = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message.get("executable")?.as_str()?.to_owned())
    });
    let program = std::fs::read(program.unwrap()).unwrap();

    let house = House::new();
    let code = Arc::new(house.deploy_bytes("provided.al2023", "", &[("bootstrap", &program)]));
    let finished = house.run(&code, r#"{"n": 1}"#);
    let value: serde_json::Value = serde_json::from_str(&answer(&finished)).unwrap();
    assert_eq!(value["got"]["n"], 1);
    assert_eq!(value["invocation"], finished.id.to_string());
    assert_eq!(value["function"], code.function.as_str());
    let failed = house.run(&code, r#"{"fail": "as asked"}"#);
    assert!(failure(&failed).message.contains("as asked"), "{failed:?}");
    assert!(!house.was_cold(failed.id));
}

/// Starts calls until one's preemption is quicker than its start.
fn preempted_before_it_runs(house: &House, code: &Arc<Code>) -> InvocationId {
    for _ in 0..100 {
        let id = house.start(code, "null");
        house.executor.preempt(id);
        house.wait_for(id, |e| matches!(e, Event::Stopped { .. } | Event::Finished { .. }));
        match house.events(id).first() {
            Some(Event::Stopped { .. }) => return id,
            _ => house.executor.resume(id),
        }
        house.finish(id);
    }
    panic!("each start was quicker than its preemption");
}

#[test]
fn a_function_preempted_before_it_runs_begins_at_resume() {
    for pool in [0, 1] {
        let house = House::with(Options { pool, ..Options::default() });
        let code = house.python("def handler(event, context):\n    return 'ran'\n");
        let id = preempted_before_it_runs(&house, &code);
        let other = house.python("def handler(event, context):\n    return 'other'\n");
        assert_eq!(answer(&house.run(&other, "null")), "\"other\"");
        assert_eq!(house.events(id).len(), 1, "{:?}", house.events(id));
        house.executor.resume(id);
        assert_eq!(answer(&house.finish(id)), "\"ran\"");
    }
}

#[test]
fn many_at_once_each_have_a_sandbox_and_their_own_answer() {
    let house = House::with(Options { pool: 2, ..Options::default() });
    let code = house.python("def handler(event, context):\n    return event * 2\n");
    let ids: Vec<_> = (0..12).map(|n| (n, house.start(&code, &n.to_string()))).collect();
    for (n, id) in ids {
        assert_eq!(answer(&house.finish(id)), (n * 2).to_string());
    }
}

#[test]
fn a_runtime_that_is_not_here_is_refused_with_those_that_are() {
    let house = House::new();
    let package = crate::house::zip(&[("app.py", b"")]);
    let refused =
        |runtime, handler| house.prepare(runtime, handler, &package).unwrap_err().to_string();
    let python2 = refused("python2.7", "app.handler");
    assert!(python2.contains("here are: provided, python3."), "{python2}");
    assert!(refused("provided", "").contains("no executable file"));
    assert!(refused("python3", "handler").contains("not module.function"));
    let in_force = house.executor.in_force().join("\n");
    assert!(in_force.contains("cgroup v") && in_force.contains("python3."), "{in_force}");
}

#[test]
fn a_function_sees_the_environment_that_it_was_promised() {
    let house = House::new();
    let mut code = Arc::unwrap_or_clone(house.python("import os\ndef handler(event, context):\n    return [dict(os.environ), context.fermata_class, context.traceparent, context.get_remaining_time_in_millis() > 0]\n"));
    code.environment = vec![
        ("MINE".into(), "own".into()),
        ("AWS_LAMBDA_RUNTIME_API".into(), "192.0.2.1:80".into()),
        ("_HANDLER".into(), "other".into()),
    ];
    let finished = house.run(&Arc::new(code), "null");
    let seen: serde_json::Value = serde_json::from_str(&answer(&finished)).unwrap();
    let expected = [
        ("MINE", "own"),
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("FERMATA_ENDPOINT", "http://127.0.0.1:9001"),
        ("_HANDLER", "app.handler"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("HOME", "/tmp"),
        ("FERMATA_TOKEN", "token-3"),
    ];
    for (name, value) in expected {
        assert_eq!(seen[0][name], value, "{name}");
    }
    let outside: Vec<&String> = seen[0]
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.starts_with("CARGO") || name.starts_with("NEXTEST"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert_eq!(
        (&seen[1], &seen[2], &seen[3]),
        (&"standard".into(), &"00-trace".into(), &true.into())
    );
}
