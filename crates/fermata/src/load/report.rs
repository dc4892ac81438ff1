//! The figures of whole runs, and the JSON in which they are written for machines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use model::amount::PICO_PER_MICRO;
use model::{Price, PriceList};
use serde::Serialize;

use super::generator::Measured;
use super::machine::{COMMIT, Machine};
use super::plan::Plan;
use super::statistics::{End, Point, Quantile, Sample, Summary, line};

/// What one or more runs of the same load gave.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// One entry a policy, in the order of the runs.
    pub(crate) runs: Vec<Run>,
    /// On what it was measured.
    pub(crate) machine: Machine,
    /// From what the program was built.
    pub(crate) commit: &'static str,
    /// What else a reader must know, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// `xx`, `hermod`, `fifo`.
    pub(crate) policy: String,
    /// Dearest first.
    pub(crate) classes: Vec<Class>,
    /// How late the load generator itself was, p99. It is part of every latency.
    pub(crate) generator_late_p99_ms: Option<f64>,
    /// How many calls failed, by public code; `dropped` are those never sent since too many waited.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// One class in one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Class {
    /// Its name.
    pub(crate) class: String,
    /// µ¢ per CPU second.
    pub(crate) price: f64,
    /// What was called in it.
    pub(crate) functions: Vec<String>,
    /// Before the overload; without calls where nothing of this class was offered then.
    pub(crate) calm: Figures,
    /// Within it: calls that arrived in it, whenever they ended.
    pub(crate) overload: Figures,
    /// After it, where the run went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Figures>,
    /// p99 over time, for the plot.
    #[serde(skip)]
    pub(crate) line: Vec<Point>,
}

/// One class in one phase.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Calls answered.
    pub(crate) count: u64,
    /// Median, in milliseconds. `null` where nothing was answered.
    pub(crate) p50_ms: Option<f64>,
    /// 99th percentile.
    pub(crate) p99_ms: Option<f64>,
    /// 99.9th percentile.
    pub(crate) p99_9_ms: Option<f64>,
    /// The slowest.
    pub(crate) max_ms: Option<f64>,
    /// p99 against the calm phase's.
    pub(crate) slowdown: Option<f64>,
    /// Calls refused, failed, lost or never sent.
    pub(crate) errors: u64,
    /// Calls cut off at the end of the run; they count in the quantiles with the time they had
    /// waited until then.
    pub(crate) unfinished: u64,
    /// Names of the fields whose true value is higher, since they rest on calls cut off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) at_least: Vec<&'static str>,
    /// Calls that arrived, per second of the phase.
    pub(crate) offered_per_s: f64,
}

/// What is needed of a class besides its samples.
#[derive(Clone, Debug)]
pub(crate) struct ClassLabel {
    /// Its name.
    pub(crate) name: String,
    /// µ¢ per CPU second.
    pub(crate) price: f64,
}

impl ClassLabel {
    /// The classes of the default price list, dearest first: those of a platform started without
    /// a configuration.
    pub(crate) fn default_list() -> Vec<Self> {
        let micro = f64::from(u32::try_from(PICO_PER_MICRO).expect("a million fits"));
        let price = |price: Price| f64::from(u32::try_from(price.0).unwrap_or(u32::MAX)) / micro;
        let label = |(_, class): (_, &model::PriceClass)| Self {
            name: class.name.clone(),
            price: price(class.price),
        };
        PriceList::default().iter().rev().map(label).collect()
    }
}

impl Report {
    /// A report of these runs on this machine.
    pub(crate) fn new(runs: Vec<Run>, notes: Vec<String>) -> Self {
        Self { runs, machine: Machine::load(), commit: COMMIT, notes }
    }

    /// Writes the JSON.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        save_json(path, self)
    }
}

/// Writes any figures as indented JSON with a final line feed.
pub(crate) fn save_json(path: &Path, figures: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(figures).context("render the figures as JSON")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

impl Run {
    /// The figures of one run. `labels` are the classes to report, dearest first; a class without
    /// streams is left out. The plan's phases are calm, overload and, optionally, after.
    pub(crate) fn new(
        policy: &str,
        plan: &Plan,
        labels: &[ClassLabel],
        measured: &Measured,
    ) -> Self {
        let class = |label: &ClassLabel| class(plan, label, &measured.samples);
        let classes = labels.iter().filter_map(class).collect();
        let late = measured.late.quantile(0.99).map(|late| rounded(late.ms));
        let errors = errors(&measured.samples);
        Self { policy: policy.into(), classes, generator_late_p99_ms: late, errors }
    }
}

fn errors(samples: &[Sample]) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for sample in samples {
        let code = match &sample.end {
            End::Failed(code) => code,
            End::Dropped => "dropped",
            End::Answered(_) | End::Unfinished(_) => continue,
        };
        *errors.entry(code.to_owned()).or_default() += 1;
    }
    errors
}

fn class(plan: &Plan, label: &ClassLabel, samples: &[Sample]) -> Option<Class> {
    const WINDOW: Duration = Duration::from_millis(500);
    let streams: Vec<usize> =
        (0..plan.streams.len()).filter(|&index| plan.streams[index].class == label.name).collect();
    if streams.is_empty() {
        return None;
    }
    let own: Vec<&Sample> = samples.iter().filter(|s| streams.contains(&s.stream)).collect();
    let summary = |phase| Summary::of(own.iter().copied().filter(|s| s.phase == phase));
    let calm = summary(0);
    let figures = |phase: usize| {
        let length = plan.phases.get(phase)?.length;
        Some(Figures::new(&summary(phase), &calm, length))
    };
    Some(Class {
        class: label.name.clone(),
        price: label.price,
        functions: streams.iter().map(|&index| plan.streams[index].function.clone()).collect(),
        calm: Figures { slowdown: None, ..figures(0).unwrap_or_default() },
        overload: figures(1).unwrap_or_default(),
        after: figures(2),
        line: line(&own, WINDOW),
    })
}

