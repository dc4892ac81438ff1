//! Pictures of results: panels in rows, axes that are linear or logarithmic, lines with their
//! confidence bands, points with their intervals, one legend for all.
//!
//! A panel maps values to pixels itself, since one kind of axis then serves all and labels stand
//! where a reader expects them: at whole decades, or at round numbers.

use std::ops::Range;

use anyhow::{Context as _, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::load::plot::{FAINT, GRID, INK, SHADE, text};

pub(super) use super::axis::Axis;

/// A picture.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What it shows.
    pub(super) title: String,
    /// Under which circumstances, in one line.
    pub(super) subtitle: String,
    /// Panels, from above and from the left.
    pub(super) rows: Vec<Row>,
    /// What each color means.
    pub(super) legend: Vec<(String, RGBColor)>,
}

/// Panels side by side.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Height of each, labels included.
    pub(super) height_px: u32,
    /// From the left.
    pub(super) panels: Vec<Panel>,
}

/// One pair of axes.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    /// What is in it.
    pub(super) title: String,
    /// Across.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// A part of the x axis that is shaded, and what to write there.
    pub(super) shade: Option<(Range<f64>, String)>,
    /// A line across at that height, and what to write at it.
    pub(super) mark: Option<(f64, String)>,
    /// What is drawn; the last lies on top.
    pub(super) series: Vec<Series>,
}

/// Points of one color.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) color: RGBColor,
    pub(super) look: Look,
    pub(super) points: Vec<Point>,
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A line of that width; intervals as a band.
    Line(u32),
    /// A dashed line.
    Dashes,
    /// A line with a dot at each point; intervals as a band.
    Dotted(u32),
    /// Dots alone; intervals across.
    Dots,
}

/// A point and the interval around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// On the y axis, or on the x axis for [`Look::Dots`].
    pub(super) span: Option<(f64, f64)>,
}

