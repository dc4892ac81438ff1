//! What is kept of Step Functions beside the functions themselves: one document for each state machine, one
//! for the activities, one for the log groups, and a list of names, in the store's settings of the tenant.
//!
//! One task owns all of it. A change is in the store before its caller hears of it; where that fails, what is
//! in memory is dropped and read again.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{TenantName, Timestamp};
use node::{Handle, Principal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::error::AwsError;

/// Requests that wait for the task.
const QUEUE_MAX: usize = 1_024;

/// A state machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) name: String,
    /// `STANDARD` or `EXPRESS`.
    pub(super) sort: String,
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) revision: Revision,
    pub(super) versions: BTreeMap<u32, Version>,
    pub(super) last_version: u32,
    pub(super) aliases: Vec<Alias>,
    pub(super) tags: Vec<Tag>,
}

/// What an update replaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Revision {
    /// None for the first one, which AWS does not name.
    pub(super) id: Option<String>,
    pub(super) definition: String,
    pub(super) role: String,
    pub(super) logging: Value,
    pub(super) tracing: bool,
    pub(super) encryption: Value,
    /// The function that runs it.
    #[serde(default)]
    pub(super) function: Option<Pin>,
}

/// A version of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    pub(super) name: String,
    pub(super) version: u32,
}

/// A published revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) created: u64,
    pub(super) description: Option<String>,
    pub(super) revision: Revision,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Alias {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) routes: Vec<Route>,
    pub(super) created: u64,
    pub(super) updated: u64,
}

/// A share of the executions that an alias starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    pub(super) version: u32,
    pub(super) weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Activity {
    pub(super) created: u64,
    pub(super) tags: Vec<Tag>,
    /// None is AWS's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<Value>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LogGroup {
    pub(super) created: u64,
}

/// All of one tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    machines: BTreeMap<String, Machine>,
    activities: BTreeMap<String, Activity>,
    /// None as long as none was made.
    log_groups: Option<BTreeMap<String, LogGroup>>,
    changed: BTreeSet<Document>,
}

/// What is stored as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Document {
    Machine(String),
    Names,
    Activities,
    LogGroups,
}

impl Resources {
    pub(super) const fn machines(&self) -> &BTreeMap<String, Machine> {
        &self.machines
    }

    pub(super) fn machine_mut(&mut self, name: &str) -> Option<&mut Machine> {
        let machine = self.machines.get_mut(name)?;
        self.changed.insert(Document::Machine(name.to_owned()));
        Some(machine)
    }

    pub(super) fn add_machine(&mut self, machine: Machine) {
        self.changed.insert(Document::Machine(machine.name.clone()));
        self.changed.insert(Document::Names);
        self.machines.insert(machine.name.clone(), machine);
    }

    pub(super) fn remove_machine(&mut self, name: &str) {
        if self.machines.remove(name).is_some() {
            self.changed.insert(Document::Machine(name.to_owned()));
            self.changed.insert(Document::Names);
        }
    }

    pub(super) const fn activities(&self) -> &BTreeMap<String, Activity> {
        &self.activities
    }

    pub(super) fn activities_mut(&mut self) -> &mut BTreeMap<String, Activity> {
        self.changed.insert(Document::Activities);
        &mut self.activities
    }

    /// None where none was ever made: they are elsewhere, if anywhere.
    pub(super) const fn log_groups(&self) -> Option<&BTreeMap<String, LogGroup>> {
        self.log_groups.as_ref()
    }

    pub(super) fn log_groups_mut(&mut self) -> &mut BTreeMap<String, LogGroup> {
        self.changed.insert(Document::LogGroups);
        self.log_groups.get_or_insert_default()
    }

    /// What is to be stored, names last: a machine that is not named yet is not there.
    fn take_changes(&mut self) -> Result<Vec<(String, Vec<u8>)>, serde_json::Error> {
        let mut writes = Vec::new();
        for document in std::mem::take(&mut self.changed) {
            writes.push(match document {
                Document::Machine(name) => {
                    let bytes = match self.machines.get(&name) {
                        Some(machine) => serde_json::to_vec(machine)?,
                        None => Vec::new(),
                    };
                    (machine_setting(&name), bytes)
                }
                Document::Names => {
                    let names: Vec<&String> = self.machines.keys().collect();
                    (NAMES.to_owned(), serde_json::to_vec(&names)?)
                }
                Document::Activities => {
                    (ACTIVITIES.to_owned(), serde_json::to_vec(&self.activities)?)
                }
                Document::LogGroups => {
                    (LOG_GROUPS.to_owned(), serde_json::to_vec(&self.log_groups)?)
                }
            });
        }
        Ok(writes)
    }
}

