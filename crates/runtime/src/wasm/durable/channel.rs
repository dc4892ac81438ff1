//! The request channel: how a program asks for things that can only read and write, such as an
//! interpreter that was built without knowing of this platform.
//!
//! A request is one write to standard input: a line of words, then bytes. What is read next from
//! standard input is its answer: a line with a number and a length, then so many bytes. A wait is
//! answered once it is over, so reading its answer is what suspends. `docs/wasm-abi.md` lists the
//! requests; they mean what the imports of the same names mean.

use std::time::Duration;

use model::suspend::{Ask, InvokeMode, OpId, Until};
use model::{Timestamp, limits};
use wasmtime::Caller;

use super::super::abi::Reply;
use super::super::host::{Host, Stop};
use super::imports::{FUNCTION_BYTES_MAX, stops_rewinding, turn, unwind};
use super::run::frames_fit;
use super::turn::{Refusal, Turn};

/// Who is told what is wrong: a failure names the import.
const IMPORT: &str = "the request channel";

/// What lies between a program and its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Channel {
    /// What was not read of the last answer.
    unread: Vec<u8>,
    /// The wait whose answer is to be read next.
    wait: Option<Until>,
}

/// A request, taken apart.
struct Request<'a> {
    words: Vec<&'a str>,
    bytes: &'a [u8],
}

/// What a request is answered with: a number and bytes.
type Answer = (i64, Vec<u8>);

/// Takes a request.
///
/// # Errors
/// It ends the run, or names a place for frames that is none.
pub(in super::super) fn request(
    caller: &mut Caller<'_, Host>,
    request: &[u8],
) -> wasmtime::Result<()> {
    let memory_bytes = caller.data().memory.map_or(0, |memory| memory.data_size(&*caller));
    let host = caller.data_mut();
    let channel = channel(turn(host, IMPORT)?);
    *channel = Channel::default();
    let answered = match parse(request) {
        None => refused(Refusal::Invalid),
        Some(request) => match answer(host, &request, memory_bytes)? {
            Answered::At(answer) => answer,
            Answered::Later(until) => {
                self::channel(turn(host, IMPORT)?).wait = Some(until);
                return Ok(());
            }
        },
    };
    self::channel(turn(host, IMPORT)?).put(answered);
    Ok(())
}

/// Whether there is something to read now; if not, the guest is being suspended.
pub(in super::super) fn is_ready(caller: &mut Caller<'_, Host>) -> wasmtime::Result<bool> {
    stops_rewinding(caller)?;
    let turn = turn(caller.data_mut(), IMPORT)?;
    let Some(until) = channel(turn).wait.clone() else { return Ok(true) };
    let number = match turn.check(&until) {
        Err(refusal) => i64::from(refusal.code()),
        Ok(()) => match turn.is_over(&until) {
            Some(number) => number.cast_signed(),
            None => {
                unwind(caller, until)?;
                return Ok(false);
            }
        },
    };
    let channel = channel(turn);
    channel.wait = None;
    channel.put((number, Vec::new()));
    Ok(true)
}

/// Moves what there is to read into `to`; returns how much that was.
pub(in super::super) fn read(host: &mut Host, to: &mut [u8]) -> usize {
    let Some(channel) = host.turn.as_mut().and_then(|turn| turn.channel.as_mut()) else { return 0 };
    let length = channel.unread.len().min(to.len());
    to[..length].copy_from_slice(&channel.unread[..length]);
    channel.unread.drain(..length);
    length
}

impl Channel {
    fn put(&mut self, (number, bytes): Answer) {
        self.unread = format!("{number} {}\n", bytes.len()).into_bytes();
        self.unread.extend_from_slice(&bytes);
    }

    /// As bytes: nothing, what is unread, or the wait.
    pub(super) fn save(&self) -> Vec<u8> {
        match &self.wait {
            None if self.unread.is_empty() => Vec::new(),
            None => [b"<", &*self.unread].concat(),
            Some(until) => render(until).into_bytes(),
        }
    }

    /// What `save` gave.
    pub(super) fn restore(saved: &[u8]) -> Self {
        match saved.split_first() {
            Some((b'<', unread)) => Self { unread: unread.to_vec(), wait: None },
            Some(_) => {
                let wait = parse(saved).and_then(|request| until(&request.words));
                Self { unread: Vec::new(), wait }
            }
            None => Self::default(),
        }
    }
}

