//! The warden: a small process with one thread that makes and removes all sandboxes of a server,
//! so that the server, large and with many threads, never forks. It ends with the server, and all
//! sandboxes end with it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{Pid, setpgid};

use super::init::{self, Parts};
use super::payload::Payload;
use super::place::{Layout, none};
use super::sys::{self, Attach, Side};
use super::wire::{self, Answer, Order, Plan, Recipe};
use crate::kernel;

/// The first argument that makes a program the warden: see [`warden_main`].
pub const WARDEN_ARG: &str = "fermata-warden";
/// Names the file that a warden locks.
const LOCK: &str = "warden.lock";

struct Warden {
    plan: Plan,
    layout: Layout,
    /// Each names the init of a sandbox.
    sandboxes: BTreeMap<u32, OwnedFd>,
    /// Killed, not yet gone.
    leaving: BTreeMap<u32, OwnedFd>,
}

/// What a program started with [`WARDEN_ARG`] as its first argument does instead of all else, at
/// once, while it has a single thread. Its standard input is the server's socket.
#[must_use]
pub fn warden_main() -> ExitCode {
    match serve(io::stdin().as_fd()) {
        Ok(()) => ExitCode::SUCCESS,
        // What went wrong was told to the server, who tells it to a person.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(server: BorrowedFd<'_>) -> io::Result<()> {
    // A Ctrl-C at the server's terminal is the server's to handle. No new session: the kernel
    // would weigh its processes against the server's by session, not by class.
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    let Some((Order::Hello(mut plan), _)) = wire::receive(server)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    // Held until this process ends.
    let (made, _turn) = match await_turn(&plan.state_dir) {
        Ok(turn) => (prepare(&mut plan), Some(turn)),
        Err(error) => (Err(error), None),
    };
    let failed = made.as_ref().err().map(|error| io::Error::other(error.to_string()));
    let ready = made.map(|()| Box::new(plan.tree.clone())).map_err(|error| error.to_string());
    wire::send(server, &Answer::Ready(ready), &[])?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut warden = Warden {
        layout: Layout::new(&plan),
        plan: *plan,
        sandboxes: BTreeMap::new(),
        leaving: BTreeMap::new(),
    };
    let result = warden.obey(server);
    warden.remove_all();
    result
}

/// Waits until an earlier warden of the same folder has removed its sandboxes and ended: the names
/// of their control groups are ours too. A lock of `fcntl` is the process's alone: what it forks
/// does not hold it.
#[expect(clippy::cast_possible_truncation, reason = "constants below ten")]
fn await_turn(state_dir: &Path) -> io::Result<File> {
    fs::create_dir_all(state_dir)?;
    let file =
        OpenOptions::new().create(true).write(true).truncate(false).open(state_dir.join(LOCK))?;
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLKW(&whole))?;
    Ok(file)
}

fn prepare(plan: &mut Plan) -> io::Result<()> {
    // Best effort: above the functions, so that a start does not wait for them.
    let _ = kernel::apply(0, kernel::CONTROL);
    for signal in [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT] {
        sys::set_signal(signal, SigHandler::SigIgn)?;
    }
    fs::set_permissions(&plan.state_dir, fs::Permissions::from_mode(0o700))?;
    let attempt = |attempt: &str, error: io::Error| io::Error::other(format!("{attempt}: {error}"));
    plan.tree
        .prepare(plan.memory_bytes)
        .map_err(|error| attempt("make the control groups", error))?;
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| attempt("make a mount namespace (this needs root)", error.into()))?;
    mount(none(), "/", none(), MsFlags::MS_REC | MsFlags::MS_SLAVE, none())?;
    Layout::new(plan).build(plan).map_err(|error| attempt("build the file system", error))
}

impl Warden {
    /// Until the server is gone.
    fn obey(&mut self, server: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let mut waits = vec![PollFd::new(server, PollFlags::POLLIN)];
            let ends = self.leaving.values();
            waits.extend(ends.map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)));
            match poll(&mut waits, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let is_ready: Vec<bool> =
                waits.iter().map(|wait| wait.any().unwrap_or_default()).collect();
            let left = self.leaving.keys().zip(&is_ready[1..]);
            let left: Vec<u32> = left.filter(|(_, gone)| **gone).map(|(n, _)| *n).collect();
            for n in left {
                self.leaving.remove(&n);
                self.clean(n);
                wire::send(server, &Answer::Removed { n }, &[])?;
            }
            if !is_ready[0] {
                continue;
            }
            let Some((order, descriptors)) = wire::receive(server)? else { return Ok(()) };
            if let Some(answer) = self.follow(order, descriptors) {
                wire::send(server, &answer, &[])?;
            }
        }
    }

    fn follow(&mut self, order: Order, descriptors: Vec<OwnedFd>) -> Option<Answer> {
        match order {
            Order::Hello(_) => None,
            Order::Create(recipe) => {
                let n = recipe.n;
                let error = self.create(*recipe, descriptors).err()?.to_string();
                self.clean(n);
                Some(Answer::NotCreated { n, error })
            }
            Order::Attach { n, code } => {
                let result = sys::attach(&code, &self.layout.code(n), Attach::Files);
                Some(Answer::Attached { n, error: result.err().map(|error| error.to_string()) })
            }
            Order::Remove { n } => {
                let Some(init) = self.sandboxes.remove(&n) else {
                    return Some(Answer::Removed { n });
                };
                sys::kill(init.as_fd());
                self.leaving.insert(n, init);
                None
            }
        }
    }

    fn create(&mut self, recipe: Recipe, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let [control, output] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|_| io::Error::other("two descriptors belong to an order to create"))?;
        let n = recipe.n;
        self.layout.create_code(n)?;
        if let Some(code) = &recipe.code {
            attach_code(&self.layout, n, code)?;
        }
        let doors = self.plan.tree.create(n)?;
        match sys::fork(init::namespaces(&recipe), None)? {
            Side::Parent(init) => {
                self.sandboxes.insert(n, init);
                Ok(())
            }
            Side::Child => {
                // The sandbox must not hold what would tell the server that others live.
                let layout = self.layout.clone();
                self.sandboxes.clear();
                self.leaving.clear();
                let payload = Payload {
                    command: recipe.command.clone(),
                    environment: recipe.environment.clone(),
                    user: Plan::user(self.plan.users_first, n),
                    doors,
                    output,
                };
                init::live(Parts { recipe, layout: &layout, control, payload });
                // A forked child must not go on as the warden.
                std::process::exit(0)
            }
        }
    }

    /// Removes what is left of a sandbox whose processes are gone.
    fn clean(&self, n: u32) {
        self.layout.remove_code(n);
        self.plan.tree.remove(n);
    }

    fn remove_all(&mut self) {
        let mut all = std::mem::take(&mut self.sandboxes);
        all.append(&mut self.leaving);
        for init in all.values() {
            sys::kill(init.as_fd());
        }
        for (n, init) in all {
            // It was killed; an error could only mean that it is gone.
            let _ = poll(&mut [PollFd::new(init.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            self.clean(n);
        }
        self.plan.tree.remove_leftovers();
        self.plan.tree.remove_server();
    }
}

fn attach_code(layout: &Layout, n: u32, code: &Path) -> io::Result<()> {
    let attached = sys::attach(code, &layout.code(n), Attach::Files);
    attached.map_err(|error| io::Error::other(format!("mount the code: {error}")))
}
