//! The small programs that run handlers in an interpreter, and what functions import from us.

use std::fs;
use std::io;
use std::path::Path;

/// Where they are in a sandbox.
pub(super) const PYTHON: &str = "/var/runtime/python.py";
pub(super) const NODE: &str = "/var/runtime/node.cjs";

/// Path in a sandbox, and text. Node looks for packages in each folder above a function's own.
const FILES: [(&str, &str); 4] = [
    ("var/runtime/python.py", include_str!("../../bootstrap/python.py")),
    ("var/runtime/fermata.py", include_str!("../../bootstrap/fermata.py")),
    ("var/runtime/node.cjs", include_str!("../../bootstrap/node.cjs")),
    ("var/node_modules/fermata/index.cjs", include_str!("../../bootstrap/fermata.cjs")),
];
const PACKAGE: &str = r#"{"name":"fermata","version":"0.1.0","main":"index.cjs"}"#;

/// Writes them below `root`.
pub(super) fn write(root: &Path) -> io::Result<()> {
    for (path, text) in FILES {
        let file = root.join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, text)?;
    }
    fs::write(root.join("var/node_modules/fermata/package.json"), PACKAGE)
}
