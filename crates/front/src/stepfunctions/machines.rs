//! State machines.

use std::collections::BTreeMap;

use asl::definition::{MachineType, Parsed, Problem, Severity, parse, summary};
use model::{Durable, FunctionName, Kind, Timestamp, Version as FunctionVersion};
use node::{NewFunction, RunFilter, states};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::arn::{self, MachineArn, Qualifier};
use super::error::AwsError;
use super::logs::groups;
use super::page::page;
use super::params::check_name;
use super::registry::{Machine, Pin, Resources, Revision, Version, millis, seed, uuid};
use super::{Answer, Call, Ctx, references, seconds, tags, versions};

/// Between two looks whether an execution of a deleted machine still runs.
const FORGET_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

pub(super) async fn create(call: &Call<'_>) -> Answer {
    let name = call.params.required("name")?.to_owned();
    check_name(&name)?;
    let definition = call.params.required("definition")?.to_owned();
    let role = call.params.required("roleArn")?.to_owned();
    let sort = machine_type(call)?;
    let publish = call.params.flag("publish");
    let description = call.params.text("versionDescription")?.map(str::to_owned);
    if description.is_some() && !publish {
        return Err(AwsError::validation(
            "Version description can only be set when publish is true",
        ));
    }
    let revision = Revision {
        id: None,
        logging: logging(call.params.get("loggingConfiguration"))?,
        tracing: tracing_enabled(call.params.get("tracingConfiguration")).unwrap_or(false),
        encryption: encryption(call.params.get("encryptionConfiguration")),
        definition,
        role,
        function: None,
    };
    check_revision(call, &revision, sort)?;
    let ctx = call.ctx();
    groups::check(&ctx, &revision.logging).await?;
    let _publishing = call.api.publishing.lock().await;
    let pin = match same(&ctx, &name, &revision, sort).await? {
        Some(pin) => pin,
        None => Some(publish_function(&ctx, &name, sort, &revision).await?),
    };
    let revision = Revision { function: pin, ..revision };
    let now = millis(call.handle.now());
    let mut machine = Machine {
        name: name.clone(),
        sort: sort.as_str().to_owned(),
        created: now,
        updated: now,
        revision,
        versions: BTreeMap::new(),
        last_version: 0,
        aliases: Vec::new(),
        tags: tags::read(call.params.list("tags"))?,
    };
    let (arn, taken) = (call.place.machine(&name), call.place.machine(&name));
    let (created, version) = call
        .registry
        .with(call.who, move |resources| {
            if let Some(known) = resources.machines().get(&machine.name) {
                let version = versions::of_revision(known);
                if !is_asked_again(known, &machine, publish.then_some(&description)) {
                    let message = format!("State Machine Already Exists: '{taken}'");
                    return Err(AwsError::new("StateMachineAlreadyExists", message));
                }
                return Ok((known.created, version.filter(|_| publish)));
            }
            let version =
                publish.then(|| versions::add(&mut machine, description, now)).transpose()?;
            resources.add_machine(machine);
            Ok((now, version))
        })
        .await?;
    let mut answer = Map::new();
    answer.insert("stateMachineArn".to_owned(), arn.into());
    answer.insert("creationDate".to_owned(), seconds(Timestamp::from_millis(created)));
    if let Some(version) = version {
        answer
            .insert("stateMachineVersionArn".to_owned(), call.place.version(&name, version).into());
    }
    Ok(answer)
}

fn check_revision(call: &Call<'_>, revision: &Revision, sort: MachineType) -> Result<(), AwsError> {
    call.check_role(&revision.role)?;
    check_definition(&revision.definition, sort)
}

/// Whether the request for a machine is that for one which is there: it has the same answer then, whatever
/// role and tags it names. `published` is how its version is to be described.
fn is_asked_again(known: &Machine, wanted: &Machine, published: Option<&Option<String>>) -> bool {
    let version = versions::of_revision(known).and_then(|version| known.versions.get(&version));
    let is_published = published
        .is_none_or(|wanted| version.is_some_and(|version| version.description == *wanted));
    is_published && known.revision.says_the_same(&wanted.revision) && known.sort == wanted.sort
}

