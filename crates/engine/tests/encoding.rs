//! What is kept can be read for ever, and what cannot be read is refused.

mod support;

use std::path::PathBuf;

use engine::{DecodeError, Effect, Event, Execution, Input, Payload, Record, TokenAnswer};
use model::suspend::{InvokeMode, Step, Until};
use model::{Failure, FailureKind, Timestamp};
use proptest::prelude::{ProptestConfig, any as arbitrary, prop, proptest};
use support::*;

/// Executions in every phase, with everything that a state can hold.
fn samples() -> Vec<(&'static str, Rig)> {
    let mut waiting = Rig::new();
    let _ = waiting.signal("kept", 7, "hello");
    waiting.turn(wait(
        vec![
            (1, call("charge")),
            (2, invoke("mail:3", InvokeMode::Detach)),
            (3, timer(500)),
            (4, signal("approved")),
            (5, token(Some(30))),
            (6, call("stock")),
            (9, call("gone")),
        ],
        any(&[3, 4]),
    ));
    let _ = waiting.answer(6, failed("none left"));
    let _ = waiting.answer(9, ok("unseen"));
    waiting.applied(Input::SetStatus { status: b"half way".to_vec() });
    waiting.applied(Input::Pause { reason: "for lunch".to_owned() });

    let mut running = Rig::born(engine::Birth { parent: Some(parent()), ..birth() });
    let early = TokenAnswer::Ended(Err(Failure::new(FailureKind::Handler, "no")));
    let _ = running.token(2, early);
    running.turn(wait(vec![(1, call("a")), (2, token(None)), (3, token(None))], Until::Next));
    running.turn(drop_and_wait(vec![(4, call("b"))], &[1, 3], all(&[4])));
    let large = Payload::Stored { hash: [5; 32], len: 1 << 40 };
    let _ = running.answer(4, model::suspend::Resolution::Ok(large));

    let mut failed_one = Rig::new();
    failed_one.turn(wait(vec![(1, call("a")), (2, call("b")), (3, timer(9))], any(&[1])));
    let _ = failed_one.answer(1, failed("broken"));
    failed_one.turn(Step::Failed(Failure::new(FailureKind::Handler, "gave up")));
    let _ = failed_one.answer(2, failed("stopped"));

    let mut again = Rig::new();
    again.turn(wait(vec![(1, call("a")), (2, signal("s"))], any(&[2])));
    let _ = again.signal("s", 1, "");
    again.turn(Step::Again(bytes("second life")));

    let mut done = Rig::born(engine::Birth { parent: Some(parent()), ..birth() });
    done.turn(Step::Done(bytes("done")));

    vec![
        ("waiting", waiting),
        ("running", running),
        ("failed", failed_one),
        ("again", again),
        ("done", done),
    ]
}

fn parent() -> engine::Parent {
    let id = model::InvocationId(birth().id.0);
    engine::Parent { execution: model::ExecutionId(5), op: model::suspend::OpId(8), id }
}

/// Compares with what an earlier version wrote; `UPDATE_EXPECT=1` writes what is missing, and never
/// touches what is there.
#[track_caller]
fn check_golden(file: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if !path.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        std::fs::write(&path, bytes).expect("write the golden file");
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    assert!(golden == bytes, "{file}: the format changed without a new number");
}

#[test]
fn what_earlier_formats_wrote_is_still_read() {
    for (name, rig) in samples() {
        for format in 1..engine::FORMAT {
            let file = format!("tests/golden/execution-{format}-{name}.bin");
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
            let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert_eq!(Execution::decode(&golden).as_ref(), Ok(&rig.exe), "{format}: {name}");
        }
    }
}

#[test]
fn what_this_format_wrote_is_still_read_and_written() {
    for (name, rig) in samples() {
        check_golden(&format!("execution-{}-{name}.bin", engine::FORMAT), &rig.exe.encode());
        let history: Vec<u8> = rig.history.iter().flat_map(|r| framed(&r.encode())).collect();
        check_golden(&format!("history-{}-{name}.bin", engine::history::FORMAT), &history);
        let outbox: Vec<u8> = rig.outbox.values().flat_map(|e| framed(&e.encode())).collect();
        check_golden(&format!("outbox-1-{name}.bin"), &outbox);
    }
}

