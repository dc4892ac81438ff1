//! Tables for a person: aligned, and colored only where the reader is a terminal.

use std::fmt::Write as _;

use super::report::{Class, Figures, Report, Run};

/// Whether to use terminal colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Letters only.
    Plain,
    /// With ANSI colors.
    Color,
}

impl Style {
    /// Colors when standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) fn for_stdout() -> Self {
        use std::io::IsTerminal as _;
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::stdout().is_terminal() { Self::Color } else { Self::Plain }
    }

    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) | (_, Tone::Plain) => return text.to_owned(),
            (Self::Color, Tone::Head) => "1",
            (Self::Color, Tone::Faint) => "2",
            (Self::Color, Tone::Good) => "32",
            (Self::Color, Tone::Bad) => "1;31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// What a cell wants to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// A heading.
    Head,
    /// Less important.
    Faint,
    /// As it should be.
    Good,
    /// As it should not be.
    Bad,
}

/// A text with its tone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell of that tone.
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }

    /// A plain cell.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// Lays rows out in columns: the first `left` columns to the left, the rest to the right.
pub(crate) fn layout(rows: &[Vec<Cell>], left: usize, style: Style) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.text.chars().count());
            let text = style.paint(cell.tone, &cell.text);
            let gap = if column == 0 { "" } else { "  " };
            let is_last = column + 1 == row.len();
            let _ = match (column < left, is_last) {
                (true, true) => write!(line, "{gap}{text}"),
                (true, false) => write!(line, "{gap}{text}{padding}"),
                (false, _) => write!(line, "{gap}{padding}{text}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// All runs side by side: for each class one line a policy, the phases from left to right.
pub(crate) fn render(report: &Report, style: Style) -> String {
    let Some(first) = report.runs.first() else { return String::new() };
    let groups = groups(report);
    let mut rows = vec![phases_row(&groups), columns_row(&groups)];
    for class in &first.classes {
        for (index, run) in report.runs.iter().enumerate() {
            let Some(own) = run.classes.iter().find(|other| other.class == class.class) else {
                continue;
            };
            let label = match index {
                0 => Cell::new(Tone::Head, &class.class),
                1 => Cell::new(Tone::Faint, format!("{:.1} µ¢/s", class.price)),
                _ => Cell::plain(""),
            };
            rows.push(class_row(label, run, own));
        }
    }
    layout(&rows, 2, style)
}

/// What is to be said below the table: the calls that failed, and the report's notes.
pub(crate) fn render_notes(report: &Report) -> String {
    let mut out = String::new();
    for run in report.runs.iter().filter(|run| !run.errors.is_empty()) {
        let codes: Vec<String> =
            run.errors.iter().map(|(code, count)| format!("{count} × {code}")).collect();
        let _ = writeln!(out, "errors under {}: {}", run.policy, codes.join(", "));
    }
    for note in &report.notes {
        let _ = writeln!(out, "Note: {note}.");
    }
    out
}

const CALM_HEADS: [&str; 3] = ["calls", "p50 ms", "p99 ms"];
const OVERLOAD_HEADS: [&str; 7] =
    ["calls", "p50 ms", "p99 ms", "p99.9 ms", "slowdown", "cut off", "errors"];
const AFTER_HEADS: [&str; 2] = ["calls", "p99 ms"];

fn bar() -> Cell {
    Cell::new(Tone::Faint, "│")
}

/// The phases and their columns; the last one only where a run went on after the overload.
fn groups(report: &Report) -> Vec<(&'static str, &'static [&'static str])> {
    let mut groups: Vec<(_, &[_])> = vec![("calm", &CALM_HEADS), ("overload", &OVERLOAD_HEADS)];
    if report.runs.iter().flat_map(|run| &run.classes).any(|class| class.after.is_some()) {
        groups.push(("after", &AFTER_HEADS));
    }
    groups
}

fn phases_row(groups: &[(&str, &[&str])]) -> Vec<Cell> {
    let mut row = vec![Cell::plain(""); 2];
    for (name, heads) in groups {
        let end = row.len() + 1 + heads.len();
        row.extend([bar(), Cell::new(Tone::Head, *name)]);
        row.resize(end, Cell::plain(""));
    }
    row
}

fn columns_row(groups: &[(&str, &[&str])]) -> Vec<Cell> {
    let faint = |head: &str| Cell::new(Tone::Faint, head);
    let mut row = ["class", "policy"].map(faint).to_vec();
    for (_, heads) in groups {
        row.push(bar());
        row.extend(heads.iter().map(|head| faint(head)));
    }
    row
}

fn class_row(label: Cell, run: &Run, class: &Class) -> Vec<Cell> {
    let Class { calm, overload, after, .. } = class;
    let slowdown_tone = match overload.slowdown {
        Some(times) if times <= SLOWDOWN_GOOD => Tone::Good,
        Some(times) if times >= SLOWDOWN_BAD => Tone::Bad,
        _ => Tone::Plain,
    };
    let slowdown = number(overload.slowdown, overload.is_at_least("slowdown"), "×");
    let mut row = vec![label, Cell::plain(&run.policy), bar()];
    row.extend([count_cell(calm), ms_cell(calm, "p50_ms"), ms_cell(calm, "p99_ms"), bar()]);
    row.push(count_cell(overload));
    row.extend(["p50_ms", "p99_ms", "p99_9_ms"].map(|field| ms_cell(overload, field)));
    row.push(Cell::new(slowdown_tone, slowdown));
    let errors_tone = if overload.errors > 0 { Tone::Bad } else { Tone::Faint };
    let cut_off_tone = if overload.unfinished > 0 { Tone::Plain } else { Tone::Faint };
    row.push(Cell::new(cut_off_tone, overload.unfinished.to_string()));
    row.push(Cell::new(errors_tone, overload.errors.to_string()));
    if let Some(after) = after {
        row.extend([bar(), count_cell(after), ms_cell(after, "p99_ms")]);
    }
    row
}

fn count_cell(figures: &Figures) -> Cell {
    Cell::plain(figures.count.to_string())
}

fn ms_cell(figures: &Figures, field: &str) -> Cell {
    let value = match field {
        "p50_ms" => figures.p50_ms,
        "p99_ms" => figures.p99_ms,
        _ => figures.p99_9_ms,
    };
    Cell::plain(number(value, figures.is_at_least(field), ""))
}

/// Up to this the class does not feel the overload.
const SLOWDOWN_GOOD: f64 = 1.2;
/// From this on a person does.
const SLOWDOWN_BAD: f64 = 3.0;

/// Three digits that matter; `≥` where the value is a lower bound; `–` where there is none.
pub(crate) fn number(value: Option<f64>, at_least: bool, unit: &str) -> String {
    let Some(value) = value else { return "–".into() };
    let sign = if at_least { "≥ " } else { "" };
    let digits = match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => grouped(v),
    };
    format!("{sign}{digits}{unit}")
}

/// `12,345`
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::machine::Machine;

    fn class(name: &str, p99: f64) -> Class {
        let calm =
            Figures { count: 10, p50_ms: Some(1.0), p99_ms: Some(2.0), ..Figures::default() };
        let overload = Figures {
            slowdown: Some(p99 / 2.0),
            p99_ms: Some(p99),
            unfinished: 3,
            at_least: vec!["p99_ms"],
            ..calm
        };
        Class {
            class: name.into(),
            price: 2.0,
            functions: vec![],
            calm,
            overload,
            after: None,
            line: vec![],
        }
    }

    fn report() -> Report {
        let run = |policy: &str, p99| Run {
            policy: policy.into(),
            classes: vec![class("critical", p99), class("background", 12_345.0)],
            generator_late_p99_ms: None,
            errors: std::collections::BTreeMap::new(),
        };
        let machine = Machine { cores: 2, cpu: "x".into(), kernel: "6".into(), memory_mib: 1 };
        Report {
            runs: vec![run("xx", 2.1), run("hermod", 80.0)],
            machine,
            commit: "c",
            notes: vec![],
        }
    }

    #[test]
    fn runs_stand_side_by_side_in_straight_columns() {
        let table = render(&report(), Style::Plain);
        let bars: Vec<Vec<usize>> = table
            .lines()
            .map(|line| {
                line.chars().enumerate().filter(|(_, c)| *c == '│').map(|(i, _)| i).collect()
            })
            .collect();
        assert_eq!(bars.len(), 6, "{table}");
        assert!(bars.iter().all(|bar| *bar == bars[0] && bar.len() == 2), "{table}");
        assert!(table.contains("≥ 12,345"), "{table}");
        assert!(table.lines().nth(3).unwrap().starts_with("2.0 µ¢/s    hermod"), "{table}");
        assert!(table.contains("40.0×"), "{table}");
        assert!(!table.contains('\u{1b}'));
    }

    #[test]
    fn failed_calls_are_named_below_the_table() {
        let mut report = report();
        report.runs[0].errors.insert("overloaded".into(), 3);
        report.notes.push("it rained".into());
        assert_eq!(render_notes(&report), "errors under xx: 3 × overloaded\nNote: it rained.\n");
    }

    #[test]
    fn color_marks_what_is_good_and_bad_and_moves_nothing() {
        let (plain, color) = (render(&report(), Style::Plain), render(&report(), Style::Color));
        assert!(color.contains("\u{1b}[32m1.05×\u{1b}[0m"), "{color}");
        assert!(color.contains("\u{1b}[1;31m40.0×\u{1b}[0m"), "{color}");
        let mut stripped = color;
        for code in ["0", "1", "2", "32", "1;31"] {
            stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
        }
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&stripped), trimmed(&plain));
    }

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let check = |value, at_least, expected: &str| {
            assert_eq!(number(value, at_least, ""), expected);
        };
        check(None, false, "–");
        check(Some(1.234), false, "1.23");
        check(Some(12.34), false, "12.3");
        check(Some(123.4), false, "123");
        check(Some(1234.4), false, "1,234");
        check(Some(1_234_567.0), true, "≥ 1,234,567");
    }
}
