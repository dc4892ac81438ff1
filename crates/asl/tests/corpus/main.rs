//! Runs the cases of the conformance corpus that need nothing but an interpreter and small functions, and
//! checks the documents with a verdict. Where the corpus is not beside the checkout, it says so.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "the table is for the one who reads the test's output")]

mod pattern;
mod run;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use asl::definition::{MachineType, Severity, parse, summary};
use serde_json::Value;

/// The least share of runs that must agree, in percent.
const OUTCOMES_MIN: usize = 97;
const HISTORIES_MIN: usize = 95;

fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("FERMATA_SHARED").map(PathBuf::from).unwrap_or_else(|| {
        let crate_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        crate_dir.join("../../../shared")
    });
    let corpus = shared.join("conformance/asl");
    if corpus.is_dir() {
        return Some(corpus);
    }
    println!("no corpus at {}: nothing is compared", corpus.display());
    None
}

fn documents(directory: PathBuf) -> Vec<(String, Value)> {
    let mut documents: Vec<(String, Value)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect();
    documents.sort_by(|a, b| a.0.cmp(&b.0));
    documents
}

#[derive(Default)]
struct Tally {
    passed: usize,
    outcome_only: usize,
    failed: usize,
    other: usize,
}

#[test]
fn recorded_executions_end_and_happen_as_they_did() {
    let Some(corpus) = corpus() else { return };
    let only = std::env::var("ASL_CASE").ok();
    let mut areas: BTreeMap<String, Tally> = BTreeMap::new();
    for (name, case) in documents(corpus.join("open")) {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let kind = case["kind"].as_str().unwrap();
        if !matches!(kind, "execution" | "batch" | "express_sync" | "express_async") {
            continue;
        }
        let tally = areas.entry(case["area"].as_str().unwrap().to_owned()).or_default();
        for verdict in run::case(&case) {
            match verdict {
                run::Verdict::Passed => tally.passed += 1,
                run::Verdict::OutcomeOnly(why) => {
                    tally.outcome_only += 1;
                    println!("history  {name}: {why}");
                }
                run::Verdict::Failed(why) => {
                    tally.failed += 1;
                    println!("FAILED   {name}: {why}");
                }
                run::Verdict::NotHere => tally.other += 1,
            }
        }
    }
    println!(
        "{:<32}{:>8}{:>14}{:>8}{:>14}",
        "area", "passed", "outcome only", "failed", "not run here"
    );
    let mut sum = Tally::default();
    for (area, tally) in &areas {
        let Tally { passed, outcome_only, failed, other } = tally;
        println!("{area:<32}{passed:>8}{outcome_only:>14}{failed:>8}{other:>14}");
        sum.passed += passed;
        sum.outcome_only += outcome_only;
        sum.failed += failed;
        sum.other += other;
    }
    let Tally { passed, outcome_only, failed, other } = sum;
    println!("{:<32}{passed:>8}{outcome_only:>14}{failed:>8}{other:>14}", "all");
    let run = passed + outcome_only + failed;
    assert!((passed + outcome_only) * 100 >= run * OUTCOMES_MIN, "too many outcomes differ");
    assert!(passed * 100 >= run * HISTORIES_MIN, "too many histories differ");
}

#[test]
fn documents_are_refused_or_taken_as_others_did() {
    let Some(corpus) = corpus() else { return };
    let mut wrong = 0;
    for (directory, valid) in [("validation/valid", true), ("validation/invalid", false)] {
        for (name, document) in documents(corpus.join(directory)) {
            if document.get("doubt").is_some() {
                continue;
            }
            let machine_type = match document["machine_type"].as_str() {
                Some("EXPRESS") => MachineType::Express,
                _ => MachineType::Standard,
            };
            let parsed = parse(document["definition_text"].as_str().unwrap(), machine_type);
            if parsed.definition.is_some() != valid {
                wrong += 1;
                println!("WRONG    {name}: {}", summary(&parsed.problems));
            }
            let said = summary(&parsed.problems);
            if let Some(expected) = document["aws_message"].as_str()
                && said != expected.replace("<partition>", "aws")
            {
                wrong += 1;
                println!("WORDING  {name}:\n  {said}\n  {expected}");
            }
            if let Some(expected) = document["aws_diagnostics"].as_array() {
                let rendered: Vec<Value> = parsed
                    .problems
                    .iter()
                    .map(|problem| {
                        let mut value = serde_json::json!({
                            "code": problem.code.as_str(),
                            "message": problem.message,
                            "severity": problem.severity.as_str(),
                        });
                        if let Some(location) = &problem.location {
                            value["location"] = location.as_str().into();
                        }
                        value
                    })
                    .collect();
                if &rendered != expected {
                    wrong += 1;
                    println!("WORDING  {name}:\n  {rendered:?}\n  {expected:?}");
                }
            }
        }
    }
    assert_eq!(wrong, 0);
}

#[test]
fn every_definition_that_aws_took_is_taken() {
    let Some(corpus) = corpus() else { return };
    let mut refused = 0;
    for (name, case) in documents(corpus.join("open")) {
        for (text, machine_type) in run::definitions(&case) {
            let parsed = parse(&text, machine_type);
            let errors = parsed
                .problems
                .iter()
                .filter(|problem| problem.severity == Severity::Error)
                .count();
            if errors > 0 {
                refused += 1;
                println!("REFUSED  {name}: {}", summary(&parsed.problems));
            }
        }
    }
    assert_eq!(refused, 0);
}