impl Point {
    /// Without an interval.
    pub(super) const fn at(x: f64, y: f64) -> Self {
        Self { x, y, span: None }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;
type Pixel = (i32, i32);

const PANEL_WIDTH_PX: u32 = 520;
const WIDTH_MIN_PX: u32 = 1_000;
const HEAD_PX: u32 = 74;
const LEGEND_LINE_PX: u32 = 26;
const SPACE: Margins = Margins { top: 34, right: 22, bottom: 52 };

struct Margins {
    top: i32,
    right: i32,
    bottom: i32,
}

impl Figure {
    /// The picture as SVG text.
    pub(super) fn render(&self) -> anyhow::Result<String> {
        let panels = self.rows.iter().map(|row| row.panels.len()).max().unwrap_or(1).max(1);
        let panels = u32::try_from(panels).context("count the panels")?;
        let width = (PANEL_WIDTH_PX * panels + 20).max(WIDTH_MIN_PX);
        let legend = self.legend_lines(width);
        let legend_px = LEGEND_LINE_PX * u32::try_from(legend.len())? + 20;
        let rows_px: u32 = self.rows.iter().map(|row| row.height_px).sum();
        let mut svg = String::new();
        {
            let size = (width, HEAD_PX + rows_px + legend_px);
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            self.draw(&root, &legend).map_err(|error| anyhow!("draw {}: {error}", self.title))?;
            root.present().map_err(|error| anyhow!("draw {}: {error}", self.title))?;
        }
        Ok(svg)
    }

    fn draw(&self, root: &Area<'_>, legend: &[Vec<(usize, i32)>]) -> Drawn {
        root.fill(&WHITE)?;
        root.draw_text(&self.title, &text(21, INK, HPos::Left), (24, 28))?;
        root.draw_text(&self.subtitle, &text(13, FAINT, HPos::Left), (24, 54))?;
        let (_, mut rest) = root.split_vertically(HEAD_PX);
        for row in &self.rows {
            let (area, below) = rest.split_vertically(row.height_px);
            let areas = area.margin(0, 0, 4, 16).split_evenly((1, row.panels.len().max(1)));
            for (panel, area) in row.panels.iter().zip(&areas) {
                panel.draw(area)?;
            }
            rest = below;
        }
        for (line, y) in legend.iter().zip((14..).step_by(26)) {
            for &(entry, x) in line {
                let (label, color) = &self.legend[entry];
                rest.draw(&PathElement::new([(x, y), (x + 24, y)], color.stroke_width(4)))?;
                rest.draw_text(label, &text(13, INK, HPos::Left), (x + 32, y))?;
            }
        }
        Ok(())
    }

    /// Lines of the legend: which entry stands where.
    fn legend_lines(&self, width_px: u32) -> Vec<Vec<(usize, i32)>> {
        let right = i32::try_from(width_px).unwrap_or(i32::MAX) - 24;
        let mut lines: Vec<Vec<(usize, i32)>> = vec![Vec::new()];
        let mut x = 28;
        for (entry, (label, _)) in self.legend.iter().enumerate() {
            let length = 32 + 8 * i32::try_from(label.chars().count()).unwrap_or(0) + 24;
            if x + length > right && lines.last().is_some_and(|line| !line.is_empty()) {
                lines.push(Vec::new());
                x = 28;
            }
            lines.last_mut().expect("there is one").push((entry, x));
            x += length;
        }
        lines
    }
}

/// A panel's axes in pixels.
struct Frame<'a> {
    panel: &'a Panel,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

#[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
const fn pixel(value: f64) -> i32 {
    value as i32
}

impl Frame<'_> {
    fn x(&self, value: f64) -> i32 {
        let across = self.panel.x.place(value).clamp(-0.2, 1.2);
        self.left + pixel(across * f64::from(self.right - self.left))
    }

    fn y(&self, value: f64) -> i32 {
        let up = self.panel.y.place(value).clamp(-0.2, 1.2);
        self.bottom - pixel(up * f64::from(self.bottom - self.top))
    }

    fn at(&self, point: &Point) -> Pixel {
        (self.x(point.x), self.y(point.y))
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (width, height) = area.dim_in_pixel();
        let longest = self.y.ticks.iter().map(|(_, label)| label.chars().count()).max();
        // At least five digits, so that panels above each other stand in line.
        let labels = 8 * i32::try_from(longest.unwrap_or(0).max(5))?;
        let frame = Frame {
            panel: self,
            left: labels + 44,
            right: i32::try_from(width)? - SPACE.right,
            top: SPACE.top,
            bottom: i32::try_from(height)? - SPACE.bottom,
        };
        area.draw_text(&self.title, &text(15, INK, HPos::Left), (frame.left, 14))?;
        self.draw_shade(area, &frame)?;
        self.draw_axes(area, &frame)?;
        let inside = area.clone().shrink(
            (frame.left, frame.top - 2),
            (frame.right - frame.left + 4, frame.bottom - frame.top + 4),
        );
        let origin = (frame.left, frame.top - 2);
        for series in &self.series {
            series.draw(&inside, &frame, origin)?;
        }
        Ok(())
    }

    fn draw_shade(&self, area: &Area<'_>, frame: &Frame<'_>) -> Drawn {
        let Some((range, label)) = &self.shade else { return Ok(()) };
        let (from, to) = (frame.x(range.start), frame.x(range.end));
        area.draw(&Rectangle::new([(from, frame.top), (to, frame.bottom)], SHADE.filled()))?;
        let style = text(12, RGBColor(0x9a, 0x6b, 0x12), HPos::Center);
        area.draw_text(label, &style, (i32::midpoint(from, to), frame.top + 11))?;
        Ok(())
    }

    fn draw_axes(&self, area: &Area<'_>, frame: &Frame<'_>) -> Drawn {
        let Frame { left, right, top, bottom, .. } = *frame;
        for (value, label) in &self.y.ticks {
            let y = frame.y(*value);
            area.draw(&PathElement::new([(left, y), (right, y)], GRID))?;
            area.draw_text(label, &text(12, FAINT, HPos::Right), (left - 7, y))?;
        }
        for (value, label) in &self.x.ticks {
            let x = frame.x(*value);
            area.draw(&PathElement::new([(x, top), (x, bottom)], GRID))?;
            area.draw_text(label, &text(12, FAINT, HPos::Center), (x, bottom + 14))?;
        }
        if let Some((value, label)) = &self.mark {
            let y = frame.y(*value);
            dashes(area, (left, y), (right, y), FAINT)?;
            area.draw_text(label, &text(11, FAINT, HPos::Right), (right - 4, y - 9))?;
        }
        area.draw(&PathElement::new([(left, top), (left, bottom), (right, bottom)], FAINT))?;
        let middle = (i32::midpoint(left, right), bottom + 36);
        area.draw_text(&self.x.label, &text(13, INK, HPos::Center), middle)?;
        let style = text(13, INK, HPos::Center).transform(FontTransform::Rotate270);
        area.draw_text(&self.y.label, &style, (14, i32::midpoint(top, bottom)))?;
        Ok(())
    }
}

impl Series {
    fn draw(&self, area: &Area<'_>, frame: &Frame<'_>, origin: Pixel) -> Drawn {
        let inside = |(x, y): Pixel| (x - origin.0, y - origin.1);
        let seen = |point: &&Point| frame.panel.x.can(point.x) && frame.panel.y.can(point.y);
        let points: Vec<&Point> = self.points.iter().filter(seen).collect();
        let at: Vec<Pixel> = points.iter().map(|point| inside(frame.at(point))).collect();
        match self.look {
            Look::Dots => return self.draw_dots(area, frame, &points, inside),
            Look::Dashes => {
                for pair in at.windows(2) {
                    dashes(area, pair[0], pair[1], self.color)?;
                }
                return Ok(());
            }
            Look::Line(_) | Look::Dotted(_) => {}
        }
        self.draw_band(area, frame, &points, inside)?;
        let (Look::Line(width) | Look::Dotted(width)) = self.look else { return Ok(()) };
        area.draw(&PathElement::new(at.clone(), self.color.stroke_width(width)))?;
        if matches!(self.look, Look::Dotted(_)) {
            for &center in &at {
                area.draw(&Circle::new(center, 3, self.color.filled()))?;
            }
        }
        Ok(())
    }

