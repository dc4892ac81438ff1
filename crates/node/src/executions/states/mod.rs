//! State machines: the Amazon States Language (`asl`) as an interpreter of executions.
//!
//! A function of kind `state-machine` is a definition; its environment says what AWS keeps beside it
//! ([`ROLE`], [`SORT`], [`NAME`]). A turn steps the machine by everything that was resolved, turns
//! what it asks for into asks of the execution ([`asks`]), and what comes back into its inputs
//! ([`answers`]). Its history events are notes of the execution, one note a turn.

mod answers;
mod asks;
mod cache;
mod jobs;
mod map_runs;
mod mocks;
mod origin;
#[cfg(test)]
mod redriven;
mod roles;
mod turn;
mod work;

use std::sync::{Arc, Mutex};

use asl::definition::{Definition, MachineType, Severity, parse};
use asl::machine::{Facts, Settings};
use engine::{Birth, Orchestrator};
use model::{ExecutionId, Kind, Timestamp, limits};

use super::interpret::{Interpreter, Source};
use cache::Cache;

pub use answers::{Begun, end_of, stopped};
pub use mocks::Mocks;
pub use origin::Origin;
pub use roles::{Permission, Role, Roles, name as role_name};
pub use work::{Child, MapRunChange, Read, Work, Write, WriteItem, change_signal};

/// Variable of a state machine's environment: the role that executions are told.
pub const ROLE: &str = "STATE_MACHINE_ROLE";
/// Variable of a state machine's environment: `STANDARD` or `EXPRESS`.
pub const SORT: &str = "STATE_MACHINE_TYPE";
/// Variable of a state machine's environment: its logging configuration, where it logs.
pub const LOGGING: &str = "STATE_MACHINE_LOGGING";
/// Variable of a state machine's environment: its name, where that cannot name a function.
pub const NAME: &str = "STATE_MACHINE_NAME";

/// Where resources are said to be: part of every ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Twelve digits.
    pub account: String,
    /// `us-east-1`.
    pub region: String,
}

/// Which limits hold for state machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quotas {
    /// AWS's.
    #[default]
    Aws,
    /// The platform's own: the payload cap, and many more events.
    Platform,
}

/// Interprets state machines.
pub struct StateMachines {
    place: Place,
    settings: Settings,
    roles: Arc<Roles>,
    mocks: Arc<Mocks>,
    cache: Arc<Mutex<Cache>>,
}

/// One definition.
struct StateMachine {
    definition: Arc<Definition>,
    name: String,
    role: String,
    is_followed: bool,
    place: Place,
    settings: Settings,
    roles: Arc<Roles>,
    mocks: Arc<Mocks>,
    cache: Arc<Mutex<Cache>>,
}

impl StateMachines {
    /// An interpreter whose machines are there, may do what those roles allow and have those test cases.
    #[must_use]
    pub fn new(
        place: Place,
        quotas: Quotas,
        payload_bytes_max: usize,
        (roles, mocks): (Roles, Mocks),
    ) -> Self {
        let settings = Settings { region: place.region.clone(), ..Settings::default() };
        let settings = match quotas {
            Quotas::Aws => settings,
            Quotas::Platform => Settings {
                data_bytes_max: payload_bytes_max,
                variables_bytes_max: limits::ASL_VARIABLES_BYTES_PLATFORM,
                events_max: limits::ASL_EVENTS_MAX,
                ..settings
            },
        };
        let (roles, mocks) = (Arc::new(roles), Arc::new(mocks));
        Self { place, settings, roles, mocks, cache: Arc::default() }
    }
}

impl Interpreter for StateMachines {
    fn kind(&self) -> Kind {
        Kind::StateMachine
    }

    fn parse(&self, source: &Source<'_>) -> Result<Arc<dyn Orchestrator>, String> {
        let text = std::str::from_utf8(source.definition)
            .map_err(|_| "the definition is not UTF-8".to_owned())?;
        let variable = |wanted: &str| {
            let found = source.environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let sort = match variable(SORT).as_deref() {
            None | Some("STANDARD") => MachineType::Standard,
            Some("EXPRESS") => MachineType::Express,
            Some(other) => return Err(format!("{SORT} is STANDARD or EXPRESS, not {other:?}")),
        };
        let definition = parse(text, sort).into_result().map_err(|problems| {
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
            let errors: Vec<String> = errors.map(ToString::to_string).collect();
            errors.join("\n")
        })?;
        let role = variable(ROLE)
            .unwrap_or_else(|| format!("arn:aws:iam::{}:role/fermata", self.place.account));
        Ok(Arc::new(StateMachine {
            definition: Arc::new(definition),
            name: variable(NAME).unwrap_or_else(|| source.function.to_string()),
            role,
            is_followed: variable(LOGGING).is_some(),
            place: self.place.clone(),
            settings: self.settings.clone(),
            roles: Arc::clone(&self.roles),
            mocks: Arc::clone(&self.mocks),
            cache: Arc::clone(&self.cache),
        }))
    }
}

impl Place {
    fn arn(&self, sort: &str, rest: &str) -> String {
        format!("arn:aws:states:{}:{}:{sort}:{rest}", self.region, self.account)
    }

    /// The ARN of a state machine.
    #[must_use]
    pub fn machine(&self, name: &str) -> String {
        self.arn("stateMachine", name)
    }

    /// The ARN of an execution.
    #[must_use]
    pub fn execution(&self, machine: &str, name: &str) -> String {
        self.arn("execution", &format!("{machine}:{name}"))
    }

    /// The ARN of a function.
    #[must_use]
    pub fn function(&self, name: &str) -> String {
        format!("arn:aws:lambda:{}:{}:function:{name}", self.region, self.account)
    }
}

impl StateMachine {
    /// What the context object tells of an execution that nobody named.
    fn facts(&self, birth: &Birth, origin: &Origin, began: Timestamp) -> Facts {
        let machine_name = origin.machine.clone().unwrap_or_else(|| self.name.clone());
        let execution_name = origin.name.clone().unwrap_or_else(|| nameless(birth.id));
        let execution_arn = self.place.execution(&machine_name, &execution_name);
        Facts {
            execution_arn,
            execution_name,
            role_arn: self.role.clone(),
            started: origin.first_began.map_or(began, Timestamp),
            redrive_count: Some(origin.begun_again),
            machine_arn: self.place.machine(&machine_name),
            machine_name,
        }
    }
}

/// The name of an execution that was given none.
fn nameless(id: ExecutionId) -> String {
    id.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_refused_with_all_its_problems_and_places() {
        let place = Place { account: "000000000000".into(), region: "us-east-1".into() };
        let interpreter = StateMachines::new(place, Quotas::Aws, 0, Default::default());
        let function = "m".parse().expect("a name");
        let parse = |definition: &str, environment: &[(String, String)]| {
            let definition = definition.as_bytes();
            let source = Source { definition, function: &function, environment };
            interpreter.parse(&source).map(|_| ())
        };
        let good = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
        assert_eq!(parse(good, &[]), Ok(()));
        let bad =
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"C":{"Type":"Wait"}}}"#;
        let told = parse(bad, &[]).expect_err("it is wrong");
        assert!(told.lines().count() >= 2, "{told}");
        assert!(told.contains("/States/A/Next") && told.contains("/States/C"), "{told}");
        let sort = [(SORT.to_owned(), "FAST".to_owned())];
        assert!(parse(good, &sort).expect_err("no such type").contains("FAST"));
    }
}
