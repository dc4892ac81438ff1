//! Recordings: what really arrived at a platform, to be played again under other machines, classes
//! or policies.
//!
//! A recording is text, one JSON object a line. The first line tells the format and the price list,
//! cheapest class first, prices in pico-cents per CPU second:
//!
//! ```json
//! {"fermata_recording":1,"classes":[{"name":"background","price":300000},{"name":"critical","price":2000000}]}
//! ```
//!
//! Each further line is one invocation: nanoseconds since the beginning, the function, its effective
//! class, the CPU time it took, the memory it had, and, where it is known, its time from arrival to
//! end as it really was:
//!
//! ```json
//! {"at_ns":1200345,"function":"acme/thumbnail","class":"background","cpu_ns":48000000,"memory_bytes":91226112,"latency_ns":51200345}
//! ```
//!
//! Lines may stand in any order: a platform writes them as invocations end.
//!
//! Fields that are not known are passed over, so that later versions may add some.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use model::{ClassId, Price, PriceClass, PriceList};
use serde::{Deserialize, Serialize};

use super::table::LoadError;
use super::{Arrival, Arrivals, Phases, Workload};
use crate::statistics::{Cell, ClassReport, cells_of, reports};
use crate::world::Completion;

/// The version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    fermata_recording: u32,
    classes: Vec<ClassLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClassLine {
    name: String,
    price: u64,
}

/// One invocation of a recording, as it stands on its line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it arrived, in nanoseconds since the recording began.
    pub at_ns: u64,
    /// Which function.
    pub function: String,
    /// Its effective class.
    pub class: String,
    /// CPU time that it took.
    pub cpu_ns: u64,
    /// The memory that it had.
    pub memory_bytes: u64,
    /// From its arrival to its end, as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<u64>,
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    to: W,
}

impl<W: Write> Recorder<W> {
    /// Begins a recording with its first line.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut to: W, prices: &PriceList) -> io::Result<Self> {
        let class = |(_, class): (ClassId, &PriceClass)| ClassLine {
            name: class.name.clone(),
            price: class.price.0,
        };
        let header =
            Header { fermata_recording: VERSION, classes: prices.iter().map(class).collect() };
        write_line(&mut to, &header)?;
        Ok(Self { to })
    }

    /// Adds one invocation, in any order; [`Recording::parse`] sorts them.
    ///
    /// # Errors
    /// What the writer says.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        write_line(&mut self.to, record)
    }

    /// The writer, to be flushed or asked; what is written to it is not part of the format.
    pub const fn writer(&mut self) -> &mut W {
        &mut self.to
    }

    /// Ends the recording and gives the writer back, flushed.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }
}

fn write_line(to: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    to.write_all(&text)
}

