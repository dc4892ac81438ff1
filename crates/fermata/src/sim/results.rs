//! What an experiment gave, in the shapes in which it is written: rows for JSON, tables, pictures.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sim::experiment::{Comparison, PolicyReport};
use sim::statistics::{ClassReport, Estimate, PhaseReport};

use super::figure::Figure;
use crate::load::machine::{COMMIT, Machine};

/// All of one experiment.
#[derive(Clone, Debug)]
pub(super) struct Results {
    /// Its name, as `figure3`.
    pub(super) experiment: &'static str,
    /// The headline of the report.
    pub(super) title: String,
    /// How it was made, a sentence each.
    pub(super) notes: Vec<String>,
    /// What it shows, a sentence each, with figures.
    pub(super) findings: Vec<String>,
    /// The seeds.
    pub(super) seeds: Vec<u64>,
    /// By policy and class.
    pub(super) rows: Vec<ClassRow>,
    /// By policy.
    pub(super) policies: Vec<PolicyRow>,
    /// What is printed; each becomes a CSV file of its name.
    pub(super) tables: Vec<Table>,
    /// Pictures, each under its file's name.
    pub(super) figures: Vec<(String, Figure)>,
    /// What only this experiment has, for the JSON.
    pub(super) extra: Map<String, Value>,
}

/// One class under one policy, as the JSON has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ClassRow {
    pub(super) policy: String,
    pub(super) class: String,
    /// µ¢ per CPU second.
    pub(super) price: f64,
    /// The point of a sweep: parameter and value.
    #[serde(flatten)]
    pub(super) at: BTreeMap<&'static str, Value>,
    pub(super) before: Phase,
    pub(super) overload: Phase,
    pub(super) after: Phase,
}

/// One class in one phase. Every figure has the mean over seeds and the 95 % confidence interval;
/// `null` where nothing arrived.
#[derive(Clone, Debug)]
pub(super) struct Phase(PhaseReport);

impl Serialize for Phase {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = Map::new();
        map.insert("count".into(), json!(self.0.count));
        for (name, estimate) in self.figures() {
            insert(&mut map, name, (self.0.count > 0).then_some(estimate));
        }
        map.serialize(to)
    }
}

impl Phase {
    /// Every figure under its name in the JSON.
    pub(super) const fn figures(&self) -> [(&'static str, Estimate); 4] {
        [
            ("p50_slowdown", self.0.p50_slowdown),
            ("p99_slowdown", self.0.p99_slowdown),
            ("mean_slowdown", self.0.mean_slowdown),
            ("p99_ms", self.0.p99_ms),
        ]
    }

    /// How many arrived.
    pub(super) const fn count(&self) -> usize {
        self.0.count
    }
}

/// A mean under its name and its bounds beside it; `null` for none.
pub(super) fn insert(map: &mut Map<String, Value>, name: &str, estimate: Option<Estimate>) {
    let parts = [
        ("", estimate.map(|e| e.mean)),
        ("_low", estimate.map(|e| e.low)),
        ("_high", estimate.map(|e| e.high)),
    ];
    for (suffix, value) in parts {
        map.insert(
            format!("{name}{suffix}"),
            value.map_or(Value::Null, |value| json!(exact(value))),
        );
    }
}

/// Six decimals: enough for a slowdown, and no noise of the last bit.
fn exact(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// One policy as a whole, as the JSON has it.
#[derive(Clone, Debug)]
pub(super) struct PolicyRow {
    /// The point of a sweep.
    pub(super) at: BTreeMap<&'static str, Value>,
    pub(super) report: PolicyReport,
}

impl Serialize for PolicyRow {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let report = &self.report;
        let mut map = Map::new();
        map.insert("policy".into(), json!(report.policy));
        for (name, value) in &self.at {
            map.insert((*name).into(), value.clone());
        }
        for (name, estimate) in [
            ("utilization", report.utilization),
            ("utilization_min", report.utilization_min),
            ("utilization_max", report.utilization_max),
            ("mean_slowdown", report.mean_slowdown),
            ("messages_per_invocation", report.messages),
            ("preemptions_per_invocation", report.preemptions),
        ] {
            insert(&mut map, name, Some(estimate));
        }
        let counts = &report.counts;
        map.insert(
            "counts".into(),
            json!({
                "arrived": counts.arrived, "completed": counts.completed,
                "rejected": counts.rejected, "failed": counts.failed,
                "preemptions": counts.preemptions, "kills": counts.kills, "lost": counts.lost,
                "swap_outs": counts.swap_outs, "events": counts.events, "messages": counts.messages,
            }),
        );
        let hash =
            |(seed, hash): &(u64, u64)| json!({"seed": seed, "trace_hash": format!("{hash:016x}")});
        map.insert("traces".into(), report.hashes.iter().map(hash).collect());
        map.serialize(to)
    }
}

/// The rows of a comparison; `at` is the point of a sweep.
pub(super) fn class_rows(
    reports: &[ClassReport],
    at: &BTreeMap<&'static str, Value>,
) -> Vec<ClassRow> {
    let row = |report: &ClassReport| ClassRow {
        policy: report.policy.clone(),
        class: report.class.clone(),
        price: report.price,
        at: at.clone(),
        before: Phase(report.before),
        overload: Phase(report.overload),
        after: Phase(report.after),
    };
    reports.iter().map(row).collect()
}

impl Results {
    /// Without rows, tables and figures yet.
    pub(super) fn new(experiment: &'static str, title: &str, seeds: &[u64]) -> Self {
        Self {
            experiment,
            title: title.to_owned(),
            notes: Vec::new(),
            findings: Vec::new(),
            seeds: seeds.to_vec(),
            rows: Vec::new(),
            policies: Vec::new(),
            tables: Vec::new(),
            figures: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Adds a comparison's rows, for the JSON.
    pub(super) fn add(&mut self, comparison: &Comparison, at: &BTreeMap<&'static str, Value>) {
        self.rows.extend(class_rows(&comparison.classes, at));
        let policies = comparison.policies.iter();
        self.policies
            .extend(policies.map(|report| PolicyRow { at: at.clone(), report: report.clone() }));
    }

    /// Everything but tables and pictures.
    pub(super) fn json(&self, seconds: f64) -> Value {
        let mut all = json!({
            "experiment": self.experiment,
            "title": self.title,
            "results": self.rows,
            "policies": self.policies,
            "seeds": self.seeds,
            "confidence": "mean over seeds; _low and _high: 95 %, Student's t",
            "notes": self.notes,
            "findings": self.findings,
            "machine": Machine::load(),
            "commit": COMMIT,
            "command": command(),
            "seconds": exact(seconds),
        });
        if let Value::Object(map) = &mut all {
            map.extend(self.extra.clone());
        }
        all
    }
}

/// The command that was run, so that a report can be made again.
pub(super) fn command() -> String {
    let quoted = |argument: String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,/:+".contains(c);
        if argument.chars().all(is_plain) { argument } else { format!("'{argument}'") }
    };
    let arguments = std::env::args().skip(1).map(quoted);
    std::iter::once("fermata".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A table under a heading.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The name of its file.
    pub(super) name: String,
    /// The heading.
    pub(super) title: String,
    /// Names of the columns.
    pub(super) header: Vec<String>,
    /// Its cells, by row.
    pub(super) rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    Number(f64),
    /// A mean and its interval: three columns in CSV.
    Estimate(Estimate),
    Nothing,
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// As a person reads it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value) => digits(*value),
            Self::Estimate(estimate) => shown(*estimate),
            Self::Nothing => "–".to_owned(),
        }
    }

