//! Tags of state machines and activities.

use serde_json::{Map, Value, json};

use super::arn;
use super::error::AwsError;
use super::registry::{Resources, Tag};
use super::{Answer, Call};

const TAGS_MAX: usize = 50;

/// Tags as a request has them.
pub(super) fn read(given: &[Value]) -> Result<Vec<Tag>, AwsError> {
    let mut tags = Vec::new();
    for tag in given {
        let field =
            |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        put(&mut tags, Tag { key: field("key"), value: field("value") })?;
    }
    Ok(tags)
}

fn put(tags: &mut Vec<Tag>, tag: Tag) -> Result<(), AwsError> {
    if let Some(known) = tags.iter_mut().find(|known| known.key == tag.key) {
        known.value = tag.value;
        return Ok(());
    }
    if tags.len() >= TAGS_MAX {
        let message = format!("The resource has the most tags it can have: {TAGS_MAX}");
        return Err(AwsError::new("TooManyTags", message));
    }
    tags.push(tag);
    Ok(())
}

/// The tags of the resource of an ARN: a machine or an activity, not a version or alias.
fn tags_mut<'r>(resources: &'r mut Resources, arn: &str) -> Result<&'r mut Vec<Tag>, AwsError> {
    let missing = || AwsError::new("ResourceNotFound", format!("Resource not found: '{arn}'"));
    if let Ok(name) = arn::activity(arn) {
        let activity = resources.activities_mut().get_mut(name);
        return activity.map(|activity| &mut activity.tags).ok_or_else(missing);
    }
    let machine = arn::machine(arn)?;
    if machine.qualifier.is_some() {
        return Err(missing());
    }
    resources.machine_mut(&machine.name).map(|machine| &mut machine.tags).ok_or_else(missing)
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    let arn = call.params.required("resourceArn")?.to_owned();
    let tags =
        call.registry.with(call.who, move |resources| tags_mut(resources, &arn).cloned()).await?;
    let tags: Vec<Value> =
        tags.into_iter().map(|tag| json!({ "key": tag.key, "value": tag.value })).collect();
    let mut answer = Map::new();
    answer.insert("tags".to_owned(), tags.into());
    Ok(answer)
}

pub(super) async fn tag(call: &Call<'_>) -> Answer {
    let arn = call.params.required("resourceArn")?.to_owned();
    let given = read(call.params.list("tags"))?;
    call.registry
        .with(call.who, move |resources| {
            let tags = tags_mut(resources, &arn)?;
            for tag in given {
                put(tags, tag)?;
            }
            Ok(Map::new())
        })
        .await
}

pub(super) async fn untag(call: &Call<'_>) -> Answer {
    let arn = call.params.required("resourceArn")?.to_owned();
    let keys: Vec<String> =
        call.params.list("tagKeys").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    call.registry
        .with(call.who, move |resources| {
            tags_mut(resources, &arn)?.retain(|tag| !keys.contains(&tag.key));
            Ok(Map::new())
        })
        .await
}
