//! The picture of a report: p99 of each class over time, one panel a policy, one scale for all.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::{Class, Report, Run};
use super::statistics::Point;

/// What the report alone does not say.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The headline.
    pub(crate) title: String,
    /// One line below it.
    pub(crate) subtitle: String,
    /// The length of a run in seconds.
    pub(crate) length_s: f64,
    /// From when to when more was offered than the machine can do, in seconds.
    pub(crate) overload_s: Range<f64>,
    /// What to write in the shaded window: `3.2× offered`.
    pub(crate) overload_label: String,
    /// A headline for each panel, in the order of the runs.
    pub(crate) panels: Vec<String>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Log = plotters::coord::combinators::LogCoord<f64>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Log>>;

const FONT: &str = "Helvetica, Arial, sans-serif";
pub(crate) const INK: RGBColor = RGBColor(0x1f, 0x24, 0x2b);
pub(crate) const FAINT: RGBColor = RGBColor(0x6b, 0x73, 0x80);
pub(crate) const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);
pub(crate) const SHADE: RGBColor = RGBColor(0xfb, 0xf1, 0xde);
const PANEL_WIDTH_PX: u32 = 560;
const HEIGHT_PX: u32 = 560;
const HEAD_PX: u32 = 78;
const LEGEND_PX: u32 = 62;

/// Draws the report and writes it to `path` as SVG.
pub(crate) fn save(path: &Path, report: &Report, frame: &Frame) -> anyhow::Result<()> {
    let svg = render(report, frame).context("draw the plot")?;
    fs::write(path, svg).with_context(|| format!("write {}", path.display()))
}

/// The SVG as text.
pub(crate) fn render(report: &Report, frame: &Frame) -> anyhow::Result<String> {
    let panels = u32::try_from(report.runs.len().max(1)).context("count the panels")?;
    let mut svg = String::new();
    {
        let size = (PANEL_WIDTH_PX * panels + 40, HEIGHT_PX);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root, report, frame).map_err(|error| anyhow!("{error}"))?;
        root.present().map_err(|error| anyhow!("{error}"))?;
    }
    Ok(svg)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(root: &Area<'_>, report: &Report, frame: &Frame) -> Drawn {
    root.fill(&WHITE)?;
    let (head, rest) = root.split_vertically(HEAD_PX);
    let (middle, foot) = rest.split_vertically(HEIGHT_PX - HEAD_PX - LEGEND_PX);
    head.draw_text(&frame.title, &text(23, INK, HPos::Left), (28, 34))?;
    head.draw_text(&frame.subtitle, &text(14, FAINT, HPos::Left), (28, 60))?;
    let scale = scale_of(&report.runs);
    let middle = middle.margin(0, 0, 10, 24);
    let areas = middle.split_evenly((1, report.runs.len().max(1)));
    for (index, (run, area)) in report.runs.iter().zip(&areas).enumerate() {
        let title = frame.panels.get(index).map_or(run.policy.as_str(), String::as_str);
        draw_panel(area, run, &Panel { title, frame, scale: scale.clone(), is_first: index == 0 })?;
    }
    draw_legend(&foot, report)
}

struct Panel<'a> {
    title: &'a str,
    frame: &'a Frame,
    scale: Range<f64>,
    is_first: bool,
}

fn draw_panel(area: &Area<'_>, run: &Run, panel: &Panel<'_>) -> Drawn {
    let (caption, body) = area.split_vertically(26);
    caption.draw_text(panel.title, &text(16, INK, HPos::Left), (66, 18))?;
    let mut chart = ChartBuilder::on(&body)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .margin_right(8)
        .margin_top(4)
        .build_cartesian_2d(0.0..panel.frame.length_s, panel.scale.clone().log_scale())?;
    draw_window(&chart, panel)?;
    draw_grid(&mut chart, panel)?;
    // The dearest class is drawn last, so that it lies on top.
    for class in run.classes.iter().rev() {
        draw_line(&mut chart, class)?;
    }
    Ok(())
}

