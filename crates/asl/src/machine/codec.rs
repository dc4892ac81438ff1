//! The state of a machine as bytes.
//!
//! Documents of some size are *parts*: stored once under a number of their own, and only referred to
//! afterwards. A step that changes little writes little, however large the items and results of a Map
//! state are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::Timestamp;
use model::suspend::OpId;

use super::branch::{Branch, BranchId, Phase};
use super::map::{MapPhase, Source};
use super::map_run::MapRunPhase;
use super::parallel::ParallelPhase;
use super::results::{Chunk, Results};
use super::task::{Heartbeat, TaskPhase};
use super::{Facts, Machine, Op, Role, Settings, Turn};
use crate::ask::{End, Failed};
use crate::definition::{ChartId, Definition, StateId};
use crate::document::Document;
use crate::env::Random;

/// The format of most machines.
const VERSION: u8 = 1;
/// The format of those that have something in addition at their end.
const VERSION_WITH_MORE: u8 = 2;
/// The format of those that read items from files, too.
const VERSION_WITH_PLACES: u8 = 3;
/// A document of so many bytes is a part.
const PART_BYTES_MIN: usize = 2_048;

/// The state of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What changes with each step.
    pub state: Vec<u8>,
    /// Parts that are new since the last time: to be stored together with the state.
    pub parts: Vec<(u64, Vec<u8>)>,
    /// All parts that the state refers to: others can be removed.
    pub live: BTreeSet<u64>,
}

/// Where stored parts are found.
pub trait Parts {
    /// One of them.
    fn part(&self, number: u64) -> Option<Vec<u8>>;
}

impl Parts for BTreeMap<u64, Vec<u8>> {
    fn part(&self, number: u64) -> Option<Vec<u8>> {
        self.get(&number).cloned()
    }
}

/// Why bytes are not the state of a machine of that definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too soon or say what cannot be.
    #[error("the state of the execution is damaged")]
    Damaged,
    /// They were written by a later version.
    #[error("the state of the execution has format {0}, which is not known")]
    Version(u8),
    /// A part is missing.
    #[error("part {0} of the execution is missing")]
    Part(u64),
}

impl Machine {
    /// The state as bytes. What is new in it is handed out once: if it can not be stored, the machine
    /// has to be decoded from what was stored before.
    pub fn encode(&mut self) -> Encoded {
        let mut body = Writer::default();
        self.write(&mut body);
        let Writer { bytes: body, documents, .. } = body;
        let mut head = Writer { bytes: vec![self.version()], ..Writer::default() };
        let (mut parts, mut live) = (Vec::new(), BTreeSet::new());
        head.number(documents.len() as u64);
        for document in &documents {
            if document.part().is_none() && document.text().len() >= PART_BYTES_MIN {
                document.set_part(self.next_part);
                parts.push((self.next_part, document.text().as_bytes().to_vec()));
                self.next_part += 1;
            }
            match document.part() {
                Some(part) => {
                    head.number(1);
                    head.number(part);
                    live.insert(part);
                }
                None => {
                    head.number(0);
                    head.text(document.text());
                }
            }
        }
        head.number(self.next_part);
        head.bytes.extend(body);
        Encoded { state: head.bytes, parts, live }
    }

    fn write(&self, w: &mut Writer) {
        write_facts(w, &self.facts);
        w.document(&self.input);
        w.number(u64::from(self.chart.0));
        w.number(self.next_branch);
        w.number(self.next_op);
        w.number(self.last_event);
        w.number(self.random.seed());
        w.number(self.branches.len() as u64);
        for (id, branch) in &self.branches {
            w.number(id.0);
            write_branch(w, branch);
        }
        w.number(self.ops.len() as u64);
        for (id, op) in &self.ops {
            w.number(id.0);
            w.maybe(op.branch.as_ref(), |w, id| w.number(id.0));
            write_role(w, op.role);
        }
        w.maybe(self.end.as_ref(), write_end);
        let version = self.version();
        if version >= VERSION_WITH_MORE {
            w.maybe(self.redriven.as_ref(), |w, at| w.number(at.0));
            let runs: Vec<BranchId> = self.runs_of_objects().collect();
            w.list(&runs, |w, id| w.number(id.0));
        }
        if version >= VERSION_WITH_PLACES {
            let runs: Vec<(BranchId, &Document)> = self.runs_of_files().collect();
            w.list(&runs, |w, (id, places)| {
                w.number(id.0);
                w.document(places);
            });
        }
    }

