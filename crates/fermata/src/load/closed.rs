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

/// Presses until the time is over and blocks until then. Gives the answered calls a second.
///
/// # Errors
/// The first call that is not answered with success ends it, with its reason.
pub(crate) fn run(pressure: Pressure, request: &MakeRequest) -> anyhow::Result<f64> {
    std::thread::scope(|scope| {
        // An own thread, so that the raised priority does not stay with the caller.
        let driver = scope.spawn(|| drive(pressure, request));
        driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn drive(pressure: Pressure, request: &MakeRequest) -> anyhow::Result<f64> {
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
        let mut answered = 0;
        while let Some(ended) = loops.join_next().await {
            answered += ended.context("drive a connection")??;
        }
        Ok(f64::from(answered) / start.elapsed().as_secs_f64())
    })
}

async fn press(
    pressure: Pressure,
    request: MakeRequest,
    mut number: u64,
    end: Instant,
) -> anyhow::Result<u32> {
    let mut connection = Connection::open(pressure.address).await?;
    let mut answered = 0;
    loop {
        let answer = connection.send(request(number)).await?;
        if let Some(code) = answer.error_code() {
            bail!("{code}: {}", String::from_utf8_lossy(&answer.body));
        }
        (number, answered) = (number + 1, answered + 1);
        if Instant::now() >= end {
            return Ok(answered);
        }
    }
}
