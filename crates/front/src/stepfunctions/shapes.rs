//! What the parameters of each action must be: how long, how large, which of a few words. AWS looks at
//! that before anything else, and tells all that is wrong at once.

use node::states::Quotas;
use serde_json::{Map, Value};

use super::error::AwsError;
use super::params::Params;

/// Bytes of an input or an output.
const DATA_BYTES_MAX: usize = model::limits::ASL_DATA_BYTES_DEFAULT;
const NO_LIMIT: i64 = i64::MAX;

/// What one parameter must be.
#[derive(Clone, Copy)]
enum Shape {
    /// A text of so many characters.
    Text(usize, usize),
    /// The same; AWS does not repeat it.
    Secret(usize, usize),
    /// An input or an output, which AWS does not repeat either.
    Data,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Whole(i64, i64),
    /// A number.
    Number(i64, i64),
    Flag,
    List(&'static Self),
    Object(&'static [Member]),
}

use Shape::{Data, Flag, List, Number, Object, OneOf, Secret, Text, Whole};

/// A parameter, or a field of one.
#[derive(Clone, Copy)]
struct Member {
    name: &'static str,
    is_required: bool,
    shape: Shape,
}

const fn must(name: &'static str, shape: Shape) -> Member {
    Member { name, is_required: true, shape }
}

const fn may(name: &'static str, shape: Shape) -> Member {
    Member { name, is_required: false, shape }
}

const ARN: Shape = Text(1, 256);
const LONG_ARN: Shape = Text(1, 2_000);
const NAME: Shape = Text(1, 80);
const DEFINITION: Shape = Secret(1, 1_048_576);
const DESCRIPTION: Shape = Secret(0, 256);
const TASK_TOKEN: Member = must("taskToken", Secret(1, 2_048));
const ERROR: Member = may("error", Secret(0, 256));
const CAUSE: Member = may("cause", Secret(0, 32_768));
const MACHINE: Member = must("stateMachineArn", ARN);
const ALIAS: Member = must("stateMachineAliasArn", ARN);
const ACTIVITY: Member = must("activityArn", ARN);
const EXECUTION: Member = must("executionArn", ARN);
const MAP_RUN: Member = must("mapRunArn", LONG_ARN);
const RESOURCE: Member = must("resourceArn", ARN);
const PAGE: Member = may("maxResults", Whole(0, 1_000));
const TOKEN: Member = may("nextToken", Text(1, 1_024));
const INPUT: Member = may("input", Data);
const TRACE: Member = may("traceHeader", Text(0, 256));
const PUBLISH: Member = may("publish", Flag);
const INCLUDED: Member = may("includedData", OneOf(&["ALL_DATA", "METADATA_ONLY"]));
const SORT: Member = may("type", OneOf(&["STANDARD", "EXPRESS"]));
const TAG: Shape = Object(&[may("key", Text(1, 128)), may("value", Text(0, 256))]);
const LOGGING: Member = may(
    "loggingConfiguration",
    Object(&[
        may("level", OneOf(&["ALL", "ERROR", "FATAL", "OFF"])),
        may("includeExecutionData", Flag),
        may(
            "destinations",
            List(&Object(&[may("cloudWatchLogsLogGroup", Object(&[may("logGroupArn", ARN)]))])),
        ),
    ]),
);
const TRACING: Member = may("tracingConfiguration", Object(&[may("enabled", Flag)]));
const ENCRYPTION: Member = may(
    "encryptionConfiguration",
    Object(&[
        may("kmsKeyId", Text(1, 2_048)),
        may("kmsDataKeyReusePeriodSeconds", Whole(60, 900)),
        must("type", OneOf(&["AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"])),
    ]),
);
/// How many there are is told in other words: see `aliases`.
const ROUTING: Shape =
    List(&Object(&[must("stateMachineVersionArn", ARN), must("weight", Whole(0, 100))]));
const STATUSES: Shape =
    OneOf(&["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"]);
const MOCK: Shape = Object(&[
    may("result", Data),
    may("errorOutput", Object(&[ERROR, CAUSE])),
    may("fieldValidationMode", OneOf(&["STRICT", "PRESENT", "NONE"])),
]);
const STATE_CONFIGURATION: Shape = Object(&[
    may("retrierRetryCount", Whole(0, NO_LIMIT)),
    may("errorCausedByState", Secret(1, 80)),
    may("mapIterationFailureCount", Whole(0, NO_LIMIT)),
    may("mapItemReaderData", Data),
]);

const ACTIONS: &[(&str, &[Member])] = &[
    ("CreateActivity", &[must("name", NAME), may("tags", List(&TAG)), ENCRYPTION]),
    (
        "CreateStateMachine",
        &[
            must("name", NAME),
            must("definition", DEFINITION),
            must("roleArn", ARN),
            SORT,
            LOGGING,
            may("tags", List(&TAG)),
            TRACING,
            PUBLISH,
            may("versionDescription", DESCRIPTION),
            ENCRYPTION,
        ],
    ),
    (
        "CreateStateMachineAlias",
        &[
            may("description", DESCRIPTION),
            must("name", NAME),
            must("routingConfiguration", ROUTING),
        ],
    ),
    ("DeleteActivity", &[ACTIVITY]),
    ("DeleteStateMachine", &[MACHINE]),
    ("DeleteStateMachineAlias", &[ALIAS]),
    ("DeleteStateMachineVersion", &[must("stateMachineVersionArn", LONG_ARN)]),
    ("DescribeActivity", &[ACTIVITY]),
    ("DescribeExecution", &[EXECUTION, INCLUDED]),
    ("DescribeMapRun", &[MAP_RUN]),
    ("DescribeStateMachine", &[MACHINE, INCLUDED]),
    ("DescribeStateMachineAlias", &[ALIAS]),
    ("DescribeStateMachineForExecution", &[EXECUTION, INCLUDED]),
    ("GetActivityTask", &[ACTIVITY, may("workerName", NAME)]),
    (
        "GetExecutionHistory",
        &[EXECUTION, PAGE, may("reverseOrder", Flag), TOKEN, may("includeExecutionData", Flag)],
    ),
    ("ListActivities", &[PAGE, TOKEN]),
    (
        "ListExecutions",
        &[
            may("stateMachineArn", ARN),
            may("statusFilter", STATUSES),
            PAGE,
            may("nextToken", Text(1, 3_096)),
            may("mapRunArn", LONG_ARN),
            may("redriveFilter", OneOf(&["REDRIVEN", "NOT_REDRIVEN"])),
        ],
    ),
    ("ListMapRuns", &[EXECUTION, PAGE, TOKEN]),
    ("ListStateMachineAliases", &[MACHINE, TOKEN, PAGE]),
    ("ListStateMachineVersions", &[MACHINE, TOKEN, PAGE]),
    ("ListStateMachines", &[PAGE, TOKEN]),
    ("ListTagsForResource", &[RESOURCE]),
    (
        "PublishStateMachineVersion",
        &[MACHINE, may("revisionId", Text(0, usize::MAX)), may("description", DESCRIPTION)],
    ),
    ("RedriveExecution", &[EXECUTION, may("clientToken", Text(1, 64))]),
    ("SendTaskFailure", &[TASK_TOKEN, ERROR, CAUSE]),
    ("SendTaskHeartbeat", &[TASK_TOKEN]),
    ("SendTaskSuccess", &[TASK_TOKEN, must("output", Data)]),
    ("StartExecution", &[MACHINE, may("name", NAME), INPUT, TRACE]),
    ("StartSyncExecution", &[MACHINE, may("name", NAME), INPUT, TRACE, INCLUDED]),
    ("StopExecution", &[EXECUTION, ERROR, CAUSE]),
    ("TagResource", &[RESOURCE, must("tags", List(&TAG))]),
    (
        "TestState",
        &[
            must("definition", DEFINITION),
            may("roleArn", ARN),
            INPUT,
            may("inspectionLevel", OneOf(&["INFO", "DEBUG", "TRACE"])),
            may("revealSecrets", Flag),
            may("variables", Data),
            may("stateName", Secret(1, 80)),
            may("mock", MOCK),
            may("context", Data),
            may("stateConfiguration", STATE_CONFIGURATION),
        ],
    ),
    ("UntagResource", &[RESOURCE, must("tagKeys", List(&Text(1, 128)))]),
    (
        "UpdateMapRun",
        &[
            MAP_RUN,
            may("maxConcurrency", Whole(0, NO_LIMIT)),
            may("toleratedFailurePercentage", Number(0, 100)),
            may("toleratedFailureCount", Whole(0, NO_LIMIT)),
        ],
    ),
    (
        "UpdateStateMachine",
        &[
            MACHINE,
            may("definition", DEFINITION),
            may("roleArn", ARN),
            LOGGING,
            TRACING,
            PUBLISH,
            may("versionDescription", DESCRIPTION),
            ENCRYPTION,
        ],
    ),
    (
        "UpdateStateMachineAlias",
        &[ALIAS, may("description", DESCRIPTION), may("routingConfiguration", ROUTING)],
    ),
    (
        "ValidateStateMachineDefinition",
        &[
            must("definition", DEFINITION),
            SORT,
            may("severity", OneOf(&["ERROR", "WARNING"])),
            may("maxResults", Whole(0, 100)),
        ],
    ),
];

/// Refuses parameters that are not what the action takes.
pub(super) fn check(action: &str, params: &Params, quotas: Quotas) -> Result<(), AwsError> {
    let Some((_, members)) = ACTIONS.iter().find(|(name, _)| *name == action) else {
        return Ok(());
    };
    let mut wrong = Wrong { quotas, found: Vec::new() };
    wrong.object(members, params.fields(), "")?;
    let Wrong { found, .. } = wrong;
    let (count, errors) = match found.len() {
        0 => return Ok(()),
        1 => (1, "error"),
        more => (more, "errors"),
    };
    let found = found.join("; ");
    Err(AwsError::validation(format!("{count} validation {errors} detected: {found}")))
}

/// What breaks a rule.
struct Wrong {
    quotas: Quotas,
    found: Vec<String>,
}

impl Wrong {
    fn object(
        &mut self,
        members: &[Member],
        fields: &Map<String, Value>,
        place: &str,
    ) -> Result<(), AwsError> {
        for Member { name, is_required, shape } in members {
            let at = if place.is_empty() { (*name).to_owned() } else { format!("{place}.{name}") };
            match fields.get(*name) {
                None | Some(Value::Null) if *is_required => {
                    self.add(" null", &at, "not be null");
                }
                None | Some(Value::Null) => {}
                Some(value) => self.value(*shape, value, &at)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, shape: Shape, value: &Value, at: &str) -> Result<(), AwsError> {
        let is_other = |wanted: &str| {
            Err(AwsError::new("SerializationException", format!("{at} must be {wanted}")))
        };
        match (shape, value) {
            (Text(least, most), Value::String(text)) => {
                let length = text.encode_utf16().count();
                self.between(&format!(" '{text}'"), at, ("length", length), (least, most));
            }
            (Secret(least, most), Value::String(text)) => {
                let length = text.encode_utf16().count();
                self.between("", at, ("length", length), (least, most));
            }
            (Data, Value::String(text)) => {
                if self.quotas == Quotas::Aws {
                    self.between("", at, ("length", text.len()), (0, DATA_BYTES_MAX));
                }
            }
            (OneOf(words), Value::String(text)) => {
                if !words.contains(&text.as_str()) {
                    let rule = format!("satisfy enum value set: [{}]", words.join(", "));
                    self.add(&format!(" '{text}'"), at, &rule);
                }
            }
            (Whole(least, most), Value::Number(number)) if !number.is_f64() => {
                // Beyond 64 bits is beyond any limit.
                let number = number.as_i64().unwrap_or(i64::MAX);
                self.between(&format!(" '{value}'"), at, ("value", number), (least, most));
            }
            (Number(least, most), Value::Number(number)) => {
                let number = number.as_f64().unwrap_or(f64::MAX);
                #[expect(clippy::cast_precision_loss, reason = "limits are small")]
                let limits = (least as f64, most as f64);
                self.between(&format!(" '{value}'"), at, ("value", number), limits);
            }
            (Flag, Value::Bool(_)) => {}
            (List(shape), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(*shape, item, &format!("{at}.{}.member", index + 1))?;
                }
            }
            (Object(members), Value::Object(fields)) => self.object(members, fields, at)?,
            (Text(..) | Secret(..) | Data | OneOf(_), _) => return is_other("a string"),
            (Whole(..), _) => return is_other("a whole number"),
            (Number(..), _) => return is_other("a number"),
            (Flag, _) => return is_other("true or false"),
            (List(_), _) => return is_other("a list"),
            (Object(_), _) => return is_other("an object"),
        }
        Ok(())
    }

    fn between<T: PartialOrd + std::fmt::Display>(
        &mut self,
        shown: &str,
        at: &str,
        (what, found): (&str, T),
        (least, most): (T, T),
    ) {
        if found < least {
            self.add(shown, at, &format!("have {what} greater than or equal to {least}"));
        } else if found > most {
            self.add(shown, at, &format!("have {what} less than or equal to {most}"));
        }
    }

    fn add(&mut self, shown: &str, at: &str, rule: &str) {
        let rule = format!("failed to satisfy constraint: Member must {rule}");
        self.found.push(format!("Value{shown} at '{at}' {rule}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(action: &str, params: &Value, quotas: Quotas) -> Result<(), AwsError> {
        let params = Params::parse(params.to_string().as_bytes()).expect("it is an object");
        check(action, &params, quotas)
    }

    #[track_caller]
    fn refused(action: &str, params: &Value, expected: &str) {
        let error = checked(action, params, Quotas::Aws).expect_err("it breaks a rule");
        assert_eq!((error.code(), error.message()), ("ValidationException", expected));
    }

    #[test]
    fn what_breaks_a_rule_is_told_with_its_place_but_secrets_are_not_repeated() {
        let long = "x".repeat(81);
        let name = json!({ "name": long });
        let expected = format!(
            "1 validation error detected: Value '{long}' at 'name' failed to satisfy constraint: Member must \
             have length less than or equal to 80"
        );
        refused("CreateActivity", &name, &expected);
        refused(
            "SendTaskFailure",
            &json!({ "taskToken": "t", "error": "x".repeat(257) }),
            "1 validation error detected: Value at 'error' failed to satisfy constraint: Member must have length \
             less than or equal to 256",
        );
        refused(
            "ListExecutions",
            &json!({ "stateMachineArn": "a", "statusFilter": "DONE" }),
            "1 validation error detected: Value 'DONE' at 'statusFilter' failed to satisfy constraint: Member \
             must satisfy enum value set: [RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED, PENDING_REDRIVE]",
        );
        refused(
            "TagResource",
            &json!({ "resourceArn": "a", "tags": [{ "key": "k", "value": "" }, { "key": "" }] }),
            "1 validation error detected: Value '' at 'tags.2.member.key' failed to satisfy constraint: Member \
             must have length greater than or equal to 1",
        );
        refused(
            "UpdateMapRun",
            &json!({ "mapRunArn": "a", "toleratedFailurePercentage": 100.5 }),
            "1 validation error detected: Value '100.5' at 'toleratedFailurePercentage' failed to satisfy \
             constraint: Member must have value less than or equal to 100",
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        refused(
            "StartExecution",
            &json!({ "name": "" }),
            "2 validation errors detected: Value null at 'stateMachineArn' failed to satisfy constraint: Member \
             must not be null; Value '' at 'name' failed to satisfy constraint: Member must have length greater \
             than or equal to 1",
        );
    }

    #[test]
    fn an_input_has_at_most_as_many_bytes_as_the_quota_says() {
        let start =
            |bytes: usize| json!({ "stateMachineArn": "a", "input": "é".repeat(bytes / 2) });
        assert_eq!(checked("StartExecution", &start(DATA_BYTES_MAX), Quotas::Aws), Ok(()));
        let more = start(DATA_BYTES_MAX + 2);
        refused(
            "StartExecution",
            &more,
            "1 validation error detected: Value at 'input' failed to satisfy constraint: Member must have length \
             less than or equal to 262144",
        );
        assert_eq!(checked("StartExecution", &more, Quotas::Platform), Ok(()));
    }

    #[test]
    fn another_type_is_refused_before_any_rule() {
        let params = json!({ "maxResults": "7", "nextToken": "" });
        let error = checked("ListActivities", &params, Quotas::Aws).expect_err("it is no number");
        assert_eq!(error.code(), "SerializationException");
    }
}
