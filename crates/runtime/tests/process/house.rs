//! An executor of its own for each test, and what it did.

use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::{Failure, InvocationId, Timestamp, Version};
use runtime::process::{Config, Interpreters, ProcessExecutor};
use runtime::{
    Call, CallResult, Clock, Code, Durable, Event, Executor, Finished, Network, Platform, Prepare,
    PrepareError, Start, kernel::Band,
};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

/// Longest wait for anything. Machines that test may be slow.
const BOUND: Duration = Duration::from_secs(60);

/// Answers a function's call.
type OnCall = Box<dyn Fn(&Call) -> Option<CallResult> + Send + Sync>;

pub(crate) struct House {
    pub(crate) executor: Arc<ProcessExecutor>,
    pub(crate) folder: TempDir,
    log: Arc<Log>,
    pub(crate) calls: Arc<Calls>,
    next_id: AtomicU64,
    _tokio: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Log {
    events: Mutex<Vec<Event>>,
    more: Condvar,
}

/// Calls that functions made; those that `on_call` leaves open are answered by the test.
pub(crate) struct Calls {
    on_call: OnCall,
    pub(crate) open: Mutex<Vec<Reply>>,
    pub(crate) seen: Mutex<Vec<(InvocationId, Call)>>,
}

type Reply = Box<dyn FnOnce(CallResult) + Send>;

impl Platform for Calls {
    fn call(&self, caller: InvocationId, call: Call, reply: Reply) {
        let answer = (self.on_call)(&call);
        self.seen.lock().unwrap().push((caller, call));
        match answer {
            Some(answer) => reply(answer),
            None => self.open.lock().unwrap().push(reply),
        }
    }
}

/// How an executor of a test differs from others.
pub(crate) struct Options {
    pub(crate) pool: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) on_call: OnCall,
}

