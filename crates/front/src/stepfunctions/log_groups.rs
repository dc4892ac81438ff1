//! Log groups, which logging configurations name: three actions of CloudWatch Logs (`Logs_20140328.*`).
//! What they would hold is not there (see `docs/compat/step-functions.md`).

use model::limits;
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::registry::{LogGroup, Resources, millis};
use super::{Answer, Call, Ctx};

pub(super) const PREFIX: &str = "Logs_20140328.";
/// Groups of one page.
const PAGE_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 512;

pub(super) async fn dispatch(action: &str, call: &Call<'_>) -> Answer {
    match action {
        "CreateLogGroup" => create(call).await,
        "DeleteLogGroup" => delete(call).await,
        "DescribeLogGroups" => describe(call).await,
        _ => Err(AwsError::unknown_operation()),
    }
}

async fn create(call: &Call<'_>) -> Answer {
    let name = name(call)?;
    let created = millis(call.handle.now());
    call.registry.with(call.who, move |resources| add(resources, name, created)).await
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
    call.registry
        .with(call.who, move |resources| {
            if !resources.log_groups().is_some_and(|groups| groups.contains_key(&name)) {
                let message = "The specified log group does not exist.";
                return Err(AwsError::new("ResourceNotFoundException", message));
            }
            resources.log_groups_mut().remove(&name);
            Ok(Map::new())
        })
        .await
}

async fn describe(call: &Call<'_>) -> Answer {
    let text = |name: &str| Ok::<_, AwsError>(call.params.text(name)?.map(str::to_owned));
    let (prefix, part) = (text("logGroupNamePrefix")?, text("logGroupNamePattern")?);
    let after = text("nextToken")?;
    let size = call.params.get("limit").and_then(Value::as_u64).unwrap_or(PAGE_MAX as u64);
    let size = usize::try_from(size).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
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

/// Whether the groups that a logging configuration names are there. Nothing is known here of those of a
/// service that the operator named, nor where nobody made any.
pub(super) async fn check(ctx: &Ctx, logging: &Value) -> Result<(), AwsError> {
    if ctx.api.outside.has_own_endpoint("logs") {
        return Ok(());
    }
    let arn = |to: &Value| {
        to.pointer("/cloudWatchLogsLogGroup/logGroupArn").and_then(Value::as_str).map(str::to_owned)
    };
    let named = logging.get("destinations").and_then(Value::as_array);
    let named: Vec<String> = named.into_iter().flatten().filter_map(arn).collect();
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
