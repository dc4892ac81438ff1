//! Functions that suspend: each turn in another executor, as in another process.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::suspend::{Ask, InvokeMode, OpId, Resolution, Step, Until};
use model::{Failure, FailureKind};
use runtime::wasm::WasmOptions;
use runtime::{Code, DurableTurn, Ended, Executor as _, Finished};

use super::house::House;

/// An execution whose turns each run in another executor than the one before.
pub(crate) struct Execution {
    guest: &'static str,
    payload: String,
    pub(crate) image: Option<Bytes>,
    /// What was asked for and has not ended.
    pub(crate) asked: Vec<(OpId, Ask)>,
    pub(crate) until: Until,
    pub(crate) status: Option<Vec<u8>>,
    pub(crate) turns: usize,
}

pub(crate) fn turn(image: Option<Bytes>, resolved: Vec<(OpId, Resolution)>) -> DurableTurn {
    DurableTurn { image, resolved, token: Arc::new(|OpId(op)| format!("token of {op}")) }
}

pub(crate) fn ok(text: &str) -> Resolution {
    Resolution::Ok(text.into())
}

impl Execution {
    pub(crate) fn new(guest: &'static str, payload: &str) -> Self {
        Self {
            guest,
            payload: payload.into(),
            image: None,
            asked: Vec::new(),
            until: Until::Next,
            status: None,
            turns: 0,
        }
    }

    /// One turn in a new executor, which compiles the module anew.
    #[track_caller]
    pub(crate) fn next(&mut self, resolved: Vec<(OpId, Resolution)>) -> Option<Finished> {
        let house = House::new();
        let code = house.deploy_durable(self.guest);
        self.next_in(&house, &code, resolved)
    }

    /// The end, or none where it suspended.
    #[track_caller]
    pub(crate) fn next_in(
        &mut self,
        house: &House,
        code: &Code,
        resolved: Vec<(OpId, Resolution)>,
    ) -> Option<Finished> {
        self.asked.retain(|(id, _)| resolved.iter().all(|(other, _)| other != id));
        self.turns += 1;
        let turn = turn(self.image.take(), resolved);
        let finished = house.turn(code, &self.payload, turn);
        match &finished.outcome {
            Ok(Ended::Suspended { step: Step::Wait { asks, drops, until, status }, image }) => {
                self.image = Some(image.clone());
                self.asked.extend(asks.iter().cloned());
                self.asked.retain(|(id, _)| !drops.contains(id));
                self.until = until.clone();
                self.status.clone_from(status);
                None
            }
            _ => Some(finished),
        }
    }

    /// Until it ends, each turn in the executor that did not run the one before; `answer` says how
    /// each thing that it asked for ends.
    #[track_caller]
    pub(crate) fn run(&mut self, answer: impl Fn(&Ask) -> Resolution) -> Finished {
        let houses = [House::new(), House::new()];
        self.run_in(&houses.map(|house| (house.deploy_durable(self.guest), house)), answer)
    }

    /// The same with code that is deployed already.
    #[track_caller]
    pub(crate) fn run_in(
        &mut self,
        houses: &[(Code, House)],
        answer: impl Fn(&Ask) -> Resolution,
    ) -> Finished {
        let mut resolved = Vec::new();
        for (code, house) in houses.iter().cycle() {
            if let Some(finished) = self.next_in(house, code, resolved) {
                return finished;
            }
            let ids = match &self.until {
                Until::Any(ids) | Until::All(ids) => ids.clone(),
                Until::Next => self.asked.iter().map(|(id, _)| *id).collect(),
            };
            let open = self.asked.iter().filter(|(id, _)| ids.contains(id));
            resolved = open.map(|(id, ask)| (*id, answer(ask))).collect();
            assert!(!resolved.is_empty(), "it waits for nothing: {:?}", self.until);
        }
        unreachable!("the executors are used in turn for ever")
    }
}

pub(crate) fn text(finished: &Finished) -> String {
    String::from_utf8(finished.answer().unwrap().to_vec()).unwrap()
}

fn nothing(_: &Ask) -> Resolution {
    ok("")
}

#[test]
fn a_call_at_any_depth_goes_on_in_another_executor_with_locals_and_heap_intact() {
    let house = House::new();
    let plain = house.deploy("nested");
    for depth in ["0", "3", "14"] {
        let expected = house.answer(&plain, format!("{depth} dry"));
        let mut execution = Execution::new("nested", depth);
        assert_eq!(text(&execution.run(nothing)), expected);
        let sleeps = 1 + (depth.parse::<usize>().unwrap() + 1) / 4;
        assert_eq!(execution.turns, sleeps + 1);
    }
}

