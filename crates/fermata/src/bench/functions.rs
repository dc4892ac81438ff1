//! The functions that benches call: the Wasm guests of `examples/guests` and three Python files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;

use crate::load::platform::{Deployed, Platform};

/// The highest and the lowest class of the default price list.
pub(crate) const TOP: &str = "critical";
pub(crate) const LOWEST: &str = "background";

/// Holds memory; see the guest's source.
pub(crate) const HOLD: &[u8] = include_bytes!("../../../../examples/guests/hold.wasm");

/// How a bench's functions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Wasm,
    Process,
}

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Answers at once. Wasm only.
    Empty,
    /// Answers with the monotonic clock's time at its first instruction.
    Clock,
    /// Uses CPU time.
    Spin,
    /// Holds memory.
    Hold,
    /// Fills memory in one instruction. Wasm only.
    Fill,
}

/// A function to be deployed.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) runtime: Runtime,
    pub(crate) task: Task,
    pub(crate) class: &'static str,
}

impl Function {
    /// The file with its code.
    fn code(&self) -> anyhow::Result<(&'static str, &'static [u8])> {
        Ok(match (self.runtime, self.task) {
            (Runtime::Wasm, Task::Empty) => {
                ("empty.wasm", include_bytes!("../../../../examples/guests/empty.wasm"))
            }
            (Runtime::Wasm, Task::Clock) => {
                ("clock.wasm", include_bytes!("../../../../examples/guests/clock.wasm"))
            }
            (Runtime::Wasm, Task::Spin) => {
                ("spin.wasm", include_bytes!("../../../../examples/guests/spin.wasm"))
            }
            (Runtime::Process, Task::Clock) => ("app.py", include_bytes!("guests/clock.py")),
            (Runtime::Process, Task::Spin) => ("app.py", include_bytes!("guests/spin.py")),
            (Runtime::Wasm, Task::Hold) => ("hold.wasm", HOLD),
            (Runtime::Process, Task::Hold) => ("app.py", include_bytes!("guests/hold.py")),
            (Runtime::Wasm, Task::Fill) => {
                ("fill.wasm", include_bytes!("../../../../examples/guests/fill.wasm"))
            }
            (Runtime::Process, Task::Empty | Task::Fill) => {
                bail!("there is no such process function")
            }
        })
    }

    fn manifest(&self, file: &str) -> String {
        let Self { name, runtime, class, .. } = self;
        let code = match runtime {
            Runtime::Wasm => format!("runtime = \"wasm\"\npath = \"{file}\"\n"),
            Runtime::Process => "runtime = \"python3\"\nhandler = \"app.handler\"\n".to_owned(),
        };
        format!("name = \"{name}\"\nclass = \"{class}\"\ntimeout = 3600\n{code}")
    }

    /// Deploys it, its folder being made below `root`.
    pub(crate) fn deploy(&self, platform: &Platform, root: &Path) -> anyhow::Result<Deployed> {
        let (file, code) = self.code()?;
        let folder = root.join("functions").join(&self.name);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(file), code))
            .and_then(|()| fs::write(folder.join("fermata.toml"), self.manifest(file)))
            .with_context(|| format!("write the function {}", self.name))?;
        platform.deploy(&folder)
    }
}

/// What [`Task::Spin`] takes to use this much CPU time.
pub(crate) fn spin_millis(millis: u32) -> Bytes {
    Bytes::from(millis.to_string())
}

/// What [`Task::Spin`] takes to go on until it is ended.
pub(crate) fn spin_forever(runtime: Runtime) -> Bytes {
    match runtime {
        Runtime::Wasm => Bytes::from_static(b"forever"),
        Runtime::Process => Bytes::from_static(b"\"forever\""),
    }
}
