//! Reads a whole definition.

use serde_json::{Map as Object, Value};

use super::problem::{Code, Problem, Severity};
use super::reader::{Fields, Reader};
use super::{Chart, ChartId, Definition, Language, State, StateId, check, json, state};

/// Charts within charts.
const DEPTH_MAX: usize = 25;
/// Length of a state's name.
const STATE_NAME_MAX: usize = 80;

/// How executions of a state machine run, which decides what it may contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MachineType {
    /// Durable at each transition, up to a year.
    #[default]
    Standard,
    /// Up to five minutes.
    Express,
}

impl MachineType {
    /// As AWS writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Express => "EXPRESS",
        }
    }
}

/// What came of reading a definition.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The definition, unless a problem is an error.
    pub definition: Option<Definition>,
    /// All that is wrong with it.
    pub problems: Vec<Problem>,
}

impl Parsed {
    /// The definition, or why there is none.
    ///
    /// # Errors
    /// All problems, warnings too.
    pub fn into_result(self) -> Result<Definition, Vec<Problem>> {
        self.definition.ok_or(self.problems)
    }
}

/// Reads and checks the text of a definition.
#[must_use]
pub fn parse(text: &str, machine_type: MachineType) -> Parsed {
    let mut reader = Reader::new(machine_type);
    let value = match json::read(text) {
        Ok(value) => value,
        Err(problem) => return Parsed { definition: None, problems: vec![problem] },
    };
    let Value::Object(object) = &value else {
        let problem = Problem {
            code: Code::SchemaValidationFailed,
            severity: Severity::Error,
            message: "Definition must be a valid JSON object".to_owned(),
            location: None,
        };
        return Parsed { definition: None, problems: vec![problem] };
    };
    let fields = Fields { object, place: "", language: Language::JsonPath };
    let comment = reader.text(&fields, "Comment");
    reader.text(&fields, "Version");
    let timeout_seconds = reader.whole_number(&fields, "TimeoutSeconds", 1..=99_999_999);
    reader.language = language(&mut reader, &fields).unwrap_or_default();
    chart(&mut reader, object, "");
    finish(reader, comment, timeout_seconds)
}

/// A single state, as TestState takes it.
#[derive(Clone, Debug)]
pub struct TestedState {
    /// A definition whose machine consists of that state; where it leads stands in `next`.
    pub definition: Definition,
    /// Names of the states that it names, by number.
    pub targets: Vec<String>,
}

/// Reads a single state that stands outside of a machine.
///
/// # Errors
/// All problems of it.
pub fn parse_state(text: &str, name: &str) -> Result<TestedState, Vec<Problem>> {
    let value = json::read(text).map_err(|problem| vec![problem])?;
    let mut reader = Reader::new(MachineType::Standard);
    let id = reader.reserve_chart();
    let Some(object) = reader.object(&value, "/") else { return Err(reader.problems) };
    let mut names = vec![name.to_owned()];
    let mut targets = Targets::Open(&mut names);
    let state = state::read(&mut reader, name, object, "", &mut targets);
    reader.charts[id.0 as usize] =
        state.map(|state| Chart { start: StateId(0), states: vec![state] });
    match finish(reader, None, None).into_result() {
        Ok(definition) => Ok(TestedState { definition, targets: names }),
        Err(problems) => Err(problems),
    }
}

fn finish(reader: Reader, comment: Option<String>, timeout_seconds: Option<u64>) -> Parsed {
    let Reader { mut problems, charts, .. } = reader;
    let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    let charts: Option<Vec<Chart>> = charts.into_iter().collect();
    let definition = match charts {
        Some(charts) if !refused => Some(Definition { comment, timeout_seconds, charts }),
        _ => None,
    };
    if definition.is_none() && !refused {
        problems.push(Problem {
            code: Code::SchemaValidationFailed,
            severity: Severity::Error,
            message: "Definition must be a valid JSON object".to_owned(),
            location: Some("/".to_owned()),
        });
    }
    Parsed { definition, problems }
}

