//! The same in other languages than C.

use model::suspend::{Ask, OpId, Resolution, Until};
use model::{Failure, FailureKind};

use super::durable::{Execution, ok, text, turn};
use super::house::House;

/// Calls are answered with their payload in capitals.
fn echo(ask: &Ask) -> Resolution {
    match ask {
        Ask::Invoke { payload, .. } => Resolution::Ok(payload.to_ascii_uppercase()),
        _ => ok(""),
    }
}

#[test]
fn javascript_awaits_at_any_depth_and_its_heap_stays() {
    let mut execution = Execution::new("nested.js", "2");
    let finished = execution.run(echo);
    assert_eq!(
        text(&finished),
        r#"{"sum":2.25,"upper":["SO","IT","GOES"],"levels":["level 2:1:776:true","level 1:2:1:true","level 0:3:0:true"]}"#
    );
    assert_eq!(execution.turns, 3 * 2 + 3 + 1);
}

#[test]
fn javascript_races_fans_out_and_cancels() {
    let input = r#"{"order": 7, "items": ["lamp", "bulb"], "to": "Ada"}"#;
    let mut execution = Execution::new("order.js", input);
    assert!(execution.next(Vec::new()).is_none());
    let [(OpId(1), Ask::Invoke { function, payload, .. })] = &*execution.asked else {
        panic!("{:?}", execution.asked);
    };
    assert_eq!((&**function, &**payload), ("charge", br#"{"order":7}"#.as_slice()));
    assert_eq!(execution.until, Until::Next);
    assert!(execution.next(vec![(OpId(1), ok(r#"{"paid":5}"#))]).is_none());
    assert_eq!(execution.status.as_deref(), Some(b"waiting for approval".as_slice()));
    assert!(execution.next(vec![(OpId(2), ok(r#"{"by":"Bob"}"#))]).is_none());
    let ids: Vec<OpId> = execution.asked.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [OpId(4), OpId(5)], "the timer was taken back");
    assert!(execution.next(vec![(OpId(5), ok("2"))]).is_none());
    let finished = execution.next(vec![(OpId(4), ok("1"))]).unwrap();
    let answer = r#"{"order":7,"receipt":{"paid":5},"by":"Bob","parcels":[1,2]}"#;
    assert_eq!(text(&finished), answer);
}

/// A JavaScript function's first turn.
fn javascript(source: &str, payload: &str) -> runtime::Finished {
    let house = House::new();
    let package = runtime::wasm::javascript(source).unwrap();
    let code = house.deploy_durable_package("js", &package).unwrap();
    house.turn(&code, payload, turn(None, Vec::new()))
}

#[test]
fn javascript_that_fails_says_where() {
    let check = |source: &str, said: &str| {
        let finished = javascript(source, "{}");
        assert_eq!(finished.answer().unwrap_err().kind, FailureKind::Exited);
        let log = String::from_utf8_lossy(&finished.logs.bytes).into_owned();
        assert!(log.contains(said), "{log}");
    };
    check("export default async () => { await null; undefined.lamp }", "function.js:1");
    check("export default () => new Promise(() => {})", "nothing will bring about");
    check("export const lamp = 1;", "no function as default");
    check("export default (", "SyntaxError");
}

#[test]
fn javascript_catches_the_failure_of_a_callee() {
    let house = House::new();
    let source = "export default async () => {
        try { await fermata.call('x') } catch (e) { return [e.code, e.message, e.detail] }
    }";
    let package = runtime::wasm::javascript(source).unwrap();
    let code = house.deploy_durable_package("js", &package).unwrap();
    let mut execution = Execution::new("unused", "");
    assert!(execution.next_in(&house, &code, Vec::new()).is_none());
    let mut failure = Failure::new(FailureKind::Handler, "out of lamps");
    failure.detail = Some(br#"{"lamps":0}"#.to_vec());
    let ended = vec![(OpId(1), Resolution::Failed(failure))];
    let finished = execution.next_in(&house, &code, ended).unwrap();
    assert_eq!(text(&finished), r#"["handler-error","out of lamps",{"lamps":0}]"#);
}

#[test]
fn javascript_that_waits_for_nothing_answers_at_once_and_last_wishes_come_first() {
    let finished = javascript("export default (x) => x.a + 1", r#"{"a":41}"#);
    assert_eq!(text(&finished), "42");

    let house = House::new();
    let source = "export default (x) => { fermata.callDetached('y', x); return 1 }";
    let package = runtime::wasm::javascript(source).unwrap();
    let code = house.deploy_durable_package("js", &package).unwrap();
    let mut execution = Execution::new("unused", "3");
    assert!(execution.next_in(&house, &code, Vec::new()).is_none());
    assert!(matches!(&*execution.asked, [(OpId(1), Ask::Invoke { .. })]));
    assert_eq!(execution.until, Until::All(vec![OpId(1)]));
    let finished = execution.next_in(&house, &code, vec![(OpId(1), ok("inv_1"))]).unwrap();
    assert_eq!(text(&finished), "1");
}

#[test]
fn javascript_finds_the_present_chance_time_and_tokens_after_a_wait() {
    let house = House::new();
    let source = "export default async () => {
        Math.random(); const since = Date.now(); await fermata.signal('go');
        return [Date.now() - since, Math.random(), fermata.token().text];
    }";
    let package = runtime::wasm::javascript(source).unwrap();
    let code = house.deploy_durable_package("js", &package).unwrap();
    let mut execution = Execution::new("unused", "1");
    assert!(execution.next_in(&house, &code, Vec::new()).is_none());
    let image = execution.image.clone();
    let answers = [(); 2].map(|()| {
        let again = turn(image.clone(), vec![(OpId(1), ok(""))]);
        let finished = house.turn(&code, "1", again);
        serde_json::from_str::<serde_json::Value>(&text(&finished)).unwrap()
    });
    for answer in &answers {
        assert!(answer[0].as_f64().is_some_and(|passed| (0.0..1e6).contains(&passed)), "{answer}");
        assert_eq!(answer[2], "token of 2");
    }
    assert_ne!(answers[0][1], answers[1][1], "random numbers");
}

#[test]
fn rust_futures_wait_between_calls_and_what_they_own_stays() {
    let book = |ask: &Ask| match ask {
        Ask::Invoke { payload, .. } => Resolution::Ok([b"t-", &**payload].concat()),
        Ask::Signal { .. } => ok("Ada"),
        _ => ok(""),
    };
    // The signal and the timer end at the same time, so the first of the two is taken.
    let mut execution = Execution::new("journey", "train ship mule");
    let finished = execution.run(book);
    let answer = "train=t-train, ship=t-ship, mule=t-mule; confirmed by Ada; 23.75";
    assert_eq!((text(&finished).as_str(), execution.turns), (answer, 5));
}

#[test]
fn rust_undoes_what_it_booked_where_a_later_leg_fails_twice() {
    let mut execution = Execution::new("journey", "train ship mule");
    let finished = execution.run(|ask| match ask {
        Ask::Invoke { payload, .. } if payload == b"mule" => {
            Resolution::Failed(Failure::new(FailureKind::Handler, "tired"))
        }
        Ask::Invoke { payload, .. } => Resolution::Ok(payload.clone()),
        _ => ok(""),
    });
    assert_eq!(text(&finished), "mule failed (tired); undone: ship, train");
    assert_eq!(execution.turns, 2 + 3 + 2 + 1);
}

#[test]
fn assemblyscript_waits_in_the_middle_of_a_call() {
    let mut execution = Execution::new("review", "so it goes");
    let finished = execution.run(echo);
    assert_eq!(text(&finished), "so:SO it:IT goes:GOES 23.0 SO-IT-GOES");
    assert_eq!(execution.turns, 5);
    let mut execution = Execution::new("review", "so");
    let finished = execution.run(|ask| match ask {
        Ask::Invoke { function, .. } if function == "review" => {
            Resolution::Refused { code: "not-found".into(), message: "nobody".into() }
        }
        other => echo(other),
    });
    let answer = "so:!not-found\nnobody\n 23.0 SO with failures";
    assert_eq!(text(&finished), answer);
}