pub(super) async fn update(call: &Call<'_>) -> Answer {
    let arn = call.params.required("stateMachineArn")?.to_owned();
    let name = unqualified(&arn)?;
    let publish = call.params.flag("publish");
    let description = call.params.text("versionDescription")?.map(str::to_owned);
    if description.is_some() && !publish {
        return Err(AwsError::validation(
            "Version description can only be set when publish is true",
        ));
    }
    let changes = Changes::read(call)?;
    if changes.is_empty() && !publish {
        let message = "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration \
                       must be specified";
        return Err(AwsError::new("MissingRequiredParameter", message));
    }
    let id = uuid()?;
    let now = millis(call.handle.now());
    let ctx = call.ctx();
    let _publishing = call.api.publishing.lock().await;
    let before = find_in(&ctx, &arn).await?.machine;
    let sort = sort_of(&before);
    if let Some(definition) = &changes.definition {
        check_definition(definition, sort)?;
    }
    if let Some(role) = &changes.role {
        call.check_role(role)?;
    }
    if let Some(logging) = &changes.logging {
        groups::check(&ctx, logging).await?;
    }
    let after = changes.of(&before.revision);
    let runs_the_same = after.definition == before.revision.definition
        && after.role == before.revision.role
        && after.logging == before.revision.logging;
    let pin = match runs_the_same {
        true => after.function,
        false => Some(publish_function(&ctx, &name, sort, &after).await?),
    };
    let (revision, version) = call
        .registry
        .with(call.who, move |resources| {
            let known = resources.machine_mut(&name).ok_or_else(|| AwsError::no_machine(&arn))?;
            let mut machine = known.clone();
            let revision = &mut machine.revision;
            *revision = changes.of(&known.revision);
            revision.function = pin;
            if *revision != known.revision {
                revision.id = Some(id);
            }
            machine.updated = now;
            let version =
                publish.then(|| versions::add(&mut machine, description, now)).transpose()?;
            let id = machine.revision.id.clone();
            *known = machine;
            Ok((id, version.map(|version| (name, version))))
        })
        .await?;
    let mut answer = Map::new();
    answer.insert("updateDate".to_owned(), seconds(Timestamp::from_millis(now)));
    if let Some(id) = revision {
        answer.insert("revisionId".to_owned(), id.into());
    }
    if let Some((name, version)) = version {
        answer
            .insert("stateMachineVersionArn".to_owned(), call.place.version(&name, version).into());
    }
    Ok(answer)
}

/// What UpdateStateMachine replaces.
struct Changes {
    definition: Option<String>,
    role: Option<String>,
    logging: Option<Value>,
    tracing: Option<bool>,
    encryption: Option<Value>,
}

impl Changes {
    fn read(call: &Call<'_>) -> Result<Self, AwsError> {
        let definition = call.params.text("definition")?.map(str::to_owned);
        let given = |name: &str| call.params.get(name);
        Ok(Self {
            definition,
            role: call.params.text("roleArn")?.map(str::to_owned),
            logging: given("loggingConfiguration").map(|value| logging(Some(value))).transpose()?,
            tracing: tracing_enabled(given("tracingConfiguration")),
            encryption: given("encryptionConfiguration").map(|value| encryption(Some(value))),
        })
    }

    const fn is_empty(&self) -> bool {
        self.definition.is_none()
            && self.role.is_none()
            && self.logging.is_none()
            && self.tracing.is_none()
            && self.encryption.is_none()
    }

    /// A revision with these changes.
    fn of(&self, before: &Revision) -> Revision {
        Revision {
            definition: self.definition.clone().unwrap_or_else(|| before.definition.clone()),
            role: self.role.clone().unwrap_or_else(|| before.role.clone()),
            logging: self.logging.clone().unwrap_or_else(|| before.logging.clone()),
            tracing: self.tracing.unwrap_or(before.tracing),
            encryption: self.encryption.clone().unwrap_or_else(|| before.encryption.clone()),
            ..before.clone()
        }
    }
}

