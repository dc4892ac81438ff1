//! The system calls that have no safe wrapper, each in one function. All `unsafe` of the process
//! runtime is here.

#![expect(unsafe_code, reason = "raw system calls, and descriptors that arrive over a socket")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{SigHandler, Signal};
use tokio::io::unix::AsyncFd;

/// In `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a [`fork`] this is.
pub(super) enum Side {
    Child,
    /// The parent, with the descriptor that names the child for ever.
    Parent(OwnedFd),
}

/// Forks the calling process, which must have a single thread, into new namespaces
/// (`CLONE_NEW…`), the child into a version 2 control group.
pub(super) fn fork(namespaces: libc::c_int, group: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    let flags = (namespaces | libc::CLONE_PIDFD).cast_unsigned();
    // SAFETY: all zero is a valid `clone_args`: plain integers, where 0 means "none".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags);
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(group.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    }
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: no `CLONE_VM`, so this is a fork: the child has its own copy of all memory. The only
    // callers are the warden and a sandbox's init, which have one thread, so no lock is left held.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        // SAFETY: the kernel has just opened it for us.
        _ => Ok(Side::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Kills the process that `pidfd` names; nothing where it is gone.
pub(super) fn kill(pidfd: BorrowedFd<'_>) {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: takes integers and a null pointer.
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, none, 0);
    }
}

/// Takes over descriptors that came with a message.
pub(super) fn own(received: Vec<RawFd>) -> Vec<OwnedFd> {
    // SAFETY: the kernel has just made them for this process and nobody else knows them.
    received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// How [`attach`] mounts.
#[derive(Clone, Copy)]
pub(super) enum Attach {
    /// Read-only, without devices and set-user-id programs.
    Files,
    /// Without set-user-id programs; for device nodes.
    Device,
    /// With all that is mounted below, read-only, without set-user-id programs.
    Tree,
}

/// Mounts what is at `source` on `target` too. It appears in its final state at once, also where
/// the mount propagates to.
pub(super) fn attach(source: &Path, target: &Path, how: Attach) -> io::Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    let (attributes, depth) = match how {
        Attach::Files => {
            (libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, 0)
        }
        Attach::Device => (libc::MOUNT_ATTR_NOSUID, 0),
        Attach::Tree => (libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID, libc::AT_RECURSIVE),
    };
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | u32::try_from(depth).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the path is a terminated string that lives for the call.
    let tree =
        unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags) };
    let tree = owned_result(tree)?;
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the strings and the structure live for the calls, which only read them.
    unsafe {
        check(libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        ))?;
        check(libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        ))
    }
}

/// Switches the loopback interface of this network namespace on.
pub(super) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    let up = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING);
    request.ifr_ifru.ifru_flags = up.expect("two low bits");
    // SAFETY: `request` is a valid `ifreq` that lives for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into())
}

/// Gives up every capability, for ever: the bounding set is emptied too.
pub(super) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    const VERSION_3: u32 = 0x2008_0522;
    const CAPABILITIES_MAX: libc::c_ulong = 64;
    for capability in 0..CAPABILITIES_MAX {
        // Fails above the last capability that this kernel knows.
        // SAFETY: takes integers.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: takes integers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: `header` and the six words of version 3 are laid out as the kernel reads them.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })
}

/// Sets what the calling process does at a signal, to one of the two ways without a handler.
pub(super) fn set_signal(signal: Signal, action: SigHandler) -> io::Result<()> {
    assert!(matches!(action, SigHandler::SigDfl | SigHandler::SigIgn), "no handlers here");
    // SAFETY: no handler is set, so no code of ours runs at a signal.
    unsafe { nix::sys::signal::signal(signal, action) }?;
    Ok(())
}

/// Lets no descriptor from `first` on reach the next program.
pub(super) fn close_at_exec(first: u32) -> io::Result<()> {
    // SAFETY: takes integers, and closes nothing now.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })
}

/// Reads the file from its beginning into `buffer`; as kernel files give a new answer each time.
pub(super) fn read_again<'a>(file: &File, buffer: &'a mut [u8]) -> io::Result<&'a str> {
    use std::os::unix::fs::FileExt;
    let length = file.read_at(buffer, 0)?;
    str::from_utf8(&buffer[..length]).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Lets async code wait for `file`. Must be called within a runtime.
pub(super) fn watchable(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: the file owns its descriptor, gives the same one each time, and is closed only when
    // the `AsyncFd`, which owns it from now on, has let go of it.
    unsafe { AsyncFd::register(file) }.map_err(Into::into)
}

/// What [`advise`] says of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Move it to swap.
    PageOut,
    /// Read it back.
    WillNeed,
}

/// Names a process of this machine for ever.
pub(super) fn open_process(id: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes integers.
    owned_result(unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) })
}

/// Says so of memory of another process; how many bytes of the ranges, in their order, were seen
/// to.
pub(super) fn advise(
    process: BorrowedFd<'_>,
    ranges: &[Range<usize>],
    advice: Advice,
) -> io::Result<usize> {
    let advice = match advice {
        Advice::PageOut => libc::MADV_PAGEOUT,
        Advice::WillNeed => libc::MADV_WILLNEED,
    };
    let vector = |range: &Range<usize>| libc::iovec {
        iov_base: std::ptr::without_provenance_mut(range.start),
        iov_len: range.len(),
    };
    let vectors: Vec<libc::iovec> = ranges.iter().map(vector).collect();
    // SAFETY: the vectors live for the call. What they name is in another process, and neither
    // advice changes what that reads there.
    let done = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_raw_fd(),
            vectors.as_ptr(),
            vectors.len(),
            advice,
            0,
        )
    };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

/// The system's swap in bytes: all of it, and what is free.
pub(super) fn system_swap() -> io::Result<(u64, u64)> {
    // SAFETY: all zero is a valid `sysinfo`, which the call fills.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: it lives for the call.
    check(unsafe { libc::sysinfo(&raw mut info) }.into())?;
    let unit = u64::from(info.mem_unit.max(1));
    Ok((info.totalswap.saturating_mul(unit), info.freeswap.saturating_mul(unit)))
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn owned_result(result: libc::c_long) -> io::Result<OwnedFd> {
    check(result)?;
    let fd = RawFd::try_from(result).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
