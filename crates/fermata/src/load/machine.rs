//! On what the figures were measured.

use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

/// The machine, as far as it explains a figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// As the kernel names it.
    pub(crate) cpu: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
}

/// What this program was built from, where the build said so (`FERMATA_COMMIT`).
pub(crate) const COMMIT: &str = match option_env!("FERMATA_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

impl Machine {
    /// This machine. What cannot be read is said to be unknown.
    pub(crate) fn load() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(
            &read("/proc/cpuinfo"),
            &read("/proc/sys/kernel/osrelease"),
            &read("/proc/meminfo"),
        )
    }

    fn parse(cpuinfo: &str, release: &str, meminfo: &str) -> Self {
        let unknown = || "unknown".to_owned();
        let memory_kib = field(meminfo, "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: field(cpuinfo, "model name").map_or_else(unknown, str::to_owned),
            kernel: Some(release.trim())
                .filter(|text| !text.is_empty())
                .map_or_else(unknown, str::to_owned),
            memory_mib: memory_kib / 1024,
        }
    }
}

/// `2 cores, AMD EPYC, 23.4 GiB, Linux 6.18`
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cores == 1 { "" } else { "s" };
        let Self { cores, cpu, kernel, memory_mib } = self;
        let (gib, tenth) = (memory_mib / 1024, memory_mib % 1024 * 10 / 1024);
        write!(f, "{cores} core{plural}, {cpu}, {gib}.{tenth} GiB, Linux {kernel}")
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_files_are_read_and_what_is_missing_is_unknown() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast 9000\nprocessor\t: 1\n";
        let machine = Machine::parse(cpuinfo, "6.18.4\n", "MemTotal:  2560000 kB\nMemFree: 1 kB\n");
        let cores = machine.cores;
        let shown = machine.to_string();
        assert!(shown.ends_with("Fast 9000, 2.4 GiB, Linux 6.18.4"), "{shown}");
        assert!(shown.starts_with(&format!("{cores} core")));
        assert_eq!(Machine::parse("", "", "").cpu, "unknown");
    }
}
