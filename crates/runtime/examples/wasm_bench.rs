//! Latencies of the Wasm executor: from `start` to the guest's first instruction, from `preempt` to
//! `Stopped`, and a whole empty invocation.
//!
//! `cargo run --release -p fermata-runtime --no-default-features --features wasm --example wasm_bench [ROUNDS]`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use model::{Failure, FailureKind, InvocationId, Timestamp, Version};
use runtime::kernel::{self, Band};
use runtime::wasm::{WasmExecutor, WasmOptions};
use runtime::{
    Call, CallResult, Clock, Code, Durable, Event, Executor, Finished, Network, Platform, Prepare,
    Start,
};
use sha2::{Digest, Sha256};

const ROUNDS_DEFAULT: u64 = 2000;
const WARM_UP: u64 = 50;

struct NoPlatform;

impl Platform for NoPlatform {
    fn call(&self, _: InvocationId, _: Call, reply: Box<dyn FnOnce(CallResult) + Send>) {
        reply(CallResult::caller_gone());
    }
}

struct Bench {
    executor: WasmExecutor,
    events: Receiver<Event>,
    clock: Clock,
    directory: tempfile::TempDir,
    next: u64,
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|arg| arg.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS_DEFAULT);
    // As the control thread of a node would be.
    let is_control = kernel::apply(0, kernel::CONTROL).is_ok();
    println!("{rounds} rounds, control band {}", if is_control { "on" } else { "refused" });
    let mut bench = Bench::new();
    let clock = bench.deploy("clock");
    let instruction = |bench: &mut Bench, code: &Code| bench.start_to_instruction(code);
    report("start to first instruction", rounds, || instruction(&mut bench, &clock));
    let empty = bench.deploy("empty");
    report("empty invocation", rounds, || bench.round_trip(&empty, ""));
    let home = bench.deploy("home");
    let used = bench.cpu(&home, r#"{"seed": 7, "query": "brass lamp"}"#);
    println!("{:28} {:.1} us of CPU", "home page", micros(used));
    let spin = bench.deploy("spin");
    let nice = Band::Normal { nice: 0 };
    for (name, busy, band) in [
        ("preempt to stopped", 1, nice),
        ("... both cores busy", 2, nice),
        ("... both busy, idle band", 2, Band::Idle),
    ] {
        let ids: Vec<_> = (0..busy).map(|_| bench.spin(&spin, band)).collect();
        let mut turn = 0;
        report(name, rounds, || {
            turn = (turn + 1) % ids.len();
            bench.preempt_to_stopped(ids[turn])
        });
        if busy > 1 {
            let name = "... start to instruction";
            report(name, rounds, || {
                bench.preempt_to_stopped_without_resume(ids[0]);
                let taken = instruction(&mut bench, &clock);
                bench.executor.resume(ids[0]);
                taken
            });
        }
        for id in ids {
            bench.executor.end(id, Failure::new(FailureKind::Cancelled, "enough"));
            bench.finished(id);
        }
    }
    println!("{} threads", bench.executor.thread_count());
}

/// Prints the distribution of what `round` measures.
fn report(name: &str, rounds: u64, mut round: impl FnMut() -> Duration) {
    for _ in 0..WARM_UP.min(rounds) {
        round();
    }
    let mut all: Vec<Duration> = (0..rounds).map(|_| round()).collect();
    all.sort_unstable();
    let at = |part: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        #[expect(clippy::cast_precision_loss, reason = "a few thousand rounds")]
        let index = ((all.len() - 1) as f64 * part) as usize;
        micros(all[index])
    };
    let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), at(1.0));
    println!("{name:28} p50 {p50:.1} us, p90 {p90:.1} us, p99 {p99:.1} us, max {max:.1} us");
}

fn micros(length: Duration) -> f64 {
    length.as_secs_f64() * 1e6
}

impl Bench {
    fn new() -> Self {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |event| {
            // The receiver lives as long as the executor.
            let _ = sender.lock().unwrap().send(event);
        });
        let clock = Clock::new();
        let options = WasmOptions::default();
        let executor = WasmExecutor::open(options, clock, Arc::new(NoPlatform), sink).unwrap();
        Self { executor, events, clock, directory: tempfile::tempdir().unwrap(), next: 1 }
    }

    fn deploy(&self, guest: &str) -> Code {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let folder = if guest == "home" { "shop/home" } else { "guests" };
        let package = std::fs::read(examples.join(folder).join(guest).with_extension("wasm"));
        let package = package.unwrap();
        let artifact_dir = self.directory.path().join(guest);
        std::fs::create_dir(&artifact_dir).unwrap();
        let prepare =
            Prepare { runtime: "wasm", handler: "", package: &package, durable: Durable::No };
        self.executor.prepare(&prepare, &artifact_dir).unwrap();
        Code {
            tenant: "acme".parse().unwrap(),
            function: guest.parse().unwrap(),
            version: Version(1),
            runtime: "wasm".into(),
            handler: String::new(),
            environment: Vec::new(),
            network: Network::None,
            timeout: Duration::from_secs(60),
            response_bytes_max: 1 << 20,
            durable: Durable::No,
            hash: Sha256::digest(&package).into(),
            artifact_dir,
        }
    }

    fn start(&mut self, code: &Code, payload: &'static str, band: Band) -> InvocationId {
        let id = InvocationId(u128::from(self.next));
        self.next += 1;
        self.executor.start(Start {
            id,
            code: Arc::new(code.clone()),
            payload: Bytes::from_static(payload.as_bytes()),
            band,
            class: "critical".into(),
            deadline: Timestamp::default(),
            token: String::new(),
            traceparent: None,
            durable: None,
        });
        id
    }

    fn finished(&self, id: InvocationId) -> Finished {
        loop {
            if let Event::Finished(finished) = self.events.recv().unwrap()
                && finished.id == id
            {
                return *finished;
            }
        }
    }

    fn start_to_instruction(&mut self, code: &Code) -> Duration {
        let begun = self.clock.now();
        let id = self.start(code, "", Band::Normal { nice: -15 });
        let answer = self.finished(id).answer().unwrap();
        let at: u64 = std::str::from_utf8(&answer).unwrap().parse().unwrap();
        Timestamp(at).since(begun)
    }

    fn round_trip(&mut self, code: &Code, payload: &'static str) -> Duration {
        let begun = self.clock.now();
        let id = self.start(code, payload, Band::Normal { nice: -15 });
        self.finished(id).answer().unwrap();
        self.clock.now().since(begun)
    }

    fn cpu(&mut self, code: &Code, payload: &'static str) -> Duration {
        let mut used: Vec<Duration> = (0..21)
            .map(|_| {
                let id = self.start(code, payload, Band::Normal { nice: -15 });
                self.finished(id).used.cpu.as_duration()
            })
            .collect();
        used.sort_unstable();
        used[10]
    }

    fn spin(&mut self, code: &Code, band: Band) -> InvocationId {
        let id = self.start(code, "forever", band);
        while !matches!(self.events.recv().unwrap(), Event::Running { .. }) {}
        id
    }

    fn preempt_to_stopped(&mut self, id: InvocationId) -> Duration {
        let taken = self.preempt_to_stopped_without_resume(id);
        self.executor.resume(id);
        // It shall be in its loop again, not on its way there.
        std::thread::sleep(Duration::from_micros(200));
        taken
    }

    fn preempt_to_stopped_without_resume(&self, id: InvocationId) -> Duration {
        let begun = self.clock.now();
        self.executor.preempt(id);
        loop {
            if let Event::Stopped { at, .. } = self.events.recv().unwrap() {
                return at.since(begun);
            }
        }
    }
}
