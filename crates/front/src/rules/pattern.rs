//! Patterns of events, as EventBridge has them: a field must have one of the values, or satisfy one of the
//! tests, that the pattern lists for it; what the pattern does not name may be anything.

use model::limits;
use serde_json::{Map, Number, Value};

use super::cidr::Cidr;

/// Which events a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Fields);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields {
    all: Vec<(String, Node)>,
    /// Of `$or`.
    either: Vec<Fields>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Fields(Fields),
    Values(Vec<Test>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equal(Value),
    EqualInAnyCase(String),
    Starts(Text),
    Ends(Text),
    /// Parts between stars.
    Like(Vec<String>),
    Number(Vec<(Comparison, Number)>),
    Address(Cidr),
    Exists(bool),
    NoneOf(Vec<Test>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    text: String,
    in_any_case: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// A problem, and the field that it is at.
type Problem = String;

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let max = limits::EVENT_PATTERN_BYTES_MAX;
        if text.len() > max {
            return Err(format!(
                "the pattern has {} bytes, and at most {max} are taken",
                text.len()
            ));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| format!("the pattern is no JSON: {error}"))?;
        match value {
            Value::Object(fields) => Fields::parse(&fields, "").map(Self),
            _ => Err("the pattern is no object".to_owned()),
        }
    }

    /// Whether an event is one of these.
    pub(super) fn matches(&self, event: &Value) -> bool {
        self.0.hold_for(event)
    }
}

impl Fields {
    fn parse(fields: &Map<String, Value>, place: &str) -> Result<Self, Problem> {
        if fields.is_empty() {
            return Err(at(place, "an empty object matches nothing"));
        }
        let mut parsed = Self::default();
        for (name, value) in fields {
            let inner = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
            match value {
                Value::Array(choices) if name == "$or" => {
                    parsed.either = choices
                        .iter()
                        .map(|choice| match choice {
                            Value::Object(fields) => Self::parse(fields, &inner),
                            _ => Err(at(&inner, "each choice is an object")),
                        })
                        .collect::<Result<_, _>>()?;
                    if parsed.either.len() < 2 {
                        return Err(at(&inner, "there are two choices at the least"));
                    }
                }
                Value::Array(tests) => {
                    let tests = list(tests, &inner, Test::parse)?;
                    parsed.all.push((name.clone(), Node::Values(tests)));
                }
                Value::Object(fields) => {
                    let node = Node::Fields(Self::parse(fields, &inner)?);
                    parsed.all.push((name.clone(), node));
                }
                _ => return Err(at(&inner, "values stand in an array")),
            }
        }
        Ok(parsed)
    }

    fn hold_for(&self, value: &Value) -> bool {
        match value {
            Value::Object(fields) => {
                self.all.iter().all(|(name, node)| node.holds_for(fields.get(name)))
                    && (self.either.is_empty()
                        || self.either.iter().any(|choice| choice.hold_for(value)))
            }
            Value::Array(values) => values.iter().any(|value| self.hold_for(value)),
            _ => self.hold_for(&Value::Object(Map::new())),
        }
    }
}

impl Node {
    fn holds_for(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Fields(fields), Some(value)) => fields.hold_for(value),
            (Self::Fields(fields), None) => fields.hold_for(&Value::Null),
            // What is inside of an object is a field of its own.
            (Self::Values(tests), None | Some(Value::Object(_))) => {
                tests.contains(&Test::Exists(false))
            }
            (Self::Values(tests), Some(Value::Array(values))) if !values.is_empty() => {
                values.iter().any(|value| tests.iter().any(|test| test.holds_for(value)))
            }
            (Self::Values(tests), Some(value)) => tests.iter().any(|test| test.holds_for(value)),
        }
    }
}

impl Test {
    fn parse(value: &Value, place: &str) -> Result<Self, Problem> {
        match value {
            Value::Array(_) => Err(at(place, "an array stands in an array")),
            Value::Object(fields) => {
                let mut fields = fields.iter();
                match (fields.next(), fields.next()) {
                    (Some((name, of)), None) => Self::named(name, of, place),
                    _ => Err(at(place, "a test has one name")),
                }
            }
            value => Ok(Self::Equal(value.clone())),
        }
    }

