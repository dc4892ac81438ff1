//! Executions from their beginning to their end, as their history tells it.

mod support;

use engine::{Effect, Input, Refusal, Status, TokenAnswer, TurnEnd, Verdict};
use expect_test::expect;
use model::suspend::{InvokeMode, OpId, Resolution, Step, Until};
use model::{Failure, FailureKind, InvocationId, Timestamp, limits};
use support::*;

#[test]
fn a_call_a_signal_and_a_timer() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("charge"))], all(&[1])));
    rig.advance(2);
    assert_eq!(rig.exe.status(), Status::Waiting);
    assert_eq!(rig.exe.waits(), "call of charge (#1)");
    assert_eq!(rig.answer(1, ok("paid")), Verdict::Applied);
    assert_eq!(rig.given(), [(1, "paid".to_owned())]);
    rig.turn(wait(vec![(2, signal("approved")), (3, timer(100))], any(&[2, 3])));
    assert_eq!(rig.exe.waits(), "signal \"approved\" (#2) or timer at 100.000000000 (#3)");
    rig.advance(98);
    rig.applied(Input::TimerDue);
    assert_eq!(rig.given(), [(3, String::new())]);
    rig.turn(Step::Done(bytes("late")));
    assert_eq!(rig.exe.status(), Status::Succeeded);
    assert!(rig.outbox.is_empty() && rig.timer.is_none() && rig.closed.len() == 1);
    expect![[r#"
        1      0s began with 2 bytes of input
        2      0s #1 calls charge with 1 bytes (inv_0000000000nms55nnyx5dyg0y2)
        3      0s turn 1 ended, waiting for call of charge (#1)
        4      2s #1 ended with 4 bytes
        5      2s #2 awaits signal "approved"
        6      2s #3 timer set to 100.000000000
        7      2s turn 2 ended, waiting for signal "approved" (#2) or timer at 100.000000000 (#3)
        8    100s #3 ended with 0 bytes
        9    100s succeeded with 4 bytes
    "#]]
    .assert_eq(&rig.told());
}

#[test]
fn an_event_before_the_wait_is_kept() {
    let mut rig = Rig::new();
    assert_eq!(rig.signal("go", 1, "a"), Verdict::Applied);
    assert_eq!(rig.signal("go", 1, "a"), Verdict::Duplicate);
    assert_eq!(rig.signal("go", 2, "b"), Verdict::Applied);
    rig.turn(wait(vec![(1, signal("go"))], Until::Next));
    assert_eq!(rig.given(), [(1, "a".to_owned())]);
    rig.turn(wait(vec![(2, signal("go")), (3, signal("go"))], all(&[2])));
    assert_eq!(rig.given(), [(2, "b".to_owned())]);
    assert_eq!(rig.signal("go", 2, "b"), Verdict::Duplicate, "seen ones are known too");
    rig.turn(wait(vec![], any(&[3])));
    assert_eq!(rig.signal("go", 3, "c"), Verdict::Applied);
    assert_eq!(rig.given(), [(3, "c".to_owned())]);
}

#[test]
fn what_ends_and_is_not_named_is_kept_until_it_is() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a")), (2, call("b")), (3, call("c"))], all(&[1])));
    let _ = rig.answer(3, ok("three"));
    let _ = rig.answer(2, failed("two"));
    assert!(rig.exe.turn().is_none(), "only #1 wakes it");
    let _ = rig.answer(1, ok("one"));
    assert_eq!(rig.given(), [(1, "one".to_owned())]);
    rig.turn(wait(vec![], Until::Next));
    let given = [(3, "three".to_owned()), (2, "handler-error: two".to_owned())];
    assert_eq!(rig.given(), given, "in the order in which they were committed");
}

#[test]
fn an_end_during_a_turn_waits_for_its_end() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a")), (2, signal("s"))], any(&[1])));
    let _ = rig.answer(1, ok("one"));
    let _ = rig.signal("s", 1, "hello");
    assert_eq!(rig.given(), [(1, "one".to_owned())], "a turn is given what woke it");
    rig.turn(wait(vec![], any(&[2])));
    assert_eq!(rig.given(), [(2, "hello".to_owned())]);
}

#[test]
fn a_dropped_signal_goes_to_the_next_wait() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, signal("s")), (2, timer(5))], any(&[1, 2])));
    rig.advance(5);
    rig.applied(Input::TimerDue);
    assert_eq!(rig.signal("s", 1, "beaten by the timer"), Verdict::Applied);
    rig.turn(drop_and_wait(vec![(3, call("a"))], &[1], all(&[3])));
    let _ = rig.answer(3, ok(""));
    rig.turn(wait(vec![(4, signal("s"))], all(&[4])));
    assert_eq!(rig.given(), [(4, "beaten by the timer".to_owned())]);
}

