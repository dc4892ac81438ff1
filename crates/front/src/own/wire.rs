//! What this API sends and takes, as JSON.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::{Amount, Durable, FunctionName, InvocationId, Receipt, Timestamp};
use node::{Durations, FunctionInfo, InvocationInfo, InvocationStatus, NewFunction};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

/// A function to be made, or its next version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFunction {
    /// 1 to 64 of letters, digits, `-`, `_`.
    pub name: String,
    /// `wasm`, `provided`, `python3.11`, `nodejs20.x`, … (`python3`, `nodejs`: what is there).
    pub runtime: String,
    /// `module.function`, where the runtime needs it.
    #[serde(default)]
    pub handler: String,
    /// Class of calls that state none; the lowest where absent.
    pub class: Option<String>,
    /// Time limit; 60,000 where absent.
    pub timeout_ms: Option<u64>,
    /// Variables the function sees.
    #[serde(default)]
    pub environment: std::collections::BTreeMap<String, String>,
    /// Whether it reaches the machine's network, which its tenant must have been granted.
    #[serde(default)]
    pub network: bool,
    /// Whether it may suspend, and how: `no`, `stackful`, `quiescent` (Wasm), `explicit` (processes).
    #[serde(default)]
    pub durable: Option<String>,
    /// For a person.
    #[serde(default)]
    pub description: String,
    /// A `.wasm` module or a zip in the Lambda layout, in base64.
    pub package: String,
}

/// A version of a function.
#[derive(Serialize, ToSchema)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Counted from 1.
    pub version: u32,
    /// `wasm` or `process`.
    pub kind: String,
    /// As stated.
    pub runtime: String,
    /// As stated.
    pub handler: String,
    /// Class of calls that state none.
    pub class: Option<String>,
    /// Time limit.
    pub timeout_ms: u64,
    /// Names of the variables the function sees; their values are not shown.
    pub environment: Vec<String>,
    /// Whether it reaches the machine's network.
    pub network: bool,
    /// Whether it may suspend, and how.
    pub durable: String,
    /// For a person.
    pub description: String,
    /// SHA-256 of the package, in hexadecimal.
    pub code_sha256: String,
    /// Size of the package.
    pub code_bytes: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: u64,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct List<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Whether there are more; ask again with `before` set to the last one's id.
    pub more: bool,
}

/// A call that was queued.
#[derive(Serialize, ToSchema)]
pub struct Accepted {
    /// Its id, for `/v1/invocations/{id}`.
    pub invocation: String,
}

/// A bill. Costs are µ¢ as decimal text, exact to 10⁻¹² ¢.
#[derive(Serialize, ToSchema)]
pub struct Bill {
    /// The effective class.
    pub class: String,
    /// CPU time used.
    pub cpu_ns: u64,
    /// Memory used over time.
    pub byte_seconds: u64,
    /// Price of the CPU time.
    pub cpu_cost: String,
    /// Price of the memory.
    pub memory_cost: String,
    /// Both.
    pub total: String,
}

/// Where an invocation's time went, in microseconds.
#[derive(Serialize, ToSchema)]
pub struct Times {
    /// From its arrival to its placement on a machine.
    pub queued_us: u64,
    /// On the machine, before its first core.
    pub waiting_us: u64,
    /// From its first core to the handler's first instruction.
    pub starting_us: u64,
    /// Without the core it had.
    pub preempted_us: u64,
    /// Waiting for something else than a core.
    pub blocked_us: u64,
    /// Holding a core.
    pub running_us: u64,
    /// From its arrival to its end.
    pub total_us: u64,
    /// Waiting for memory though it could have had a core.
    pub memory_us: u64,
    /// Times it lost its core.
    pub preemptions: u32,
    /// Times its memory was swapped out.
    pub swap_outs: u32,
    /// How long its memory was out, whatever it did meanwhile.
    pub swapped_us: u64,
    /// Bytes swapped out in all.
    pub swapped_bytes: u64,
}

/// A decision about an invocation.
#[derive(Serialize, ToSchema)]
pub struct Step {
    /// After its arrival.
    pub after_us: u64,
    /// What was decided.
    pub what: String,
    /// Why, with the numbers.
    pub why: String,
}

/// An invocation. What is not known (yet) is absent.
#[derive(Serialize, ToSchema)]
pub struct Invocation {
    /// Its id.
    pub id: String,
    /// The function.
    pub function: String,
    /// The version that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The effective class.
    pub class: String,
    /// The invocation that called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Whether its caller did not wait.
    #[serde(rename = "async")]
    pub asynchronous: bool,
    /// Counts from 1.
    pub attempt: u32,
    /// `queued`, `running`, `succeeded` or `failed`.
    pub status: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub arrived_ms: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureBody>,
    /// Bytes of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// The bill, once it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Bill>,
    /// Where its time went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// Whether an instance had to be made for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<bool>,
    /// Every decision about it: why was this slow?
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Bytes of logs, and how many more were dropped at the limit.
    pub log_bytes: u64,
    /// Bytes of logs dropped at the limit.
    pub log_bytes_dropped: u64,
}

/// Why an invocation failed.
#[derive(Serialize, ToSchema)]
pub struct FailureBody {
    /// As in `docs/errors.md`.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl CreateFunction {
    pub(crate) fn decode(self) -> Result<NewFunction, Problem> {
        let package = BASE64_STANDARD.decode(&self.package);
        let package = package
            .map_err(|error| Problem::invalid(format!("`package` is not base64: {error}")))?;
        Ok(NewFunction {
            name: parse_name(&self.name)?,
            runtime: self.runtime,
            handler: self.handler,
            class: self.class,
            timeout: self.timeout_ms.map(Duration::from_millis),
            environment: self.environment.into_iter().collect(),
            network: self.network,
            durable: self.durable.as_deref().map_or(Ok(Durable::No), parse_durable)?,
            description: self.description,
            package: package.into(),
        })
    }
}

