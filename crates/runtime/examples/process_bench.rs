//! What the process runtime costs: cold and warm calls, and taking a core away.
//!
//! `cargo run --release -p fermata-runtime --no-default-features --features process --example
//! process_bench [ROUNDS]`, as root. Prints microseconds.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that fails has no figures")]

use std::io::{Cursor, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{InvocationId, Timestamp, Version};
use runtime::kernel::Band;
use runtime::process::{Config, Interpreters, ProcessExecutor, WARDEN_ARG, warden_main};
use runtime::{
    Call, CallResult, Clock, Code, Durable, Event, Executor, Network, Platform, Prepare, Start,
};

const TINY: &str = "def handler(event, context):\n    return event\n";
const BUSY: &str = "def handler(event, context):\n    while True:\n        pass\n";
const BOUND: Duration = Duration::from_secs(60);

struct Nobody;

impl Platform for Nobody {
    fn call(&self, _: InvocationId, _: Call, reply: Box<dyn FnOnce(CallResult) + Send>) {
        reply(CallResult::caller_gone());
    }
}

struct Bench {
    executor: Arc<ProcessExecutor>,
    events: mpsc::Receiver<(Instant, Event)>,
    folder: tempfile::TempDir,
    next_id: u128,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WARDEN_ARG) {
        return warden_main();
    }
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for pool in [0, 2] {
        let mut bench = Bench::new(&tokio, pool);
        let name = if pool > 0 { "cold Python, pool" } else { "cold Python, no pool" };
        report(name, &mut (0..rounds).map(|n| bench.cold(n)).collect::<Vec<_>>());
        bench.executor.shutdown();
    }
    let mut bench = Bench::new(&tokio, 0);
    let code = bench.deploy(0, TINY);
    bench.round_trip(&code);
    report(
        "warm round trip",
        &mut (0..rounds * 5).map(|_| bench.round_trip(&code).1).collect::<Vec<_>>(),
    );
    for band in [Band::Normal { nice: 0 }, Band::Idle] {
        let name = format!("preempt to stopped, {band:?}");
        report(&name, &mut bench.preemptions(rounds * 5, band));
    }
    bench.executor.shutdown();
    ExitCode::SUCCESS
}

fn report(name: &str, micros: &mut [u128]) {
    micros.sort_unstable();
    let at = |percent: usize| micros[(micros.len() * percent / 100).min(micros.len() - 1)];
    println!("{name:40} p50 {:7}  p99 {:7}  max {:7}", at(50), at(99), at(100));
}

impl Bench {
    fn new(tokio: &tokio::runtime::Runtime, pool: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sender, events) = mpsc::channel();
        let config = Config {
            swap_bandwidth: None,
            state_dir: folder.path().join("state"),
            memory_bytes: 4 << 30,
            clock: Clock::new(),
            warden: vec![std::env::current_exe().unwrap().into(), WARDEN_ARG.into()],
            tokio: tokio.handle().clone(),
            pool_per_interpreter: pool,
            idle_max: 1,
            idle_age: BOUND,
            cores: None,
        };
        let sink = Arc::new(move |event| drop(sender.send((Instant::now(), event))));
        let interpreters = Interpreters::look().unwrap();
        let executor =
            ProcessExecutor::start(config, interpreters, sink, Arc::new(Nobody)).unwrap();
        if pool == 0 {
            println!("in force: {}", executor.in_force().join("; "));
        }
        Self { executor, events, folder, next_id: 1 }
    }

    fn deploy(&self, n: u32, text: &str) -> Arc<Code> {
        let artifact_dir = self.folder.path().join(format!("artifact-{n}"));
        std::fs::create_dir(&artifact_dir).unwrap();
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        let package = writer.finish().unwrap().into_inner();
        let code = Prepare {
            runtime: "python3",
            handler: "app.handler",
            package: &package,
            durable: Durable::No,
        };
        self.executor.prepare(&code, &artifact_dir).unwrap();
        Arc::new(Code {
            tenant: "bench".parse().unwrap(),
            function: format!("f{n}").parse().unwrap(),
            version: Version(1),
            runtime: "python3".into(),
            handler: "app.handler".into(),
            environment: Vec::new(),
            network: Network::None,
            timeout: BOUND,
            response_bytes_max: 1 << 20,
            durable: Durable::No,
            hash: [0; 32],
            artifact_dir,
        })
    }

    fn start(&mut self, code: &Arc<Code>) -> InvocationId {
        let id = InvocationId(self.next_id);
        self.next_id += 1;
        self.executor.start(Start {
            id,
            code: Arc::clone(code),
            payload: Bytes::from_static(b"{}"),
            band: Band::Normal { nice: 0 },
            class: "standard".into(),
            deadline: Timestamp(u64::MAX),
            token: "token".into(),
            traceparent: None,
            durable: None,
        });
        id
    }

    fn wait(&self, wanted: impl Fn(&Event) -> bool) -> Instant {
        loop {
            let (at, event) = self.events.recv_timeout(BOUND).unwrap();
            match event {
                event if wanted(&event) => return at,
                Event::Unblocked { id } => self.executor.resume(id),
                Event::Finished(end) => assert!(end.outcome.is_ok(), "{end:?}"),
                _ => {}
            }
        }
    }

    /// Microseconds to the handler and to the answer.
    fn round_trip(&mut self, code: &Arc<Code>) -> (u128, u128) {
        let begun = Instant::now();
        self.start(code);
        let running = self.wait(|event| matches!(event, Event::Running { .. }));
        let done = self.wait(|event| matches!(event, Event::Finished(_)));
        ((running - begun).as_micros(), (done - begun).as_micros())
    }

    fn cold(&mut self, n: u32) -> u128 {
        let code = self.deploy(n + 1, TINY);
        assert!(self.executor.await_pool(BOUND));
        self.round_trip(&code).0
    }

    fn preemptions(&mut self, rounds: u32, band: Band) -> Vec<u128> {
        let code = self.deploy(u32::MAX - u32::from(band == Band::Idle), BUSY);
        let id = self.start(&code);
        self.executor.set_band(id, band);
        self.wait(|event| matches!(event, Event::Running { .. }));
        let micros = (0..rounds).map(|_| {
            let begun = Instant::now();
            self.executor.preempt(id);
            let stopped = self.wait(|event| matches!(event, Event::Stopped { .. }));
            self.executor.resume(id);
            // It shall be at work again when it is stopped next.
            std::thread::sleep(Duration::from_millis(2));
            (stopped - begun).as_micros()
        });
        let micros = micros.collect();
        let failure = model::Failure::new(model::FailureKind::Cancelled, "done");
        self.executor.end(id, failure);
        while !matches!(self.events.recv_timeout(BOUND).unwrap().1, Event::Finished(_)) {}
        micros
    }
}
