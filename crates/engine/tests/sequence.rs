//! A sequence, run as the shell runs every interpreter.

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;

use engine::sequence::{Sequence, SequenceError};
use engine::{
    Birth, Effect, Execution, Input, Orchestrator, Output, Payload, Payloads, Turn, Turned,
};
use model::suspend::{Ask, InvokeMode, OpId, Resolution, Step, Until};
use model::{FailureKind, Timestamp, limits};
use support::{birth, bytes, failed, ok, used};

/// Keeps large payloads by a hash that counts.
#[derive(Default)]
struct Blobs(BTreeMap<[u8; 32], Vec<u8>>);

impl Payloads for Blobs {
    type Error = Infallible;

    fn load(&mut self, payload: &Payload) -> Result<Vec<u8>, Infallible> {
        Ok(match payload {
            Payload::Inline(bytes) => bytes.clone(),
            Payload::Stored { hash, .. } => self.0[hash].clone(),
        })
    }

    fn keep(&mut self, bytes: Vec<u8>, inline_max: usize) -> Result<Payload, Infallible> {
        if bytes.len() <= inline_max {
            return Ok(Payload::Inline(bytes));
        }
        let mut hash = [0; 32];
        hash[0] = u8::try_from(self.0.len()).expect("few");
        let len = bytes.len() as u64;
        self.0.insert(hash, bytes);
        Ok(Payload::Stored { hash, len })
    }
}

struct Runner {
    exe: Execution,
    blobs: Blobs,
    orchestrator: Box<dyn Orchestrator>,
}

impl Runner {
    fn start(orchestrator: impl Orchestrator + 'static, birth: Birth) -> (Self, Vec<Output>) {
        let mut out = Vec::new();
        let exe = Execution::start(Timestamp(0), birth, &mut out);
        let orchestrator = Box::new(orchestrator);
        let mut new = Self { exe, blobs: Blobs::default(), orchestrator };
        new.run(&mut out);
        (new, out)
    }

    fn run(&mut self, out: &mut Vec<Output>) {
        let orchestrator = &*self.orchestrator;
        let done =
            engine::run_turns(&mut self.exe, orchestrator, &mut self.blobs, Timestamp(0), out);
        match done {
            Ok(()) => {}
            Err(never) => match never {},
        }
        let is_turn = |output: &Output| matches!(output, Output::Effect(Effect::RunTurn { .. }));
        assert!(!out.iter().any(is_turn) && self.exe.turn().is_none(), "no turn is left");
    }

    fn answer(&mut self, call: &engine::Call, resolution: Resolution<Payload>) -> Vec<Output> {
        let mut out = Vec::new();
        let (op, id) = (call.op, call.id);
        let input = Input::Resolved { op, id, resolution, used: used(1) };
        let verdict = self.exe.step(Timestamp(0), input, &mut out);
        assert_eq!(verdict, engine::Verdict::Applied);
        self.run(&mut out);
        out
    }
}

fn call_in(out: &[Output]) -> engine::Call {
    let calls = out.iter().filter_map(|output| match output {
        Output::Effect(Effect::Invoke(call)) => Some(call.clone()),
        _ => None,
    });
    let calls: Vec<_> = calls.collect();
    assert_eq!(calls.len(), 1, "{out:?}");
    calls[0].clone()
}

fn sequence(names: &[&str]) -> Sequence {
    Sequence::new(names.iter().map(|name| (*name).to_owned()).collect()).expect("a sequence")
}

#[test]
fn each_output_is_the_next_input() {
    let (mut runner, out) = Runner::start(sequence(&["a", "b:2", "c"]), birth());
    let a = call_in(&out);
    assert_eq!((&*a.function, &a.payload), ("a", &bytes("in")));
    let large = vec![7; limits::PAYLOAD_INLINE_BYTES_MAX + 1];
    let stored = runner.blobs.keep(large.clone(), 10).expect("it never fails");
    let b = call_in(&runner.answer(&a, Resolution::Ok(stored)));
    assert_eq!(&*b.function, "b:2");
    assert_eq!(runner.blobs.load(&b.payload), Ok(large), "a large one goes through by reference");
    let c = call_in(&runner.answer(&b, ok("two")));
    assert_eq!((&*c.function, &c.payload), ("c", &bytes("two")));
    let out = runner.answer(&c, ok("three"));
    assert!(out.contains(&Output::Ended { outcome: Ok(bytes("three")) }), "{out:?}");
    assert_eq!(runner.exe.account().own.transitions, 4);
    assert_eq!(runner.exe.account().below.amount.0, 3);
}

#[test]
fn a_failure_ends_it_and_a_redrive_goes_on_there() {
    let (mut runner, out) = Runner::start(sequence(&["a", "b"]), birth());
    let b = call_in(&runner.answer(&call_in(&out), ok("one")));
    runner.answer(&b, failed("broken"));
    let (_, outcome) = runner.exe.outcome().expect("it ended");
    assert_eq!(outcome.as_ref().map_err(|f| &*f.message), Err("broken"));
    let ask = model::suspend::Ask::Invoke {
        function: "b".to_owned(),
        class: None,
        payload: bytes("one"),
        mode: model::suspend::InvokeMode::Wait,
    };
    let mut out = Vec::new();
    let asks = vec![(OpId(2), ask)];
    let verdict =
        runner.exe.step(Timestamp(0), Input::Redrive { reason: String::new(), asks }, &mut out);
    assert_eq!(verdict, engine::Verdict::Applied);
    runner.run(&mut out);
    let again = call_in(&out);
    assert_eq!((&*again.function, &again.payload), ("b", &bytes("one")), "a is not called again");
    let out = runner.answer(&again, ok("two"));
    assert!(out.contains(&Output::Ended { outcome: Ok(bytes("two")) }));
}

