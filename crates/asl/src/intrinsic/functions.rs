//! What each intrinsic function does.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::{
    DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD,
};
use serde_json::{Map, Value};
use sha2::Digest as _;

use crate::env::Random;

/// Characters that the encoding functions and `States.Hash` take.
const TEXT_CHARS_MAX: usize = 10_000;
/// Items that `States.ArrayRange` makes.
const RANGE_ITEMS_MAX: usize = 1_000;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Array,
    ArrayContains,
    ArrayGetItem,
    ArrayLength,
    ArrayPartition,
    ArrayRange,
    ArrayUnique,
    Base64Decode,
    Base64Encode,
    Format,
    Hash,
    JsonMerge,
    JsonToString,
    MathAdd,
    MathRandom,
    StringSplit,
    StringToJson,
    Uuid,
}

/// Each function's name, and the least and the most arguments it takes.
const FUNCTIONS: [(Function, &str, usize, usize); 18] = [
    (Function::Array, "States.Array", 0, usize::MAX),
    (Function::ArrayContains, "States.ArrayContains", 2, 2),
    (Function::ArrayGetItem, "States.ArrayGetItem", 2, 2),
    (Function::ArrayLength, "States.ArrayLength", 1, 1),
    (Function::ArrayPartition, "States.ArrayPartition", 2, 2),
    (Function::ArrayRange, "States.ArrayRange", 3, 3),
    (Function::ArrayUnique, "States.ArrayUnique", 1, 1),
    (Function::Base64Decode, "States.Base64Decode", 1, 1),
    (Function::Base64Encode, "States.Base64Encode", 1, 1),
    (Function::Format, "States.Format", 1, usize::MAX),
    (Function::Hash, "States.Hash", 2, 2),
    (Function::JsonMerge, "States.JsonMerge", 3, 3),
    (Function::JsonToString, "States.JsonToString", 1, 1),
    (Function::MathAdd, "States.MathAdd", 2, 2),
    (Function::MathRandom, "States.MathRandom", 2, 3),
    (Function::StringSplit, "States.StringSplit", 2, 2),
    (Function::StringToJson, "States.StringToJson", 1, 1),
    (Function::Uuid, "States.UUID", 0, 0),
];

impl Function {
    pub(super) fn of_name(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(_, known, ..)| *known == name).map(|(function, ..)| *function)
    }

    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(function, ..)| *function == self).map_or("", |(_, name, ..)| name)
    }

    /// The least and the most arguments it takes.
    pub(super) fn arity(self) -> (usize, usize) {
        FUNCTIONS
            .iter()
            .find(|(function, ..)| *function == self)
            .map_or((0, 0), |(_, _, least, most)| (*least, *most))
    }

    /// Its value, or none where it cannot take these arguments.
    pub(super) fn apply(self, mut arguments: Vec<Value>, random: &Random) -> Option<Value> {
        match (self, arguments.as_mut_slice()) {
            (Self::Array, _) => Some(Value::Array(arguments)),
            (Self::ArrayContains, [Value::Array(items), wanted]) => {
                Some(items.contains(wanted).into())
            }
            (Self::ArrayGetItem, [Value::Array(items), index]) => {
                items.get(usize::try_from(rounded(index)?).ok()?).cloned()
            }
            (Self::ArrayLength, [Value::Array(items)]) => Some(items.len().into()),
            (Self::ArrayPartition, [Value::Array(items), size]) => {
                let size = usize::try_from(rounded(size)?).ok().filter(|size| *size > 0)?;
                Some(items.chunks(size).map(|chunk| Value::Array(chunk.to_vec())).collect())
            }
            (Self::ArrayRange, [first, last, step]) => {
                range(rounded(first)?, rounded(last)?, rounded(step)?)
            }
            (Self::ArrayUnique, [Value::Array(items)]) => {
                let mut seen = BTreeSet::new();
                Some(items.iter().filter(|item| seen.insert(canonical(item))).cloned().collect())
            }
            (Self::Base64Decode, [Value::String(text)]) => {
                let bytes = LENIENT.decode(short(text)?).ok()?;
                Some(String::from_utf8_lossy(&bytes).into_owned().into())
            }
            (Self::Base64Encode, [Value::String(text)]) => {
                Some(STANDARD.encode(short(text)?).into())
            }
            (Self::Format, [Value::String(template), values @ ..]) => format(template, values),
            (Self::Hash, [Value::String(text), Value::String(algorithm)]) => {
                hash(short(text)?, algorithm).map(Value::String)
            }
            (Self::JsonMerge, [Value::Object(base), Value::Object(over), Value::Bool(false)]) => {
                let mut merged: Map<String, Value> = std::mem::take(base);
                merged.extend(std::mem::take(over));
                Some(Value::Object(merged))
            }
            (Self::JsonToString, [value]) => Some(value.to_string().into()),
            (Self::MathAdd, [left, right]) => {
                let sum = rounded(left)?.checked_add(rounded(right)?)?;
                i32::try_from(sum).ok().map(Value::from)
            }
            (Self::MathRandom, [first, end]) => draw(rounded(first)?, rounded(end)?, |count| {
                i64::try_from(random.draw() % u64::try_from(count).ok()?).ok()
            }),
            (Self::MathRandom, [first, end, seed]) => {
                let seed = rounded(seed)?;
                draw(rounded(first)?, rounded(end)?, |count| Some(java_random(seed, count)))
            }
            (Self::StringSplit, [Value::String(text), Value::String(separators)]) => {
                let parts = text.split(|c| separators.contains(c)).filter(|part| !part.is_empty());
                Some(parts.map(|part| Value::String(part.to_owned())).collect())
            }
            (Self::StringToJson, [Value::String(text)]) => parse_json(text),
            (Self::Uuid, []) => Some(uuid(random).into()),
            _ => None,
        }
    }
}

