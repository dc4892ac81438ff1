//! Pictures and tables of comparisons.

use plotters::style::RGBColor;
use sim::experiment::{Comparison, Tick};
use sim::statistics::{ClassReport, PhaseReport};
use sim::workload::Phases;

use super::figure::{Axis, Figure, Look, Panel, Point, Row, Series};
use super::results::{Cell, Table};
use crate::load::plot::color_of;

/// The names of the phases, as the JSON has them.
pub(super) const PHASES: [&str; 3] = ["before", "overload", "after"];

/// One phase of a report.
pub(super) const fn phase(report: &ClassReport, phase: usize) -> &PhaseReport {
    match phase {
        0 => &report.before,
        1 => &report.overload,
        _ => &report.after,
    }
}

/// Which phases had arrivals.
pub(super) fn phases_of(comparison: &Comparison) -> Vec<usize> {
    let seen = |&nth: &usize| comparison.classes.iter().any(|report| phase(report, nth).count > 0);
    (0..3).filter(seen).collect()
}

/// How a phase is called where there is only one.
const fn phase_name(phases: &[usize], nth: usize) -> &'static str {
    if phases.len() == 1 { "all the time" } else { PHASES[nth] }
}

/// The color of a class: that of its name, or by its place in the list.
pub(super) fn color(class: &str, place: usize) -> RGBColor {
    const OTHERS: [RGBColor; 7] = [
        RGBColor(0xd5, 0x5e, 0x00),
        RGBColor(0x00, 0x72, 0xb2),
        RGBColor(0xcc, 0x79, 0xa7),
        RGBColor(0x00, 0x9e, 0x73),
        RGBColor(0xe6, 0x9f, 0x00),
        RGBColor(0x56, 0xb4, 0xe9),
        RGBColor(0x8a, 0x8f, 0x98),
    ];
    let known = ["critical", "interactive", "standard", "economy", "background"];
    if known.contains(&class) { color_of(class) } else { OTHERS[place % OTHERS.len()] }
}

/// Classes with their prices, dearest first.
pub(super) fn classes_of(reports: &[ClassReport]) -> Vec<(String, f64)> {
    let mut classes: Vec<(String, f64)> = Vec::new();
    for report in reports {
        if !classes.iter().any(|(name, _)| *name == report.class) {
            classes.push((report.class.clone(), report.price));
        }
    }
    classes
}

/// The legend of classes.
pub(super) fn class_legend(reports: &[ClassReport]) -> Vec<(String, RGBColor)> {
    let entry = |(place, (class, price)): (usize, (String, f64))| {
        (format!("{class}, {price:.1} µ¢ per CPU s"), color(&class, place))
    };
    classes_of(reports).into_iter().enumerate().map(entry).collect()
}

/// p99 slowdown (or another figure) of each class under each policy, one panel a phase.
pub(super) fn dots(comparison: &Comparison, title: &str, subtitle: &str) -> Figure {
    let phases = phases_of(comparison);
    // By the rows, since what was measured has rows and no policy.
    let mut names: Vec<&str> =
        comparison.classes.iter().map(|report| report.policy.as_str()).collect();
    names.dedup();
    let classes = classes_of(&comparison.classes);
    let panel = |&nth: &usize| {
        // Classes stand a little below each other, so that equal ones do not hide each other.
        let step = 0.7 / classes.len().max(1) as f64;
        let beside = |place: usize| (place as f64 - (classes.len() - 1) as f64 / 2.0) * step;
        let of = |class: &str, place: usize| -> Vec<Point> {
            let reports =
                comparison.classes.iter().filter(|r| r.class == class && phase(r, nth).count > 0);
            let point = |report: &ClassReport| {
                let at = names.iter().position(|name| *name == report.policy)?;
                let p99 = phase(report, nth).p99_slowdown;
                let y = at as f64 + beside(place);
                Some(Point { x: p99.mean, y, span: Some((p99.low.max(1e-3), p99.high)) })
            };
            reports.filter_map(point).collect()
        };
        let series = |(place, (class, _)): (usize, &(String, f64))| Series {
            color: color(class, place),
            look: Look::Dots,
            points: of(class, place),
        };
        // The dearest is drawn last and lies on top.
        let series: Vec<Series> = classes.iter().enumerate().rev().map(series).collect();
        let values = series.iter().flat_map(|s| &s.points).map(|point| point.x.max(1.0));
        Panel {
            title: phase_name(&phases, nth).to_owned(),
            x: Axis::log("p99 slowdown, × the time alone (log scale)", values.chain([1.0])),
            y: Axis::names(names.iter().copied()),
            shade: None,
            mark: None,
            series,
        }
    };
    let height_px = 110 + 44 * u32::try_from(names.len().max(2)).unwrap_or(20);
    Figure {
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        rows: vec![Row { height_px, panels: phases.iter().map(panel).collect() }],
        legend: class_legend(&comparison.classes),
    }
}

