//! The items of a distributed Map state, read from the bytes of a file as they come in.

use serde_json::{Map as Object, Value, json};

use crate::ask::{Failed, ItemsFound, ReadAsk};
use crate::definition::Format;
use crate::document::Document;
use crate::env::ErrorName;

/// Reads the items that a file holds; an array.
///
/// # Errors
/// `States.ItemReaderFailed`, with what is wrong with the file.
pub fn read(ask: &ReadAsk, bytes: &[u8]) -> Result<Document, Failed> {
    found(ask, bytes).map(|found| found.items)
}

/// The same, and where the items are.
///
/// # Errors
/// `States.ItemReaderFailed`, with what is wrong with the file.
pub fn found(ask: &ReadAsk, bytes: &[u8]) -> Result<ItemsFound, Failed> {
    let mut items = Items::new(Layout::of(ask), usize::MAX);
    items.push(bytes)?;
    let held = items.finish()?;
    let text = |name: &str| ask.arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    let place = format!("s3://{}/{}", text("Bucket"), text("Key"));
    Ok(ItemsFound {
        items: Value::Array(held.items).into(),
        places: json!([[0, place, held.are_fields]]).into(),
    })
}

/// How a file holds its items.
#[derive(Clone, Debug)]
pub struct Layout {
    /// None for a JSON array.
    pub format: Option<Format>,
    /// Headers of a CSV file that has none.
    pub csv_headers: Option<Vec<String>>,
    /// Between two fields of a CSV file.
    pub csv_delimiter: char,
    /// Where in a JSON document the array stands, a JSON pointer.
    pub items_pointer: Option<String>,
    /// At most so many items.
    pub max_items: Option<u64>,
}

impl Layout {
    /// As a reader has it.
    #[must_use]
    pub fn of(ask: &ReadAsk) -> Self {
        Self {
            format: ask.format,
            csv_headers: ask.csv_headers.clone(),
            csv_delimiter: ask.csv_delimiter,
            items_pointer: ask.items_pointer.clone(),
            max_items: ask.max_items,
        }
    }
}

/// The items of a file whose bytes come in bit by bit.
///
/// Lines, records and the elements of a JSON array are taken as soon as they are whole, so that no more
/// than one of them is held beside the items; a JSON document in which a pointer leads to the array is
/// held whole.
#[derive(Debug)]
pub struct Items {
    layout: Layout,
    limit: usize,
    /// Bytes that may still come.
    room: usize,
    /// What is not taken yet.
    held: Vec<u8>,
    /// Bytes of it that were looked at.
    seen: usize,
    cut: Cut,
    begun: bool,
    headers: Option<Vec<String>>,
    items: Vec<Value>,
    are_fields: bool,
}

/// What a file held.
#[derive(Debug, PartialEq)]
pub struct Held {
    /// The items.
    pub items: Vec<Value>,
    /// Whether they are the fields of an object, each as its `Key` and `Value`.
    pub are_fields: bool,
}

/// Where in a file the reader is.
#[derive(Debug)]
enum Cut {
    /// To its end: only the whole can be understood.
    Whole,
    /// Lines; those of a CSV file may be inside quotes.
    Lines { quotes: Option<Quotes> },
    /// Elements of an array.
    Elements(Elements),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// A field begins.
    Begin,
    /// In a field without quotes.
    Bare,
    /// Inside quotes.
    Inside,
    /// At a quote that ends them, unless another one follows.
    Ending,
}

#[derive(Debug, Default)]
struct Elements {
    depth: usize,
    in_text: bool,
    escaped: bool,
    ended: bool,
}

