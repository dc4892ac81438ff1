//! What no lint can check: sizes, purity, manifests, paths named in documents.

use std::path::Path;

use anyhow::{Context, bail};

use crate::command;

const LINES_MAX: usize = 800;
const MODEL_LINES_MAX: usize = 2_500;
const ARCHITECTURE_LINES_MAX: usize = 300;
/// Crates in which a clock, a file, a socket or a thread must not even be named.
const NO_STD: [&str; 3] = ["crates/model", "crates/policy", "crates/engine"];
/// Folders that begin every path of the project which a document may name.
const FOLDERS: [&str; 10] = [
    "crates/",
    "docs/",
    "examples/",
    "xtask/",
    "tests/",
    "changes/",
    ".ci/",
    "sdk/",
    "fuzz/",
    "bench/",
];

/// Every tracked or new file is checked; all problems are told.
pub(crate) fn check() -> anyhow::Result<()> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let files = command::output("git", list)?;
    let mut problems = Vec::new();
    let mut model_lines = 0;
    for file in files.lines() {
        let path = command::root().join(file);
        // A file that is not text, or that was just deleted, has no lines to check.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if file.starts_with("crates/model/src") {
            model_lines += text.lines().count();
        }
        check_file(file, &text, &mut problems);
        if file.ends_with(".md") && !file.starts_with("changes/") {
            check_paths(file, &text, &command::root(), &mut problems);
        }
    }
    if model_lines > MODEL_LINES_MAX {
        problems
            .push(format!("crates/model has {model_lines} lines, the limit is {MODEL_LINES_MAX}"));
    }
    for pure in NO_STD {
        let file = format!("{pure}/src/lib.rs");
        let text = std::fs::read_to_string(command::root().join(&file));
        check_no_std(&file, &text.with_context(|| format!("read {file}"))?, &mut problems);
    }
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\n")) }
}

fn check_file(file: &str, text: &str, problems: &mut Vec<String>) {
    if file.ends_with(".rs") {
        check_rust(file, text, problems);
    }
    if file.ends_with("Cargo.toml") && file != "Cargo.toml" {
        check_manifest(file, text, problems);
    }
    let lines = text.lines().count();
    if file == "docs/architecture.md" && lines > ARCHITECTURE_LINES_MAX {
        problems.push(format!("{file} has {lines} lines, the limit is {ARCHITECTURE_LINES_MAX}"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let marker = ["TO", "DO"].concat();
        if line.contains(&marker) && !line.contains(&format!("{marker}(#")) {
            problems.push(format!("{file}:{number}: {marker} without an issue number"));
        }
    }
}

fn check_rust(file: &str, text: &str, problems: &mut Vec<String>) {
    let is_test = file.contains("/tests/") || file.ends_with("tests.rs");
    let lines = text.lines().take_while(|line| *line != "mod tests {").count();
    if !is_test && lines > LINES_MAX {
        problems.push(format!("{file} has {lines} lines without tests, the limit is {LINES_MAX}"));
    }
    if NO_STD.iter().any(|pure| file.starts_with(&format!("{pure}/src"))) {
        check_std_is_for_tests(file, text, problems);
    }
}

/// `extern crate std` stands only inside a test module.
fn check_std_is_for_tests(file: &str, text: &str, problems: &mut Vec<String>) {
    let mut in_tests = file.ends_with("tests.rs");
    for (number, line) in (1..).zip(text.lines()) {
        in_tests |= line.trim() == "#[cfg(test)]";
        if line.trim() == "extern crate std;" && !in_tests {
            problems.push(format!("{file}:{number}: `extern crate std` outside of tests"));
        }
    }
}

fn check_no_std(file: &str, text: &str, problems: &mut Vec<String>) {
    if !text.contains("#![no_std]") {
        problems.push(format!("{file}: a pure crate begins with #![no_std]"));
    }
}

fn check_manifest(file: &str, text: &str, problems: &mut Vec<String>) {
    if !text.contains("[lints]\nworkspace = true") {
        problems.push(format!("{file}: add `[lints] workspace = true`"));
    }
    let mut in_dependencies = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
            problems.push(format!("{file}:{number}: versions stand only in the root Cargo.toml"));
        }
    }
}

/// Every path in back quotes that begins with one of the project's folders must be there.
fn check_paths(file: &str, text: &str, root: &Path, problems: &mut Vec<String>) {
    for (number, line) in (1..).zip(text.lines()) {
        for word in line.split('`').skip(1).step_by(2) {
            let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder));
            let is_pattern = word.contains(['*', '<', '{', ' ', '…', '|']);
            let path = word.split("::").next().unwrap_or(word).trim_end_matches('/');
            if is_path && !is_pattern && !root.join(path).exists() {
                problems.push(format!("{file}:{number}: {word} is not there"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, text: &str, expected: &[&str]) {
        let mut problems = Vec::new();
        check_file(file, text, &mut problems);
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn a_long_file_is_named_but_its_tests_do_not_count() {
        check("crates/a/src/lib.rs", &"x\n".repeat(801), &["801 lines"]);
        let tested = format!("{}mod tests {{\n{}", "x\n".repeat(800), "y\n".repeat(900));
        check("crates/a/src/lib.rs", &tested, &[]);
    }

    #[test]
    fn std_in_a_pure_crate_is_for_tests() {
        check("crates/policy/src/a.rs", "extern crate std;\n", &["a.rs:1"]);
        check("crates/policy/src/a.rs", "#[cfg(test)]\nmod tests {\n    extern crate std;\n", &[]);
        check("crates/node/src/a.rs", "extern crate std;\n", &[]);
    }

    #[test]
    fn a_version_outside_of_the_root_manifest_is_named() {
        let lints = "[lints]\nworkspace = true\n";
        check("crates/a/Cargo.toml", &format!("{lints}[dependencies]\nx = \"1\"\n"), &[":4"]);
        check("crates/a/Cargo.toml", &format!("{lints}[dependencies]\nx.workspace = true\n"), &[]);
        check("crates/a/Cargo.toml", "[package]\n", &["lints"]);
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let mut problems = Vec::new();
        let text = "see `xtask/src/tidy.rs`, `crates/*/src` and `crates/gone/x.rs`";
        check_paths("docs/a.md", text, &command::root(), &mut problems);
        assert_eq!(problems, ["docs/a.md:1: crates/gone/x.rs is not there"]);
    }
}