#[test]
fn what_a_turn_asks_for_is_what_the_guest_said() {
    let mut execution = Execution::new("order", "three lamps");
    assert!(execution.next(Vec::new()).is_none());
    let charge = Ask::Invoke {
        function: "charge".into(),
        class: None,
        payload: b"three lamps".to_vec(),
        mode: InvokeMode::Wait,
    };
    assert_eq!(execution.asked, [(OpId(1), charge)]);
    assert_eq!(execution.until, Until::Any(vec![OpId(1)]));
    assert_eq!(execution.status.as_deref(), Some(b"charging".as_slice()));

    assert!(execution.next(vec![(OpId(1), ok("receipt 7"))]).is_none());
    let [(OpId(2), Ask::Signal { name }), (OpId(3), Ask::Timer { .. })] = &*execution.asked else {
        panic!("{:?}", execution.asked);
    };
    assert_eq!(name, "approval");
    assert_eq!(execution.until, Until::Any(vec![OpId(2), OpId(3)]));

    assert!(execution.next(vec![(OpId(2), ok("Ada"))]).is_none());
    assert_eq!(execution.asked.len(), 1, "the timer was dropped: {:?}", execution.asked);
    let finished = execution.next(vec![(OpId(4), ok("parcel 9"))]).unwrap();
    assert_eq!(text(&finished), "three lamps: receipt 7, approved by Ada, parcel 9");
}

#[test]
fn a_race_that_the_timer_wins_and_a_callee_that_fails_are_seen() {
    let mut execution = Execution::new("order", "a lamp");
    execution.next(Vec::new());
    execution.next(vec![(OpId(1), ok("receipt"))]);
    assert!(execution.next(vec![(OpId(3), ok(""))]).is_none());
    let refused = Resolution::Refused { code: "not-found".into(), message: "no refund".into() };
    let finished = execution.next(vec![(OpId(4), refused)]).unwrap();
    assert_eq!(text(&finished), "expired; refund failed: not-found\nno refund\n");

    let mut execution = Execution::new("order", "a lamp");
    execution.next(Vec::new());
    let failed = Resolution::Failed(Failure::new(FailureKind::TimedOut, "too slow"));
    let finished = execution.next(vec![(OpId(1), failed)]).unwrap();
    assert_eq!(text(&finished), "charge failed: timed-out\ntoo slow\n");
}

#[test]
fn a_function_that_waits_between_calls_sees_all_that_ended() {
    let mut execution = Execution::new("fanout", "one two three");
    assert!(execution.next(Vec::new()).is_none());
    assert_eq!((execution.asked.len(), &execution.until), (3, &Until::Next));
    assert!(execution.next(vec![(OpId(2), ok("TWO"))]).is_none());
    assert!(execution.next(Vec::new()).is_none(), "woken for nothing, it waits again");
    let failed = Resolution::Failed(Failure::new(FailureKind::Handler, "no"));
    let finished = execution.next(vec![(OpId(3), failed), (OpId(1), ok("ONE"))]).unwrap();
    assert_eq!(text(&finished), "TWO handler-error! ONE".replace('!', "!no\n"));
}

#[test]
fn a_function_that_is_not_durable_is_told_so() {
    let house = House::new();
    for guest in ["nested", "order", "fanout"] {
        let failure = house.failure(&house.deploy(guest), "1 2");
        assert_eq!(failure.kind, FailureKind::Trapped);
        let cure = "the function is not durable; deploy it with --durable";
        assert!(failure.message.contains(cure), "{failure:?}");
    }
}

#[test]
fn a_stack_larger_than_its_room_is_a_failure_that_says_what_to_do() {
    let mut execution = Execution::new("nested", "5000");
    let failure = execution.next(Vec::new()).unwrap().answer().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Trapped);
    let cure = "does not fit into the 65536 bytes that fermata_frames names: make them more";
    assert!(failure.message.contains(cure), "{failure:?}");
}

#[test]
fn a_turn_can_be_preempted_and_suspends_afterwards() {
    let house = House::new();
    let code = house.deploy_durable("nested");
    let id = house.start_as(&code, "30", Some(turn(None, Vec::new())));
    for _ in 0..20 {
        house.executor.preempt(id);
        house.executor.resume(id);
    }
    let finished = house.finished(id);
    assert!(matches!(finished.outcome, Ok(Ended::Suspended { .. })), "{finished:?}");
}