    fn draw_band(
        &self,
        area: &Area<'_>,
        frame: &Frame<'_>,
        points: &[&Point],
        inside: impl Fn(Pixel) -> Pixel,
    ) -> Drawn {
        let edge = |pick: fn((f64, f64)) -> f64| {
            let spans = points.iter().filter_map(move |point| Some((point.x, pick(point.span?))));
            spans.map(|(x, y)| inside((frame.x(x), frame.y(y)))).collect::<Vec<Pixel>>()
        };
        let mut around = edge(|(_, high)| high);
        around.extend(edge(|(low, _)| low).into_iter().rev());
        if around.len() >= 4 {
            area.draw(&Polygon::new(around, self.color.mix(0.16).filled()))?;
        }
        Ok(())
    }

    fn draw_dots(
        &self,
        area: &Area<'_>,
        frame: &Frame<'_>,
        points: &[&Point],
        inside: impl Fn(Pixel) -> Pixel,
    ) -> Drawn {
        for point in points {
            let center = inside(frame.at(point));
            if let Some((low, high)) = point.span {
                let ends = [low, high].map(|x| inside((frame.x(x), frame.y(point.y))));
                area.draw(&PathElement::new(ends, self.color.stroke_width(2)))?;
            }
            area.draw(&Circle::new(center, 4, self.color.filled()))?;
        }
        Ok(())
    }
}

/// A dashed line.
fn dashes(area: &Area<'_>, from: Pixel, to: Pixel, color: RGBColor) -> Drawn {
    const DASH_PX: f64 = 5.0;
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let count = pixel(dx.hypot(dy) / DASH_PX).max(1);
    let point = |nth: i32| {
        let part = f64::from(nth) / f64::from(count);
        (from.0 + pixel(dx * part), from.1 + pixel(dy * part))
    };
    for nth in (0..count).step_by(2) {
        area.draw(&PathElement::new([point(nth), point(nth + 1)], color.stroke_width(1)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        let points = (0..10).map(|n| Point {
            x: f64::from(n),
            y: 10_f64.powi(n % 4),
            span: Some((1.0, 1_000.0)),
        });
        let points: Vec<Point> = points.collect();
        let panel = Panel {
            title: "a <b>".into(),
            x: Axis::linear("time, ticks", [0.0, 9.0]),
            y: Axis::log("slowdown (log scale)", points.iter().map(|point| point.y)),
            shade: Some((2.0..4.0, "more".into())),
            mark: Some((1.05, "1.05".into())),
            series: vec![Series { color: INK, look: Look::Dotted(2), points }],
        };
        Figure {
            title: "a title".into(),
            subtitle: "how".into(),
            rows: vec![Row { height_px: 300, panels: vec![panel.clone(), panel] }],
            legend: vec![("critical".into(), INK)],
        }
    }

    #[test]
    fn a_figure_has_its_labels_ticks_and_legend_and_escapes_text() {
        let svg = figure().render().unwrap();
        for expected in
            ["a &lt;b&gt;", "time, ticks", "slowdown (log scale)", "critical", "more", "1,000"]
        {
            assert!(svg.contains(expected), "{expected}: {svg}");
        }
    }

    #[test]
    fn what_no_axis_can_show_is_left_out() {
        let mut figure = figure();
        let bad = [f64::NAN, f64::INFINITY, 0.0, -1.0].map(|y| Point::at(1.0, y));
        figure.rows[0].panels[0].series[0].points.extend(bad);
        assert!(!figure.render().unwrap().contains("NaN"));
        figure.rows[0].panels[0].series[0].points.clear();
        assert!(figure.render().unwrap().starts_with("<svg"));
    }

    #[test]
    fn a_long_legend_takes_more_lines() {
        let mut figure = figure();
        figure.legend = vec![("a policy with a long name".into(), INK); 12];
        assert!(figure.legend_lines(1_000).len() > 1);
    }
}