/// The channel of a turn that has one.
fn channel(turn: &mut Turn) -> &mut Channel {
    turn.channel.get_or_insert_default()
}

fn parse(request: &[u8]) -> Option<Request<'_>> {
    let end = request.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&request[..end]).ok()?;
    Some(Request { words: line.split(' ').collect(), bytes: &request[end + 1..] })
}

fn render(until: &Until) -> String {
    let ids = |ids: &[OpId]| ids.iter().map(|id| format!(" {}", id.0)).collect::<String>();
    match until {
        Until::Any(ops) => format!("wait any{}\n", ids(ops)),
        Until::All(ops) => format!("wait all{}\n", ids(ops)),
        Until::Next => "wait next\n".into(),
    }
}

fn until(words: &[&str]) -> Option<Until> {
    let ids = |words: &[&str]| {
        let ids = words.iter().map(|word| word.parse().ok().map(OpId));
        ids.collect::<Option<Vec<_>>>().filter(|ids| ids.len() <= limits::OPEN_OPS_MAX)
    };
    match words {
        ["wait", "any", ops @ ..] => ids(ops).map(Until::Any),
        ["wait", "all", ops @ ..] => ids(ops).map(Until::All),
        ["wait", "next"] => Some(Until::Next),
        _ => None,
    }
}

