//! Where the control groups of sandboxes are, and how they are made and removed.
//!
//! Two layouts are known. Version 1: a tree for each controller; beside them often an empty
//! version 2 tree, which can still freeze, kill and count CPU time. Version 2: one tree with all
//! controllers. In version 1 the `cpu` group of each sandbox stands directly below the server's
//! own group: `cpu.idle` weighs a group against its siblings only, and those that matter are the
//! server's threads and the other sandboxes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use model::limits;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The groups of one server's sandboxes. What is `None` the machine does not offer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tree {
    /// Freezes, kills and counts CPU time.
    pub(super) unified: Option<Place>,
    pub(super) cpu: Option<Place>,
    pub(super) cpuacct: Option<Place>,
    pub(super) memory: Option<Place>,
    pub(super) pids: Option<Place>,
}

/// One controller's groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) version: Hierarchy,
    /// The group above those of the sandboxes.
    pub(super) parent: PathBuf,
    /// What the names of the sandboxes' groups begin with; their number follows.
    prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Hierarchy {
    V1,
    V2,
}

/// What the name of a server's own group ends with, in version 1.
const SERVER: &str = "-server";
/// The server's own group, in version 2.
const CONTROL: &str = "fermata-control";
/// The largest weights that the kernel takes.
const SHARES_MAX: &str = "262144";
const WEIGHT_MAX: &str = "10000";

/// The ways into a sandbox's groups. They are those that do not make the whole machine wait: moving
/// a process between groups in the ordinary way stops every fork and exit for milliseconds.
#[derive(Default)]
pub(super) struct Doors {
    /// The version 2 group, which a process is born in.
    pub(super) unified: Option<File>,
    /// Version 1: a thread that writes `0` is in.
    pub(super) tasks: Vec<File>,
}

impl Place {
    /// The server's own group, in version 1.
    fn server(&self) -> PathBuf {
        self.parent.join(format!("{}{SERVER}", self.prefix.trim_end_matches('-')))
    }

    /// The group of sandbox `n`.
    pub(super) fn group(&self, n: u32) -> PathBuf {
        self.parent.join(format!("{}{n}", self.prefix))
    }
}

impl Tree {
    /// Looks where this process may make groups; `key` keeps servers on one machine apart.
    pub(super) fn discover(key: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        Ok(Self::parse(key, &mounts, &own))
    }

    fn parse(key: &str, mounts: &str, own: &str) -> Self {
        let beside = |controller: &str| {
            let parent = own_group(mounts, own, controller)?;
            Some(Place { version: Hierarchy::V1, parent, prefix: format!("fermata-{key}-") })
        };
        let unified = own_group(mounts, own, "");
        let memory = own_group(mounts, own, "memory").map(|own| Place {
            version: Hierarchy::V1,
            parent: own.join(format!("fermata-{key}")),
            prefix: String::from("s"),
        });
        let v1 = Self {
            unified: unified.map(|parent| Place {
                version: Hierarchy::V2,
                parent: parent.join(format!("fermata-{key}")),
                prefix: String::from("s"),
            }),
            cpu: beside("cpu"),
            cpuacct: beside("cpuacct"),
            memory,
            pids: beside("pids"),
        };
        let is_pure = v1.cpu.is_none() && v1.memory.is_none() && v1.pids.is_none();
        match v1.unified.clone() {
            Some(all) if is_pure => Self {
                cpu: Some(all.clone()),
                cpuacct: None,
                memory: Some(all.clone()),
                pids: Some(all.clone()),
                unified: Some(all),
            },
            _ => v1,
        }
    }