    /// The first format that has a place for all that there is.
    fn version(&self) -> u8 {
        if self.runs_of_files().next().is_some() {
            VERSION_WITH_PLACES
        } else if self.redriven.is_some() || self.runs_of_objects().next().is_some() {
            VERSION_WITH_MORE
        } else {
            VERSION
        }
    }

    /// Map runs whose items were read from files, and the places of these.
    fn runs_of_files(&self) -> impl Iterator<Item = (BranchId, &Document)> + '_ {
        self.branches.iter().filter_map(|(id, branch)| match &branch.phase {
            Phase::MapRun(run)
                if run.places.value().as_array().is_some_and(|all| !all.is_empty()) =>
            {
                Some((*id, &run.places))
            }
            _ => None,
        })
    }

    fn runs_of_objects(&self) -> impl Iterator<Item = BranchId> + '_ {
        let is_one = |branch: &Branch| matches!(&branch.phase, Phase::MapRun(run) if run.source == Source::Object);
        self.branches.iter().filter(move |(_, branch)| is_one(branch)).map(|(id, _)| *id)
    }

    /// The machine as it was encoded. Its definition and settings are not part of the bytes.
    ///
    /// # Errors
    /// The bytes are not the state of a machine of that definition.
    pub fn decode(
        bytes: &[u8],
        parts: &dyn Parts,
        definition: Arc<Definition>,
        settings: Settings,
    ) -> Result<Self, DecodeError> {
        let mut r = Reader { bytes, documents: Vec::new() };
        let version = r.byte()?;
        if !matches!(version, VERSION..=VERSION_WITH_PLACES) {
            return Err(DecodeError::Version(version));
        }
        for _ in 0..r.count()? {
            let document = read_document(&mut r, parts)?;
            r.documents.push(document);
        }
        let next_part = r.number()?;
        let mut machine = read_machine(&mut r, definition, settings, next_part)?;
        if version >= VERSION_WITH_MORE {
            read_more(&mut r, &mut machine)?;
        }
        if version >= VERSION_WITH_PLACES {
            read_places(&mut r, &mut machine)?;
        }
        if r.bytes.is_empty() { Ok(machine) } else { Err(DecodeError::Damaged) }
    }
}

fn read_more(r: &mut Reader<'_>, machine: &mut Machine) -> Result<(), DecodeError> {
    machine.redriven = r.maybe(|r| r.number().map(Timestamp))?;
    for id in r.list(|r| r.number().map(BranchId))? {
        match machine.branches.get_mut(&id).map(|branch| &mut branch.phase) {
            Some(Phase::MapRun(run)) => run.source = Source::Object,
            _ => return Err(DecodeError::Damaged),
        }
    }
    Ok(())
}

fn read_places(r: &mut Reader<'_>, machine: &mut Machine) -> Result<(), DecodeError> {
    for (id, places) in r.list(|r| Ok((BranchId(r.number()?), r.document()?)))? {
        match machine.branches.get_mut(&id).map(|branch| &mut branch.phase) {
            Some(Phase::MapRun(run)) => run.places = places,
            _ => return Err(DecodeError::Damaged),
        }
    }
    Ok(())
}

fn read_document(r: &mut Reader<'_>, parts: &dyn Parts) -> Result<Document, DecodeError> {
    let parse = |text: &str| Document::parse(text).map_err(|_| DecodeError::Damaged);
    match r.number()? {
        0 => parse(&r.text()?),
        1 => {
            let number = r.number()?;
            let bytes = parts.part(number).ok_or(DecodeError::Part(number))?;
            let document = parse(std::str::from_utf8(&bytes).map_err(|_| DecodeError::Damaged)?)?;
            document.set_part(number);
            Ok(document)
        }
        _ => Err(DecodeError::Damaged),
    }
}

