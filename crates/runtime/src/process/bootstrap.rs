//! The small programs that run handlers in an interpreter, and what functions import from us.

use std::fs;
use std::io;
use std::path::Path;

/// Where they are in a sandbox.
pub(super) const PYTHON: &str = "/var/runtime/python.py";
pub(super) const NODE: &str = "/var/runtime/node.cjs";

/// Path in a sandbox, and text. Both languages look into the function's own package first, so its
/// copy of a file wins; Node looks for packages in each folder above that.
const FILES: [(&str, &str); 6] = [
    ("var/runtime/python.py", include_str!("../../bootstrap/python.py")),
    ("var/runtime/fermata.py", include_str!("../../bootstrap/fermata.py")),
    (
        "var/runtime/fermata_durable.py",
        include_str!("../../../../sdk/python-durable/fermata_durable.py"),
    ),
    ("var/runtime/node.cjs", include_str!("../../bootstrap/node.cjs")),
    ("var/node_modules/fermata/index.cjs", include_str!("../../bootstrap/fermata.cjs")),
    (
        "var/node_modules/fermata-durable/index.cjs",
        include_str!("../../../../sdk/javascript-durable/index.cjs"),
    ),
];
const PACKAGES: [(&str, &str); 2] = [
    ("fermata", r#"{"name":"fermata","version":"0.1.0","main":"index.cjs"}"#),
    ("fermata-durable", include_str!("../../../../sdk/javascript-durable/package.json")),
];

/// Writes them below `root`.
pub(super) fn write(root: &Path) -> io::Result<()> {
    for (path, text) in FILES {
        let file = root.join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, text)?;
    }
    for (name, manifest) in PACKAGES {
        fs::write(root.join("var/node_modules").join(name).join("package.json"), manifest)?;
    }
    Ok(())
}
