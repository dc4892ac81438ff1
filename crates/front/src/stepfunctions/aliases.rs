//! Aliases: names for one or two versions, with the share of executions that each gets.

use model::{Timestamp, limits};
use serde_json::{Map, Value, json};

use super::arn::{self, MachineArn, Qualifier};
use super::error::AwsError;
use super::machines::{self, listed};
use super::page::page;
use super::params::check_alias_name;
use super::registry::{Alias, Machine, Route, millis};
use super::{Answer, Call, seconds};

const ROUTES_MAX: usize = 2;

/// What a request says of routing: a machine's name and the shares of its versions.
struct Routing {
    machine: String,
    routes: Vec<Route>,
}

fn routing(given: &[Value]) -> Result<Routing, AwsError> {
    let field = |route: &Value, name: &str| route.get(name).cloned().unwrap_or_default();
    let arns: Vec<String> = given
        .iter()
        .map(|route| field(route, "stateMachineVersionArn").as_str().unwrap_or_default().to_owned())
        .collect();
    let weights: Vec<u64> =
        given.iter().map(|route| field(route, "weight").as_u64().unwrap_or(0)).collect();
    if given.is_empty() || given.len() > ROUTES_MAX {
        let shown = arns.iter().zip(&weights).map(|(arn, weight)| {
            format!("RoutingConfigurationListItem(stateMachineVersionArn={arn}, weight={weight})")
        });
        let shown = format!("[{}]", shown.collect::<Vec<_>>().join(", "));
        let bound =
            if given.is_empty() { "greater than or equal to 1" } else { "less than or equal to 2" };
        let rule = format!("Member must have length {bound}");
        return Err(AwsError::constraint(&shown, "routingConfiguration", &rule));
    }
    let received = || arns.join(", ");
    let mut machine = None;
    let mut routes: Vec<Route> = Vec::new();
    for (arn, weight) in arns.iter().zip(&weights) {
        let MachineArn { name, qualifier } = arn::machine(arn)?;
        let Some(Qualifier::Version(version)) = qualifier else {
            return Err(invalid(format!(
                "Routing configuration must contain state machine version ARNs. Received: [{}]",
                received()
            )));
        };
        if routes.iter().any(|route| route.version == version) {
            return Err(invalid(format!(
                "Routing configuration must contain distinct state machine version ARNs. Received: [{}]",
                received()
            )));
        }
        machine.get_or_insert(name);
        routes.push(Route { version, weight: u32::try_from(*weight).unwrap_or(0) });
    }
    if weights.iter().sum::<u64>() != 100 {
        let shown: Vec<String> = weights.iter().map(u64::to_string).collect();
        return Err(invalid(format!(
            "Sum of routing configuration weights must equal 100. Received: [{}]",
            shown.join(", ")
        )));
    }
    Ok(Routing { machine: machine.unwrap_or_default(), routes })
}

/// A routing configuration that says what cannot be.
fn invalid(message: String) -> AwsError {
    AwsError::validation(message).because("INVALID_ROUTING_CONFIGURATION")
}

fn check_versions(machine: &Machine, routes: &[Route]) -> Result<(), AwsError> {
    let known = routes.iter().all(|route| machine.versions.contains_key(&route.version));
    if known { Ok(()) } else { Err(AwsError::no_resource()) }
}

pub(super) async fn create(call: &Call<'_>) -> Answer {
    let name = call.params.required("name")?.to_owned();
    check_alias_name(&name)?;
    let Routing { machine, routes } = routing(call.params.list("routingConfiguration"))?;
    let description = call.params.text("description")?.map(str::to_owned);
    let now = millis(call.handle.now());
    let arn = call.place.alias(&machine, &name);
    let machine_arn = call.place.machine(&machine);
    let created = call
        .registry
        .with(call.who, move |resources| {
            let found =
                resources.machine_mut(&machine).ok_or_else(|| AwsError::no_machine(&machine_arn))?;
            check_versions(found, &routes)?;
            if let Some(alias) = found.aliases.iter().find(|alias| alias.name == name) {
                if alias.routes == routes && alias.description == description {
                    return Ok(alias.created);
                }
                let message = "Failed to create alias because an alias with the same name and a different \
                               routing configuration already exists.";
                return Err(AwsError::new("ConflictException", message));
            }
            if found.aliases.len() >= limits::STATE_MACHINE_ALIASES_MAX {
                let most = limits::STATE_MACHINE_ALIASES_MAX;
                let message = format!("The state machine has the most aliases it can have: {most}");
                return Err(AwsError::new("ServiceQuotaExceededException", message));
            }
            found.aliases.push(Alias { name, description, routes, created: now, updated: now });
            Ok(now)
        })
        .await?;
    let mut answer = Map::new();
    answer.insert("stateMachineAliasArn".to_owned(), arn.into());
    answer.insert("creationDate".to_owned(), seconds(Timestamp::from_millis(created)));
    Ok(answer)
}

