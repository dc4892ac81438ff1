//! What it costs to suspend a Wasm function and to go on: from `start` to the function's first
//! instruction with its memory as it was, and from there to the image, the function itself doing
//! next to nothing.
//!
//! `cargo run --release -p fermata-runtime --example continuation_bench [ROUNDS]`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::suspend::{OpId, Resolution, Step};
use model::{InvocationId, Timestamp, Version};
use runtime::kernel::Band;
use runtime::wasm::{WasmExecutor, WasmOptions};
use runtime::{
    Call, CallResult, Clock, Code, Durable, DurableTurn, Ended, Event, Executor, Network, Platform,
    Prepare, Start,
};
use sha2::{Digest, Sha256};

const ROUNDS_DEFAULT: u32 = 200;

struct NoPlatform;

impl Platform for NoPlatform {
    fn call(&self, _: InvocationId, _: Call, reply: Box<dyn FnOnce(CallResult) + Send>) {
        reply(CallResult::caller_gone());
    }
}

struct Bench {
    executor: WasmExecutor,
    events: Receiver<(Instant, Event)>,
    code: Arc<Code>,
    next: u128,
    _directory: tempfile::TempDir,
}

/// One turn: to the first instruction, from there to the image, and what it left.
struct Turn {
    resume: Duration,
    suspend: Duration,
    image: Bytes,
    op: OpId,
}

/// Waits for ever, changing little each time.
const PYTHON: &str = "import fermata
def handler(kib):
    kept, turns = bytearray(kib << 10), 0
    while True:
        turns += 1
        fermata.sleep(1)
";

fn main() {
    let rounds = std::env::args().nth(1).and_then(|arg| arg.parse().ok());
    let rounds: u32 = rounds.unwrap_or(ROUNDS_DEFAULT);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let touched = std::fs::read(here.join("../../examples/guests/touched.wasm")).unwrap();
    let mut bench = Bench::new(&touched);
    for payload in ["16 text", "1024 text", "1024 random", "16384 text", "16384 random"] {
        bench.measure(&format!("C, {payload}"), payload, rounds);
    }
    let source = "export default async () => { for (;;) await fermata.sleep(1) }";
    Bench::new(&runtime::wasm::javascript(source).unwrap()).measure("JavaScript", "1", rounds);
    let usual = here.join("../../target/guest-tools/python/python.wasm");
    let python = std::env::var_os("FERMATA_PYTHON_WASM").map_or(usual, Into::into);
    match std::fs::read(&python) {
        Ok(interpreter) => {
            let package = runtime::wasm::python(&interpreter, PYTHON).unwrap();
            let mut bench = Bench::new(&package);
            bench.measure("Python", "0", rounds);
            bench.measure("Python, 1024 zeros", "1024", rounds);
        }
        Err(error) => println!("no Python: {}: {error}", python.display()),
    }
}

fn spread(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_micros();
    format!("p50 {} us, p90 {} us, p99 {} us", at(50), at(90), at(99))
}

impl Bench {
    /// A first turn, then as many others as there are rounds, each on what the one before left.
    fn measure(&mut self, name: &str, payload: &'static str, rounds: u32) {
        let mut last = self.turn(payload, None);
        let first = last.resume + last.suspend;
        let (mut resumes, mut suspends) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            last = self.turn(payload, Some(last));
            resumes.push(last.resume);
            suspends.push(last.suspend);
        }
        let (resume, suspend) = (spread(resumes), spread(suspends));
        println!(
            "{name:>20}: first turn {} us; resume {resume}; suspend {suspend}; image {} bytes",
            first.as_micros(),
            last.image.len()
        );
    }

    fn new(package: &[u8]) -> Self {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |event| {
            // The receiver lives as long as the executor.
            let _ = sender.lock().unwrap().send((Instant::now(), event));
        });
        let options = WasmOptions::default();
        let executor =
            WasmExecutor::open(options, Clock::new(), Arc::new(NoPlatform), sink).unwrap();
        let prepare = Prepare { runtime: "wasm", handler: "", package, durable: Durable::Yes };
        let begun = Instant::now();
        let package = executor.instrument(&prepare).unwrap().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let artifact_dir = directory.path().join("artifact");
        std::fs::create_dir(&artifact_dir).unwrap();
        let prepared =
            executor.prepare(&Prepare { package: &package, ..prepare }, &artifact_dir).unwrap();
        println!(
            "a package of {} bytes is made ready in {} ms; with its machine code {} bytes",
            package.len(),
            begun.elapsed().as_millis(),
            prepared.artifact_bytes
        );
        let code = Arc::new(Code {
            tenant: "acme".parse().unwrap(),
            function: "touched".parse().unwrap(),
            version: Version(1),
            runtime: "wasm".into(),
            handler: String::new(),
            environment: Vec::new(),
            network: Network::None,
            timeout: Duration::from_secs(60),
            response_bytes_max: 1 << 20,
            durable: Durable::Yes,
            hash: Sha256::digest(&package).into(),
            artifact_dir,
        });
        Self { executor, events, code, next: 1, _directory: directory }
    }

    fn turn(&mut self, payload: &'static str, last: Option<Turn>) -> Turn {
        let id = InvocationId(self.next);
        self.next += 1;
        let (image, resolved) = match last {
            Some(last) => (Some(last.image), vec![(last.op, Resolution::Ok(Vec::new()))]),
            None => (None, Vec::new()),
        };
        let begun = Instant::now();
        self.executor.start(Start {
            id,
            code: Arc::clone(&self.code),
            payload: Bytes::from_static(payload.as_bytes()),
            band: Band::Normal { nice: 0 },
            class: "standard".into(),
            deadline: Timestamp::default(),
            token: String::new(),
            traceparent: None,
            durable: Some(DurableTurn { image, resolved, token: Arc::new(|_| String::new()) }),
        });
        let (running, event) = self.events.recv().unwrap();
        assert!(matches!(event, Event::Running { .. }), "{event:?}");
        let (ended, event) = self.events.recv().unwrap();
        let Event::Finished(finished) = event else { panic!("{event:?}") };
        let Ok(Ended::Suspended { step: Step::Wait { asks, .. }, image }) = finished.outcome else {
            panic!("{:?}", finished.outcome);
        };
        let (resume, suspend) = (running - begun, ended - running);
        Turn { resume, suspend, image, op: asks[0].0 }
    }
}
