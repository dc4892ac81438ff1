//! The trace of 2019: how often each function was called in each minute.

use std::collections::BTreeMap;
use std::path::Path;

use model::{ClassId, PriceList};

use super::{LoadError, Offset, Recipe, whole};
use crate::random::{Purpose, Stream};
use crate::workload::table::{Row, Table};
use crate::workload::{Arrival, Arrivals, MB, Phases, Workload};

const MINUTE_NS: u64 = 60_000_000_000;
const MS_NS: f64 = 1e6;

/// A curve through percentiles: the part of all values that stays below each, and the value.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    points: Vec<(f64, f64)>,
    factor: f64,
}

impl Curve {
    fn mean(points: &[(f64, f64)]) -> f64 {
        points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
    }

    /// Through those points, scaled to that mean where both are known.
    fn new(mut points: Vec<(f64, f64)>, mean: Option<f64>) -> Self {
        // Published percentiles are rounded one by one; a curve must not fall.
        for at in 1..points.len() {
            points[at].1 = points[at].1.max(points[at - 1].1);
        }
        let own = Self::mean(&points);
        let factor = mean.filter(|mean| *mean > 0.0 && own > 0.0).map_or(1.0, |mean| mean / own);
        Self { points, factor }
    }

    fn at(&self, part: f64) -> f64 {
        let after = self.points.partition_point(|point| point.0 <= part);
        let last = self.points.len() - 1;
        let (low, high) =
            (self.points[after.clamp(1, last) - 1], self.points[after.clamp(1, last)]);
        let along = ((part - low.0) / (high.0 - low.0)).clamp(0.0, 1.0);
        (low.1 + along * (high.1 - low.1)) * self.factor
    }
}

/// One function of the 2019 trace.
#[derive(Clone, Debug)]
struct Function {
    trigger: String,
    counts: Vec<u32>,
    duration_ms: Curve,
    memory_mb: Curve,
}

/// The 2019 trace: counts a minute, durations and memory of each function.
#[derive(Clone, Debug)]
pub struct Azure2019 {
    functions: Vec<Function>,
    minutes: usize,
    /// What is added to it.
    pub recipe: Recipe,
}

/// The three hashes that name a function.
type Key = (String, String, String);

fn key(row: &Row<'_>) -> Result<Key, LoadError> {
    let text = |column| row.text(column).map(str::to_owned);
    Ok((text("HashOwner")?, text("HashApp")?, text("HashFunction")?))
}

fn curve(row: &Row<'_>, prefix: &str, percents: &[u32], mean: &str) -> Result<Curve, LoadError> {
    let mut points = Vec::with_capacity(percents.len() + 1);
    for &percent in percents {
        points.push((f64::from(percent) / 100.0, row.number(&format!("{prefix}{percent}"))?));
    }
    // Below the first percentile the curve is level.
    if points[0].0 > 0.0 {
        points.insert(0, (0.0, points[0].1));
    }
    Ok(Curve::new(points, Some(row.number(mean)?)))
}

impl Azure2019 {
    /// Reads `invocations.csv`, `durations.csv` and `memory.csv` of a folder. Functions that stand
    /// in only some of them are left out.
    ///
    /// # Errors
    /// [`LoadError`] names the file, and the line that is not of the format.
    pub fn load(folder: &Path, recipe: Recipe) -> Result<Self, LoadError> {
        let curves = |file: &str, prefix: &str, percents: &[u32], mean: &str| {
            let table = Table::load(&folder.join(file))?;
            let mut curves = BTreeMap::new();
            for row in table.rows() {
                curves.insert(key(&row)?, curve(&row, prefix, percents, mean)?);
            }
            Ok::<_, LoadError>(curves)
        };
        let percents = [0, 1, 25, 50, 75, 99, 100];
        let durations = curves("durations.csv", "percentile_Average_", &percents, "Average")?;
        let percents = [1, 5, 25, 50, 75, 95, 99, 100];
        let prefix = "AverageAllocatedMb_pct";
        let memory = curves("memory.csv", prefix, &percents, "AverageAllocatedMb")?;

        let table = Table::load(&folder.join("invocations.csv"))?;
        let mut minutes: Vec<(u32, String)> =
            table.columns().filter_map(|c| Some((c.parse().ok()?, c.to_owned()))).collect();
        minutes.sort_unstable();
        let mut functions = Vec::new();
        for row in table.rows() {
            let key = key(&row)?;
            let (Some(duration), Some(memory)) = (durations.get(&key), memory.get(&key)) else {
                continue;
            };
            let counts = minutes.iter().map(|(_, column)| row.count(column));
            functions.push(Function {
                trigger: row.text("Trigger")?.to_owned(),
                counts: counts.collect::<Result<_, _>>()?,
                duration_ms: duration.clone(),
                memory_mb: memory.clone(),
            });
        }
        Ok(Self { functions, minutes: minutes.len(), recipe })
    }

