//! Log groups, which logging configurations name, by actions of CloudWatch Logs (`Logs_20140328.*`).

use std::collections::BTreeMap;

use model::limits;
use serde_json::{Map, Value, json};

use super::super::error::AwsError;
use super::super::registry::{LogGroup, Resources, millis};
use super::super::{Answer, Call, Ctx};
use super::files::Line;

pub(in super::super) const PREFIX: &str = "Logs_20140328.";
/// Groups of one page.
const PAGE_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 512;

pub(in super::super) async fn dispatch(action: &str, call: &Call<'_>) -> Answer {
    match action {
        "CreateLogGroup" => create(call).await,
        "DeleteLogGroup" => delete(call).await,
        "DescribeLogGroups" => describe(call).await,
        "DescribeLogStreams" => streams(call).await,
        "FilterLogEvents" => filter(call).await,
        "GetLogEvents" => events(call).await,
        _ => Err(AwsError::unknown_operation()),
    }
}

async fn create(call: &Call<'_>) -> Answer {
    let name = name(call)?;
    let created = millis(call.handle.now());
    let group = name.clone();
    let made = call.registry.with(call.who, move |resources| add(resources, name, created)).await?;
    // What came after an earlier one of that name was deleted.
    call.api.logs.forget(&call.who.tenant, &group).await;
    Ok(made)
}

fn add(resources: &mut Resources, name: String, created: u64) -> Answer {
    let groups = resources.log_groups_mut();
    if groups.contains_key(&name) {
        let message = "The specified log group already exists";
        return Err(AwsError::new("ResourceAlreadyExistsException", message));
    }
    if groups.len() >= limits::LOG_GROUPS_MAX {
        return Err(AwsError::new("LimitExceededException", "Resource limit exceeded."));
    }
    groups.insert(name, LogGroup { created });
    Ok(Map::new())
}

async fn delete(call: &Call<'_>) -> Answer {
    let name = name(call)?;
    let group = name.clone();
    call.registry
        .with(call.who, move |resources| {
            if !resources.log_groups().is_some_and(|groups| groups.contains_key(&name)) {
                return Err(no_group());
            }
            resources.log_groups_mut().remove(&name);
            Ok(())
        })
        .await?;
    call.api.logs.forget(&call.who.tenant, &group).await;
    Ok(Map::new())
}

fn no_group() -> AwsError {
    AwsError::new("ResourceNotFoundException", "The specified log group does not exist.")
}

/// The events of the group that is asked for, oldest first.
async fn lines(call: &Call<'_>) -> Result<Vec<Line>, AwsError> {
    let name = match call.params.text("logGroupIdentifier")? {
        Some(arn) => {
            let name = arn.split_once(":log-group:").map_or(arn, |(_, name)| name);
            name.strip_suffix(":*").unwrap_or(name).to_owned()
        }
        None => name(call)?,
    };
    let found = call.api.logs.lines(&call.who.tenant, &name).await;
    let found = found.map_err(|error| {
        AwsError::new("ServiceUnavailableException", format!("a log group cannot be read: {error}"))
    })?;
    let is_there = move |resources: &mut Resources| {
        Ok(resources.log_groups().map(|groups| groups.contains_key(&name)))
    };
    match (call.registry.with(call.who, is_there).await?, found) {
        // Who never made a group has those that machines name.
        (None, Some(lines)) => Ok(lines),
        (Some(true), found) => Ok(found.unwrap_or_default()),
        (None | Some(false), _) => Err(no_group()),
    }
}

async fn streams(call: &Call<'_>) -> Answer {
    struct Stream {
        first: u64,
        last: u64,
        bytes: usize,
    }
    let prefix = call.params.text("logStreamNamePrefix")?.unwrap_or_default().to_owned();
    let by_time = call.params.text("orderBy")? == Some("LastEventTime");
    let is_descending = call.params.flag("descending");
    let group = call.params.text("logGroupName")?.map(|name| call.place.log_group(name));
    let mut found: BTreeMap<String, Stream> = BTreeMap::new();
    for line in lines(call).await? {
        if !line.stream.starts_with(&prefix) {
            continue;
        }
        let empty = Stream { first: line.at, last: line.at, bytes: 0 };
        let stream = found.entry(line.stream).or_insert(empty);
        stream.last = stream.last.max(line.at);
        stream.bytes += line.message.len();
    }
    let mut found: Vec<(String, Stream)> = found.into_iter().collect();
    if by_time {
        found.sort_by_key(|(_, stream)| stream.last);
    }
    if is_descending {
        found.reverse();
    }
    let size = size(call.params.get("limit"), PAGE_MAX);
    let from = number(call.params.text("nextToken")?);
    let more = found.len() > from.saturating_add(size);
    let shown = found.into_iter().skip(from).take(size).map(|(name, stream)| {
        json!({
            "logStreamName": name,
            "creationTime": stream.first,
            "firstEventTimestamp": stream.first,
            "lastEventTimestamp": stream.last,
            "lastIngestionTime": stream.last,
            "arn": group.as_ref().map(|group| format!("{group}:log-stream:{name}")),
            "storedBytes": stream.bytes,
        })
    });
    let mut answer = Map::new();
    answer.insert("logStreams".to_owned(), shown.collect());
    if more {
        answer.insert("nextToken".to_owned(), (from + size).to_string().into());
    }
    Ok(answer)
}

