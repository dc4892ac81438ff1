//! Reads the text of a definition, and words what is no JSON as AWS does.

use serde_json::Value;

use super::problem::{Code, Problem, Severity};

pub(super) fn read(text: &str) -> Result<Value, Problem> {
    if text.trim().is_empty() {
        return Err(Problem {
            code: Code::SchemaValidationFailed,
            severity: Severity::Error,
            message: "Definition must be a valid JSON object".to_owned(),
            location: None,
        });
    }
    serde_json::from_str(text).map_err(|error| not_json(text, &error))
}

fn not_json(text: &str, error: &serde_json::Error) -> Problem {
    let begin = text.len() - text.trim_start().len();
    let token: String = text[begin..].chars().take_while(|c| c.is_alphanumeric()).collect();
    let (said, line, column) = if token.is_empty()
        || matches!(&token[..], "true" | "false" | "null")
    {
        // Column 0 is the end of the line before.
        (error_without_place(error), error.line(), error.column().max(1))
    } else {
        let line = text[..begin].matches('\n').count() + 1;
        let line_begin = text[..begin].rfind('\n').map_or(0, |at| at + 1);
        let column = text[line_begin..begin].chars().count() + token.chars().count() + 1;
        let said = format!(
            "Unrecognized token '{token}': was expecting (JSON String, Number, Array, Object or token \
             'null', 'true' or 'false')"
        );
        (said, line, column)
    };
    let place =
        format!("[Source: (String)\"{}\"; line: {line}, column: {column}]", shortened(text));
    Problem {
        code: Code::InvalidJsonDescription,
        severity: Severity::Error,
        message: format!("{said}\n at {place}"),
        location: Some(place),
    }
}

fn error_without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.rfind(" at line ").map_or_else(|| said.clone(), |at| said[..at].to_owned())
}

/// AWS shows the first 500 characters.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 500;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((at, _)) => {
            let left = text[at..].chars().count();
            format!("{}[truncated {left} chars]", &text[..at])
        }
    }
}