/// p99 slowdown of each class over time, one panel a policy, above the cores that were busy.
pub(super) fn over_time(
    comparison: &Comparison,
    tick_ns: u64,
    title: &str,
    subtitle: &str,
) -> Figure {
    let classes = classes_of(&comparison.classes);
    let all = comparison.policies.iter().flat_map(|policy| &policy.ticks);
    let slowdowns: Vec<f64> = all.clone().flat_map(|tick| tick.p99_slowdown.clone()).collect();
    let last = all.map(|tick| tick.tick as f64 + 1.0).fold(1.0, f64::max);
    let shade = shade(comparison.phases, tick_ns);
    let x = Axis::linear("time of arrival, ticks", [0.0, last]);
    let lines = |ticks: &[Tick]| {
        // Ticks have their classes cheapest first.
        let line = |(place, (class, _)): (usize, &(String, f64))| {
            let class_at = classes.len() - 1 - place;
            let point =
                |tick: &Tick| Point::at(tick.tick as f64 + 0.5, tick.p99_slowdown[class_at]);
            let width = if place == 0 { 3 } else { 2 };
            let points = ticks.iter().map(point).collect();
            Series { color: color(class, place), look: Look::Line(width), points }
        };
        classes.iter().enumerate().rev().map(line).collect()
    };
    let upper = comparison.policies.iter().map(|policy| Panel {
        title: policy.policy.clone(),
        x: x.clone(),
        y: Axis::log("p99 slowdown (log scale)", slowdowns.iter().copied()),
        shade: shade.clone(),
        mark: None,
        series: lines(&policy.ticks),
    });
    let busy = |tick: &Tick| Point::at(tick.tick as f64 + 0.5, 100.0 * tick.cores);
    let lower = comparison.policies.iter().map(|policy| Panel {
        title: String::new(),
        x: x.clone(),
        y: Axis::linear("cores busy, %", [0.0, 100.0]),
        shade: shade.clone(),
        mark: None,
        series: vec![Series {
            color: RGBColor(0x44, 0x4c, 0x56),
            look: Look::Line(2),
            points: policy.ticks.iter().map(busy).collect(),
        }],
    });
    Figure {
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        rows: vec![
            Row { height_px: 380, panels: upper.collect() },
            Row { height_px: 220, panels: lower.collect() },
        ],
        legend: class_legend(&comparison.classes),
    }
}

fn shade(phases: Phases, tick_ns: u64) -> Option<(std::ops::Range<f64>, String)> {
    if phases.after_ns <= phases.overload_ns || phases.overload_ns == u64::MAX {
        return None;
    }
    let tick = |ns: u64| ns as f64 / tick_ns.max(1) as f64;
    Some((tick(phases.overload_ns)..tick(phases.after_ns), "overload".to_owned()))
}

/// Slowdown and absolute time of each class under each policy.
pub(super) fn class_table(comparison: &Comparison) -> Table {
    let phases = phases_of(comparison);
    let mut header = vec!["policy".to_owned(), "class".to_owned()];
    for &nth in &phases {
        let name = phase_name(&phases, nth);
        header.extend(
            ["p50 slowdown", "p99 slowdown", "p99 ms"].map(|figure| format!("{name}: {figure}")),
        );
    }
    let row = |report: &ClassReport| {
        let mut cells = vec![Cell::text(&report.policy), Cell::text(&report.class)];
        for &nth in &phases {
            let phase = phase(report, nth);
            let figures = [phase.p50_slowdown, phase.p99_slowdown, phase.p99_ms];
            let cell = |e| if phase.count > 0 { Cell::Estimate(e) } else { Cell::Nothing };
            cells.extend(figures.map(cell));
        }
        cells
    };
    let empty = |report: &&ClassReport| (0..3).any(|nth| phase(report, nth).count > 0);
    Table {
        name: "classes".into(),
        title: "Slowdown against running alone, and latency, by time of arrival".into(),
        header,
        rows: comparison.classes.iter().filter(empty).map(row).collect(),
    }
}

/// What each policy did as a whole.
pub(super) fn policy_table(comparison: &Comparison) -> Table {
    let header = [
        "policy",
        "cores busy",
        "idlest machine",
        "busiest machine",
        "mean slowdown",
        "messages a call",
        "preemptions a call",
        "refused",
        "kills",
    ];
    let row = |report: &sim::experiment::PolicyReport| {
        vec![
            Cell::text(&report.policy),
            Cell::Estimate(report.utilization),
            Cell::Estimate(report.utilization_min),
            Cell::Estimate(report.utilization_max),
            Cell::Estimate(report.mean_slowdown),
            Cell::Estimate(report.messages),
            Cell::Estimate(report.preemptions),
            Cell::Number((report.counts.rejected + report.counts.failed) as f64),
            Cell::Number(report.counts.kills as f64),
        ]
    };
    Table {
        name: "policies".into(),
        title: "The policies as a whole".into(),
        header: header.map(str::to_owned).to_vec(),
        rows: comparison.policies.iter().map(row).collect(),
    }
}
