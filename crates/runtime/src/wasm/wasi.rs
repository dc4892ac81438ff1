//! WASI preview 1 for functions: arguments, environment, clocks, random bytes, standard input as
//! the payload, standard output as the answer, standard error as the log, and sleeping. No files,
//! no sockets: calls about them answer as for a program that has opened none.
//!
//! Its state is plain data. Call numbers, layouts and error numbers follow
//! `wasi_snapshot_preview1.witx`.

mod absent;
mod poll;
mod streams;

use bytes::{Buf as _, Bytes};
use wasmtime::{Caller, Linker};

use super::durable::Streams;
use super::host::{Guest, Host, Stop};
use crate::executor::Start;
use crate::kernel;

const MODULE: &str = "wasi_snapshot_preview1";

/// Error numbers of preview 1.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const BADF: i32 = 8;
    pub(super) const INVAL: i32 = 28;
    pub(super) const NOSYS: i32 = 52;
    pub(super) const NOTSOCK: i32 = 57;
    pub(super) const NOTSUP: i32 = 58;
    pub(super) const SPIPE: i32 = 70;
}

/// Clock ids of preview 1.
mod clock {
    pub(super) const REALTIME: u32 = 0;
    pub(super) const MONOTONIC: u32 = 1;
    pub(super) const PROCESS_CPU: u32 = 2;
    pub(super) const THREAD_CPU: u32 = 3;
}

/// One guest's side of preview 1.
#[derive(Clone, Debug)]
pub(super) struct Wasi {
    arguments: Vec<String>,
    /// `NAME=value` each.
    environment: Vec<String>,
    /// What has not been read of standard input.
    input: Bytes,
    output: Vec<u8>,
    output_bytes_max: usize,
    /// Standard input, output and error.
    is_open: [bool; 3],
    /// Bytes that were read of standard input.
    input_read: u64,
    /// What is added to the machine's monotonic clock, so that it does not go back in a function
    /// that goes on on another machine.
    monotonic_ahead: u64,
    /// CPU time of earlier turns.
    cpu_before: u64,
}

impl Wasi {
    /// What a guest sees of its invocation. Arguments: the function's name. Environment: the
    /// function's own variables, then the platform's.
    pub(super) fn new(start: Start) -> Self {
        let code = &*start.code;
        let own = code.environment.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let platform = [
            ("FERMATA_INVOCATION_ID", start.id.to_string()),
            ("FERMATA_FUNCTION", code.function.to_string()),
            ("FERMATA_FUNCTION_VERSION", code.version.0.to_string()),
            ("FERMATA_CLASS", start.class),
            ("FERMATA_DEADLINE_MS", start.deadline.as_millis().to_string()),
        ];
        let trace = start.traceparent.map(|parent| ("TRACEPARENT", parent));
        let variables = own.chain(platform).chain(trace);
        Self {
            arguments: vec![code.function.to_string()],
            // A NUL inside would cut the block that the guest reads.
            environment: variables
                .map(|(name, value)| format!("{name}={value}").replace('\0', ""))
                .collect(),
            input: start.payload,
            output_bytes_max: code.response_bytes_max,
            ..Self::none()
        }
    }

    /// Of no invocation.
    pub(super) const fn none() -> Self {
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Bytes::new(),
            output: Vec::new(),
            output_bytes_max: 0,
            is_open: [true; 3],
            input_read: 0,
            monotonic_ahead: 0,
            cpu_before: 0,
        }
    }

    /// Adds arguments of the program after its name.
    pub(super) fn add_arguments(&mut self, arguments: &[String]) {
        self.arguments.extend_from_slice(arguments);
    }

    /// Takes what was not read of the payload.
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        self.input_read += self.input.len() as u64;
        std::mem::take(&mut self.input).to_vec()
    }

    /// Takes what it wrote to standard output so far.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The monotonic clock of this guest.
    fn monotonic(&self) -> u64 {
        kernel::monotonic_nanos().wrapping_add(self.monotonic_ahead)
    }

    /// Where streams and clocks stand.
    pub(super) fn save(&mut self) -> Streams {
        Streams {
            input_read: self.input_read,
            output: self.take_output(),
            is_open: self.is_open,
            monotonic: self.monotonic(),
            cpu: self.cpu_before,
            ..Streams::default()
        }
    }

    /// Goes on where `save` was, so many nanoseconds later.
    pub(super) fn restore(&mut self, streams: &Streams, passed: u64) {
        let read = usize::try_from(streams.input_read).unwrap_or(usize::MAX);
        self.input.advance(read.min(self.input.len()));
        self.input_read = streams.input_read;
        self.output.clone_from(&streams.output);
        self.is_open = streams.is_open;
        let monotonic = streams.monotonic.saturating_add(passed);
        self.monotonic_ahead = monotonic.wrapping_sub(kernel::monotonic_nanos());
        self.cpu_before = streams.cpu;
    }
}