/// The machine's and the alias's name of an alias ARN.
fn names(arn: &str) -> Result<(String, String), AwsError> {
    match arn::machine(arn)? {
        MachineArn { name, qualifier: Some(Qualifier::Alias(alias)) } => Ok((name, alias)),
        MachineArn { .. } => Err(AwsError::new("InvalidArn", format!("Invalid Arn: '{arn}'"))),
    }
}

pub(super) async fn update(call: &Call<'_>) -> Answer {
    let (machine, alias) = names(call.params.required("stateMachineAliasArn")?)?;
    let description = call.params.text("description")?.map(str::to_owned);
    let routes = match call.params.has("routingConfiguration") {
        true => Some(routing(call.params.list("routingConfiguration"))?.routes),
        false => None,
    };
    if routes.is_none() && description.is_none() {
        let message = "Either the description or the routing configuration must be specified";
        return Err(AwsError::validation(message).because("MISSING_REQUIRED_PARAMETER"));
    }
    let now = millis(call.handle.now());
    call.registry
        .with(call.who, move |resources| {
            let machine = resources.machine_mut(&machine).ok_or_else(AwsError::no_resource)?;
            check_versions(machine, routes.as_deref().unwrap_or_default())?;
            let found = machine.aliases.iter_mut().find(|known| known.name == alias);
            let found = found.ok_or_else(AwsError::no_resource)?;
            if let Some(routes) = routes {
                found.routes = routes;
            }
            if description.is_some() {
                found.description = description;
            }
            found.updated = now;
            Ok(())
        })
        .await?;
    let mut answer = Map::new();
    answer.insert("updateDate".to_owned(), seconds(Timestamp::from_millis(now)));
    Ok(answer)
}

pub(super) async fn describe(call: &Call<'_>) -> Answer {
    let arn = call.params.required("stateMachineAliasArn")?.to_owned();
    let (machine, alias) = names(&arn)?;
    let name = machine.clone();
    let found = call
        .registry
        .with(call.who, move |resources| {
            let machine = resources.machines().get(&name).ok_or_else(AwsError::no_resource)?;
            let found = machine.aliases.iter().find(|known| known.name == alias);
            found.cloned().ok_or_else(AwsError::no_resource)
        })
        .await?;
    let routes: Vec<Value> = found
        .routes
        .iter()
        .map(|route| {
            json!({
                "stateMachineVersionArn": call.place.version(&machine, route.version),
                "weight": route.weight,
            })
        })
        .collect();
    let mut answer = Map::new();
    answer.insert("stateMachineAliasArn".to_owned(), arn.into());
    answer.insert("name".to_owned(), found.name.into());
    if let Some(description) = found.description {
        answer.insert("description".to_owned(), description.into());
    }
    answer.insert("routingConfiguration".to_owned(), routes.into());
    answer.insert("creationDate".to_owned(), seconds(Timestamp::from_millis(found.created)));
    answer.insert("updateDate".to_owned(), seconds(Timestamp::from_millis(found.updated)));
    Ok(answer)
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    page::<()>(&call.params, Vec::new())?;
    let arn = call.params.required("stateMachineArn")?.to_owned();
    let MachineArn { name, qualifier } = arn::machine(&arn)?;
    let place = call.place.clone();
    let aliases = call
        .registry
        .with(call.who, move |resources| {
            let machine = machines::known(resources, &name, &arn)?;
            let of_version = |alias: &Alias| match &qualifier {
                Some(Qualifier::Version(version)) => {
                    alias.routes.iter().any(|route| route.version == *version)
                }
                Some(Qualifier::Alias(_)) | None => true,
            };
            let aliases = machine.aliases.iter().filter(|alias| of_version(alias)).map(|alias| {
                json!({
                    "stateMachineAliasArn": place.alias(&name, &alias.name),
                    "creationDate": seconds(Timestamp::from_millis(alias.created)),
                })
            });
            Ok(aliases.collect::<Vec<Value>>())
        })
        .await?;
    let (aliases, next) = page(&call.params, aliases)?;
    Ok(listed("stateMachineAliases", aliases, next))
}

pub(super) async fn delete(call: &Call<'_>) -> Answer {
    let (machine, alias) = names(call.params.required("stateMachineAliasArn")?)?;
    call.registry
        .with(call.who, move |resources| {
            let machine = resources.machine_mut(&machine).ok_or_else(AwsError::no_resource)?;
            let found = machine.aliases.iter().position(|known| known.name == alias);
            machine.aliases.remove(found.ok_or_else(AwsError::no_resource)?);
            Ok(Map::new())
        })
        .await
}
