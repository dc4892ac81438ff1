//! Test cases of state machines: what stands in for the work of their Task states.
//!
//! They are written as Step Functions Local has them (`MockConfigFile.json`). An execution that is started as
//! `ARN#CASE` has the answers of that case; states that it does not name do their work.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use asl::Document;
use asl::ask::Failed;
use serde::Deserialize;
use serde_json::Value;

/// All test cases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mocks {
    machines: BTreeMap<String, Machine>,
    replies: BTreeMap<String, Replies>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Machine {
    /// By case and state, the name of the answers.
    test_cases: BTreeMap<String, BTreeMap<String, String>>,
}

/// What is answered at which attempts, counted from 0.
type Replies = Vec<(RangeInclusive<u32>, Reply)>;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
enum Reply {
    Return(Value),
    Throw {
        #[serde(rename = "Error")]
        error: String,
        #[serde(rename = "Cause", default)]
        cause: Option<String>,
    },
}

impl Mocks {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no such file, or names answers that are not in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "PascalCase")]
        struct File {
            state_machines: BTreeMap<String, Machine>,
            mocked_responses: BTreeMap<String, BTreeMap<String, Reply>>,
        }
        let File { state_machines: machines, mocked_responses } =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut replies = BTreeMap::new();
        for (name, told) in mocked_responses {
            let mut these = Replies::new();
            for (attempts, reply) in told {
                let range = range(&attempts).ok_or_else(|| {
                    format!(
                        "MockedResponses.{name}: {attempts:?} are no attempts: write \"0\" for the first, \"1-2\" for \
                         the two after it"
                    )
                })?;
                let overlaps = |(other, _): &(RangeInclusive<u32>, Reply)| {
                    other.start() <= range.end() && range.start() <= other.end()
                };
                if these.iter().any(overlaps) {
                    return Err(format!(
                        "MockedResponses.{name}: two answers for attempt {attempts}"
                    ));
                }
                these.push((range, reply));
            }
            replies.insert(name, these);
        }
        for (machine, Machine { test_cases }) in &machines {
            for (case, states) in test_cases {
                if let Some((state, reply)) =
                    states.iter().find(|(_, reply)| !replies.contains_key(*reply))
                {
                    return Err(format!(
                        "StateMachines.{machine}.TestCases.{case}.{state}: there are no MockedResponses {reply:?}"
                    ));
                }
            }
        }
        Ok(Self { machines, replies })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// Whether a machine has that test case.
    #[must_use]
    pub fn has(&self, machine: &str, case: &str) -> bool {
        self.machines.get(machine).is_some_and(|machine| machine.test_cases.contains_key(case))
    }

    /// What stands in for the work of a state at that attempt; none where it is to do its work.
    #[must_use]
    pub fn reply(
        &self,
        machine: &str,
        case: &str,
        state: &str,
        attempt: u32,
    ) -> Option<Result<Document, Failed>> {
        // Children of a map run are named after it.
        let machine = machine.split('/').next().unwrap_or_default();
        let name = self.machines.get(machine)?.test_cases.get(case)?.get(state)?;
        let replies = self.replies.get(name)?;
        let found = replies.iter().find(|(attempts, _)| attempts.contains(&attempt));
        Some(match found {
            Some((_, Reply::Return(answer))) => Ok(Document::new(answer.clone())),
            Some((_, Reply::Throw { error, cause })) => {
                Err(Failed { error: error.clone(), cause: cause.clone() })
            }
            None => Err(Failed {
                error: "States.Runtime".to_owned(),
                cause: Some(format!(
                    "test case {case}: the MockedResponses {name:?} of state {state:?} have none for attempt {attempt}"
                )),
            }),
        })
    }
}

/// `2` or `2-5`.
fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "StateMachines": {"m": {"TestCases": {"Sad": {"A": "retried"}, "Happy": {}}}},
        "MockedResponses": {"retried": {
            "0": {"Throw": {"Error": "E", "Cause": "c"}},
            "1-2": {"Throw": {"Error": "F"}},
            "3": {"Return": {"x": 1}}
        }}
    }"#;

    #[test]
    fn each_attempt_of_a_state_has_its_answer() {
        let mocks = Mocks::parse(FILE).unwrap();
        assert!(mocks.has("m", "Happy") && !mocks.has("m", "None") && !mocks.has("n", "Sad"));
        let reply = |attempt| mocks.reply("m/map", "Sad", "A", attempt).unwrap();
        let error = |attempt| reply(attempt).unwrap_err().error;
        assert_eq!(reply(0).unwrap_err().cause.as_deref(), Some("c"));
        assert_eq!([error(0), error(1), error(2)], ["E", "F", "F"]);
        assert_eq!(reply(3).unwrap().text(), r#"{"x":1}"#);
        assert!(reply(4).unwrap_err().cause.unwrap().contains("none for attempt 4"));
        assert!(mocks.reply("m", "Sad", "B", 0).is_none(), "it does its work");
        assert!(mocks.reply("m", "Happy", "A", 0).is_none());
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_place() {
        let check = |from: &str, to: &str, part: &str| {
            let why = Mocks::parse(&FILE.replace(from, to)).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        check("\"A\": \"retried\"", "\"A\": \"gone\"", "StateMachines.m.TestCases.Sad.A");
        check("\"1-2\"", "\"2-1\"", "MockedResponses.retried");
        check("\"1-2\"", "\"first\"", "\"first\" are no attempts");
        check("\"1-2\"", "\"2-3\"", "two answers");
        check("\"Return\"", "\"Answer\"", "Answer");
        check("MockedResponses", "Mocked", "Mocked");
        assert!(Mocks::parse("[]").is_err());
    }
}
