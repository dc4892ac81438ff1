//! `events:putEvents` where the operator has rules: the functions that they name are called with each event,
//! asynchronously and in the class of whoever puts it.

use asl::ask::Failed;
use model::limits;
use node::{Error, ErrorKind, Invoke};
use serde_json::{Map, Value, json};

use super::{Ctx, registry};
use crate::outside::{Way, failed_entries, prepared, refused};
use crate::rules::DEFAULT_BUS;

const SERVICE: &str = "eventbridge";

/// Whether rules decide about events, and no service of the operator's.
pub(super) fn are_here(ctx: &Ctx) -> bool {
    !ctx.api.rules.is_empty() && !ctx.api.outside.has_own_endpoint(SERVICE)
}

/// Puts events. They are in the queues of their functions when this returns.
pub(super) async fn put(
    ctx: &Ctx,
    way: Way,
    parameters: &Value,
    by: &[String],
) -> Result<Value, Failed> {
    let parameters = prepared(SERVICE, way, parameters, by);
    let entries = parameters.get("Entries").and_then(Value::as_array);
    let max = limits::EVENT_ENTRIES_MAX;
    let entries = entries.filter(|entries| (1..=max).contains(&entries.len()));
    let entries = entries.ok_or_else(|| {
        let message = format!(
            "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have \
             length between 1 and {max}"
        );
        refused(SERVICE, way, "ValidationException", &message)
    })?;
    let mut told = Vec::new();
    for entry in entries {
        told.push(match put_one(ctx, entry).await {
            Ok(id) => json!({ "EventId": id }),
            Err((code, message)) => json!({ "ErrorCode": code, "ErrorMessage": message }),
        });
    }
    let failed = told.iter().filter(|one| one.get("ErrorCode").is_some()).count();
    let mut result = Map::new();
    result.insert("Entries".to_owned(), told.into());
    result.insert("FailedEntryCount".to_owned(), failed.into());
    failed_entries(SERVICE, way, &result).map_or(Ok(Value::Object(result)), Err)
}

/// Gives one event to all whose rules are for it.
async fn put_one(ctx: &Ctx, entry: &Value) -> Result<String, (&'static str, String)> {
    let id = registry::uuid().map_err(|error| ("InternalFailure", error.message().to_owned()))?;
    let event = event(ctx, &id, entry)?;
    let bus = entry.get("EventBusName").and_then(Value::as_str).unwrap_or(DEFAULT_BUS);
    let bus = bus.rsplit_once(":event-bus/").map_or(bus, |(_, name)| name);
    for rule in &ctx.api.rules {
        for function in rule.targets(&ctx.who.tenant, bus, &event) {
            let call = Invoke {
                function: function.clone(),
                version: None,
                class: ctx.class.clone(),
                payload: event.to_string().into(),
                traceparent: None,
                received: ctx.handle.now(),
            };
            match ctx.handle.invoke_async(&ctx.who, call).await {
                Ok(_) => {}
                Err(Error { kind: ErrorKind::UnknownFunction, .. }) => {
                    tracing::warn!(rule = rule.name, %function, "no such function: it misses an event");
                }
                Err(error) => return Err((code_of(error.kind), error.to_string())),
            }
        }
    }
    Ok(id)
}

fn code_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::OverBudget | ErrorKind::Overloaded => "ThrottlingException",
        _ => "InternalFailure",
    }
}

/// An event as its receivers see it.
fn event(ctx: &Ctx, id: &str, entry: &Value) -> Result<Value, (&'static str, String)> {
    let text = |name: &str| {
        let text = entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.ok_or_else(|| {
            let reason = format!("{name} is a required argument.");
            ("InvalidArgument", format!("Parameter {name} is not valid. Reason: {reason}"))
        })
    };
    let (source, kind, detail) = (text("Source")?, text("DetailType")?, text("Detail")?);
    let malformed = || ("MalformedDetail", "Detail is malformed.".to_owned());
    let detail: Value = serde_json::from_str(detail).map_err(|_| malformed())?;
    if !detail.is_object() {
        return Err(malformed());
    }
    let place = &ctx.api.place;
    let time = entry.get("Time").and_then(Value::as_str).map(str::to_owned);
    Ok(json!({
        "version": "0",
        "id": id,
        "detail-type": kind,
        "source": source,
        "account": place.account(),
        "time": time.unwrap_or_else(|| asl::time::render(ctx.handle.now())),
        "region": place.region(),
        "resources": entry.get("Resources").cloned().unwrap_or_else(|| json!([])),
        "detail": detail,
    }))
}