    /// Functions of one copy.
    #[must_use]
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Minutes of the trace.
    #[must_use]
    pub const fn minutes(&self) -> usize {
        self.minutes
    }

    /// Invocations of one copy in those minutes that are taken.
    #[must_use]
    pub fn invocations(&self) -> u64 {
        let taken =
            |f: &Function| f.counts[self.span()].iter().copied().map(u64::from).sum::<u64>();
        self.functions.iter().map(taken).sum()
    }

    /// Cores that one copy keeps busy on average in the minutes taken, by the published means.
    #[must_use]
    pub fn mean_cores(&self) -> f64 {
        let work_ms = |f: &Function| {
            let count: u64 = f.counts[self.span()].iter().copied().map(u64::from).sum();
            count as f64 * Curve::mean(&f.duration_ms.points) * f.duration_ms.factor
        };
        let total: f64 = self.functions.iter().map(work_ms).sum();
        total / (self.span().len() as f64 * 60_000.0)
    }

    fn span(&self) -> std::ops::Range<usize> {
        let from = self.recipe.from_minute.min(self.minutes);
        from..from.saturating_add(self.recipe.minutes).min(self.minutes)
    }
}

impl Workload for Azure2019 {
    fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        let mut class = Stream::new(seed, Purpose::Class);
        let classes = (0..self.recipe.copies).flat_map(|_| &self.functions);
        let classes = classes.map(|f| self.recipe.class(Some(&f.trigger), &mut class)).collect();
        let mut rotation = Stream::new(seed, Purpose::Rotation);
        let rotations = (0..self.recipe.copies)
            .map(|copy| if copy == 0 { 0 } else { rotation.below(self.minutes.max(1)) })
            .collect();
        let draws = Minutes {
            trace: self,
            classes,
            rotations,
            minute: self.span().start,
            ready: Vec::new(),
            arrival: Stream::new(seed, Purpose::Arrival),
            run_time: Stream::new(seed, Purpose::RunTime),
            memory: Stream::new(seed, Purpose::Memory),
        };
        Box::new(draws)
    }

    fn prices(&self) -> &PriceList {
        &self.recipe.prices
    }

    fn phases(&self) -> Phases {
        self.recipe.phases
    }

    fn recipe(&self) -> String {
        format!("Azure 2019, {} functions: {}", self.functions.len(), self.recipe.describe())
    }
}

/// The trace played minute by minute.
struct Minutes<'a> {
    trace: &'a Azure2019,
    /// By copy and function.
    classes: Vec<ClassId>,
    rotations: Vec<usize>,
    minute: usize,
    /// The rest of the current minute, the last first.
    ready: Vec<Arrival>,
    arrival: Stream,
    run_time: Stream,
    memory: Stream,
}

impl Minutes<'_> {
    fn draw_minute(&mut self) {
        let trace = self.trace;
        let begin_ns = (self.minute - trace.span().start) as u64 * MINUTE_NS;
        for (copy, rotation) in self.rotations.iter().enumerate() {
            let minute = (self.minute + rotation) % trace.minutes;
            for (at, function) in trace.functions.iter().enumerate() {
                let count = function.counts[minute];
                let number = copy * trace.functions.len() + at;
                let start = self.arrival.unit();
                for nth in 0..count {
                    let part = match trace.recipe.offset {
                        Offset::Uniform => self.arrival.unit(),
                        Offset::Even => (f64::from(nth) + start) / f64::from(count),
                    };
                    let ms = function.duration_ms.at(self.run_time.unit()).max(1.0);
                    let mb = function.memory_mb.at(self.memory.unit()) * trace.recipe.memory_factor;
                    self.ready.push(Arrival {
                        at_ns: begin_ns + whole(part * MINUTE_NS as f64),
                        function: u32::try_from(number).unwrap_or(u32::MAX),
                        class: self.classes[number],
                        cpu_ns: whole(ms * MS_NS),
                        memory_peak: whole(mb * MB as f64),
                    });
                }
            }
        }
        // Of equal times the order of drawing holds.
        self.ready.sort_by_key(|arrival| arrival.at_ns);
        self.ready.reverse();
    }
}

impl Iterator for Minutes<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        while self.ready.is_empty() {
            if self.minute >= self.trace.span().end {
                return None;
            }
            self.draw_minute();
            self.minute += 1;
        }
        self.ready.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_through_its_points_and_has_its_mean() {
        let curve = Curve::new(vec![(0.0, 0.0), (0.5, 10.0), (1.0, 30.0)], None);
        for (part, expected) in [(0.0, 0.0), (0.25, 5.0), (0.5, 10.0), (0.75, 20.0), (1.0, 30.0)] {
            assert!((curve.at(part) - expected).abs() < 1e-9, "{part}");
        }
        // Its own mean is 12.5.
        let scaled = Curve::new(curve.points, Some(25.0));
        assert!((scaled.at(0.5) - 20.0).abs() < 1e-9);
    }
}