#[test]
fn a_turn_that_is_lost_runs_again_under_its_number_and_id() {
    let mut rig = Rig::new();
    let lost = |attempt| Input::TurnEnded {
        turn: 1,
        attempt,
        end: TurnEnd::Lost { reason: "the machine died".to_owned() },
        used: used(1),
    };
    let first = rig.exe.turn().map(|due| (due.id, due.entropy));
    for attempt in 1..=limits::TURN_RESTARTS_MAX {
        assert_eq!(rig.running(), (1, attempt));
        rig.applied(lost(attempt));
        assert_eq!(rig.step(lost(attempt)), Verdict::Duplicate, "told twice");
        assert_eq!(rig.exe.turn().map(|due| (due.id, due.entropy)), first);
    }
    rig.applied(lost(limits::TURN_RESTARTS_MAX + 1));
    let failure = rig.outcomes[0].as_ref().expect_err("it is given up");
    assert_eq!(failure.kind, FailureKind::Platform);
    assert_eq!(rig.exe.account().own.amount.0, 4, "every attempt is paid once");
}

#[test]
fn cancel_stops_what_it_waits_for_and_then_tells_its_parent() {
    let parent = engine::Parent {
        execution: model::ExecutionId(5),
        op: OpId(8),
        id: InvocationId(birth().id.0),
    };
    let mut rig = Rig::born(engine::Birth { parent: Some(parent), ..birth() });
    rig.turn(wait(vec![(1, call("a")), (2, timer(9)), (3, token(None))], Until::Next));
    let id = rig.call_id(1);
    rig.applied(Input::Cancel { reason: "no longer needed".to_owned() });
    assert_eq!(rig.outcomes.len(), 1, "the outcome is decided at once");
    assert_eq!(rig.outbox[&OpId(1)], Effect::CancelCall { op: OpId(1), id });
    assert_eq!(rig.closed.len(), 0, "but the books are open until the call has stopped");
    assert_eq!(rig.exe.may_purge(), Err(Refusal::Stopping));
    assert_eq!(rig.step(Input::Cancel { reason: String::new() }), Verdict::Duplicate);
    let _ = rig.answer(1, failed("killed"));
    let Effect::Report { parent: told, resolution, used } =
        &rig.outbox[&engine::output::REPORT_KEY]
    else {
        panic!("{:?}", rig.outbox)
    };
    assert_eq!(*told, parent);
    assert_eq!(words(resolution), "cancelled: no longer needed");
    assert_eq!((used.amount.0, used.invocations), (11, 2), "its turn and its call");
    rig.applied(Input::Reported);
    assert_eq!(rig.step(Input::Reported), Verdict::Duplicate);
    assert_eq!(rig.exe.may_purge(), Ok(()));
    let ended = Verdict::Refused(Refusal::Ended(Status::Cancelled));
    assert_eq!(rig.signal("x", 1, ""), ended);
    assert_eq!(rig.token(3, TokenAnswer::Heartbeat), ended);
}

#[test]
fn cancel_during_a_turn_counts_what_the_turn_used() {
    let mut rig = Rig::new();
    rig.applied(Input::Cancel { reason: "stop".to_owned() });
    assert!(rig.exe.turn().is_none(), "it is not to be run again after a crash");
    assert!(matches!(rig.outbox[&engine::output::TURN_KEY], Effect::CancelTurn { turn: 1, .. }));
    let end = TurnEnd::Ended(engine::Turned::new(bytes(""), Step::Done(bytes("too late"))));
    let late = rig.step(Input::TurnEnded { turn: 1, attempt: 1, end, used: used(3) });
    assert_eq!(late, Verdict::Late(Refusal::Ended(Status::Cancelled)));
    assert_eq!((rig.closed.len(), rig.exe.account().own.amount.0), (1, 3));
    assert_eq!(rig.exe.status(), Status::Cancelled);
}

#[test]
fn completion_before_cancel_stands() {
    let mut rig = Rig::new();
    rig.turn(Step::Done(bytes("done")));
    let refused = Verdict::Refused(Refusal::Ended(Status::Succeeded));
    assert_eq!(rig.step(Input::Cancel { reason: String::new() }), refused);
    assert_eq!(rig.outcomes, [Ok(bytes("done"))]);
}