/// Events of one stream, from its end or from its start.
async fn events(call: &Call<'_>) -> Answer {
    let stream = call.params.required("logStreamName")?.to_owned();
    let wanted = Between::read(call);
    let mut found = lines(call).await?;
    found.retain(|line| line.stream == stream);
    if found.is_empty() {
        let message = "The specified log stream does not exist.";
        return Err(AwsError::new("ResourceNotFoundException", message));
    }
    found.retain(|line| wanted.holds(line));
    let size = size(call.params.get("limit"), limits::LOG_EVENTS_PAGE_MAX);
    let (from, until) = match call.params.text("nextToken")?.and_then(|token| token.split_once('/'))
    {
        Some(("b", at)) => (number(Some(at)).saturating_sub(size), number(Some(at))),
        Some((_, at)) => (number(Some(at)), number(Some(at)).saturating_add(size)),
        None if call.params.flag("startFromHead") => (0, size),
        None => (found.len().saturating_sub(size), found.len()),
    };
    let until = until.min(found.len());
    let from = from.min(until);
    let mut answer = Map::new();
    answer.insert("events".to_owned(), found[from..until].iter().map(event).collect());
    answer.insert("nextForwardToken".to_owned(), format!("f/{until}").into());
    answer.insert("nextBackwardToken".to_owned(), format!("b/{from}").into());
    Ok(answer)
}

/// Events of some streams of a group, or of all.
async fn filter(call: &Call<'_>) -> Answer {
    let pattern = Pattern::read(call.params.text("filterPattern")?.unwrap_or_default())?;
    let prefix = call.params.text("logStreamNamePrefix")?.unwrap_or_default().to_owned();
    let streams: Vec<&str> =
        call.params.list("logStreamNames").iter().filter_map(Value::as_str).collect();
    let wanted = Between::read(call);
    let mut found = lines(call).await?;
    found.retain(|line| {
        wanted.holds(line)
            && line.stream.starts_with(&prefix)
            && (streams.is_empty() || streams.contains(&line.stream.as_str()))
            && pattern.is_in(&line.message)
    });
    let size = size(call.params.get("limit"), limits::LOG_EVENTS_PAGE_MAX);
    let from = number(call.params.text("nextToken")?);
    let shown = found.iter().enumerate().skip(from).take(size).map(|(number, line)| {
        let mut shown = event(line);
        shown["logStreamName"] = line.stream.clone().into();
        shown["eventId"] = number.to_string().into();
        shown
    });
    let mut answer = Map::new();
    answer.insert("events".to_owned(), shown.collect());
    answer.insert("searchedLogStreams".to_owned(), json!([]));
    if found.len() > from.saturating_add(size) {
        answer.insert("nextToken".to_owned(), (from + size).to_string().into());
    }
    Ok(answer)
}

fn event(line: &Line) -> Value {
    json!({ "timestamp": line.at, "ingestionTime": line.at, "message": line.message })
}

fn size(wanted: Option<&Value>, most: usize) -> usize {
    let wanted = wanted.and_then(Value::as_u64);
    wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(most).clamp(1, most)
}

/// The number in a token; the start where it is none of ours.
fn number(token: Option<&str>) -> usize {
    token.and_then(|token| token.parse().ok()).unwrap_or(0)
}

/// From when on, and until when.
struct Between(u64, u64);

impl Between {
    fn read(call: &Call<'_>) -> Self {
        let time = |name: &str| call.params.get(name).and_then(Value::as_u64);
        Self(time("startTime").unwrap_or(0), time("endTime").unwrap_or(u64::MAX))
    }

    const fn holds(&self, line: &Line) -> bool {
        self.0 <= line.at && line.at < self.1
    }
}

/// Texts that are all to be there, or not to be there.
struct Pattern<'a>(Vec<(&'a str, bool)>);

impl<'a> Pattern<'a> {
    fn read(text: &'a str) -> Result<Self, AwsError> {
        let mut terms = Vec::new();
        let mut rest = text.trim();
        if rest.starts_with(['{', '[', '%', '?']) {
            let message = "filter patterns of words and quoted phrases are supported, each with a minus sign before \
                           it where it is not to be there";
            return Err(AwsError::new("InvalidParameterException", message));
        }
        while !rest.is_empty() {
            let is_wanted = !rest.starts_with('-');
            let term = rest.strip_prefix('-').unwrap_or(rest);
            let (term, left) = match term.strip_prefix('"') {
                Some(phrase) => phrase.split_once('"').unwrap_or((phrase, "")),
                None => term.split_once(char::is_whitespace).unwrap_or((term, "")),
            };
            terms.push((term, is_wanted));
            rest = left.trim_start();
        }
        Ok(Self(terms))
    }