pub(super) async fn describe(call: &Call<'_>) -> Answer {
    let arn = call.params.required("stateMachineArn")?.to_owned();
    let found = find(call, &arn).await?;
    let mut answer = described(&found.machine, &found.revision, told_of(call));
    answer.insert("stateMachineArn".to_owned(), arn.into());
    answer.insert("status".to_owned(), "ACTIVE".into());
    answer.insert("type".to_owned(), found.machine.sort.clone().into());
    answer.insert("creationDate".to_owned(), seconds(Timestamp::from_millis(found.created)));
    if let Some(id) = found.revision.id {
        answer.insert("revisionId".to_owned(), id.into());
    }
    if let Some(description) = found.description {
        answer.insert("description".to_owned(), description.into());
    }
    Ok(answer)
}

/// How much is told of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    All,
    /// All but the definition.
    Metadata,
}

/// How much a request wants to be told.
pub(super) fn told_of(call: &Call<'_>) -> Told {
    if call.params.only_metadata() { Told::Metadata } else { Told::All }
}

/// What is told of a revision, of a machine and of an execution's machine alike.
pub(super) fn described(machine: &Machine, revision: &Revision, told: Told) -> Map<String, Value> {
    let definition = match told {
        Told::All => &revision.definition,
        Told::Metadata => "{}",
    };
    let mut answer = Map::new();
    answer.insert("name".to_owned(), machine.name.clone().into());
    answer.insert("definition".to_owned(), definition.into());
    answer.insert("roleArn".to_owned(), revision.role.clone().into());
    answer.insert("loggingConfiguration".to_owned(), revision.logging.clone());
    answer.insert("tracingConfiguration".to_owned(), json!({ "enabled": revision.tracing }));
    answer.insert("encryptionConfiguration".to_owned(), revision.encryption.clone());
    let references = references::of(definition);
    if !references.is_empty() {
        answer.insert("variableReferences".to_owned(), Value::Object(references));
    }
    answer
}

/// A machine and the revision that an ARN names.
pub(super) struct Found {
    pub(super) machine: Machine,
    pub(super) revision: Revision,
    pub(super) created: u64,
    pub(super) description: Option<String>,
    pub(super) version: Option<u32>,
}

/// The machine of an ARN, with the version or alias in it.
async fn find(call: &Call<'_>, arn: &str) -> Result<Found, AwsError> {
    find_in(&call.ctx(), arn).await
}

/// The machine of an ARN. An alias of two versions gives one of them by chance, as its weights say.
pub(super) async fn find_in(ctx: &Ctx, arn: &str) -> Result<Found, AwsError> {
    let MachineArn { name, qualifier } = arn::machine(arn)?;
    let arn = arn.to_owned();
    let draw = seed() % 100;
    ctx.api
        .registry
        .with(&ctx.who, move |resources| {
            let machine = known(resources, &name, &arn)?.clone();
            let version = match qualifier {
                None => None,
                Some(Qualifier::Version(version)) => Some(version),
                Some(Qualifier::Alias(alias)) => {
                    let alias = machine.aliases.iter().find(|known| known.name == alias);
                    let alias = alias.ok_or_else(|| AwsError::no_machine(&arn))?;
                    let mut reached = 0;
                    let chosen = alias.routes.iter().find(|route| {
                        reached += u64::from(route.weight);
                        draw < reached
                    });
                    chosen.or_else(|| alias.routes.last()).map(|route| route.version)
                }
            };
            let Some(version) = version else {
                let (revision, created) = (machine.revision.clone(), machine.created);
                return Ok(Found { machine, revision, created, description: None, version: None });
            };
            let Version { created, description, revision } = machine
                .versions
                .get(&version)
                .cloned()
                .ok_or_else(|| AwsError::no_machine(&arn))?;
            Ok(Found { machine, revision, created, description, version: Some(version) })
        })
        .await
}

