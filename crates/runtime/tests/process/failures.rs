//! Each kind of failure.

use std::sync::Arc;

use model::{Failure, FailureKind, limits};
use runtime::{Event, Executor, Finished};

use crate::house::{House, Options, answer, failure};

/// The failure of a Python handler with this body.
fn of_python(house: &House, body: &str) -> Finished {
    house.run(
        &house.python(&format!("import os, sys\ndef handler(event, context):\n{body}\n")),
        "null",
    )
}

#[track_caller]
fn check(finished: &Finished, kind: FailureKind, message: &str) {
    let failure = failure(finished);
    assert_eq!(failure.kind, kind, "{failure:?}");
    assert!(failure.message.contains(message), "{failure:?}");
}

#[test]
fn a_handler_that_throws_says_what_and_its_sandbox_lives_on() {
    let house = House::new();
    let code = house.python("def handler(event, context):\n    return 1 / event\n");
    let finished = house.run(&code, "0");
    check(&finished, FailureKind::Handler, "ZeroDivisionError: division by zero");
    let detail = failure(&finished).detail.clone().unwrap();
    let detail = String::from_utf8(detail).unwrap();
    assert!(detail.contains("stackTrace") && detail.contains("app.py"), "{detail}");
    let again = house.run(&code, "2");
    assert_eq!(answer(&again), "0.5");
    assert!(!house.was_cold(again.id));
}

#[test]
fn code_that_cannot_be_loaded_is_an_init_error() {
    let house = House::new();
    let finished = house.run(&house.python("import nothing_such\n"), "null");
    check(&finished, FailureKind::Init, "ModuleNotFoundError: No module named 'nothing_such'");
    let finished = house.run(&house.python("x = 1\n"), "null");
    check(&finished, FailureKind::Init, "has no attribute 'handler'");
    let text = "#!/bin/sh\necho broken >&2\nexit 3\n";
    let code = Arc::new(house.deploy("provided", "", &[("bootstrap", text)]));
    let finished = house.run(&code, "null");
    check(&finished, FailureKind::Init, "exited with code 3 before it asked");
    assert_eq!(finished.logs.bytes, b"broken\n");
    let code = Arc::new(house.deploy("provided", "", &[("bootstrap", "#!/no/such/program\n")]));
    check(&house.run(&code, "null"), FailureKind::Init, "exited with code 127");
}

#[test]
fn a_program_that_exits_or_is_killed_has_exited() {
    let house = House::new();
    let finished = of_python(&house, "    print('bye')\n    sys.stdout.flush()\n    os._exit(7)");
    check(&finished, FailureKind::Exited, "exited with code 7");
    assert_eq!(finished.logs.bytes, b"bye\n");
    check(&of_python(&house, "    os.kill(os.getpid(), 11)"), FailureKind::Exited, "SIGSEGV");
}

#[test]
fn garbage_on_the_runtime_api_is_a_bad_response() {
    let house = House::new();
    let body = "    import socket\n    host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')\n    s = socket.create_connection((host, int(port)))\n    s.sendall(b'\\x00\\x01garbage\\r\\n\\r\\n')\n    s.recv(1000)\n    while True: pass";
    check(&of_python(&house, body), FailureKind::BadResponse, "not HTTP");
    let body = "    from fermata import Connection\n    Connection().ask('GET', '/2018-06-01/runtime/invocation/next')\n    while True: pass";
    check(&of_python(&house, body), FailureKind::BadResponse, "before it answered");
}

#[test]
fn wrong_ids_and_second_answers_have_no_effect() {
    let house = House::new();
    let code = house.python("from fermata import Connection\ndef handler(event, context):\n    base = '/2018-06-01/runtime/invocation/'\n    wrong = Connection().ask('POST', base + 'inv_00000000000000000000000000/response', {}, b'1')\n    nonsense = Connection().ask('POST', base + 'x/error', {}, b'1')\n    return [wrong[0], nonsense[0], Connection().ask('GET', '/nowhere')[0]]\n");
    assert_eq!(answer(&house.run(&code, "null")), "[400, 400, 404]");
    let code = house.python("from fermata import Connection\ndef handler(event, context):\n    path = f'/2018-06-01/runtime/invocation/{context.aws_request_id}/response'\n    Connection().ask('POST', path, {}, b'first')\n    return 'second'\n");
    assert_eq!(answer(&house.run(&code, "null")), "first");
}

#[test]
fn an_answer_over_the_limit_is_refused() {
    let house = House::new();
    let finished = of_python(&house, "    return 'x' * (1 << 20)");
    check(&finished, FailureKind::ResponseTooLarge, "larger than 1048576 bytes");
}

#[test]
fn ending_a_function_kills_it_and_its_sandbox_is_not_used_again() {
    let house = House::new();
    let code = house.python("def handler(event, context):\n    while event:\n        pass\n");
    let id = house.start(&code, "true");
    house.wait_for(id, |e| matches!(e, Event::Running { .. }));
    house.executor.end(id, Failure::new(FailureKind::TimedOut, "time is up"));
    check(&house.finish(id), FailureKind::TimedOut, "time is up");
    let again = house.run(&code, "false");
    assert!(house.was_cold(again.id));
}

#[test]
fn a_function_ended_before_it_runs_never_runs() {
    let house = House::new();
    let code = house.python("def handler(event, context):\n    return 1\n");
    let id = house.start(&code, "null");
    house.executor.end(id, Failure::new(FailureKind::Cancelled, "no"));
    check(&house.finish(id), FailureKind::Cancelled, "no");
    assert!(!house.events(id).iter().any(|e| matches!(e, Event::Running { .. })));
}

#[test]
fn a_memory_bomb_runs_out_of_memory_and_others_live_on() {
    let house = House::with(Options { memory_bytes: 192 << 20, ..Options::default() });
    let finished = of_python(
        &house,
        "    hoard = []\n    while True:\n        hoard.append(b'x' * (8 << 20))",
    );
    check(&finished, FailureKind::OutOfMemory, "memory ran out");
    assert!(finished.memory_peak.0 > 64 << 20, "{:?}", finished.memory_peak);
    assert_eq!(answer(&of_python(&house, "    return 'fine'")), "\"fine\"");
}

#[test]
fn a_full_tmp_says_so_and_counts_as_memory() {
    let house = House::with(Options { memory_bytes: 128 << 20, ..Options::default() });
    let body = "    with open('/tmp/x', 'wb') as f:\n        while True:\n            f.write(b'x' * (1 << 20))";
    check(&of_python(&house, body), FailureKind::OutOfMemory, "memory ran out");
}

#[test]
fn an_endless_log_line_is_cut_and_counted() {
    let house = House::new();
    let finished = of_python(
        &house,
        "    for _ in range(100):\n        sys.stdout.write('x' * 10000)\n    return 'done'",
    );
    assert_eq!(answer(&finished), "\"done\"");
    let logs = &finished.logs;
    assert_eq!(logs.bytes.len(), limits::LOG_BYTES_MAX);
    assert_eq!(logs.dropped, 1_000_000 - u64::try_from(limits::LOG_BYTES_MAX).unwrap());
}

#[test]
fn two_hundred_races_of_an_answer_and_an_end_finish_once_each() {
    let house = House::new();
    let code = house.python("def handler(event, context):\n    return 1\n");
    for _ in 0..200 {
        let id = house.start(&code, "null");
        if !house.was_cold(id) {
            house.executor.preempt(id);
            house.executor.resume(id);
        }
        house.executor.end(id, Failure::new(FailureKind::Cancelled, "race"));
        house.finish(id);
        house.run(&code, "null");
    }
}
