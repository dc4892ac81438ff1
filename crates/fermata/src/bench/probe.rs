//! Calls one after another, each timed from its sending to its function's first instruction.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use runtime::kernel::monotonic_nanos;
use serde::Serialize;

use crate::load::connection::{Answer, Connection, invoke};
use crate::load::generator::Priority;
use crate::load::receipt::Receipt;
use crate::load::statistics::Latencies;

/// A distribution in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Micros {
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

impl Micros {
    fn of(latencies: &Latencies) -> anyhow::Result<Self> {
        let quantile = |share| latencies.quantile_us(share).context("nothing was measured");
        Ok(Self {
            count: latencies.count(),
            p50_us: quantile(0.5)?,
            p99_us: quantile(0.99)?,
            max_us: quantile(1.0)?,
        })
    }
}

/// The same calls by three measures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Probed {
    /// From the request's sending to the handler's first instruction, by the monotonic clock that
    /// client and function share. The strictest: it includes the client's system call, the loopback
    /// and the server's reading.
    #[serde(flatten)]
    pub(crate) start: Micros,
    /// From the request's head being read to the handler's first instruction, as the platform
    /// itself accounts for it in the receipt.
    pub(crate) in_platform: Micros,
    /// From the request's sending to its whole answer.
    pub(crate) round_trip: Micros,
}

/// What to call.
#[derive(Clone, Debug)]
pub(crate) struct Probe<'a> {
    pub(crate) address: SocketAddr,
    /// Functions that answer with the monotonic clock ([`super::functions::Task::Clock`]); each is
    /// called once, in this order.
    pub(crate) functions: Vec<&'a str>,
    pub(crate) class: &'a str,
    /// Time between an answer and the next call.
    pub(crate) gap: Duration,
}

impl Probe<'_> {
    /// Makes the calls.
    ///
    /// # Errors
    /// The first call that fails ends it.
    pub(crate) fn run(&self) -> anyhow::Result<Probed> {
        on_own_thread(async || {
            let mut starts = Latencies::default();
            let (mut in_platform, mut trips) = (Latencies::default(), Latencies::default());
            let mut connection = Connection::open(self.address).await?;
            for function in &self.functions {
                pause(self.gap).await;
                let request = invoke(self.address, function, self.class, Bytes::from_static(b"0"));
                let (sent, sent_nanos) = (Instant::now(), monotonic_nanos());
                let answer = connection.send(request).await?;
                trips.record(sent.elapsed());
                starts.record(first_instruction(&answer, sent_nanos)?);
                in_platform.record(Receipt::parse(&answer)?.before_handler());
            }
            Ok(Probed {
                start: Micros::of(&starts)?,
                in_platform: Micros::of(&in_platform)?,
                round_trip: Micros::of(&trips)?,
            })
        })
    }
}

/// Calls one function that many times over one connection, with a pause before each.
pub(crate) fn round_trips(
    address: SocketAddr,
    function: &str,
    class: &str,
    calls: usize,
    gap: Duration,
) -> anyhow::Result<Micros> {
    on_own_thread(async || {
        let mut trips = Latencies::default();
        let mut connection = Connection::open(address).await?;
        for _ in 0..calls {
            pause(gap).await;
            let request = invoke(address, function, class, Bytes::from_static(b"{}"));
            let sent = Instant::now();
            let answer = connection.send(request).await?;
            trips.record(sent.elapsed());
            check(&answer)?;
        }
        Micros::of(&trips)
    })
}

async fn pause(gap: Duration) {
    if !gap.is_zero() {
        tokio::time::sleep(gap).await;
    }
}

/// Runs the future on a thread of raised priority.
fn on_own_thread<T: Send>(
    work: impl AsyncFnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            Priority::raise();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("start the client")?.block_on(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn check(answer: &Answer) -> anyhow::Result<()> {
    match answer.error_code() {
        None => Ok(()),
        Some(code) => bail!("{code}: {}", String::from_utf8_lossy(&answer.body)),
    }
}

fn first_instruction(answer: &Answer, sent_nanos: u64) -> anyhow::Result<Duration> {
    check(answer)?;
    let text = String::from_utf8_lossy(&answer.body);
    let at: u64 = text.trim().parse().with_context(|| format!("read the time in {text:?}"))?;
    let nanos = at.checked_sub(sent_nanos).context("the function's clock is another one")?;
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;
    use hyper::header::HeaderMap;

    fn answer(body: &'static str) -> Answer {
        let body = Bytes::from_static(body.as_bytes());
        Answer { status: StatusCode::OK, headers: HeaderMap::new(), body }
    }

    #[test]
    fn the_first_instruction_is_timed_by_the_clock_that_client_and_function_share() {
        let at = first_instruction(&answer("1000250\n"), 1_000_000).unwrap();
        assert_eq!(at, Duration::from_nanos(250));
        assert!(first_instruction(&answer("999"), 1_000).is_err(), "it ran before it was sent");
        assert!(first_instruction(&answer("<html>"), 0).is_err());
    }
}