pub(super) fn known<'r>(
    resources: &'r Resources,
    name: &str,
    arn: &str,
) -> Result<&'r Machine, AwsError> {
    resources.machines().get(name).ok_or_else(|| AwsError::no_machine(arn))
}

pub(super) async fn delete(call: &Call<'_>) -> Answer {
    let arn = call.params.required("stateMachineArn")?;
    let name = unqualified(arn)?;
    let machine = name.clone();
    let pin = call
        .registry
        .with(call.who, move |resources| {
            let known = resources.machines().get(&name);
            let pin = known.and_then(|machine| machine.revision.function.clone());
            resources.remove_machine(&name);
            Ok(pin)
        })
        .await?;
    if let Some(pin) = pin {
        let ctx = call.ctx();
        tokio::spawn(async move { forget(&ctx, &machine, &pin).await });
    }
    Ok(Map::new())
}

/// Deletes the function of a machine that was deleted, once none of its executions runs any more.
async fn forget(ctx: &Ctx, machine: &str, pin: &Pin) {
    let Ok(function) = pin.name.parse::<FunctionName>() else { return };
    loop {
        let publishing = ctx.api.publishing.lock().await;
        let machine = machine.to_owned();
        let made_again =
            ctx.api.registry.with(&ctx.who, move |all| Ok(all.machines().contains_key(&machine)));
        if made_again.await.unwrap_or(true) {
            return;
        }
        // Somebody deployed a function of that name meanwhile.
        let latest = ctx.handle.function(&ctx.who, &function, None).await;
        if latest.is_ok_and(|latest| latest.version.0 != pin.version) {
            return;
        }
        let open = RunFilter {
            function: Some(function.clone()),
            open: true,
            limit: 1,
            ..RunFilter::default()
        };
        match ctx.handle.runs(&ctx.who, open).await {
            Ok(page) if page.items.is_empty() => {
                let _ = ctx.handle.delete_function(&ctx.who, &function).await;
                return;
            }
            Ok(_) => drop(publishing),
            Err(_) => return,
        }
        tokio::time::sleep(FORGET_EVERY).await;
    }
}

/// The function of a machine that says the same, where there is one.
async fn same(
    ctx: &Ctx,
    name: &str,
    revision: &Revision,
    sort: MachineType,
) -> Result<Option<Option<Pin>>, AwsError> {
    let (name, revision) = (name.to_owned(), revision.clone());
    ctx.api
        .registry
        .with(&ctx.who, move |resources| {
            let known = resources.machines().get(&name);
            // Another one of that name is refused further on.
            let known = known.filter(|known| {
                !known.revision.says_the_same(&revision)
                    || sort_of(known) != sort
                    || known.revision.function.is_some()
            });
            Ok(known.map(|known| known.revision.function.clone()))
        })
        .await
}

/// Publishes a revision as a version of a function. A name that cannot name a function, or names
/// another one, gets one of its own.
async fn publish_function(
    ctx: &Ctx,
    machine: &str,
    sort: MachineType,
    revision: &Revision,
) -> Result<Pin, AwsError> {
    let digest = Sha256::digest(machine.as_bytes());
    let own: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let own: FunctionName = format!("state-machine-{own}")
        .parse()
        .map_err(|_| AwsError::new("InvalidName", format!("Invalid Name: '{machine}'")))?;
    let name = match machine.parse::<FunctionName>() {
        Err(_) => own,
        Ok(name) => match ctx.handle.function(&ctx.who, &name, None).await {
            Ok(info) if info.kind != Kind::StateMachine => own,
            _ => name,
        },
    };
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut environment = vec![
        variable(states::ROLE, &revision.role),
        variable(states::SORT, sort.as_str()),
        variable(states::NAME, machine),
    ];
    if revision.logging.get("level").is_some_and(|level| level != "OFF") {
        environment.push(variable(states::LOGGING, &revision.logging.to_string()));
    }
    let new = NewFunction {
        name,
        runtime: Kind::StateMachine.as_str().to_owned(),
        handler: String::new(),
        timeout: None,
        environment,
        description: String::new(),
        package: revision.definition.clone().into(),
        class: None,
        network: false,
        durable: Durable::No,
    };
    let info = ctx.handle.create_function(&ctx.who, new).await?;
    Ok(Pin { name: info.name.to_string(), version: info.version.0 })
}

