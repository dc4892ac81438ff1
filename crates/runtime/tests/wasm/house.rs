//! An executor with everything around it that a test needs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Failure, InvocationId, Timestamp, Version};
use runtime::kernel::Band;
use runtime::wasm::{WasmExecutor, WasmOptions};
use runtime::{
    Call, CallResult, Clock, Code, Durable, DurableTurn, Event, Executor, Finished, Held, Network,
    Platform, Prepare, PrepareError, Start,
};
use sha2::{Digest, Sha256};

/// How long a test waits for what must happen. Long: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who calls a function of this name finds the platform broken.
pub(crate) const PANICS: &str = "panics";

/// An executor, its events and its directory.
pub(crate) struct House {
    pub(crate) executor: Arc<WasmExecutor>,
    pub(crate) events: Arc<Seen>,
    pub(crate) calls: Arc<Calls>,
    directory: tempfile::TempDir,
    /// Where artifacts go instead of `directory`, each in a folder that goes with it.
    parent: Option<PathBuf>,
    shared: Mutex<Vec<tempfile::TempDir>>,
    next: AtomicU64,
}

/// Everything the executor has said so far.
#[derive(Default)]
pub(crate) struct Seen {
    events: Mutex<Vec<Event>>,
    more: Condvar,
}

/// A platform that keeps the calls it is asked for until the test answers them.
#[derive(Default)]
pub(crate) struct Calls {
    open: Mutex<Vec<OpenCall>>,
    more: Condvar,
}

/// A call that waits for its answer.
pub(crate) struct OpenCall {
    pub(crate) caller: InvocationId,
    pub(crate) call: Call,
    pub(crate) reply: Box<dyn FnOnce(CallResult) + Send>,
}

impl Platform for Calls {
    fn call(&self, caller: InvocationId, call: Call, reply: Box<dyn FnOnce(CallResult) + Send>) {
        assert_ne!(call.function, PANICS, "a test wants the platform to panic");
        self.open.lock().unwrap().push(OpenCall { caller, call, reply });
        self.more.notify_all();
    }
}

impl Calls {
    /// The next call, waited for.
    pub(crate) fn next(&self) -> OpenCall {
        let (mut open, late) = self
            .more
            .wait_timeout_while(self.open.lock().unwrap(), PATIENCE, |open| open.is_empty())
            .unwrap();
        assert!(!late.timed_out(), "no call came");
        open.remove(0)
    }
}

impl Seen {
    fn push(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.more.notify_all();
    }

    /// The end, or none where it has been unblocked more often than `unblocked`.
    #[track_caller]
    fn wait_finished(&self, id: InvocationId, unblocked: usize) -> Option<Finished> {
        let begun = Instant::now();
        let mut events = self.events.lock().unwrap();
        loop {
            let own = || events.iter().filter(|event| id_of(event) == id);
            if let Some(Event::Finished(finished)) = own().next_back() {
                return Some(Finished::clone(finished));
            }
            if own().filter(|event| matches!(event, Event::Unblocked { .. })).count() > unblocked {
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "never ended; there was: {:?}", names(&events, id));
            events = self.more.wait_timeout(events, PATIENCE).unwrap().0;
        }
    }

    /// The names of this invocation's events, in order.
    pub(crate) fn names(&self, id: InvocationId) -> Vec<&'static str> {
        names(&self.events.lock().unwrap(), id)
    }

    /// How often this event of this invocation has come.
    pub(crate) fn count(&self, id: InvocationId, name: &str) -> usize {
        self.names(id).iter().filter(|found| **found == name).count()
    }

    /// Waits until the event has come this often.
    #[track_caller]
    pub(crate) fn wait_count(&self, id: InvocationId, name: &'static str, count: usize) {
        let begun = Instant::now();
        let mut events = self.events.lock().unwrap();
        while names(&events, id).iter().filter(|found| **found == name).count() < count {
            assert!(begun.elapsed() < PATIENCE, "no {count}. {name}: {:?}", names(&events, id));
            events = self.more.wait_timeout(events, PATIENCE).unwrap().0;
        }
    }
}

fn names(events: &[Event], id: InvocationId) -> Vec<&'static str> {
    events.iter().filter(|event| id_of(event) == id).map(name_of).collect()
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Running { .. } => "running",
        Event::Blocked { .. } => "blocked",
        Event::Unblocked { .. } => "unblocked",
        Event::Stopped { .. } => "stopped",
        Event::ShortOfMemory { .. } => "short-of-memory",
        Event::SwappedOut { .. } => "swapped-out",
        Event::SwappedIn { .. } => "swapped-in",
        Event::SwapFailed { .. } => "swap-failed",
        Event::Finished(_) => "finished",
    }
}

