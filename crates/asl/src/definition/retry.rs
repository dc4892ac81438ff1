//! Reads `Retry` and `Catch`.

use serde_json::Value;

use super::parse::Targets;
use super::reader::{Fields, Reader};
use super::{Catcher, Jitter, Language, Recovery, Retrier, flow, state, template};

/// Errors of the language that `ErrorEquals` may name; other names that begin with `States.` are none.
const RESERVED: [&str; 19] = [
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.Http.Socket",
    "States.IntrinsicFailure",
    "States.InvalidArguments",
    "States.ItemReaderFailed",
    "States.NoChoiceMatched",
    "States.ParameterPathFailure",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultPathMatchFailure",
    "States.ResultWriterFailed",
    "States.Runtime",
    "States.TaskFailed",
    "States.Timeout",
    "States.Http.StatusCode",
];

pub(super) fn read(
    reader: &mut Reader,
    fields: &Fields<'_>,
    targets: &mut Targets<'_>,
) -> Recovery {
    let mut recovery = Recovery::default();
    let items = |reader: &mut Reader, name: &str| -> Vec<Value> {
        reader.array(fields, name).cloned().unwrap_or_default()
    };
    let retriers = items(reader, "Retry");
    for (index, value) in retriers.iter().enumerate() {
        let place = format!("{}[{index}]", fields.at("Retry"));
        let Some(object) = reader.object(value, &place) else { continue };
        let own = Fields { object, place: &place, language: fields.language };
        let errors = errors(reader, &own, index + 1 == retriers.len());
        recovery.retriers.push(retrier(reader, &own, errors));
    }
    let catchers = items(reader, "Catch");
    for (index, value) in catchers.iter().enumerate() {
        let place = format!("{}[{index}]", fields.at("Catch"));
        let Some(object) = reader.object(value, &place) else { continue };
        let own = Fields { object, place: &place, language: fields.language };
        let errors = errors(reader, &own, index + 1 == catchers.len());
        if let Some(catcher) = catcher(reader, &own, errors, targets) {
            recovery.catchers.push(catcher);
        }
    }
    recovery
}

fn errors(reader: &mut Reader, fields: &Fields<'_>, is_last: bool) -> Vec<String> {
    reader.required(fields, "ErrorEquals");
    let errors = reader.texts(fields, "ErrorEquals");
    let place = fields.at("ErrorEquals");
    if fields.get("ErrorEquals").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        reader.empty(&place);
    }
    for error in &errors {
        if error.starts_with("States.") && !RESERVED.contains(&error.as_str()) {
            reader.error(&place, format!("Value '{error}' is not a valid error name"));
        }
    }
    if errors.iter().any(|error| error == "States.ALL") {
        if errors.len() > 1 {
            reader.error(&place, "'States.ALL' can not be combined with other error names");
        } else if !is_last {
            reader.error(&place, "'States.ALL' can only be used in the last element");
        }
    }
    errors
}

fn retrier(reader: &mut Reader, fields: &Fields<'_>, errors: Vec<String>) -> Retrier {
    const DEFAULT_BACKOFF: u64 = 2_000;
    let number = |reader: &mut Reader, name: &str, min: u64, max: u64, default: u32| {
        let value = reader.whole_number(fields, name, min..=max);
        value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
    };
    let max_delay_seconds = fields
        .has("MaxDelaySeconds")
        .then(|| number(reader, "MaxDelaySeconds", 1, 31_622_399, u32::MAX));
    let interval_seconds = number(reader, "IntervalSeconds", 1, 99_999_999, 1);
    if max_delay_seconds.is_some_and(|longest| longest < interval_seconds) {
        reader.error(
            &fields.at("MaxDelaySeconds"),
            "MaxDelaySeconds must be greater than IntervalSeconds",
        );
    }
    let backoff_thousandths = match fields.get("BackoffRate") {
        None => DEFAULT_BACKOFF,
        Some(value) => thousandths(value).unwrap_or_else(|| {
            reader.error(&fields.at("BackoffRate"), "Value must be at least 1.0");
            DEFAULT_BACKOFF
        }),
    };
    let jitter = match fields.get("JitterStrategy").map(|value| value.as_str()) {
        None | Some(Some("NONE")) => Jitter::None,
        Some(Some("FULL")) => Jitter::Full,
        Some(_) => {
            reader.no_such_word(fields, "JitterStrategy", &["FULL", "NONE"]);
            Jitter::None
        }
    };
    Retrier {
        errors,
        interval_seconds,
        max_attempts: number(reader, "MaxAttempts", 0, 99_999_999, 3),
        backoff_thousandths,
        max_delay_seconds,
        jitter,
    }
}

/// A rate of at least 1, in thousandths.
fn thousandths(rate: &Value) -> Option<u64> {
    const RATE_MAX: f64 = 1e9;
    let rate = rate.as_f64().filter(|rate| (1.0..=RATE_MAX).contains(rate))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1,000 and 10^12"
    )]
    let thousandths = (rate * 1_000.0).round() as u64;
    Some(thousandths)
}

fn catcher(
    reader: &mut Reader,
    fields: &Fields<'_>,
    errors: Vec<String>,
    targets: &mut Targets<'_>,
) -> Option<Catcher> {
    let mut checked = |name: &str| {
        let value = fields.get(name)?;
        template::check(reader, fields.language, value, &fields.at(name));
        Some(value.clone())
    };
    let assign = checked("Assign");
    let output = checked("Output");
    if let Some(assign) = &assign {
        flow::check_assign(reader, assign, &fields.at("Assign"));
    }
    let of_one = [(Language::JsonPath, "ResultPath"), (Language::Jsonata, "Output")];
    reader.not_in_language(fields, &of_one);
    let result_path = reader.result_path(fields);
    reader.required(fields, "Next")?;
    let next = reader.text(fields, "Next")?;
    let next = state::target(reader, &next, &fields.at("Next"), targets)?;
    Some(Catcher { errors, next, result_path, assign, output })
}
