//! `poll_oneoff`: sleeping, which gives the core back, and streams, which are always ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Timestamp, limits};
use wasmtime::{Caller, Linker};

use super::super::host::{Guest, Host};
use super::{MODULE, clock, errno};

const SUBSCRIPTIONS_MAX: u32 = 1024;
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

mod tag {
    pub(super) const CLOCK: u8 = 0;
    pub(super) const READ: u8 = 1;
    pub(super) const WRITE: u8 = 2;
}

/// One thing waited for.
struct Subscription {
    user_data: [u8; 8],
    tag: u8,
    /// When it comes true; at once for a stream and for what cannot be waited for.
    due: Option<Timestamp>,
    error: i32,
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "poll_oneoff", |caller, (from, to, count, count_to)| {
        Box::new(poll_oneoff(caller, Arguments { from, to, count, count_to }))
    })?;
    Ok(())
}

struct Arguments {
    from: u32,
    to: u32,
    count: u32,
    count_to: u32,
}

async fn poll_oneoff(mut caller: Caller<'_, Host>, arguments: Arguments) -> wasmtime::Result<i32> {
    let Arguments { from, to, count, count_to } = arguments;
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Ok(errno::INVAL);
    }
    let guest = Guest::of(&mut caller, "poll_oneoff")?;
    let now = guest.host.services.clock.now();
    let mut subscriptions = Vec::new();
    for index in 0..count {
        subscriptions.push(read(&guest, guest.offset(from, index, SUBSCRIPTION_BYTES)?, now)?);
    }
    let first = subscriptions.iter().map(|wanted| wanted.due.unwrap_or(now)).min().unwrap_or(now);
    if first > now {
        sleep(caller.data(), first.since(now)).await;
    }
    let mut guest = Guest::of(&mut caller, "poll_oneoff")?;
    let mut written = 0;
    for wanted in subscriptions.iter().filter(|wanted| wanted.due.is_none_or(|due| due <= first)) {
        let mut event = [0; EVENT_BYTES as usize];
        event[..8].copy_from_slice(&wanted.user_data);
        event[8..10].copy_from_slice(&wanted.error.to_le_bytes()[..2]);
        event[10] = wanted.tag;
        if wanted.tag == tag::READ {
            let ready = guest.host.wasi.input.len() as u64;
            event[16..24].copy_from_slice(&ready.to_le_bytes());
        }
        guest.write(guest.offset(to, written, EVENT_BYTES)?, &event)?;
        written += 1;
    }
    guest.write_u32(count_to, written)?;
    Ok(errno::SUCCESS)
}

fn read(guest: &Guest<'_>, at: u32, now: Timestamp) -> wasmtime::Result<Subscription> {
    const ABSOLUTE: u8 = 1;
    let bytes: [u8; SUBSCRIPTION_BYTES as usize] = guest.array(at)?;
    let (user_data, tag) = (guest.array(at)?, bytes[8]);
    let ready = |error| Subscription { user_data, tag, due: None, error };
    if matches!(tag, tag::READ | tag::WRITE) {
        return Ok(ready(errno::SUCCESS));
    }
    let clock = guest.read_u32(guest.offset(at, 1, 16)?)?;
    let timeout = guest.read_u64(guest.offset(at, 1, 24)?)?;
    if tag != tag::CLOCK || !matches!(clock, clock::REALTIME | clock::MONOTONIC) {
        return Ok(ready(errno::NOTSUP));
    }
    let is_absolute = bytes[40] & ABSOLUTE != 0;
    let due = match (is_absolute, clock) {
        (true, clock::REALTIME) => Timestamp(timeout),
        (true, _) => {
            now + Duration::from_nanos(timeout.saturating_sub(guest.host.wasi.monotonic()))
        }
        (false, _) => now + Duration::from_nanos(timeout),
    };
    Ok(Subscription { user_data, tag, due: Some(due), error: errno::SUCCESS })
}

/// Gives the core back for this long. Longer than a function may last is as good as for ever.
async fn sleep(host: &Host, length: Duration) {
    let at = Instant::now() + length.min(limits::TIMEOUT_MAX * 2);
    let (job, services) = (Arc::clone(&host.job), Arc::clone(&host.services));
    job.wait_for(|done| services.timer.at_rest(at, Box::new(move || done(())))).await;
}