#[test]
fn functions_that_are_no_sequence_are_named() {
    let wrong = Sequence::new(vec!["a".to_owned(), "b c".to_owned(), "d:0".to_owned()]);
    let told: Vec<String> = wrong.expect_err("wrong").iter().map(ToString::to_string).collect();
    let expected = [
        "function 1: \"b c\" is not `name` or `name:version`",
        "function 2: \"d:0\" is not `name` or `name:version`",
    ];
    assert_eq!(told, expected);
    assert_eq!(Sequence::new(Vec::new()), Err(vec![SequenceError::Size(0)]));
    let many = vec!["a".to_owned(); limits::SEQUENCE_STEPS_MAX + 1];
    assert_eq!(Sequence::new(many), Err(vec![SequenceError::Size(1_001)]));
}

/// An interpreter that never waits.
struct Restless;

impl Orchestrator for Restless {
    fn turn(&self, _: &Turn<'_>) -> Turned {
        let until = Until::All(Vec::new());
        Turned::new(
            Vec::new(),
            Step::Wait { asks: Vec::new(), drops: Vec::new(), until, status: None },
        )
    }
}

#[test]
fn an_interpreter_that_never_waits_is_stopped() {
    let (runner, _) = Runner::start(Restless, birth());
    let (_, outcome) = runner.exe.outcome().expect("it ended");
    assert_eq!(outcome.as_ref().map_err(|f| f.kind), Err(FailureKind::BadResponse));
}

/// An interpreter that calls three functions at once, and ends when it has seen all of their ends.
struct Three;

impl Orchestrator for Three {
    fn turn(&self, turn: &Turn<'_>) -> Turned {
        let Some(state) = turn.state else {
            let call = |op| {
                let (function, payload, mode) = ("f".to_owned(), Vec::new(), InvokeMode::Wait);
                (OpId(op), Ask::Invoke { function, class: None, payload, mode })
            };
            return wait(Vec::new(), (1..=3).map(call).collect());
        };
        let seen = turn.resolved.iter().map(|(op, _)| u8::try_from(op.0).expect("three"));
        let state: Vec<u8> = state.iter().copied().chain(seen).collect();
        if state.len() == 3 {
            return Turned::new(Vec::new(), Step::Done(state));
        }
        wait(state, Vec::new())
    }
}

fn wait(state: Vec<u8>, asks: Vec<(OpId, Ask)>) -> Turned {
    let step = Step::Wait { asks, drops: Vec::new(), until: Until::Next, status: None };
    Turned::new(state, step)
}

/// Three calls under way, of which these have ended, in that order, and no turn has run since.
fn three(ended: &[usize]) -> (Runner, Vec<Output>) {
    let (mut runner, out) = Runner::start(Three, birth());
    let calls = out.iter().filter_map(|output| match output {
        Output::Effect(Effect::Invoke(call)) => Some((call.op, call.id)),
        _ => None,
    });
    let calls: Vec<_> = calls.collect();
    let mut out = Vec::new();
    for (op, id) in ended.iter().map(|place| calls[*place]) {
        let input = Input::Resolved { op, id, resolution: ok("x"), used: used(1) };
        assert_eq!(runner.exe.step(Timestamp(0), input, &mut out), engine::Verdict::Applied);
    }
    (runner, out)
}

#[test]
fn ends_that_came_together_are_given_to_one_turn_in_their_order() {
    let (mut runner, mut out) = three(&[2, 0, 1]);
    runner.run(&mut out);
    let ended = Output::Ended { outcome: Ok(Payload::Inline(vec![3, 1, 2])) };
    assert!(out.contains(&ended), "{out:?}");
    assert_eq!(runner.exe.account().own.transitions, 2, "the first turn, and one for all");
    assert_eq!(runner.exe.account().below.amount.0, 3);
}

#[test]
fn an_execution_that_is_stopped_over_a_turn_s_head_leaves_none_behind() {
    let (mut runner, mut out) = three(&[0]);
    let cancel = Input::Cancel { reason: "enough".to_owned() };
    assert_eq!(runner.exe.step(Timestamp(0), cancel, &mut out), engine::Verdict::Applied);
    runner.run(&mut out);
    let of_turns = |output: &Output| match output {
        Output::Effect(effect) => matches!(effect, Effect::CancelTurn { .. }),
        Output::Settled(key) => *key == engine::output::TURN_KEY,
        _ => false,
    };
    assert!(!out.iter().any(of_turns), "{out:?}");
    assert_eq!(runner.exe.waits(), "what it cancelled", "the calls under way");
    assert_eq!(runner.exe.status(), engine::Status::Cancelled);
}