fn id_of(event: &Event) -> InvocationId {
    match event {
        Event::Running { id, .. }
        | Event::Blocked { id }
        | Event::Unblocked { id }
        | Event::Stopped { id, .. }
        | Event::ShortOfMemory { id, .. }
        | Event::SwappedOut { id, .. }
        | Event::SwappedIn { id, .. }
        | Event::SwapFailed { id, .. } => *id,
        Event::Finished(finished) => finished.id,
    }
}

impl House {
    pub(crate) fn new() -> Self {
        // Few slots, so that tests in parallel do not run out of mappings.
        Self::with(WasmOptions { pool_slots: 8, ..WasmOptions::default() })
    }

    /// One that finds what others like it compiled, in this run of the tests or an earlier one: for
    /// interpreters, whose compilation takes long.
    pub(crate) fn with_shared_programs() -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
        std::fs::create_dir_all(&parent).unwrap();
        Self { parent: Some(parent), ..Self::new() }
    }

    pub(crate) fn with(options: WasmOptions) -> Self {
        Self::with_listener(options, |_, _| ())
    }

    /// One that does what `listen` does with each event, on the thread that brings it.
    pub(crate) fn with_listener(
        options: WasmOptions,
        listen: impl Fn(&Arc<WasmExecutor>, &Event) + Send + Sync + 'static,
    ) -> Self {
        let (events, calls) = (Arc::new(Seen::default()), Arc::new(Calls::default()));
        let sink = Arc::clone(&events);
        let platform: Arc<dyn Platform> = Arc::clone(&calls) as _;
        let told = Arc::new(OnceLock::<Weak<WasmExecutor>>::new());
        let of_sink = Arc::clone(&told);
        let sink = Arc::new(move |event: Event| {
            if let Some(executor) = of_sink.get().and_then(Weak::upgrade) {
                listen(&executor, &event);
            }
            sink.push(event);
        });
        let executor = WasmExecutor::open(options, Clock::new(), platform, sink).unwrap();
        let executor = Arc::new(executor);
        told.set(Arc::downgrade(&executor)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (parent, shared) = (None, Mutex::default());
        Self { executor, events, calls, directory, parent, shared, next: AtomicU64::new(1) }
    }

    /// A committed guest, prepared, as a function of that name of tenant `acme`.
    pub(crate) fn deploy(&self, guest: &str) -> Code {
        self.deploy_for("acme", guest)
    }

    pub(crate) fn deploy_for(&self, tenant: &str, guest: &str) -> Code {
        self.deploy_package(tenant, guest, &guest_package(guest)).unwrap()
    }

    pub(crate) fn deploy_package(
        &self,
        tenant: &str,
        name: &str,
        package: &[u8],
    ) -> Result<Code, PrepareError> {
        let artifact_dir = self.new_dir();
        let prepare = Prepare { runtime: "wasm", handler: "", package, durable: Durable::No };
        let prepared = self.executor.prepare(&prepare, &artifact_dir)?;
        assert!(prepared.artifact_bytes > package.len() as u64);
        Ok(code(tenant, name, Sha256::digest(package).into(), artifact_dir))
    }

    /// A committed guest, instrumented and prepared as a durable function.
    pub(crate) fn deploy_durable(&self, guest: &str) -> Code {
        self.deploy_durable_package(&guest.replace('.', "-"), &guest_package(guest)).unwrap()
    }

    pub(crate) fn deploy_durable_package(
        &self,
        name: &str,
        package: &[u8],
    ) -> Result<Code, PrepareError> {
        let durable = Durable::Yes;
        let package = Prepare { runtime: "wasm", handler: "", package, durable };
        let instrumented = self.executor.instrument(&package)?;
        self.deploy_instrumented(name, instrumented.as_deref().unwrap_or(package.package))
    }

    /// What `instrument` made, prepared as a durable function.
    pub(crate) fn deploy_instrumented(
        &self,
        name: &str,
        package: &[u8],
    ) -> Result<Code, PrepareError> {
        let artifact_dir = self.new_dir();
        let prepare = Prepare { runtime: "wasm", handler: "", package, durable: Durable::Yes };
        self.executor.prepare(&prepare, &artifact_dir)?;
        let hash = Sha256::digest(package).into();
        Ok(Code { durable: Durable::Yes, ..code("acme", name, hash, artifact_dir) })
    }

    /// Runs one turn of an execution to its end.
    #[track_caller]
    pub(crate) fn turn(&self, code: &Code, payload: &str, turn: DurableTurn) -> Finished {
        let id = self.start_as(code, payload.to_owned(), Some(turn));
        self.finished(id)
    }

    pub(crate) fn new_dir(&self) -> PathBuf {
        if let Some(parent) = &self.parent {
            let directory = tempfile::tempdir_in(parent).unwrap();
            let path = directory.path().to_owned();
            self.shared.lock().unwrap().push(directory);
            return path;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.path().join(number.to_string());
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    /// Starts an invocation in the ordinary band.
    pub(crate) fn start(&self, code: &Code, payload: impl Into<Bytes>) -> InvocationId {
        self.start_as(code, payload, None)
    }

    pub(crate) fn start_as(
        &self,
        code: &Code,
        payload: impl Into<Bytes>,
        durable: Option<DurableTurn>,
    ) -> InvocationId {
        let id = InvocationId(u128::from(self.next.fetch_add(1, Ordering::Relaxed)));
        self.executor.start(Start { durable, ..start(id, code, payload) });
        id
    }

    /// The end of an invocation, waited for. When what it waits for is there, it goes on at once.
    #[track_caller]
    pub(crate) fn finished(&self, id: InvocationId) -> Finished {
        let mut resumed = 0;
        loop {
            match self.events.wait_finished(id, resumed) {
                Some(finished) => return finished,
                None => {
                    resumed += 1;
                    self.executor.resume(id);
                }
            }
        }
    }

    /// Starts and waits for the end.
    #[track_caller]
    pub(crate) fn run(&self, code: &Code, payload: impl Into<Bytes>) -> Finished {
        let id = self.start(code, payload);
        self.finished(id)
    }

    /// Runs a guest that answers.
    #[track_caller]
    pub(crate) fn answer(&self, code: &Code, payload: impl Into<Bytes>) -> String {
        let answer = self.run(code, payload).answer().unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    }

    /// Runs a guest that fails.
    #[track_caller]
    pub(crate) fn failure(&self, code: &Code, payload: impl Into<Bytes>) -> Failure {
        self.run(code, payload).answer().unwrap_err()
    }

    pub(crate) fn held(&self, id: InvocationId) -> Option<Held> {
        self.executor.memory().held.into_iter().find(|held| held.id == id)
    }

    /// Waits until it was seen to hold so much; how much it was.
    #[track_caller]
    pub(crate) fn wait_memory(&self, id: InvocationId, at_least: u64) -> u64 {
        let begun = Instant::now();
        loop {
            let held = self.memory_of(id).unwrap();
            if held >= at_least {
                return held;
            }
            assert!(begun.elapsed() < PATIENCE, "{held} of {at_least} bytes");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn memory_of(&self, id: InvocationId) -> Option<u64> {
        self.held(id).map(|held| held.resident.0)
    }
}

/// A small generator of our own, so that a seed means the same for ever.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// An invocation in the ordinary band.
/// Waits until it is so.
#[track_caller]
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never was");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn start(id: InvocationId, code: &Code, payload: impl Into<Bytes>) -> Start {
    Start {
        id,
        code: Arc::new(code.clone()),
        payload: payload.into(),
        band: Band::Normal { nice: 0 },
        class: "interactive".into(),
        deadline: Timestamp::from_millis(123_456),
        token: "token".into(),
        traceparent: Some("00-trace".into()),
        durable: None,
    }
}

fn code(tenant: &str, name: &str, hash: [u8; 32], artifact_dir: PathBuf) -> Code {
    Code {
        tenant: tenant.parse().unwrap(),
        function: name.parse().unwrap(),
        version: Version(1),
        runtime: "wasm".into(),
        handler: String::new(),
        environment: vec![("GREETING".into(), "hello".into())],
        network: Network::None,
        timeout: Duration::from_secs(60),
        response_bytes_max: 1 << 20,
        durable: Durable::No,
        hash,
        artifact_dir,
    }
}

/// The bytes of a committed guest.
pub(crate) fn guest_package(guest: &str) -> Vec<u8> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    if let Some(script) = guest.strip_suffix(".js") {
        let source = examples.join("functions/javascript").join(script).with_extension("js");
        return runtime::wasm::javascript(&std::fs::read_to_string(source).unwrap()).unwrap();
    }
    let path = match guest {
        "journey" => examples.join("functions/rust-durable/journey.wasm"),
        "review" => examples.join("functions/assemblyscript/review.wasm"),
        "home" => examples.join("shop/home/home.wasm"),
        _ => examples.join("guests").join(guest).with_extension("wasm"),
    };
    std::fs::read(path).unwrap()
}
