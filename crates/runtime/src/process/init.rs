//! The first process of a sandbox: it builds what the sandbox sees, starts the function's program
//! there, collects the dead, and says how the program ended. It keeps the machine's root rights,
//! and runs nothing of the function.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, setsockopt,
    socket, sockopt,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{chdir, dup2_stdin, pivot_root, sethostname};

use model::limits;

use super::payload::{self, Payload};
use super::place::{Layout, TASK, mount_memory, none};
use super::sys::{self, Attach, Side};
use super::wire::{self, News, Recipe};

/// Where a program without network reaches the platform.
const PORT: u16 = 9001;
const BACKLOG: i32 = 128;

/// What a sandbox is made of.
pub(super) struct Parts<'a> {
    pub(super) recipe: Recipe,
    pub(super) layout: &'a Layout,
    pub(super) control: OwnedFd,
    pub(super) payload: Payload,
}

/// Namespaces of a sandbox's first process.
pub(super) fn namespaces(recipe: &Recipe) -> libc::c_int {
    let own = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if recipe.has_network { own } else { own | libc::CLONE_NEWNET }
}

/// Lives the life of a sandbox's first process. Its end ends all processes of the sandbox.
pub(super) fn live(parts: Parts<'_>) {
    let control = parts.control.as_fd().try_clone_to_owned();
    let Ok(control) = control else { return };
    let news = match run(parts) {
        Ok(news) => news,
        Err(error) => News::Broken { error: format!("{error:#}") },
    };
    // Where nobody listens any more, the sandbox is about to be removed.
    let _ = wire::send(control.as_fd(), &news, &[]);
}

fn run(parts: Parts<'_>) -> io::Result<News> {
    // All sandboxes go with the warden, and the warden with the server.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    sys::set_signal(Signal::SIGCHLD, SigHandler::SigDfl)?;
    // The warden's standard input is its way to the server.
    dup2_stdin(File::open("/dev/null")?)?;
    let Parts { recipe, layout, control, mut payload } = parts;
    let within = |attempt: &str, error: io::Error| io::Error::other(format!("{attempt}: {error}"));
    enter(layout, recipe.n).map_err(|error| within("build the file system", error))?;
    sethostname("sandbox")?;
    let (listener, port) =
        open_listener(recipe.has_network).map_err(|error| within("open the endpoint", error))?;
    wire::send(control.as_fd(), &News::Listening, &[listener.as_fd()])?;
    drop(listener);
    let address = format!("127.0.0.1:{port}");
    payload.environment.push(("FERMATA_ENDPOINT".into(), format!("http://{address}")));
    payload.environment.push(("AWS_LAMBDA_RUNTIME_API".into(), address));
    let group = payload.doors.unified.take();
    match sys::fork(0, group.as_ref().map(File::as_fd))? {
        Side::Child => {
            drop(control);
            payload::become_function(payload)
        }
        Side::Parent(child) => {
            drop(payload);
            await_end(child)
        }
    }
}

/// Moves into a file system of its own.
fn enter(layout: &Layout, n: u32) -> io::Result<()> {
    // Nothing that happens here reaches the outside; what is mounted outside on the code folder
    // reaches this sandbox.
    mount(none(), "/", none(), MsFlags::MS_REC | MsFlags::MS_SLAVE, none())?;
    let root = &layout.root;
    sys::attach(&layout.template(), root, Attach::Tree)?;
    let hardened = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &root.join("proc"), Some("proc"), hardened, none())?;
    let options = format!("mode=1777,size={}", limits::SANDBOX_TMP_BYTES_MAX);
    mount_memory(&root.join("tmp"), &options)?;
    let task = root.join(TASK.trim_start_matches('/'));
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&layout.code(n)), &task, none(), bind, none())?;
    chdir(root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}

fn open_listener(has_network: bool) -> io::Result<(OwnedFd, u16)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true)?;
    let port = if has_network {
        0
    } else {
        sys::loopback_up(listener.as_fd())?;
        PORT
    };
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    bind(listener.as_raw_fd(), &address)?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    let address: SockaddrIn = getsockname(listener.as_raw_fd())?;
    Ok((listener, address.port()))
}

/// Collects all dead of the sandbox until the function's program, the first child, is among them.
fn await_end(child: OwnedFd) -> io::Result<News> {
    let program = payload::FIRST_CHILD;
    drop(child);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(id, code)) if id == program => return Ok(News::Exited { code }),
            Ok(WaitStatus::Signaled(id, signal, _)) if id == program => {
                return Ok(News::Killed { signal: signal as i32 });
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