impl Figures {
    /// Whether that field's true value is higher.
    pub(crate) fn is_at_least(&self, field: &str) -> bool {
        self.at_least.contains(&field)
    }

    fn new(summary: &Summary, calm: &Summary, length: Duration) -> Self {
        let slowdown = summary.slowdown(calm);
        let fields = [
            ("p50_ms", summary.p50),
            ("p99_ms", summary.p99),
            ("p99_9_ms", summary.p99_9),
            ("max_ms", summary.max),
        ];
        let is_at_least =
            |(_, quantile): &(_, Option<Quantile>)| quantile.is_some_and(|q| q.at_least);
        let mut at_least: Vec<&str> =
            fields.iter().filter(|field| is_at_least(field)).map(|field| field.0).collect();
        at_least.extend(slowdown.filter(|ratio| ratio.at_least).map(|_| "slowdown"));
        let ms = |quantile: Option<Quantile>| quantile.map(|quantile| rounded(quantile.ms));
        let offered = f64::from(u32::try_from(summary.offered()).unwrap_or(u32::MAX));
        Self {
            count: summary.count,
            p50_ms: ms(summary.p50),
            p99_ms: ms(summary.p99),
            p99_9_ms: ms(summary.p99_9),
            max_ms: ms(summary.max),
            slowdown: slowdown.map(|ratio| rounded(ratio.times)),
            errors: summary.errors,
            unfinished: summary.unfinished,
            at_least,
            offered_per_s: rounded(offered / length.as_secs_f64().max(f64::MIN_POSITIVE)),
        }
    }
}

/// Three decimals: a microsecond in a millisecond.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::generator::Priority;
    use crate::load::plan::{Payload, Phase, Stream};
    use crate::load::statistics::Latencies;

    fn plan() -> Plan {
        let stream = |class: &str| Stream {
            function: format!("f-{class}"),
            class: class.into(),
            payload: Payload::Seed,
            rates_per_s: vec![1.0, 1.0],
        };
        let phase = |name| Phase { name, length: Duration::from_secs(4) };
        Plan {
            phases: vec![phase("calm"), phase("overload")],
            streams: vec![stream("background"), stream("critical")],
            seed: 1,
        }
    }

    fn run() -> Run {
        let label = |name: &str, price| ClassLabel { name: name.into(), price };
        let labels = [label("critical", 2.0), label("economy", 0.7), label("background", 0.3)];
        let answered = |ms| End::Answered(Duration::from_millis(ms));
        let sample = |stream, phase, end| Sample {
            stream,
            phase,
            intended: Duration::from_secs(if phase == 0 { 1 } else { 5 }),
            end,
        };
        let samples = vec![
            sample(1, 0, answered(2)),
            sample(1, 1, answered(3)),
            sample(0, 1, answered(100)),
            sample(0, 1, End::Unfinished(Duration::from_secs(2))),
            sample(0, 1, End::Dropped),
        ];
        let late = Latencies::default();
        let measured = Measured { samples, late, priority: Priority::Normal };
        Run::new("xx", &plan(), &labels, &measured)
    }

    #[test]
    fn classes_come_dearest_first_and_those_without_calls_are_left_out() {
        let run = run();
        let names: Vec<&str> = run.classes.iter().map(|class| class.class.as_str()).collect();
        assert_eq!(names, ["critical", "background"]);
        let slowdown = run.classes[0].overload.slowdown.unwrap();
        assert!((slowdown - 1.5).abs() < 0.003, "{slowdown}");
        assert_eq!(run.classes[0].calm.slowdown, None);
        assert_eq!(run.classes[1].calm.count, 0);
        assert!(run.classes[0].after.is_none());
    }

    #[test]
    fn cut_off_calls_are_named_in_the_figures_they_touch() {
        let background = &run().classes[1].overload;
        assert_eq!((background.count, background.unfinished, background.errors), (1, 1, 1));
        assert_eq!(run().errors, BTreeMap::from([("dropped".to_owned(), 1)]));
        assert_eq!(background.at_least, ["p99_ms", "p99_9_ms", "max_ms"]);
        assert!((background.offered_per_s - 0.75).abs() < 1e-9);
    }

    #[test]
    fn the_json_has_the_agreed_shape() {
        let json = serde_json::to_value(Report::new(vec![run()], vec![])).unwrap();
        let class = &json["runs"][0]["classes"][0];
        assert_eq!(json["runs"][0]["policy"], "xx");
        assert_eq!(class["class"], "critical");
        assert_eq!(class["price"], 2.0);
        for phase in ["calm", "overload"] {
            assert_eq!(class[phase]["count"], 1);
            for field in ["p50_ms", "p99_ms", "p99_9_ms"] {
                assert!(class[phase][field].as_f64().unwrap() > 1.9, "{phase} {field}");
            }
        }
        assert!(json["machine"]["cores"].as_u64().unwrap() >= 1);
        assert!(json["commit"].is_string());
        assert!(json["runs"][0]["classes"][1]["calm"]["p50_ms"].is_null());
    }

    #[test]
    fn saving_to_a_folder_that_does_not_exist_names_the_path() {
        let error = Report::new(vec![], vec![]).save(Path::new("/no/such/place.json")).unwrap_err();
        assert_eq!(error.to_string(), "write /no/such/place.json");
    }
}