/// A recording in memory.
#[derive(Clone, Debug)]
pub struct Recording {
    prices: PriceList,
    functions: Vec<String>,
    arrivals: Vec<Arrival>,
    /// By arrival: its latency as it was.
    latencies: Vec<Option<u64>>,
    /// The phases that are reported.
    pub phases: Phases,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError`] names the line that is not of the format.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let file =
            File::open(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        Self::parse(BufReader::new(file), path)
    }

    /// Reads text; `path` stands in errors.
    ///
    /// # Errors
    /// [`LoadError`] names the line that is not of the format.
    pub fn parse(text: impl BufRead, path: &Path) -> Result<Self, LoadError> {
        let fail =
            |line: usize, problem: String| LoadError::Line { path: path.to_owned(), line, problem };
        let mut prices: Option<PriceList> = None;
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let mut arrivals = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
            let Some(prices) = &prices else {
                prices = Some(parse_header(&text).map_err(|problem| fail(line, problem))?);
                continue;
            };
            if text.trim().is_empty() {
                continue;
            }
            let record: Record =
                serde_json::from_str(&text).map_err(|error| fail(line, error.to_string()))?;
            let class = prices.find(&record.class);
            let class = class.ok_or_else(|| {
                fail(line, format!("class {:?} is not in the first line's list", record.class))
            })?;
            let next = u32::try_from(numbers.len()).expect("fewer functions than a u32 counts");
            let function = *numbers.entry(record.function).or_insert(next);
            let arrival = Arrival {
                at_ns: record.at_ns,
                function,
                class,
                cpu_ns: record.cpu_ns.max(1),
                memory_peak: record.memory_bytes,
            };
            arrivals.push((arrival, record.latency_ns));
        }
        let prices = prices.ok_or_else(|| fail(1, "the file is empty".into()))?;
        arrivals.sort_by_key(|(arrival, _)| arrival.at_ns);
        let (arrivals, latencies) = arrivals.into_iter().unzip();
        let mut functions = vec![String::new(); numbers.len()];
        for (name, number) in numbers {
            functions[usize::try_from(number).expect("an index fits")] = name;
        }
        Ok(Self { prices, functions, arrivals, latencies, phases: Phases::NONE })
    }

    /// The functions, by number.
    #[must_use]
    pub fn functions(&self) -> &[String] {
        &self.functions
    }

    /// Invocations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether nothing arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// What the classes really had, dearest first, under the policy name "measured". Slowdown is
    /// against the CPU time that each invocation took. None where no latency was recorded.
    #[must_use]
    pub fn measured(&self) -> Option<Vec<ClassReport>> {
        Some(reports("measured", &self.prices, &[self.measured_cells()?]))
    }

    /// The figures of [`Recording::measured`], by phase and class, to be joined with other runs'.
    #[must_use]
    pub fn measured_cells(&self) -> Option<[Vec<Cell>; 3]> {
        let completion = |(arrival, latency): (&Arrival, &Option<u64>)| {
            Some(Completion {
                arrived_ns: arrival.at_ns,
                finished_ns: arrival.at_ns.saturating_add((*latency)?),
                alone_ns: arrival.cpu_ns,
                class: arrival.class,
                restarts: 0,
            })
        };
        let pairs = self.arrivals.iter().zip(&self.latencies);
        let completions: Vec<Completion> = pairs.filter_map(completion).collect();
        (!completions.is_empty()).then(|| cells_of(&completions, self.phases, self.prices.len()))
    }

    /// When the last one arrived, in nanoseconds.
    #[must_use]
    pub fn last_arrival_ns(&self) -> u64 {
        self.arrivals.last().map_or(0, |arrival| arrival.at_ns)
    }

    /// Every invocation of that function in another class. False where there is no such function.
    pub fn set_class(&mut self, function: &str, class: ClassId) -> bool {
        let number = self.functions.iter().position(|name| name == function);
        let Some(number) = number.and_then(|number| u32::try_from(number).ok()) else {
            return false;
        };
        for arrival in self.arrivals.iter_mut().filter(|arrival| arrival.function == number) {
            arrival.class = class;
        }
        true
    }
}

fn parse_header(text: &str) -> Result<PriceList, String> {
    let header: Header = serde_json::from_str(text)
        .map_err(|error| format!("not a recording's first line: {error}"))?;
    if header.fermata_recording != VERSION {
        let version = header.fermata_recording;
        return Err(format!("format {version} is not known; this program reads {VERSION}"));
    }
    let class = |line: ClassLine| PriceClass { name: line.name, price: Price(line.price) };
    PriceList::new(header.classes.into_iter().map(class).collect())
        .map_err(|error| error.to_string())
}

impl Workload for Recording {
    fn arrivals(&self, _seed: u64) -> Arrivals<'_> {
        Box::new(self.arrivals.iter().copied())
    }

    fn prices(&self) -> &PriceList {
        &self.prices
    }

    fn phases(&self) -> Phases {
        self.phases
    }

    fn recipe(&self) -> String {
        let (calls, functions) = (self.arrivals.len(), self.functions.len());
        format!("recorded: {calls} invocations of {functions} functions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at_ns: u64, function: &str, class: &str) -> Record {
        let (function, class) = (function.to_owned(), class.to_owned());
        Record { at_ns, function, class, cpu_ns: 5, memory_bytes: 7, latency_ns: Some(15) }
    }

    fn parse(text: &[u8]) -> Result<Recording, String> {
        Recording::parse(text, Path::new("calls.jsonl")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_recorded_is_read_back_in_order() {
        let mut recorder = Recorder::new(Vec::new(), &PriceList::default()).unwrap();
        recorder.record(&record(20, "acme/b", "critical")).unwrap();
        recorder.record(&record(10, "acme/a", "background")).unwrap();
        let text = recorder.finish().unwrap();
        let mut recording = parse(&text).unwrap();
        let all: Vec<Arrival> = recording.arrivals(1).collect();
        assert_eq!(all[0].at_ns, 10);
        assert_eq!((all[1].class, all[1].cpu_ns, all[1].memory_peak), (ClassId(4), 5, 7));
        assert_eq!(recording.functions(), ["acme/b", "acme/a"]);
        assert_eq!(recording.last_arrival_ns(), 20);
        let measured = recording.measured().unwrap();
        let critical = &measured[0];
        assert_eq!((critical.policy.as_str(), critical.class.as_str()), ("measured", "critical"));
        assert_eq!((critical.before.count, critical.before.p99_slowdown.mean), (1, 3.0));
        assert!(recording.set_class("acme/a", ClassId(2)));
        assert!(!recording.set_class("acme/c", ClassId(2)));
        assert_eq!(recording.arrivals(1).next().unwrap().class, ClassId(2));
    }

    #[test]
    fn without_latencies_nothing_was_measured() {
        let text = r#"{"fermata_recording":1,"classes":[{"name":"a","price":5}]}
{"at_ns":1,"function":"f","class":"a","cpu_ns":5,"memory_bytes":7,"of a later version":1}"#;
        let recording = parse(text.as_bytes()).unwrap();
        assert_eq!((recording.len(), recording.measured()), (1, None));
    }

    #[test]
    fn what_is_no_recording_is_told_by_its_line() {
        let check = |text: &str, expected: &str| {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let header = r#"{"fermata_recording":1,"classes":[{"name":"a","price":5}]}"#;
        check("", "line 1: the file is empty");
        check("{}", "line 1: not a recording's first line");
        check(r#"{"fermata_recording":9,"classes":[]}"#, "format 9 is not known");
        check(&format!("{header}\n{{}}"), "line 2: missing field");
        let other = serde_json::to_string(&record(1, "f", "b")).unwrap();
        check(&format!("{header}\n{other}"), "line 2: class \"b\" is not in the first line's list");
    }
}
