//! The report as one page that needs no other file: its pictures stand in it.

use std::fmt::Write as _;

use super::results::{Cell, Results, Table, command};
use crate::load::machine::{COMMIT, Machine};

const STYLE: &str = "body{font:16px/1.5 Helvetica,Arial,sans-serif;color:#1f242b;max-width:1180px;margin:2em auto;\
padding:0 1em}table{border-collapse:collapse;margin:.5em 0 1.5em;font-size:14px}th,td{padding:3px 12px;\
border-bottom:1px solid #e3e6ea;text-align:left;white-space:nowrap}td.n,th.n{text-align:right;\
font-variant-numeric:tabular-nums}figure{margin:1.5em 0;overflow-x:auto}figure svg{max-width:100%;height:auto}\
.how{color:#6b7380}code{background:#f4f5f7;padding:1px 5px}.wide{overflow-x:auto}";

/// The page.
pub(super) fn page(results: &Results, pictures: &[(String, String)], seconds: f64) -> String {
    let mut out = String::new();
    let title = escaped(&results.title);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    list(&mut out, "What it shows", &results.findings);
    for (title, svg) in pictures {
        let _ = writeln!(out, "<figure aria-label=\"{}\">{svg}</figure>", escaped(title));
    }
    for table in &results.tables {
        write_table(&mut out, table);
    }
    list(&mut out, "How it was made", &results.notes);
    let _ = write!(
        out,
        "<p class=\"how\">{} seeds; ± is half of the 95 % confidence interval over seeds (Student's t). \
         {seconds:.1} s on {}; commit {COMMIT}.<br>Made by <code>{}</code></p>\n</body></html>\n",
        results.seeds.len(),
        escaped(&Machine::load().to_string()),
        escaped(&command()),
    );
    out
}

fn list(out: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "<h2>{title}</h2>\n<ul>");
    for item in items {
        let _ = writeln!(out, "<li>{}</li>", escaped(item));
    }
    out.push_str("</ul>\n");
}

fn write_table(out: &mut String, table: &Table) {
    let _ = write!(out, "<h2>{}</h2>\n<div class=\"wide\"><table><tr>", escaped(&table.title));
    let class =
        |cell: Option<&Cell>| if cell.is_some_and(Cell::is_number) { " class=\"n\"" } else { "" };
    for (column, name) in table.header.iter().enumerate() {
        let class = class(table.rows.first().and_then(|row| row.get(column)));
        let _ = write!(out, "<th{class}>{}</th>", escaped(name));
    }
    out.push_str("</tr>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td{}>{}</td>", class(Some(cell)), escaped(&cell.shown()));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_everything_in_it_and_asks_for_nothing() {
        let mut results = Results::new("compare", "a < b", &[1, 2]);
        results.findings.push("it holds & stays".into());
        let table = Table {
            name: "t".into(),
            title: "the table".into(),
            header: vec!["policy".into(), "p99".into()],
            rows: vec![vec![Cell::text("xx"), Cell::Number(1.5)]],
        };
        results.tables.push(table);
        let page = page(&results, &[("p".into(), "<svg>picture</svg>".into())], 1.0);
        for expected in
            ["a &lt; b", "it holds &amp; stays", "<svg>picture</svg>", "<td class=\"n\">1.50</td>"]
        {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(!page.contains("src=") && !page.contains("href="));
    }
}