#[test]
fn it_goes_on_in_other_processes() {
    const DIRECTORY: &str = "FERMATA_TEST_TURN";
    let step = |image: Option<Bytes>, resolved| {
        let house = House::new();
        let mut execution = Execution { image, ..Execution::new("nested", "9") };
        let finished = execution.next_in(&house, &house.deploy_durable("nested"), resolved);
        (execution, finished)
    };
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // The other process: one turn from a file to a file.
        let directory = std::path::Path::new(&directory);
        let op = OpId(std::fs::read_to_string(directory.join("op")).unwrap().parse().unwrap());
        let image = std::fs::read(directory.join("image")).unwrap();
        let (execution, finished) = step(Some(image.into()), vec![(op, ok(""))]);
        match finished {
            Some(finished) => std::fs::write(directory.join("answer"), text(&finished)).unwrap(),
            None => {
                std::fs::write(directory.join("image"), execution.image.unwrap()).unwrap();
                std::fs::write(directory.join("op"), execution.asked[0].0.0.to_string()).unwrap();
            }
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (execution, _) = step(None, Vec::new());
    std::fs::write(directory.path().join("image"), execution.image.unwrap()).unwrap();
    std::fs::write(directory.path().join("op"), execution.asked[0].0.0.to_string()).unwrap();
    for _ in 0..3 {
        assert!(!directory.path().join("answer").exists());
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "durable::it_goes_on_in_other_processes"]);
        assert!(other.env(DIRECTORY, directory.path()).output().unwrap().status.success());
    }
    let answer = std::fs::read_to_string(directory.path().join("answer")).unwrap();
    let house = House::new();
    assert_eq!(answer, house.answer(&house.deploy("nested"), "9 dry"));
}

#[test]
fn an_image_is_small_and_a_timer_is_due_when_it_was_asked_for() {
    let mut execution = Execution::new("nested", "30");
    execution.next(Vec::new());
    let bytes = execution.image.unwrap().len();
    assert!(bytes < 16 << 10, "{bytes}");
    assert_eq!(execution.asked.len(), 1);
    let Ask::Timer { at } = execution.asked[0].1 else { panic!("{:?}", execution.asked) };
    let now = runtime::Clock::new().now();
    assert!(at > now && at.since(now) <= Duration::from_secs(1));
}

#[test]
fn changed_memory_up_to_the_limit_is_kept_and_more_is_a_failure() {
    // Some 40 KiB are the C library's and the stack's.
    let options =
        |image_bytes_max| WasmOptions { image_bytes_max, pool_slots: 4, ..Default::default() };
    let house = House::with(options(1100 << 10));
    let code = house.deploy_durable("touched");
    let mut execution = Execution::new("touched", "1024 random");
    assert!(execution.next_in(&house, &code, Vec::new()).is_none());
    let house = House::with(options(1 << 20));
    let code = house.deploy_durable("touched");
    let mut execution = Execution::new("touched", "1024 random");
    let failure = execution.next_in(&house, &code, Vec::new()).unwrap().answer().unwrap_err();
    assert_eq!(failure.kind, FailureKind::OutOfMemory);
    assert!(failure.message.contains("(limit 1048576)"), "{failure:?}");
}

/// What was printed and not flushed before a wait is there after it, once; chance and time are the
/// present ones, in each run of the same turn.
#[test]
fn after_a_wait_chance_and_time_are_the_present_ones_and_nothing_had_to_be_flushed() {
    let house = House::new();
    let code = house.deploy_durable("renewed");
    let mut execution = Execution::new("renewed", "");
    assert!(execution.next_in(&house, &code, Vec::new()).is_none());
    let image = execution.image.clone();
    let answers = [(); 2].map(|()| {
        let again = turn(image.clone(), vec![(OpId(1), ok(""))]);
        text(&house.turn(&code, "", again))
    });
    let words = answers.each_ref().map(|answer| answer.split(' ').collect::<Vec<_>>());
    for answer in &words {
        let ["before", "after", real, monotonic, _, "token", "of", "2"] = answer[..] else {
            panic!("{answers:?}");
        };
        for passed in [real, monotonic] {
            let passed: i64 = passed.parse().unwrap();
            assert!(passed > 0 && passed < 1_000_000_000_000, "{answers:?}");
        }
    }
    assert_ne!(words[0][4], words[1][4], "random bytes");
    assert_ne!(words[0][2], words[1][2], "time");
}

#[test]
fn what_a_turn_held_is_known_however_short_it_was() {
    let house = House::with(WasmOptions { pool_slots: 4, ..Default::default() });
    let code = house.deploy_durable("touched");
    for _ in 0..5 {
        let finished = house.turn(&code, "1024 random", turn(None, Vec::new()));
        assert!(matches!(finished.outcome, Ok(Ended::Suspended { .. })), "{finished:?}");
        assert!(finished.memory_peak.0 >= 1 << 20, "{finished:?}");
    }
}