#[test]
fn a_paused_execution_takes_events_and_begins_no_turn() {
    let mut rig = Rig::new();
    rig.applied(Input::Pause { reason: "deploying".to_owned() });
    rig.turn(wait(vec![(1, call("a"))], all(&[1])));
    assert_eq!(rig.exe.status(), Status::Paused);
    let _ = rig.answer(1, ok("one"));
    assert!(rig.exe.turn().is_none());
    assert_eq!(rig.exe.waits(), "being resumed (paused: deploying)");
    let long = Input::Resume { reason: "x".repeat(model::limits::REASON_BYTES_MAX + 1) };
    assert_eq!(rig.step(long), Verdict::Refused(Refusal::Malformed));
    let resume = Input::Resume { reason: "deployed".to_owned() };
    rig.applied(resume.clone());
    assert_eq!(rig.given(), [(1, "one".to_owned())]);
    assert!(rig.told().contains("resumed: deployed"), "{}", rig.told());
    assert_eq!(rig.step(resume), Verdict::Refused(Refusal::NotPaused));
}

#[test]
fn redrive_makes_failed_and_stopped_calls_again() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a")), (2, call("b")), (3, call("c"))], Until::Next));
    let first = (rig.call_id(1), rig.call_id(2));
    let _ = rig.answer(3, ok("three"));
    rig.turn(wait(vec![], any(&[1, 2])));
    let _ = rig.answer(1, failed("broken"));
    rig.turn(Step::Failed(Failure::new(FailureKind::Handler, "a is broken")));
    assert_eq!(rig.step(redrive(&rig)), Verdict::Refused(Refusal::Stopping));
    let _ = rig.answer(2, Resolution::Failed(Failure::new(FailureKind::Cancelled, "stopped")));
    assert_eq!(rig.exe.redrive_asks(), ops(&[1, 2]));
    let none = Input::Redrive { reason: String::new(), asks: Vec::new() };
    assert_eq!(rig.step(none), Verdict::Refused(Refusal::WrongAsk(OpId(1))));
    rig.advance(1);
    let Input::Redrive { asks, .. } = redrive(&rig) else { panic!("it is one") };
    let long = "x".repeat(model::limits::REASON_BYTES_MAX + 1);
    let long = Input::Redrive { reason: long, asks: asks.clone() };
    assert_eq!(rig.step(long), Verdict::Refused(Refusal::Malformed));
    rig.applied(Input::Redrive { reason: "a is mended".to_owned(), asks });
    assert!(rig.told().contains("2 calls are made again: a is mended"), "{}", rig.told());
    assert_eq!(rig.exe.status(), Status::Waiting);
    assert_ne!(rig.call_id(1), first.0, "another attempt is another invocation");
    assert_ne!(rig.call_id(2), first.1);
    let _ = rig.answer(2, ok("two"));
    assert_eq!(rig.given(), [(2, "two".to_owned())]);
    rig.turn(Step::Done(bytes("well")));
    assert_eq!(rig.outcomes.len(), 2, "the failure, then the answer");
    let _ = rig.answer(1, failed("stopped"));
    assert_eq!(rig.step(redrive(&rig)), Verdict::Refused(Refusal::Succeeded));
}

#[test]
fn redrive_does_not_repeat_a_failure_that_the_failed_turn_had_dealt_with() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a")), (2, call("b"))], all(&[1, 2])));
    let _ = rig.answer(1, failed("caught"));
    let _ = rig.answer(2, failed("broken"));
    let step = Step::Failed(Failure::new(FailureKind::Handler, "b is broken"));
    // What it was not given cannot have been dealt with.
    rig.turned(engine::Turned { dealt: ops(&[1, 7]), ..engine::Turned::new(bytes(""), step) });
    assert_eq!(rig.exe.redrive_asks(), ops(&[2]));
    rig.applied(redrive(&rig));
    let _ = rig.answer(2, ok("two"));
    let [(1, first), (2, second)] = &rig.given()[..] else { panic!("{:?}", rig.given()) };
    assert!(first.ends_with(": caught") && second == "two", "{first}, {second}");
    rig.turn(Step::Failed(Failure::new(FailureKind::Handler, "the same again")));
    assert_eq!(rig.exe.redrive_asks(), ops(&[1]), "this time it had not");
}

