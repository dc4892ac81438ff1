//! The shop of `examples/shop`, carried inside this program, and how much of it is asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// One function of the shop.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its name, as in its manifest.
    pub(crate) name: &'static str,
    /// Its class, as in its manifest.
    pub(crate) class: &'static str,
    /// For a person.
    pub(crate) what: &'static str,
    /// Its folder: name and content of each file.
    files: &'static [(&'static str, &'static [u8])],
    /// Whether a native executable goes with it, as `bootstrap`.
    pub(crate) code: Code,
    /// How much of it is asked for.
    pub(crate) demand: Demand,
}

/// Where a function's code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// It is among the files.
    Embedded,
    /// It is an executable that cargo builds.
    Native,
}

/// How much of a function is asked for, as shares of what the machine can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Before and after the overload.
    pub(crate) calm: f64,
    /// During it. The cheapest class gets what is missing to [`OVERLOAD`] on top.
    pub(crate) overload: f64,
    /// Never more calls a second than this: enough for the figures.
    pub(crate) per_s_max: f64,
}

/// What is offered in all during the overload: this many times what the machine can do.
pub(crate) const OVERLOAD: f64 = 3.2;

/// The shop, dearest class first.
pub(crate) static ITEMS: [Item; 4] = [
    Item {
        name: "home",
        class: "critical",
        what: "home page, Wasm",
        files: &[
            ("fermata.toml", include_bytes!("../../../../examples/shop/home/fermata.toml")),
            ("home.wasm", include_bytes!("../../../../examples/shop/home/home.wasm")),
        ],
        code: Code::Embedded,
        demand: Demand { calm: 0.10, overload: 0.10, per_s_max: 120.0 },
    },
    Item {
        name: "profile",
        class: "interactive",
        what: "profile page, Python",
        files: &[
            ("fermata.toml", include_bytes!("../../../../examples/shop/profile/fermata.toml")),
            ("app.py", include_bytes!("../../../../examples/shop/profile/app.py")),
        ],
        code: Code::Embedded,
        demand: Demand { calm: 0.10, overload: 0.15, per_s_max: 60.0 },
    },
    Item {
        name: "mailout",
        class: "economy",
        what: "mail-out, Node",
        files: &[
            ("fermata.toml", include_bytes!("../../../../examples/shop/mailout/fermata.toml")),
            ("index.mjs", include_bytes!("../../../../examples/shop/mailout/index.mjs")),
        ],
        code: Code::Embedded,
        demand: Demand { calm: 0.08, overload: 0.25, per_s_max: 60.0 },
    },
    Item {
        name: "thumbnail",
        class: "background",
        what: "thumbnails, native",
        files: &[(
            "fermata.toml",
            include_bytes!("../../../../examples/shop/thumbnail/fermata.toml"),
        )],
        code: Code::Native,
        demand: Demand { calm: 0.15, overload: 0.15, per_s_max: f64::INFINITY },
    },
];

impl Item {
    /// Writes the function's folder below `root`. `executable` is the native function's code.
    pub(crate) fn unpack(&self, root: &Path, executable: Option<&Path>) -> anyhow::Result<PathBuf> {
        let folder = root.join(self.name);
        let unpack = || -> std::io::Result<()> {
            fs::create_dir_all(&folder)?;
            for (name, content) in self.files {
                fs::write(folder.join(name), content)?;
            }
            if let Some(executable) = executable {
                let bootstrap = folder.join("bootstrap");
                fs::copy(executable, &bootstrap)?;
                fs::set_permissions(&bootstrap, fs::Permissions::from_mode(0o755))?;
            }
            Ok(())
        };
        unpack().with_context(|| format!("unpack the shop's {} function", self.name))?;
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::PriceList;

    #[test]
    fn manifests_say_what_the_demo_believes() {
        for item in &ITEMS {
            let (_, manifest) = item.files[0];
            let manifest: toml::Table = str::from_utf8(manifest).unwrap().parse().unwrap();
            assert_eq!(manifest["name"].as_str(), Some(item.name));
            assert_eq!(manifest["class"].as_str(), Some(item.class));
        }
    }

    #[test]
    fn classes_stand_in_the_price_list_dearest_first() {
        let prices = PriceList::default();
        let classes: Vec<_> = ITEMS.iter().map(|item| prices.find(item.class).unwrap()).collect();
        assert!(classes.is_sorted_by(|dearer, cheaper| dearer > cheaper));
    }

    #[test]
    fn a_native_function_is_unpacked_with_its_executable() {
        let root = tempfile::tempdir().unwrap();
        let executable = root.path().join("code");
        fs::write(&executable, "#!/bin/true").unwrap();
        let item = ITEMS.iter().find(|item| item.code == Code::Native).unwrap();
        let folder = item.unpack(root.path(), Some(&executable)).unwrap();
        assert!(folder.join("fermata.toml").is_file());
        let mode = fs::metadata(folder.join("bootstrap")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
    }
}
