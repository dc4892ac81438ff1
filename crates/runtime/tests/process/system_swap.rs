//! The system's swap for a test: what there is, or a small file of the test's own.

#![expect(clippy::print_stderr, reason = "what is skipped is told")]

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// The system's swap, held by one test at a time.
pub(crate) struct SystemSwap {
    made: Option<PathBuf>,
    _lock: File,
}

pub(crate) fn lock() -> File {
    let file = File::create(std::env::temp_dir().join("fermata-test-swap.lock")).unwrap();
    file.lock().unwrap();
    file
}

pub(crate) fn free_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("SwapFree:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn done(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

impl SystemSwap {
    pub(crate) fn get() -> Option<Self> {
        let lock = lock();
        if free_bytes() >= 256 << 20 {
            return Some(Self { made: None, _lock: lock });
        }
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("system-swap-{}", std::process::id()));
        let name = path.to_str().unwrap();
        // Dropped on the way out, also where this fails half-way.
        let swap = Self { made: Some(path.clone()), _lock: lock };
        let made = done("fallocate", &["-l", "512M", name])
            && done("chmod", &["600", name])
            && done("mkswap", &[name])
            && done("swapon", &[name]);
        if !made {
            eprintln!("skipped: the system has no swap, and none can be made here (swapon)");
        }
        made.then_some(swap)
    }
}

impl Drop for SystemSwap {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = done("swapoff", &[path.to_str().unwrap()]);
            let _ = std::fs::remove_file(path);
        }
    }
}
