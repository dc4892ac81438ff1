use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::env::Random;

fn evaluate(text: &str, input: &Value) -> Result<Value, String> {
    let context = json!({ "StateMachine": { "Name": "one-two-three" } });
    let variables: BTreeMap<String, Value> = BTreeMap::from([("x".to_owned(), json!(4.3))]);
    let random = Random::new(3);
    let env = Env {
        input,
        context: &context,
        variables: &variables,
        result: None,
        error_output: None,
        now: model::Timestamp::from_millis(0),
        random: &random,
    };
    let expression = Expression::parse(text).map_err(|error| error.to_string())?;
    expression.evaluate_field("value.$", &env).map_err(|error| error.cause)
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "each case writes its values in place")]
fn check(text: &str, input: Value, expected: Value) {
    assert_eq!(evaluate(text, &input), Ok(expected), "{text}");
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "each case writes its values in place")]
fn check_refused(text: &str, input: Value) {
    let name = text.split('(').next().unwrap_or("");
    let cause =
        format!("The function '{text}' had the following error: Invalid arguments in {name}");
    assert_eq!(evaluate(text, &input), Err(cause));
}

#[test]
fn arrays() {
    check("States.Array()", json!({}), json!([]));
    check(
        "States.Array($.a, 'b', 3, null, true)",
        json!({ "a": [1] }),
        json!([[1], "b", 3, null, true]),
    );
    check(
        "States.ArrayContains($.a, $.b)",
        json!({ "a": [{ "x": 1, "y": 2 }], "b": { "y": 2, "x": 1 } }),
        json!(true),
    );
    check("States.ArrayGetItem($.a, 1)", json!({ "a": [1, 2] }), json!(2));
    check_refused("States.ArrayGetItem($.a, 2)", json!({ "a": [1, 2] }));
    check("States.ArrayPartition($.a, 2)", json!({ "a": [1, 2, 3] }), json!([[1, 2], [3]]));
    check_refused("States.ArrayPartition($.a, 0)", json!({ "a": [1] }));
    check("States.ArrayRange(1, 9, 2)", json!({}), json!([1, 3, 5, 7, 9]));
    check("States.ArrayRange(3, 1, -1)", json!({}), json!([3, 2, 1]));
    check_refused("States.ArrayRange(1, 9, 0)", json!({}));
    check_refused("States.ArrayRange(1, 1001, 1)", json!({}));
    check(
        "States.ArrayUnique($.a)",
        json!({ "a": [1, 2, 1, "1", [1], [1]] }),
        json!([1, 2, "1", [1]]),
    );
    check("States.ArrayLength($.a)", json!({ "a": [1, 2] }), json!(2));
    check_refused("States.ArrayLength($.a)", json!({ "a": "text" }));
}

#[test]
fn a_range_has_a_thousand_items_at_most() {
    assert_eq!(
        evaluate("States.ArrayLength(States.ArrayRange(1, 1000, 1))", &json!({})),
        Ok(json!(1000))
    );
}

