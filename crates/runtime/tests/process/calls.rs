//! Waiting, and calls of other functions.

use std::sync::Arc;

use bytes::Bytes;
use model::{Failure, FailureKind, InvocationId};
use runtime::{CallMode, CallResult, Event, Executor};

use crate::house::{House, Options, answer};

const CALLER: &str = "import fermata\ndef handler(event, context):\n    try:\n        return fermata.invoke(event['name'], event.get('payload'), event.get('class'), event.get('wait', True))\n    except fermata.Refused as error:\n        return ['refused', error.code]\n    except fermata.Failed as error:\n        return ['failed', error.code, error.detail]\n";

const CALLEE: InvocationId = InvocationId(77);

fn answering(answer: impl Fn() -> CallResult + Send + Sync + 'static) -> House {
    let on_call = Box::new(move |_: &runtime::Call| Some(answer()));
    House::with(Options { on_call, ..Options::default() })
}

#[test]
fn a_call_waits_for_its_answer_without_a_core() {
    let house = House::new();
    let code = house.python(CALLER);
    let id = house.start(&code, r#"{"name": "other:2", "payload": [1], "class": "economy"}"#);
    house.wait_for(id, |e| matches!(e, Event::Blocked { .. }));
    let reply = loop {
        // The call follows its `Blocked` at once.
        if let Some(reply) = house.calls.open.lock().unwrap().pop() {
            break reply;
        }
        std::thread::yield_now();
    };
    let (caller, call) = house.calls.seen.lock().unwrap()[0].clone();
    assert_eq!((caller, call.mode), (id, CallMode::Wait));
    assert_eq!((call.function.as_str(), call.class.as_deref()), ("other:2", Some("economy")));
    assert_eq!(&call.payload[..], b"[1]");
    reply(CallResult::Ok(CALLEE, Bytes::from_static(br#"{"ok": true}"#)));
    house.wait_for(id, |e| matches!(e, Event::Unblocked { .. }));
    assert_eq!(house.events(id).len(), 3, "it goes on at resume, not before");
    house.executor.resume(id);
    assert_eq!(answer(&house.finish(id)), r#"{"ok": true}"#);
}

#[test]
fn a_failed_callee_and_a_refusal_reach_the_caller_with_their_codes() {
    let failed = || {
        let mut failure = Failure::new(FailureKind::Handler, "it threw");
        failure.detail = Some(br#"{"errorType": "E"}"#.to_vec());
        CallResult::Failed(CALLEE, failure)
    };
    let house = answering(failed);
    let finished = house.run(&house.python(CALLER), r#"{"name": "other"}"#);
    assert_eq!(answer(&finished), r#"["failed", "handler-error", {"errorType": "E"}]"#);

    let house = answering(|| CallResult::Refused { code: "too-deep", message: "32".into() });
    let finished = house.run(&house.python(CALLER), r#"{"name": "other"}"#);
    assert_eq!(answer(&finished), r#"["refused", "too-deep"]"#);
}

#[test]
fn a_call_that_nobody_waits_for_gives_the_invocation() {
    let house = answering(|| CallResult::Accepted(CALLEE));
    let finished = house.run(&house.python(CALLER), r#"{"name": "other", "wait": false}"#);
    assert_eq!(answer(&finished), format!("\"{CALLEE}\""));
    assert_eq!(house.calls.seen.lock().unwrap()[0].1.mode, CallMode::Async);
    let events = house.events(finished.id);
    assert!(!events.iter().any(|e| matches!(e, Event::Blocked { .. })), "{events:?}");
}

#[test]
fn a_node_function_calls_too() {
    let house = answering(|| CallResult::Ok(CALLEE, Bytes::from_static(b"5")));
    let text = "import { invoke } from 'fermata';\nexport const handler = async (event) => 1 + await invoke('five', event);";
    let code = Arc::new(house.deploy("nodejs", "index.handler", &[("index.mjs", text)]));
    assert_eq!(answer(&house.run(&code, "{}")), "6");
}

#[test]
fn a_wrong_token_is_refused() {
    let house = answering(|| CallResult::Ok(CALLEE, Bytes::from_static(b"5")));
    let code = house.python(&CALLER.replace(
        "    try:",
        "    import os\n    os.environ['FERMATA_TOKEN'] = 'another'\n    try:",
    ));
    let finished = house.run(&code, r#"{"name": "other"}"#);
    assert_eq!(answer(&finished), r#"["refused", "unauthenticated"]"#);
    assert!(house.calls.seen.lock().unwrap().is_empty());
}

#[test]
fn a_sleeping_function_is_blocked_until_it_wakes() {
    let house = House::new();
    let code = house.python(
        "import time\ndef handler(event, context):\n    time.sleep(0.3)\n    end = time.process_time() + 0.2\n    while time.process_time() < end:\n        pass\n    return 'awake'\n",
    );
    let id = house.start(&code, "null");
    house.wait_for(id, |e| matches!(e, Event::Blocked { .. }));
    house.wait_for(id, |e| matches!(e, Event::Unblocked { .. }));
    house.executor.resume(id);
    assert_eq!(answer(&house.finish(id)), "\"awake\"");
}

#[test]
fn a_preempted_function_is_not_blocked_and_uses_no_core() {
    let house = House::new();
    let code = house.python("def handler(event, context):\n    while True:\n        pass\n");
    let id = house.start(&code, "null");
    house.wait_for(id, |e| matches!(e, Event::Running { .. }));
    house.executor.preempt(id);
    house.executor.preempt(id);
    house.wait_for(id, |e| matches!(e, Event::Stopped { .. }));
    // Another function runs to its end meanwhile: the looks go on.
    let other = house.python("def handler(event, context):\n    return 1\n");
    assert_eq!(answer(&house.run(&other, "null")), "1");
    let failure = Failure::new(FailureKind::TimedOut, "time is up");
    house.executor.end(id, failure.clone());
    house.executor.end(id, failure);
    house.executor.resume(id);
    let finished = house.finish(id);
    assert_eq!(finished.answer().unwrap_err().kind, FailureKind::TimedOut);
    let stops = house.events(id).into_iter().filter(|e| matches!(e, Event::Stopped { .. }));
    assert_eq!(stops.count(), 1);
}