/// The function that runs a revision. Machines of earlier times have none until they are started.
pub(super) async fn pinned(
    ctx: &Ctx,
    machine: &Machine,
    revision: &Revision,
) -> Result<(FunctionName, FunctionVersion), AwsError> {
    let pin = match &revision.function {
        Some(pin) => pin.clone(),
        None => {
            let pin = publish_function(ctx, &machine.name, sort_of(machine), revision).await?;
            let (name, wanted, kept) = (machine.name.clone(), revision.clone(), pin.clone());
            ctx.api
                .registry
                .with(&ctx.who, move |resources| {
                    let Some(machine) = resources.machine_mut(&name) else { return Ok(()) };
                    let versions = machine.versions.values_mut().map(|v| &mut v.revision);
                    for revision in versions.chain([&mut machine.revision]) {
                        if *revision == wanted {
                            revision.function = Some(kept.clone());
                        }
                    }
                    Ok(())
                })
                .await?;
            pin
        }
    };
    let name = pin.name.parse().map_err(|_| AwsError::no_machine(&machine.name))?;
    Ok((name, FunctionVersion(pin.version)))
}

/// The revision that a version of a function runs.
pub(super) async fn revision_of(
    ctx: &Ctx,
    machine: &Machine,
    function: &FunctionName,
    version: FunctionVersion,
) -> Result<Revision, AwsError> {
    let pin = Pin { name: function.to_string(), version: version.0 };
    let versions = machine.versions.values().map(|version| &version.revision);
    let known =
        versions.chain([&machine.revision]).rfind(|known| known.function.as_ref() == Some(&pin));
    if let Some(known) = known {
        return Ok(known.clone());
    }
    // It was replaced and never published.
    let info = ctx.handle.function(&ctx.who, function, Some(version)).await?;
    let definition = ctx.handle.package(&ctx.who, function, version).await?;
    let role = info.environment.iter().find(|(name, _)| name == states::ROLE);
    Ok(Revision {
        id: None,
        definition: String::from_utf8_lossy(&definition).into_owned(),
        role: role.map(|(_, role)| role.clone()).unwrap_or_default(),
        function: Some(pin),
        ..machine.revision.clone()
    })
}

impl Revision {
    /// Whether both say the same to AWS, which looks neither at the role nor at what came before.
    fn says_the_same(&self, other: &Self) -> bool {
        let said = |revision: &Self| {
            let Self { definition, logging, tracing, encryption, .. } = revision.clone();
            (definition, logging, tracing, encryption)
        };
        said(self) == said(other)
    }
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    // A bad page is refused before anything is read.
    page::<()>(&call.params, Vec::new())?;
    let place = call.place.clone();
    let machines = call
        .registry
        .with(call.who, move |resources| {
            let machines = resources.machines().values().map(|machine| {
                json!({
                    "stateMachineArn": place.machine(&machine.name),
                    "name": machine.name,
                    "type": machine.sort,
                    "creationDate": seconds(Timestamp::from_millis(machine.created)),
                })
            });
            Ok(machines.collect::<Vec<Value>>())
        })
        .await?;
    let (machines, next) = page(&call.params, machines)?;
    Ok(listed("stateMachines", machines, next))
}

/// A page of a list.
pub(super) fn listed(name: &str, items: Vec<Value>, next: Option<String>) -> Map<String, Value> {
    let mut answer = Map::new();
    answer.insert(name.to_owned(), Value::Array(items));
    if let Some(token) = next {
        answer.insert("nextToken".to_owned(), token.into());
    }
    answer
}

