//! What a function cannot do.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use model::FailureKind;
use runtime::{Event, Executor, Network, Reclaim};

use crate::house::{House, Options, answer, failure};

/// The answer of a Python handler with this body.
#[track_caller]
fn answer_of(house: &House, body: &str) -> String {
    let text = format!(
        "import ctypes, os, socket, subprocess, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         def errno(action):\n    try:\n        action()\n        return 0\n    except OSError as error:\n        return error.errno\n\
         def call(*arguments):\n    return 0 if libc.syscall(*arguments) >= 0 else ctypes.get_errno()\n\
         def handler(event, context):\n{body}\n"
    );
    answer(&house.run(&house.python(&text), "null"))
}

#[test]
fn only_tmp_can_be_written_and_its_owner_is_nobody_else() {
    let house = House::new();
    let body = "    open('/tmp/mine', 'w').write('x')\n    paths = ['/x', '/etc/passwd', '/usr/x', '/var/task/x', '/var/task/app.py', '/var/runtime/python.py', '/dev/x', '/proc/sys/kernel/hostname']\n    return [errno(lambda: open(path, 'a')) for path in paths]";
    let answer = answer_of(&house, body);
    let errors: Vec<i32> = serde_json::from_str(&answer).unwrap();
    let denied = |error: &i32| [libc::EROFS, libc::EACCES].contains(error);
    assert!(errors.len() == 8 && errors.iter().all(denied), "{errors:?}");
}

