//! Where a store is, as one text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::{Options, Store};
use crate::error::{Error, Result};
use crate::memory::MemoryStore;
use crate::postgres::PostgresStore;
use crate::sqlite::SqliteStore;

/// Where a store is: `sqlite:DIRECTORY`, `postgres://…` or `memory:`.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// In memory, gone at the end.
    Memory,
    /// In this directory.
    Sqlite(PathBuf),
    /// In this PostgreSQL server.
    Postgres(String),
}

impl Address {
    /// Reads an address; `sqlite` alone is the one in the directory `data`, and so is no address.
    ///
    /// # Errors
    /// `Invalid` where it is none.
    pub fn parse(text: Option<&str>, data: &Path) -> Result<Self> {
        let text = text.unwrap_or("sqlite");
        if text == "memory" || text == "memory:" {
            return Ok(Self::Memory);
        }
        if text == "sqlite" {
            return Ok(Self::Sqlite(data.to_owned()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            PostgresStore::check_url(text)?;
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(_) | None => Err(Error::Invalid {
                what: "the store's address",
                reason: format!(
                    "{text:?} is none of sqlite:DIRECTORY, postgres://USER@HOST/DATABASE and memory:"
                ),
            }),
        }
    }

    /// Opens the store that is there.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`] and [`PostgresStore::connect`].
    pub fn open(&self, options: Options) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new(options)),
            Self::Sqlite(directory) => Arc::new(SqliteStore::open(directory, options)?),
            Self::Postgres(url) => Arc::new(PostgresStore::connect(url, options)?),
        })
    }
}

/// Without a password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(directory) => write!(f, "sqlite:{}", directory.display()),
            Self::Postgres(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let rest = rest.split('?').next().unwrap_or(rest);
                write!(f, "{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest))
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_without_its_password() {
        let parse = |text| Address::parse(text, Path::new("data"));
        let shown = |text| parse(Some(text)).unwrap().to_string();
        assert_eq!(parse(None).unwrap(), Address::Sqlite("data".into()));
        assert_eq!(shown("sqlite"), "sqlite:data");
        assert_eq!(shown("sqlite:/a/b"), "sqlite:/a/b");
        assert_eq!(shown("sqlite:///a/b"), "sqlite:/a/b");
        assert_eq!((shown("memory"), shown("memory:")), ("memory:".into(), "memory:".into()));
        let secret = "postgres://me:s%40cret@db.example:5433/things?schema=mine";
        assert_eq!(shown(secret), "postgres://db.example:5433/things");
        assert!(!format!("{:?}", parse(Some(secret))).contains("cret"));
        for bad in ["", "sqlite:", "mysql://a/b", "postgres://a/b?schema=Bad", "/a/b"] {
            let error = parse(Some(bad)).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{bad}: {error}");
        }
    }
}
