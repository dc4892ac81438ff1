//! The interpreters of this machine.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use super::bootstrap;

/// What a runtime's name begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Language {
    Python,
    Node,
}

/// One that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    pub(super) language: Language,
    /// `3.11.7`.
    version: String,
    program: PathBuf,
    /// Its folder, where that is not below `/usr`, which every sandbox sees.
    pub(super) bind: Option<PathBuf>,
}

/// The interpreters of this machine, at most one of each language, while they are looked for: each
/// has to be run, which takes longer than all else that a start waits for.
#[derive(Debug)]
pub struct Interpreters(Vec<JoinHandle<Option<Interpreter>>>);

impl Interpreters {
    /// Begins to look.
    ///
    /// # Errors
    /// A thread could not be made.
    pub fn look() -> io::Result<Self> {
        let look = |language: Language| {
            let named = thread::Builder::new().name(format!("process-{}", language.prefix()));
            named.spawn(move || Interpreter::find(language))
        };
        Language::ALL.into_iter().map(look).collect::<io::Result<_>>().map(Self)
    }

    /// Waits for what was found.
    pub(super) fn found(self) -> Vec<Interpreter> {
        let found = |looking: JoinHandle<_>| looking.join().expect("looking does not panic");
        self.0.into_iter().filter_map(found).collect()
    }
}

impl Language {
    const ALL: [Self; 2] = [Self::Python, Self::Node];

    fn prefix(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "nodejs",
        }
    }

    /// Programs to try, each with a text that makes it print version, program and home.
    fn probes(self) -> (&'static [&'static str], [&'static str; 2]) {
        match self {
            Self::Python => (
                &["python3", "/usr/bin/python3"],
                [
                    // Without what is installed beside it, which is long to load.
                    "-ISc",
                    "import os, sys\n\
                     print('.'.join(map(str, sys.version_info[:3])))\n\
                     print(os.path.realpath(sys.executable))\n\
                     print(sys.base_prefix)",
                ],
            ),
            Self::Node => (
                &["node", "/usr/bin/node"],
                [
                    "-p",
                    "[process.versions.node, fs.realpathSync(process.execPath), \
                        path.dirname(path.dirname(fs.realpathSync(process.execPath)))].join('\\n')",
                ],
            ),
        }
    }
}

impl Interpreter {
    fn find(language: Language) -> Option<Self> {
        let (programs, question) = language.probes();
        programs.iter().find_map(|program| probe(language, program, question))
    }

    /// Whether it is what the runtime `name` asks for: `python3.11`, `nodejs20.x`, or without a
    /// version (`python3`, `nodejs`) whatever is there.
    pub(super) fn serves(&self, name: &str) -> bool {
        let Some(wanted) = name.strip_prefix(self.language.prefix()) else { return false };
        let wanted = wanted.strip_suffix(".x").unwrap_or(wanted);
        let mut present = self.version.split('.');
        wanted.is_empty() || wanted.split('.').all(|part| present.next() == Some(part))
    }

    /// The program that runs handlers, with its arguments.
    pub(super) fn command(&self) -> Vec<OsString> {
        let program = self.program.clone().into_os_string();
        match self.language {
            Language::Python => vec![program, "-B".into(), bootstrap::PYTHON.into()],
            Language::Node => vec![program, bootstrap::NODE.into()],
        }
    }

    /// The name of the runtime that it serves: `python3.11`, `nodejs20.x`.
    pub(super) fn runtime(&self) -> String {
        let mut parts = self.version.split('.');
        let major = parts.next().unwrap_or_default();
        match self.language {
            Language::Python => format!("python{major}.{}", parts.next().unwrap_or_default()),
            Language::Node => format!("nodejs{major}.x"),
        }
    }

    /// For a person.
    pub(super) fn describe(&self) -> String {
        format!("{} ({} at {})", self.runtime(), self.version, self.program.display())
    }
}

fn probe(language: Language, program: &str, question: [&str; 2]) -> Option<Interpreter> {
    let output = Command::new(program).args(question).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let mut lines = text.lines().map(str::to_owned);
    let (version, program, home) = (lines.next()?, lines.next()?, lines.next()?);
    let (program, home) = (PathBuf::from(program), PathBuf::from(home));
    let is_seen = |path: &Path| path.starts_with("/usr");
    let bind = (!is_seen(&program) || !is_seen(&home)).then_some(home);
    Some(Interpreter { language, version, program, bind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_needs_its_own_version_or_states_none() {
        let python = Interpreter {
            language: Language::Python,
            version: "3.11.7".into(),
            program: "/usr/bin/python3".into(),
            bind: None,
        };
        for served in ["python", "python3", "python3.11", "python3.x"] {
            assert!(python.serves(served), "{served}");
        }
        for other in ["python3.1", "python3.12", "python2", "nodejs", "provided", ""] {
            assert!(!python.serves(other), "{other}");
        }
        let node = Interpreter { language: Language::Node, version: "20.20.2".into(), ..python };
        assert!(node.serves("nodejs20.x") && node.serves("nodejs") && !node.serves("nodejs22.x"));
        assert_eq!(node.runtime(), "nodejs20.x");
    }
}
