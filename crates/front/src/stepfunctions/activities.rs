//! Activities: work that workers ask for.

use model::Timestamp;
use serde_json::{Map, Value, json};

use super::arn;
use super::error::AwsError;
use super::machines::listed;
use super::page::page;
use super::params::check_name;
use super::registry::{Activity, millis};
use super::{Answer, Call, seconds, tags};

pub(super) async fn create(call: &Call<'_>) -> Answer {
    let name = call.params.required("name")?.to_owned();
    check_name(&name)?;
    let tags = tags::read(call.params.list("tags"))?;
    let of_aws = |given: &&Value| given["type"] == "AWS_OWNED_KEY";
    let encryption = call.params.get("encryptionConfiguration");
    let encryption = encryption.filter(|given| !of_aws(given)).cloned();
    let now = millis(call.handle.now());
    let arn = call.place.activity(&name);
    let taken = arn.clone();
    let created = call
        .registry
        .with(call.who, move |resources| {
            if let Some(known) = resources.activities().get(&name) {
                // The same request again has the same answer, whatever tags it names.
                if known.encryption == encryption {
                    return Ok(known.created);
                }
                let message = format!("Activity Already Exists: '{taken}'");
                return Err(AwsError::new("ActivityAlreadyExists", message));
            }
            resources.activities_mut().insert(name, Activity { created: now, tags, encryption });
            Ok(now)
        })
        .await?;
    let mut answer = Map::new();
    answer.insert("activityArn".to_owned(), arn.into());
    answer.insert("creationDate".to_owned(), seconds(Timestamp::from_millis(created)));
    Ok(answer)
}

pub(super) async fn describe(call: &Call<'_>) -> Answer {
    let arn = call.params.required("activityArn")?.to_owned();
    let name = arn::activity(&arn)?.to_owned();
    let (key, missing) = (name.clone(), arn.clone());
    let found = call
        .registry
        .with(call.who, move |resources| {
            resources.activities().get(&key).cloned().ok_or_else(|| {
                let message = format!("Activity Does Not Exist: '{missing}'");
                AwsError::new("ActivityDoesNotExist", message)
            })
        })
        .await?;
    let mut answer = Map::new();
    answer.insert("activityArn".to_owned(), arn.into());
    answer.insert("name".to_owned(), name.into());
    answer.insert("creationDate".to_owned(), seconds(Timestamp::from_millis(found.created)));
    let encryption = found.encryption.unwrap_or_else(|| json!({ "type": "AWS_OWNED_KEY" }));
    answer.insert("encryptionConfiguration".to_owned(), encryption);
    Ok(answer)
}

pub(super) async fn delete(call: &Call<'_>) -> Answer {
    let name = arn::activity(call.params.required("activityArn")?)?.to_owned();
    call.registry
        .with(call.who, move |resources| {
            if resources.activities().contains_key(&name) {
                resources.activities_mut().remove(&name);
            }
            Ok(Map::new())
        })
        .await
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    page::<()>(&call.params, Vec::new())?;
    let place = call.place.clone();
    let activities = call
        .registry
        .with(call.who, move |resources| {
            let activities = resources.activities().iter().map(|(name, activity)| {
                json!({
                    "activityArn": place.activity(name),
                    "name": name,
                    "creationDate": seconds(Timestamp::from_millis(activity.created)),
                })
            });
            Ok(activities.collect::<Vec<Value>>())
        })
        .await?;
    let (activities, next) = page(&call.params, activities)?;
    Ok(listed("activities", activities, next))
}
