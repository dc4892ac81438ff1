//! Durable functions in Python: CPython itself, which suspends while it reads its input.
//!
//! The interpreter is not part of the source (`cargo xtask python` makes it). Where it is missing,
//! these tests say so and do nothing.

#![expect(clippy::print_stdout, reason = "a test says that it was skipped")]

use std::path::PathBuf;

use model::suspend::{Ask, OpId, Resolution, Step, Until};
use model::{Failure, FailureKind};
use runtime::{Code, Ended, Finished};

use super::durable::{Execution, ok, text, turn};
use super::house::House;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/functions/python");

/// The interpreter, where it is there.
fn interpreter() -> Option<Vec<u8>> {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guest-tools/python/python.wasm");
    let path = std::env::var_os("FERMATA_PYTHON_WASM").map_or_else(|| usual.into(), PathBuf::from);
    let found = std::fs::read(&path).ok();
    if found.is_none() {
        println!("skipped: there is no {}; `cargo xtask python` makes it", path.display());
    }
    found
}

fn deploy(house: &House, interpreter: &[u8], source: &str) -> Code {
    let package = runtime::wasm::python(interpreter, source).unwrap();
    house.deploy_durable_package("python", &package).unwrap()
}

fn example(name: &str) -> String {
    std::fs::read_to_string(format!("{EXAMPLES}/{name}")).unwrap()
}

/// Calls are answered with their payload in capitals.
fn echo(ask: &Ask) -> Resolution {
    match ask {
        Ask::Invoke { payload, .. } => Resolution::Ok(payload.to_ascii_uppercase()),
        _ => ok(""),
    }
}

#[test]
fn python_goes_on_in_another_process_with_locals_and_heap_intact() {
    let Some(interpreter) = interpreter() else { return };
    let source = example("nested.py");
    let houses = [House::with_shared_programs(), House::with_shared_programs()];
    let houses = houses.map(|house| (deploy(&house, &interpreter, &source), house));
    let mut execution = Execution::new("unused", "2");
    let finished = execution.run_in(&houses, echo);
    assert_eq!(
        text(&finished),
        r#"{"sum": 2.25, "upper": ["SO", "IT", "GOES"], "sorted": ["SO", "IT", "GOES"], "levels": ["level 2:1:776:True", "level 1:2:1:True", "level 0:3:0:True"]}"#
    );
    // A sleep and a call at each of 3 levels, 3 words, 3 lengths, and the end.
    assert_eq!(execution.turns, 3 * 2 + 3 + 3 + 1);
}

#[test]
fn python_asks_for_what_its_author_wrote_and_gets_how_it_ended() {
    let Some(interpreter) = interpreter() else { return };
    let house = House::with_shared_programs();
    order_is_approved(&house, &deploy(&house, &interpreter, &example("order.py")));
    failures_are_raised(&house, &interpreter);
    nothing_is_waited_for(&house, &interpreter);
    what_goes_wrong_is_told(&house, &interpreter);
    chance_and_time_are_the_present_ones(&house, &interpreter);
    calls_nest_deep_in_python_and_less_deep_through_c(&house, &interpreter);
}