#[test]
fn other_tenants_code_state_and_secrets_are_not_there() {
    let house = House::new();
    let secret = house.python("SECRET = 'of another'\ndef handler(event, context):\n    open('/tmp/secret', 'w').write('x')\n    return 1\n");
    assert_eq!(answer(&house.run(&secret, "null")), "1");
    let folder = house.folder.path().display().to_string();
    let body = format!(
        "    paths = ['{folder}', '/root/.ssh', '/home', '/etc/shadow', '/tmp/secret', '/sys/kernel', '/dev/sda', '/dev/mem', '/proc/1/root/etc', '/proc/1/environ']\n    return [path for path in paths if errno(lambda: os.listdir(path) if os.path.isdir(path) else open(path)) == 0]"
    );
    assert_eq!(answer_of(&house, &body), "[]");
    // Its own processes are all it sees, and the host's name is not the machine's.
    let body = "    return [sorted(int(p) for p in os.listdir('/proc') if p.isdigit()), os.uname().nodename]";
    assert_eq!(answer_of(&house, body), r#"[[1, 2], "sandbox"]"#);
}

#[test]
fn two_tenants_never_share_a_sandbox() {
    let house = House::new();
    let mine = house.python("import os\ndef handler(event, context):\n    seen = os.path.exists('/tmp/x')\n    open('/tmp/x', 'w').close()\n    return [seen, os.getuid()]\n");
    let first = answer(&house.run(&mine, "null"));
    let mut other = Arc::unwrap_or_clone(Arc::clone(&mine));
    other.tenant = "globex".parse().unwrap();
    let second = house.run(&Arc::new(other), "null");
    assert!(house.was_cold(second.id));
    assert_ne!(answer(&second), first, "another user");
    assert!(answer(&second).starts_with("[false"));
    assert!(answer(&house.run(&mine, "null")).starts_with("[true"));
}

#[test]
fn privileged_calls_are_denied() {
    let house = House::new();
    // By number, as C libraries have no names for all: mount, ptrace, bpf, keyctl, unshare, setns,
    // init_module, kexec_load, perf_event_open, userfaultfd, io_uring_setup, reboot, swapon,
    // clock_settime, process_vm_readv, pidfd_getfd, open_by_handle_at, quotactl, acct.
    let numbers = "165, 101, 321, 250, 272, 308, 175, 246, 298, 323, 425, 169, 167, 227, 310, 438, 304, 179, 163";
    let body = format!("    return [n for n in [{numbers}] if call(n, 0, 0, 0, 0, 0) != 1]");
    assert_eq!(answer_of(&house, &body), "[]", "each gives EPERM");
    // clone with CLONE_NEWUSER; clone3.
    assert_eq!(
        answer_of(&house, "    return [call(56, 0x10000000 | 17, 0, 0, 0, 0), call(435, 0, 0)]"),
        "[1, 38]"
    );
    // x32's getpid.
    assert_eq!(answer_of(&house, "    return call(0x40000000 + 39)"), "1");
}

#[test]
fn a_function_has_one_processor_and_cannot_choose_it() {
    let house = House::new();
    let body = "    return [len(os.sched_getaffinity(0)), errno(lambda: os.sched_setaffinity(0, range(64)))]";
    assert_eq!(answer_of(&house, body), format!("[1, {}]", libc::EPERM));
}

#[test]
fn no_capability_is_left_and_none_can_be_had() {
    let house = House::new();
    let body = "    status = dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)\n    return [status[name].strip() for name in ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp']]";
    let none = "\"0000000000000000\"";
    let expected = format!("[{none}, {none}, {none}, {none}, {none}, \"1\", \"2\"]");
    assert_eq!(answer_of(&house, body), expected);
    let body = "    return [errno(lambda: os.setuid(0)), errno(lambda: os.kill(1, 9)), errno(lambda: os.chroot('/tmp')), errno(lambda: os.nice(-5))]";
    let errors: Vec<i32> = serde_json::from_str(&answer_of(&house, body)).unwrap();
    assert!(
        errors.iter().all(|error| [libc::EPERM, libc::EINVAL, libc::EACCES].contains(error)),
        "{errors:?}"
    );
}

#[test]
fn a_fork_bomb_stays_in_its_sandbox() {
    let house = House::new();
    let body = "    count = 0\n    try:\n        while True:\n            if os.fork() == 0:\n                import time\n                time.sleep(1000)\n            count += 1\n    except OSError as error:\n        return [error.errno, 400 < count < 513]";
    assert_eq!(answer_of(&house, body), format!("[{}, true]", libc::EAGAIN));
    assert_eq!(
        answer_of(&house, "    return os.fork() >= 0 or os._exit(0)"),
        "true",
        "others live"
    );
}

#[test]
fn descriptors_run_out_for_the_function_only() {
    let house = House::new();
    let body = "    files = []\n    try:\n        while True:\n            files.append(open('/dev/null'))\n    except OSError as error:\n        result = [error.errno, len(files) < 1024]\n        files.clear()\n        return result";
    assert_eq!(answer_of(&house, body), format!("[{}, true]", libc::EMFILE));
}

#[test]
fn the_network_is_not_there_unless_granted() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!(
        "import os, socket\ndef handler(event, context):\n    interfaces = len(socket.if_nameindex())\n    try:\n        socket.create_connection(('127.0.0.1', {port}), 5).close()\n        return [True, interfaces > 1, os.getuid() > 0]\n    except OSError as error:\n        return [error.errno, interfaces]\n"
    );
    let code = house.python(&text);
    assert_eq!(answer(&house.run(&code, "null")), format!("[{}, 1]", libc::ECONNREFUSED));
    let body = "    return [errno(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))), errno(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))]";
    assert_eq!(answer_of(&house, body), format!("[{}, {}]", libc::ENETUNREACH, libc::EPERM));

    let mut granted = Arc::unwrap_or_clone(house.python(&text));
    granted.network = Network::Granted;
    let granted = Arc::new(granted);
    let finished = house.run(&granted, "null");
    assert!(answer(&finished).starts_with("[true, ") && answer(&finished).ends_with(", true]"));
    assert!(!house.was_cold(house.run(&granted, "null").id));
}

#[test]
fn a_stranger_on_the_network_is_not_heard() {
    let house = House::new();
    let mut code = Arc::unwrap_or_clone(house.python("import os\ndef handler(event, context):\n    print(os.environ['AWS_LAMBDA_RUNTIME_API'], flush=True)\n    return os.environ['AWS_LAMBDA_RUNTIME_API']\n"));
    code.network = Network::Granted;
    let address = answer(&house.run(&Arc::new(code), "null"));
    let mut stream = std::net::TcpStream::connect(address.trim_matches('"')).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /fermata/assignment HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut heard = Vec::new();
    // The connection is closed without a word; with unread bytes, by a reset.
    let _ = std::io::Read::read_to_end(&mut stream, &mut heard);
    assert_eq!(heard, b"");
}

#[test]
fn children_die_with_their_sandbox_and_nothing_is_left() {
    let house = House::new();
    let code = house.python("import subprocess, os\ndef handler(event, context):\n    child = subprocess.Popen(['/bin/sleep', '654321'])\n    while True:\n        pass\n");
    let id = house.start(&code, "null");
    house.wait_for(id, |e| matches!(e, Event::Running { .. }));
    let groups = groups_of(&house);
    assert!(!groups.is_empty(), "while it runs there are groups");
    house.executor.shutdown();
    assert_eq!(failure(&house.finish(id)).kind, FailureKind::Cancelled);
    for group in groups {
        assert!(!group.exists(), "{}", group.display());
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&house.folder.path().display().to_string()));
}