    fn is_in(&self, message: &str) -> bool {
        self.0.iter().all(|(term, is_wanted)| message.contains(term) == *is_wanted)
    }
}

async fn describe(call: &Call<'_>) -> Answer {
    let text = |name: &str| Ok::<_, AwsError>(call.params.text(name)?.map(str::to_owned));
    let (prefix, part) = (text("logGroupNamePrefix")?, text("logGroupNamePattern")?);
    let after = text("nextToken")?;
    let size = size(call.params.get("limit"), PAGE_MAX);
    let place = call.place.clone();
    call.registry
        .with(call.who, move |resources| {
            let fits = |name: &str| {
                prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix))
                    && part.as_deref().is_none_or(|part| name.contains(part))
                    && after.as_deref().is_none_or(|after| name > after)
            };
            let groups = resources.log_groups().into_iter().flatten();
            let mut found = groups.filter(|(name, _)| fits(name));
            let page: Vec<_> = found.by_ref().take(size).collect();
            let next = found.next().and_then(|_| page.last()).map(|(name, _)| (*name).clone());
            let shown = page.into_iter().map(|(name, group)| {
                let arn = place.log_group(name);
                json!({
                    "logGroupName": name,
                    "creationTime": group.created,
                    "metricFilterCount": 0,
                    "arn": format!("{arn}:*"),
                    "logGroupArn": arn,
                    "storedBytes": 0,
                    "logGroupClass": "STANDARD",
                })
            });
            let mut answer = Map::new();
            answer.insert("logGroups".to_owned(), shown.collect());
            if let Some(next) = next {
                answer.insert("nextToken".to_owned(), next.into());
            }
            Ok(answer)
        })
        .await
}

fn name(call: &Call<'_>) -> Result<String, AwsError> {
    let name = call.params.required("logGroupName")?;
    let allowed = |char: char| char.is_ascii_alphanumeric() || "._-/#".contains(char);
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(name.to_owned());
    }
    let pattern = "Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+";
    let refused = AwsError::constraint(name, "logGroupName", pattern);
    Err(AwsError::new("InvalidParameterException", refused.message()))
}

/// The ARNs of the groups that a logging configuration names.
pub(super) fn named(logging: &Value) -> impl Iterator<Item = &str> {
    fn arn(to: &Value) -> Option<&str> {
        to.pointer("/cloudWatchLogsLogGroup/logGroupArn").and_then(Value::as_str)
    }
    logging.get("destinations").and_then(Value::as_array).into_iter().flatten().filter_map(arn)
}

/// Whether the groups that a logging configuration names are there. Nothing is known here of those of a
/// service that the operator named, nor where nobody made any.
pub(in super::super) async fn check(ctx: &Ctx, logging: &Value) -> Result<(), AwsError> {
    if ctx.api.outside.has_own_endpoint("logs") {
        return Ok(());
    }
    let named: Vec<String> = named(logging).map(str::to_owned).collect();
    if named.is_empty() {
        return Ok(());
    }
    let place = ctx.api.place.clone();
    ctx.api
        .registry
        .with(&ctx.who, move |resources| {
            let Some(groups) = resources.log_groups() else { return Ok(()) };
            let prefix = place.log_group("");
            let is_there = |arn: &String| {
                let name = arn.strip_suffix(":*").and_then(|arn| arn.strip_prefix(&prefix));
                name.is_some_and(|name| groups.contains_key(name))
            };
            if named.iter().all(is_there) { Ok(()) } else { Err(AwsError::no_log_destination()) }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_is_asked_for_and_no_more_than_its_limit() {
        let most = limits::LOG_EVENTS_PAGE_MAX;
        let sized = |wanted: Value| size(Some(&wanted), most);
        assert_eq!(size(None, most), most);
        assert_eq!([sized(json!(most)), sized(json!(most + 1)), sized(json!(0))], [most, most, 1]);
    }

    #[test]
    fn beyond_the_limit_of_log_groups_no_more_are_made() {
        let mut resources = Resources::default();
        for number in 0..limits::LOG_GROUPS_MAX {
            add(&mut resources, format!("group-{number}"), 0).unwrap();
        }
        let refused = add(&mut resources, "one-more".to_owned(), 0).unwrap_err();
        assert_eq!(refused.code(), "LimitExceededException");
        let known = add(&mut resources, "group-0".to_owned(), 0).unwrap_err();
        assert_eq!(known.code(), "ResourceAlreadyExistsException");
    }
}
