//! Where results go: the terminal, and a folder with JSON, CSV, SVG, PNG and one HTML page.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;

use super::results::{Cell, Results, Table};
use super::{html, png};
use crate::load::report::save_json;
use crate::text;

/// Where to write what.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Write everything there: figures as JSON, tables as CSV, plots as SVG and PNG, and report.html,
    /// which needs no other file
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(super) out: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) json: Option<PathBuf>,
}

/// Prints the tables and writes the files.
pub(super) fn write(args: &Args, results: &Results, begun: Instant) -> anyhow::Result<()> {
    let seconds = begun.elapsed().as_secs_f64();
    text::print(&terminal(results, seconds));
    let json = results.json(seconds);
    if let Some(path) = &args.json {
        save_json(path, &json)?;
        text::print(&format!("figures: {}\n", path.display()));
    }
    let Some(folder) = &args.out else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    save_json(&folder.join("figures.json"), &json)?;
    save(folder, "results.csv", class_csv(results).as_bytes())?;
    for table in &results.tables {
        save(folder, &format!("{}.csv", table.name), csv(table).as_bytes())?;
    }
    let mut pictures = Vec::new();
    for (name, figure) in &results.figures {
        let svg = figure.render()?;
        save(folder, &format!("{name}.svg"), svg.as_bytes())?;
        save(
            folder,
            &format!("{name}.png"),
            &png::of(&svg).with_context(|| format!("make {name}.png"))?,
        )?;
        pictures.push((figure.title.clone(), svg));
    }
    save(folder, "report.html", html::page(results, &pictures, seconds).as_bytes())?;
    text::print(&format!("report: {}\n", folder.join("report.html").display()));
    Ok(())
}

fn save(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
}

fn terminal(results: &Results, seconds: f64) -> String {
    let mut out = format!("{}\n", results.title);
    for note in &results.notes {
        let _ = writeln!(out, "  {note}");
    }
    for table in &results.tables {
        let _ = write!(out, "\n{}\n{}", table.title, plain(table));
    }
    if !results.findings.is_empty() {
        out.push('\n');
    }
    for finding in &results.findings {
        let _ = writeln!(out, "- {finding}");
    }
    let _ = writeln!(
        out,
        "\n{} seeds, ± half of the 95 % confidence interval; {seconds:.1} s",
        results.seeds.len()
    );
    out
}

fn plain(table: &Table) -> String {
    let is_number =
        |column: usize| table.rows.iter().all(|row| row.get(column).is_some_and(Cell::is_number));
    let header: Vec<String> = (0..)
        .zip(&table.header)
        .map(|(column, name)| if is_number(column) { format!(">{name}") } else { name.clone() })
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
    text::table(&header, &rows)
}

/// Every class, policy and phase, one a line.
fn class_csv(results: &Results) -> String {
    let mut at: Vec<&str> = results.rows.iter().flat_map(|row| row.at.keys().copied()).collect();
    at.sort_unstable();
    at.dedup();
    let mut header: Vec<String> = ["policy", "class", "price"].map(str::to_owned).to_vec();
    header.extend(at.iter().map(|name| (*name).to_owned()));
    header.extend(["phase", "count"].map(str::to_owned));
    for name in ["p50_slowdown", "p99_slowdown", "mean_slowdown", "p99_ms"] {
        header.extend(["", "_low", "_high"].map(|suffix| format!("{name}{suffix}")));
    }
    let mut out = line(&header);
    for row in &results.rows {
        for (phase, name) in
            [(&row.before, "before"), (&row.overload, "overload"), (&row.after, "after")]
        {
            let mut cells = vec![row.policy.clone(), row.class.clone(), row.price.to_string()];
            cells.extend(at.iter().map(|name| match row.at.get(name) {
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            }));
            cells.extend([name.to_owned(), phase.count().to_string()]);
            for (_, estimate) in phase.figures() {
                let values = [estimate.mean, estimate.low, estimate.high];
                cells.extend(values.map(|value| {
                    if phase.count() == 0 { String::new() } else { value.to_string() }
                }));
            }
            out.push_str(&line(&cells));
        }
    }
    out
}

fn csv(table: &Table) -> String {
    let is_estimate = |column: usize| {
        table.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Estimate(_))))
    };
    let mut header = Vec::new();
    for (column, name) in table.header.iter().enumerate() {
        header.push(name.clone());
        if is_estimate(column) {
            header.extend(["low", "high"].map(|bound| format!("{name}, {bound}")));
        }
    }
    let mut out = line(&header);
    for row in &table.rows {
        let mut cells = Vec::new();
        for (column, cell) in row.iter().enumerate() {
            let before = cells.len();
            match cell {
                Cell::Text(text) => cells.push(text.clone()),
                Cell::Number(value) => cells.push(value.to_string()),
                Cell::Estimate(e) => {
                    cells.extend([e.mean, e.low, e.high].map(|value| value.to_string()))
                }
                Cell::Nothing => cells.push(String::new()),
            }
            let wanted = before + if is_estimate(column) { 3 } else { 1 };
            cells.resize(wanted, String::new());
        }
        out.push_str(&line(&cells));
    }
    out
}

/// One line of CSV (RFC 4180).
fn line(cells: &[String]) -> String {
    let quoted = |cell: &String| {
        if cell.contains(['"', ',', '\n']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    format!("{}\n", cells.iter().map(quoted).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::statistics::Estimate;

    #[test]
    fn an_estimate_is_three_columns_and_text_is_quoted_where_it_must_be() {
        let estimate = Estimate { mean: 1.5, low: 1.0, high: 2.0, seeds: 5 };
        let table = Table {
            name: "t".into(),
            title: "t".into(),
            header: vec!["policy".into(), "p99".into()],
            rows: vec![
                vec![Cell::text("a, \"b\""), Cell::Estimate(estimate)],
                vec![Cell::text("c"), Cell::Nothing],
            ],
        };
        let expected = "policy,p99,\"p99, low\",\"p99, high\"\n\"a, \"\"b\"\"\",1.5,1,2\nc,,,\n";
        assert_eq!(csv(&table), expected);
        assert!(plain(&table).contains("1.50 ±0.50"), "{}", plain(&table));
    }
}