    /// Puts the server and its warden in a group of their own, before which no sandbox comes;
    /// whether that can be. Else the kernel weighs the server by its session (autogroup), less than
    /// one sandbox of the highest class.
    pub(super) fn enter_server(&self, warden: Pid) -> bool {
        let Some(place) = &self.cpu else { return false };
        match place.version {
            Hierarchy::V1 => {
                let group = place.server();
                let made = fs::create_dir(&group).is_ok() || group.is_dir();
                made && fs::write(group.join("cpu.shares"), SHARES_MAX).is_ok()
                    && [Pid::this(), warden].iter().all(|id| enter(&group, *id))
            }
            // It stands there already where it had to make room for controllers.
            Hierarchy::V2 => place.parent.parent().is_some_and(|own| {
                let group = own.join(CONTROL);
                group.is_dir() && fs::write(group.join("cpu.weight"), WEIGHT_MAX).is_ok()
            }),
        }
    }

    /// Takes the calling process out of the server's group; the last one out removes it.
    pub(super) fn leave_server(&self) {
        let Some(place) = self.cpu.as_ref().filter(|place| place.version == Hierarchy::V1) else {
            return;
        };
        let group = place.server();
        if group.is_dir() {
            enter(&place.parent, Pid::this());
        }
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        let all = [&self.unified, &self.cpu, &self.cpuacct, &self.memory, &self.pids];
        all.into_iter().flatten()
    }

    /// Makes what stands above the sandboxes' groups, with the limit of all together, and drops
    /// what the machine turns out not to allow. Removes what an earlier run left behind.
    pub(super) fn prepare(&mut self, memory_bytes: u64) -> io::Result<()> {
        self.remove_leftovers();
        if let Some(all) = &self.unified {
            if fs::create_dir_all(&all.parent).is_err() {
                self.unified = None;
            } else if self.memory.as_ref() == Some(all) {
                share_controllers(&all.parent);
            }
        }
        let offered = |place: &Place, file: &str| {
            place.version == Hierarchy::V1 || {
                let controllers = fs::read_to_string(place.parent.join("cgroup.subtree_control"));
                controllers.is_ok_and(|list| list.split_whitespace().any(|word| word == file))
            }
        };
        self.cpu.take_if(|place| !offered(place, "cpu"));
        self.pids.take_if(|place| !offered(place, "pids"));
        self.memory.take_if(|place| !offered(place, "memory"));
        if let Some(place) = &self.memory {
            fs::create_dir_all(&place.parent)?;
            let file = match place.version {
                Hierarchy::V1 => "memory.limit_in_bytes",
                Hierarchy::V2 => "memory.max",
            };
            fs::write(place.parent.join(file), memory_bytes.to_string())?;
            if place.version == Hierarchy::V1 {
                // At its limit the kernel would swap out whatever was not used for long, of whatever
                // class. Whom to swap is the platform's to say; groups below have this from here.
                let _ = fs::write(place.parent.join("memory.swappiness"), "0");
            }
        }
        Ok(())
    }

    /// Makes the groups of sandbox `n`.
    pub(super) fn create(&self, n: u32) -> io::Result<Doors> {
        let mut doors = Doors::default();
        let mut made: Vec<PathBuf> = Vec::new();
        for place in self.places() {
            let group = place.group(n);
            if made.contains(&group) {
                continue;
            }
            fs::create_dir(&group)?;
            match place.version {
                Hierarchy::V1 => {
                    let tasks = OpenOptions::new().write(true).open(group.join("tasks"))?;
                    doors.tasks.push(tasks);
                }
                Hierarchy::V2 => doors.unified = Some(File::open(&group)?),
            }
            made.push(group);
        }
        if let Some(place) = &self.pids {
            fs::write(place.group(n).join("pids.max"), limits::SANDBOX_PIDS_MAX.to_string())?;
        }
        Ok(doors)
    }

    /// Removes the groups of sandbox `n`, whose processes are gone.
    pub(super) fn remove(&self, n: u32) {
        for place in self.places() {
            remove_group(&place.group(n));
        }
    }

