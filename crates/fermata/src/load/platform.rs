//! A whole platform as a child process: this program's own `serve`.
//!
//! It is a process of its own so that the client that measures shares no thread with the server
//! that is measured.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::server::{Server, Speaks};

/// What still runs at the end is of no interest.
const DRAIN_SECONDS: &str = "1";

/// How to start one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    /// `xx`, `hermod`, `fifo`.
    pub(crate) policy: &'a str,
    /// Where it keeps its data.
    pub(crate) data_dir: &'a Path,
    /// Where it listens; [`ANY_PORT`] chooses a free port.
    pub(crate) listen: &'a str,
}

/// A loopback address with a free port.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// A running platform. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Platform {
    server: Server,
    executable: PathBuf,
}

/// What became of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deployed {
    /// It is there.
    Yes,
    /// The platform does not take it (no interpreter for it on this machine); why.
    Refused(String),
}

impl Platform {
    /// Starts `serve --dev` and waits until it listens.
    ///
    /// # Errors
    /// Where it does not come up; the last lines of its log tell why.
    pub(crate) fn start(start: Start<'_>) -> anyhow::Result<Self> {
        Self::start_with(start, &[] as &[&OsStr], None)
    }

    /// The same, recording what arrives.
    ///
    /// # Errors
    /// Where it does not come up; the last lines of its log tell why.
    pub(crate) fn start_recording(start: Start<'_>, file: &Path) -> anyhow::Result<Self> {
        Self::start_with(start, &[OsStr::new("--record"), file.as_os_str()], None)
    }

    /// As `start`, with further arguments of `serve`, and as a member of the control group whose
    /// folder is `group`.
    ///
    /// # Errors
    /// As `start`.
    pub(crate) fn start_with(
        start: Start<'_>,
        arguments: &[impl AsRef<OsStr>],
        group: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("find this program's own file")?;
        fs::create_dir_all(start.data_dir).context("make a folder for the platform's data")?;
        let mut command = match group {
            None => own_command(&executable),
            Some(group) => {
                let mut shell = own_command(Path::new("/bin/sh"));
                let join = r#"echo $$ > "$1/cgroup.procs" && shift && exec "$@""#;
                shell.args(["-c", join, "sh"]).arg(group).arg(&executable);
                shell
            }
        };
        serve(&mut command, start, arguments);
        let server = Server::start(command, Speaks::Stdout, &start.data_dir.join("serve.log"))?;
        Ok(Self { server, executable })
    }

    /// Whether it still runs; see [`Server::check`].
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.server.check()
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> u32 {
        self.server.process_id()
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it listens, for `--server`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Deploys a folder with its manifest.
    ///
    /// # Errors
    /// Where the command fails for another reason than the platform's refusal.
    pub(crate) fn deploy(&self, folder: &Path) -> anyhow::Result<Deployed> {
        const SERVER_REFUSED: i32 = 3;
        let mut command = self.command([OsStr::new("deploy"), folder.as_os_str()]);
        let output = command.output().context("run fermata deploy")?;
        match output.status.code() {
            Some(0) => Ok(Deployed::Yes),
            Some(SERVER_REFUSED) => Ok(Deployed::Refused(text_of(&output.stderr))),
            _ => bail!("deploy {}: {}", folder.display(), text_of(&output.stderr)),
        }
    }

    /// Runs a subcommand of this program against the platform and gives what it prints.
    ///
    /// # Errors
    /// Where it ends with another code than 0; with its words.
    pub(crate) fn print_of(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(arguments);
        let output = command.output().with_context(|| format!("run fermata {arguments:?}"))?;
        if !output.status.success() {
            bail!("fermata {}: {}", arguments.join(" "), text_of(&output.stderr));
        }
        String::from_utf8(output.stdout).context("read what the command prints")
    }

    fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = own_command(&self.executable);
        command.args(arguments).arg("--server").arg(self.url()).stdin(Stdio::null());
        command
    }
}

/// The command that starts one.
pub(crate) fn serve_command(
    executable: &Path,
    start: Start<'_>,
    arguments: &[impl AsRef<OsStr>],
) -> Command {
    let mut command = own_command(executable);
    serve(&mut command, start, arguments);
    command
}

fn serve(command: &mut Command, start: Start<'_>, arguments: &[impl AsRef<OsStr>]) {
    command
        .args(["serve", "--dev", "--with-parent", "--drain-seconds", DRAIN_SECONDS])
        .args(["--listen", start.listen, "--policy", start.policy, "--data"])
        .arg(start.data_dir)
        .args(arguments);
}

/// This program, without settings of the caller's own platform.
pub(crate) fn own_command(executable: &Path) -> Command {
    let mut command = Command::new(executable);
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("FERMATA_")) {
        command.env_remove(name);
    }
    command
}

/// What a command complained of.
fn text_of(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    text.strip_prefix("error: ").unwrap_or(text).to_owned()
}