/// Defines all 45 calls of preview 1.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        MODULE,
        "args_sizes_get",
        |mut caller: Caller<'_, Host>, count: u32, size: u32| {
            let mut guest = Guest::of(&mut caller, "args_sizes_get")?;
            write_sizes(&mut guest, |wasi| &wasi.arguments, count, size)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "args_get",
        |mut caller: Caller<'_, Host>, list: u32, text: u32| {
            let mut guest = Guest::of(&mut caller, "args_get")?;
            write_strings(&mut guest, |wasi| &wasi.arguments, list, text)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "environ_sizes_get",
        |mut caller: Caller<'_, Host>, count: u32, size: u32| {
            let mut guest = Guest::of(&mut caller, "environ_sizes_get")?;
            write_sizes(&mut guest, |wasi| &wasi.environment, count, size)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "environ_get",
        |mut caller: Caller<'_, Host>, list: u32, text: u32| {
            let mut guest = Guest::of(&mut caller, "environ_get")?;
            write_strings(&mut guest, |wasi| &wasi.environment, list, text)
        },
    )?;
    linker.func_wrap(MODULE, "clock_res_get", clock_res_get)?;
    linker.func_wrap(MODULE, "clock_time_get", clock_time_get)?;
    linker.func_wrap(MODULE, "random_get", random_get)?;
    linker.func_wrap(MODULE, "proc_exit", proc_exit)?;
    // Who runs is decided by class, so there is nobody to yield to.
    linker.func_wrap(MODULE, "sched_yield", || errno::SUCCESS)?;
    streams::link(linker)?;
    poll::link(linker)?;
    absent::link(linker)
}

fn write_sizes(
    guest: &mut Guest<'_>,
    strings: fn(&Wasi) -> &Vec<String>,
    count: u32,
    size: u32,
) -> wasmtime::Result<i32> {
    let strings = strings(&guest.host.wasi);
    let bytes: usize = strings.iter().map(|string| string.len() + 1).sum();
    let (strings, bytes) = (u32::try_from(strings.len()), u32::try_from(bytes));
    let (Ok(strings), Ok(bytes)) = (strings, bytes) else { return Ok(errno::INVAL) };
    guest.write_u32(count, strings)?;
    guest.write_u32(size, bytes)?;
    Ok(errno::SUCCESS)
}

fn write_strings(
    guest: &mut Guest<'_>,
    strings: fn(&Wasi) -> &Vec<String>,
    list: u32,
    text: u32,
) -> wasmtime::Result<i32> {
    let mut address = text;
    for index in 0.. {
        let Some(string) = strings(&guest.host.wasi).get(index as usize) else { break };
        let terminated = [string.as_bytes(), b"\0"].concat();
        guest.write_u32(guest.offset(list, index, 4)?, address)?;
        guest.write(address, &terminated)?;
        address = guest.offset(address, 1, u32::try_from(terminated.len()).unwrap_or(u32::MAX))?;
    }
    Ok(errno::SUCCESS)
}

fn clock_res_get(mut caller: Caller<'_, Host>, id: u32, to: u32) -> wasmtime::Result<i32> {
    let mut guest = Guest::of(&mut caller, "clock_res_get")?;
    if id > clock::THREAD_CPU {
        return Ok(errno::INVAL);
    }
    guest.write_u64(to, 1)?;
    Ok(errno::SUCCESS)
}

fn clock_time_get(
    mut caller: Caller<'_, Host>,
    id: u32,
    _precision: u64,
    to: u32,
) -> wasmtime::Result<i32> {
    let mut guest = Guest::of(&mut caller, "clock_time_get")?;
    let time = match id {
        clock::REALTIME => guest.host.services.clock.now().0,
        clock::MONOTONIC => guest.host.wasi.monotonic(),
        clock::PROCESS_CPU | clock::THREAD_CPU => {
            guest.host.job.cpu_now().0.saturating_add(guest.host.wasi.cpu_before)
        }
        _ => return Ok(errno::INVAL),
    };
    guest.write_u64(to, time)?;
    Ok(errno::SUCCESS)
}

fn random_get(mut caller: Caller<'_, Host>, to: u32, length: u32) -> wasmtime::Result<i32> {
    // A guest cannot be preempted while the host works for it: a few milliseconds at most.
    const RANDOM_BYTES_MAX: u32 = 1 << 20;
    let mut guest = Guest::of(&mut caller, "random_get")?;
    let to = guest.bytes_mut(to, length)?;
    if length > RANDOM_BYTES_MAX {
        return Ok(errno::INVAL);
    }
    getrandom::fill(to).map_err(wasmtime::Error::new)?;
    Ok(errno::SUCCESS)
}

fn proc_exit(code: u32) -> wasmtime::Result<()> {
    Err(Stop::Exit(code).into())
}