    /// Kills and removes all that is below this server's names.
    pub(super) fn remove_leftovers(&self) {
        let mut left = Vec::new();
        for place in self.places() {
            let Ok(entries) = fs::read_dir(&place.parent) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_prefix(&place.prefix));
                if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
                    kill_group(&entry.path());
                    left.push(entry.path());
                }
            }
        }
        for group in left {
            remove_group(&group);
        }
        for place in [&self.memory, &self.unified].into_iter().flatten() {
            remove_group(&place.parent);
        }
    }

    /// Removes the server's group, for the warden, who outlives the server.
    pub(super) fn remove_server(&self) {
        self.leave_server();
        if let Some(place) = self.cpu.as_ref().filter(|place| place.version == Hierarchy::V1) {
            remove_group(&place.server());
        }
    }
}

fn enter(group: &Path, id: Pid) -> bool {
    fs::write(group.join("cgroup.procs"), id.to_string()).is_ok()
}

/// Lets the groups below `parent` have controllers of their own. In version 2 a group with
/// processes cannot, so this process moves to a group beside them.
fn share_controllers(parent: &Path) {
    let Some(own) = parent.parent() else { return };
    let control = own.join(CONTROL);
    let controllers = "+cpu +memory +pids";
    let subtree = "cgroup.subtree_control";
    if fs::write(own.join(subtree), controllers).is_err() && fs::create_dir_all(&control).is_ok() {
        for id in fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default().lines() {
            // One that cannot be moved makes the next write fail, and then there is no limit.
            let _ = fs::write(control.join("cgroup.procs"), id);
        }
        let _ = fs::write(own.join(subtree), controllers);
    }
    let _ = fs::write(parent.join(subtree), controllers);
}

fn kill_group(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for id in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(id) = id.parse() {
            let process = nix::unistd::Pid::from_raw(id);
            // It may have gone by itself.
            let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Removes an empty group. A process that has just been killed may hold it for a moment longer: it
/// needs a core to die, and waits for one where the machine is busy.
fn remove_group(group: &Path) {
    const ATTEMPTS_MAX: u32 = 1_000;
    const PAUSE: Duration = Duration::from_millis(2);
    for _ in 0..ATTEMPTS_MAX {
        match fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(PAUSE),
            _ => return,
        }
    }
}

/// The folder of this process's own group in the tree of a version 1 controller, or of version 2
/// (`""`).
fn own_group(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers.split(',').any(|word| word == controller).then_some(fields.next()?)
    })?;
    // The group that an earlier start of this process put it in stands beside those wanted here.
    let own = match own.rsplit_once('/') {
        Some((above, CONTROL)) => above,
        Some((above, name)) if name.starts_with("fermata-") && name.ends_with(SERVER) => above,
        _ => own,
    };
    let own = if own.is_empty() { "/" } else { own };
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut fields = after.split(' ');
        let (kind, _, options) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match controller {
            "" => kind == "cgroup2",
            _ => kind == "cgroup" && options.split(',').any(|word| word == controller),
        };
        let below = Path::new(own).strip_prefix(root).ok()?;
        is_it.then(|| Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_are_found() {
        let mounts = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let own = "4:memory:/a/b\n2:cpu,cpuacct:/\n0::/";
        let tree = Tree::parse("k", mounts, own);
        let groups = |place: Option<Place>| place.map(|place| place.group(7));
        assert_eq!(groups(tree.cpu), Some("/sys/fs/cgroup/cpu/fermata-k-7".into()));
        assert_eq!(groups(tree.memory), Some("/sys/fs/cgroup/memory/a/b/fermata-k/s7".into()));
        assert_eq!(groups(tree.unified), Some("/sys/fs/cgroup/unified/fermata-k/s7".into()));
        assert_eq!(tree.pids, None);

        let inside = Tree::parse("l", mounts, "2:cpu,cpuacct:/fermata-k-server\n0::/");
        assert_eq!(groups(inside.cpu), Some("/sys/fs/cgroup/cpu/fermata-l-7".into()));

        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        let tree = Tree::parse("k", mounts, "0::/system.slice/x.service/fermata-control");
        let group = "/sys/fs/cgroup/system.slice/x.service/fermata-k/s1";
        assert_eq!(tree.memory.clone().map(|place| place.group(1)), Some(group.into()));
        assert_eq!(tree.unified, tree.memory);
        assert_eq!(tree.cpuacct, None);
    }
}
