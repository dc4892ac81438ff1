//! The reference implementation's answers, through the fence: the corpora that `jsonata-core` carries, made
//! from jsonata-js. What that library itself answers otherwise is left out of the comparison.

use std::path::PathBuf;

use jsonata_core::evaluator::Evaluator;
use jsonata_core::value::JValue;
use serde_json::{Value, json};

use super::convert::{self, Budget};
use super::{Limits, fence, functions};
use crate::env::{Env, Random};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The directory of the corpora, beside the library's sources; none where cargo keeps no sources.
fn fixtures() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
    registries
        .filter_map(Result::ok)
        .map(|registry| registry.path().join("jsonata-core-2.2.13/tests/fixtures"))
        .find(|fixtures| fixtures.is_dir())
}

/// What an expression gives: a value as JSON, nothing, or the code of its error.
fn answer(result: Result<JValue, jsonata_core::evaluator::EvaluatorError>) -> String {
    let budget = Budget::new(&Limits::DEFAULT);
    match result {
        Ok(value) => match convert::to_json(&value, &budget) {
            Ok(Some(value)) => value.to_string(),
            Ok(None) => "undefined".to_owned(),
            Err(problem) => problem.to_owned(),
        },
        Err(error) => format!("error {}", error.code().unwrap_or("without code")),
    }
}

fn plain(text: &str, data: &JValue) -> Option<String> {
    let parsed = jsonata_core::parser::parse(text).ok()?;
    Some(answer(Evaluator::new().evaluate(&parsed, data)))
}

fn fenced(text: &str, data: &JValue) -> Option<String> {
    let null = Value::Null;
    let random = Random::new(1);
    let variables = BTreeMap::new();
    let env = Env {
        input: &null,
        context: &null,
        variables: &variables,
        result: None,
        error_output: None,
        now: model::Timestamp::from_millis(0),
        random: &random,
    };
    let parsed = fence::fence(jsonata_core::parser::parse(text).ok()?)?;
    let budget = Rc::new(Budget::new(&Limits::DEFAULT));
    let mut evaluator = Evaluator::new();
    functions::register(&mut evaluator, &env, &budget).expect("the functions are known once");
    Some(answer(evaluator.evaluate(&parsed, data)))
}

/// What does differ. The fence reads the result of a function where the library hands it on unread, so that an
/// array of one array is taken for its item; and it ends what makes large values over and over.
const KNOWN: [&str; 7] = [
    "$sort(arr, $distinct)",
    "$map([nul], $keys)",
    "$map([num], $keys)",
    "$map([str], $keys)",
    "$map([\"xa\"], $match(?, /a/))",
    "($r := function($n) { $n <= 0 ? 0 : $map([$n], function($i) { $r($i - 1) }) }; ($r ~> $string)(4))",
    "($d := $reduce([1..1500], function($a, $i) { {\"c\": [$a]} }, {\"v\": 1}); $f := function($n) { $n.c ? \
     $map($n.c, $f) : $n.v }; $count($f($d)))",
];

/// Runs a corpus through the library with and without the fence, which must make no difference.
fn check(name: &str, cases_min: usize) {
    let Some(fixtures) = fixtures() else {
        eprintln!("skipped: the sources of jsonata-core are not here");
        return;
    };
    let text =
        std::fs::read_to_string(fixtures.join(name)).expect("the corpus is beside the sources");
    let corpus: Value = serde_json::from_str(&text).expect("the corpus is JSON");
    let cases = corpus["cases"].as_array().expect("the corpus has cases");
    let mut compared = 0;
    let mut differ = Vec::new();
    for case in cases {
        let text = case["expr"]
            .as_str()
            .or_else(|| case["expression"].as_str())
            .expect("a case has an expression");
        if ["$random", "$shuffle", "$now", "$millis", "$eval"]
            .iter()
            .any(|name| text.contains(name))
        {
            continue;
        }
        let data = match case["dataset"].as_str() {
            Some(dataset) => corpus["datasets"][dataset].clone(),
            None if case["root"] == json!(true) => corpus["root_data"].clone(),
            None => corpus["data"].clone(),
        };
        let data = JValue::from(data);
        let (Some(plain), Some(fenced)) = (plain(text, &data), fenced(text, &data)) else {
            continue;
        };
        compared += 1;
        if plain != fenced && !KNOWN.contains(&text) {
            differ.push(format!(
                "{text}\n   without the fence: {plain}\n   with it:           {fenced}"
            ));
        }
    }
    eprintln!("{name}: {compared} compared, {} differ", differ.len());
    assert!(compared >= cases_min, "only {compared} cases were compared");
    assert!(differ.is_empty(), "{} of {compared} differ:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn builtin_functions_answer_through_the_fence_as_without_it() {
    check("builtin_differential.json", 2_000);
}

#[test]
fn fast_paths_answer_through_the_fence_as_without_it() {
    check("fastpath_differential.json", 2_500);
}

#[test]
fn paths_answer_through_the_fence_as_without_it() {
    check("path_semantics_differential.json", 1_700);
}

#[test]
fn combinations_of_operators_answer_through_the_fence_as_without_it() {
    check("path_semantics_combinations.json", 2_200);
}