/// `QueryLanguage` of a machine or a state.
pub(super) fn language(reader: &mut Reader, fields: &Fields<'_>) -> Option<Language> {
    match fields.get("QueryLanguage")? {
        Value::String(text) if text == "JSONPath" => Some(Language::JsonPath),
        Value::String(text) if text == "JSONata" => Some(Language::Jsonata),
        _ => {
            reader.no_such_word(fields, "QueryLanguage", &["JSONPath", "JSONata"]);
            None
        }
    }
}

/// States that a state may lead to, by name.
pub(super) enum Targets<'t> {
    /// Those of its chart.
    Closed(&'t [String]),
    /// Whatever it names.
    Open(&'t mut Vec<String>),
}

impl Targets<'_> {
    pub(super) fn find(&mut self, name: &str) -> Option<StateId> {
        let names = match self {
            Self::Closed(names) => names,
            Self::Open(names) => {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
                &names[..]
            }
        };
        let at = names.iter().position(|known| known == name)?;
        u32::try_from(at).ok().map(StateId)
    }
}

/// A machine, a branch or an item processor.
pub(super) fn chart(reader: &mut Reader, object: &Object<String, Value>, place: &str) -> ChartId {
    let id = reader.reserve_chart();
    if reader.depth >= DEPTH_MAX {
        reader.problem(
            Code::TooDeeplyNested,
            or_root(place),
            format!("States are nested more than {DEPTH_MAX} levels deep"),
        );
        return id;
    }
    reader.depth += 1;
    if let Some(chart) = read_chart(reader, object, place) {
        reader.charts[id.0 as usize] = Some(chart);
    }
    reader.depth -= 1;
    id
}

fn read_chart(reader: &mut Reader, object: &Object<String, Value>, place: &str) -> Option<Chart> {
    let fields = Fields { object, place, language: Language::JsonPath };
    let missing: Vec<&str> =
        ["States", "StartAt"].into_iter().filter(|name| !fields.has(name)).collect();
    if !missing.is_empty() {
        let message = format!("These fields are required: [{}]", missing.join(", "));
        reader.error(or_root(place), message);
    }
    let start_at = reader.text(&fields, "StartAt");
    let states = fields.get("States")?;
    let states = reader.object(states, &fields.at("States"))?;
    if states.is_empty() {
        reader.error(&fields.at("States"), "Value must have at least 1 state");
        return None;
    }
    let names: Vec<String> = states.keys().cloned().collect();
    let mut read: Vec<Option<State>> = Vec::with_capacity(states.len());
    for (name, value) in states {
        let place = format!("{place}/States/{name}");
        state_name(reader, name, &place);
        let Some(object) = reader.object(value, &place) else {
            read.push(None);
            continue;
        };
        read.push(state::read(reader, name, object, &place, &mut Targets::Closed(&names)));
    }
    let start_at = start_at?;
    let Some(start) = Targets::Closed(&names).find(&start_at) else {
        reader.problem(
            Code::MissingTransitionTarget,
            &fields.at("StartAt"),
            format!("Missing 'Next' target: {start_at}"),
        );
        return None;
    };
    let states: Option<Vec<State>> = read.into_iter().collect();
    let chart = Chart { start, states: states? };
    check::chart(reader, &chart, place);
    Some(chart)
}

fn state_name(reader: &mut Reader, name: &str, place: &str) {
    if name.is_empty() || name.chars().count() > STATE_NAME_MAX {
        let message =
            format!("State name must be between 1 and {STATE_NAME_MAX} characters long: '{name}'");
        reader.problem(Code::InvalidStateName, place, message);
    }
    if reader.state_names.iter().any(|known| known == name) {
        let message = format!("Duplicate State name: {name}");
        reader.problem(Code::DuplicateStateName, place, message);
    }
    reader.state_names.push(name.to_owned());
}

pub(super) const fn or_root(place: &str) -> &str {
    if place.is_empty() { "/" } else { place }
}
