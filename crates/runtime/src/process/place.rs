//! The files that all sandboxes see: one tree, made once, that each sandbox gets a read-only copy
//! of in a single system call.
//!
//! ```text
//! STATE/stage/            a file system in memory, seen by the warden only
//!   template/             what becomes `/` of a sandbox
//!   code/N/               shared with sandbox N, where it is /var/task
//! STATE/root/             empty; where a sandbox puts its `/` before it moves in
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::bootstrap;
use super::sys::{self, Attach};
use super::wire::Plan;

/// Where a function finds its code.
pub(super) const TASK: &str = "/var/task";

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Files and folders of the machine that programs expect below `/etc`. None holds a secret.
const SETTINGS: [&str; 7] = [
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "localtime",
    "pki",
    "resolv.conf",
    "ssl/certs",
];
const PASSWD: &str = "root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
const NAMES: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// The folders of one server's sandboxes.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    stage: PathBuf,
    /// Empty.
    pub(super) root: PathBuf,
}

impl Layout {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { stage: plan.state_dir.join("stage"), root: plan.state_dir.join("root") }
    }

    /// Builds the template in the calling process's own mount namespace.
    pub(super) fn build(&self, plan: &Plan) -> io::Result<()> {
        fs::create_dir_all(&self.stage)?;
        fs::create_dir_all(&self.root)?;
        mount_memory(&self.stage, "mode=755")?;
        let template = self.template();
        for folder in ["proc", "tmp", "var/task", "var/runtime", "dev", "etc"] {
            fs::create_dir_all(template.join(folder))?;
        }
        for folder in ["usr", "bin", "sbin", "lib", "lib32", "lib64"] {
            show(&template, &Path::new("/").join(folder))?;
        }
        for folder in &plan.binds {
            show(&template, folder)?;
        }
        devices(&template)?;
        settings(&template)?;
        bootstrap::write(&template)
    }

    pub(super) fn template(&self) -> PathBuf {
        self.stage.join("template")
    }

    /// The folder that sandbox `n` sees as its code.
    pub(super) fn code(&self, n: u32) -> PathBuf {
        self.stage.join("code").join(n.to_string())
    }

    /// Makes it, so that what is mounted there later appears in the sandbox too.
    pub(super) fn create_code(&self, n: u32) -> io::Result<()> {
        let code = self.code(n);
        fs::create_dir_all(&code)?;
        mount(Some(&code), &code, none(), MsFlags::MS_BIND, none())?;
        mount(none(), &code, none(), MsFlags::MS_SHARED, none())?;
        Ok(())
    }

    /// Removes it, with all that is mounted there.
    pub(super) fn remove_code(&self, n: u32) {
        let code = self.code(n);
        while umount2(&code, MntFlags::MNT_DETACH).is_ok() {}
        // An empty folder in memory that is left does no harm.
        let _ = fs::remove_dir(&code);
    }
}

/// Mounts a new, empty file system in memory.
pub(super) fn mount_memory(target: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))?)
}

/// For the arguments of `mount` that a call has no use for.
pub(super) fn none() -> Option<&'static Path> {
    None
}

/// Shows a folder of the machine at the same place in the template; as a link where it is one.
fn show(template: &Path, folder: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(folder) else { return Ok(()) };
    let inside = template.join(folder.strip_prefix("/").unwrap_or(folder));
    if let Some(parent) = inside.parent() {
        fs::create_dir_all(parent)?;
    }
    if metadata.is_symlink() {
        return symlink(fs::read_link(folder)?, inside);
    }
    fs::create_dir_all(&inside)?;
    sys::attach(folder, &inside, Attach::Files)
}

fn devices(template: &Path) -> io::Result<()> {
    let dev = template.join("dev");
    for name in DEVICES {
        let node = dev.join(name);
        fs::write(&node, "")?;
        sys::attach(&Path::new("/dev").join(name), &node, Attach::Device)?;
    }
    symlink("/proc/self/fd", dev.join("fd"))?;
    symlink("/proc/self/fd/0", dev.join("stdin"))?;
    symlink("/proc/self/fd/1", dev.join("stdout"))?;
    symlink("/proc/self/fd/2", dev.join("stderr"))?;
    // So that shared memory counts against the limit of `/tmp`.
    symlink("/tmp", dev.join("shm"))
}

fn settings(template: &Path) -> io::Result<()> {
    let etc = template.join("etc");
    fs::write(etc.join("passwd"), PASSWD)?;
    fs::write(etc.join("group"), GROUP)?;
    fs::write(etc.join("hosts"), HOSTS)?;
    fs::write(etc.join("nsswitch.conf"), NAMES)?;
    for name in SETTINGS {
        let (outside, inside) = (Path::new("/etc").join(name), etc.join(name));
        let Ok(metadata) = fs::metadata(&outside) else { continue };
        if let Some(parent) = inside.parent() {
            fs::create_dir_all(parent)?;
        }
        if metadata.is_dir() {
            fs::create_dir(&inside)?;
        } else {
            fs::write(&inside, "")?;
        }
        sys::attach(&outside, &inside, Attach::Files)?;
    }
    Ok(())
}
