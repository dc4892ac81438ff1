//! The imports of module `fermata` that durable functions use, described in `docs/wasm-abi.md`.

use std::time::Duration;

use model::suspend::{Ask, InvokeMode, OpId, Until};
use model::{Timestamp, limits};
use wasmtime::{Caller, Linker, Val};

use super::super::abi::Reply;
use super::super::host::{Guest, Host, Stop};
use super::turn::{Refusal, Turn};

const MODULE: &str = "fermata";
/// The import that may suspend in the middle of a call.
pub(super) const WAIT: &str = "wait";
/// A name, a colon, a version.
pub(super) const FUNCTION_BYTES_MAX: usize = limits::NAME_BYTES_MAX + 11;

type Text = (u32, u32);

/// Defines the imports.
pub(in super::super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "timer", timer)?;
    linker.func_wrap(MODULE, "timer_at", timer_at)?;
    linker.func_wrap(MODULE, "call", |caller: Caller<'_, Host>, n, nl, c, cl, p, pl| {
        call(caller, ("fermata.call", InvokeMode::Wait), (n, nl), (c, cl), (p, pl))
    })?;
    linker.func_wrap(
        MODULE,
        "call_detached",
        |caller: Caller<'_, Host>, n, nl, c, cl, p, pl| {
            call(caller, ("fermata.call_detached", InvokeMode::Detach), (n, nl), (c, cl), (p, pl))
        },
    )?;
    linker.func_wrap(MODULE, "signal", signal)?;
    linker.func_wrap(MODULE, "signal_send", |caller: Caller<'_, Host>, t, tl, n, nl, p, pl| {
        signal_send(caller, (t, tl), (n, nl), (p, pl))
    })?;
    linker.func_wrap(MODULE, "token", token)?;
    linker.func_wrap(MODULE, "token_text", token_text)?;
    linker.func_wrap(MODULE, "drop", drop)?;
    linker.func_wrap(MODULE, "outcome", outcome)?;
    linker.func_wrap(MODULE, "next", next)?;
    linker.func_wrap(MODULE, "status", status)?;
    linker.func_wrap(MODULE, "continue_as_new", continue_as_new)?;
    linker.func_wrap(MODULE, "await", await_)?;
    linker.func_wrap(MODULE, WAIT, wait)?;
    Ok(())
}

/// The turn, where there is one: a function that was not deployed as durable has none.
pub(super) fn turn<'a>(host: &'a mut Host, import: &'static str) -> Result<&'a mut Turn, Stop> {
    host.turn.as_deref_mut().ok_or(Stop::NotDurable(import))
}

fn number(asked: Result<OpId, Refusal>) -> i64 {
    match asked {
        Ok(OpId(id)) => id.cast_signed(),
        Err(refusal) => i64::from(refusal.code()),
    }
}

fn id(number: i64) -> OpId {
    OpId(number.cast_unsigned())
}

fn timer(mut caller: Caller<'_, Host>, after_ms: i64) -> wasmtime::Result<i64> {
    let after = Duration::from_millis(u64::try_from(after_ms).unwrap_or(0));
    let now = caller.data().services.clock.now();
    let at = now.0.checked_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    let at = Timestamp(at.unwrap_or(u64::MAX));
    Ok(number(turn(caller.data_mut(), "fermata.timer")?.ask(Ask::Timer { at })))
}

fn timer_at(mut caller: Caller<'_, Host>, unix_ms: i64) -> wasmtime::Result<i64> {
    let at = u64::try_from(unix_ms).unwrap_or(0).saturating_mul(1_000_000);
    let ask = Ask::Timer { at: Timestamp(at) };
    Ok(number(turn(caller.data_mut(), "fermata.timer_at")?.ask(ask)))
}

