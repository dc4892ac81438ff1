//! Standard input, output and error.

use bytes::Buf;
use model::limits;
use wasmtime::{Caller, Linker};

use super::super::durable;
use super::super::host::{Guest, Host, Stop};
use super::super::job::unpoisoned;
use super::{MODULE, Wasi, errno};

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// Parts of one read or write; as POSIX's `IOV_MAX`.
const PARTS_MAX: u32 = 1024;
const PART_BYTES: u32 = 8;

mod rights {
    pub(super) const READ: u64 = 1 << 1;
    pub(super) const WRITE: u64 = 1 << 6;
    pub(super) const FILESTAT: u64 = 1 << 21;
    pub(super) const POLL: u64 = 1 << 27;
}

impl Wasi {
    fn is_open(&self, fd: u32) -> bool {
        self.is_open.get(fd as usize).copied().unwrap_or(false)
    }
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "fd_read", fd_read)?;
    linker.func_wrap(MODULE, "fd_write", fd_write)?;
    linker.func_wrap(MODULE, "fd_close", fd_close)?;
    linker.func_wrap(MODULE, "fd_fdstat_get", fd_fdstat_get)?;
    linker.func_wrap(MODULE, "fd_filestat_get", fd_filestat_get)?;
    linker.func_wrap(
        MODULE,
        "fd_seek",
        |caller: Caller<'_, Host>, fd: u32, _: i64, _: u32, _: u32| unseekable(&caller, fd),
    )?;
    linker.func_wrap(MODULE, "fd_tell", |caller: Caller<'_, Host>, fd: u32, _: u32| {
        unseekable(&caller, fd)
    })?;
    linker.func_wrap(
        MODULE,
        "fd_fdstat_set_flags",
        |caller: Caller<'_, Host>, fd: u32, _: u32| {
            if caller.data().wasi.is_open(fd) { errno::SUCCESS } else { errno::BADF }
        },
    )?;
    Ok(())
}

/// Reads from the payload, or of a program that has a request channel from that, into the parts, in
/// order, until one is not filled.
fn fd_read(
    mut caller: Caller<'_, Host>,
    fd: u32,
    parts: u32,
    part_count: u32,
    to: u32,
) -> wasmtime::Result<i32> {
    let has_channel = fd == STDIN && has_channel(caller.data());
    if has_channel && !durable::is_ready(&mut caller)? {
        // What it gets now is not looked at: it is being suspended.
        return Ok(errno::SUCCESS);
    }
    let mut guest = Guest::of(&mut caller, "fd_read")?;
    if fd != STDIN || !guest.host.wasi.is_open(fd) {
        return Ok(errno::BADF);
    }
    if part_count > PARTS_MAX {
        return Ok(errno::INVAL);
    }
    let mut read = 0_usize;
    for index in 0..part_count {
        let (address, length) = part(&guest, parts, index)?;
        let (buffer, host) = guest.split(address, length)?;
        if has_channel {
            read += durable::read(host, buffer);
            continue;
        }
        let input = &mut host.wasi.input;
        let copied = buffer.len().min(input.len());
        buffer[..copied].copy_from_slice(&input[..copied]);
        input.advance(copied);
        host.wasi.input_read += copied as u64;
        read += copied;
    }
    guest.write_u32(to, u32::try_from(read).unwrap_or(u32::MAX))?;
    Ok(errno::SUCCESS)
}