#[test]
fn histories_of_earlier_formats_are_still_read() {
    for (name, rig) in samples() {
        let file = format!("tests/golden/history-1-{name}.bin");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let mut rest = &golden[..];
        for record in &rig.history {
            let (len, after) = rest.split_first_chunk::<4>().expect("a length");
            let len = usize::try_from(u32::from_le_bytes(*len)).expect("short");
            let (bytes, after) = after.split_at(len);
            assert_eq!(Record::decode(bytes).as_ref(), Ok(record), "{name}");
            rest = after;
        }
        assert!(rest.is_empty(), "{name}");
    }
    // What was resumed and redriven before reasons were kept: number, time, event.
    let resumed =
        Record { seq: 2, at: Timestamp(3), event: Event::Resumed { reason: String::new() } };
    assert_eq!(Record::decode(&[1, 2, 3, 12]), Ok(resumed));
    let event = Event::Redriven { calls: 4, reason: String::new() };
    assert_eq!(Record::decode(&[1, 2, 3, 13, 4]), Ok(Record { seq: 2, at: Timestamp(3), event }));
    let event = Event::Redriven { calls: 4, reason: "x".to_owned() };
    let record = Record { seq: 2, at: Timestamp(3), event };
    assert_eq!(Record::decode(&record.encode()), Ok(record));
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("short");
    [&len.to_le_bytes(), bytes].concat()
}

#[test]
fn a_newer_format_is_told() {
    let mut bytes = Rig::new().exe.encode();
    bytes[0] = engine::FORMAT + 1;
    let newer = DecodeError::Newer { format: engine::FORMAT + 1 };
    assert_eq!(Execution::decode(&bytes), Err(newer));
    assert_eq!(newer.to_string(), "written in the newer format 5");
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    for (name, rig) in samples() {
        let mut bytes = rig.exe.encode();
        for len in 0..bytes.len() {
            let cut = Execution::decode(&bytes[..len]);
            assert!(matches!(cut, Err(DecodeError::Malformed { .. })), "{name} cut to {len}");
        }
        bytes.push(0);
        assert!(Execution::decode(&bytes).is_err(), "{name} with a byte more");
    }
}

/// Reads bytes in every way. What can be read is whole: it can be written, and takes inputs.
fn read(bytes: &[u8]) {
    if let Ok(execution) = Execution::decode(bytes) {
        assert_eq!(Execution::decode(&execution.encode()).as_ref(), Ok(&execution));
        let _ = (execution.waits(), execution.deadline(), execution.open().count());
        let _ = (execution.turn(), execution.redrive_asks(), execution.inline_max());
    }
    if let Ok(record) = Record::decode(bytes) {
        let _ = record.event.reason();
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
    if let Ok(effect) = Effect::decode(bytes) {
        assert_eq!(Effect::decode(&effect.encode()), Ok(effect));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(arbitrary::<u8>(), 0..200)) {
        read(&bytes);
        read(&[&[1], &bytes[..]].concat());
        read(&[&[2], &bytes[..]].concat());
        read(&[&[3], &bytes[..]].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn damage_never_panics(
        which in 0_usize..5,
        damage in prop::collection::vec((arbitrary::<prop::sample::Index>(), arbitrary::<u8>()), 1..4),
    ) {
        let (_, rig) = &samples()[which];
        let records = rig.history.iter().map(Record::encode);
        let effects = rig.outbox.values().map(Effect::encode);
        for whole in std::iter::once(rig.exe.encode()).chain(records).chain(effects) {
            let mut bytes = whole.clone();
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            read(&bytes);
        }
    }
}

#[test]
fn the_asks_of_a_redrive_are_found_in_the_history() {
    let (_, rig) = samples().swap_remove(2);
    let asks = engine::history::asks_of(rig.history.iter(), &rig.exe.redrive_asks());
    assert_eq!(asks.iter().map(|(op, _)| op.0).collect::<Vec<_>>(), [1, 2]);
    let first = rig.history.iter().find(|r| matches!(r.event, Event::Asked { .. }));
    assert_eq!(first.map(|r| r.event.kind()), Some("asked"));
}