    fn named(name: &str, of: &Value, place: &str) -> Result<Self, Problem> {
        let wrong = |what: &str| at(place, &format!("{name} takes {what}"));
        let text = |of: &Value| of.as_str().map(str::to_owned).ok_or_else(|| wrong("a text"));
        Ok(match name {
            "prefix" => Self::Starts(Text::parse(of).ok_or_else(|| wrong("a text"))?),
            "suffix" => Self::Ends(Text::parse(of).ok_or_else(|| wrong("a text"))?),
            "equals-ignore-case" => Self::EqualInAnyCase(text(of)?.to_lowercase()),
            "wildcard" => Self::Like(
                parts(&text(of)?).ok_or_else(|| wrong("no two stars in a row, and \\* or \\\\"))?,
            ),
            "exists" => Self::Exists(of.as_bool().ok_or_else(|| wrong("true or false"))?),
            "cidr" => {
                let range = of.as_str().and_then(Cidr::parse);
                Self::Address(range.ok_or_else(|| wrong("a range such as 10.0.0.0/24"))?)
            }
            "numeric" => Self::Number(
                comparisons(of)
                    .ok_or_else(|| wrong("comparisons such as [\">\", 0, \"<=\", 5]"))?,
            ),
            "anything-but" => Self::NoneOf(Self::others(of, place)?),
            _ => return Err(at(place, &format!("there is no test {name:?}"))),
        })
    }

    /// What a value must not be: one value, some, or one test with one text or some.
    fn others(of: &Value, place: &str) -> Result<Vec<Self>, Problem> {
        let one = |value: &Value| match value {
            Value::String(_) | Value::Number(_) => Ok(Self::Equal(value.clone())),
            _ => Err(at(place, "anything-but takes texts and numbers")),
        };
        match of {
            Value::Array(values) => list(values, place, |value, _| one(value)),
            Value::Object(test) => {
                let mut tests = Vec::new();
                for (name, of) in test {
                    if !["prefix", "suffix", "equals-ignore-case", "wildcard"]
                        .contains(&name.as_str())
                    {
                        return Err(at(place, &format!("anything-but takes no {name}")));
                    }
                    match of {
                        Value::Array(texts) => {
                            tests.extend(list(texts, place, |text, place| {
                                Self::named(name, text, place)
                            })?);
                        }
                        of => tests.push(Self::named(name, of, place)?),
                    }
                }
                if test.len() == 1 { Ok(tests) } else { Err(at(place, "a test has one name")) }
            }
            value => Ok(vec![one(value)?]),
        }
    }

    fn holds_for(&self, value: &Value) -> bool {
        let text = value.as_str();
        match self {
            Self::Equal(Value::Number(number)) => {
                value.is_number() && value.as_f64() == number.as_f64()
            }
            Self::Equal(expected) => value == expected,
            Self::EqualInAnyCase(expected) => {
                text.is_some_and(|text| text.to_lowercase() == *expected)
            }
            Self::Starts(start) => {
                text.is_some_and(|text| start.of(text, |text, start| text.starts_with(start)))
            }
            Self::Ends(end) => {
                text.is_some_and(|text| end.of(text, |text, end| text.ends_with(end)))
            }
            Self::Like(parts) => text.is_some_and(|text| is_like(text, parts)),
            Self::Number(comparisons) => value.as_f64().is_some_and(|number| {
                comparisons.iter().all(|(comparison, bound)| comparison.holds(number, bound))
            }),
            Self::Address(range) => text.is_some_and(|text| range.holds(text)),
            Self::Exists(exists) => *exists,
            Self::NoneOf(tests) => !tests.iter().any(|test| test.holds_for(value)),
        }
    }
}

impl Text {
    fn parse(of: &Value) -> Option<Self> {
        if let Value::String(text) = of {
            return Some(Self { text: text.clone(), in_any_case: false });
        }
        let fields = of.as_object().filter(|fields| fields.len() == 1)?;
        let text = fields.get("equals-ignore-case")?.as_str()?;
        Some(Self { text: text.to_lowercase(), in_any_case: true })
    }

    fn of(&self, text: &str, test: fn(&str, &str) -> bool) -> bool {
        if self.in_any_case {
            test(&text.to_lowercase(), &self.text)
        } else {
            test(text, &self.text)
        }
    }
}

