//! How a sandbox's second process gives up all rights and becomes the function's program.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, execve, setgroups};
use nix::unistd::{setresgid, setresuid};

use model::limits;

use super::cgroup::Doors;
use super::{filter, sys};
use crate::kernel::{self, Band};

/// The id of a sandbox's second process within.
pub(super) const FIRST_CHILD: Pid = Pid::from_raw(2);

/// So that the kernel, out of memory, ends a function rather than anything else.
const OOM_SCORE: &str = "600";
const EXIT_NOT_STARTED: i32 = 127;

/// What becomes the function's program.
pub(super) struct Payload {
    pub(super) command: Vec<OsString>,
    pub(super) environment: Vec<(String, String)>,
    /// The user that it is, outside and inside.
    pub(super) user: u32,
    pub(super) doors: Doors,
    /// Where its output goes.
    pub(super) output: OwnedFd,
}

/// Gives up all rights and runs the program. A failure is told in the function's logs.
pub(super) fn become_function(payload: Payload) -> ! {
    let program = payload.command.first().cloned().unwrap_or_default();
    let Err(error) = start(payload);
    // The logs are the only way out of here; where they are full, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "start {}: {error}", program.display());
    #[expect(clippy::exit, reason = "a forked child must not return into its parent's code")]
    std::process::exit(EXIT_NOT_STARTED)
}

fn start(payload: Payload) -> io::Result<Infallible> {
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&payload.output)?;
    dup2_stderr(&payload.output)?;
    for mut door in &payload.doors.tasks {
        door.write_all(b"0")?;
    }
    fs::write("/proc/self/oom_score_adj", OOM_SCORE)?;
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGPIPE] {
        sys::set_signal(signal, SigHandler::SigDfl)?;
    }
    // The warden's own place above all functions is not inherited.
    kernel::apply(0, Band::Normal { nice: 0 })?;
    set_limits()?;
    drop_rights(payload.user)?;
    umask(Mode::from_bits_truncate(0o022));
    let strings = |list: Vec<OsString>| -> io::Result<Vec<CString>> {
        list.into_iter().map(|text| Ok(CString::new(text.into_vec())?)).collect()
    };
    let command = strings(payload.command)?;
    let environment = payload.environment.into_iter();
    let environment =
        strings(environment.map(|(name, value)| format!("{name}={value}").into()).collect())?;
    let program = command.first().ok_or(io::ErrorKind::InvalidInput)?;
    nix::unistd::chdir(super::place::TASK)?;
    sys::close_at_exec(3)?;
    filter::apply()?;
    Ok(execve(program, &command, &environment)?)
}

fn set_limits() -> io::Result<()> {
    let both = |resource, limit| setrlimit(resource, limit, limit);
    both(Resource::RLIMIT_NOFILE, limits::SANDBOX_FILES_MAX)?;
    both(Resource::RLIMIT_CORE, 0)?;
    both(Resource::RLIMIT_MEMLOCK, 64 << 10)?;
    // Each sandbox is a user of its own, so this holds also where no control group counts.
    both(Resource::RLIMIT_NPROC, limits::SANDBOX_PIDS_MAX)?;
    Ok(())
}

fn drop_rights(user: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // A process that changed its user may not write its own maps, unless it says this.
    prctl::set_dumpable(true)?;
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    prctl::set_no_new_privs()?;
    sys::drop_capabilities()
}
