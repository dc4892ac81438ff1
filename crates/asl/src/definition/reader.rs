//! Reads fields of a definition and collects what is wrong with them.

use serde_json::{Map as Object, Value};

use super::problem::{Code, Problem, Severity};
use super::{Chart, ChartId, Dynamic, Language, MachineType, PathField, ResultPath};
use crate::intrinsic::Expression;
use crate::jsonata;
use crate::path::{Path, ReferencePath, Root};

/// Problems that are told at most.
const PROBLEMS_MAX: usize = 100;

/// What is known while a definition is read.
pub(super) struct Reader {
    pub(super) machine_type: MachineType,
    /// Of the whole machine.
    pub(super) language: Language,
    pub(super) problems: Vec<Problem>,
    /// Charts by number; the one being read is still empty.
    pub(super) charts: Vec<Option<Chart>>,
    pub(super) state_names: Vec<String>,
    pub(super) labels: Vec<String>,
    pub(super) depth: usize,
}

/// An object of the definition and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Fields<'d> {
    pub(super) object: &'d Object<String, Value>,
    pub(super) place: &'d str,
    pub(super) language: Language,
}

impl<'d> Fields<'d> {
    pub(super) fn get(&self, name: &str) -> Option<&'d Value> {
        self.object.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    pub(super) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }
}

impl Reader {
    pub(super) fn new(machine_type: MachineType) -> Self {
        Self {
            machine_type,
            language: Language::JsonPath,
            problems: Vec::new(),
            charts: Vec::new(),
            state_names: Vec::new(),
            labels: Vec::new(),
            depth: 0,
        }
    }

    pub(super) fn problem(&mut self, code: Code, place: &str, message: impl Into<String>) {
        self.push(code, Severity::Error, place, message.into());
    }

    /// A problem of the most common sort.
    pub(super) fn error(&mut self, place: &str, message: impl Into<String>) {
        self.push(Code::SchemaValidationFailed, Severity::Error, place, message.into());
    }

    pub(super) fn warn(&mut self, code: Code, place: &str, message: impl Into<String>) {
        self.push(code, Severity::Warning, place, message.into());
    }

    fn push(&mut self, code: Code, severity: Severity, place: &str, message: String) {
        if self.problems.len() < PROBLEMS_MAX {
            let location = Some(place.to_owned());
            self.problems.push(Problem { code, severity, message, location });
        }
    }

    pub(super) fn reserve_chart(&mut self) -> ChartId {
        self.charts.push(None);
        ChartId(u32::try_from(self.charts.len() - 1).unwrap_or(u32::MAX))
    }

