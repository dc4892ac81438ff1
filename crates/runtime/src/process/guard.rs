//! Starts the warden, and starts it again where it ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use super::cgroup::Tree;
use super::interpreter::Interpreter;
use super::shared::{Line, Shared};
use super::wire::{self, Answer, Order, Plan};
use super::{Config, WARDEN_ARG, users_first};

/// Longest wait for the warden's first word. It waits for an earlier one that is still at work.
const START_BOUND_SECONDS: i64 = 30;
/// Before a second attempt to start it; doubled after each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// One that lived that long had no fault of the kind that comes at once.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// A warden that can make sandboxes.
pub(super) struct Warden {
    child: Child,
    pub(super) socket: Arc<OwnedFd>,
    /// The control groups that it can make.
    pub(super) tree: Tree,
}

impl Warden {
    /// Starts one; it removes what an earlier one left. It makes its groups in this `tree`.
    pub(super) fn start(
        config: &Config,
        interpreters: &[Interpreter],
        tree: Tree,
    ) -> io::Result<Self> {
        let (ours, theirs) = wire::pair()?;
        let (program, arguments) =
            config.warden.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let plan = Plan {
            tree,
            users_first: users_first(),
            state_dir: config.state_dir.clone(),
            binds: interpreters.iter().filter_map(|found| found.bind.clone()).collect(),
            memory_bytes: config.memory_bytes,
        };
        let child = Command::new(program).args(arguments).stdin(Stdio::from(theirs)).spawn()?;
        match greet(&ours, plan) {
            Ok(tree) => Ok(Self { child, socket: Arc::new(ours), tree }),
            Err(error) => {
                end(child);
                Err(error)
            }
        }
    }

    /// Its process.
    pub(super) fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// How others reach it.
    pub(super) fn line(&self) -> Line {
        Line { socket: Arc::clone(&self.socket), id: self.child.id() }
    }
}

fn greet(socket: &OwnedFd, plan: Plan) -> io::Result<Tree> {
    wire::send(socket.as_fd(), &Order::Hello(Box::new(plan)), &[])?;
    setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(START_BOUND_SECONDS, 0))?;
    let ready = wire::receive(socket).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other(format!(
            "the warden did not say within {START_BOUND_SECONDS} s that it is ready: an earlier \
             one of the same data folder may still run (process name: {WARDEN_ARG})"
        )),
        _ => error,
    })?;
    let tree = match ready {
        Some((Answer::Ready(ready), _)) => *ready.map_err(io::Error::other)?,
        _ => return Err(io::Error::other("the warden ended at once")),
    };
    setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 0))?;
    Ok(tree)
}

/// Listens to the warden, and to its successors, until the executor is closed.
pub(super) fn run(shared: &Arc<Shared>, first: Warden) {
    let mut warden = first;
    let mut pause = PAUSE_FIRST;
    loop {
        let begin = Instant::now();
        shared.listen(&warden.socket);
        if shared.is_closed() {
            // It ends when its socket does, after it has removed all sandboxes.
            let Warden { mut child, socket, .. } = warden;
            drop(socket);
            let _ = child.wait();
            shared.warden_lost();
            return;
        }
        tracing::error!(
            "the warden ended: the functions that it held have failed; it is started again"
        );
        end(warden.child);
        shared.warden_lost();
        if begin.elapsed() > LIFE_MIN {
            pause = PAUSE_FIRST;
        }
        warden = loop {
            if !shared.pause_unless_closed(pause) {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
            match Warden::start(&shared.config, &shared.interpreters, shared.tree.clone()) {
                Ok(warden) => break warden,
                Err(error) => tracing::warn!(%error, "cannot start the warden; trying again"),
            }
        };
        shared.warden_found(warden.line());
        tracing::info!("the warden runs again");
        shared.refill();
    }
}

/// Ends a warden that is of no use any more.
fn end(mut child: Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
