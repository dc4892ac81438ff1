//! `fermata top`: the class lanes, live.

use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use serde_json::Value;

use super::{field, number};
use crate::client::{Client, Failed};
use crate::text;

const COLORS: [Color; 5] =
    [Color::DarkGray, Color::Blue, Color::Green, Color::Yellow, Color::LightRed];
const BAR_WIDTH: usize = 24;

/// Watch the class lanes: queued, running, preempted, latency, cores, memory
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one view and end
    #[arg(long)]
    once: bool,
    /// Print the figures as JSON and end
    #[arg(long)]
    json: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_interval)]
    interval: f64,
}

fn parse_interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds".to_owned())?;
    if (0.1..=3_600.0).contains(&seconds) { Ok(seconds) } else { Err("0.1 to 3600".into()) }
}

/// A look at the node, and the one before it, from which rates come.
struct View {
    server: String,
    now: Value,
    before: Option<Value>,
}

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    let now: Value = client.get("/v1/status")?;
    if args.json {
        text::print_json(&now);
        return Ok(());
    }
    let mut view = View { server: client.base().to_owned(), now, before: None };
    if args.once || !text::is_terminal() {
        text::print(&once(&view));
        return Ok(());
    }
    let mut terminal = ratatui::init();
    let result = watch(client, args, &mut view, &mut terminal);
    ratatui::restore();
    result
}

fn watch(
    client: &Client,
    args: &Args,
    view: &mut View,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failed> {
    let broken = |error: std::io::Error| Failed::Usage(format!("draw on this terminal: {error}"));
    let interval = Duration::from_secs_f64(args.interval);
    loop {
        terminal.draw(|frame| draw(frame, view)).map_err(broken)?;
        let next = Instant::now() + interval;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            if event::poll(left).map_err(broken)? && is_quit(&event::read().map_err(broken)?) {
                return Ok(());
            }
        }
        let now = client.get("/v1/status")?;
        view.before = Some(std::mem::replace(&mut view.now, now));
    }
}