    pub(super) fn required<'d>(&mut self, fields: &Fields<'d>, name: &str) -> Option<&'d Value> {
        let value = fields.get(name);
        if value.is_none() {
            self.error(fields.place, format!("The field '{name}' is required but was missing"));
        }
        value
    }

    pub(super) fn text(&mut self, fields: &Fields<'_>, name: &str) -> Option<String> {
        match fields.get(name)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.error(&fields.at(name), "Expected value of type String");
                None
            }
        }
    }

    /// One of these words.
    pub(super) fn one_of(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        words: &[&str],
    ) -> Option<String> {
        let word = self.text(fields, name)?;
        if !words.contains(&word.as_str()) {
            self.no_such_word(fields, name, words);
        }
        Some(word)
    }

    pub(super) fn no_such_word(&mut self, fields: &Fields<'_>, name: &str, words: &[&str]) {
        let words = words.join(", ");
        let message = format!("The field '{name}' should have one of these values: [{words}]");
        self.error(&fields.at(name), message);
    }

    pub(super) fn empty(&mut self, place: &str) {
        self.error(place, "Value cannot be empty");
    }

    pub(super) fn array<'d>(&mut self, fields: &Fields<'d>, name: &str) -> Option<&'d Vec<Value>> {
        let value = fields.get(name)?;
        let array = value.as_array();
        if array.is_none() {
            self.error(&fields.at(name), "Expected value of type Array");
        }
        array
    }

    pub(super) fn object<'d>(
        &mut self,
        value: &'d Value,
        place: &str,
    ) -> Option<&'d Object<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.error(place, "Expected value of type Object");
        }
        object
    }

    pub(super) fn whole_number(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = fields.get(name)?;
        match value.as_u64() {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let message = out_of_range(value, *range.start(), *range.end());
                self.error(&fields.at(name), message);
                None
            }
        }
    }

    pub(super) fn texts(&mut self, fields: &Fields<'_>, name: &str) -> Vec<String> {
        let Some(items) = self.array(fields, name) else { return Vec::new() };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.clone()),
                _ => self.error(
                    &format!("{}[{index}]", fields.at(name)),
                    "Expected value of type String",
                ),
            }
        }
        texts
    }

    /// At most one of two fields.
    pub(super) fn not_both(&mut self, fields: &Fields<'_>, one: &str, other: &str) {
        if fields.has(one) && fields.has(other) {
            self.error(fields.place, format!("Only one of the fields [{one}, {other}] is allowed"));
        }
    }

    /// Tells fields that are there in the other language only.
    pub(super) fn not_in_language(&mut self, fields: &Fields<'_>, names: &[(Language, &str)]) {
        for (language, name) in names {
            if *language != fields.language && fields.has(name) {
                let language = fields.language.as_str();
                let message =
                    format!("Field '{name}' is not supported when 'QueryLanguage' is '{language}'");
                self.error(fields.place, message);
            }
        }
    }

    pub(super) fn path(&mut self, text: &str, place: &str) -> Option<Path> {
        let path = Path::parse(text).ok();
        if path.is_none() {
            self.error(place, format!("Value is not a valid JSONPath: {text}"));
        }
        path
    }

    pub(super) fn path_field(&mut self, fields: &Fields<'_>, name: &str) -> PathField {
        match fields.get(name) {
            None => PathField::Whole,
            Some(Value::Null) => PathField::Nothing,
            Some(Value::String(text)) if text == "$" => PathField::Whole,
            Some(Value::String(text)) => match self.path(text, &fields.at(name)) {
                Some(path) => PathField::Path(Box::new(path)),
                None => PathField::Whole,
            },
            Some(_) => {
                self.error(&fields.at(name), "Expected value of type String");
                PathField::Whole
            }
        }
    }

    pub(super) fn result_path(&mut self, fields: &Fields<'_>) -> ResultPath {
        let place = fields.at("ResultPath");
        match fields.get("ResultPath") {
            None => ResultPath::Whole,
            Some(Value::Null) => ResultPath::Nothing,
            Some(Value::String(text)) if text == "$" => ResultPath::Whole,
            Some(Value::String(text)) => match ReferencePath::parse(text) {
                Ok(path) if *path.root() == Root::Input => ResultPath::Path(Box::new(path)),
                _ => {
                    self.error(&place, format!("Value is not a valid Reference Path: {text}"));
                    ResultPath::Whole
                }
            },
            Some(_) => {
                self.error(&place, "Expected value of type String");
                ResultPath::Whole
            }
        }
    }

    /// A field that may be written out, be JSONata, or have a twin `…Path`.
    pub(super) fn dynamic(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        fits: fn(&Value) -> Result<(), String>,
    ) -> Option<Dynamic> {
        let path_name = format!("{name}Path");
        if fields.language == Language::JsonPath {
            self.not_both(fields, name, &path_name);
            if let Some(value) = fields.get(&path_name) {
                let place = fields.at(&path_name);
                // Only a Fail state takes a call of an intrinsic function there.
                if !matches!(name, "Error" | "Cause")
                    && let Some(call) = value.as_str().filter(|text| !text.starts_with('$'))
                {
                    self.error(&place, format!("Value is not a valid JSONPath: {call}"));
                    return None;
                }
                return self.expression(value, &place).map(Dynamic::Expression);
            }
        }
        let value = fields.get(name)?;
        if fields.language == Language::Jsonata
            && let Some(query) = self.query(value, &fields.at(name))
        {
            return Some(Dynamic::Query(query));
        }
        if let Err(message) = fits(value) {
            self.error(&fields.at(name), message);
            return None;
        }
        Some(Dynamic::Fixed(value.clone()))
    }

    pub(super) fn expression(&mut self, value: &Value, place: &str) -> Option<Box<Expression>> {
        let parsed = value.as_str().and_then(|text| Expression::parse(text).ok());
        if parsed.is_none() {
            self.error(place, "Value is not a valid JSONPath or intrinsic function call");
        }
        parsed.map(Box::new)
    }

    /// The JSONata of a text in `{% … %}`, checked.
    pub(super) fn query(&mut self, value: &Value, place: &str) -> Option<String> {
        let source = jsonata::unwrap(value.as_str()?)?;
        if let Err(error) = jsonata::Expression::parse(source) {
            self.error(place, format!("The JSONata expression is invalid: {error}"));
        }
        Some(source.to_owned())
    }
}

/// Why a number is refused.
pub(super) fn out_of_range(value: &Value, min: u64, max: u64) -> String {
    match value {
        Value::Number(_) if max == u64::MAX => format!("Value must be at least {min}"),
        Value::Number(_) => format!("Value must be between {min} and {max}"),
        _ => "Expected value of type Integer".to_owned(),
    }
}