fn read_machine(
    r: &mut Reader<'_>,
    definition: Arc<Definition>,
    settings: Settings,
    next_part: u64,
) -> Result<Machine, DecodeError> {
    let facts = read_facts(r)?;
    let input = r.document()?;
    let chart = ChartId(r.small()?);
    let (next_branch, next_op, last_event) = (r.number()?, r.number()?, r.number()?);
    let random = Random::new(r.number()?);
    let mut branches = BTreeMap::new();
    for _ in 0..r.count()? {
        let id = BranchId(r.number()?);
        branches.insert(id, read_branch(r, &definition)?);
    }
    let mut ops = BTreeMap::new();
    for _ in 0..r.count()? {
        let id = OpId(r.number()?);
        let branch = r.maybe(|r| r.number().map(BranchId))?;
        let role = read_role(r)?;
        ops.insert(id, Op { branch, role });
    }
    let end = r.maybe(read_end)?;
    let known = |id: &BranchId| branches.contains_key(id);
    let whole = branches.values().all(|branch| branch.parent.is_none_or(|(id, _)| known(&id)))
        && ops.values().all(|op| op.branch.is_none_or(|id| known(&id)));
    if !whole {
        return Err(DecodeError::Damaged);
    }
    let mut machine = Machine {
        definition,
        settings,
        facts,
        input,
        chart,
        branches,
        ops,
        next_branch,
        next_op,
        last_event,
        next_part,
        random,
        end,
        redriven: None,
        now: Timestamp::default(),
        ready: VecDeque::new(),
        timed_out: Vec::new(),
        transitions: 0,
        turn: Turn::default(),
        inspection: None,
    };
    machine.find_ready();
    Ok(machine)
}

fn write_facts(w: &mut Writer, facts: &Facts) {
    w.text(&facts.execution_arn);
    w.text(&facts.execution_name);
    w.text(&facts.role_arn);
    w.number(facts.started.0);
    w.maybe(facts.redrive_count.as_ref(), |w, count| w.number(u64::from(*count)));
    w.text(&facts.machine_arn);
    w.text(&facts.machine_name);
}

fn read_facts(r: &mut Reader<'_>) -> Result<Facts, DecodeError> {
    Ok(Facts {
        execution_arn: r.text()?,
        execution_name: r.text()?,
        role_arn: r.text()?,
        started: Timestamp(r.number()?),
        redrive_count: r.maybe(Reader::small)?,
        machine_arn: r.text()?,
        machine_name: r.text()?,
    })
}

fn write_branch(w: &mut Writer, branch: &Branch) {
    w.maybe(branch.parent.as_ref(), |w, (id, slot)| {
        w.number(id.0);
        w.number(u64::from(*slot));
    });
    w.number(u64::from(branch.chart.0));
    w.number(u64::from(branch.state.0));
    w.document(&branch.input);
    w.number(branch.previous);
    w.number(branch.before);
    w.number(branch.entered);
    w.number(branch.entered_at.0);
    w.list(&branch.retries, |w, used| w.number(u64::from(*used)));
    w.number(u64::from(branch.retry_count));
    w.number(branch.variables.len() as u64);
    for (name, value) in &branch.variables {
        w.text(name);
        w.document(value);
    }
    w.maybe(branch.item.as_ref(), |w, (index, value)| {
        w.number(u64::from(*index));
        w.document(value);
    });
    match &branch.phase {
        Phase::Entering => w.number(0),
        Phase::Retrying => w.number(1),
        Phase::Waiting => w.number(2),
        Phase::Task(task) => {
            w.number(3);
            w.number(task.op.0);
            w.maybe(task.timeout.as_ref(), |w, op| w.number(op.0));
            w.maybe(task.heartbeat.as_ref(), |w, heartbeat| {
                w.number(heartbeat.timer.0);
                w.number(heartbeat.seconds);
            });
        }
        Phase::Parallel(parallel) => {
            w.number(4);
            w.list(&parallel.results, |w, result| w.maybe(result.as_ref(), Writer::document));
        }
        Phase::Map(map) => {
            w.number(5);
            write_map(w, map);
        }
        Phase::MapRun(run) => {
            w.number(6);
            write_run(w, run);
        }
    }
}

