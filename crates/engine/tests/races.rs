//! Races, each run ten thousand times with another order, repeats, and crashes in between: there is
//! exactly one outcome, and every event is seen once, kept, or told as late.
//!
//! [`support::Rig`] encodes and decodes between all steps, which is what a crash after a commit does.
//! A crash before the commit is a step on a copy that is thrown away.

mod support;

use engine::{Input, Refusal, Status, TokenAnswer, Verdict};
use model::suspend::{OpId, Resolution, Step, Until};
use model::{Failure, FailureKind};
use policy::rng::Rng;
use support::*;

const RUNS: u64 = 10_000;

/// Runs `race` with as many seeds; the one that fails is told.
#[track_caller]
fn run(race: impl Fn(&mut Rng)) {
    for seed in 0..RUNS {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            race(&mut Rng::new(seed));
        }));
        if let Err(panic) = caught {
            let told = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("seed {seed}: {told}");
        }
    }
}

/// A step that may be lost in a crash before its commit and then come again, and that may come
/// twice after it.
fn faulty(rig: &mut Rig, rng: &mut Rng, input: &Input) -> Verdict {
    if rng.below(3) == 0 {
        let mut lost = rig.exe.clone();
        let _ = lost.step(rig.now, input.clone(), &mut Vec::new());
    }
    let verdict = rig.step(input.clone());
    if rng.below(3) == 0 {
        let again = rig.step(input.clone());
        assert_ne!(again, Verdict::Applied, "{input:?} was taken twice");
    }
    verdict
}

fn signal_of(id: u64) -> Input {
    let payload = bytes(&format!("event {id}"));
    Input::Signal { name: "s".to_owned(), id: Some(engine::SignalId(id)), payload }
}

fn turn_of(rig: &Rig, step: Step<engine::Payload>) -> Input {
    let (turn, attempt) = rig.running();
    let end = engine::TurnEnd::Ended(engine::Turned::new(bytes("state"), step));
    Input::TurnEnded { turn, attempt, end, used: used(1) }
}

#[test]
fn an_event_before_during_or_after_the_suspension_is_seen_once() {
    run(|rng| {
        let mut rig = Rig::new();
        let wait = turn_of(&rig, wait(vec![(1, signal("s"))], all(&[1])));
        let mut inputs = vec![wait, signal_of(1)];
        if rng.below(2) == 0 {
            inputs.swap(0, 1);
        }
        for input in &inputs {
            assert_eq!(faulty(&mut rig, rng, input), Verdict::Applied);
        }
        assert_eq!(rig.given(), [(1, "event 1".to_owned())]);
        rig.turn(support::wait(vec![(2, signal("s"))], all(&[2])));
        assert!(rig.exe.turn().is_none(), "nothing is left to be seen");
    });
}

#[test]
fn an_event_during_a_turn_is_seen_by_a_later_one() {
    run(|rng| {
        let mut rig = Rig::new();
        rig.turn(wait(vec![(1, call("a")), (2, signal("s"))], any(&[1])));
        let id = rig.call_id(1);
        let answered = Input::Resolved { op: OpId(1), id, resolution: ok("one"), used: used(1) };
        let mut inputs = [answered, signal_of(1)];
        if rng.below(2) == 0 {
            inputs.swap(0, 1);
        }
        for input in &inputs {
            let _ = faulty(&mut rig, rng, input);
        }
        assert_eq!(rig.given(), [(1, "one".to_owned())]);
        // Seen where it was asked for, or, where that ask is dropped, by the next one.
        let next = if rng.below(2) == 0 {
            wait(vec![], any(&[2]))
        } else {
            drop_and_wait(vec![(3, signal("s"))], &[2], any(&[3]))
        };
        let next = turn_of(&rig, next);
        let _ = faulty(&mut rig, rng, &next);
        let given = rig.given();
        assert_eq!((given.len(), &*given[0].1), (1, "event 1"));
    });
}

#[test]
fn a_doubled_event_is_seen_once() {
    run(|rng| {
        let mut rig = Rig::new();
        let mut events: Vec<Input> = (1..=3).map(signal_of).collect();
        for id in 1..=3 {
            let place = rng.below(events.len() + 1);
            events.insert(place, signal_of(id));
        }
        let mut asked = 0;
        let mut seen = Vec::new();
        let mut events = events.into_iter();
        loop {
            if rig.exe.turn().is_some() && rng.below(2) == 0 {
                seen.extend(rig.given().into_iter().map(|(_, text)| text));
                if asked == 3 {
                    break;
                }
                asked += 1;
                rig.turn(wait(vec![(asked, signal("s"))], all(&[asked])));
            } else if let Some(event) = events.next() {
                let _ = faulty(&mut rig, rng, &event);
            }
        }
        for event in events {
            assert_eq!(rig.step(event), Verdict::Duplicate);
        }
        seen.sort_unstable();
        assert_eq!(seen, ["event 1", "event 2", "event 3"]);
    });
}

