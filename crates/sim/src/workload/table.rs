//! Plain comma-separated tables with a header line, as the published traces have them: no quotes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Why a trace or recording cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not of the format.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Which, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// A table in memory.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    text: String,
    columns: BTreeMap<String, usize>,
}

/// One row, with what is needed to say where it stands.
#[derive(Debug)]
pub(super) struct Row<'a> {
    table: &'a Table,
    line: usize,
    fields: Vec<&'a str>,
}

impl Table {
    pub(super) fn load(path: &Path) -> Result<Self, LoadError> {
        let text = fs::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let header = text.lines().next().unwrap_or_default().trim_start_matches('\u{feff}');
        let columns =
            header.split(',').enumerate().map(|(at, name)| (name.trim().to_owned(), at)).collect();
        Ok(Self { path: path.to_owned(), columns, text })
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let lines =
            self.text.lines().enumerate().skip(1).filter(|(_, text)| !text.trim().is_empty());
        lines.map(|(at, text)| Row { table: self, line: at + 1, fields: text.split(',').collect() })
    }
}

impl Row<'_> {
    pub(super) fn problem(&self, problem: impl Into<String>) -> LoadError {
        let (path, line) = (self.table.path.clone(), self.line);
        LoadError::Line { path, line, problem: problem.into() }
    }

    pub(super) fn text(&self, column: &str) -> Result<&str, LoadError> {
        let at = self.table.columns.get(column);
        let at = at.ok_or_else(|| self.problem(format!("there is no column {column:?}")))?;
        let field = self.fields.get(*at).map(|field| field.trim());
        field.ok_or_else(|| self.problem(format!("the column {column:?} is missing here")))
    }

    pub(super) fn number(&self, column: &str) -> Result<f64, LoadError> {
        let text = self.text(column)?;
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        number.ok_or_else(|| {
            self.problem(format!("{column:?} is {text:?}, which is no number from 0 up"))
        })
    }

    pub(super) fn count(&self, column: &str) -> Result<u32, LoadError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| self.problem(format!("{column:?} is {text:?}, which is no count")))
    }
}