impl Comparison {
    fn parse(of: &Value) -> Option<Self> {
        Some(match of.as_str()? {
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "=" => Self::Equal,
            ">=" => Self::GreaterOrEqual,
            ">" => Self::Greater,
            _ => return None,
        })
    }

    #[expect(clippy::float_cmp, reason = "that is what is asked for")]
    fn holds(self, number: f64, bound: &Number) -> bool {
        let bound = bound.as_f64().unwrap_or(f64::NAN);
        match self {
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Equal => number == bound,
            Self::GreaterOrEqual => number >= bound,
            Self::Greater => number > bound,
        }
    }
}

fn at(place: &str, what: &str) -> Problem {
    if place.is_empty() { what.to_owned() } else { format!("{place}: {what}") }
}

fn list<T>(
    values: &[Value],
    place: &str,
    parse: impl Fn(&Value, &str) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    if values.is_empty() {
        return Err(at(place, "an empty array matches nothing"));
    }
    values.iter().map(|value| parse(value, place)).collect()
}

fn comparisons(of: &Value) -> Option<Vec<(Comparison, Number)>> {
    let (pairs, rest) = of.as_array()?.as_chunks::<2>();
    let read = |[comparison, bound]: &[Value; 2]| {
        Some((Comparison::parse(comparison)?, bound.as_number()?.clone()))
    };
    let pairs: Option<Vec<_>> = pairs.iter().map(read).collect();
    pairs.filter(|pairs| (1..=2).contains(&pairs.len()) && rest.is_empty())
}

/// What stands between the stars of a wildcard; `\*` and `\\` are characters.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.peek() == Some(&'*') => return None,
            '*' => parts.push(String::new()),
            char => {
                let char = if char == '\\' {
                    chars.next().filter(|escaped| matches!(escaped, '*' | '\\'))?
                } else {
                    char
                };
                parts.last_mut()?.push(char);
            }
        }
    }
    Some(parts)
}