fn order_is_approved(house: &House, code: &Code) {
    let input = r#"{"order": 7, "items": ["lamp", "bulb"], "to": "Ada"}"#;
    let mut execution = Execution::new("unused", input);
    assert!(execution.next_in(house, code, Vec::new()).is_none());
    let [(OpId(1), Ask::Invoke { function, payload, .. })] = &*execution.asked else {
        panic!("{:?}", execution.asked);
    };
    assert_eq!((&**function, &**payload), ("charge", br#"{"order": 7}"#.as_slice()));
    assert_eq!(execution.status.as_deref(), Some(br#""charging""#.as_slice()));
    assert!(execution.next_in(house, code, vec![(OpId(1), ok(r#"{"paid": 5}"#))]).is_none());
    assert_eq!(execution.until, Until::Any(vec![OpId(2), OpId(3)]));
    assert!(execution.next_in(house, code, vec![(OpId(2), ok(r#"{"by": "Bob"}"#))]).is_none());
    let ids: Vec<OpId> = execution.asked.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [OpId(4), OpId(5)], "the timer was taken back");
    let parcels = vec![(OpId(5), ok("2")), (OpId(4), ok("1"))];
    let finished = execution.next_in(house, code, parcels).unwrap();
    let answer = r#"{"order": 7, "receipt": {"paid": 5}, "by": "Bob", "parcels": [1, 2]}"#;
    assert_eq!(text(&finished), answer);
}

fn failures_are_raised(house: &House, interpreter: &[u8]) {
    let code = deploy(
        house,
        interpreter,
        "import fermata\n\
         def handler(x):\n\
         \x20   try:\n\
         \x20       fermata.call('x', b'\\xff\\n')\n\
         \x20   except fermata.Failed as failure:\n\
         \x20       first = [failure.code, str(failure), failure.detail]\n\
         \x20   token = fermata.token(heartbeat=60)\n\
         \x20   fermata.set_status(token.token)\n\
         \x20   try:\n\
         \x20       return token.result()\n\
         \x20   except fermata.Refused as refused:\n\
         \x20       return first + [refused.code]\n",
    );
    let mut execution = Execution::new("unused", "");
    assert!(execution.next_in(house, &code, Vec::new()).is_none());
    assert!(
        matches!(&*execution.asked, [(_, Ask::Invoke { payload, .. })] if payload == b"\xff\n")
    );
    let mut failure = Failure::new(FailureKind::Handler, "out of lamps");
    failure.detail = Some(br#"{"lamps": 0}"#.to_vec());
    let failed = Resolution::Failed(failure);
    assert!(execution.next_in(house, &code, vec![(OpId(1), failed)]).is_none());
    assert_eq!(execution.status.as_deref(), Some(br#""token of 2""#.as_slice()));
    let refused = Resolution::Refused { code: "timed-out".into(), message: "late".into() };
    let finished = execution.next_in(house, &code, vec![(OpId(2), refused)]).unwrap();
    let answer = r#"["handler-error", "handler-error: out of lamps", {"lamps": 0}, "timed-out"]"#;
    assert_eq!(text(&finished), answer);
}

fn nothing_is_waited_for(house: &House, interpreter: &[u8]) {
    let code = deploy(house, interpreter, "def handler(x, fermata): print(x); return x['a'] + 1");
    let finished = first(house, &code, r#"{"a": 41}"#);
    assert_eq!(text(&finished), "42");
    assert_eq!(finished.logs.bytes, b"{'a': 41}\n");

    let source = "import fermata\ndef handler(x):\n    fermata.continue_as_new(x + 1)\n";
    let again = first(house, &deploy(house, interpreter, source), "3");
    let Ok(Ended::Suspended { step, .. }) = again.outcome else { panic!("{again:?}") };
    assert_eq!(step, Step::Again(b"4".to_vec()));
}

fn what_goes_wrong_is_told(house: &House, interpreter: &[u8]) {
    for (source, said) in [
        ("def handler(x):\n    return lamp\n", "NameError: name 'lamp' is not defined"),
        (
            "def handler(x):\n    return lamp\n",
            "function.py\", line 2, in handler\n    return lamp",
        ),
        ("def handler(x:\n", "SyntaxError"),
        ("lamp = 1\n", "the function exports no `handler`"),
        ("import fermata\ndef handler(x):\n    fermata.wait_any()\n", "StopIteration"),
        ("import fermata\ndef handler(x):\n    fermata.call('x' * 1000)\n", "malformed"),
        (
            "import fermata\ndef handler(x):\n    fermata.call('x', 'y' * (1 << 20))\n",
            "over the cap",
        ),
        (
            "import fermata\ndef handler(x):\n    fermata.call('x', 'y' * (1 << 21))\n",
            "over the cap",
        ),
    ] {
        let finished = first(house, &deploy(house, interpreter, source), "1");
        assert_eq!(finished.answer().unwrap_err().kind, FailureKind::Exited, "{source}");
        let log = String::from_utf8_lossy(&finished.logs.bytes).into_owned();
        assert!(log.contains(said), "{log}");
    }
}

/// Two runs of the same turn draw different numbers, from the platform and from `random`; and time
/// has passed.
fn chance_and_time_are_the_present_ones(house: &House, interpreter: &[u8]) {
    let code = deploy(
        house,
        interpreter,
        "import fermata, os, random, time, uuid\n\
         def handler(x):\n\
         \x20   random.seed(1)\n\
         \x20   before, since = time.time(), time.monotonic()\n\
         \x20   fermata.wait_signal('go')\n\
         \x20   token = fermata.token().token\n\
         \x20   passed = time.time() - before, time.monotonic() - since\n\
         \x20   chance = [os.urandom(8).hex(), random.random(), str(uuid.uuid4())]\n\
         \x20   return [all(0 < t < 1000 for t in passed), token, chance]\n",
    );
    let mut execution = Execution::new("unused", "1");
    assert!(execution.next_in(house, &code, Vec::new()).is_none());
    let image = execution.image.clone();
    let answers = [(); 2].map(|()| {
        let again = turn(image.clone(), vec![(OpId(1), ok(""))]);
        let finished = house.turn(&code, "1", again);
        serde_json::from_str::<serde_json::Value>(&text(&finished)).unwrap()
    });
    for answer in &answers {
        assert_eq!((&answer[0], &answer[1]), (&true.into(), &"token of 2".into()));
    }
    for place in 0..3 {
        assert_ne!(answers[0][2][place], answers[1][2][place], "{answers:?}");
    }
}

/// Each level of `through_c` takes of the interpreter's own C stack, which its builders made 64 KiB;
/// those of `plain` do not.
fn calls_nest_deep_in_python_and_less_deep_through_c(house: &House, interpreter: &[u8]) {
    let source = "import fermata\n\
                  def through_c(depth):\n\
                  \x20   if depth == 0:\n\
                  \x20       fermata.sleep(1)\n\
                  \x20       return 0\n\
                  \x20   return max(map(through_c, [depth - 1])) + 1\n\
                  def plain(depth):\n\
                  \x20   if depth == 0:\n\
                  \x20       fermata.sleep(1)\n\
                  \x20       return 0\n\
                  \x20   return plain(depth - 1) + 1\n\
                  def handler(x):\n\
                  \x20   return globals()[x[0]](x[1])\n";
    let code = deploy(house, interpreter, source);
    for (payload, answer) in [("[\"through_c\", 40]", "40"), ("[\"plain\", 900]", "900")] {
        let mut execution = Execution::new("unused", payload);
        assert!(execution.next_in(house, &code, Vec::new()).is_none());
        let finished = execution.next_in(house, &code, vec![(OpId(1), ok(""))]).unwrap();
        assert_eq!(text(&finished), answer);
    }
    let too_deep = [
        ("[\"through_c\", 500]", FailureKind::Trapped),
        ("[\"plain\", 2000]", FailureKind::Exited),
    ];
    for (payload, kind) in too_deep {
        let failure = first(house, &code, payload).answer().unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
    }
}

fn first(house: &House, code: &Code, payload: &str) -> Finished {
    house.turn(code, payload, turn(None, Vec::new()))
}
