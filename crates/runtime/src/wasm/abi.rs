//! The import module `fermata`, described in `docs/wasm-abi.md`.

use bytes::Bytes;
use wasmtime::{Caller, Linker};

use super::host::{Guest, Host};
use super::job::unpoisoned;
use crate::executor::{Call, CallMode, CallResult};
use model::suspend::Resolution;
use model::{Failure, limits};

const MODULE: &str = "fermata";

/// What `invoke` returns where there is no answer. Public: never changes.
mod code {
    /// The callee ran and failed.
    pub(super) const FAILED: i32 = -1;
    /// The call was not started.
    pub(super) const REFUSED: i32 = -2;
    /// An argument is malformed.
    pub(super) const INVALID: i32 = -3;
    /// The payload is over the cap.
    pub(super) const TOO_LARGE: i32 = -4;
}

/// The last call's answer, which the guest reads piece by piece.
#[derive(Debug, Default)]
pub(super) struct Reply {
    bytes: Bytes,
}

/// Defines the imports.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "invoke", |caller, arguments: Arguments| {
        Box::new(invoke(caller, arguments, "fermata.invoke", CallMode::Wait))
    })?;
    linker.func_wrap_async(MODULE, "invoke_async", |caller, arguments: Arguments| {
        Box::new(invoke(caller, arguments, "fermata.invoke_async", CallMode::Async))
    })?;
    linker.func_wrap(MODULE, "result_read", result_read)?;
    linker.func_wrap(MODULE, "class", class)?;
    linker.func_wrap(MODULE, "log", log)?;
    Ok(())
}

/// Name, class and payload, each as address and length.
type Arguments = (u32, u32, u32, u32, u32, u32);

async fn invoke(
    mut caller: Caller<'_, Host>,
    arguments: Arguments,
    import: &'static str,
    mode: CallMode,
) -> wasmtime::Result<i32> {
    let call = match read_call(&Guest::of(&mut caller, import)?, arguments, mode)? {
        Ok(call) => call,
        Err((code, message)) => {
            caller.data_mut().reply = Reply::error("invalid-argument", &message, None);
            return Ok(code);
        }
    };
    let (job, services) = (caller.data().job.clone(), caller.data().services.clone());
    let result = job.wait_for(|done| services.platform.call(job.id, call, done)).await;
    let (code, reply) = Reply::to(result);
    caller.data_mut().reply = reply;
    Ok(code)
}

type BadArgument = (i32, String);

fn read_call(
    guest: &Guest<'_>,
    (name, name_len, class, class_len, payload, payload_len): Arguments,
    mode: CallMode,
) -> wasmtime::Result<Result<Call, BadArgument>> {
    // A name, a colon, a version.
    const FUNCTION_BYTES_MAX: usize = limits::NAME_BYTES_MAX + 11;
    let function = text(guest.bytes(name, name_len)?, FUNCTION_BYTES_MAX, "function name");
    let class = text(guest.bytes(class, class_len)?, limits::CLASS_NAME_BYTES_MAX, "class");
    let payload = guest.bytes(payload, payload_len)?;
    let limit = guest.host.job.code.response_bytes_max;
    if payload.len() > limit {
        let message = format!("the payload has {} bytes, the limit is {limit}", payload.len());
        return Ok(Err((code::TOO_LARGE, message)));
    }
    Ok((|| {
        let class = Some(class?).filter(|class| !class.is_empty());
        Ok(Call { function: function?, class, payload: Bytes::copy_from_slice(payload), mode })
    })())
}

fn text(bytes: &[u8], bytes_max: usize, what: &str) -> Result<String, BadArgument> {
    let invalid = |why| (code::INVALID, format!("the {what} {why}"));
    if bytes.len() > bytes_max {
        return Err(invalid(format!("is longer than {bytes_max} bytes")));
    }
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| invalid("is not UTF-8".into()))
}

impl Reply {
    /// What `invoke` returns and what the guest can then read.
    fn to(result: CallResult) -> (i32, Self) {
        match result {
            CallResult::Ok(_, answer) => match i32::try_from(answer.len()) {
                Ok(length) => (length, Self { bytes: answer }),
                Err(_) => (code::TOO_LARGE, Self::error("response-too-large", "", None)),
            },
            CallResult::Accepted(id) => {
                let id = id.to_string();
                (i32::try_from(id.len()).unwrap_or(0), Self { bytes: id.into() })
            }
            CallResult::Failed(_, Failure { kind, message, detail }) => {
                (code::FAILED, Self::error(kind.code(), &message, detail.as_deref()))
            }
            CallResult::Refused { code, message } => {
                (self::code::REFUSED, Self::error(code, &message, None))
            }
        }
    }

    /// The same for what a durable function asked for.
    pub(super) fn to_resolution(resolution: Resolution) -> (i32, Self) {
        match resolution {
            Resolution::Ok(answer) => match i32::try_from(answer.len()) {
                Ok(length) => (length, Self { bytes: answer.into() }),
                Err(_) => (code::TOO_LARGE, Self::error("response-too-large", "", None)),
            },
            Resolution::Failed(Failure { kind, message, detail }) => {
                (code::FAILED, Self::error(kind.code(), &message, detail.as_deref()))
            }
            Resolution::Refused { code, message } => {
                (self::code::REFUSED, Self::error(&code, &message, None))
            }
        }
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// One of which that is left.
    pub(super) fn of_rest(rest: &[u8]) -> Self {
        Self { bytes: Bytes::copy_from_slice(rest) }
    }

    /// The public code, the message as one line, and after an empty line what the callee threw.
    fn error(code: &str, message: &str, detail: Option<&[u8]>) -> Self {
        let line = message.replace(['\r', '\n'], " ");
        let mut bytes = format!("{code}\n{line}\n").into_bytes();
        if let Some(detail) = detail {
            bytes.push(b'\n');
            bytes.extend_from_slice(detail);
        }
        Self { bytes: bytes.into() }
    }

    /// The next bytes, at most `length`.
    fn next(&mut self, length: usize) -> Bytes {
        let length = length.min(self.bytes.len());
        self.bytes.split_to(length)
    }
}

fn result_read(mut caller: Caller<'_, Host>, address: u32, capacity: u32) -> wasmtime::Result<i32> {
    let mut guest = Guest::of(&mut caller, "fermata.result_read")?;
    let (to, host) = guest.split(address, capacity)?;
    let bytes = host.reply.next(to.len().min(i32::MAX as usize));
    to[..bytes.len()].copy_from_slice(&bytes);
    Ok(i32::try_from(bytes.len()).unwrap_or(i32::MAX))
}

fn class(mut caller: Caller<'_, Host>, address: u32, capacity: u32) -> wasmtime::Result<i32> {
    let mut guest = Guest::of(&mut caller, "fermata.class")?;
    let (to, host) = guest.split(address, capacity)?;
    let name = host.job.class.as_bytes();
    let length = name.len().min(to.len());
    to[..length].copy_from_slice(&name[..length]);
    Ok(i32::try_from(name.len()).unwrap_or(i32::MAX))
}

fn log(
    mut caller: Caller<'_, Host>,
    level: u32,
    address: u32,
    length: u32,
) -> wasmtime::Result<()> {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let guest = Guest::of(&mut caller, "fermata.log")?;
    let line = guest.bytes(address, length)?;
    let level = LEVELS.get(level as usize).unwrap_or(&"trace");
    let mut logs = unpoisoned(&guest.host.job.logs);
    logs.push(format!("[{level}] ").as_bytes());
    logs.push(line);
    logs.push(b"\n");
    Ok(())
}