fn is_quit(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.kind == KeyEventKind::Press
        && (interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

const HEADER: [&str; 12] = [
    "class",
    "µ¢/CPU s",
    "queued",
    "waiting",
    "running",
    "preempted",
    "blocked",
    "p50",
    "p99",
    "calls/s",
    "failed",
    "refused",
];

/// One row a class, the dearest first.
fn rows(view: &View) -> Vec<Vec<String>> {
    let classes = view.now["classes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |(index, class): (usize, &Value)| {
        let quantile = |name: &str| match class[name].as_u64() {
            Some(micros) => text::duration(Duration::from_micros(micros)),
            None => "–".to_owned(),
        };
        let mut cells: Vec<String> =
            ["class", "price", "queued", "waiting", "running", "preempted", "blocked"]
                .map(|name| field(class, name))
                .into();
        cells.extend([quantile("p50_us"), quantile("p99_us"), rate(view, index)]);
        cells.extend([field(class, "failed"), field(class, "refused")]);
        cells
    };
    classes.iter().enumerate().rev().map(row).collect()
}

/// Calls that ended a second, since the look before or since the start.
fn rate(view: &View, class: usize) -> String {
    let ended = |status: &Value| {
        let class = &status["classes"][class];
        number(class, "succeeded") + number(class, "failed")
    };
    let (ended_before, since) = match &view.before {
        Some(before) => (ended(before), number(before, "at_ms")),
        None => (0, number(&view.now, "started_ms")),
    };
    let millis = number(&view.now, "at_ms").saturating_sub(since).max(1);
    let calls = ended(&view.now).saturating_sub(ended_before);
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let rate = calls as f64 * 1_000.0 / millis as f64;
    format!("{rate:.1}")
}

fn title(view: &View) -> String {
    let up = number(&view.now, "at_ms").saturating_sub(number(&view.now, "started_ms"));
    format!(
        " {}   policy {}   up {}   async pending {} ",
        view.server,
        field(&view.now, "policy"),
        text::duration(Duration::from_millis(up)),
        field(&view.now, "async_pending"),
    )
}

fn once(view: &View) -> String {
    let mut header = HEADER;
    let aligned: Vec<String> = header
        .iter_mut()
        .enumerate()
        .map(|(index, name)| if index == 0 { (*name).to_owned() } else { format!(">{name}") })
        .collect();
    let aligned: Vec<&str> = aligned.iter().map(String::as_str).collect();
    let mut shown = format!("{}\n{}", title(view).trim(), text::table(&aligned, &rows(view)));
    for machine in machines(view) {
        let held: usize = held(machine).iter().sum();
        let memory = (number(machine, "memory_used"), number(machine, "memory_total"));
        shown.push_str(&format!(
            "{}: {held} of {} cores held, {} of {} memory\n",
            field(machine, "id"),
            field(machine, "cores"),
            text::bytes(memory.0),
            text::bytes(memory.1),
        ));
    }
    for line in memory(view) {
        shown.push_str(&line);
        shown.push('\n');
    }
    shown
}

/// Swap in use and its bandwidth since the look before, and who was swapped or killed.
fn memory(view: &View) -> Vec<String> {
    let (now, mut lines) = (&view.now["memory"], Vec::new());
    for (place, name) in [("swap", "swap"), ("system_swap", "system swap")] {
        if now[place].is_object() {
            lines.push(swap(view, place, name));
        }
    }
    let classes = now["classes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for class in classes.iter().rev() {
        let counts = ["swapped", "waiting", "swap_outs", "kills", "idle_freed", "executions_freed"];
        let counts = counts.map(|name| number(class, name));
        if counts.iter().any(|count| *count > 0) {
            let [swapped, waiting, outs, kills, idle, executions] = counts;
            lines.push(format!(
                "{}: {swapped} swapped out, {waiting} waiting for memory; since the start {outs} \
                 swapped out, {idle} warm sandboxes and {executions} executions freed, {kills} \
                 killed",
                field(class, "class"),
            ));
        }
    }
    lines
}

fn swap(view: &View, place: &str, name: &str) -> String {
    let now = &view.now["memory"][place];
    let rate = |way: &str| {
        let (before, since) = match &view.before {
            Some(before) => (number(&before["memory"][place], way), number(before, "at_ms")),
            None => (0, number(&view.now, "started_ms")),
        };
        let millis = number(&view.now, "at_ms").saturating_sub(since).max(1);
        let moved = number(now, way).saturating_sub(before);
        text::bytes(moved.saturating_mul(1_000) / millis)
    };
    format!(
        "{name}: {} of {} used, {} of memory in it, {}/s out, {}/s in",
        text::bytes(number(now, "used")),
        text::bytes(number(now, "total")),
        text::bytes(number(now, "held")),
        rate("written"),
        rate("read"),
    )
}

fn machines(view: &View) -> &[Value] {
    view.now["machines"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn held(machine: &Value) -> Vec<usize> {
    let held = machine["cores_held"].as_array().map(Vec::as_slice).unwrap_or_default();
    held.iter().map(|held| held.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0)).collect()
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let machines_height = u16::try_from(machines(view).len()).unwrap_or(u16::MAX).saturating_add(2);
    let classes = view.now["classes"].as_array().map_or(0, Vec::len);
    let lanes_height = u16::try_from(classes).unwrap_or(u16::MAX).saturating_add(3);
    let memory = memory(view);
    let memory_height = u16::try_from(memory.len()).unwrap_or(u16::MAX);
    let areas = Layout::vertical([
        Constraint::Length(lanes_height),
        Constraint::Length(machines_height),
        Constraint::Length(memory_height),
        Constraint::Min(1),
    ])
    .split(frame.area());
    draw_lanes(frame, areas[0], view);
    draw_machines(frame, areas[1], view);
    let memory: Vec<Line<'_>> = memory.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(memory), areas[2]);
    let help = "q quits · p50 and p99 over the last ten seconds · cores by class, dearest first";
    frame.render_widget(Paragraph::new(help).style(Style::new().fg(Color::DarkGray)), areas[3]);
}

fn draw_lanes(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = rows(view);
    let classes = rows.len();
    let row = |(index, cells): (usize, Vec<String>)| {
        let color = color(classes - 1 - index, classes);
        let cell = |(column, text): (usize, String)| {
            let line = Line::from(text);
            let line = if column == 0 { line } else { line.right_aligned() };
            let style = if column == 0 { Style::new().fg(color) } else { Style::new() };
            Cell::from(line).style(style)
        };
        Row::new(cells.into_iter().enumerate().map(cell))
    };
    let widths = [14, 9, 7, 8, 8, 10, 8, 9, 9, 8, 7, 8].map(Constraint::Length);
    let header = HEADER.iter().enumerate().map(|(column, name)| {
        let line = Line::from(*name);
        Cell::from(if column == 0 { line } else { line.right_aligned() })
    });
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows.into_iter().enumerate().map(row), widths)
        .header(header)
        .block(Block::bordered().title(title(view)));
    frame.render_widget(table, area);
}

fn draw_machines(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let line = |machine: &Value| {
        let held = held(machine);
        let cores = usize::try_from(number(machine, "cores")).unwrap_or(usize::MAX).max(1);
        let mut spans = vec![Span::raw(format!("{:<11} cores ", field(machine, "id")))];
        let mut drawn = 0;
        for (class, count) in held.iter().enumerate().rev() {
            let width = (count * BAR_WIDTH / cores).min(BAR_WIDTH - drawn);
            drawn += width;
            spans.push(Span::styled("█".repeat(width), Style::new().fg(color(class, held.len()))));
        }
        spans.push(Span::raw("·".repeat(BAR_WIDTH - drawn)));
        let (used, total) = (number(machine, "memory_used"), number(machine, "memory_total"));
        spans.push(Span::raw(format!(
            " {}/{cores}   memory {} of {}",
            held.iter().sum::<usize>(),
            text::bytes(used),
            text::bytes(total)
        )));
        Line::from(spans)
    };
    let lines: Vec<Line<'_>> = machines(view).iter().map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" machines ")), area);
}

/// The dearest class in the warmest color.
fn color(class: usize, classes: usize) -> Color {
    COLORS[class * (COLORS.len() - 1) / classes.saturating_sub(1).max(1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(at_ms: u64, succeeded: u64) -> Value {
        json!({
            "at_ms": at_ms, "started_ms": 0, "policy": "xx", "async_pending": 0,
            "classes": [
                {"class": "low", "price": "0.3", "queued": 4, "waiting": 0, "running": 1,
                 "preempted": 1, "blocked": 0, "succeeded": succeeded, "failed": 0, "refused": 0,
                 "p50_us": null, "p99_us": null},
                {"class": "high", "price": "2.0", "queued": 0, "waiting": 0, "running": 1,
                 "preempted": 0, "blocked": 0, "succeeded": 0, "failed": 0, "refused": 0,
                 "p50_us": 900, "p99_us": 1_500},
            ],
            "machines": [{"id": "machine-0", "cores": 2, "cores_held": [1, 1],
                          "memory_used": 1 << 20, "memory_total": 1 << 30}],
            "memory": {
                "swap": {"used": 2 << 20, "total": 8 << 20, "held": 3 << 20,
                         "written": at_ms << 20, "read": 0},
                "classes": [
                    {"class": "low", "swapped": 1, "waiting": 1, "swap_outs": 3, "kills": 0},
                    {"class": "high", "swapped": 0, "waiting": 0, "swap_outs": 0, "kills": 0},
                ],
            },
        })
    }

    #[test]
    fn rates_are_since_the_look_before() {
        let view =
            View { server: "s".into(), now: status(2_000, 30), before: Some(status(1_000, 10)) };
        assert_eq!(rate(&view, 0), "20.0");
        assert_eq!(rate(&View { before: None, ..view }, 0), "15.0");
    }

    #[test]
    fn one_view_shows_the_dearest_class_first() {
        let view = View { server: "http://x".into(), now: status(2_000, 0), before: None };
        let shown = once(&view);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[2].starts_with("high") && lines[3].starts_with("low"), "{shown}");
        assert_eq!(lines[4], "machine-0: 2 of 2 cores held, 1.00 MiB of 1.00 GiB memory");
        let swap = "swap: 2.00 MiB of 8.00 MiB used, 3.00 MiB of memory in it";
        assert!(lines[5].starts_with(swap) && lines[5].contains("/s out"), "{shown}");
        assert!(lines[6].starts_with("low: 1 swapped out, 1 waiting"), "{shown}");
        assert_eq!(lines.len(), 7);
    }
}
