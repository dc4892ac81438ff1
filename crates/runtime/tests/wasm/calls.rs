//! Calls of other functions.

use model::{Failure, FailureKind, InvocationId};
use runtime::{CallMode, CallResult, Executor as _};

use crate::house::{House, OpenCall};

/// Has a guest call, answers it, and returns the call and the guest's answer.
fn exchange(input: &str, result: CallResult) -> (OpenCallSeen, String) {
    let house = House::new();
    let id = house.start(&house.deploy("call"), input.to_owned());
    let OpenCall { caller, call, reply } = house.calls.next();
    assert_eq!(caller, id);
    house.events.wait_count(id, "blocked", 1);
    reply(result);
    let answer = house.finished(id).answer().unwrap();
    assert_eq!(house.events.names(id), ["running", "blocked", "unblocked", "finished"]);
    let seen = (call.function, call.class, call.mode, call.payload.to_vec());
    (seen, String::from_utf8(answer.to_vec()).unwrap())
}

type OpenCallSeen = (String, Option<String>, CallMode, Vec<u8>);

#[test]
fn a_call_gives_its_core_back_and_goes_on_with_the_answer() {
    let answer = CallResult::Ok(InvocationId(9), "b".repeat(10_000).into());
    let (call, answer) = exchange("echo\nhello\nworld", answer);
    assert_eq!(call, ("echo".into(), None, CallMode::Wait, b"hello\nworld".to_vec()));
    assert_eq!(answer, "b".repeat(10_000));
}

#[test]
fn a_call_states_class_and_version_and_need_not_wait() {
    let accepted = CallResult::Accepted(InvocationId(33));
    let (call, answer) = exchange("mail:7 background async\nhi", accepted);
    let class = Some("background".into());
    assert_eq!(call, ("mail:7".into(), class, CallMode::Async, b"hi".to_vec()));
    assert_eq!(answer, "inv_00000000000000000000000011");
}

#[test]
fn a_call_without_an_answer_says_why() {
    let check = |result, expected: &str| assert_eq!(exchange("echo\n", result).1, expected);
    let detail = Some(br#"{"errorType":"KeyError"}"#.to_vec());
    let failure = Failure { kind: FailureKind::Handler, message: "it\nthrew".into(), detail };
    check(
        CallResult::Failed(InvocationId(9), failure),
        "error -1\nhandler-error\nit threw\n\n{\"errorType\":\"KeyError\"}",
    );
    let refused = CallResult::Refused { code: "unknown-function", message: "no such one".into() };
    check(refused, "error -2\nunknown-function\nno such one\n");
}

#[test]
fn malformed_arguments_of_a_call_are_refused_without_a_call() {
    let house = House::new();
    let code = house.deploy("call");
    let mut long = vec![b'x'; 200];
    long.push(b'\n');
    let check = |input: Vec<u8>, expected: &str| assert_eq!(house.answer(&code, input), expected);
    check(long, "error -3\ninvalid-argument\nthe function name is longer than 75 bytes\n");
    let not_text = b"a\xff\n".to_vec();
    check(not_text, "error -3\ninvalid-argument\nthe function name is not UTF-8\n");
    let large = [b"echo\n".to_vec(), vec![b'x'; (1 << 20) + 1]].concat();
    let too_large =
        "error -4\ninvalid-argument\nthe payload has 1048577 bytes, the limit is 1048576\n";
    check(large, too_large);
}

#[test]
fn an_answer_that_comes_after_the_caller_has_ended_is_dropped() {
    let house = House::new();
    let id = house.start(&house.deploy("call"), "echo\n");
    let call = house.calls.next();
    house.events.wait_count(id, "blocked", 1);
    house.executor.end(id, Failure::new(FailureKind::Cancelled, "enough"));
    assert_eq!(house.finished(id).answer().unwrap_err().kind, FailureKind::Cancelled);
    (call.reply)(CallResult::Ok(InvocationId(9), "late".into()));
    assert_eq!(house.events.names(id), ["running", "blocked", "finished"]);
}

#[test]
fn a_caller_preempted_while_it_waits_is_only_blocked() {
    let house = House::new();
    let id = house.start(&house.deploy("call"), "echo\n");
    let call = house.calls.next();
    house.events.wait_count(id, "blocked", 1);
    house.executor.preempt(id);
    house.executor.resume(id);
    (call.reply)(CallResult::Ok(InvocationId(9), "there".into()));
    house.events.wait_count(id, "unblocked", 1);
    house.executor.preempt(id);
    assert_eq!(house.finished(id).answer().unwrap(), "there");
    assert_eq!(house.events.names(id), ["running", "blocked", "unblocked", "finished"]);
}
