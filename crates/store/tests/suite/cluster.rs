//! A PostgreSQL server for the tests: started by the first test that needs it, shared by all that
//! run at the time, each in a schema of its own, and stopped when none needs it any more.
//!
//! It listens on a Unix socket only and lives in a directory below the temporary one. The server
//! refuses to run as root; then it runs as the user `postgres`, or `nobody`.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The cluster as long as this process lives.
static CLUSTER: LazyLock<Mutex<Option<Cluster>>> = LazyLock::new(Mutex::default);
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

/// A user and a group.
pub(crate) type Owner = (u32, u32);

struct Cluster {
    directory: PathBuf,
    /// Shared by all who use the server; who has it alone stops it.
    _used: File,
}

/// The address of an empty schema.
pub(crate) fn fresh_url() -> String {
    let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    url(&format!("t{}_{number}_{}", std::process::id(), nanos.subsec_nanos()))
}

/// The address of that schema.
pub(crate) fn url(schema: &str) -> String {
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = cluster.get_or_insert_with(Cluster::use_or_start);
    let host = cluster.directory.display().to_string().replace('/', "%2F");
    format!("postgres://fermata@{host}/postgres?schema={schema}")
}

impl Cluster {
    fn use_or_start() -> Self {
        // One a checkout, so that those of two do not stop each other's.
        let checkout = store::BlobHash::of(env!("CARGO_MANIFEST_DIR").as_bytes()).to_string();
        let owner = owner();
        let name =
            format!("fermata-postgres-{}-{}", owner.map_or(0, |(user, _)| user), &checkout[..8]);
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        if let Some((user, group)) = owner {
            chown(&directory, Some(user), Some(group)).unwrap();
        }
        let starting = File::create(directory.join("starting")).unwrap();
        starting.lock().unwrap();
        let used = File::create(directory.join("used")).unwrap();
        // Who holds it alone is stopping the server.
        used.lock_shared().unwrap();
        let cluster = Self { directory, _used: used };
        if !cluster.answers() {
            cluster.start(owner);
        }
        cluster
    }

    fn answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.directory.join(".s.PGSQL.5432")).is_ok()
    }

    fn start(&self, owner: Option<Owner>) {
        let data = self.directory.join("data");
        let text = data.to_str().unwrap();
        drop(fs::remove_dir_all(&data));
        drop(fs::remove_file(self.directory.join(".s.PGSQL.5432.lock")));
        let log = self.directory.join("log");
        let initialize = ["-D", text, "-U", "fermata", "-A", "trust", "-E", "UTF8"];
        run(program("initdb").args(initialize).args(["--locale=C", "--no-sync"]), owner, &log);
        let socket = self.directory.to_str().unwrap();
        let settings = format!(
            "-c listen_addresses= -c unix_socket_directories={socket} -c max_connections=300 \
             -c shared_buffers=32MB -c max_wal_size=256MB"
        );
        let start = ["-D", text, "-w", "-t", "60", "-o", &settings, "-l"];
        let server_log = self.directory.join("server-log");
        run(program("pg_ctl").args(start).arg(&server_log).arg("start"), owner, &log);
        let waited = Instant::now();
        while !self.answers() {
            assert!(waited.elapsed() < Duration::from_secs(60), "see {}", server_log.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stop_when_unused(owner);
    }

    #[expect(clippy::zombie_processes, reason = "it outlives this process")]
    /// Leaves behind a process that waits until nobody used the server for a while, and stops it.
    fn stop_when_unused(&self, owner: Option<Owner>) {
        let script = "cd / && while sleep 3; do \
            if flock -n -x \"$1/used\" true && sleep 3 && \
            flock -n -x \"$1/used\" \"$0\" -D \"$1/data\" -m immediate -w stop; \
            then rm -rf \"$1/data\"; exit; fi; \
            test -e \"$1/data/postmaster.pid\" || exit; done";
        let mut guard = Command::new("sh");
        let program = program("pg_ctl");
        guard.args(["-c", script]).arg(program.get_program()).arg(&self.directory);
        guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        as_owner(&mut guard, owner).spawn().unwrap();
    }
}

/// The user and group that the server runs as, where it cannot run as we do.
pub(crate) fn owner() -> Option<Owner> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody"))
}

pub(crate) fn as_owner(command: &mut Command, owner: Option<Owner>) -> &mut Command {
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

/// A program of the server: Debian keeps them out of the path.
pub(crate) fn program(name: &str) -> Command {
    let mut folders: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().collect();
    folders.sort_by_key(|folder| folder.as_ref().ok().map(fs::DirEntry::file_name));
    let found =
        folders.into_iter().rev().flatten().map(|folder| folder.path().join("bin").join(name));
    let path = found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| name.into());
    Command::new(path)
}

pub(crate) fn run(command: &mut Command, owner: Option<Owner>, log: &Path) {
    let file = File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).current_dir("/");
    let status = as_owner(command, owner).status();
    let cure = "`cargo xtask setup` installs PostgreSQL, which these tests need";
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}; {cure}"));
    assert!(status.success(), "{command:?}: {}", fs::read_to_string(log).unwrap_or_default());
}
