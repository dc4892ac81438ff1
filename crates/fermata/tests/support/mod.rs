//! Starts the built server on a port of its own, and speaks to it with the built command line.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and tell why")]
#![allow(dead_code, reason = "each test program uses a part of this")]

pub(crate) mod http;
pub(crate) mod proxy;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const FERMATA: &str = env!("CARGO_BIN_EXE_fermata");
/// A server that has not said where it listens by then has failed.
const READY: Duration = Duration::from_secs(60);

/// A server of a test's own. Dropping it kills it and checks its log.
pub(crate) struct Server {
    child: Child,
    url: String,
    log: Arc<Mutex<Vec<String>>>,
    data: Arc<TempDir>,
    flags: Vec<String>,
    announced: Vec<&'static str>,
}

/// What a command line printed.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Server {
    /// `serve --dev` with these flags.
    pub(crate) fn dev(flags: &[&str]) -> Self {
        let flags = ["--dev"].iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
        Self::start(Arc::new(tempfile::tempdir().unwrap()), flags)
    }

    /// `serve` with keys.
    pub(crate) fn with_keys(flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self::start(Arc::new(tempfile::tempdir().unwrap()), flags)
    }

    fn start(data: Arc<TempDir>, flags: Vec<String>) -> Self {
        let mut command = Command::new(FERMATA);
        without_settings(&mut command);
        command.args(["serve", "--listen", "127.0.0.1:0", "--drain-seconds", "5", "--data"]);
        command.arg(data.path()).args(&flags);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the server");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        let (said, hears) = std::sync::mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            out.map_while(Result::ok).for_each(|line| drop(said.send(line)))
        });
        let line = hears.recv_timeout(READY);
        let line = line.unwrap_or_else(|_| panic!("no address; log: {:?}", log.lock().unwrap()));
        let url = line.strip_prefix("listening on ").expect("the address line").to_owned();
        Self { child, url, log, data, flags, announced: Vec::new() }
    }

    /// Lets the log have warnings or errors with this text.
    pub(crate) fn announce(&mut self, text: &'static str) {
        self.announced.push(text);
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, then a new server on the same data.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (data, flags) = (Arc::clone(&self.data), self.flags.clone());
        drop(self);
        Self::start(data, flags)
    }

    /// `kill -9`, and nothing after it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit code once it has ended.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    /// Runs `fermata ARGS` against this server.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_as(None, args)
    }

    /// The same with a key.
    pub(crate) fn run_as(&self, key: Option<&str>, args: &[&str]) -> Said {
        let mut command = Command::new(FERMATA);
        without_settings(&mut command);
        command.args(args).env("FERMATA_SERVER", &self.url).stdin(Stdio::null());
        if let Some(key) = key {
            command.env("FERMATA_KEY", key);
        }
        said(&command.output().unwrap())
    }

    /// Runs a command that must succeed and gives what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    }

    /// The same, as JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let out = self.ok(&args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    }

    /// The first admin's key.
    pub(crate) fn admin_key(&self) -> String {
        let path = self.data.path().join("admin-key");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log: {:#?}", self.log.lock().unwrap());
            return;
        }
        for line in self.log.lock().unwrap().iter() {
            let loud = line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\"");
            let announced = self.announced.iter().any(|text| line.contains(text));
            assert!(!loud || announced, "the server complained unannounced: {line}");
        }
    }
}

/// Runs `fermata ARGS` without a server.
pub(crate) fn fermata(args: &[&str]) -> Said {
    let mut command = Command::new(FERMATA);
    without_settings(&mut command);
    said(&command.args(args).stdin(Stdio::null()).output().unwrap())
}

/// A Wasm guest by its name.
pub(crate) fn guest(name: &str) -> String {
    let path = root().join("examples/guests").join(name).with_extension("wasm");
    path.to_str().unwrap().to_owned()
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let bound = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < bound, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn without_settings(command: &mut Command) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("FERMATA_")) {
        command.env_remove(name);
    }
    // Nobody's own configuration file.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
}

fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// One action of the Step Functions API.
pub(crate) fn aws(server: &Server, action: &str, body: &Value) -> Result<Value, Value> {
    use std::io::{Read as _, Write as _};
    let address = server.url().trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nx-amz-target: AWSStepFunctions.{action}\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    if head.starts_with("HTTP/1.1 200") { Ok(body) } else { Err(body) }
}
