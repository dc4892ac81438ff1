//! Durable functions in Python: the interpreter, a file of some 18 MB that is not part of this program.

use std::path::{Path, PathBuf};

use super::package;
use crate::client::Failed;

const FILE: &str = "python.wasm";

/// The package of a durable function in Python: the interpreter and the source.
pub(super) fn package(source: &Path, named: Option<&Path>) -> Result<Vec<u8>, Failed> {
    let text = String::from_utf8(package::read(source)?)
        .map_err(|_| Failed::Usage(format!("{} is not UTF-8", source.display())))?;
    let interpreter = package::read(&interpreter(named)?)?;
    runtime::wasm::python(&interpreter, &text)
        .map_err(|error| Failed::Usage(format!("{}: {error}", source.display())))
}

/// The one that is named, else the first in the usual places.
fn interpreter(named: Option<&Path>) -> Result<PathBuf, Failed> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let program = std::env::current_exe().ok();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = places(program.as_deref().and_then(Path::parent), home.as_deref());
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| missing(&places))
}

/// Beside this program, where a build of it keeps fetched tools, and where programs keep such files.
fn places(program: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let of_program = program
        .into_iter()
        .flat_map(|folder| [folder.join(FILE), folder.join("../guest-tools/python").join(FILE)]);
    let of_home = home.map(|home| home.join(".local/share/fermata").join(FILE));
    let of_machine = ["/usr/local/share/fermata", "/usr/share/fermata"];
    let of_machine = of_machine.map(|folder| Path::new(folder).join(FILE));
    of_program.chain(of_home).chain(of_machine).collect()
}

fn missing(places: &[PathBuf]) -> Failed {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Failed::Usage(format!(
        "a durable function in Python needs CPython as a WebAssembly program, and it is none of {}: \
         make it with `cargo xtask python` in Fermata's source, then name the file by --python-wasm \
         or FERMATA_PYTHON_WASM, or copy it to one of these places. With --runtime python3 the \
         function runs as a process, suspends explicitly, and needs none",
        places.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_the_one_named_or_lies_in_a_usual_place() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("my.wasm");
        assert_eq!(interpreter(Some(&named)), Ok(named));
        let places = places(Some(folder.path()), Some(Path::new("/home/ada")));
        assert_eq!(places[0], folder.path().join("python.wasm"));
        assert!(places.contains(&"/home/ada/.local/share/fermata/python.wasm".into()));
        let Failed::Usage(message) = missing(&places) else { panic!("another failure") };
        for part in
            ["cargo xtask python", "--python-wasm", "FERMATA_PYTHON_WASM", "--runtime python3"]
        {
            assert!(message.contains(part), "{message}");
        }
    }
}
