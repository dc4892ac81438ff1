//! What it costs: the price list and the bill.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use node::{BillQuery, Handle};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::wire::List;
use crate::auth::Who;
use crate::problem::{Document, Problem};

const DAY_ZERO: Date = date(1970, 1, 1);

/// Which days, and whose.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// First day (UTC), `YYYY-MM-DD`.
    from: Option<String>,
    /// Last day (UTC), `YYYY-MM-DD`.
    to: Option<String>,
    /// Of all tenants, for an admin.
    #[serde(default)]
    all: bool,
}

/// What one tenant's function cost on one day in one class. Costs are µ¢ as decimal text.
#[derive(Serialize, ToSchema)]
pub(crate) struct Row {
    /// Who pays.
    tenant: String,
    /// The function.
    function: String,
    /// The effective class.
    class: String,
    /// UTC, `YYYY-MM-DD`.
    day: String,
    /// Invocations that ended.
    invocations: u64,
    /// Those of them that failed.
    failures: u64,
    /// CPU time used.
    cpu_ns: u64,
    /// Memory used over time.
    byte_seconds: u64,
    /// Price of the CPU time.
    cpu_cost: String,
    /// Price of the memory.
    memory_cost: String,
    /// Both.
    total: String,
}

/// A price class.
#[derive(Serialize, ToSchema)]
pub(crate) struct Class {
    /// Its name.
    name: String,
    /// µ¢ per CPU second, as decimal text.
    price: String,
}

/// The bill, by tenant, day, function and class.
#[utoipa::path(get, path = "/v1/bill", params(Filter), responses(
    (status = 200, body = List<Row>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn bill(
    State(handle): State<Handle>,
    Who(who): Who,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<List<Row>>, Problem> {
    let Query(filter) = filter.map_err(|error| Problem::invalid(error.body_text()))?;
    let query = BillQuery {
        from_day: filter.from.as_deref().map(parse_day).transpose()?,
        to_day: filter.to.as_deref().map(parse_day).transpose()?,
        all_tenants: filter.all,
    };
    let rows = handle.bill(&who, query).await?;
    let row = |row: node::BillRow| Row {
        day: print_day(row.day),
        tenant: row.tenant.to_string(),
        function: row.function,
        class: row.class,
        invocations: row.invocations,
        failures: row.failures,
        cpu_ns: row.cpu.0,
        byte_seconds: row.memory.0,
        cpu_cost: row.cpu_cost.to_string(),
        memory_cost: row.memory_cost.to_string(),
        total: (row.cpu_cost + row.memory_cost).to_string(),
    };
    Ok(Json(List { items: rows.into_iter().map(row).collect(), more: false }))
}

/// The price classes, cheapest first.
#[utoipa::path(get, path = "/v1/prices", security(()), responses((status = 200, body = List<Class>)))]
pub(crate) async fn prices(State(handle): State<Handle>) -> Json<List<Class>> {
    let class = |(_, class): (_, &model::PriceClass)| Class {
        name: class.name.clone(),
        price: class.price.to_string(),
    };
    Json(List { items: handle.prices().iter().map(class).collect(), more: false })
}

fn parse_day(text: &str) -> Result<u32, Problem> {
    let days =
        text.parse::<Date>().ok().and_then(|date| u32::try_from((date - DAY_ZERO).get_days()).ok());
    days.ok_or_else(|| Problem::invalid(format!("{text:?} is not a day: use YYYY-MM-DD")))
}

fn print_day(day: u32) -> String {
    let date = DAY_ZERO.checked_add(i64::from(day).days());
    date.map_or_else(|_| format!("day {day}"), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_printed() {
        for (text, day) in [("1970-01-01", 0), ("2026-11-23", 20_780), ("2028-02-29", 21_243)] {
            assert_eq!(parse_day(text).unwrap(), day, "{text}");
            assert_eq!(print_day(day), text);
        }
        for bad in ["", "yesterday", "2026-02-30", "1969-12-31"] {
            assert!(parse_day(bad).is_err(), "{bad}");
        }
    }
}
