//! What happens at each limit.

mod support;

use engine::{Input, Payload, Refusal, Status, TokenAnswer, Verdict};
use model::suspend::{Step, Until};
use model::{FailureKind, limits};
use support::*;

#[test]
fn events_that_nothing_waits_for_are_refused_at_the_limit() {
    let mut rig = Rig::new();
    let most = limits::KEPT_EVENTS_MAX as u64;
    for id in 1..=most {
        assert_eq!(rig.signal("s", id, "x"), Verdict::Applied);
    }
    assert_eq!(rig.signal("s", most + 1, "x"), Verdict::Refused(Refusal::KeptFull));
    let done = TokenAnswer::Ended(Ok(bytes("")));
    assert_eq!(rig.token(1, done), Verdict::Refused(Refusal::KeptFull));
    rig.turn(wait(vec![(1, signal("s"))], all(&[1])));
    assert_eq!(rig.signal("s", most + 1, "x"), Verdict::Applied, "one was seen: there is room");
    // The first ids are forgotten by now; the last ones are known.
    assert_eq!(rig.signal("s", most - 1, "x"), Verdict::Duplicate);
}

#[test]
fn late_events_are_recorded_up_to_the_limit_and_told_beyond() {
    let mut rig = Rig::new();
    rig.turn(wait(vec![(1, token(None)), (2, signal("s"))], any(&[2])));
    let done = || TokenAnswer::Ended(Ok(bytes("")));
    let _ = rig.token(1, done());
    for _ in 0..limits::LATE_RECORDS_MAX {
        assert_eq!(rig.token(1, done()), Verdict::Late(Refusal::TokenUsed));
    }
    assert_eq!(rig.token(1, done()), Verdict::Refused(Refusal::TokenUsed));
}

#[test]
fn how_an_old_token_ended_is_forgotten() {
    let mut rig = Rig::new();
    let count = limits::CLOSED_TOKENS_MAX as u64 + 1;
    let mut asks: Vec<_> = (1..=count).map(|op| (op, token(None))).collect();
    asks.push((count + 1, signal("s")));
    rig.turn(wait(asks, any(&[count + 1])));
    let done = || TokenAnswer::Ended(Ok(bytes("")));
    for op in 1..=count {
        assert_eq!(rig.token(op, done()), Verdict::Applied);
    }
    let _ = rig.signal("s", 1, "");
    rig.turn(wait(vec![(count + 2, signal("s"))], Until::Next));
    assert_eq!(rig.token(1, done()), Verdict::Late(Refusal::TokenClosed));
    assert_eq!(rig.token(2, done()), Verdict::Late(Refusal::TokenUsed));
}

#[test]
fn an_execution_whose_history_is_full_fails() {
    let mut rig = Rig::new();
    while rig.outcomes.is_empty() {
        rig.applied(Input::Pause { reason: String::new() });
        if rig.outcomes.is_empty() {
            rig.applied(Input::Resume { reason: String::new() });
        }
    }
    // The record of the end is the one beyond.
    assert_eq!(rig.history.len() as u64, limits::HISTORY_RECORDS_MAX + 1);
    let failure = rig.outcomes[0].as_ref().expect_err("it failed");
    assert_eq!(failure.kind, FailureKind::BadResponse);
}

#[test]
fn a_new_beginning_makes_room_in_the_history() {
    let mut rig = Rig::new();
    for _ in 0..limits::HISTORY_RECORDS_MAX / 4 {
        rig.applied(Input::Pause { reason: String::new() });
        rig.applied(Input::Resume { reason: String::new() });
    }
    rig.turn(Step::Again(bytes("")));
    assert_eq!(rig.history.len(), 1);
    for _ in 0..limits::HISTORY_RECORDS_MAX / 4 + 10 {
        rig.applied(Input::Pause { reason: String::new() });
        rig.applied(Input::Resume { reason: String::new() });
    }
    assert_eq!(rig.exe.status(), Status::Running);
}

#[test]
fn a_full_state_takes_only_small_payloads() {
    let mut rig = Rig::new();
    assert_eq!(rig.exe.inline_max(), limits::PAYLOAD_INLINE_BYTES_MAX);
    let large = vec![0_u8; limits::PAYLOAD_INLINE_BYTES_MAX];
    for id in 1..=8 {
        let payload = Payload::Inline(large.clone());
        let id = Some(engine::SignalId(id));
        rig.applied(Input::Signal { name: "s".to_owned(), id, payload });
    }
    assert_eq!(rig.exe.inline_max(), limits::PAYLOAD_INLINE_BYTES_FULL);
    let payload = Payload::Inline(vec![0; limits::PAYLOAD_INLINE_BYTES_MAX + 1]);
    let name = "s".to_owned();
    let refused = rig.step(Input::Signal { name, id: None, payload });
    assert_eq!(refused, Verdict::Refused(Refusal::PayloadTooLarge));
}

#[test]
fn long_words_are_refused() {
    let mut rig = Rig::new();
    let long = "x".repeat(limits::REASON_BYTES_MAX + 1);
    let malformed = Verdict::Refused(Refusal::Malformed);
    assert_eq!(rig.step(Input::Cancel { reason: long.clone() }), malformed);
    assert_eq!(rig.step(Input::Pause { reason: long }), malformed);
    let status = vec![0; limits::CUSTOM_STATUS_BYTES_MAX + 1];
    assert_eq!(rig.step(Input::SetStatus { status }), malformed);
    assert_eq!(rig.signal("", 1, ""), malformed);
    let name = "x".repeat(limits::SIGNAL_NAME_BYTES_MAX + 1);
    assert_eq!(rig.signal(&name, 1, ""), malformed);
}

#[test]
fn a_life_is_cut_to_the_longest_there_is() {
    let rig = Rig::born(engine::Birth { timeout: std::time::Duration::MAX, ..birth() });
    assert_eq!(rig.exe.birth().timeout, limits::EXECUTION_TIMEOUT_MAX);
}
