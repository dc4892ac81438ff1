//! Sends what a plan wants, when it wants it, whatever the server does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use runtime::kernel;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::connection::{Pool, invoke};
use super::plan::{Arrival, Plan};
use super::statistics::{End, Latencies, Sample};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);
/// Calls that are due and not yet sent; the pacer waits when there are more, which counts as
/// latency.
const DUE_MAX: usize = 4_096;
/// Time for the threads to be ready before the first arrival.
const LEAD: Duration = Duration::from_millis(20);

/// Where to send, and what is too much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The platform.
    pub(crate) address: SocketAddr,
    /// Calls of one stream that may wait for their answer; further ones are dropped and count as
    /// errors. One stream's flood does not use up another's share.
    pub(crate) in_flight_max: usize,
    /// How long to wait for answers after the last arrival. What is then still open is cut off.
    pub(crate) drain: Duration,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Since its start.
    pub(crate) at: Duration,
    /// Index into the plan's phases.
    pub(crate) phase: usize,
    /// Calls that arrived so far.
    pub(crate) offered: u64,
    /// Calls that were answered so far.
    pub(crate) answered: u64,
    /// Calls waiting for their answer now.
    pub(crate) in_flight: usize,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Measured {
    /// One for each arrival.
    pub(crate) samples: Vec<Sample>,
    /// How late each call was sent. Part of its latency; here so that it can be told apart.
    pub(crate) late: Latencies,
    /// Whether the generator ran above the functions it measured.
    pub(crate) priority: Priority,
}

/// Whether the kernel let the generator raise its own priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Before all functions and groups of them: the client cannot be the victim of its own flood.
    RealTime,
    /// As the platform's control plane: before all functions of the client's own group.
    Raised,
    /// As any process: latencies include the client's own waiting for a core.
    Normal,
}

impl Priority {
    /// Raises the calling thread as far as it is permitted.
    pub(crate) fn raise() -> Self {
        if kernel::apply_before_all_bands(0).is_ok() {
            Self::RealTime
        } else if kernel::apply(0, kernel::CONTROL).is_ok() {
            Self::Raised
        } else {
            Self::Normal
        }
    }

    /// One sentence for a report.
    pub(crate) const fn note(self) -> &'static str {
        match self {
            Self::RealTime => {
                "the load generator ran at real-time priority, so that it was no victim of its own \
                 flood"
            }
            Self::Raised => {
                "the load generator ran at the control plane's priority (nice -20), so that it was \
                 hardly a victim of its own flood"
            }
            Self::Normal => {
                "the load generator could not raise its priority: latencies include its own wait \
                 for a core"
            }
        }
    }
}