    /// Whether it stands to the right of its column.
    pub(super) const fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Estimate(_) | Self::Nothing)
    }
}

/// A mean with half its interval, in as many digits as tell something: `1.00`, `97.8 ±5.2`.
pub(super) fn shown(estimate: Estimate) -> String {
    let half = (estimate.high - estimate.low) / 2.0;
    let mean = digits(estimate.mean);
    let half = digits(half);
    if half.trim_matches(['0', '.']).is_empty() { mean } else { format!("{mean} ±{half}") }
}

/// Three digits or so: `0.004`, `1.05`, `12.3`, `1,234`.
pub(super) fn digits(value: f64) -> String {
    let size = value.abs();
    match size {
        size if size >= 100.0 => super::axis::plain(value.round()),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        size if size >= 0.000_5 => format!("{value:.3}"),
        _ => "0.00".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_tell_something() {
        let shown: Vec<String> = [0.0, 0.004, 1.0, 12.34, 1_234.5].map(digits).to_vec();
        assert_eq!(shown, ["0.00", "0.004", "1.00", "12.3", "1,235"]);
        let estimate =
            |mean: f64, half: f64| Estimate { mean, low: mean - half, high: mean + half, seeds: 5 };
        assert_eq!(super::shown(estimate(1.0, 0.0)), "1.00");
        assert_eq!(super::shown(estimate(97.84, 5.21)), "97.8 ±5.21");
    }

    #[test]
    fn a_phase_has_bounds_beside_each_mean_and_null_where_nothing_arrived() {
        let estimate = Estimate { mean: 2.0, low: 1.5, high: 2.5, seeds: 5 };
        let phase = PhaseReport { count: 3, p99_slowdown: estimate, ..PhaseReport::default() };
        let json = serde_json::to_value(Phase(phase)).unwrap();
        assert_eq!(json["p99_slowdown"], 2.0);
        assert_eq!(
            (&json["p99_slowdown_low"], &json["p99_slowdown_high"]),
            (&json!(1.5), &json!(2.5))
        );
        let none = serde_json::to_value(Phase(PhaseReport::default())).unwrap();
        assert!(none["p99_ms"].is_null() && none["count"] == 0, "{none}");
    }
}
