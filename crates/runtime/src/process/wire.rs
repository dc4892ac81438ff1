//! Messages between the server, its warden and the init of each sandbox: JSON in packets of a Unix
//! socket, with descriptors beside them.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cgroup::Tree;
use super::sys;

/// Largest packet. Environment and paths are far below.
const PACKET_BYTES_MAX: usize = 128 << 10;
/// Most descriptors beside one packet.
const DESCRIPTORS_MAX: usize = 4;

/// Server to warden.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The first one: how this server's sandboxes are.
    Hello(Box<Plan>),
    /// Make sandbox `n`. Beside it: its control socket and where its output goes.
    Create(Box<Recipe>),
    /// Mount this code in sandbox `n`. Answered by [`Answer::Attached`].
    Attach { n: u32, code: PathBuf },
    /// End sandbox `n` and remove its traces. Answered by [`Answer::Removed`].
    Remove { n: u32 },
}

/// Warden to server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To `Hello`: the control groups that it can make, or why it cannot make sandboxes.
    Ready(Result<Box<Tree>, String>),
    /// To `Attach`.
    Attached { n: u32, error: Option<String> },
    /// To `Create`, only where it failed.
    NotCreated { n: u32, error: String },
    /// To `Remove`: nothing of it is left.
    Removed { n: u32 },
}

/// What all sandboxes of a server have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// A folder of the server's own.
    pub(super) state_dir: PathBuf,
    pub(super) tree: Tree,
    /// The user of sandbox 0.
    pub(super) users_first: u32,
    /// Folders outside `/usr` that sandboxes see, read-only.
    pub(super) binds: Vec<PathBuf>,
    /// All sandboxes together.
    pub(super) memory_bytes: u64,
}

impl Plan {
    /// Users of one server; long before they begin again, the first ones are free.
    pub(super) const USERS_EACH: u32 = 0x1_0000;

    /// The user that sandbox `n` runs as.
    pub(super) fn user(first: u32, n: u32) -> u32 {
        first + n % Self::USERS_EACH
    }
}

/// One sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Recipe {
    pub(super) n: u32,
    /// Whether it shares the machine's network.
    pub(super) has_network: bool,
    /// The program and its arguments, as seen inside.
    pub(super) command: Vec<OsString>,
    pub(super) environment: Vec<(String, String)>,
    /// What to mount before it starts; without it, `Attach` brings it.
    pub(super) code: Option<PathBuf>,
}

/// A sandbox's init to the server, on the sandbox's own control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    /// The program is about to start. Beside it: the listening socket that it will call.
    Listening,
    /// The sandbox could not be set up.
    Broken { error: String },
    /// The program ended by itself.
    Exited { code: i32 },
    /// A signal ended the program.
    Killed { signal: i32 },
}

/// Two connected ends that carry packets.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message.
pub(super) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let packet = serde_json::to_vec(message)?;
    if packet.len() > PACKET_BYTES_MAX {
        return Err(io::Error::other("the message is too large for a packet"));
    }
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let beside = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&packet)], beside, flags, None)?;
    Ok(())
}

/// Receives one message; `None` once the other end is closed.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut slices = [IoSliceMut::new(&mut packet)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let raw = socket.as_fd().as_raw_fd();
    let received = recvmsg::<()>(raw, &mut slices, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for beside in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = beside {
            descriptors.extend(sys::own(fds));
        }
    }
    let length = received.bytes;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&packet[..length])?, descriptors)))
}