impl From<FunctionInfo> for Function {
    fn from(info: FunctionInfo) -> Self {
        Self {
            name: info.name.to_string(),
            version: info.version.0,
            kind: info.kind.as_str().to_owned(),
            runtime: info.runtime,
            handler: info.handler,
            class: info.class,
            timeout_ms: millis(info.timeout),
            environment: info.environment.into_iter().map(|(name, _)| name).collect(),
            network: info.network,
            durable: info.durable.as_str().to_owned(),
            description: info.description,
            code_sha256: info.code_hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            code_bytes: info.code_bytes,
            created_ms: info.created.as_millis(),
        }
    }
}

impl Bill {
    pub(crate) fn of(receipt: &Receipt, class: &str) -> Self {
        Self {
            class: class.to_owned(),
            cpu_ns: receipt.cpu.0,
            byte_seconds: receipt.memory.0,
            cpu_cost: receipt.cpu_cost.to_string(),
            memory_cost: receipt.memory_cost.to_string(),
            total: receipt.total().to_string(),
        }
    }
}

impl From<&Durations> for Times {
    fn from(durations: &Durations) -> Self {
        Self {
            queued_us: micros(durations.queued),
            waiting_us: micros(durations.waiting),
            starting_us: micros(durations.starting),
            preempted_us: micros(durations.preempted),
            blocked_us: micros(durations.blocked),
            running_us: micros(durations.running),
            total_us: micros(durations.total),
            memory_us: micros(durations.memory),
            preemptions: durations.preemptions,
            swap_outs: durations.swap_outs,
            swapped_us: micros(durations.swapped),
            swapped_bytes: durations.swapped_bytes.0,
        }
    }
}

impl From<InvocationInfo> for Invocation {
    fn from(info: InvocationInfo) -> Self {
        let step = |step: node::Step| Step {
            after_us: micros(step.after),
            what: step.what.to_owned(),
            why: step.why,
        };
        let failure = |failure: model::Failure| FailureBody {
            code: failure.kind.code().to_owned(),
            message: failure.message,
        };
        Self {
            receipt: info.receipt.map(|receipt| Bill::of(&receipt, &info.class)),
            times: info.durations.as_ref().map(Times::from),
            id: info.id.to_string(),
            function: info.function.to_string(),
            version: info.version.map(|version| version.0),
            class: info.class,
            caller: info.caller.map(|id| id.to_string()),
            asynchronous: info.asynchronous,
            attempt: info.attempt,
            status: status_name(info.status).to_owned(),
            arrived_ms: info.arrived.as_millis(),
            finished_ms: info.finished.map(Timestamp::as_millis),
            failure: info.failure.map(failure),
            response_bytes: info.response_bytes,
            cold: info.cold,
            steps: info.steps.into_iter().map(step).collect(),
            log_bytes: u64::try_from(info.logs.len()).unwrap_or(u64::MAX),
            log_bytes_dropped: info.logs_dropped,
        }
    }
}

fn status_name(status: InvocationStatus) -> &'static str {
    match status {
        InvocationStatus::Queued => "queued",
        InvocationStatus::Running => "running",
        InvocationStatus::Succeeded => "succeeded",
        InvocationStatus::Failed => "failed",
    }
}

fn parse_durable(text: &str) -> Result<Durable, Problem> {
    Durable::from_word(text).ok_or_else(|| {
        let ways: Vec<&str> = Durable::ALL.iter().map(|durable| durable.as_str()).collect();
        Problem::invalid(format!("`durable` is one of {}, not {text:?}", ways.join(", ")))
    })
}

pub(crate) fn parse_name(text: &str) -> Result<FunctionName, Problem> {
    text.parse().map_err(|error| Problem::invalid(format!("{text:?}: {error}")))
}

pub(crate) fn parse_id(text: &str) -> Result<InvocationId, Problem> {
    text.parse().map_err(|error| Problem::invalid(format!("{text:?} is {error}")))
}

/// µ¢ as decimal text with up to six decimals, exactly.
pub(crate) fn parse_amount(text: &str) -> Result<Amount, Problem> {
    let wrong = || Problem::invalid(format!("{text:?} is not an amount of µ¢ such as \"1.5\""));
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > 6 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let rest: u64 = format!("{rest:0<6}").parse().map_err(|_| wrong())?;
    let pico = whole.checked_mul(model::amount::PICO_PER_MICRO);
    pico.and_then(|pico| pico.checked_add(rest)).map(Amount).ok_or_else(wrong)
}

pub(crate) fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_they_are_printed() {
        for text in ["0.0", "1.5", "0.000001", "18446744073709.551615"] {
            assert_eq!(parse_amount(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_amount("7").unwrap().0, 7_000_000);
        for bad in ["", ".", "1.", "-1", "1e3", "0.0000001", "18446744073709.551616"] {
            assert!(parse_amount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_package_that_is_not_base64_is_refused() {
        let body = r#"{"name":"f","runtime":"wasm","package":"***"}"#;
        let create: CreateFunction = serde_json::from_str(body).unwrap();
        assert!(create.decode().is_err());
        let unknown = r#"{"name":"f","runtime":"wasm","package":"","memory_mb":128}"#;
        assert!(serde_json::from_str::<CreateFunction>(unknown).is_err());
    }
}
