//! Versions of state machines: published revisions.

use model::{Timestamp, limits};
use serde_json::{Map, Value, json};

use super::arn::{self, MachineArn, Qualifier};
use super::error::AwsError;
use super::machines::listed;
use super::page::page;
use super::registry::{Machine, Version, millis};
use super::{Answer, Call, machines, seconds};

/// The version of a machine's revision, where it was published.
pub(super) fn of_revision(machine: &Machine) -> Option<u32> {
    let (version, last) = machine.versions.last_key_value()?;
    (last.revision == machine.revision).then_some(*version)
}

/// Publishes a machine's revision, unless it is published already.
pub(super) fn add(
    machine: &mut Machine,
    description: Option<String>,
    now: u64,
) -> Result<u32, AwsError> {
    if let Some(version) = of_revision(machine) {
        return Ok(version);
    }
    if machine.versions.len() >= limits::STATE_MACHINE_VERSIONS_MAX {
        let most = limits::STATE_MACHINE_VERSIONS_MAX;
        let message = format!("The state machine has the most versions it can have: {most}");
        return Err(AwsError::new("ServiceQuotaExceededException", message));
    }
    machine.last_version += 1;
    let version = Version { created: now, description, revision: machine.revision.clone() };
    machine.versions.insert(machine.last_version, version);
    Ok(machine.last_version)
}

pub(super) async fn publish(call: &Call<'_>) -> Answer {
    let arn = call.params.required("stateMachineArn")?.to_owned();
    let MachineArn { name, .. } = arn::machine(&arn)?;
    let wanted = call.params.text("revisionId")?.map(str::to_owned);
    let description = call.params.text("description")?.map(str::to_owned);
    let now = millis(call.handle.now());
    let machine_name = name.clone();
    let (version, created) = call
        .registry
        .with(call.who, move |resources| {
            machines::known(resources, &machine_name, &arn)?;
            let machine =
                resources.machine_mut(&machine_name).ok_or_else(|| AwsError::no_machine(&arn))?;
            let current = machine.revision.id.as_deref().unwrap_or("INITIAL");
            if let Some(wanted) = wanted.filter(|wanted| wanted != current) {
                return Err(AwsError::new(
                    "ConflictException",
                    format!(
                        "Failed to publish the State Machine version for revision {wanted}. The current State \
                         Machine revision is {current}."
                    ),
                ));
            }
            let version = add(machine, description, now)?;
            let created = machine.versions.get(&version).map_or(now, |version| version.created);
            Ok((version, created))
        })
        .await?;
    let mut answer = Map::new();
    answer.insert("stateMachineVersionArn".to_owned(), call.place.version(&name, version).into());
    answer.insert("creationDate".to_owned(), seconds(Timestamp::from_millis(created)));
    Ok(answer)
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    page::<()>(&call.params, Vec::new())?;
    let arn = call.params.required("stateMachineArn")?.to_owned();
    let MachineArn { name, .. } = arn::machine(&arn)?;
    let place = call.place.clone();
    let versions = call
        .registry
        .with(call.who, move |resources| {
            let Some(machine) = resources.machines().get(&name) else { return Ok(Vec::new()) };
            let versions = machine.versions.iter().rev().map(|(number, version)| {
                json!({
                    "stateMachineVersionArn": place.version(&name, *number),
                    "creationDate": seconds(Timestamp::from_millis(version.created)),
                })
            });
            Ok(versions.collect::<Vec<Value>>())
        })
        .await?;
    let (versions, next) = page(&call.params, versions)?;
    Ok(listed("stateMachineVersions", versions, next))
}

pub(super) async fn delete(call: &Call<'_>) -> Answer {
    let arn = call.params.required("stateMachineVersionArn")?.to_owned();
    let MachineArn { name, qualifier } = arn::machine(&arn)?;
    let Some(Qualifier::Version(version)) = qualifier else {
        return Err(AwsError::new("InvalidArn", format!("Invalid Arn: '{arn}'")));
    };
    call.registry
        .with(call.who, move |resources| {
            let Some(machine) = resources.machine_mut(&name) else { return Ok(Map::new()) };
            let aliases: Vec<&str> = machine
                .aliases
                .iter()
                .filter(|alias| alias.routes.iter().any(|route| route.version == version))
                .map(|alias| alias.name.as_str())
                .collect();
            if !aliases.is_empty() {
                return Err(AwsError::new(
                    "ConflictException",
                    format!(
                        "Version to be deleted must not be referenced by an alias. Current list of aliases \
                         referencing this version: [{}]",
                        aliases.join(", ")
                    ),
                ));
            }
            machine.versions.remove(&version);
            Ok(Map::new())
        })
        .await
}