#[test]
fn of_an_event_and_its_timeout_the_first_committed_wins() {
    run(|rng| {
        let mut rig = Rig::new();
        rig.turn(wait(vec![(1, token(None)), (2, timer(5))], any(&[1, 2])));
        rig.advance(5);
        let tenant = || "acme".parse().expect("a tenant");
        let text = rig.exe.mint().token(OpId(1));
        let parsed = engine::Token::parse(&text).expect("a token");
        let answer = TokenAnswer::Ended(Ok(bytes("yes")));
        let event = Input::Token { tenant: tenant(), token: parsed, answer };
        let event_first = rng.below(2) == 0;
        let (first, second) =
            if event_first { (&event, &Input::TimerDue) } else { (&Input::TimerDue, &event) };
        assert_eq!(faulty(&mut rig, rng, first), Verdict::Applied);
        let winner = rig.given();
        assert_eq!(winner.len(), 1);
        assert_eq!(winner[0].0, if event_first { 1 } else { 2 });
        // The other one comes while the turn runs, or after it dropped the loser.
        let loser = if event_first { 2 } else { 1 };
        let during = rng.below(2) == 0;
        if during {
            let _ = faulty(&mut rig, rng, second);
        }
        let next = turn_of(&rig, drop_and_wait(vec![(3, signal("end"))], &[loser], all(&[3])));
        let _ = faulty(&mut rig, rng, &next);
        let verdict = faulty(&mut rig, rng, second);
        if event_first {
            assert_eq!(verdict, Verdict::Duplicate, "the timer is gone");
        } else {
            let why = if during { Refusal::TokenUsed } else { Refusal::TokenDropped };
            assert_eq!(verdict, Verdict::Late(why));
            assert!(rig.told().contains("too late for #1"), "{}", rig.told());
        }
        assert!(rig.exe.turn().is_none(), "the loser wakes nobody");
    });
}

#[test]
fn of_cancel_and_completion_there_is_one_outcome() {
    run(|rng| {
        let mut rig = Rig::new();
        rig.turn(wait(vec![(1, call("a"))], all(&[1])));
        let id = rig.call_id(1);
        let answered = Input::Resolved { op: OpId(1), id, resolution: ok("one"), used: used(1) };
        let cancel = Input::Cancel { reason: "enough".to_owned() };
        let cancel_at = rng.below(3);
        if cancel_at == 0 {
            assert_eq!(faulty(&mut rig, rng, &cancel), Verdict::Applied);
        }
        let _ = faulty(&mut rig, rng, &answered);
        if rig.exe.turn().is_some() {
            let done = turn_of(&rig, Step::Done(bytes("done")));
            if cancel_at == 1 {
                assert_eq!(faulty(&mut rig, rng, &cancel), Verdict::Applied);
                let late = Verdict::Late(Refusal::Ended(Status::Cancelled));
                assert_eq!(faulty(&mut rig, rng, &done), late);
            } else {
                assert_eq!(faulty(&mut rig, rng, &done), Verdict::Applied);
                let ended = Verdict::Refused(Refusal::Ended(Status::Succeeded));
                assert_eq!(faulty(&mut rig, rng, &cancel), ended);
            }
        }
        assert_eq!((rig.outcomes.len(), rig.closed.len()), (1, 1));
        let expected = if cancel_at == 2 {
            Ok(bytes("done"))
        } else {
            Err(Failure::new(FailureKind::Cancelled, "enough"))
        };
        assert_eq!(rig.outcomes[0], expected);
        assert!(rig.outbox.is_empty() && rig.timer.is_none());
        assert_eq!(rig.exe.account().below.amount.0, 1, "the call is counted once");
    });
}

#[test]
fn of_cancel_and_a_new_beginning_there_is_one_outcome() {
    run(|rng| {
        let mut rig = Rig::new();
        rig.turn(wait(vec![(1, call("a")), (2, signal("s"))], any(&[2])));
        let id = rig.call_id(1);
        let _ = rig.signal("s", 1, "");
        let again = turn_of(&rig, Step::Again(bytes("second")));
        let stopped = Resolution::Failed(Failure::new(FailureKind::Cancelled, "stopped"));
        let settled = Input::Resolved { op: OpId(1), id, resolution: stopped, used: used(1) };
        let cancel = Input::Cancel { reason: "enough".to_owned() };
        let mut inputs = vec![again, settled];
        inputs.insert(rng.below(3), cancel);
        for input in &inputs {
            let _ = faulty(&mut rig, rng, input);
        }
        if let Some(due) = rig.exe.turn() {
            panic!("a turn of a cancelled execution is due: {due:?}");
        }
        if let Some(engine::Effect::CancelTurn { turn, attempt, .. }) =
            rig.outbox.get(&engine::output::TURN_KEY)
        {
            let (turn, attempt) = (*turn, *attempt);
            let failure = Failure::new(FailureKind::Cancelled, "ended");
            let end = engine::TurnEnd::Failed(failure);
            let _ = rig.step(Input::TurnEnded { turn, attempt, end, used: used(0) });
        }
        assert_eq!((rig.outcomes.len(), rig.closed.len()), (1, 1));
        assert!(rig.outbox.is_empty(), "{:?}", rig.outbox);
        // And it can go on from there.
        let asks = engine::history::asks_of(rig.history.iter(), &rig.exe.redrive_asks());
        assert_eq!(rig.step(Input::Redrive { reason: String::new(), asks }), Verdict::Applied);
        assert!(rig.exe.status() != Status::Cancelled && rig.exe.turn().is_some());
        rig.turn(wait(vec![(9, signal("t"))], Until::Next));
    });
}