fn read_branch(r: &mut Reader<'_>, definition: &Definition) -> Result<Branch, DecodeError> {
    let parent = r.maybe(|r| Ok((BranchId(r.number()?), r.small()?)))?;
    let (chart, state) = (ChartId(r.small()?), StateId(r.small()?));
    let known = definition
        .charts
        .get(chart.0 as usize)
        .is_some_and(|chart| (state.0 as usize) < chart.states.len());
    if !known {
        return Err(DecodeError::Damaged);
    }
    let input = r.document()?;
    let mut branch = Branch::new(parent, chart, state, input, r.number()?);
    branch.before = r.number()?;
    branch.entered = r.number()?;
    branch.entered_at = Timestamp(r.number()?);
    branch.retries = r.list(Reader::small)?;
    branch.retry_count = r.small()?;
    for _ in 0..r.count()? {
        let name = r.text()?;
        let value = r.document()?;
        branch.variables.insert(name, value);
    }
    branch.item = r.maybe(|r| Ok((r.small()?, r.document()?)))?;
    branch.phase = match r.number()? {
        0 => Phase::Entering,
        1 => Phase::Retrying,
        2 => Phase::Waiting,
        3 => {
            let op = OpId(r.number()?);
            let timeout = r.maybe(|r| r.number().map(OpId))?;
            let heartbeat =
                r.maybe(|r| Ok(Heartbeat { timer: OpId(r.number()?), seconds: r.number()? }))?;
            Phase::Task(Box::new(TaskPhase { op, timeout, heartbeat }))
        }
        4 => {
            let results = r.list(|r| r.maybe(Reader::document))?;
            Phase::Parallel(Box::new(ParallelPhase { results }))
        }
        5 => Phase::Map(Box::new(read_map(r)?)),
        6 => Phase::MapRun(Box::new(read_run(r)?)),
        _ => return Err(DecodeError::Damaged),
    };
    Ok(branch)
}

fn write_map(w: &mut Writer, map: &MapPhase) {
    w.document(&map.items);
    w.document(&map.effective);
    w.number(map.next as u64);
    w.number(map.running as u64);
    w.number(map.concurrency as u64);
    write_results(w, &map.results);
}

fn read_map(r: &mut Reader<'_>) -> Result<MapPhase, DecodeError> {
    Ok(MapPhase {
        items: r.document()?,
        effective: r.document()?,
        next: r.size()?,
        running: r.size()?,
        concurrency: r.size()?,
        results: read_results(r)?,
    })
}

fn write_run(w: &mut Writer, run: &MapRunPhase) {
    w.text(&run.arn);
    w.text(&run.label);
    w.document(&run.items);
    w.document(&run.effective);
    w.maybe(run.batches.as_ref(), |w, ends| w.list(ends, |w, end| w.number(u64::from(*end))));
    w.number(run.children as u64);
    w.number(run.next as u64);
    w.number(run.running.len() as u64);
    for (op, index) in &run.running {
        w.number(op.0);
        w.number(u64::from(*index));
    }
    w.number(run.concurrency as u64);
    write_results(w, &run.results);
    w.number(run.failures.len() as u64);
    for (index, failed) in &run.failures {
        w.number(u64::from(*index));
        w.text(&failed.error);
        w.maybe(failed.cause.as_ref(), |w, cause| w.text(cause));
    }
    w.number(run.failed);
    w.maybe(run.tolerated_count.as_ref(), |w, count| w.number(*count));
    w.maybe(run.tolerated_percentage.as_ref(), |w, percentage| w.number(percentage.to_bits()));
}

fn read_run(r: &mut Reader<'_>) -> Result<MapRunPhase, DecodeError> {
    Ok(MapRunPhase {
        arn: r.text()?,
        label: r.text()?,
        items: r.document()?,
        source: Source::Array,
        places: serde_json::Value::Array(Vec::new()).into(),
        effective: r.document()?,
        batches: r.maybe(|r| r.list(Reader::small))?,
        children: r.size()?,
        next: r.size()?,
        running: r.list(|r| Ok((OpId(r.number()?), r.small()?)))?.into_iter().collect(),
        concurrency: r.size()?,
        results: read_results(r)?,
        failures: r
            .list(|r| {
                let index = r.small()?;
                let (error, cause) = (r.text()?, r.maybe(Reader::text)?);
                Ok((index, Failed { error, cause }))
            })?
            .into_iter()
            .collect(),
        failed: r.number()?,
        tolerated_count: r.maybe(Reader::number)?,
        tolerated_percentage: r.maybe(|r| r.number().map(f64::from_bits))?,
    })
}

