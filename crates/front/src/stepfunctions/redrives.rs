//! Redrives: whether an execution can be redriven, and requests that come twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use asl::ask::End;
use model::{ExecutionId, Timestamp, limits};
use node::states::Quotas;
use node::{ErrorKind, Which};
use serde_json::Map;

use super::error::AwsError;
use super::executions::find_kept;
use super::view::{Kept, View};
use super::{Answer, Call, seconds};

/// What the cause of a failure begins with that came of too many events.
const TOO_LONG: &str = "The execution reached the maximum number of history events";

/// Whether an execution can be redriven, and why not, in AWS's words. A map run redrives its children.
pub(super) fn status(
    view: &View,
    now: Timestamp,
    quotas: Quotas,
) -> (&'static str, Option<String>) {
    match refusal(view, now, quotas) {
        Some(reason) => ("NOT_REDRIVABLE", Some(reason)),
        None if view.map_run.is_some() => ("REDRIVABLE_BY_MAP_RUN", None),
        None => ("REDRIVABLE", None),
    }
}

/// Why an execution can not be redriven, in AWS's words.
fn refusal(view: &View, now: Timestamp, quotas: Quotas) -> Option<String> {
    let status = view.status();
    let Some((ended, end)) = &view.end else {
        return Some(format!("Execution is {status} and cannot be redriven"));
    };
    let cause = match end {
        End::Succeeded(_) => return Some(format!("Execution is {status} and cannot be redriven")),
        End::Failed { cause, .. } => cause.as_deref().unwrap_or_default(),
        End::TimedOut | End::Aborted { .. } => "",
    };
    if cause.starts_with(TOO_LONG) {
        return Some("Execution history event limit exceeded".to_owned());
    }
    if quotas == Quotas::Platform {
        return None;
    }
    too_late(view.started, *ended, now).map(str::to_owned)
}

fn too_late(started: Timestamp, ended: Timestamp, now: Timestamp) -> Option<&'static str> {
    if now > started + limits::REDRIVE_EXECUTION_TIME_MAX {
        return Some("Execution has exceeded the max execution time");
    }
    (now > ended + limits::REDRIVE_PERIOD).then_some("Execution redrivable period exceeded")
}

/// Tokens with which executions were redriven lately, and when that was.
#[derive(Default)]
pub(super) struct Tokens(Mutex<BTreeMap<ExecutionId, VecDeque<(String, Timestamp)>>>);

impl Tokens {
    /// When the execution was redriven with this token.
    fn known(&self, id: ExecutionId, token: &str, now: Timestamp) -> Option<Timestamp> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, at) = all.get(&id)?.iter().find(|(known, _)| known == token)?;
        (now <= *at + limits::REDRIVE_TOKEN_TIME).then_some(*at)
    }

    fn note(&self, id: ExecutionId, token: &str, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= limits::REDRIVE_TOKENS_KNOWN_MAX && !all.contains_key(&id) {
            all.clear();
        }
        let known = all.entry(id).or_default();
        known.retain(|(other, _)| other != token);
        known.push_back((token.to_owned(), now));
        if known.len() > limits::REDRIVE_TOKENS_MAX {
            known.pop_front();
        }
    }
}

pub(super) async fn redrive(call: &Call<'_>) -> Answer {
    let view = find_kept(call).await?;
    if view.map_run.is_some() {
        let message = "Labeled Execution ARNs are not supported for this API";
        return Err(AwsError::validation(message.to_owned()));
    }
    let now = call.handle.now();
    let token = call.params.text("clientToken")?;
    let tokens = &call.api.redrives;
    let mut at = None;
    if let (Kept::Node(id, ..), Some(token)) = (&view.kept, token) {
        at = tokens.known(*id, token, now);
    }
    if at.is_none() {
        let refuse = |why: &str| {
            let message = format!("Execution is not redrivable: {why}");
            Err(AwsError::new("ExecutionNotRedrivable", message))
        };
        if let Some(why) = refusal(&view, now, call.api.quotas) {
            return refuse(&why);
        }
        let Kept::Node(id, ..) = view.kept else { return Err(super::executions::unsupported()) };
        let redriven = call.handle.redrive_execution(call.who, &Which::Id(id), String::new()).await;
        match redriven {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Conflict => return refuse(&error.to_string()),
            Err(error) => return Err(error.into()),
        }
        if let Some(token) = token {
            tokens.note(id, token, now);
        }
    }
    let mut answer = Map::new();
    answer.insert("redriveDate".to_owned(), seconds(at.unwrap_or(now)));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_execution_can_be_redriven_for_a_while_after_its_end_and_after_its_start() {
        let (start, instant) = (Timestamp(0), Duration::from_nanos(1));
        let last = start + limits::REDRIVE_PERIOD;
        assert_eq!(too_late(start, start, last), None);
        let why = Some("Execution redrivable period exceeded");
        assert_eq!(too_late(start, start, last + instant), why);
        let last = start + limits::REDRIVE_EXECUTION_TIME_MAX;
        assert_eq!(too_late(start, last, last), None);
        let why = Some("Execution has exceeded the max execution time");
        assert_eq!(too_late(start, last, last + instant), why);
    }

    #[test]
    fn a_token_is_known_for_a_while_and_only_the_last_ones_of_an_execution_are() {
        let tokens = Tokens::default();
        let (one, other, now) = (ExecutionId(1), ExecutionId(2), Timestamp(0));
        tokens.note(one, "t", now);
        assert_eq!(tokens.known(one, "t", now + limits::REDRIVE_TOKEN_TIME), Some(now));
        let late = now + limits::REDRIVE_TOKEN_TIME + Duration::from_nanos(1);
        assert_eq!(tokens.known(one, "t", late), None);
        assert_eq!((tokens.known(one, "u", now), tokens.known(other, "t", now)), (None, None));
        (1..limits::REDRIVE_TOKENS_MAX).for_each(|n| tokens.note(one, &n.to_string(), now));
        assert_eq!(tokens.known(one, "t", now), Some(now));
        tokens.note(one, "one more", now);
        assert_eq!(tokens.known(one, "t", now), None);
    }

    #[test]
    fn beyond_their_number_the_tokens_of_all_executions_are_forgotten() {
        let tokens = Tokens::default();
        let most = limits::REDRIVE_TOKENS_KNOWN_MAX as u128;
        (0..most).for_each(|id| tokens.note(ExecutionId(id), "t", Timestamp(0)));
        assert!(tokens.known(ExecutionId(0), "t", Timestamp(0)).is_some());
        tokens.note(ExecutionId(most), "t", Timestamp(0));
        assert!(tokens.known(ExecutionId(0), "t", Timestamp(0)).is_none());
        assert!(tokens.known(ExecutionId(most), "t", Timestamp(0)).is_some());
    }
}