#[test]
fn texts() {
    check("States.Format('a{}b{}', $.x, $.y)", json!({ "x": 1, "y": null }), json!("a1bnull"));
    check(r"States.Format('\{\}{}\'\\', 'x')", json!({}), json!(r"{}x'\"));
    check(
        "States.Format('{}', $.o)",
        json!({ "o": { "Arg1": 1, "Arg2": [] } }),
        json!("{Arg1=1, Arg2=[]}"),
    );
    check("States.Format('{}', $.x)", json!({ "x": 1.0e10 }), json!("1.0E10"));
    check_refused("States.Format('{}{}', 'x')", json!({}));
    check_refused("States.Format('{x}', 'x')", json!({}));
    check(
        "States.StringSplit('This.is+a,test=string', '.+,=')",
        json!({}),
        json!(["This", "is", "a", "test", "string"]),
    );
    check("States.StringSplit(',,,,', ',')", json!({}), json!([]));
    check("States.StringSplit(' , ', ',')", json!({}), json!([" ", " "]));
    check("States.Base64Encode('Data to encode')", json!({}), json!("RGF0YSB0byBlbmNvZGU="));
    check("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')", json!({}), json!("Data to encode"));
    check_refused("States.Base64Encode($.a)", json!({ "a": "x".repeat(10_001) }));
    check(
        "States.Hash('input data', 'SHA-1')",
        json!({}),
        json!("aaff4a450a104cd177d28d18d74485e8cae074b7"),
    );
    check("States.Hash('input data', 'MD5')", json!({}), json!("812f45842bc6d66ee14572ce20db8e86"));
    check_refused("States.Hash('x', 'SHA1')", json!({}));
}

#[test]
fn json_texts() {
    for (text, expected) in [
        ("", json!(null)),
        (" ", json!(null)),
        ("null", json!(null)),
        ("-0", json!(0)),
        ("1.1", json!(1.1)),
        ("{\"a\": []}", json!({ "a": [] })),
    ] {
        check("States.StringToJson($.t)", json!({ "t": text }), expected);
    }
    check_refused("States.StringToJson($.t)", json!({ "t": "{" }));
    check(
        "States.JsonToString($.o)",
        json!({ "o": { "b": [1, "x"], "a": null } }),
        json!("{\"b\":[1,\"x\"],\"a\":null}"),
    );
    check(
        "States.JsonMerge($.a, $.b, false)",
        json!({ "a": { "x": { "y": 1 }, "z": 1 }, "b": { "x": 2 } }),
        json!({ "x": 2, "z": 1 }),
    );
    check_refused("States.JsonMerge($.a, $.a, true)", json!({ "a": {} }));
}

#[test]
fn numbers() {
    check("States.MathAdd(States.MathAdd(1, $x), -2)", json!({}), json!(3));
    check("States.MathAdd(2147483646, 1)", json!({}), json!(2_147_483_647));
    check_refused("States.MathAdd(2147483647, 1)", json!({}));
    check_refused("States.MathAdd($.a, 1)", json!({ "a": "1" }));
    let draw = |text: &str| {
        evaluate(text, &json!({})).expect("it is a number").as_i64().expect("a whole one")
    };
    assert!((5..9).contains(&draw("States.MathRandom(5, 9)")));
    assert_eq!(draw("States.MathRandom(0, 999, 3)"), draw("States.MathRandom(0, 999, 3)"));
    assert!(
        (-2_147_483_648..2_147_483_647)
            .contains(&draw("States.MathRandom(-2147483648, 2147483647, 3)"))
    );
    check_refused("States.MathRandom(5, 5)", json!({}));
}

#[test]
fn others() {
    let uuid = evaluate("States.UUID()", &json!({})).expect("it has a value");
    let uuid = uuid.as_str().expect("it is a text");
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
    check(
        "States.ArrayGetItem(States.StringSplit($$.StateMachine.Name, '-'), States.MathAdd(States.ArrayLength(\
         States.StringSplit($$.StateMachine.Name, '-')), -1))",
        json!({}),
        json!("three"),
    );
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        evaluate("States.Format('{}', $.nope)", &json!({ "other": 1 })),
        Err("The function 'States.Format('{}', $.nope)' had the following error: The JsonPath argument for the field \
             '$.nope' could not be found in the input '{\"other\":1}'"
            .to_owned())
    );
    assert_eq!(
        evaluate("$.nope", &json!({ "other": 1 })),
        Err("The JSONPath '$.nope' specified for the field 'value.$' could not be found in the input '{\"other\":1}'"
            .to_owned())
    );
}

#[test]
fn what_is_no_call_is_refused() {
    for text in [
        "States.Nothing()",
        "States.UUID",
        "States.UUID(1)",
        "States.MathAdd(1)",
        "States.Format('a)",
        r#"States.StringToJson('{\"text\":1}')"#,
        "States.Array(1,)",
        "States.Array(1 2)",
        "States.UUID() x",
        "states.UUID()",
        "",
    ] {
        assert!(Expression::parse(text).is_err(), "{text}");
    }
    let deep = format!("{}1{}", "States.Array(".repeat(1_000), ")".repeat(1_000));
    assert!(Expression::parse(&deep).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r"States\.(Format|Array|MathAdd|StringSplit|Hash|Base64Decode)\([a-z$.,'{}\\()0-9 -]{0,30}\)?") {
        let _ = evaluate(&text, &json!({ "a": [1, "x"] }));
    }

    #[test]
    fn arrays_of_numbers_never_panic(first in any::<i64>(), last in any::<f64>(), step in any::<i32>()) {
        let input = json!({ "f": first, "l": last, "s": step });
        for text in ["States.ArrayRange($.f, $.l, $.s)", "States.MathRandom($.f, $.l, $.s)", "States.MathAdd($.f, $.l)"] {
            let _ = evaluate(text, &input);
        }
    }
}