fn write_results(w: &mut Writer, results: &Results) {
    w.number(results.missing as u64);
    w.list(&results.chunks, |w, chunk| match chunk {
        Chunk::Empty(size) => {
            w.number(0);
            w.number(*size as u64);
        }
        Chunk::Open(slots) => {
            w.number(1);
            w.list(slots, |w, slot| w.maybe(slot.as_ref(), Writer::document));
        }
        Chunk::Closed(all) => {
            w.number(2);
            w.document(all);
        }
    });
}

fn read_results(r: &mut Reader<'_>) -> Result<Results, DecodeError> {
    let missing = r.size()?;
    let chunks = r.list(|r| match r.number()? {
        0 => r.size().map(Chunk::Empty),
        1 => r.list(|r| r.maybe(Reader::document)).map(Chunk::Open),
        2 => r.document().map(Chunk::Closed),
        _ => Err(DecodeError::Damaged),
    })?;
    Ok(Results { chunks, missing })
}

fn write_role(w: &mut Writer, role: Role) {
    let (number, index) = match role {
        Role::Deadline => (0, None),
        Role::Continue => (1, None),
        Role::Wait => (2, None),
        Role::Backoff => (3, None),
        Role::Task => (4, None),
        Role::TaskTimeout => (5, None),
        Role::TaskHeartbeat => (6, None),
        Role::Read => (7, None),
        Role::Child(index) => (8, Some(index)),
        Role::Write => (9, None),
    };
    w.number(number);
    if let Some(index) = index {
        w.number(u64::from(index));
    }
}

fn read_role(r: &mut Reader<'_>) -> Result<Role, DecodeError> {
    Ok(match r.number()? {
        0 => Role::Deadline,
        1 => Role::Continue,
        2 => Role::Wait,
        3 => Role::Backoff,
        4 => Role::Task,
        5 => Role::TaskTimeout,
        6 => Role::TaskHeartbeat,
        7 => Role::Read,
        8 => Role::Child(r.small()?),
        9 => Role::Write,
        _ => return Err(DecodeError::Damaged),
    })
}

fn write_end(w: &mut Writer, end: &End) {
    let mut error = |number, error: &Option<String>, cause: &Option<String>| {
        w.number(number);
        w.maybe(error.as_ref(), |w, text| w.text(text));
        w.maybe(cause.as_ref(), |w, text| w.text(text));
    };
    match end {
        End::Succeeded(output) => {
            w.number(0);
            w.document(output);
        }
        End::Failed { error: name, cause } => error(1, name, cause),
        End::TimedOut => w.number(2),
        End::Aborted { error: name, cause } => error(3, name, cause),
    }
}

fn read_end(r: &mut Reader<'_>) -> Result<End, DecodeError> {
    match r.number()? {
        0 => r.document().map(End::Succeeded),
        1 => Ok(End::Failed { error: r.maybe(Reader::text)?, cause: r.maybe(Reader::text)? }),
        2 => Ok(End::TimedOut),
        3 => Ok(End::Aborted { error: r.maybe(Reader::text)?, cause: r.maybe(Reader::text)? }),
        _ => Err(DecodeError::Damaged),
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    documents: Vec<Document>,
    numbers: BTreeMap<usize, u64>,
}

impl Writer {
    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push((number & 0x7f) as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    fn document(&mut self, document: &Document) {
        let next = self.documents.len() as u64;
        let number = *self.numbers.entry(document.address()).or_insert(next);
        if number == next {
            self.documents.push(document.clone());
        }
        self.number(number);
    }

    fn maybe<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    documents: Vec<Document>,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.bytes.split_first().ok_or(DecodeError::Damaged)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Damaged)
    }

    fn small(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.number()?).map_err(|_| DecodeError::Damaged)
    }

    fn size(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.number()?).map_err(|_| DecodeError::Damaged)
    }

    /// Of things that take a byte each at the least.
    fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.size()?;
        if count > self.bytes.len() { Err(DecodeError::Damaged) } else { Ok(count) }
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.count()?;
        let (text, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| DecodeError::Damaged)
    }

    fn document(&mut self) -> Result<Document, DecodeError> {
        let number = self.size()?;
        self.documents.get(number).cloned().ok_or(DecodeError::Damaged)
    }

    fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.number()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(DecodeError::Damaged),
        }
    }

    fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count()?;
        let mut items = Vec::with_capacity(count.min(1_024));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }
}