impl Default for Options {
    fn default() -> Self {
        Self { pool: 0, memory_bytes: 4 << 30, on_call: Box::new(|_| None) }
    }
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            state_dir: folder.path().join("state"),
            memory_bytes: options.memory_bytes,
            clock: Clock::new(),
            warden: vec![env!("CARGO_BIN_EXE_fermata-warden").into()],
            tokio: tokio.handle().clone(),
            pool_per_interpreter: options.pool,
            idle_max: 16,
            idle_age: Duration::from_secs(600),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            swap_bandwidth: None,
        };
        let log = Arc::new(Log::default());
        let sink = Arc::clone(&log);
        let events = Arc::new(move |event| {
            sink.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            sink.more.notify_all();
        });
        let calls = Arc::new(Calls {
            on_call: options.on_call,
            open: Mutex::default(),
            seen: Mutex::default(),
        });
        let platform = Arc::clone(&calls) as _;
        let interpreters = Interpreters::look().unwrap();
        let executor = ProcessExecutor::start(config, interpreters, events, platform).unwrap();
        if options.pool > 0 {
            assert!(executor.await_pool(BOUND), "the pool was filled");
        }
        Self { executor, folder, log, calls, next_id: AtomicU64::new(1), _tokio: tokio }
    }

    pub(crate) fn prepare(
        &self,
        runtime: &str,
        handler: &str,
        package: &[u8],
    ) -> Result<PathBuf, PrepareError> {
        let n = self.next_id.fetch_add(1, Ordering::Relaxed);
        let artifact_dir = self.folder.path().join(format!("artifact-{n}"));
        std::fs::create_dir(&artifact_dir).unwrap();
        let code = Prepare { runtime, handler, package, durable: Durable::No };
        self.executor.prepare(&code, &artifact_dir).map(|_| artifact_dir)
    }

    /// A function of tenant `acme` with these files.
    #[track_caller]
    pub(crate) fn deploy(&self, runtime: &str, handler: &str, files: &[(&str, &str)]) -> Code {
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        self.deploy_bytes(runtime, handler, &files)
    }

    /// The same, with files that are not text.
    #[track_caller]
    pub(crate) fn deploy_bytes(
        &self,
        runtime: &str,
        handler: &str,
        files: &[(&str, &[u8])],
    ) -> Code {
        let artifact_dir = self.prepare(runtime, handler, &zip(files)).unwrap();
        let n = self.next_id.fetch_add(1, Ordering::Relaxed);
        Code {
            tenant: "acme".parse().unwrap(),
            function: format!("f{n}").parse().unwrap(),
            version: Version(1),
            runtime: runtime.into(),
            handler: handler.into(),
            environment: Vec::new(),
            network: Network::None,
            timeout: Duration::from_secs(60),
            response_bytes_max: 1 << 20,
            durable: Durable::No,
            hash: [0; 32],
            artifact_dir,
        }
    }

    /// A Python function whose module is `text` and whose handler is `handler`.
    #[track_caller]
    pub(crate) fn python(&self, text: &str) -> Arc<Code> {
        Arc::new(self.deploy("python3", "app.handler", &[("app.py", text)]))
    }

    pub(crate) fn start(&self, code: &Arc<Code>, payload: &str) -> InvocationId {
        self.start_in(code, payload, "standard")
    }

    pub(crate) fn start_in(&self, code: &Arc<Code>, payload: &str, class: &str) -> InvocationId {
        let n = self.next_id.fetch_add(1, Ordering::Relaxed);
        let id = InvocationId(u128::from(n));
        self.executor.start(Start {
            id,
            code: Arc::clone(code),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            band: Band::Normal { nice: 0 },
            class: class.into(),
            deadline: Timestamp::from_millis(4_000_000_000_000),
            token: format!("token-{n}"),
            traceparent: Some("00-trace".into()),
            durable: None,
        });
        id
    }

    /// Starts, waits for the end; resumes whenever that is asked for.
    pub(crate) fn run(&self, code: &Arc<Code>, payload: &str) -> Finished {
        let id = self.start(code, payload);
        self.finish(id)
    }

    /// Waits for the end of an invocation; resumes it whenever it can go on.
    pub(crate) fn finish(&self, id: InvocationId) -> Finished {
        let mut resumed = 0;
        loop {
            let finished = self.wait(|events| {
                let of_it: Vec<&Event> = events.iter().filter(|e| id_of(e) == id).collect();
                let unblocked = of_it.iter().filter(|e| matches!(e, Event::Unblocked { .. }));
                let unblocked = unblocked.count();
                match of_it.last() {
                    Some(Event::Finished(finished)) => Some(Some(finished.clone())),
                    _ if unblocked > resumed => {
                        resumed = unblocked;
                        Some(None)
                    }
                    _ => None,
                }
            });
            match finished {
                Some(finished) => return *finished,
                None => self.executor.resume(id),
            }
        }
    }

    /// Waits until the events so far say enough.
    #[track_caller]
    pub(crate) fn wait<T>(&self, mut enough: impl FnMut(&[Event]) -> Option<T>) -> T {
        let mut result = None;
        let waiting = |events: &mut Vec<Event>| {
            result = enough(events);
            result.is_none()
        };
        let events = self.log.events.lock().unwrap();
        let (events, _) = self.log.more.wait_timeout_while(events, BOUND, waiting).unwrap();
        result.unwrap_or_else(|| panic!("not in time; so far: {events:?}"))
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, id: InvocationId, wanted: impl Fn(&Event) -> bool) -> Event {
        self.wait(|events| events.iter().find(|e| id_of(e) == id && wanted(e)).cloned())
    }

    pub(crate) fn events(&self, id: InvocationId) -> Vec<Event> {
        let events = self.log.events.lock().unwrap();
        events.iter().filter(|e| id_of(e) == id).cloned().collect()
    }

    /// Whether an invocation's instance was made for it.
    #[track_caller]
    pub(crate) fn was_cold(&self, id: InvocationId) -> bool {
        match self.wait_for(id, |e| matches!(e, Event::Running { .. })) {
            Event::Running { cold, .. } => cold,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.executor.shutdown();
        let events = self.log.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ends: HashMap<InvocationId, usize> = HashMap::new();
        for event in events.iter() {
            let ended = ends.entry(id_of(event)).or_default();
            if !std::thread::panicking() {
                assert_eq!(*ended, 0, "an event after Finished: {event:?}");
            }
            *ended += usize::from(matches!(event, Event::Finished(_)));
        }
    }
}

pub(crate) fn id_of(event: &Event) -> InvocationId {
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

/// A zip of files; `bootstrap` may be executed.
pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        let mode = if *name == "bootstrap" { 0o755 } else { 0o644 };
        writer.start_file(*name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        writer.write_all(text).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[track_caller]
pub(crate) fn answer(finished: &Finished) -> String {
    let logs = String::from_utf8_lossy(&finished.logs.bytes);
    match finished.answer() {
        Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Err(failure) => panic!("{failure:?}; logs: {logs}"),
    }
}

#[track_caller]
pub(crate) fn failure(finished: &Finished) -> &Failure {
    finished.outcome.as_ref().expect_err("it failed")
}
