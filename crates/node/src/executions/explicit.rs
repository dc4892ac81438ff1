//! Explicit suspension: any process function of a durable function answers "wake me on these events
//! with this state" and is called again with both. `docs/durable-functions.md` describes the JSON.
//!
//! In: `{"$fermata": {"execution", "turn", "input", "state", "resolved", "next_op", "tokens"}}`.
//! Out: `{"$fermata": {"wait": {"asks", "drops", "until", "state", "status"}}}` or
//! `{"$fermata": {"again": INPUT}}`; any other answer ends the execution.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::suspend::{Ask, InvokeMode, OpId, Resolution, Step, Until};
use model::{ExecutionId, Failure, FailureKind, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The one key of both envelopes.
const KEY: &str = "$fermata";
/// The key under which bytes stand that are no JSON.
const BASE64: &str = "$base64";
/// Callback tokens that a turn is given in advance, for the next numbers in order.
pub(crate) const TOKENS_AHEAD: u64 = 16;

/// What a turn is called with.
pub(crate) struct Given<'a> {
    pub(crate) execution: ExecutionId,
    pub(crate) turn: u64,
    /// The execution's input.
    pub(crate) input: &'a [u8],
    /// What the turn before left; none in the first one.
    pub(crate) state: Option<&'a [u8]>,
    pub(crate) resolved: &'a [(OpId, Resolution)],
    /// The lowest number that was never used.
    pub(crate) next_op: OpId,
    pub(crate) token: &'a dyn Fn(OpId) -> String,
}

/// The payload of a turn.
pub(crate) fn render(given: &Given<'_>) -> Vec<u8> {
    let resolved: Vec<Value> = given.resolved.iter().map(render_resolution).collect();
    let first = given.next_op.0;
    let tokens: Vec<String> =
        (first..first + TOKENS_AHEAD).map(|op| (given.token)(OpId(op))).collect();
    let state = given.state.map_or(Value::Null, to_json);
    json!({KEY: {
        "execution": given.execution.to_string(),
        "turn": given.turn,
        "input": to_json(given.input),
        "state": state,
        "resolved": resolved,
        "next_op": first,
        "tokens": tokens,
    }})
    .to_string()
    .into_bytes()
}

fn render_resolution((op, resolution): &(OpId, Resolution)) -> Value {
    match resolution {
        Resolution::Ok(bytes) => json!({"op": op.0, "ok": to_json(bytes)}),
        Resolution::Failed(failure) => {
            let detail = failure.detail.as_deref().map_or(Value::Null, to_json);
            let code = failure.kind.code();
            json!({"op": op.0, "failed": {"code": code, "message": failure.message, "detail": detail}})
        }
        Resolution::Refused { code, message } => {
            json!({"op": op.0, "refused": {"code": code, "message": message}})
        }
    }
}

/// What a turn's answer means: the step, and the state to keep where it waits.
pub(crate) fn parse(answer: &[u8], now: Timestamp) -> Result<(Step, Vec<u8>), Failure> {
    let Some(envelope) = envelope(answer) else {
        return Ok((Step::Done(answer.to_vec()), Vec::new()));
    };
    let turn: Turn = serde_json::from_value(envelope)
        .map_err(|error| malformed(format!("the answer under {KEY:?} is malformed: {error}")))?;
    let wait = match turn {
        Turn::Again(input) => return Ok((Step::Again(to_bytes(&input)), Vec::new())),
        Turn::Wait(wait) => wait,
    };
    let mut asks = Vec::with_capacity(wait.asks.len());
    for asked in wait.asks {
        let op = OpId(asked.op);
        asks.push((op, asked.what.into_ask(now)));
    }
    let ops = |numbers: Vec<u64>| numbers.into_iter().map(OpId).collect();
    let until = match wait.until {
        Wake::Next => Until::Next,
        Wake::Any(numbers) => Until::Any(ops(numbers)),
        Wake::All(numbers) => Until::All(ops(numbers)),
    };
    let status = wait.status.as_ref().map(to_bytes);
    let step = Step::Wait { asks, drops: ops(wait.drops), until, status };
    Ok((step, to_bytes(&wait.state)))
}

/// The inner value of an envelope: an object with nothing but our key.
fn envelope(answer: &[u8]) -> Option<Value> {
    // A cheap look first: most answers are none.
    let start = answer.trim_ascii_start();
    let inner = start.strip_prefix(b"{")?.trim_ascii_start();
    if !inner.starts_with(b"\"$fermata\"") {
        return None;
    }
    let mut object: Map<String, Value> = serde_json::from_slice(answer).ok()?;
    if object.len() == 1 { object.remove(KEY) } else { None }
}

fn malformed(message: String) -> Failure {
    Failure::new(FailureKind::BadResponse, message)
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Turn {
    Wait(Wait),
    Again(Value),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    asks: Vec<Asked>,
    #[serde(default)]
    drops: Vec<u64>,
    until: Wake,
    #[serde(default)]
    state: Value,
    status: Option<Value>,
}

/// An object of `op` and one more key, which is what is asked for. Not by `flatten`, whose errors do
/// not name the key.
#[derive(Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct Asked {
    op: u64,
    what: What,
}

impl TryFrom<Map<String, Value>> for Asked {
    type Error = String;

