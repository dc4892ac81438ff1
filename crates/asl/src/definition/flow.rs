//! Which fields a state may have, and those that shape its input and output.

use super::reader::{Fields, Reader};
use super::{Flow, Language, ResultPath, template};

/// Fields of every state.
const ALWAYS: &[&str] = &["Type", "Comment", "QueryLanguage"];
/// Fields of a JSONPath state.
const PATH_FIELDS: &[(&str, &[&str])] = &[
    (
        "Pass",
        &["Next", "End", "InputPath", "OutputPath", "ResultPath", "Parameters", "Result", "Assign"],
    ),
    (
        "Task",
        &[
            "Next",
            "End",
            "InputPath",
            "OutputPath",
            "ResultPath",
            "Parameters",
            "ResultSelector",
            "Assign",
            "Resource",
            "TimeoutSeconds",
            "TimeoutSecondsPath",
            "HeartbeatSeconds",
            "HeartbeatSecondsPath",
            "Retry",
            "Catch",
            "Credentials",
        ],
    ),
    ("Choice", &["InputPath", "OutputPath", "Choices", "Default", "Assign"]),
    (
        "Wait",
        &[
            "Next",
            "End",
            "InputPath",
            "OutputPath",
            "Seconds",
            "SecondsPath",
            "Timestamp",
            "TimestampPath",
            "Assign",
        ],
    ),
    ("Succeed", &["InputPath", "OutputPath", "End"]),
    ("Fail", &["Error", "ErrorPath", "Cause", "CausePath"]),
    (
        "Parallel",
        &[
            "Next",
            "End",
            "InputPath",
            "OutputPath",
            "ResultPath",
            "Parameters",
            "ResultSelector",
            "Assign",
            "Branches",
            "Retry",
            "Catch",
        ],
    ),
    (
        "Map",
        &[
            "Next",
            "End",
            "InputPath",
            "OutputPath",
            "ResultPath",
            "Parameters",
            "ResultSelector",
            "Assign",
            "ItemsPath",
            "ItemProcessor",
            "Iterator",
            "ItemSelector",
            "MaxConcurrency",
            "MaxConcurrencyPath",
            "ToleratedFailureCount",
            "ToleratedFailureCountPath",
            "ToleratedFailurePercentage",
            "ToleratedFailurePercentagePath",
            "ItemReader",
            "ItemBatcher",
            "ResultWriter",
            "Label",
            "Retry",
            "Catch",
        ],
    ),
];
/// Fields of a JSONata state.
const QUERY_FIELDS: &[(&str, &[&str])] = &[
    ("Pass", &["Next", "End", "Output", "Assign"]),
    (
        "Task",
        &[
            "Next",
            "End",
            "Arguments",
            "Output",
            "Assign",
            "Resource",
            "TimeoutSeconds",
            "HeartbeatSeconds",
            "Retry",
            "Catch",
            "Credentials",
        ],
    ),
    ("Choice", &["Choices", "Default", "Output", "Assign"]),
    ("Wait", &["Next", "End", "Seconds", "Timestamp", "Output", "Assign"]),
    ("Succeed", &["Output", "End"]),
    ("Fail", &["Error", "Cause"]),
    ("Parallel", &["Next", "End", "Arguments", "Output", "Assign", "Branches", "Retry", "Catch"]),
    (
        "Map",
        &[
            "Next",
            "End",
            "Output",
            "Assign",
            "Items",
            "ItemProcessor",
            "Iterator",
            "ItemSelector",
            "MaxConcurrency",
            "ToleratedFailureCount",
            "ToleratedFailurePercentage",
            "ItemReader",
            "ItemBatcher",
            "ResultWriter",
            "Label",
            "Retry",
            "Catch",
        ],
    ),
];

/// Tells fields of the language that this state may not have. What the language does not know is left alone.
pub(super) fn check_names(reader: &mut Reader, type_name: &str, fields: &Fields<'_>) {
    let (tables, other) = match fields.language {
        Language::JsonPath => (PATH_FIELDS, QUERY_FIELDS),
        Language::Jsonata => (QUERY_FIELDS, PATH_FIELDS),
    };
    let Some((_, allowed)) = tables.iter().find(|(name, _)| *name == type_name) else { return };
    for name in fields.object.keys() {
        let name = name.as_str();
        if ALWAYS.contains(&name) || allowed.contains(&name) {
            continue;
        }
        let of_this_type =
            other.iter().any(|(kind, names)| *kind == type_name && names.contains(&name));
        if of_this_type {
            let language = fields.language.as_str();
            reader.error(
                fields.place,
                format!("Field '{name}' is not supported when 'QueryLanguage' is '{language}'"),
            );
        } else if tables.iter().chain(other).any(|(_, names)| names.contains(&name)) {
            reader.error(fields.place, format!("Field '{name}' is not supported"));
        }
    }
}

/// The fields that shape input and output.
pub(super) fn read(reader: &mut Reader, type_name: &str, fields: &Fields<'_>) -> Flow {
    let arguments = match (fields.language, type_name) {
        // Parameters of a Map state are its ItemSelector under an older name.
        (Language::JsonPath, "Map") => None,
        (Language::JsonPath, _) => Some("Parameters"),
        (Language::Jsonata, _) => Some("Arguments"),
    };
    let mut checked = |name: &str| {
        let value = fields.get(name)?;
        template::check(reader, fields.language, value, &fields.at(name));
        Some(value.clone())
    };
    let arguments = arguments.and_then(&mut checked);
    let result_selector = checked("ResultSelector");
    let output = checked("Output");
    let assign = checked("Assign");
    if let Some(assign) = &assign {
        check_assign(reader, assign, &fields.at("Assign"));
    }
    let path_fields = fields.language == Language::JsonPath;
    Flow {
        input_path: if path_fields {
            reader.path_field(fields, "InputPath")
        } else {
            Default::default()
        },
        output_path: if path_fields {
            reader.path_field(fields, "OutputPath")
        } else {
            Default::default()
        },
        result_path: if path_fields { reader.result_path(fields) } else { ResultPath::Whole },
        arguments,
        result_selector,
        output,
        assign,
    }
}

/// Names of variables are words of at most 80 characters that are not `states`.
pub(super) fn check_assign(reader: &mut Reader, assign: &serde_json::Value, place: &str) {
    const NAME_MAX: usize = 80;
    let Some(variables) = reader.object(assign, place) else { return };
    for name in variables.keys() {
        let name = name.strip_suffix(".$").unwrap_or(name);
        let mut chars = name.chars();
        let valid = chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
            && name.chars().count() <= NAME_MAX
            && name != "states";
        if !valid {
            reader.error(place, format!("Invalid variable name: {name}"));
        }
    }
}
