//! JSON as text, byte for byte as `serde_json` writes it. Long texts have few characters that must be
//! escaped, if any, so they are looked through many bytes at a time.

use serde_json::Value;

/// Bytes that are looked through together.
const CHUNK: usize = 64;

/// That value as text.
pub(crate) fn written(value: &Value) -> String {
    let mut out = Vec::new();
    write_value(&mut out, value);
    String::from_utf8(out).expect("it is made of texts")
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            write_fields(out, fields.iter().map(|(name, value)| (name.as_str(), value)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => write_scalar(out, value),
    }
}

/// An object of these fields.
pub(crate) fn write_fields<'v>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'v str, &'v Value)>,
) {
    out.push(b'{');
    for (index, (name, value)) in fields.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, name);
        out.push(b':');
        write_value(out, value);
    }
    out.push(b'}');
}

fn write_scalar(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a vector takes all that is written");
}

pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for chunk in text.as_bytes().chunks(CHUNK) {
        // Without a way out of the loop, so that the compiler looks at all of them at once.
        let any = chunk.iter().fold(false, |any, byte| any | must_be_escaped(*byte));
        if any { escape(out, chunk) } else { out.extend_from_slice(chunk) }
    }
    out.push(b'"');
}

const fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes.iter().copied() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..0x20 => {
                let digit = |nibble: u8| DIGITS[usize::from(nibble)];
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(byte >> 4),
                    digit(byte & 15),
                ]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: &Value) {
        assert_eq!(written(value), value.to_string());
    }

    #[test]
    fn every_character_is_written_as_serde_json_does() {
        let all: String = (0..0x250).filter_map(char::from_u32).collect();
        check(&all.as_str().into());
        // At each place of a chunk, and across the border of two.
        for before in 0..2 * CHUNK {
            for odd in ["\"", "\\", "\n", "\u{1}", "\u{7f}", "ü", "\u{1f600}"] {
                check(&format!("{}{odd}{}", "a".repeat(before), "b".repeat(CHUNK)).into());
            }
        }
    }

    #[test]
    fn every_kind_of_value_is_written_as_serde_json_does() {
        check(&json!({
            "": [], "b": {}, "a\"": [null, true, false, 0, -1, 1.5, 1e300, u64::MAX, i64::MIN],
            "deep": { "list": [["x"], { "y": "\u{0}" }] },
        }));
    }
}