    fn try_from(mut object: Map<String, Value>) -> Result<Self, String> {
        let op = object.remove("op").as_ref().and_then(Value::as_u64);
        let op = op.ok_or("an ask needs a number `op`")?;
        let what = serde_json::from_value(Value::Object(object))
            .map_err(|error| format!("ask {op}: {error}"))?;
        Ok(Self { op, what })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// After this time from now.
    AfterMs(u64),
    /// At this time, since 1970.
    AtMs(u64),
    Invoke(Invoke),
    Signal(String),
    Token(Token),
    Send(Send),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invoke {
    function: String,
    class: Option<String>,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    detach: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    heartbeat_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    to: String,
    signal: String,
    #[serde(default)]
    payload: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wake {
    Next,
    Any(Vec<u64>),
    All(Vec<u64>),
}

impl What {
    fn into_ask(self, now: Timestamp) -> Ask {
        match self {
            Self::AfterMs(ms) => Ask::Timer { at: now + Duration::from_millis(ms) },
            Self::AtMs(ms) => Ask::Timer { at: Timestamp::from_millis(ms) },
            Self::Invoke(call) => Ask::Invoke {
                function: call.function,
                class: call.class,
                payload: to_bytes(&call.payload),
                mode: if call.detach { InvokeMode::Detach } else { InvokeMode::Wait },
            },
            Self::Signal(name) => Ask::Signal { name },
            Self::Token(token) => {
                Ask::Token { heartbeat: token.heartbeat_ms.map(Duration::from_millis) }
            }
            Self::Send(signal) => Ask::SendSignal {
                to: signal.to,
                name: signal.signal,
                payload: to_bytes(&signal.payload),
            },
        }
    }
}

/// Bytes as JSON: what they say where they are JSON, their base64 form otherwise.
pub(crate) fn to_json(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| json!({BASE64: BASE64_STANDARD.encode(bytes)}))
}

/// The inverse of [`to_json`].
pub(crate) fn to_bytes(value: &Value) -> Vec<u8> {
    let text = value.as_object().filter(|object| object.len() == 1);
    let text = text.and_then(|object| object.get(BASE64)).and_then(Value::as_str);
    match text.map(|text| BASE64_STANDARD.decode(text)) {
        Some(Ok(bytes)) => bytes,
        Some(Err(_)) | None => value.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[track_caller]
    fn step(answer: &str) -> (Step, String) {
        let (step, state) = parse(answer.as_bytes(), NOW).unwrap();
        (step, String::from_utf8(state).unwrap())
    }

    #[test]
    fn an_ordinary_answer_ends_the_execution() {
        for answer in ["", "7", "{\"a\":1}", "{\"$fermata\":{},\"b\":1}", "{\"$fermata\""] {
            assert_eq!(step(answer).0, Step::Done(answer.as_bytes().to_vec()), "{answer}");
        }
    }

    #[test]
    fn an_envelope_is_a_wait_with_its_state() {
        let (step, state) = step(
            r#" {"$fermata": {"wait": {"asks": [{"op": 1, "signal": "approved"},
                {"op": 2, "after_ms": 500}, {"op": 3, "invoke": {"function": "ship:2", "payload": [1]}},
                {"op": 4, "token": {"heartbeat_ms": 5}}, {"op": 5, "send": {"to": "x", "signal": "s"}}],
                "until": {"any": [1, 2]}, "drops": [9], "state": {"n": 1}, "status": "waiting"}}}"#,
        );
        let invoke = Ask::Invoke {
            function: "ship:2".into(),
            class: None,
            payload: b"[1]".to_vec(),
            mode: InvokeMode::Wait,
        };
        let send = Ask::SendSignal { to: "x".into(), name: "s".into(), payload: b"null".to_vec() };
        let expected = Step::Wait {
            asks: vec![
                (OpId(1), Ask::Signal { name: "approved".into() }),
                (OpId(2), Ask::Timer { at: Timestamp::from_millis(1_500) }),
                (OpId(3), invoke),
                (OpId(4), Ask::Token { heartbeat: Some(Duration::from_millis(5)) }),
                (OpId(5), send),
            ],
            drops: vec![OpId(9)],
            until: Until::Any(vec![OpId(1), OpId(2)]),
            status: Some(b"\"waiting\"".to_vec()),
        };
        assert_eq!(step, expected);
        assert_eq!(state, r#"{"n":1}"#);
    }

    #[test]
    fn a_malformed_envelope_is_a_bad_response_that_names_the_place() {
        for (answer, place) in [
            (r#"{"$fermata": {"wait": {"asks": []}}}"#, "until"),
            (r#"{"$fermata": {"sleep": 1}}"#, "sleep"),
            (
                r#"{"$fermata": {"wait": {"until": "next", "asks": [{"op": 1, "dream": 2}]}}}"#,
                "dream",
            ),
        ] {
            let failure = parse(answer.as_bytes(), NOW).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadResponse);
            assert!(failure.message.contains(place), "{}", failure.message);
        }
    }

    #[test]
    fn what_was_resolved_reaches_the_turn_as_json_or_base64() {
        let resolved = [
            (OpId(1), Resolution::Ok(b"{\"ok\":true}".to_vec())),
            (OpId(2), Resolution::Ok(vec![0xff, 0x00])),
            (OpId(3), Resolution::Failed(Failure::new(FailureKind::TimedOut, "late"))),
        ];
        let given = Given {
            execution: ExecutionId(7),
            turn: 2,
            input: b"1",
            state: Some(b"{\"n\":1}"),
            resolved: &resolved,
            next_op: OpId(4),
            token: &|op| format!("t{}", op.0),
        };
        let payload: Value = serde_json::from_slice(&render(&given)).unwrap();
        let inner = &payload[KEY];
        assert_eq!(inner["resolved"][0]["ok"]["ok"], true);
        assert_eq!(to_bytes(&inner["resolved"][1]["ok"]), [0xff, 0x00]);
        assert_eq!(inner["resolved"][2]["failed"]["code"], "timed-out");
        assert_eq!(inner["tokens"][1], "t5");
        assert_eq!((&inner["state"]["n"], &inner["turn"]), (&json!(1), &json!(2)));
    }
}