const NAMES: &str = "stepfunctions/names";
const ACTIVITIES: &str = "stepfunctions/activities";
const LOG_GROUPS: &str = "stepfunctions/log-groups";

fn machine_setting(name: &str) -> String {
    format!("stepfunctions/machine/{name}")
}

/// The way to the task.
#[derive(Clone)]
pub(super) struct Registry {
    jobs: mpsc::Sender<Job>,
}

/// Does its work and returns what tells the caller, once it is stored.
type Work = Box<dyn FnOnce(&mut Resources) -> Tell + Send>;
type Tell = Box<dyn FnOnce(Result<(), AwsError>) + Send>;

struct Job {
    who: Principal,
    work: Work,
}

impl Registry {
    /// Starts the task; it ends with the last of its handles.
    pub(super) fn start(handle: Handle) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(handle, queue));
        Self { jobs }
    }

    /// Looks at or changes a tenant's resources.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        who: &Principal,
        work: impl FnOnce(&mut Resources) -> Result<T, AwsError> + Send + 'static,
    ) -> Result<T, AwsError> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |resources| {
            let result = work(resources);
            Box::new(move |stored: Result<(), AwsError>| drop(tell.send(stored.and(result))))
        });
        let stopped = || AwsError::new("InternalFailure", "the server is stopping");
        self.jobs.send(Job { who: who.clone(), work }).await.map_err(|_| stopped())?;
        told.await.map_err(|_| stopped())?
    }
}

async fn run(handle: Handle, mut queue: mpsc::Receiver<Job>) {
    let mut tenants: BTreeMap<TenantName, Resources> = BTreeMap::new();
    let mut known = handle.changes();
    while let Some(Job { who, work }) = queue.recv().await {
        // Another server may have changed them.
        let changes = handle.changes();
        if std::mem::replace(&mut known, changes) != changes {
            tenants.clear();
        }
        let mut resources = match tenants.remove(&who.tenant) {
            Some(resources) => resources,
            None => match load(&handle, &who).await {
                Ok(resources) => resources,
                Err(error) => {
                    let tell = work(&mut Resources::default());
                    tell(Err(error));
                    continue;
                }
            },
        };
        let tell = work(&mut resources);
        match save(&handle, &who, &mut resources).await {
            Ok(()) => {
                tenants.insert(who.tenant, resources);
                tell(Ok(()));
            }
            Err(error) => tell(Err(error)),
        }
    }
}

fn damaged(error: &serde_json::Error) -> AwsError {
    AwsError::new(
        "InternalFailure",
        format!("what is stored of state machines is damaged: {error}"),
    )
}

async fn load(handle: &Handle, who: &Principal) -> Result<Resources, AwsError> {
    let mut resources = Resources::default();
    if let Some(bytes) = handle.setting(who, ACTIVITIES).await? {
        resources.activities = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
    }
    if let Some(bytes) = handle.setting(who, LOG_GROUPS).await? {
        resources.log_groups = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
    }
    let Some(bytes) = handle.setting(who, NAMES).await? else { return Ok(resources) };
    let names: Vec<String> = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
    for name in names {
        let Some(bytes) = handle.setting(who, &machine_setting(&name)).await? else { continue };
        if !bytes.is_empty() {
            let machine = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
            resources.machines.insert(name, machine);
        }
    }
    Ok(resources)
}

async fn save(handle: &Handle, who: &Principal, resources: &mut Resources) -> Result<(), AwsError> {
    for (name, value) in resources.take_changes().map_err(|error| damaged(&error))? {
        handle.put_setting(who, &name, value).await?;
    }
    Ok(())
}

/// A time as it is kept.
pub(super) const fn millis(at: Timestamp) -> u64 {
    at.as_millis()
}

/// A new id of a revision.
pub(super) fn uuid() -> Result<String, AwsError> {
    crate::uuid::draw()
        .map_err(|error| AwsError::new("InternalFailure", format!("no random bits: {error}")))
}

/// The seed of an execution's draws.
pub(super) fn seed() -> u64 {
    getrandom::u64().unwrap_or(0)
}

/// The callback token of an ask: nobody can guess it, and it says nothing.
pub(super) fn token(secret: &[u8; 32], op: u64) -> String {
    let digest = Sha256::new().chain_update(secret).chain_update(op.to_be_bytes()).finalize();
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(digest))
}

/// A secret from which the tokens of one execution are made.
pub(super) fn secret() -> [u8; 32] {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).expect("the kernel has random bits");
    secret
}

const TOKEN_PREFIX: &str = "AQ";
const TOKEN_CHARS: usize = 45;

/// Whether a text looks like a token that this server could have made.
pub(super) fn is_token(text: &str) -> bool {
    text.len() == TOKEN_CHARS && text.starts_with(TOKEN_PREFIX)
}
