//! The trace of 2021: single invocations with their real times.

use std::collections::BTreeMap;
use std::path::Path;

use model::{ClassId, PriceList};

use super::{LoadError, Recipe, whole};
use crate::random::{Purpose, Stream};
use crate::workload::table::Table;
use crate::workload::{Arrival, Arrivals, MB, Phases, Workload};

/// The 2021 trace: single invocations with their real times.
#[derive(Clone, Debug)]
pub struct Azure2021 {
    /// Start and run time in ns, and the function's number; by start.
    rows: Vec<(u64, u64, u32)>,
    functions: u32,
    span_ns: u64,
    /// What is added to it. Minutes and offsets are not used.
    pub recipe: Recipe,
}

impl Azure2021 {
    /// Reads a file with the columns `app`, `func`, `end_timestamp` and `duration` (seconds).
    ///
    /// # Errors
    /// [`LoadError`] names the file, and the line that is not of the format.
    pub fn load(file: &Path, recipe: Recipe) -> Result<Self, LoadError> {
        let table = Table::load(file)?;
        let mut numbers: BTreeMap<(String, String), u32> = BTreeMap::new();
        let mut rows = Vec::new();
        for row in table.rows() {
            let name = (row.text("app")?.to_owned(), row.text("func")?.to_owned());
            let next = u32::try_from(numbers.len()).expect("fewer functions than a u32 counts");
            let function = *numbers.entry(name).or_insert(next);
            let duration_s = row.number("duration")?;
            let start_s = (row.number("end_timestamp")? - duration_s).max(0.0);
            let run_ns = whole(duration_s * 1e9).max(1_000_000);
            rows.push((whole(start_s * 1e9), run_ns, function));
        }
        rows.sort_by_key(|row| row.0);
        let span_ns = rows.last().map_or(1, |row| row.0 + 1);
        let functions = u32::try_from(numbers.len()).expect("fewer functions than a u32 counts");
        Ok(Self { rows, functions, span_ns, recipe })
    }

    /// Functions of one copy.
    #[must_use]
    pub const fn functions(&self) -> u32 {
        self.functions
    }

    /// Invocations of one copy.
    #[must_use]
    pub fn invocations(&self) -> usize {
        self.rows.len()
    }
}

impl Workload for Azure2021 {
    fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        let mut class = Stream::new(seed, Purpose::Class);
        let mut memory = Stream::new(seed, Purpose::Memory);
        let mut rotation = Stream::new(seed, Purpose::Rotation);
        let (low, high) = self.recipe.memory_mb;
        let mut all = Vec::with_capacity(self.rows.len());
        for copy in 0..self.recipe.copies {
            let classes: Vec<ClassId> =
                (0..self.functions).map(|_| self.recipe.class(None, &mut class)).collect();
            let turned_ns = if copy == 0 { 0 } else { rotation.bits() % self.span_ns };
            for &(start_ns, cpu_ns, function) in &self.rows {
                all.push(Arrival {
                    at_ns: (start_ns + turned_ns) % self.span_ns,
                    function: copy * self.functions + function,
                    class: classes[usize::try_from(function).expect("an index fits")],
                    cpu_ns,
                    memory_peak: whole(memory.uniform(low as f64, high as f64) * MB as f64),
                });
            }
        }
        all.sort_by_key(|arrival| arrival.at_ns);
        Box::new(all.into_iter())
    }

    fn prices(&self) -> &PriceList {
        &self.recipe.prices
    }

    fn phases(&self) -> Phases {
        self.recipe.phases
    }

    fn recipe(&self) -> String {
        format!(
            "Azure 2021, {} invocations of {} functions: {} rotated copies, class {:?}, memory \
             U({}, {}) MB",
            self.rows.len(),
            self.functions,
            self.recipe.copies,
            self.recipe.class,
            self.recipe.memory_mb.0,
            self.recipe.memory_mb.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_none_is_told_by_its_line() {
        let folder = std::env::temp_dir().join(format!("fermata-azure-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("trace.csv");
        let check = |text: &str, expected: &str| {
            std::fs::write(&file, text).unwrap();
            let error = Azure2021::load(&file, Recipe::default()).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        };
        let header = "app,func,end_timestamp,duration\n";
        check(
            &format!("{header}a,b,1.0,0.5\na,b,x,1\n"),
            "line 3: \"end_timestamp\" is \"x\", which is no number from 0 up",
        );
        check(&format!("{header}a,b,1.0\n"), "line 2: the column \"duration\" is missing here");
        check("app,func\na,b\n", "line 2: there is no column \"duration\"");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
