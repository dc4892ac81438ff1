//! `fermata bill`.

use crate::client::{Client, Failed};
use crate::text;
use serde_json::{Value, json};

use super::{Json, field, nanos, number};

/// Show what it cost, by day, function and class
#[derive(clap::Args)]
pub(crate) struct Args {
    /// First day (UTC), YYYY-MM-DD [default: the first there is]
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// Last day (UTC), YYYY-MM-DD [default: today]
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// Of all tenants (needs an admin's key)
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    json: Json,
}

const HEADER: [&str; 10] = [
    "day",
    "tenant",
    "function",
    "class",
    ">calls",
    ">failed",
    ">CPU",
    ">GiB s",
    ">CPU µ¢",
    ">memory µ¢",
];

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    let mut query = vec![format!("all={}", args.all)];
    query.extend(args.from.iter().map(|day| format!("from={day}")));
    query.extend(args.to.iter().map(|day| format!("to={day}")));
    let bill: Value = client.get(&format!("/v1/bill?{}", query.join("&")))?;
    let rows = bill["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let total: u64 = rows.iter().filter_map(|row| pico(row["total"].as_str()?)).sum();
    let total = model::Amount(total).to_string();
    if args.json.json {
        text::print_json(&json!({"items": bill["items"], "total": total}));
        return Ok(());
    }
    let row = |row: &Value| {
        let mut cells: Vec<String> =
            ["day", "tenant", "function", "class", "invocations", "failures"]
                .map(|name| field(row, name))
                .into();
        cells.extend([
            nanos(row, "cpu_ns"),
            gib_seconds(number(row, "byte_seconds")),
            field(row, "cpu_cost"),
            field(row, "memory_cost"),
        ]);
        cells
    };
    let table: Vec<Vec<String>> = rows.iter().map(row).collect();
    text::print(&text::table(&HEADER, &table));
    text::print(&format!("total: {total} µ¢\n"));
    Ok(())
}

fn pico(text: &str) -> Option<u64> {
    crate::serve::parse_micro(text)
}

fn gib_seconds(byte_seconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three decimals are shown")]
    let value = byte_seconds as f64 / f64::from(1 << 30);
    format!("{value:.3}")
}