/// A number of 32 bits, a fraction rounded as Java does: half of the way goes up.
fn rounded(value: &Value) -> Option<i64> {
    let whole = match value.as_i64() {
        Some(whole) => whole,
        None => whole(value.as_f64()?)?,
    };
    i32::try_from(whole).ok().map(i64::from)
}

fn whole(number: f64) -> Option<i64> {
    let rounded = (number + 0.5).floor();
    #[expect(clippy::cast_possible_truncation, reason = "the guard keeps it within 32 bits")]
    (rounded.abs() <= 4e9).then_some(rounded as i64)
}

fn short(text: &str) -> Option<&str> {
    (text.chars().count() <= TEXT_CHARS_MAX).then_some(text)
}

fn range(first: i64, last: i64, step: i64) -> Option<Value> {
    if step == 0 {
        return None;
    }
    let mut items = Vec::new();
    let mut at = first;
    while if step > 0 { at <= last } else { at >= last } {
        if items.len() == RANGE_ITEMS_MAX {
            return None;
        }
        items.push(Value::from(at));
        at += step;
    }
    Some(Value::Array(items))
}

/// A text that equal values share: objects by the order of their keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            let fields: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// The template with each `{}` replaced by the next value, and its escapes undone.
fn format(template: &str, values: &[Value]) -> Option<Value> {
    let mut text = String::with_capacity(template.len());
    let mut values = values.iter();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('{' | '}' | '\\' | '\'')) => text.push(escaped),
                Some(other) => {
                    text.push('\\');
                    text.push(other);
                }
                None => text.push('\\'),
            },
            '{' => {
                if chars.next() != Some('}') {
                    return None;
                }
                text.push_str(&java_text(values.next()?));
            }
            '}' => return None,
            other => text.push(other),
        }
    }
    values.next().is_none().then_some(Value::String(text))
}

/// A value as Java prints it, which is what AWS puts into texts: `{a=1, b=[x, null]}`.
pub(crate) fn java_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => java_double(float),
            _ => number.to_string(),
        },
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(java_text).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}={}", java_text(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// `Double.toString` of Java.
fn java_double(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// The digest of a text in hexadecimal, by AWS's names of the algorithms.
pub(crate) fn hash(text: &str, algorithm: &str) -> Option<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match algorithm {
        "MD5" => Some(hex(&md5::Md5::digest(text))),
        "SHA-1" => Some(hex(&sha1::Sha1::digest(text))),
        "SHA-256" => Some(hex(&sha2::Sha256::digest(text))),
        "SHA-384" => Some(hex(&sha2::Sha384::digest(text))),
        "SHA-512" => Some(hex(&sha2::Sha512::digest(text))),
        _ => None,
    }
}

/// A whole number from `first` up to but without `end`.
fn draw(first: i64, end: i64, below: impl FnOnce(i64) -> Option<i64>) -> Option<Value> {
    let count = end.checked_sub(first).filter(|count| *count > 0)?;
    Some(Value::from(first + below(count)?))
}

/// The first draw below `bound` of Java's generator with that seed.
fn java_random(seed: i64, bound: i64) -> i64 {
    const MASK: i64 = (1 << 48) - 1;
    let mut state = (seed ^ 0x5_DEEC_E66D) & MASK;
    let mut next = || {
        state = state.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & MASK;
        state >> 17
    };
    if bound >= 1 << 31 {
        return ((next() << 31) | next()) % bound;
    }
    if bound & (bound - 1) == 0 {
        return (bound.wrapping_mul(next())) >> 31;
    }
    loop {
        let bits = next();
        let value = bits % bound;
        if bits - value + (bound - 1) < (1 << 31) {
            return value;
        }
    }
}

/// A JSON text; an empty or blank one is null.
pub(crate) fn parse_json(text: &str) -> Option<Value> {
    if text.trim().is_empty() {
        return Some(Value::Null);
    }
    match serde_json::from_str(text).ok()? {
        Value::Number(number) if number.as_f64() == Some(0.0) && !text.contains('.') => {
            Some(Value::from(0))
        }
        value => Some(value),
    }
}

/// A UUID of version 4.
pub(crate) fn uuid(random: &Random) -> String {
    let high = random.draw();
    let low = random.draw();
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0x0fff,
        (low >> 48) & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff,
    )
}