fn draw_window(chart: &Chart<'_, '_>, panel: &Panel<'_>) -> Drawn {
    let Panel { frame, scale, .. } = panel;
    let Range { start, end } = frame.overload_s;
    let area = chart.plotting_area();
    area.draw(&Rectangle::new([(start, scale.start), (end, scale.end)], SHADE.filled()))?;
    let style = text(13, RGBColor(0x9a, 0x6b, 0x12), HPos::Center);
    let label = Text::new(frame.overload_label.clone(), (0, 16), style);
    area.draw(&(EmptyElement::at((start.midpoint(end), scale.end)) + label))?;
    Ok(())
}

fn draw_grid(chart: &mut Chart<'_, '_>, panel: &Panel<'_>) -> Drawn {
    let decades = (panel.scale.end / panel.scale.start).log10().round();
    let labels = (0..=20).find(|&count| f64::from(count) >= decades).unwrap_or(20);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .x_labels(12)
        .y_labels(usize::try_from(labels)?)
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|ms| milliseconds(*ms))
        .x_desc("time of arrival, seconds")
        .y_desc(if panel.is_first { "p99 latency, milliseconds (log scale)" } else { "" })
        .label_style(text(13, FAINT, HPos::Center))
        .axis_desc_style(text(14, INK, HPos::Center))
        .draw()?;
    Ok(())
}

fn draw_line(chart: &mut Chart<'_, '_>, class: &Class) -> Drawn {
    let color = color_of(&class.class);
    let place = |point: &Point| (point.at_s, point.p99.ms);
    let width = if class.price >= 2.0 { 3 } else { 2 };
    chart.draw_series(LineSeries::new(class.line.iter().map(place), color.stroke_width(width)))?;
    let cut_off = class.line.iter().filter(|point| point.p99.at_least);
    chart.draw_series(cut_off.map(|point| {
        EmptyElement::at(place(point))
            + TriangleMarker::new((0, 0), 4, WHITE.filled())
            + TriangleMarker::new((0, 0), 4, color.stroke_width(1))
    }))?;
    Ok(())
}

fn draw_legend(area: &Area<'_>, report: &Report) -> Drawn {
    let Some(first) = report.runs.first() else { return Ok(()) };
    let (width_px, _) = area.dim_in_pixel();
    let entries = i32::try_from(first.classes.len())?;
    let step = 225;
    let mut left = (i32::try_from(width_px)? - entries * step) / 2;
    for class in &first.classes {
        let color = color_of(&class.class);
        area.draw(&PathElement::new([(left, 16), (left + 26, 16)], color.stroke_width(4)))?;
        let label = format!("{}, {:.1} µ¢ per CPU s", class.class, class.price);
        area.draw_text(&label, &text(13, INK, HPos::Left), (left + 33, 16))?;
        left += step;
    }
    let points = report.runs.iter().flat_map(|run| &run.classes).flat_map(|class| &class.line);
    if points.clone().any(|point| point.p99.at_least) {
        let note = "▲ at least this: some of these calls were still waiting when the run ended";
        let middle = i32::try_from(width_px)? / 2;
        area.draw_text(note, &text(13, FAINT, HPos::Center), (middle, 42))?;
    }
    Ok(())
}

pub(crate) fn text(size_px: u32, color: RGBColor, across: HPos) -> TextStyle<'static> {
    TextStyle {
        font: (FONT, size_px).into_font(),
        color: color.to_backend_color(),
        pos: Pos::new(across, VPos::Center),
    }
}

/// Colors that stay apart for color-blind readers (Okabe and Ito), one a class.
pub(crate) fn color_of(class: &str) -> RGBColor {
    match class {
        "critical" => RGBColor(0xd5, 0x5e, 0x00),
        "interactive" => RGBColor(0x00, 0x72, 0xb2),
        "standard" => RGBColor(0xcc, 0x79, 0xa7),
        "economy" => RGBColor(0x00, 0x9e, 0x73),
        _ => RGBColor(0x8a, 0x8f, 0x98),
    }
}

