//! What a mocked result may hold: the fields of the answers of those actions that are called most.

use serde_json::Value;

use super::error::AwsError;

/// What a field must be.
#[derive(Clone, Copy)]
enum Rule {
    Text,
    Number,
    /// Numbers from one to the other.
    Between(i64, i64),
    /// A text of at least so many characters.
    AtLeast(usize),
    /// One of these texts.
    OneOf(&'static [&'static str]),
}

struct Shape {
    /// The action, as its resource ends.
    action: &'static str,
    required: &'static [&'static str],
    /// Paths of fields with their rules; `*` stands for each item of an array.
    fields: &'static [(&'static [&'static str], Rule)],
}

const STORAGE_CLASSES: &[&str] = &[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
    "FSX_ONTAP",
];

const SHAPES: &[Shape] = &[
    Shape {
        action: "states:startExecution",
        required: &["ExecutionArn", "StartDate"],
        fields: &[(&["ExecutionArn"], Rule::Text), (&["StartDate"], Rule::Text)],
    },
    Shape {
        action: "lambda:invoke",
        required: &[],
        fields: &[
            (&["StatusCode"], Rule::Number),
            (&["FunctionError"], Rule::Text),
            (&["LogResult"], Rule::Text),
            (&["ExecutedVersion"], Rule::Text),
        ],
    },
    Shape {
        action: "aws-sdk:lambda:getFunction",
        required: &[],
        fields: &[
            (&["Configuration", "FunctionName"], Rule::Text),
            (&["Configuration", "FunctionArn"], Rule::Text),
            (&["Configuration", "Runtime"], Rule::Text),
            (&["Configuration", "Timeout"], Rule::Between(1, 900)),
            (&["Configuration", "MemorySize"], Rule::Between(128, 10_240)),
        ],
    },
    Shape {
        action: "aws-sdk:kms:encrypt",
        required: &[],
        fields: &[(&["CiphertextBlob"], Rule::AtLeast(1)), (&["KeyId"], Rule::AtLeast(1))],
    },
    Shape {
        action: "aws-sdk:s3:getObject",
        required: &[],
        fields: &[
            (&["ContentLength"], Rule::Number),
            (&["ContentType"], Rule::Text),
            (&["ETag"], Rule::Text),
            (&["StorageClass"], Rule::OneOf(STORAGE_CLASSES)),
        ],
    },
    Shape {
        action: "events:putEvents",
        required: &[],
        fields: &[
            (&["FailedEntryCount"], Rule::Number),
            (&["Entries", "*", "EventId"], Rule::Text),
            (&["Entries", "*", "ErrorCode"], Rule::Text),
            (&["Entries", "*", "ErrorMessage"], Rule::Text),
        ],
    },
    Shape {
        action: "dynamodb:putItem",
        required: &[],
        fields: &[
            (&["ConsumedCapacity", "TableName"], Rule::Text),
            (&["ConsumedCapacity", "CapacityUnits"], Rule::Number),
        ],
    },
    Shape {
        action: "sqs:sendMessage",
        required: &[],
        fields: &[(&["MessageId"], Rule::Text), (&["MD5OfMessageBody"], Rule::Text)],
    },
    Shape { action: "sns:publish", required: &[], fields: &[(&["MessageId"], Rule::Text)] },
];

/// Checks a mocked result against what the action answers.
pub(super) fn check(resource: &str, result: &Value, mode: &str) -> Result<(), AwsError> {
    let refuse = |why: String| {
        Err(AwsError::validation(format!("Mock result schema validation error: {why}")))
    };
    let action = resource.strip_prefix("arn:aws:states:::").unwrap_or_default();
    let shape = SHAPES.iter().find(|shape| shape.action == action);
    let Some(shape) = shape.filter(|_| mode != "NONE") else { return Ok(()) };
    for (path, rule) in shape.fields {
        for value in found(result, path) {
            let name = path.last().copied().unwrap_or_default();
            if let Some(problem) = broken(value, *rule) {
                return refuse(format!("Field '{name}' {problem}"));
            }
        }
    }
    if mode == "STRICT" {
        for name in shape.required {
            if result.get(name).is_none() {
                return refuse(format!("Required field '{name}' is missing"));
            }
        }
    }
    Ok(())
}

fn found<'v>(value: &'v Value, path: &[&str]) -> Vec<&'v Value> {
    match path.split_first() {
        None => vec![value],
        Some((&"*", rest)) => {
            value.as_array().into_iter().flatten().flat_map(|item| found(item, rest)).collect()
        }
        Some((name, rest)) => value.get(*name).map_or_else(Vec::new, |value| found(value, rest)),
    }
}

fn broken(value: &Value, rule: Rule) -> Option<&'static str> {
    match rule {
        Rule::Text => (!value.is_string()).then_some("must be a string"),
        Rule::Number => (!value.is_number()).then_some("must be a number"),
        Rule::Between(least, most) => match value.as_i64() {
            None => Some("must be a number"),
            Some(number) if number < least => Some("is less than the minimum value"),
            Some(number) if number > most => Some("exceeds the maximum value"),
            Some(_) => None,
        },
        Rule::AtLeast(chars) => match value.as_str() {
            None => Some("must be a string"),
            Some(text) => {
                (text.chars().count() < chars).then_some("is smaller than the minimum length")
            }
        },
        Rule::OneOf(texts) => (!value.as_str().is_some_and(|text| texts.contains(&text)))
            .then_some("is not an expected value"),
    }
}