impl Items {
    /// Nothing has come yet, and no more than `bytes_max` may.
    #[must_use]
    pub fn new(layout: Layout, bytes_max: usize) -> Self {
        let cut = match layout.format {
            Some(Format::Csv) => Cut::Lines { quotes: Some(Quotes::Begin) },
            Some(Format::Jsonl) => Cut::Lines { quotes: None },
            Some(Format::Json | Format::Manifest) | None if layout.items_pointer.is_none() => {
                Cut::Elements(Elements::default())
            }
            Some(Format::Json | Format::Manifest | Format::Parquet) | None => Cut::Whole,
        };
        let limit = layout.max_items.and_then(|max| usize::try_from(max).ok());
        Self {
            limit: limit.unwrap_or(usize::MAX),
            room: bytes_max,
            held: Vec::new(),
            seen: 0,
            cut,
            begun: false,
            headers: layout.csv_headers.clone(),
            items: Vec::new(),
            are_fields: false,
            layout,
        }
    }

    /// Whether further bytes change nothing.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.items.len() >= self.limit
    }

    /// Bytes that may still come.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.room
    }

    /// Takes further bytes.
    ///
    /// # Errors
    /// `States.ItemReaderFailed`: what came is not what was announced, or too much.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.room = self.room.checked_sub(bytes.len()).ok_or_else(|| {
            failed("The items have more bytes than this server holds for one Map state.")
        })?;
        self.held.extend_from_slice(bytes);
        if !self.begun {
            // Whether there is a byte order mark shows in three bytes.
            if self.held.len() < 3 {
                return Ok(());
            }
            self.begin();
        }
        self.cut(End::Open)
    }

    fn begin(&mut self) {
        self.begun = true;
        if self.held.starts_with("\u{feff}".as_bytes()) {
            self.held.drain(..3);
        }
    }

    /// The items, once everything has come.
    ///
    /// # Errors
    /// `States.ItemReaderFailed`, with what is wrong with the file.
    pub fn finish(mut self) -> Result<Held, Failed> {
        if !self.begun {
            self.begin();
        }
        self.cut(End::Reached)?;
        if let Some(headers) = &self.headers {
            unique(headers)?;
        }
        self.items.truncate(self.limit);
        Ok(Held { items: self.items, are_fields: self.are_fields })
    }

    fn cut(&mut self, end: End) -> Result<(), Failed> {
        match &self.cut {
            Cut::Whole => match end {
                End::Open => Ok(()),
                End::Reached => self.whole(),
            },
            Cut::Lines { .. } => self.lines(end),
            Cut::Elements(_) => self.elements(end),
        }
    }

    fn whole(&mut self) -> Result<(), Failed> {
        if self.layout.format == Some(Format::Parquet) {
            return Err(failed("Parquet files can not be read here."));
        }
        let document = std::mem::take(&mut self.held);
        let document: Value = serde_json::from_slice(&document).map_err(|_| not_json())?;
        let pointer = self.layout.items_pointer.as_deref();
        match document.pointer(pointer.unwrap_or_default()) {
            Some(Value::Array(items)) => {
                self.items.extend(items.iter().take(self.limit).cloned());
            }
            // A file that is an object itself is refused, as recorded.
            Some(Value::Object(fields)) if pointer.is_some() => {
                let pair = |(key, value)| json!({ "Key": key, "Value": value });
                self.items.extend(fields.iter().take(self.limit).map(pair));
                self.are_fields = true;
            }
            _ => return Err(not_iterable()),
        }
        Ok(())
    }

    fn lines(&mut self, end: End) -> Result<(), Failed> {
        let held = std::mem::take(&mut self.held);
        let Cut::Lines { quotes } = &mut self.cut else { return Ok(()) };
        let mut quotes = *quotes;
        let delimiter = u8::try_from(self.layout.csv_delimiter).unwrap_or(b',');
        let (mut begin, mut at) = (0, self.seen);
        while at < held.len() && !self.is_full() {
            let byte = held[at];
            at += 1;
            let ends = match &mut quotes {
                None => byte == b'\n',
                Some(quotes) => {
                    *quotes = quotes.after(byte, delimiter);
                    *quotes == Quotes::Begin && byte != delimiter
                }
            };
            if ends {
                self.line(&held[begin..at])?;
                begin = at;
            }
        }
        if end == End::Reached && begin < held.len() && !self.is_full() {
            self.line(&held[begin..])?;
            begin = held.len();
        }
        self.seen = at.saturating_sub(begin);
        self.held = held[begin..].to_vec();
        self.cut = Cut::Lines { quotes };
        Ok(())
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let text = std::str::from_utf8(bytes).map_err(|_| not_utf8())?;
        if self.layout.format == Some(Format::Jsonl) {
            if !text.trim().is_empty() {
                let item = serde_json::from_str(text);
                self.items.push(item.map_err(|_| failed("A line is not valid JSON."))?);
            }
            return Ok(());
        }
        let Some(record) = (Records { rest: text, delimiter: self.layout.csv_delimiter }).next()
        else {
            return Ok(());
        };
        let Some(headers) = &self.headers else {
            unique(&record)?;
            self.headers = Some(record);
            return Ok(());
        };
        let mut item = Object::with_capacity(headers.len());
        let mut fields = record.into_iter();
        for header in headers {
            item.insert(header.clone(), fields.next().unwrap_or_default().into());
        }
        self.items.push(Value::Object(item));
        Ok(())
    }

    fn elements(&mut self, end: End) -> Result<(), Failed> {
        let held = std::mem::take(&mut self.held);
        let Cut::Elements(place) = &mut self.cut else { return Ok(()) };
        let (mut begin, mut at) = (0, self.seen);
        while at < held.len() && self.items.len() < self.limit {
            let byte = held[at];
            at += 1;
            match place.after(byte) {
                Met::Inside => {}
                // Only spaces may stand outside of the array.
                Met::Outside if byte.is_ascii_whitespace() => begin = at,
                Met::Outside => {
                    if place.ended {
                        return Err(not_json());
                    }
                    // It is a document of another kind, or none.
                    self.held = held;
                    self.cut = Cut::Whole;
                    return self.cut(end);
                }
                Met::Begin => begin = at,
                Met::Comma => {
                    let element = &held[begin..at - 1];
                    self.items.push(serde_json::from_slice(element).map_err(|_| not_json())?);
                    begin = at;
                }
                Met::End => {
                    let element = &held[begin..at - 1];
                    let is_last = !element.iter().all(u8::is_ascii_whitespace);
                    if is_last || !self.items.is_empty() {
                        self.items.push(serde_json::from_slice(element).map_err(|_| not_json())?);
                    }
                    begin = at;
                }
            }
        }
        if end == End::Reached && !place.ended && self.items.len() < self.limit {
            return Err(not_json());
        }
        self.seen = at.saturating_sub(begin);
        self.held = held[begin..].to_vec();
        Ok(())
    }
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Reached,
}