fn is_like(text: &str, parts: &[String]) -> bool {
    let Some((first, others)) = parts.split_first() else { return false };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    let Some((last, middle)) = others.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(found) = rest.find(part.as_str()) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "source": "shop", "detail-type": "order",
            "resources": ["arn:one", "arn:two"],
            "detail": {
                "state": "Paid", "price": 300, "nothing": null, "empty": "", "none": [],
                "address": "10.0.0.7", "file": "dir/a.b.png", "star": "a*b",
                "lines": [{ "item": "tea", "count": 2 }, { "item": "cup", "count": 5 }],
            },
        })
    }

    #[track_caller]
    fn check(pattern: &Value, expected: bool) {
        let parsed = Pattern::parse(&pattern.to_string()).unwrap();
        assert_eq!(parsed.matches(&event()), expected, "{pattern}");
    }

    #[track_caller]
    fn check_detail(name: &str, tests: &Value, expected: bool) {
        check(&json!({ "detail": { name: tests } }), expected);
    }

    #[test]
    fn fields_have_one_of_the_values_that_are_listed() {
        check(&json!({ "source": ["shop"], "detail-type": ["bill", "order"] }), true);
        check(&json!({ "source": ["shop"], "detail-type": ["bill"] }), false);
        check(&json!({ "resources": ["arn:two"] }), true);
        check(&json!({ "region": ["eu"] }), false);
        check_detail("price", &json!([300.0]), true);
        check_detail("price", &json!(["300"]), false);
        check_detail("nothing", &json!([null]), true);
        check_detail("empty", &json!([null]), false);
        check_detail("lines", &json!({ "item": ["cup"], "count": [5] }), true);
        check(&json!({ "source": { "inner": ["shop"] } }), false);
    }

    #[test]
    fn texts_are_tested_by_their_parts() {
        check_detail("file", &json!([{ "prefix": "dir/" }]), true);
        check_detail("file", &json!([{ "prefix": "DIR/" }]), false);
        check_detail("file", &json!([{ "prefix": { "equals-ignore-case": "DIR/" } }]), true);
        check_detail("file", &json!([{ "suffix": ".png" }]), true);
        check_detail("file", &json!([{ "suffix": { "equals-ignore-case": ".PNG" } }]), true);
        check_detail("state", &json!([{ "equals-ignore-case": "pAID" }]), true);
        for (wildcard, expected) in [
            ("dir/*.png", true),
            ("*", true),
            ("*.b.*", true),
            ("dir/*.b.*png", true),
            ("*b.b*", false),
            ("dir/*.gif", false),
            ("dir", false),
            ("dir/a.b.png", true),
        ] {
            check_detail("file", &json!([{ "wildcard": wildcard }]), expected);
        }
        check_detail("star", &json!([{ "wildcard": "a\\*b" }]), true);
        check_detail("file", &json!([{ "wildcard": "a\\*b" }]), false);
    }

    #[test]
    fn numbers_are_compared_and_addresses_are_in_ranges() {
        check_detail("price", &json!([{ "numeric": [">", 0, "<=", 300] }]), true);
        check_detail("price", &json!([{ "numeric": ["<", 300] }]), false);
        check_detail("price", &json!([{ "numeric": ["=", 3e2] }]), true);
        check_detail("state", &json!([{ "numeric": [">=", 0] }]), false);
        check_detail("address", &json!([{ "cidr": "10.0.0.0/24" }]), true);
        check_detail("address", &json!([{ "cidr": "10.0.1.0/24" }]), false);
        check_detail("address", &json!([{ "cidr": "0.0.0.0/0" }]), true);
        check_detail("address", &json!([{ "cidr": "::/0" }]), false);
    }

    #[test]
    fn what_is_not_there_and_what_is_something_else_can_be_asked_for() {
        check_detail("price", &json!([{ "exists": true }]), true);
        check_detail("price", &json!([{ "exists": false }]), false);
        check_detail("more", &json!([{ "exists": false }]), true);
        check_detail("none", &json!([{ "exists": true }]), true);
        check(&json!({ "other": { "inner": [{ "exists": false }] } }), true);
        check(&json!({ "detail": [{ "exists": true }] }), false);
        check_detail("state", &json!([{ "anything-but": "Paid" }]), false);
        check_detail("state", &json!([{ "anything-but": ["Sent", 5] }]), true);
        check_detail("file", &json!([{ "anything-but": { "prefix": ["x", "dir"] } }]), false);
        check_detail("file", &json!([{ "anything-but": { "suffix": ".gif" } }]), true);
        check_detail("file", &json!([{ "anything-but": { "wildcard": "*.png" } }]), false);
        check_detail("more", &json!([{ "anything-but": "Paid" }]), false);
        let either = |price: u32| json!({ "$or": [{ "source": ["other"] }, { "detail": { "price": [price] } }], "source": ["shop"] });
        check(&either(300), true);
        check(&either(301), false);
    }

    #[track_caller]
    fn check_refused(pattern: &str, reason: &str) {
        let found = Pattern::parse(pattern).unwrap_err();
        assert!(found.contains(reason), "{found}");
    }

    #[test]
    fn a_wrong_pattern_is_refused_with_the_place() {
        check_refused("[]", "no object");
        check_refused("{", "no JSON");
        check_refused("{}", "an empty object");
        check_refused(r#"{"source": "shop"}"#, "source: values stand in an array");
        check_refused(r#"{"detail": {"a": []}}"#, "detail.a: an empty array");
        check_refused(r#"{"detail": {"a": [[1]]}}"#, "detail.a: an array stands");
        check_refused(r#"{"a": [{"like": "x"}]}"#, "a: there is no test \"like\"");
        check_refused(r#"{"a": [{"prefix": 1}]}"#, "a: prefix takes a text");
        check_refused(r#"{"a": [{"numeric": [">"]}]}"#, "a: numeric takes comparisons");
        check_refused(r#"{"a": [{"exists": 1}]}"#, "a: exists takes true or false");
        check_refused(r#"{"a": [{"cidr": "10.0.0.0/33"}]}"#, "a: cidr takes a range");
        check_refused(r#"{"a": [{"wildcard": "x**"}]}"#, "a: wildcard takes no two stars");
        check_refused(r#"{"a": [{"anything-but": {"exists": true}}]}"#, "takes no exists");
        check_refused(r#"{"$or": [{"a": [1]}]}"#, "$or: there are two choices");
        let max = limits::EVENT_PATTERN_BYTES_MAX;
        let pattern = |length: usize| format!(r#"{{"a":["{}"]}}"#, "x".repeat(length - 10));
        Pattern::parse(&pattern(max)).unwrap();
        check_refused(&pattern(max + 1), "at most");
    }
}