impl<'a> Request<'a> {
    /// The bytes, cut into pieces of the lengths that words name, and the rest.
    fn pieces<const N: usize>(&self, lengths: [&str; N]) -> Option<([&'a [u8]; N], &'a [u8])> {
        let mut rest = self.bytes;
        let mut pieces = [rest; N];
        for (piece, length) in pieces.iter_mut().zip(lengths) {
            (*piece, rest) = rest.split_at_checked(length.parse().ok()?)?;
        }
        Some((pieces, rest))
    }
}

enum Answered {
    At(Answer),
    Later(Until),
}

fn refused(refusal: Refusal) -> Answer {
    (i64::from(refusal.code()), Vec::new())
}

fn answer(
    host: &mut Host,
    request: &Request<'_>,
    memory_bytes: usize,
) -> wasmtime::Result<Answered> {
    let limit = host.job.code.response_bytes_max;
    if request.bytes.len() > limit {
        return Ok(Answered::At(refused(Refusal::TooLarge)));
    }
    if let Some(until) = until(&request.words) {
        return Ok(Answered::Later(until));
    }
    let now = host.services.clock.now();
    let answer = match &request.words[..] {
        ["input"] => (0, host.wasi.take_input()),
        ["class"] => (0, host.job.class.clone().into_bytes()),
        ["again"] => return Err(Stop::Again(request.bytes.to_vec()).into()),
        ["frames", address, length] => {
            let place = address.parse().ok().zip(length.parse().ok());
            let (address, length) = place.ok_or_else(|| Stop::Misuse(NO_PLACE.into()))?;
            frames_fit(address, length, memory_bytes).map_err(Stop::Misuse)?;
            if let Some(stack) = &mut turn(host, IMPORT)?.stack {
                stack.buffer = Some((address, length));
            }
            (0, Vec::new())
        }
        _ => of_turn(turn(host, IMPORT)?, request, now).unwrap_or_else(refused),
    };
    Ok(Answered::At(answer))
}

const NO_PLACE: &str = "it asks for room for its frames and names no place";

/// Requests that the turn alone can answer.
fn of_turn(turn: &mut Turn, request: &Request<'_>, now: Timestamp) -> Result<Answer, Refusal> {
    let invalid = Refusal::Invalid;
    let op = |word: &str| word.parse().map(OpId).map_err(|_| invalid);
    let ask = match &request.words[..] {
        ["token_text", number] => {
            let op = op(number)?;
            if op.0 == 0 || op.0 > turn.operations.last {
                return Err(invalid);
            }
            return Ok((0, (turn.token)(op).into_bytes()));
        }
        ["drop", number] => {
            turn.drop(op(number)?)?;
            return Ok((0, Vec::new()));
        }
        ["outcome", number] => {
            let (code, reply) = Reply::to_resolution(turn.outcome(op(number)?)?);
            return Ok((i64::from(code.min(0)), reply.rest().to_vec()));
        }
        ["status"] => {
            turn.set_status(request.bytes)?;
            return Ok((0, Vec::new()));
        }
        _ => ask(request, now).ok_or(invalid)?,
    };
    turn.ask(ask).map(|OpId(number)| (number.cast_signed(), Vec::new()))
}

/// What is asked for; its answer is the number of the operation.
fn ask(request: &Request<'_>, now: Timestamp) -> Option<Ask> {
    Some(match &request.words[..] {
        [word @ ("call" | "call_detached"), name, class] => {
            let ([name, class], payload) = request.pieces([name, class])?;
            let class = text(class, limits::CLASS_NAME_BYTES_MAX)?;
            let mode = if *word == "call" { InvokeMode::Wait } else { InvokeMode::Detach };
            Ask::Invoke {
                function: text(name, FUNCTION_BYTES_MAX)?,
                class: Some(class).filter(|class| !class.is_empty()),
                payload: payload.to_vec(),
                mode,
            }
        }
        ["timer", after_ms] => {
            let after = Duration::from_millis(after_ms.parse().ok()?);
            let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            Ask::Timer { at: Timestamp(now.0.saturating_add(after)) }
        }
        ["timer_at", unix_ms] => {
            let at: u64 = unix_ms.parse().ok()?;
            Ask::Timer { at: Timestamp(at.saturating_mul(1_000_000)) }
        }
        ["signal"] => Ask::Signal { name: text(request.bytes, limits::SIGNAL_NAME_BYTES_MAX)? },
        ["signal_send", to, name] => {
            let ([to, name], payload) = request.pieces([to, name])?;
            Ask::SendSignal {
                to: text(to, limits::EXECUTION_NAME_BYTES_MAX)?,
                name: text(name, limits::SIGNAL_NAME_BYTES_MAX)?,
                payload: payload.to_vec(),
            }
        }
        ["token", heartbeat_ms] => {
            let heartbeat: u64 = heartbeat_ms.parse().ok()?;
            let heartbeat = Some(heartbeat).filter(|ms| *ms > 0);
            Ask::Token { heartbeat: heartbeat.map(Duration::from_millis) }
        }
        _ => return None,
    })
}

fn text(bytes: &[u8], bytes_max: usize) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|text| text.len() <= bytes_max).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn asked(request: &[u8]) -> Option<Ask> {
        ask(&parse(request)?, Timestamp::from_millis(1000))
    }

    #[test]
    fn a_request_is_a_line_of_words_and_bytes() {
        let call = Ask::Invoke {
            function: "ship:2".into(),
            class: Some("economy".into()),
            payload: b"\xff\n\0".to_vec(),
            mode: InvokeMode::Wait,
        };
        assert_eq!(asked(b"call 6 7\nship:2economy\xff\n\0"), Some(call));
        let timer = Ask::Timer { at: Timestamp::from_millis(1500) };
        assert_eq!(asked(b"timer 500\n"), Some(timer));
        assert_eq!(asked(b"timer_at 7\n"), Some(Ask::Timer { at: Timestamp::from_millis(7) }));
        assert_eq!(asked(b"signal\ngo on"), Some(Ask::Signal { name: "go on".into() }));
        let sent = Ask::SendSignal { to: "x".into(), name: "go".into(), payload: b"1".to_vec() };
        assert_eq!(asked(b"signal_send 1 2\nxgo1"), Some(sent));
        assert_eq!(asked(b"token 0\n"), Some(Ask::Token { heartbeat: None }));
    }

    #[test]
    fn a_malformed_request_asks_for_nothing() {
        for request in [
            &b""[..],
            b"call 6 7",
            b"call 6 7\nship",
            b"call 1\nx",
            b"call -1 0\nx",
            b"call 1 0\n\xff",
            b"call 99999999999999999999 0\nx",
            b"timer soon\n",
            b"dream 1\n",
            b"\n",
        ] {
            assert_eq!(asked(request), None, "{request:?}");
        }
    }

    #[test]
    fn what_is_saved_is_what_is_restored() {
        for until in [Until::Any(vec![OpId(1), OpId(9)]), Until::All(Vec::new()), Until::Next] {
            let channel = Channel { unread: Vec::new(), wait: Some(until) };
            assert_eq!(Channel::restore(&channel.save()), channel);
        }
        let channel = Channel { unread: b"7 3\nab".to_vec(), wait: None };
        assert_eq!(Channel::restore(&channel.save()), channel);
        assert_eq!(Channel::restore(&Channel::default().save()), Channel::default());
    }
}
