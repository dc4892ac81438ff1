//! Times: services have three ways to write one, a state has one.

use jiff::Timestamp;
use serde_json::Value;

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `2024-11-15T13:57:13Z`
    Iso,
    /// `Fri, 15 Nov 2024 13:57:13 GMT`
    Http,
    /// Seconds since 1970.
    Unix,
}

impl Format {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "iso8601" => Some(Self::Iso),
            "rfc822" => Some(Self::Http),
            "unixTimestamp" => Some(Self::Unix),
            _ => None,
        }
    }

    /// A time as the service wants it.
    pub(super) fn write(self, at: Timestamp) -> Value {
        match self {
            Self::Iso => show(at).into(),
            Self::Http => at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string().into(),
            Self::Unix if at.subsec_nanosecond() == 0 => at.as_second().into(),
            Self::Unix => at.as_duration().as_secs_f64().into(),
        }
    }
}

/// A time, in whichever way it is written.
pub(super) fn read(value: &Value) -> Option<Timestamp> {
    let seconds = match value {
        Value::String(text) => {
            if let Ok(at) = text.parse() {
                return Some(at);
            }
            if let Ok(at) = jiff::fmt::rfc2822::parse(text) {
                return Some(at.timestamp());
            }
            text.parse::<f64>().ok()?
        }
        Value::Number(number) => match number.as_i64() {
            Some(seconds) => return Timestamp::from_second(seconds).ok(),
            None => number.as_f64()?,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    // Services tell thousandths at most; more would be noise of the number.
    let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since.round(jiff::Unit::Millisecond).ok()?).ok()
}

/// A time as a state sees it.
pub(super) fn show(at: Timestamp) -> String {
    let whole = at.subsec_nanosecond() == 0;
    at.strftime(if whole { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%3fZ" }).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_read_in_each_way_and_written_in_each() {
        for text in [
            json!("2024-11-15T13:57:13Z"),
            json!("2024-11-15T14:57:13+01:00"),
            json!("Fri, 15 Nov 2024 13:57:13 GMT"),
            json!(1_731_679_033),
            json!("1731679033"),
        ] {
            let at = read(&text).unwrap();
            assert_eq!(show(at), "2024-11-15T13:57:13Z");
            assert_eq!(Format::Http.write(at), "Fri, 15 Nov 2024 13:57:13 GMT");
            assert_eq!(Format::Iso.write(at), "2024-11-15T13:57:13Z");
            assert_eq!(Format::Unix.write(at), 1_731_679_033);
        }
        assert_eq!(show(read(&json!(1_731_679_033.1)).unwrap()), "2024-11-15T13:57:13.100Z");
        assert_eq!(show(read(&json!(-0.5)).unwrap()), "1969-12-31T23:59:59.500Z");
        for wrong in [json!("yesterday"), json!("1e300"), json!(true), json!("NaN")] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }
}
