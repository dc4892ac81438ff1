//! The items of a distributed Map state, read from the bytes of a file.

use serde_json::{Map as Object, Value};

use crate::ask::{Failed, ReadAsk};
use crate::definition::Format;
use crate::document::Document;
use crate::env::ErrorName;

/// Reads the items that a file holds; an array.
///
/// # Errors
/// `States.ItemReaderFailed`, with what is wrong with the file.
pub fn read(ask: &ReadAsk, bytes: &[u8]) -> Result<Document, Failed> {
    let limit = ask.max_items.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text =
        std::str::from_utf8(bytes).map_err(|_| failed("The file is not encoded in UTF-8."))?;
    let items = match ask.format {
        Some(Format::Csv) => csv(ask, text, limit)?,
        Some(Format::Jsonl) => lines(text, limit)?,
        Some(Format::Json | Format::Manifest) | None => array(ask, text)?,
        Some(Format::Parquet) => return Err(failed("Parquet files can not be read here.")),
    };
    let mut items = items;
    items.truncate(limit);
    Ok(Value::Array(items).into())
}

fn failed(cause: impl Into<String>) -> Failed {
    Failed { error: ErrorName::ItemReaderFailed.as_str().to_owned(), cause: Some(cause.into()) }
}

fn array(ask: &ReadAsk, text: &str) -> Result<Vec<Value>, Failed> {
    let not_iterable = || failed("Attempting to map over non-iterable node.");
    let document: Value =
        serde_json::from_str(text).map_err(|_| failed("The file is not valid JSON."))?;
    let place = match &ask.items_pointer {
        None => document,
        Some(pointer) => document.pointer(pointer).cloned().ok_or_else(not_iterable)?,
    };
    match place {
        Value::Array(items) => Ok(items),
        _ => Err(not_iterable()),
    }
}

fn lines(text: &str, limit: usize) -> Result<Vec<Value>, Failed> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .take(limit)
        .map(|line| serde_json::from_str(line).map_err(|_| failed("A line is not valid JSON.")))
        .collect()
}

fn csv(ask: &ReadAsk, text: &str, limit: usize) -> Result<Vec<Value>, Failed> {
    let mut records = Records { rest: text, delimiter: ask.csv_delimiter };
    let headers = match &ask.csv_headers {
        Some(given) => given.clone(),
        None => records.next().unwrap_or_default(),
    };
    let mut sorted: Vec<&String> = headers.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(failed("CSV headers cannot contain duplicates."));
    }
    let mut items = Vec::new();
    for record in records.take(limit) {
        let mut item = Object::with_capacity(headers.len());
        let mut fields = record.into_iter();
        for header in &headers {
            item.insert(header.clone(), fields.next().unwrap_or_default().into());
        }
        items.push(Value::Object(item));
    }
    Ok(items)
}

/// The records of a CSV file, RFC 4180. Empty lines are none.
struct Records<'t> {
    rest: &'t str,
    delimiter: char,
}

impl Iterator for Records<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let record = self.record();
            if record.len() != 1 || !record[0].is_empty() {
                return Some(record);
            }
        }
    }
}

impl Records<'_> {
    fn record(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        let mut field = String::new();
        let mut chars = self.rest.char_indices().peekable();
        let mut quoted = false;
        let end = loop {
            let Some((at, c)) = chars.next() else { break self.rest.len() };
            let doubled = c == '"' && chars.peek().is_some_and(|(_, next)| *next == '"');
            match c {
                '"' if quoted && doubled => {
                    chars.next();
                    field.push('"');
                }
                '"' if quoted => quoted = false,
                c if quoted => field.push(c),
                '"' if field.is_empty() => quoted = true,
                c if c == self.delimiter => fields.push(std::mem::take(&mut field)),
                '\n' => break at + 1,
                '\r' => {
                    let crlf = chars.peek().is_some_and(|(_, next)| *next == '\n');
                    break at + 1 + usize::from(crlf);
                }
                c => field.push(c),
            }
        };
        fields.push(field);
        self.rest = &self.rest[end..];
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Resource;

    #[track_caller]
    fn check(format: Format, headers: Option<&[&str]>, text: &str, expected: &str) {
        let ask = ReadAsk {
            resource: Resource::parse("arn:aws:states:::s3:getObject").unwrap(),
            arguments: Value::Null,
            format: Some(format),
            csv_headers: headers.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            csv_delimiter: ',',
            max_items: None,
            items_pointer: None,
            manifest_type: None,
            transformation: None,
        };
        let shown = match read(&ask, text.as_bytes()) {
            Ok(items) => items.text().to_owned(),
            Err(failed) => failed.cause.unwrap(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_csv_file_gives_an_object_for_each_record() {
        check(
            Format::Csv,
            None,
            "a,b\n1,\"x, \"\"y\"\"\"\n\"\r\n",
            r#"[{"a":"1","b":"x, \"y\""},{"a":"\r\n","b":""}]"#,
        );
        check(Format::Csv, Some(&["k"]), "1\n\n2,3\r\n", r#"[{"k":"1"},{"k":"2"}]"#);
        check(Format::Csv, Some(&["k", "k"]), "1", "CSV headers cannot contain duplicates.");
        check(Format::Csv, None, "", "[]");
    }

    #[test]
    fn a_json_file_is_an_array_and_a_jsonl_file_has_one_value_a_line() {
        check(Format::Json, None, "[1, {}]", "[1,{}]");
        check(Format::Json, None, "{}", "Attempting to map over non-iterable node.");
        check(Format::Jsonl, None, "1\n\n\"a\"\n", r#"[1,"a"]"#);
        check(Format::Jsonl, None, "1\n{", "A line is not valid JSON.");
    }
}
