//! What was measured beside what was predicted, for `fermata bench agree`.

use std::collections::BTreeMap;
use std::time::Instant;

use model::PriceList;
use serde_json::json;
use sim::experiment::Comparison;
use sim::statistics::{Cell as Figures, ClassReport, reports};
use sim::workload::Phases;

use super::results::{Cell, Results, Table, class_rows, digits};
use super::{charts, output};

/// Where figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A platform on this machine.
    Measured,
    /// The simulator.
    Predicted,
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Predicted => "predicted",
        }
    }
}

/// Figures of both, by policy.
#[derive(Debug)]
pub(crate) struct Agreement {
    prices: PriceList,
    runs: u64,
    parts: Vec<(String, Source, Vec<ClassReport>)>,
}

impl Agreement {
    /// Nothing yet.
    pub(crate) const fn new(prices: PriceList, runs: u64) -> Self {
        Self { prices, runs, parts: Vec::new() }
    }

    /// The runs of one policy.
    pub(crate) fn add(&mut self, policy: &str, source: Source, runs: &[[Vec<Figures>; 3]]) {
        let seen = |report: &ClassReport| report.before.count + report.overload.count > 0;
        let reports = reports(policy, &self.prices, runs).into_iter().filter(seen).collect();
        self.parts.push((policy.to_owned(), source, reports));
    }

    /// Prints and writes both side by side.
    pub(crate) fn write(
        &self,
        args: &output::Args,
        begun: Instant,
        is_quick: bool,
    ) -> anyhow::Result<()> {
        let title = "A flood on this machine, measured and predicted by the simulator";
        let runs: Vec<u64> = (1..=self.runs).collect();
        let mut results = Results::new("agree", title, &runs);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        results.notes = vec![
            format!(
                "the top class at 30 % of the machine, then beside it a flood of the lowest at 200 %, \
                 all carried to its end; measured inside the platform, {cores} cores; predicted on 1 \
                 machine × {cores} cores from the recorded arrivals and CPU times"
            ),
            "slowdown: time from arrival to end over the CPU time of that call".to_owned(),
        ];
        if is_quick {
            results.notes.push("--quick: these figures mean nothing".to_owned());
        }
        for (_, source, reports) in &self.parts {
            results
                .rows
                .extend(class_rows(reports, &BTreeMap::from([("source", json!(source.name()))])));
        }
        results.tables = vec![self.table()];
        results.findings = self.findings();
        let mut figure = charts::dots(
            &self.joined(),
            "p99 slowdown of each class, measured and predicted",
            "before: the top class alone; overload: with the flood. Mean over runs with its 95 % confidence interval",
        );
        figure.rows.iter_mut().flat_map(|row| &mut row.panels).for_each(|panel| {
            panel.title =
                if panel.title == "before" { "alone".into() } else { "with the flood".into() };
        });
        results.figures = vec![("agree".into(), figure)];
        output::write(args, &results, begun)
    }

    /// As one comparison, whose policies say their source.
    fn joined(&self) -> Comparison {
        let named = |(policy, source, reports): &(String, Source, Vec<ClassReport>)| {
            let policy = format!("{policy}, {}", source.name());
            reports
                .iter()
                .map(|report| ClassReport { policy: policy.clone(), ..report.clone() })
                .collect::<Vec<_>>()
        };
        Comparison {
            recipe: String::new(),
            phases: Phases::NONE,
            classes: self.parts.iter().flat_map(named).collect(),
            policies: Vec::new(),
        }
    }

    /// Each measured report with its prediction.
    fn pairs(&self) -> Vec<(&ClassReport, &ClassReport)> {
        let mut pairs = Vec::new();
        for (policy, _, measured) in self.parts.iter().filter(|part| part.1 == Source::Measured) {
            let predicted =
                self.parts.iter().find(|part| part.0 == *policy && part.1 == Source::Predicted);
            let Some((_, _, predicted)) = predicted else { continue };
            for report in measured {
                pairs.extend(
                    predicted
                        .iter()
                        .find(|other| other.class == report.class)
                        .map(|other| (report, other)),
                );
            }
        }
        pairs
    }

    fn table(&self) -> Table {
        let header = [
            "policy",
            "class",
            "phase",
            "calls a run",
            "p50 slowdown, measured",
            "p50 slowdown, predicted",
            "p99 slowdown, measured",
            "p99 slowdown, predicted",
            "p99 ms, measured",
            "p99 ms, predicted",
        ];
        let mut cells = Vec::new();
        for (report, other) in self.pairs() {
            for (nth, name) in [(0, "alone"), (1, "with the flood")] {
                let (measured, predicted) = (charts::phase(report, nth), charts::phase(other, nth));
                if measured.count == 0 {
                    continue;
                }
                let runs = measured.p99_slowdown.seeds.max(1);
                cells.push(vec![
                    Cell::text(&report.policy),
                    Cell::text(&report.class),
                    Cell::text(name),
                    Cell::Number((measured.count / runs) as f64),
                    Cell::Estimate(measured.p50_slowdown),
                    Cell::Estimate(predicted.p50_slowdown),
                    Cell::Estimate(measured.p99_slowdown),
                    Cell::Estimate(predicted.p99_slowdown),
                    Cell::Estimate(measured.p99_ms),
                    Cell::Estimate(predicted.p99_ms),
                ]);
            }
        }
        Table {
            name: "agree".into(),
            title: "Measured and predicted".into(),
            header: header.map(str::to_owned).to_vec(),
            rows: cells,
        }
    }

    fn findings(&self) -> Vec<String> {
        let finding = |(measured, predicted): (&ClassReport, &ClassReport)| {
            let (was, said) =
                (measured.overload.p50_slowdown.mean, predicted.overload.p50_slowdown.mean);
            let (was_99, said_99) =
                (measured.overload.p99_slowdown.mean, predicted.overload.p99_slowdown.mean);
            format!(
                "{} {} with the flood: p50 slowdown measured {}, predicted {} ({} %); p99 {} and {} ({} %)",
                measured.policy,
                measured.class,
                digits(was),
                digits(said),
                digits(100.0 * (said / was.max(1e-9) - 1.0)),
                digits(was_99),
                digits(said_99),
                digits(100.0 * (said_99 / was_99.max(1e-9) - 1.0)),
            )
        };
        self.pairs().into_iter().map(finding).collect()
    }
}