#[test]
fn a_warden_that_is_killed_fails_what_it_held_and_is_started_again() {
    let house = House::new();
    let code = house.python("def handler(event, context):\n    while event == 'spin':\n        pass\n    return 'well'\n");
    assert_eq!(answer(&house.run(&code, "null")), "\"well\"");
    let id = house.start(&code, "\"spin\"");
    house.wait_for(id, |e| matches!(e, Event::Running { .. }));
    let groups = groups_of(&house);
    let first = house.executor.warden_id().unwrap();
    let warden = nix::unistd::Pid::from_raw(first.cast_signed());
    nix::sys::signal::kill(warden, nix::sys::signal::Signal::SIGKILL).unwrap();
    let finished = house.finish(id);
    assert_eq!(failure(&finished).kind, FailureKind::Platform);
    let message = &failure(&finished).message;
    assert!(message.contains("warden") || message.contains("from outside"), "{message}");

    until("there is another one", || house.executor.condition().restarts == 1);
    assert_eq!(house.executor.condition().trouble, None);
    assert_ne!(house.executor.warden_id(), Some(first));
    assert_eq!(answer(&house.run(&code, "null")), "\"well\"");
    assert!(groups.iter().all(|group| !group.exists()), "nothing is left of before");
}

/// Where the process that is to be killed writes what must then be gone.
const VICTIM: &str = "FERMATA_TEST_VICTIM";

/// Not a test by itself: the server that the next one kills.
#[test]
fn a_server_that_is_about_to_be_killed() {
    let Some(report) = std::env::var_os(VICTIM) else { return };
    let house = House::with(Options { pool: 1, ..Options::default() });
    let code = house.python("import subprocess\ndef handler(event, context):\n    subprocess.Popen(['/bin/sleep', '1000'])\n    while True:\n        pass\n");
    let id = house.start(&code, "null");
    house.wait_for(id, |e| matches!(e, Event::Running { .. }));
    let warden = house.executor.warden_id().unwrap();
    let mut lines = vec![format!("/proc/{warden}")];
    lines.extend(groups_of(&house).iter().map(|group| group.display().to_string()));
    fs::write(Path::new(&report).with_extension("part"), lines.join("\n")).unwrap();
    fs::rename(Path::new(&report).with_extension("part"), report).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn when_the_server_is_killed_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "walls::a_server_that_is_about_to_be_killed"])
        .env(VICTIM, &report)
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the server runs a function", || report.exists());
    let lines = fs::read_to_string(&report).unwrap();
    assert!(lines.lines().count() > 3 && lines.lines().all(|path| Path::new(path).exists()));
    server.kill().unwrap();
    server.wait().unwrap();
    until("all is gone", || !lines.lines().any(|path| Path::new(path).exists()));
}

/// Waits for what no event tells of.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn reclaimed_functions_begin_again() {
    let house = House::new();
    let code = house.python("def handler(event, context):\n    return 1\n");
    house.run(&code, "null");
    assert!(house.executor.memory().idle_bytes().0 > 1 << 20);
    house.executor.reclaim(Reclaim::Function(&"globex".parse().unwrap(), &code.function));
    assert!(!house.was_cold(house.run(&code, "null").id));
    house.executor.reclaim(Reclaim::Function(&code.tenant, &code.function));
    assert!(house.was_cold(house.run(&code, "null").id));
    house.executor.reclaim(Reclaim::Idle);
    assert!(house.was_cold(house.run(&code, "null").id));
}

/// Control groups whose names hold this server's key.
fn groups_of(house: &House) -> Vec<std::path::PathBuf> {
    let warden = house.executor.warden_id().unwrap();
    let children = fs::read_to_string(format!("/proc/{warden}/task/{warden}/children")).unwrap();
    let init = children.split_whitespace().next().unwrap();
    let inner = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    let function = inner.split_whitespace().next().unwrap();
    let groups = fs::read_to_string(format!("/proc/{function}/cgroup")).unwrap();
    let own = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controller, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let tree = if controller.is_empty() { "unified" } else { controller };
        path.contains("fermata").then(|| Path::new("/sys/fs/cgroup").join(tree).join(path))
    });
    own.collect()
}