impl Quotes {
    /// The state after a byte. A line has ended where a field begins after something else than a delimiter.
    const fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Begin, b'"') | (Self::Ending, b'"') => Self::Inside,
            (Self::Inside, b'"') => Self::Ending,
            (Self::Inside, _) => Self::Inside,
            (_, b'\n' | b'\r') => Self::Begin,
            (_, byte) if byte == delimiter => Self::Begin,
            (..) => Self::Bare,
        }
    }
}

/// What a byte of a JSON array is.
enum Met {
    /// Before the array or behind it.
    Outside,
    /// It begins.
    Begin,
    /// A part of an element.
    Inside,
    /// Between two elements.
    Comma,
    /// It ends.
    End,
}

impl Elements {
    const fn after(&mut self, byte: u8) -> Met {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return Met::Inside;
        }
        match byte {
            b'[' if self.depth == 0 && !self.ended => {
                self.depth = 1;
                return Met::Begin;
            }
            _ if self.depth == 0 => return Met::Outside,
            b'"' => self.in_text = true,
            b'[' | b'{' => self.depth += 1,
            b']' if self.depth == 1 => {
                self.depth = 0;
                self.ended = true;
                return Met::End;
            }
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            b',' if self.depth == 1 => return Met::Comma,
            _ => {}
        }
        Met::Inside
    }
}

fn unique(headers: &[String]) -> Result<(), Failed> {
    let mut sorted: Vec<&String> = headers.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(failed("CSV headers cannot contain duplicates."));
    }
    Ok(())
}

