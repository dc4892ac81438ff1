use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::env::Random;

fn with_env<T>(run: impl FnOnce(&Env<'_>) -> T) -> T {
    let input = json!({ "a": 1, "items": [{ "id": 1, "tags": ["x", "y"] }, { "id": 2, "tags": [] }], "text": "é" });
    let context = json!({ "Execution": { "Name": "run" } });
    let variables: BTreeMap<String, Value> = BTreeMap::from([("answer".to_owned(), json!(42))]);
    let random = Random::new(7);
    run(&Env {
        input: &input,
        context: &context,
        variables: &variables,
        result: Some(&json!({ "ok": true })),
        error_output: None,
        now: model::Timestamp::from_millis(1_700_000_000_123),
        random: &random,
    })
}

fn value(text: &str) -> Result<Value, String> {
    with_env(|env| evaluate("Output", text, env).map_err(|error| error.cause))
}

#[track_caller]
fn check(text: &str, expected: Value) {
    assert_eq!(value(text), Ok(expected), "{text}");
}

#[track_caller]
fn check_threw(text: &str, problem: &str) {
    let cause = format!(
        "The JSONata expression '{text}' specified for the field 'Output' threw an error during evaluation. {problem}"
    );
    assert_eq!(value(text), Err(cause));
}

/// Stops within the limit, with an error.
#[track_caller]
fn check_stops(text: &str) {
    let begin = Instant::now();
    let result = value(text);
    let took = begin.elapsed();
    assert!(result.is_err(), "{text} gave {:.80}", result.unwrap().to_string());
    assert!(took < Duration::from_secs(5), "{text} took {took:?}");
}

#[test]
fn states_and_variables_are_seen() {
    check("$states.input.a + $answer", json!(43));
    check("$states.context.Execution.Name", json!("run"));
    check("$states.result.ok", json!(true));
    check("$states.input.items[id = 2].tags", json!([]));
    check("$states.input.items.id", json!([1, 2]));
}

#[test]
fn nothing_is_an_error_of_its_own() {
    let cause = "The JSONata expression '$doesNotExist' specified for the field 'Output' returned nothing (undefined).";
    assert_eq!(value("$doesNotExist"), Err(cause.to_owned()));
    assert!(value("$states.input.absent").is_err());
}

#[test]
fn functions_of_step_functions_are_there() {
    check("$range(0, 9, 3)", json!([0, 3, 6, 9]));
    check("$range(0, 10, 3)", json!([0, 3, 6, 9]));
    check("$range(1, 9, 9)", json!(1));
    check("$range(9, 1, -4)", json!([9, 5, 1]));
    check("$range(-1.7, 2, 1)", json!([-1, 0, 1, 2]));
    check("$partition([1..5], 2.9)", json!([[1, 2], [3, 4], [5]]));
    check("$hash('input data', 'SHA-1')", json!("aaff4a450a104cd177d28d18d74485e8cae074b7"));
    check("$parse('{\"a\": [1, 2]}')", json!({ "a": [1, 2] }));
    check("$parse('-0')", json!(0));
    check("$random(5) = $random(5)", json!(true));
    check("$type($random())", json!("number"));
    check("$length($uuid())", json!(36));
    check_threw("$eval('1+1')", "T1006: Attempted to invoke a non-function");
    check_threw("$randomSeeded(1)", "T1006: Attempted to invoke a non-function");
    assert!(value("$range(1, 5)").is_err());
    assert!(value("$partition([], 2)").is_err());
}

#[test]
fn time_comes_from_outside() {
    check("$millis()", json!(1_700_000_000_123_i64));
    check("$now()", json!("2023-11-14T22:13:20.123Z"));
    check("$now('[Y0001]-[M01]-[D01]')", json!("2023-11-14"));
    check("$fromMillis($millis())", json!("2023-11-14T22:13:20.123Z"));
}

#[test]
fn what_a_user_writes_keeps_its_meaning() {
    check("$variable := 1", json!(1));
    check("$contains('hello$world', /^hello\\$/)", json!(true));
    check("$replace('abracadabra', 'a', '*', 2)", json!("*br*cadabra"));
    check("'abc' ~> $replace('b', 'x') ~> $uppercase()", json!("AXC"));
    check("$replace('John Smith', /(\\w+)\\s(\\w+)/, '$2, $1')", json!("Smith, John"));
    check("$replace('a1b2', /[0-9]/, function($m) { '<' & $m.match & '>' })", json!("a<1>b<2>"));
    check("$join(['a', 'b'], '-') & $pad('x', -3, '.')", json!("a-b..x"));
    check("$map(['a', 'b'], $uppercase)", json!(["A", "B"]));
    check(
        "$distinct([1, 1, '1', {'a': 1, 'b': 2}, {'b': 2, 'a': 1}])",
        json!([1, "1", { "a": 1, "b": 2 }]),
    );
    check("[1..3].($ * 2)", json!([2, 4, 6]));
    check("[[1, 2], [3]]", json!([[1, 2], [3]]));
    check("$sum([1..100])", json!(5050));
    check("($f := function($n) { $n = 0 ? 'done' : $f($n - 1) }; $f(10000))", json!("done"));
    check(
        "{'a': [1, {'b': null}], 'c': $states.input.text}",
        json!({ "a": [1, { "b": null }], "c": "é" }),
    );
    check("$parseInteger('abc', '0')", json!("NaN"));
}

#[test]
fn nothing_runs_away() {
    for text in [
        "[1..9999999]",
        "$count([1..9999999])",
        "$pad('x', 2000000000)",
        "$pad('x', -2000000000)",
        "('x').($pad(-2000000000, 'x'))",
        "$map(['x'], function($s) { $pad($s, 2000000000) })",
        "($f := $pad; $f('x', 2000000000))",
        "($f := $pad(?, 2000000000); $f('x'))",
        "'x' ~> $pad(2000000000)",
        "($pad := $pad; $pad('x', 2000000000))",
        "($f := function($x) { $f($x) }; $f(1))",
        "($f := function($x) { 1 + $f($x) }; $f(1))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($s & $s, $n - 1) }; $f('x', 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f([$s, $s], $n - 1) }; $f([1], 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f({'a': $s, 'b': $s}, $n - 1) }; $f(1, 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($append($s, $s), $n - 1) }; $f([1], 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($map([1, 2], function() { $s }), $n - 1) }; $f(1, 60))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($zip($s, $s), $n - 1) }; $f([1, 2], 60))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($join([$s, $s]), $n - 1) }; $f('x', 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($string([$s, $s]), $n - 1) }; $f('x', 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($replace($s, 'x', 'xx'), $n - 1) }; $f('x', 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($replace($s, /x/, '$0$0'), $n - 1) }; $f('x', 40))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($base64encode($s), $n - 1) }; $f('xxxxxxxxx', 90))",
        "($s := $pad('x', 1000000, 'x'); $join($split($s, ''), $s))",
        "($s := $pad('x', 1000000, 'x'); $replace($s, 'x', $s))",
        "($s := $pad('x', 1000000, 'x'); $s ~> $replace('x', $s))",
        "($s := $pad('x', 5000000, 'x'); $match($s, /x/))",
        "($a := [1..800000]; $a.$a)",
        "($a := [1..800000]; $a.($a))",
        "($a := [1..800000]; $a[$ in $a])",
        "($a := [1..20000].{'b': $}; $a@$x.$a@$y.($x.b))",
        "($a := [1..20000].{'b': $}; $s := {'a': $a}; $s.(a@$x.$s.a@$y.($x.b)))",
        "({'a': [1..20000].{'b': $}, 'c': [1..20000].{'b': $}}).(a@$x.c@$y.($x.b))",
        "($a := [1..800000]; $a.$formatInteger(1e18, 'I'))",
        "$formatInteger(1e300, 'I')",
        "($x := [1..1000]; $x.($x.($x.($x.($x)))))",
        "$reduce([1..1000000], function($a, $b) { $a & 'xxxxxxxxxxxxxxxx' }, '')",
        "($f := |$|{'a': [1..800000]}|; $map([1..100], function($i) { {'b': 1} ~> $f }))",
        "$sort([1..300000], function($l, $r) { $sum([1..1000]) + $l < $r })",
        "$sort([1..300000], function($l, $r) { $reduce($states.input.items.id, function($a, $b) { $a + $b }, $l) < $r })",
        "($f := function($n) { $n = 0 ? 0 : $f($n - 1) }; $sort([1..300000], function($l, $r) { $f(40) + $l < $r }))",
    ] {
        check_stops(text);
    }
}

/// Some two million comparisons: what they take depends on the machine, so it may end or be stopped.
#[test]
fn a_long_sort_ends_right_or_is_stopped() {
    let text = "$sort([1..300000], function($l, $r) { $l < $r })[[0..2]]";
    let begin = Instant::now();
    match value(text) {
        Ok(found) => assert_eq!(found, json!([300_000, 299_999, 299_998])),
        Err(cause) => assert!(cause.contains("timeout"), "{cause}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_two_expressions_that_hang_elsewhere_end_in_awss_words() {
    check_threw("[1..9999999]", "Expression evaluation memory limit exceeded");
    check_threw("$pad('x', 2000000000)", "Expression evaluation memory limit exceeded");
    check_threw(
        "($f := function($x) { $f($x) }; $f(1))",
        "Expression evaluation timeout: Check for infinite loop",
    );
}

#[test]
fn limits_hold_where_they_are() {
    assert_eq!(value("$count([1..873782])"), Ok(json!(873_782)));
    check_threw("$count([1..873783])", "Expression evaluation memory limit exceeded");
    assert_eq!(value("$count($range(1, 360145, 1))"), Ok(json!(360_145)));
    check_threw("$count($range(1, 360146, 1))", "Expression evaluation memory limit exceeded");
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    assert!(Expression::parse(&deep).is_ok());
    let deeper = format!("({deep})");
    assert!(Expression::parse(&deeper).is_err());
}

#[test]
fn templates_tell_the_place_of_an_error() {
    let (made, failed) = with_env(|env| {
        let template =
            json!({ "a": ["{% $answer %}", "text", { "b": "{%$states.input.a%}" }], "n": null });
        let made = evaluate_template("Output", &template, env);
        let failed = evaluate_template("Output", &json!({ "a": { "b": [1, "{% $x %}"] } }), env);
        (made, failed)
    });
    assert_eq!(made, Ok(json!({ "a": [42, "text", { "b": 1 }], "n": null })));
    let failed = failed.expect_err("there is no $x");
    assert_eq!(failed.location.as_deref(), Some("Output/a/b[1]"));
    assert_eq!(
        failed.cause,
        "The JSONata expression '$x' specified for the field 'Output/a/b[1]' returned nothing (undefined)."
    );
}

#[test]
fn names_are_those_from_outside() {
    let names = |text: &str| Expression::parse(text).expect("it parses").names().clone();
    let found = names(
        "($x := $a; $map($b, function($v) { $v + $c + $x })) & $states.input.k[z > $d] & $$.y & q",
    );
    let variables: Vec<&str> = found.variables.iter().map(String::as_str).collect();
    assert_eq!(variables, ["a", "b", "c", "d"]);
    assert_eq!(found.fields.iter().collect::<Vec<_>>(), ["q"]);
    assert!(found.root);
    assert_eq!(found.states.iter().collect::<Vec<_>>(), ["input"]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"[ -~]{0,40}|[$a-c0-9.()\[\]{}'"&,:?~>|@#%*^/\\ -]{0,40}"#) {
        let _ = with_env(|env| {
            let expression = Expression::parse(&text)?;
            let limits = Limits { time_ms: 50, ..Limits::DEFAULT };
            Ok::<_, ParseError>(expression.evaluate_within("Output", env, &limits).is_ok())
        });
    }
}
