//! The order of `docs/durable-functions.md`, command by command as it stands there.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]

use std::cell::Cell;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command of the page, and the lines that it is said to print.
struct Said {
    command: String,
    prints: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn page() -> Vec<Said> {
    let text = std::fs::read_to_string(root().join("docs/durable-functions.md")).unwrap();
    let story = text.split("\n## An order that survives\n").nth(1).expect("the page has the demo");
    let block = story.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let mut all: Vec<Said> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => all.push(Said { command: command.to_owned(), prints: Vec::new() }),
            None => all.last_mut().unwrap().prints.push(line.to_owned()),
        }
    }
    all
}

/// Whether a printed line is what the page says, `…` being anything and spaces being alike.
fn is_line(printed: &str, said: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (printed, said) = (squeeze(printed), squeeze(said));
    let mut rest = printed.as_str();
    for (index, part) in said.split('…').enumerate() {
        let part = if index == 0 { part } else { part.trim_start() };
        let Some(at) = rest.find(part.trim_end()) else { return false };
        if index == 0 && at != 0 {
            return false;
        }
        rest = &rest[at + part.trim_end().len()..];
    }
    true
}

struct Shell {
    folder: tempfile::TempDir,
    address: String,
    /// Commands so far: each prints into a file of its own, for a server goes on printing.
    commands: Cell<usize>,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(root().join("examples"), folder.path().join("examples")).unwrap();
        symlink(env!("CARGO_BIN_EXE_fermata"), folder.path().join("fermata")).unwrap();
        // The server comes back to it after the kill, so it is none that the system gives to others
        // unasked: those begin at 32768.
        let first = 15_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        let free = (first..32_000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        let free = free.unwrap().local_addr().unwrap();
        Self { folder, address: free.to_string(), commands: Cell::new(0) }
    }

    /// What the command prints, on either stream.
    fn run(&self, command: &str) -> String {
        self.commands.set(self.commands.get() + 1);
        let out = std::fs::File::create(self.out()).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.folder.path().display());
        let status = Command::new("bash")
            .args(["-c", command])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("FERMATA_LISTEN", &self.address)
            .env("FERMATA_SERVER", format!("http://{}", self.address))
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        assert!(status.success(), "{command}: {}", self.printed());
        self.printed()
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(self.out()).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join(format!("out-{}", self.commands.get()))
    }

    /// A person types more slowly than the platform works: waits until the page's next command can
    /// be given.
    fn settle(&self, command: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        let is_there = || match command {
            c if c.starts_with("fermata serve") => self.printed().contains("listening on"),
            c if c.contains("executions start") => {
                self.printed().contains("exe_") && self.shows("approval\" (#")
            }
            _ => true,
        };
        while !is_there() {
            assert!(Instant::now() < end, "after {command}: {}", self.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn shows(&self, words: &str) -> bool {
        let shown = Command::new(env!("CARGO_BIN_EXE_fermata"))
            .args(["executions", "show", "order-1", "--server"])
            .arg(format!("http://{}", self.address))
            .output()
            .unwrap();
        String::from_utf8_lossy(&shown.stdout).contains(words)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let id = std::fs::read_to_string(self.folder.path().join("server.pid"));
        if let Ok(id) = id {
            drop(Command::new("kill").args(["-9", id.trim()]).status());
        }
    }
}

#[test]
fn the_order_of_the_docs_survives_the_kill_and_says_what_the_docs_say() {
    if Command::new("wasm-opt").arg("--version").output().is_err() {
        println!("skipped: there is no wasm-opt, which the deploy of order.wasm needs");
        return;
    }
    let shell = Shell::new();
    let said = page();
    assert!(said.len() > 10, "the page has the commands");
    let mut costs = Vec::new();
    for Said { command, prints } in &said {
        let mut printed = shell.run(command);
        shell.settle(command);
        if command.starts_with("fermata serve") {
            printed = shell.printed();
        }
        let mut lines = printed.lines();
        for said in prints {
            assert!(
                lines.any(|line| is_line(line, said)),
                "{command}\nis to print: {said}\nand prints:\n{printed}"
            );
        }
        if command.contains("executions show") {
            costs.push(printed);
        }
    }
    assert_eq!(costs.len(), 2);
}

#[test]
fn a_line_of_the_page_is_found_whatever_stands_for_the_dots() {
    for (printed, said, expected) in [
        ("exe_0 of order:1", "exe_… of order:1", true),
        ("  cost      12 µ¢: compute 3", "  cost … µ¢: compute …", true),
        ("order-1 was sent approval", "order-1 was sent approval", true),
        ("exe_0 of order:2", "exe_… of order:1", false),
        ("xexe_0", "exe_…", false),
    ] {
        assert_eq!(is_line(printed, said), expected, "{printed} / {said}");
    }
}