/// Whole decades around everything drawn.
fn scale_of(runs: &[Run]) -> Range<f64> {
    let values =
        || runs.iter().flat_map(|run| &run.classes).flat_map(|class| &class.line).map(|p| p.p99.ms);
    let lowest = values().fold(f64::INFINITY, f64::min);
    let highest = values().fold(0.0, f64::max);
    if highest <= 0.0 || !lowest.is_finite() {
        return 1.0..1_000.0;
    }
    let below = 10_f64.powf(lowest.max(0.001).log10().floor());
    let above = 10_f64.powf(highest.log10().ceil());
    below..above.max(below * 10.0)
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 1_000.0 => format!("{:.0},000", ms / 1_000.0),
        ms if ms >= 1.0 => format!("{ms:.0}"),
        ms if ms >= 0.1 => format!("{ms:.1}"),
        ms => format!("{ms:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::machine::Machine;
    use crate::load::report::Figures;
    use crate::load::statistics::Quantile;

    fn frame() -> Frame {
        Frame {
            title: "What a flood of background work does to each price class".into(),
            subtitle: "a test's machine".into(),
            length_s: 20.0,
            overload_s: 6.0..14.0,
            overload_label: "offered: 3.2× the machine".into(),
            panels: vec!["xx".into(), "hermod & co".into()],
        }
    }

    fn report(highest_ms: f64) -> Report {
        let point = |index: u32| {
            let in_overload = (12..28).contains(&index);
            let ms = if in_overload { highest_ms } else { 2.0 };
            let p99 = Quantile { ms: ms + f64::from(index), at_least: in_overload };
            Point { at_s: f64::from(index) / 2.0, p99 }
        };
        let class = |name: &str, price| Class {
            class: name.into(),
            price,
            functions: vec![],
            calm: Figures::default(),
            overload: Figures::default(),
            after: None,
            line: (0..40).map(point).collect(),
        };
        let run = |policy: &str| Run {
            policy: policy.into(),
            classes: vec![class("critical", 2.0), class("background", 0.3)],
            generator_late_p99_ms: None,
            errors: std::collections::BTreeMap::new(),
        };
        let machine = Machine { cores: 2, cpu: "x".into(), kernel: "6".into(), memory_mib: 1 };
        Report { runs: vec![run("xx"), run("hermod")], machine, commit: "c", notes: vec![] }
    }

    #[test]
    fn the_plot_names_its_classes_prices_units_and_panels() {
        let svg = render(&report(900.0), &frame()).unwrap();
        for expected in [
            "critical, 2.0 µ¢ per CPU s",
            "background, 0.3 µ¢ per CPU s",
            "p99 latency, milliseconds (log scale)",
            "time of arrival, seconds",
            "offered: 3.2× the machine",
            "hermod &amp; co",
            "still waiting when the run ended",
        ] {
            assert!(svg.contains(expected), "{expected} is missing");
        }
        // One line a class and panel, each of the width of its place in the price list.
        let lines = |width| svg.matches(&format!("stroke-width=\"{width}\"")).count();
        assert!(lines(3) >= 2 && lines(2) >= 2, "{} {}", lines(3), lines(2));
    }

    #[test]
    fn both_panels_share_whole_decades() {
        assert_eq!(scale_of(&report(900.0).runs), 1.0..1_000.0);
        assert_eq!(scale_of(&report(9_000.0).runs), 1.0..10_000.0);
        assert_eq!(scale_of(&[]), 1.0..1_000.0);
    }

    #[test]
    fn an_empty_report_is_still_a_picture() {
        let empty = Report { runs: vec![], ..report(1.0) };
        assert!(render(&empty, &frame()).unwrap().starts_with("<svg"));
    }

    #[test]
    fn labels_of_the_axis_are_plain_numbers() {
        let shown: Vec<String> = [0.01, 0.1, 1.0, 100.0, 10_000.0].map(milliseconds).to_vec();
        assert_eq!(shown, ["0.01", "0.1", "1", "100", "10,000"]);
    }
}
