//! What an answer's receipt tells a client that measures.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::connection::Answer;

/// The parts of `x-fermata-receipt` that are used here.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Receipt {
    cpu_ns: u64,
    byte_seconds: u64,
    queued_us: u64,
    waiting_us: u64,
    starting_us: u64,
}

impl Receipt {
    /// The receipt of an answer.
    ///
    /// # Errors
    /// Where it has none, or one that cannot be read.
    pub(crate) fn parse(answer: &Answer) -> anyhow::Result<Self> {
        let text = answer.headers.get("x-fermata-receipt").context("the answer has no receipt")?;
        serde_json::from_slice(text.as_bytes()).context("parse the receipt")
    }

    /// CPU time used by the call.
    pub(crate) const fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns)
    }

    /// Memory in RAM × time.
    pub(crate) const fn byte_seconds(&self) -> u64 {
        self.byte_seconds
    }

    /// From the call's arrival at the platform to the handler's first instruction.
    pub(crate) const fn before_handler(&self) -> Duration {
        Duration::from_micros(self.queued_us + self.waiting_us + self.starting_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;
    use hyper::header::{HeaderMap, HeaderValue};

    #[test]
    fn a_receipt_tells_the_cpu_time_and_all_that_went_before_the_first_instruction() {
        let text = r#"{"class":"critical","cpu_ns":1500,"byte_seconds":7,"queued_us":3,"waiting_us":4,"starting_us":5,"running_us":9}"#;
        let mut headers = HeaderMap::new();
        headers.insert("x-fermata-receipt", HeaderValue::from_static(text));
        let answer = Answer { status: StatusCode::OK, headers, body: bytes::Bytes::new() };
        let receipt = Receipt::parse(&answer).unwrap();
        assert_eq!(receipt.cpu(), Duration::from_nanos(1_500));
        assert_eq!(receipt.byte_seconds(), 7);
        assert_eq!(receipt.before_handler(), Duration::from_micros(12));
        let without = Answer { headers: HeaderMap::new(), ..answer };
        assert!(Receipt::parse(&without).is_err());
    }
}
