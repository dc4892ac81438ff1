//! Compares an answer with a recording: `<…>` and bare tokens stand for any text.

use serde_json::Value;

/// Fields that belong to AWS's own services and runtimes.
const IGNORED: [&str; 12] = [
    "SdkHttpMetadata",
    "SdkResponseMetadata",
    "requestId",
    "stackTrace",
    "RequestId",
    "timestamp",
    "X-Amzn-Trace-Id",
    "HttpHeaders",
    "AllHttpHeaders",
    "StartDate",
    "StopDate",
    "BillingDetails",
];

pub(crate) struct Pattern {
    bare: Vec<String>,
}

impl Pattern {
    pub(crate) fn new(case: &Value) -> Self {
        let mut bare: Vec<String> = case["wildcards"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|token| token.as_str().map(str::to_owned))
            .collect();
        bare.sort_by_key(|token| std::cmp::Reverse(token.len()));
        Self { bare }
    }

    /// Where the first difference is, and what it is.
    pub(crate) fn difference(&self, expected: &Value, actual: &Value) -> Option<String> {
        self.at("", expected, actual)
    }

    fn at(&self, place: &str, expected: &Value, actual: &Value) -> Option<String> {
        let differs = || Some(format!("at {place}: expected {expected}, was {actual}"));
        match (expected, actual) {
            (Value::Object(_) | Value::Array(_), Value::String(text)) => {
                match serde_json::from_str::<Value>(text) {
                    Ok(parsed) if !parsed.is_string() => self.at(place, expected, &parsed),
                    _ => differs(),
                }
            }
            (Value::Object(wanted), Value::Object(given)) => {
                for (key, wanted) in wanted {
                    if IGNORED.contains(&key.as_str()) {
                        continue;
                    }
                    match given.get(key) {
                        None => return Some(format!("at {place}: {key} is missing in {actual}")),
                        Some(given) => {
                            let found = self.at(&format!("{place}/{key}"), wanted, given);
                            if found.is_some() {
                                return found;
                            }
                        }
                    }
                }
                let extra = given
                    .keys()
                    .find(|key| !wanted.contains_key(*key) && !IGNORED.contains(&key.as_str()));
                extra.map(|key| format!("at {place}: {key} is too much in {actual}"))
            }
            (Value::Array(wanted), Value::Array(given)) => {
                if wanted.len() != given.len() {
                    return differs();
                }
                (0..).zip(wanted.iter().zip(given)).find_map(
                    |(index, (wanted, given)): (usize, _)| {
                        self.at(&format!("{place}[{index}]"), wanted, given)
                    },
                )
            }
            (Value::String(wanted), Value::String(given)) => {
                if self.text_matches(wanted, given) {
                    return None;
                }
                match (parsed(wanted), parsed(given)) {
                    (Some(wanted), Some(given)) => self.at(place, &wanted, &given),
                    _ => differs(),
                }
            }
            (Value::String(wanted), _) if self.text_matches(wanted, &actual.to_string()) => None,
            (Value::Number(wanted), Value::Number(given)) => {
                let close = match (wanted.as_f64(), given.as_f64()) {
                    (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12,
                    _ => false,
                };
                if close { None } else { differs() }
            }
            _ if expected == actual => None,
            _ => differs(),
        }
    }

    fn text_matches(&self, wanted: &str, given: &str) -> bool {
        if wanted == given || matches!(wanted, "timestamp" | "datetime") {
            return true;
        }
        let pieces = self.pieces(wanted);
        if pieces.len() == 1 {
            return false;
        }
        fits(&pieces, given)
    }

    /// The literal text between the tokens.
    fn pieces(&self, wanted: &str) -> Vec<String> {
        let mut pieces = vec![String::new()];
        let mut rest = wanted;
        'rest: while !rest.is_empty() {
            if rest.starts_with('<')
                && let Some(end) = token_end(rest)
            {
                pieces.push(String::new());
                rest = &rest[end..];
                continue;
            }
            for token in self.bare.iter().map(String::as_str).chain(["date"]) {
                if let Some(after) = rest.strip_prefix(token) {
                    pieces.push(String::new());
                    rest = after;
                    continue 'rest;
                }
            }
            let next = rest.chars().next().unwrap();
            pieces.last_mut().unwrap().push(next);
            rest = &rest[next.len_utf8()..];
        }
        pieces
    }
}

/// Where a token such as `<uuid:1>` or `<<token>:1>` ends.
fn token_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            '\n' => return None,
            _ => {}
        }
    }
    None
}

/// Whether each piece follows the one before, with something between.
fn fits(pieces: &[String], given: &str) -> bool {
    let [first, middle @ .., last] = pieces else { return false };
    let Some(rest) = given.strip_prefix(first.as_str()) else { return false };
    let Some(rest) = rest.strip_suffix(last.as_str()) else { return false };
    let mut rest = rest;
    for piece in middle {
        // A token is one character at the least.
        let tail = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
        match tail.find(piece.as_str()) {
            Some(at) => rest = &tail[at + piece.len()..],
            None => return false,
        }
    }
    true
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}
