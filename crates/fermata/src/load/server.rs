//! A server as a child process, on a port of its own. Dropping it ends it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::files;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// After that a server that drains is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const STOP_POLL: Duration = Duration::from_millis(20);
/// Open files kept for other things than connections.
const FILES_RESERVE: usize = 512;

/// Where a server says on which address it listens. The other stream goes to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Stdout,
    Stderr,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it has printed a line with its address (`http://…`).
    ///
    /// # Errors
    /// Where it does not come up; the last lines of its log tell why.
    pub(crate) fn start(mut command: Command, speaks: Speaks, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).context("make the server's log")?;
        command.stdin(Stdio::null());
        match speaks {
            Speaks::Stdout => command.stdout(Stdio::piped()).stderr(file),
            Speaks::Stderr => command.stderr(Stdio::piped()).stdout(file),
        };
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("start {program}"))?;
        let said: Option<Box<dyn Read + Send>> = match speaks {
            Speaks::Stdout => child.stdout.take().map(|pipe| Box::new(pipe) as _),
            Speaks::Stderr => child.stderr.take().map(|pipe| Box::new(pipe) as _),
        };
        match wait_until_it_listens(said.context("read what the server prints")?) {
            Ok(address) => Ok(Self { child, address, log: log.to_owned() }),
            Err(error) => {
                end(&mut child);
                Err(error.context(format!("start {program}; its log ends:\n{}", tail(log))))
            }
        }
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// Where it does not; with its exit status and the last lines of its log.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("look for the server")? {
            None => Ok(()),
            Some(status) => {
                bail!("the server ended ({status}); its log ends:\n{}", tail(&self.log))
            }
        }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Makes room for open files, and gives the number of connections that this allows.
pub(crate) fn raise_open_files() -> usize {
    let files = usize::try_from(files::make_room()).unwrap_or(usize::MAX);
    files.saturating_sub(FILES_RESERVE).max(16)
}

fn wait_until_it_listens(output: Box<dyn Read + Send>) -> anyhow::Result<SocketAddr> {
    let (said, heard) = mpsc::sync_channel(1);
    // The thread reads until the child closes its output, so that the child never waits for it.
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(address) = parse_listening(&line) {
                // Only the first one is waited for.
                let _ = said.try_send(address);
            }
        }
    });
    heard.recv_timeout(READY_TIMEOUT).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => anyhow!("not listening after {READY_TIMEOUT:?}"),
        mpsc::RecvTimeoutError::Disconnected => anyhow!("it ended before it listened"),
    })
}

/// `listening on http://127.0.0.1:4566`, `Serving HTTP on http://127.0.0.1:8080/`
fn parse_listening(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("http://")?;
    address.trim().trim_end_matches('/').parse().ok()
}

fn end(child: &mut Child) {
    let id = i32::try_from(child.id()).map(Pid::from_raw);
    let asked = id.is_ok_and(|id| kill(id, Signal::SIGTERM).is_ok());
    let deadline = Instant::now() + STOP_TIMEOUT;
    while asked && Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => thread::sleep(STOP_POLL),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    // It is ending or gone already where these fail.
    let _ = child.kill();
    let _ = child.wait();
}

fn tail(path: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_where_it_listens_is_found() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(parse_listening(line), expected.map(|text| text.parse().unwrap()));
        };
        check("listening on http://127.0.0.1:4566\n", Some("127.0.0.1:4566"));
        check("Serving HTTP on http://127.0.0.1:8080/", Some("127.0.0.1:8080"));
        check("policy xx", None);
    }

    #[test]
    fn a_server_that_does_not_come_up_is_explained_by_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason >&2; exit 3"]);
        let log = folder.path().join("log");
        let error = Server::start(command, Speaks::Stdout, &log).unwrap_err();
        assert!(error.to_string().contains("the reason"), "{error:#}");
        assert!(format!("{error:#}").contains("ended before it listened"), "{error:#}");
    }

    #[test]
    fn a_server_that_ends_by_itself_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'listening on http://127.0.0.1:1'; echo woe >&2; exit 7"]);
        let mut server =
            Server::start(command, Speaks::Stdout, &folder.path().join("log")).unwrap();
        server.child.wait().unwrap();
        let error = server.check().unwrap_err().to_string();
        assert!(error.contains("exit status: 7") && error.contains("woe"), "{error}");
    }

    #[test]
    fn a_server_ends_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'listening on http://127.0.0.1:1'; exec sleep 600"]);
        let log = folder.path().join("log");
        let mut server = Server::start(command, Speaks::Stdout, &log).unwrap();
        server.check().unwrap();
        let id = Pid::from_raw(i32::try_from(server.child.id()).unwrap());
        assert_eq!(server.address(), "127.0.0.1:1".parse().unwrap());
        drop(server);
        assert!(kill(id, None).is_err(), "the process is gone");
    }
}