/// Runs the whole plan and blocks until its end. `progress` is called a few times a second.
///
/// Two threads: the pacer sleeps until each call is due; the driver does all input and output.
///
/// # Errors
/// Where threads or sockets cannot be made. A call that fails is a sample.
pub(crate) fn run(
    plan: &Plan,
    settings: Settings,
    progress: impl FnMut(Progress) + Send,
) -> anyhow::Result<Measured> {
    let (due, to_send) = mpsc::channel(DUE_MAX);
    let start = Instant::now() + LEAD;
    thread::scope(|scope| {
        thread::Builder::new()
            .name("load-pacer".into())
            .spawn_scoped(scope, move || pace(start, &plan.arrivals(), &due))
            .context("start the pacer")?;
        let driver = thread::Builder::new()
            .name("load-driver".into())
            .spawn_scoped(scope, move || drive(plan, settings, start, to_send, progress))
            .context("start the driver")?;
        driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Hands each call over when it is due. A thread that sleeps is within some 60 µs of its time; the
/// timer of an asynchronous runtime has a grain of a millisecond.
fn pace(start: Instant, arrivals: &[Arrival], due: &mpsc::Sender<Arrival>) {
    Priority::raise();
    for &arrival in arrivals {
        let wait = (start + arrival.at).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        if due.blocking_send(arrival).is_err() {
            return; // The driver gave up, and says why.
        }
    }
}

fn drive(
    plan: &Plan,
    settings: Settings,
    start: Instant,
    mut to_send: mpsc::Receiver<Arrival>,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Measured> {
    let priority = Priority::raise();
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the load generator")?;
    executor.block_on(async {
        let mut driver = Driver::new(plan, settings, start);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let cut_off = (start + plan.length() + settings.drain).into();
        let mut all_sent = false;
        while !(all_sent && driver.open.is_empty()) {
            let event = tokio::select! {
                arrival = to_send.recv(), if !all_sent => arrival.map_or(Event::AllSent, Event::Due),
                Some(ended) = driver.calls.join_next_with_id() => Event::Ended(ended),
                _ = tick.tick() => Event::Tick,
                () = sleep_until(cut_off), if all_sent => break,
            };
            match event {
                Event::Due(arrival) => driver.send(arrival),
                Event::AllSent => all_sent = true,
                Event::Ended(ended) => driver.end(ended),
                Event::Tick => progress(driver.progress()),
            }
        }
        progress(driver.progress());
        Ok(driver.finish(priority))
    })
}

enum Event {
    Due(Arrival),
    AllSent,
    Ended(Result<(Id, End), JoinError>),
    Tick,
}

/// Owns all that changes during a run.
struct Driver<'a> {
    plan: &'a Plan,
    settings: Settings,
    start: Instant,
    pool: Arc<Pool>,
    calls: JoinSet<End>,
    open: HashMap<Id, Arrival>,
    in_flight: Vec<usize>,
    samples: Vec<Sample>,
    late: Latencies,
    offered: u64,
    answered: u64,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan, settings: Settings, start: Instant) -> Self {
        Self {
            plan,
            settings,
            start,
            pool: Arc::new(Pool::new(settings.address)),
            calls: JoinSet::new(),
            open: HashMap::new(),
            in_flight: vec![0; plan.streams.len()],
            samples: Vec::new(),
            late: Latencies::default(),
            offered: 0,
            answered: 0,
        }
    }

    fn send(&mut self, arrival: Arrival) {
        self.offered += 1;
        let due = self.start + arrival.at;
        self.late.record(due.elapsed());
        if self.in_flight[arrival.stream] >= self.settings.in_flight_max {
            self.record(arrival, End::Dropped);
            return;
        }
        let stream = &self.plan.streams[arrival.stream];
        let payload = stream.payload.render(arrival.number);
        let request = invoke(self.settings.address, &stream.function, &stream.class, payload);
        let pool = Arc::clone(&self.pool);
        let call = self.calls.spawn(async move {
            match pool.send(request).await {
                Ok(answer) => match answer.error_code() {
                    None => End::Answered(due.elapsed()),
                    Some(code) => End::Failed(code),
                },
                Err(lost) => End::Failed(lost.code().into()),
            }
        });
        self.in_flight[arrival.stream] += 1;
        self.open.insert(call.id(), arrival);
    }

    fn end(&mut self, ended: Result<(Id, End), JoinError>) {
        let (id, end) = match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let Some(arrival) = self.open.remove(&id) else { return };
        self.in_flight[arrival.stream] -= 1;
        self.answered += u64::from(matches!(end, End::Answered(_)));
        self.record(arrival, end);
    }

    fn record(&mut self, arrival: Arrival, end: End) {
        let Arrival { stream, phase, at, .. } = arrival;
        self.samples.push(Sample { stream, phase, intended: at, end });
    }

    fn progress(&self) -> Progress {
        let at = self.start.elapsed();
        Progress {
            at,
            phase: self.plan.phase_at(at),
            offered: self.offered,
            answered: self.answered,
            in_flight: self.open.len(),
        }
    }

    /// Cuts off what is still open and closes its connections.
    fn finish(mut self, priority: Priority) -> Measured {
        let now = Instant::now();
        for (_, arrival) in std::mem::take(&mut self.open) {
            let age = now.saturating_duration_since(self.start + arrival.at);
            self.record(arrival, End::Unfinished(age));
        }
        self.samples.sort_by_key(|sample| (sample.intended, sample.stream));
        Measured { samples: self.samples, late: self.late, priority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::{Payload, Phase, Stream};
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::TokioIo;

    /// Answers in its own thread: `fast` at once, `never` not at all, `bad` with a problem.
    fn server() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        thread::spawn(move || {
            executor.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer));
                    tokio::spawn(connection);
                }
            });
        });
        address
    }

    async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Full<bytes::Bytes>>> {
        let path = request.uri().path().to_owned();
        let class = request.headers()["x-fermata-class"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        assert!(body.starts_with(b"{\"seed\":"), "{body:?}");
        if path.contains("/never/") {
            std::future::pending::<()>().await;
        }
        if path.contains("/bad/") {
            let mut refused = Response::new(Full::from("{\"code\":\"overloaded\"}"));
            *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(refused);
        }
        Ok(Response::new(Full::from(class)))
    }

    fn plan(rates: &[(&str, f64)]) -> Plan {
        let stream = |&(function, rate): &(&str, f64)| Stream {
            function: function.into(),
            class: "standard".into(),
            payload: Payload::Seed,
            rates_per_s: vec![rate, rate],
        };
        let phase = |name| Phase { name, length: Duration::from_millis(150) };
        Plan {
            phases: vec![phase("calm"), phase("overload")],
            streams: rates.iter().map(stream).collect(),
            seed: 11,
        }
    }

    fn settings(in_flight_max: usize) -> Settings {
        Settings { address: server(), in_flight_max, drain: Duration::from_secs(3) }
    }

    #[test]
    fn every_arrival_gives_exactly_one_sample_whatever_becomes_of_it() {
        let plan = plan(&[("fast", 400.0), ("never", 100.0), ("bad", 100.0)]);
        let mut told = Vec::new();
        let measured = run(&plan, settings(1_000), |progress| told.push(progress)).unwrap();
        let arrivals = plan.arrivals();
        assert_eq!(measured.samples.len(), arrivals.len());
        for (sample, arrival) in measured.samples.iter().zip(&arrivals) {
            assert_eq!((sample.intended, sample.phase), (arrival.at, arrival.phase));
            match (sample.stream, &sample.end) {
                (0, End::Answered(_)) => {}
                (1, End::Unfinished(age)) => assert!(*age > plan.length() - arrival.at),
                (2, End::Failed(code)) => assert_eq!(code, "overloaded"),
                other => panic!("{other:?}"),
            }
        }
        let last = told.last().unwrap();
        assert_eq!(last.offered, u64::try_from(arrivals.len()).unwrap());
        assert!(last.in_flight > 0, "those that never end are still open");
    }

    #[test]
    fn a_stream_that_is_stuck_is_bounded_and_does_not_bound_another() {
        let plan = plan(&[("never", 300.0), ("fast", 300.0)]);
        let measured = run(&plan, settings(5), |_| {}).unwrap();
        let count = |stream, is: fn(&End) -> bool| {
            measured.samples.iter().filter(|s| s.stream == stream && is(&s.end)).count()
        };
        assert_eq!(count(0, |end| matches!(end, End::Unfinished(_))), 5);
        assert!(count(0, |end| matches!(end, End::Dropped)) > 20);
        assert!(count(1, |end| matches!(end, End::Answered(_))) > 20);
    }

    #[test]
    fn a_server_that_is_gone_gives_failures_and_not_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let settings = Settings { address, in_flight_max: 10, drain: Duration::ZERO };
        let measured = run(&plan(&[("fast", 100.0)]), settings, |_| {}).unwrap();
        assert!(!measured.samples.is_empty());
        assert!(measured.samples.iter().all(|s| s.end == End::Failed("unreachable".into())));
    }
}
