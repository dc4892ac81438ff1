//! Between an invocation that ended, its record in the store, and what is shown of it.

use std::borrow::Cow;
use std::time::Duration;

use model::{Bytes64, Failure, PriceList, Receipt, Timestamp};
use serde::Serialize;
use serde_json::Value;
use store::{Charge, FailureNote, InvocationRecord, Mode, RecordOutcome};

use crate::control::{Ended, Peek, Place, Reason, word};
use crate::types::{Durations, InvocationInfo, InvocationStatus, Phase, Step};

/// What the store keeps of an invocation that ended.
pub(crate) fn to_record(ended: Ended, prices: &PriceList) -> InvocationRecord {
    let trace = render_trace(&ended, prices);
    let Ended { flight, finished, outcome, receipt, logs } = ended;
    let work = flight.work;
    InvocationRecord {
        id: work.id,
        attempt: work.attempt,
        tenant: work.code.tenant.clone(),
        function: work.code.function.clone(),
        version: work.code.version,
        class: prices.get(receipt.class).name.clone(),
        caller: work.caller,
        mode: work.mode,
        arrived: work.arrived,
        started: flight.started,
        finished,
        outcome: match outcome {
            Ok(bytes) => RecordOutcome::Ok { bytes },
            Err(failure) => RecordOutcome::Failed(note(failure)),
        },
        charge: Charge {
            cpu: receipt.cpu,
            memory: receipt.memory,
            cpu_cost: receipt.cpu_cost,
            memory_cost: receipt.memory_cost,
        },
        trace,
        logs: logs.bytes,
        logs_dropped_bytes: logs.dropped,
        cold: flight.cold,
    }
}

/// A failure as the store keeps it.
pub(crate) fn note(failure: Failure) -> FailureNote {
    FailureNote { kind: failure.kind, message: failure.message }
}

/// What is shown of a record.
pub(crate) fn from_record(record: InvocationRecord, prices: &PriceList) -> InvocationInfo {
    let (durations, steps) = parse_trace(&record.trace);
    let receipt = Receipt {
        class: prices.find(&record.class).unwrap_or_else(|| prices.lowest()),
        cpu: record.charge.cpu,
        memory: record.charge.memory,
        cpu_cost: record.charge.cpu_cost,
        memory_cost: record.charge.memory_cost,
    };
    let (status, failure, response_bytes) = match record.outcome {
        RecordOutcome::Ok { bytes } => (InvocationStatus::Succeeded, None, Some(bytes)),
        RecordOutcome::Failed(note) => {
            (InvocationStatus::Failed, Some(Failure::new(note.kind, note.message)), None)
        }
    };
    InvocationInfo {
        id: record.id,
        function: record.function,
        version: Some(record.version),
        class: record.class,
        caller: record.caller,
        asynchronous: record.mode == Mode::Async,
        attempt: record.attempt,
        status,
        arrived: record.arrived,
        finished: Some(record.finished),
        failure,
        response_bytes,
        receipt: Some(receipt),
        durations: (!record.trace.is_empty()).then_some(durations),
        cold: record.started.map(|_| record.cold),
        steps,
        logs: record.logs,
        logs_dropped: record.logs_dropped_bytes,
    }
}

/// What is shown of an invocation under way.
pub(crate) fn from_peek(id: model::InvocationId, peek: Peek, prices: &PriceList) -> InvocationInfo {
    let queued = peek.place == Place::Queued;
    InvocationInfo {
        id,
        function: peek.function,
        version: Some(peek.version),
        class: prices.get(peek.class).name.clone(),
        caller: peek.caller,
        asynchronous: peek.asynchronous,
        attempt: peek.attempt,
        status: if queued { InvocationStatus::Queued } else { InvocationStatus::Running },
        arrived: peek.arrived,
        finished: None,
        failure: None,
        response_bytes: None,
        receipt: None,
        durations: Some(peek.durations),
        cold: peek.cold,
        steps: peek
            .steps
            .iter()
            .map(|(at, reason)| step(peek.arrived, *at, reason, prices))
            .collect(),
        logs: Vec::new(),
        logs_dropped: 0,
    }
}

/// What is shown of a call that waits in the store for its next attempt, and has made none.
pub(crate) fn from_queued(call: store::AsyncCall) -> InvocationInfo {
    InvocationInfo {
        id: call.id,
        function: call.function,
        version: call.version,
        class: call.class,
        caller: call.caller,
        asynchronous: true,
        attempt: call.attempt,
        status: InvocationStatus::Queued,
        arrived: call.arrived,
        finished: None,
        failure: call.last_failure.map(|note| Failure::new(note.kind, note.message)),
        response_bytes: None,
        receipt: None,
        durations: None,
        cold: None,
        steps: Vec::new(),
        logs: Vec::new(),
        logs_dropped: 0,
    }
}

fn step(arrived: Timestamp, at: Timestamp, reason: &Reason, prices: &PriceList) -> Step {
    Step { after: at.since(arrived), what: reason.what(), why: reason.why(prices).into_owned() }
}

/// `{"us":[durations in the order of `Phase::ALL`],"preemptions":n,"steps":[[µs after arrival,what,why],…]}`
fn render_trace(ended: &Ended, prices: &PriceList) -> String {
    let flight = &ended.flight;
    let arrived = flight.work.arrived;
    let lengths: Vec<u64> = Phase::ALL.iter().map(|p| micros(flight.durations.of(*p))).collect();
    let durations = &flight.durations;
    let swapped = (durations.swap_outs, micros(durations.swapped), durations.swapped_bytes.0);
    let steps = flight.steps.iter();
    let trace = Trace {
        us: &lengths,
        preemptions: durations.preemptions,
        steps: steps
            .map(|(at, reason)| (micros(at.since(arrived)), reason.what(), reason.why(prices)))
            .collect(),
        swap: (durations.swap_outs > 0).then_some(swapped),
        steps_dropped: (flight.steps_dropped > 0).then(|| flight.steps_dropped.into()),
    };
    serde_json::to_string(&trace).expect("texts and numbers are JSON")
}

/// How the way of an invocation is stored.
#[derive(Serialize)]
struct Trace<'t> {
    us: &'t [u64],
    preemptions: u32,
    steps: Vec<(u64, &'static str, Cow<'static, str>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<(u32, u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps_dropped: Option<u64>,
}

/// What is missing or malformed (a record of another version) reads as nothing.
fn parse_trace(text: &str) -> (Durations, Vec<Step>) {
    let trace: Value = serde_json::from_str(text).unwrap_or_default();
    let length = |index: usize| Duration::from_micros(trace["us"][index].as_u64().unwrap_or(0));
    let durations = Durations {
        queued: length(0),
        waiting: length(1),
        starting: length(2),
        preempted: length(3),
        blocked: length(4),
        running: length(5),
        total: length(6),
        memory: length(7),
        preemptions: trace["preemptions"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0),
        swap_outs: trace["swap"][0].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0),
        swapped: Duration::from_micros(trace["swap"][1].as_u64().unwrap_or(0)),
        swapped_bytes: Bytes64(trace["swap"][2].as_u64().unwrap_or(0)),
    };
    let step = |step: &Value| Step {
        after: Duration::from_micros(step[0].as_u64().unwrap_or(0)),
        what: word(step[1].as_str().unwrap_or_default()),
        why: step[2].as_str().unwrap_or_default().to_owned(),
    };
    let steps = trace["steps"].as_array().map(|steps| steps.iter().map(step).collect());
    (durations, steps.unwrap_or_default())
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}
