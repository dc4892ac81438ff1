//! Executions that tasks wait for and a redrive begins again: each is told of as itself.
//!
//! The first turn after a redrive comes with the first thing that happened since, which may be the end of such
//! an execution. What that said at its beginning is heard in the turn after, so its end is put off until then.

use asl::ask::{End, Input};
use asl::definition::Pattern;
use asl::machine::Purpose;
use model::suspend::{Ask, OpId, Resolution};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::{document, end_of};
use super::asks::submitted_signal;
use super::turn::{Slot, Under};

/// What stands beside an ask that waits for an execution to say that it began again: the task's ask.
const JOB: &str = "job";
/// The same, of a timer after which nothing is waited for any more.
const LATEST: &str = "latest";
/// What stands beside a task whose execution has ended before it was known.
const ENDED: &str = "ended";

#[derive(Serialize, Deserialize)]
enum Ended {
    Succeeded(String),
    Failed(Option<String>, Option<String>),
    Aborted(Option<String>, Option<String>),
    TimedOut,
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        match end {
            End::Succeeded(output) => Self::Succeeded(output.text().to_owned()),
            End::Failed { error, cause } => Self::Failed(error, cause),
            End::Aborted { error, cause } => Self::Aborted(error, cause),
            End::TimedOut => Self::TimedOut,
        }
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Succeeded(output) => Self::Succeeded(document(output.as_bytes())),
            Ended::Failed(error, cause) => Self::Failed { error, cause },
            Ended::Aborted(error, cause) => Self::Aborted { error, cause },
            Ended::TimedOut => Self::TimedOut,
        }
    }
}

impl Under<'_> {
    /// Executions that tasks wait for were stopped with this one. Those that begin again say which they are.
    pub(super) fn await_jobs(&mut self) {
        let jobs: Vec<OpId> = self.run.machine.open().filter(|op| self.is_job(*op)).collect();
        for job in jobs {
            self.beside_of(job, JOB, Ask::Signal { name: submitted_signal(job) });
        }
    }

    /// Whether it is a task that waits for an execution which has begun.
    fn is_job(&self, op: OpId) -> bool {
        let has_begun = self.run.beside.get(&op.0).is_some_and(|begun| begun["shown"].is_object());
        has_begun && self.job_pattern(op).is_some()
    }

    fn job_pattern(&self, op: OpId) -> Option<Pattern> {
        let Some(Purpose::Task(resource)) = self.run.machine.purpose(op) else { return None };
        let pattern = resource.pattern();
        matches!(pattern, Pattern::Sync | Pattern::Sync2).then_some(pattern)
    }

    fn beside_of(&mut self, job: OpId, what: &str, ask: Ask) {
        let op = self.run.machine.reserve();
        self.run.beside.insert(op.0, json!({ what: job.0 }));
        self.asks.push((Slot::Work.of(op), ask));
    }

    /// Puts the end of an execution off until it is known which it is.
    pub(super) fn put_off(&mut self, op: OpId, resolution: &Resolution) -> bool {
        let Some((op, Slot::Work)) = Slot::read(op) else { return false };
        let end = match resolution {
            Resolution::Ok(answer) => End::Succeeded(document(answer)),
            Resolution::Failed(failure) => end_of(failure),
            Resolution::Refused { .. } => return false,
        };
        if !self.is_job(op) {
            return false;
        }
        let Some(begun) = self.run.beside.get_mut(&op.0) else { return false };
        begun[ENDED] = serde_json::to_value(Ended::from(end)).expect("texts are JSON");
        // One that could not begin says nothing.
        self.beside_of(op, LATEST, Ask::Timer { at: self.turn.now });
        true
    }

    /// An execution that a task waits for began again, or did not: what its task knows is another one.
    pub(super) fn job_begun(&mut self, op: OpId, resolution: &Resolution) -> Vec<Input> {
        let Some((op, Slot::Work)) = Slot::read(op) else { return Vec::new() };
        let of = |what: &str| self.run.beside.get(&op.0)?.get(what)?.as_u64().map(OpId);
        let (job, has_begun) = match (of(JOB), of(LATEST)) {
            (Some(job), _) => (job, true),
            (_, Some(job)) => (job, false),
            (None, None) => return Vec::new(),
        };
        self.run.beside.remove(&op.0);
        let Some(pattern) = self.job_pattern(job) else { return Vec::new() };
        let ended = self.run.beside.get_mut(&job.0).map(|begun| begun[ENDED].take());
        let mut inputs = Vec::new();
        if has_begun {
            inputs.extend(self.submitted(job, resolution));
        }
        let ended = ended.filter(|ended| !ended.is_null());
        inputs.extend(ended.and_then(|ended| self.end_job(job, ended, pattern)));
        inputs
    }

    fn end_job(&mut self, job: OpId, ended: Value, pattern: Pattern) -> Option<Input> {
        let ended: Ended = serde_json::from_value(ended).ok()?;
        let begun = serde_json::from_value(self.run.beside.get(&job.0)?.clone()).ok()?;
        let outcome = self.job_ended(&begun, &ended.into(), pattern);
        self.drop_op(job);
        Some(Input::TaskEnded(job, outcome))
    }
}
