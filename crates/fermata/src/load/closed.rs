//! Closed-loop load: a fixed number of connections, each sending its next call when it has its
//! answer. It finds out what a server can do; latency under load is the open loop's business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::generator::Priority;
use super::receipt::Receipt;

/// What to send.
pub(crate) type MakeRequest = Arc<dyn Fn(u64) -> Request<Full<Bytes>> + Send + Sync>;

/// How hard, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pressure {
    /// Where to.
    pub(crate) address: SocketAddr,
    /// Each has one call in flight.
    pub(crate) connections: usize,
    /// After that no more calls are sent. Each connection sends at least one.
    pub(crate) length: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    /// Answered calls a second.
    pub(crate) per_s: f64,
    /// CPU time of a call by the platform's receipts, on average; none of a server without.
    pub(crate) cpu_of_call: Option<Duration>,
}

impl Closed {
    /// How many such calls all cores could run a second, were there nothing else. Unlike the rate
    /// it does not suffer from what else the machine does.
    ///
    /// # Errors
    /// Where the server gave no receipts, or no CPU time in them.
    pub(crate) fn capacity_per_s(&self) -> anyhow::Result<f64> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = f64::from(u32::try_from(cores).context("count the cores")?);
        let cpu = self.cpu_of_call.context("the answers have no receipts")?;
        if cpu.is_zero() {
            bail!("the receipts tell of no CPU time");
        }
        Ok(cores / cpu.as_secs_f64())
    }
}

/// What one connection did.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    calls: u32,
    receipts: u32,
    cpu: Duration,
}

impl Done {
    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            receipts: self.receipts + other.receipts,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// Presses until the time is over and blocks until then.
///
/// # Errors
/// The first call that is not answered with success ends it, with its reason.
pub(crate) fn run(pressure: Pressure, request: &MakeRequest) -> anyhow::Result<Closed> {
    std::thread::scope(|scope| {
        // An own thread, so that the raised priority does not stay with the caller.
        let driver = scope.spawn(|| drive(pressure, request));
        driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn drive(pressure: Pressure, request: &MakeRequest) -> anyhow::Result<Closed> {
    Priority::raise();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the load generator")?;
    runtime.block_on(async {
        let start = Instant::now();
        let mut loops = JoinSet::new();
        for index in 0..pressure.connections.max(1) {
            let number = u64::try_from(index).unwrap_or(u64::MAX) << 32;
            loops.spawn(press(pressure, Arc::clone(request), number, start + pressure.length));
        }
        let mut done = Done::default();
        while let Some(ended) = loops.join_next().await {
            done = done.plus(ended.context("drive a connection")??);
        }
        Ok(Closed {
            per_s: f64::from(done.calls) / start.elapsed().as_secs_f64(),
            cpu_of_call: done.cpu.checked_div(done.receipts),
        })
    })
}

async fn press(
    pressure: Pressure,
    request: MakeRequest,
    mut number: u64,
    end: Instant,
) -> anyhow::Result<Done> {
    let mut connection = Connection::open(pressure.address).await?;
    let mut done = Done::default();
    loop {
        let answer = connection.send(request(number)).await?;
        if let Some(code) = answer.error_code() {
            bail!("{code}: {}", String::from_utf8_lossy(&answer.body));
        }
        if let Ok(receipt) = Receipt::parse(&answer) {
            done = done.plus(Done { calls: 0, receipts: 1, cpu: receipt.cpu() });
        }
        done.calls += 1;
        number += 1;
        if Instant::now() >= end {
            return Ok(done);
        }
    }
}