/// Takes all of the parts: as the answer, or into the log.
fn fd_write(
    mut caller: Caller<'_, Host>,
    fd: u32,
    parts: u32,
    part_count: u32,
    to: u32,
) -> wasmtime::Result<i32> {
    if fd == STDIN && has_channel(caller.data()) {
        return write_request(&mut caller, parts, part_count, to);
    }
    let mut guest = Guest::of(&mut caller, "fd_write")?;
    if !matches!(fd, STDOUT | STDERR) || !guest.host.wasi.is_open(fd) {
        return Ok(errno::BADF);
    }
    if part_count > PARTS_MAX {
        return Ok(errno::INVAL);
    }
    let mut written = 0_u32;
    for index in 0..part_count {
        let (address, length) = part(&guest, parts, index)?;
        let Some(sum) = written.checked_add(length) else { return Ok(errno::INVAL) };
        written = sum;
        let (bytes, host) = guest.split(address, length)?;
        if fd == STDERR {
            unpoisoned(&host.job.logs).push(bytes);
            continue;
        }
        let limit = host.wasi.output_bytes_max;
        if bytes.len() > limit.saturating_sub(host.wasi.output.len()) {
            return Err(Stop::ResponseTooLarge { limit }.into());
        }
        host.wasi.output.extend_from_slice(bytes);
    }
    guest.write_u32(to, written)?;
    Ok(errno::SUCCESS)
}

fn has_channel(host: &Host) -> bool {
    host.turn.as_ref().is_some_and(|turn| turn.channel.is_some())
}

/// Takes all of the parts as one request.
fn write_request(
    caller: &mut Caller<'_, Host>,
    parts: u32,
    part_count: u32,
    to: u32,
) -> wasmtime::Result<i32> {
    /// The words of a request: at most a wait for all that can be open.
    const WORDS_BYTES_MAX: usize = (limits::OPEN_OPS_MAX + 1) * 21;
    let mut guest = Guest::of(caller, "fd_write")?;
    if part_count > PARTS_MAX {
        return Ok(errno::INVAL);
    }
    let bytes_max = guest.host.job.code.response_bytes_max.saturating_add(WORDS_BYTES_MAX);
    let mut request = Vec::new();
    for index in 0..part_count {
        let (address, length) = part(&guest, parts, index)?;
        if length as usize > bytes_max - request.len() {
            return Ok(errno::INVAL);
        }
        request.extend_from_slice(guest.bytes(address, length)?);
    }
    let Ok(written) = u32::try_from(request.len()) else { return Ok(errno::INVAL) };
    guest.write_u32(to, written)?;
    durable::request(caller, &request)?;
    Ok(errno::SUCCESS)
}

/// Address and length of one part of a scattered read or write.
fn part(guest: &Guest<'_>, parts: u32, index: u32) -> wasmtime::Result<(u32, u32)> {
    let at = guest.offset(parts, index, PART_BYTES)?;
    Ok((guest.read_u32(at)?, guest.read_u32(guest.offset(at, 1, 4)?)?))
}

fn fd_close(mut caller: Caller<'_, Host>, fd: u32) -> i32 {
    match caller.data_mut().wasi.is_open.get_mut(fd as usize) {
        Some(is_open @ true) => {
            *is_open = false;
            errno::SUCCESS
        }
        Some(false) | None => errno::BADF,
    }
}

/// All three are streams of no further type, so that a C library buffers whole blocks.
fn fd_fdstat_get(mut caller: Caller<'_, Host>, fd: u32, to: u32) -> wasmtime::Result<i32> {
    let mut guest = Guest::of(&mut caller, "fd_fdstat_get")?;
    if !guest.host.wasi.is_open(fd) {
        return Ok(errno::BADF);
    }
    let way = if fd == STDIN { rights::READ } else { rights::WRITE };
    let mut stat = [0; 24];
    stat[8..16].copy_from_slice(&(way | rights::FILESTAT | rights::POLL).to_le_bytes());
    guest.write(to, &stat)?;
    Ok(errno::SUCCESS)
}

fn fd_filestat_get(mut caller: Caller<'_, Host>, fd: u32, to: u32) -> wasmtime::Result<i32> {
    let mut guest = Guest::of(&mut caller, "fd_filestat_get")?;
    if !guest.host.wasi.is_open(fd) {
        return Ok(errno::BADF);
    }
    guest.write(to, &[0; 64])?;
    Ok(errno::SUCCESS)
}

fn unseekable(caller: &Caller<'_, Host>, fd: u32) -> i32 {
    if caller.data().wasi.is_open(fd) { errno::SPIPE } else { errno::BADF }
}