fn call(
    mut caller: Caller<'_, Host>,
    (import, mode): (&'static str, InvokeMode),
    name: Text,
    class: Text,
    payload: Text,
) -> wasmtime::Result<i64> {
    let guest = Guest::of(&mut caller, import)?;
    let function = text(&guest, name, FUNCTION_BYTES_MAX)?;
    let class = text(&guest, class, limits::CLASS_NAME_BYTES_MAX)?;
    let payload = payload_of(&guest, payload)?;
    let turn = turn(guest.host, import)?;
    let (Some(function), Some(class)) = (function, class) else {
        return Ok(number(Err(Refusal::Invalid)));
    };
    let class = Some(class).filter(|class| !class.is_empty());
    let Some(payload) = payload else { return Ok(number(Err(Refusal::TooLarge))) };
    Ok(number(turn.ask(Ask::Invoke { function, class, payload, mode })))
}

fn signal(mut caller: Caller<'_, Host>, name: u32, length: u32) -> wasmtime::Result<i64> {
    const IMPORT: &str = "fermata.signal";
    let guest = Guest::of(&mut caller, IMPORT)?;
    let name = text(&guest, (name, length), limits::SIGNAL_NAME_BYTES_MAX)?;
    let turn = turn(guest.host, IMPORT)?;
    Ok(number(match name {
        Some(name) => turn.ask(Ask::Signal { name }),
        None => Err(Refusal::Invalid),
    }))
}

fn signal_send(
    mut caller: Caller<'_, Host>,
    to: Text,
    name: Text,
    payload: Text,
) -> wasmtime::Result<i64> {
    const IMPORT: &str = "fermata.signal_send";
    let guest = Guest::of(&mut caller, IMPORT)?;
    let to = text(&guest, to, limits::EXECUTION_NAME_BYTES_MAX)?;
    let name = text(&guest, name, limits::SIGNAL_NAME_BYTES_MAX)?;
    let payload = payload_of(&guest, payload)?;
    let turn = turn(guest.host, IMPORT)?;
    let (Some(to), Some(name)) = (to, name) else { return Ok(number(Err(Refusal::Invalid))) };
    let Some(payload) = payload else { return Ok(number(Err(Refusal::TooLarge))) };
    Ok(number(turn.ask(Ask::SendSignal { to, name, payload })))
}

fn token(mut caller: Caller<'_, Host>, heartbeat_ms: i64) -> wasmtime::Result<i64> {
    let heartbeat = u64::try_from(heartbeat_ms).ok().filter(|ms| *ms > 0);
    let ask = Ask::Token { heartbeat: heartbeat.map(Duration::from_millis) };
    Ok(number(turn(caller.data_mut(), "fermata.token")?.ask(ask)))
}

fn token_text(
    mut caller: Caller<'_, Host>,
    op: i64,
    to: u32,
    capacity: u32,
) -> wasmtime::Result<i32> {
    const IMPORT: &str = "fermata.token_text";
    let mut guest = Guest::of(&mut caller, IMPORT)?;
    let (to, host) = guest.split(to, capacity)?;
    let turn = turn(host, IMPORT)?;
    if op <= 0 || id(op).0 > turn.operations.last {
        return Ok(Refusal::Invalid.code());
    }
    let token = (turn.token)(id(op));
    let length = token.len().min(to.len());
    to[..length].copy_from_slice(&token.as_bytes()[..length]);
    Ok(i32::try_from(token.len()).unwrap_or(i32::MAX))
}

fn drop(mut caller: Caller<'_, Host>, op: i64) -> wasmtime::Result<i32> {
    let dropped = turn(caller.data_mut(), "fermata.drop")?.drop(id(op));
    Ok(dropped.map_or_else(Refusal::code, |()| 0))
}

fn outcome(mut caller: Caller<'_, Host>, op: i64) -> wasmtime::Result<i32> {
    let outcome = turn(caller.data_mut(), "fermata.outcome")?.outcome(id(op));
    Ok(match outcome {
        Err(refusal) => refusal.code(),
        Ok(resolution) => {
            let (code, reply) = Reply::to_resolution(resolution);
            caller.data_mut().reply = reply;
            code
        }
    })
}

fn next(mut caller: Caller<'_, Host>) -> wasmtime::Result<i64> {
    let turn = turn(caller.data_mut(), "fermata.next")?;
    Ok(turn.operations.unseen.pop_front().map_or(0, |id| id.0.cast_signed()))
}

fn status(mut caller: Caller<'_, Host>, address: u32, length: u32) -> wasmtime::Result<i32> {
    const IMPORT: &str = "fermata.status";
    let guest = Guest::of(&mut caller, IMPORT)?;
    let status = guest.bytes(address, length)?.to_vec();
    let set = turn(guest.host, IMPORT)?.set_status(&status);
    Ok(set.map_or_else(Refusal::code, |()| 0))
}

fn continue_as_new(
    mut caller: Caller<'_, Host>,
    address: u32,
    length: u32,
) -> wasmtime::Result<()> {
    const IMPORT: &str = "fermata.continue_as_new";
    let guest = Guest::of(&mut caller, IMPORT)?;
    let payload = payload_of(&guest, (address, length))?;
    turn(guest.host, IMPORT)?;
    let limit = guest.host.job.code.response_bytes_max;
    Err(payload.map_or(Stop::ResponseTooLarge { limit }, Stop::Again).into())
}

fn await_(mut caller: Caller<'_, Host>, ids: u32, count: u32, mode: u32) -> wasmtime::Result<i32> {
    const IMPORT: &str = "fermata.await";
    let guest = Guest::of(&mut caller, IMPORT)?;
    let until = until(&guest, ids, count, mode)?;
    let turn = turn(guest.host, IMPORT)?;
    let checked = until.and_then(|until| turn.check(&until).map(|()| until));
    Ok(match checked {
        Err(refusal) => refusal.code(),
        Ok(until) => {
            turn.wait = Some(until);
            0
        }
    })
}

fn wait(mut caller: Caller<'_, Host>, ids: u32, count: u32, mode: u32) -> wasmtime::Result<i64> {
    const IMPORT: &str = "fermata.wait";
    let guest = Guest::of(&mut caller, IMPORT)?;
    let until = until(&guest, ids, count, mode)?;
    turn(guest.host, IMPORT)?;
    stops_rewinding(&mut caller)?;
    let turn = turn(caller.data_mut(), IMPORT)?;
    let until = match until.and_then(|until| turn.check(&until).map(|()| until)) {
        Ok(until) => until,
        Err(refusal) => return Ok(i64::from(refusal.code())),
    };
    match turn.is_over(&until) {
        Some(number) => Ok(number.cast_signed()),
        None => {
            unwind(&mut caller, until)?;
            Ok(0)
        }
    }
}

/// Where the stack has just been put back, lets the guest run on from here.
pub(super) fn stops_rewinding(caller: &mut Caller<'_, Host>) -> wasmtime::Result<()> {
    let stack = caller.data().turn.as_ref().and_then(|turn| turn.stack);
    match stack {
        Some(stack) => stack.state.set(caller, Val::I32(0)),
        None => Ok(()),
    }
}

/// Lets the guest put its stack into its memory: its functions return one after the other.
///
/// The two globals are set directly. Calling the functions that the pass exports would not work
/// here, in a store whose guests can be preempted.
pub(super) fn unwind(caller: &mut Caller<'_, Host>, until: Until) -> wasmtime::Result<()> {
    const UNWINDING: i32 = 1;
    const HEAD_BYTES: u32 = 8;
    let misuse = |what: &str| Stop::Misuse(what.into());
    let turn = turn(caller.data_mut(), "fermata.wait")?;
    let stack = turn.stack.as_mut().ok_or_else(|| misuse(NOT_INSTRUMENTED))?;
    let (buffer, length) = stack.buffer.ok_or_else(|| misuse(NO_BUFFER))?;
    stack.is_unwinding = true;
    turn.wait = Some(until);
    let stack = *stack;
    let mut guest = Guest::of(caller, "fermata.wait")?;
    guest.write_u32(buffer, guest.offset(buffer, 1, HEAD_BYTES)?)?;
    guest.write_u32(guest.offset(buffer, 1, 4)?, guest.offset(buffer, 1, length)?)?;
    stack.data.set(&mut *caller, Val::I32(buffer.cast_signed()))?;
    stack.state.set(&mut *caller, Val::I32(UNWINDING))
}

const NOT_INSTRUMENTED: &str =
    "it waits in the middle of a call, and its module did not go through the asyncify pass";
const NO_BUFFER: &str = "there is no room for its stack: the module exports no fermata_frames";

/// What a wait is for. Ids are 64-bit numbers in a row.
fn until(
    guest: &Guest<'_>,
    ids: u32,
    count: u32,
    mode: u32,
) -> wasmtime::Result<Result<Until, Refusal>> {
    const ANY: u32 = 0;
    const ALL: u32 = 1;
    const NEXT: u32 = 2;
    const ID_BYTES: u32 = 8;
    if count as usize > limits::OPEN_OPS_MAX {
        return Ok(Err(Refusal::TooMany));
    }
    let read = |index| guest.read_u64(guest.offset(ids, index, ID_BYTES)?).map(OpId);
    Ok(match mode {
        ANY => Ok(Until::Any((0..count).map(read).collect::<wasmtime::Result<_>>()?)),
        ALL => Ok(Until::All((0..count).map(read).collect::<wasmtime::Result<_>>()?)),
        NEXT => Ok(Until::Next),
        _ => Err(Refusal::Invalid),
    })
}

fn text(
    guest: &Guest<'_>,
    (address, length): Text,
    bytes_max: usize,
) -> wasmtime::Result<Option<String>> {
    let bytes = guest.bytes(address, length)?;
    let fits = bytes.len() <= bytes_max;
    Ok(std::str::from_utf8(bytes).ok().filter(|_| fits).map(str::to_owned))
}

/// None where it is over the cap.
fn payload_of(guest: &Guest<'_>, (address, length): Text) -> wasmtime::Result<Option<Vec<u8>>> {
    let bytes = guest.bytes(address, length)?;
    let fits = bytes.len() <= guest.host.job.code.response_bytes_max;
    Ok(fits.then(|| bytes.to_vec()))
}