#[test]
fn each_end_of_a_redriven_execution_bills_what_came_since_the_one_before() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a"))], all(&[1])));
    rig.advance(10);
    let _ = rig.answer(1, failed("broken"));
    rig.turn(Step::Failed(Failure::new(FailureKind::Handler, "a is broken")));
    let first = rig.exe.account().own;
    rig.advance(1_000);
    rig.applied(redrive(&rig));
    assert_eq!(rig.exe.account().own.stored(), first.stored(), "nothing is billed after an end");
    rig.advance(100);
    let _ = rig.answer(1, ok("well"));
    rig.turn(Step::Done(bytes("")));
    let all = rig.exe.account().own;
    let [before, after] = rig.closed[..] else { panic!("{:?}", rig.closed) };
    assert_eq!((before.transitions, after.transitions), (2, 1));
    assert_eq!(before.stored_byte_nanos, first.stored_byte_nanos);
    assert!(after.stored_byte_nanos > before.stored_byte_nanos);
    let both = before.stored_byte_nanos + after.stored_byte_nanos;
    assert_eq!((both, before.amount), (all.stored_byte_nanos, model::Amount(0)));
}

#[test]
fn redrive_runs_a_turn_again_that_failed_by_itself() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a"))], all(&[1])));
    let _ = rig.answer(1, ok("one"));
    let crashed = TurnEnd::Failed(Failure::new(FailureKind::Trapped, "unreachable"));
    rig.applied(Input::TurnEnded { turn: 2, attempt: 1, end: crashed, used: used(1) });
    assert_eq!(rig.exe.status(), Status::Failed);
    rig.applied(redrive(&rig));
    assert_eq!(rig.given(), [(1, "one".to_owned())]);
    assert_eq!(rig.running(), (3, 1), "a new turn");
    rig.turn(Step::Done(bytes("")));
}

#[test]
fn a_call_that_succeeded_before_it_was_stopped_is_not_made_again() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a"))], all(&[1])));
    rig.applied(Input::Cancel { reason: String::new() });
    let _ = rig.answer(1, ok("it was faster"));
    rig.applied(redrive(&rig));
    assert_eq!(rig.given(), [(1, "it was faster".to_owned())]);
}

#[test]
fn an_execution_begins_anew_when_all_is_settled() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, call("a")), (2, signal("s")), (3, token(None))], any(&[2])));
    let old = rig.exe.mint().token(OpId(3));
    let _ = rig.signal("s", 1, "one");
    let _ = rig.signal("s", 2, "kept");
    rig.turn(Step::Again(bytes("second life")));
    assert!(rig.exe.turn().is_none(), "#1 is being stopped");
    assert_eq!(rig.exe.waits(), "what it cancelled");
    let _ = rig.answer(1, failed("stopped"));
    assert_eq!((rig.exe.generation(), rig.running()), (1, (3, 1)));
    let due = rig.exe.turn().expect("it runs");
    assert_eq!((due.input, due.state), (&bytes("second life"), None));
    rig.turn(wait(vec![(1, signal("s")), (3, token(None))], any(&[1])));
    assert_eq!(rig.given(), [(1, "kept".to_owned())], "what was not seen is not lost");
    let done = TokenAnswer::Ended(Ok(bytes("")));
    assert_eq!(rig.present(&old, done), Verdict::Refused(Refusal::TokenDropped));
    expect![[r#"
        9      0s began anew (time 1) with 11 bytes of input
        10     0s #1 awaits signal "s"
        11     0s #1 ended with 4 bytes
        12     0s #3 awaits a callback
        13     0s turn 3 ended, waiting for nothing more
    "#]]
    .assert_eq(&rig.told());
}

#[test]
fn an_execution_ends_at_its_time_limit() {
    let mut rig =
        Rig::born(engine::Birth { timeout: std::time::Duration::from_secs(10), ..birth() });
    rig.turn(wait(vec![(1, signal("never"))], all(&[1])));
    assert_eq!(rig.timer, Some(Timestamp(10 * SECOND)));
    assert_eq!(rig.step(Input::TimerDue), Verdict::Duplicate, "too early");
    rig.advance(10);
    rig.applied(Input::TimerDue);
    assert_eq!(rig.outcomes[0].as_ref().map_err(|f| f.kind), Err(FailureKind::TimedOut));
}

#[test]
fn tokens_are_told_apart() {
    let mut rig = Rig::new();
    let done = || TokenAnswer::Ended(Ok(bytes("yes")));
    assert_eq!(rig.token(1, done()), Verdict::Applied, "its turn gave it away already");
    assert_eq!(rig.token(1, done()), Verdict::Refused(Refusal::TokenUsed));
    let asks = vec![(1, token(None)), (2, token(Some(5))), (3, token(None)), (4, signal("s"))];
    rig.turn(wait(asks, any(&[1])));
    assert_eq!(rig.given(), [(1, "yes".to_owned())]);
    rig.turn(drop_and_wait(vec![], &[3], any(&[2])));
    let too_late = |why| Verdict::Late(why);
    assert_eq!(rig.token(1, done()), too_late(Refusal::TokenUsed));
    assert_eq!(rig.token(3, done()), too_late(Refusal::TokenDropped));
    assert_eq!(rig.token(9, done()), Verdict::Refused(Refusal::TokenDropped), "never asked for");
    rig.advance(4);
    assert_eq!(rig.token(2, TokenAnswer::Heartbeat), Verdict::Applied);
    rig.advance(4);
    assert_eq!(rig.step(Input::TimerDue), Verdict::Duplicate);
    rig.advance(1);
    rig.applied(Input::TimerDue);
    assert_eq!(rig.given(), [(2, "timed-out: no sign of life for 5s".to_owned())]);
    assert_eq!(rig.token(2, done()), too_late(Refusal::TokenExpired));

    let text = rig.exe.mint().token(OpId(2));
    let forged = text.replace(".0.2.", ".0.1.");
    assert_eq!(rig.present(&forged, done()), Verdict::Refused(Refusal::TokenForged));
    let parsed = engine::Token::parse(&text).expect("a token");
    let tenant = "other".parse().expect("a tenant");
    let foreign = rig.step(Input::Token { tenant, token: parsed, answer: done() });
    assert_eq!(foreign, Verdict::Refused(Refusal::TokenForeign));
}

#[test]
fn storage_is_counted_exactly_while_it_waits() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, signal("s"))], all(&[1])));
    // Input "in", state "state", one ask.
    let bytes = 2 + 5 + 64;
    assert_eq!(rig.exe.account().bytes, bytes);
    rig.advance(86_400);
    assert_eq!(rig.exe.account().at(rig.now).own.stored().0, bytes * 86_400);
    let _ = rig.signal("s", 1, "xyz");
    let account = *rig.exe.account();
    assert_eq!(account.own.stored_byte_nanos, u128::from(bytes * 86_400 * SECOND));
    assert_eq!(account.bytes, 2 + 5 + 3, "what the turn was given is kept for it");
    rig.turn(Step::Done(support::bytes("")));
    rig.advance(1_000);
    assert_eq!(rig.exe.account().at(rig.now).own, rig.exe.account().own, "an end costs nothing");
    assert_eq!(rig.exe.account().own.transitions, 2);
}