pub(super) fn validate(call: &Call<'_>) -> Answer {
    let definition = call.params.required("definition")?;
    let sort = machine_type(call)?;
    let wanted = call.params.text("severity")?.unwrap_or("ERROR");
    let most = call
        .params
        .get("maxResults")
        .and_then(Value::as_u64)
        .filter(|most| *most > 0)
        .unwrap_or(100);
    let Parsed { problems, .. } = parse(definition, sort);
    let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
    let shown: Vec<&Problem> = problems
        .iter()
        .filter(|problem| wanted == "WARNING" || problem.severity == Severity::Error)
        .collect();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let truncated = shown.len() > most;
    let diagnostics: Vec<Value> = shown.into_iter().take(most).map(diagnostic).collect();
    let mut answer = Map::new();
    answer.insert("result".to_owned(), if failed { "FAIL" } else { "OK" }.into());
    answer.insert("diagnostics".to_owned(), diagnostics.into());
    answer.insert("truncated".to_owned(), truncated.into());
    Ok(answer)
}

fn diagnostic(problem: &Problem) -> Value {
    let mut shown = Map::new();
    shown.insert("severity".to_owned(), problem.severity.as_str().into());
    shown.insert("code".to_owned(), problem.code.as_str().into());
    shown.insert("message".to_owned(), problem.message.clone().into());
    if let Some(location) = &problem.location {
        shown.insert("location".to_owned(), location.clone().into());
    }
    Value::Object(shown)
}

pub(super) fn check_definition(definition: &str, sort: MachineType) -> Result<(), AwsError> {
    parse(definition, sort)
        .into_result()
        .map(|_| ())
        .map_err(|problems| AwsError::new("InvalidDefinition", summary(&problems)))
}

fn machine_type(call: &Call<'_>) -> Result<MachineType, AwsError> {
    match call.params.text("type")? {
        Some("EXPRESS") => Ok(MachineType::Express),
        Some(_) | None => Ok(MachineType::Standard),
    }
}

pub(super) fn sort_of(machine: &Machine) -> MachineType {
    if machine.sort == MachineType::Express.as_str() {
        MachineType::Express
    } else {
        MachineType::Standard
    }
}

/// The name in an ARN that may name no version or alias.
fn unqualified(arn: &str) -> Result<String, AwsError> {
    let MachineArn { name, qualifier } = arn::machine(arn)?;
    match qualifier {
        None => Ok(name),
        Some(_) => Err(AwsError::new(
            "InvalidArn",
            format!("Invalid Arn: 'Resource type not valid in this context: {arn}'"),
        )),
    }
}

/// The logging configuration with what it leaves out.
fn logging(given: Option<&Value>) -> Result<Value, AwsError> {
    let refuse = |why: &str| {
        Err(AwsError::new(
            "InvalidLoggingConfiguration",
            format!("Invalid Logging Configuration: {why}"),
        ))
    };
    let Some(given) = given else {
        return Ok(json!({ "level": "OFF", "includeExecutionData": false }));
    };
    let level = given.get("level").and_then(Value::as_str).unwrap_or("OFF");
    let destinations = given.get("destinations").and_then(Value::as_array);
    if level != "OFF" {
        match destinations.map(Vec::as_slice) {
            Some([destination]) => {
                let group = destination.pointer("/cloudWatchLogsLogGroup/logGroupArn");
                if !group.and_then(Value::as_str).is_some_and(|group| group.ends_with(":*")) {
                    return Err(AwsError::no_log_destination());
                }
            }
            _ => return refuse("Must specify exactly one Log Destination."),
        }
    }
    let mut logging = Map::new();
    logging.insert("level".to_owned(), level.into());
    let data = given.get("includeExecutionData").and_then(Value::as_bool).unwrap_or(false);
    logging.insert("includeExecutionData".to_owned(), data.into());
    if let Some(destinations) = destinations {
        logging.insert("destinations".to_owned(), destinations.clone().into());
    }
    Ok(Value::Object(logging))
}

fn tracing_enabled(given: Option<&Value>) -> Option<bool> {
    given.map(|value| value.get("enabled").and_then(Value::as_bool).unwrap_or(false))
}

fn encryption(given: Option<&Value>) -> Value {
    given.cloned().unwrap_or_else(|| json!({ "type": "AWS_OWNED_KEY" }))
}