fn failed(cause: impl Into<String>) -> Failed {
    Failed { error: ErrorName::ItemReaderFailed.as_str().to_owned(), cause: Some(cause.into()) }
}

fn not_json() -> Failed {
    failed("The file is not valid JSON.")
}

fn not_iterable() -> Failed {
    failed("Attempting to map over non-iterable node.")
}

fn not_utf8() -> Failed {
    failed("The file is not encoded in UTF-8.")
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
            role: String::new(),
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

    /// The bytes come whole, and one by one: the items are the same.
    #[track_caller]
    fn check_in_bits(layout: &Layout, text: &str) {
        let taken = |size: usize| {
            let mut items = Items::new(layout.clone(), usize::MAX);
            for bytes in text.as_bytes().chunks(size) {
                items.push(bytes)?;
            }
            items.finish()
        };
        let whole = taken(text.len().max(1));
        for size in 1..4 {
            assert_eq!(taken(size), whole, "{text:?} in bits of {size}");
        }
    }

    #[test]
    fn a_file_that_comes_in_bits_gives_what_it_gives_whole() {
        let layout = |format| Layout {
            format: Some(format),
            csv_headers: None,
            csv_delimiter: ',',
            items_pointer: None,
            max_items: None,
        };
        let texts = [
            "a,b\r\n1,\"x\ny\"\r\n\"\",\"q\"\"\n\"",
            "\u{feff}k\nü\n",
            " [ {\"a\": \"]\\\"\"}, [1, 2] ,3 ] ",
            "[]",
            "{\"a\": [1]}",
            "[1] 2",
            "[1, ",
            "1\n{\"a\": \"\\n\"}\n\n2",
            "",
        ];
        for text in texts {
            for format in [Format::Csv, Format::Json, Format::Jsonl] {
                check_in_bits(&layout(format), text);
                check_in_bits(&Layout { max_items: Some(1), ..layout(format) }, text);
            }
        }
    }

    #[test]
    fn what_has_too_many_bytes_is_refused_as_it_comes() {
        let layout = Layout {
            format: Some(Format::Jsonl),
            csv_headers: None,
            csv_delimiter: ',',
            items_pointer: None,
            max_items: None,
        };
        let mut items = Items::new(layout.clone(), 4);
        items.push(b"1\n2\n").unwrap();
        assert!(items.push(b"3").unwrap_err().cause.unwrap().contains("more bytes"));
        let mut first = Items::new(Layout { max_items: Some(1), ..layout }, 4);
        first.push(b"1\n2").unwrap();
        assert!(first.is_full());
        assert_eq!(first.finish().unwrap().items, [Value::from(1)]);
    }

    #[test]
    fn a_pointer_leads_to_an_array_or_to_an_object_whose_fields_are_the_items() {
        let held = |text: &str, max_items| {
            let items_pointer = Some("/a/b".to_owned());
            let format = Some(Format::Json);
            let csv_delimiter = ',';
            let layout =
                Layout { format, csv_headers: None, csv_delimiter, items_pointer, max_items };
            let mut items = Items::new(layout, usize::MAX);
            items.push(text.as_bytes()).unwrap();
            items.finish()
        };
        let of_array = Held { items: vec![json!(1), json!(2)], are_fields: false };
        assert_eq!(held(r#"{"a":{"b":[1,2]}}"#, None), Ok(of_array));
        let pair = |key: &str, value: i32| json!({ "Key": key, "Value": value });
        let of_object = |items| Ok(Held { items, are_fields: true });
        let fields = r#"{"a":{"b":{"y":1,"x":2}}}"#;
        assert_eq!(held(fields, None), of_object(vec![pair("y", 1), pair("x", 2)]));
        assert_eq!(held(fields, Some(1)), of_object(vec![pair("y", 1)]));
        assert!(held(r#"{"a":{"b":1}}"#, None).is_err());
        assert!(held(r#"{"a":{}}"#, None).is_err());
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