#[test]
fn a_detached_call_is_not_cancelled() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, invoke("a", InvokeMode::Detach))], all(&[1])));
    rig.applied(Input::Cancel { reason: String::new() });
    assert!(matches!(rig.outbox[&OpId(1)], Effect::Invoke(_)), "it is still to be queued");
    assert_eq!(rig.closed.len(), 0);
    let _ = rig.answer(1, ok("inv_x"));
    assert_eq!(rig.closed.len(), 1);
}

#[track_caller]
fn check_refused(step: Step<engine::Payload>, told: &str) {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(5, call("a")), (6, timer(1))], all(&[5])));
    let _ = rig.answer(5, ok(""));
    rig.turn(step);
    let failure = rig.outcomes[0].as_ref().expect_err("refused");
    assert_eq!((failure.kind, &*failure.message), (FailureKind::BadResponse, told));
}

#[test]
fn a_suspension_that_makes_no_sense_fails_the_execution() {
    let numbers = "asks under number 6: it must be 7 or above";
    check_refused(wait(vec![(6, timer(1))], all(&[6])), numbers);
    check_refused(wait(vec![(1 << 63, timer(1))], Until::Next), {
        "asks under number 9223372036854775808: it must be 7 or above"
    });
    check_refused(wait(vec![], all(&[5])), "waits for #5, which is not open");
    check_refused(wait(vec![], any(&[99])), "waits for #99, which is not open");
    check_refused(wait(vec![], any(&[])), "waits for any of nothing");
    check_refused(drop_and_wait(vec![], &[6], all(&[6])), "waits for #6, which is not open");
    let nothing = "waits for the next event, but asked for nothing";
    check_refused(drop_and_wait(vec![], &[6], Until::Next), nothing);
    check_refused(wait(vec![(7, signal(""))], all(&[7])), {
        "#7: a signal's name has 1 to 128 bytes"
    });
    let many = (7..7 + 4_096).map(|op| (op, signal("s"))).collect();
    check_refused(wait(many, Until::Next), "asks for 4097 things at once, the limit is 4096");
}

fn redrive(rig: &Rig) -> Input {
    let asks = engine::history::asks_of(rig.history.iter(), &rig.exe.redrive_asks());
    Input::Redrive { reason: String::new(), asks }
}
