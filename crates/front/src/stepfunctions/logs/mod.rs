//! What logging configurations ask for: the events of executions in log groups, which are files of this server.
//!
//! Events of executions that the node keeps are read from its store once they are there ([`Logs::happened`]),
//! so that all that the history tells is told here too; EXPRESS executions tell theirs themselves
//! ([`Logs::told`]). [`message`] is how an event is written, [`files`] where, [`groups`] what the actions of
//! CloudWatch Logs tell of it.

mod files;
pub(super) mod groups;
mod message;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use asl::history::Event;
use model::{ClassId, ExecutionId, TenantName, Timestamp, limits};
use node::{ErrorKind, Handle, News, Principal, Role, Which, states};
use serde_json::Value;
use tokio::sync::Notify;

use super::Settings;
use super::arn::Place;
use super::runs::Run;
use super::view::{Story, View};
use files::{Files, Found};
use message::Level;

/// Executions that are known to log; others are looked up again when they go on.
const FOLLOWED_MAX: usize = 10_000;

/// The log groups of this server.
pub(crate) struct Logs {
    handle: Handle,
    place: Place,
    files: Files,
    waiting: Mutex<Waiting>,
    woken: Notify,
    followed: tokio::sync::Mutex<BTreeMap<ExecutionId, Followed>>,
}

/// What is still to be written.
#[derive(Default)]
struct Waiting {
    /// Executions in which something happened, from which entry of their history on.
    news: BTreeMap<ExecutionId, (TenantName, u64)>,
    entries: Vec<Entry>,
    bytes: usize,
    lost: u64,
}

impl Waiting {
    fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let bytes = entry.line.message.len();
            if self.bytes + bytes > limits::LOG_GROUPS_BYTES_WAITING_MAX {
                self.lost += 1;
            } else {
                self.bytes += bytes;
                self.entries.push(entry);
            }
        }
    }
}

/// An event on its way to a log group.
struct Entry {
    tenant: TenantName,
    group: String,
    line: files::Line,
}

/// An execution that logs.
struct Followed {
    logging: Logging,
    arn: String,
    stream: String,
    /// How often it had begun anew before.
    redrives: u32,
    story: Story,
    /// The entry of its history that comes next.
    next: u64,
}

/// A logging configuration.
struct Logging {
    level: Level,
    has_data: bool,
    groups: Vec<String>,
}

impl Logging {
    /// None where nothing is logged.
    fn read(configuration: &Value) -> Option<Self> {
        let level = Level::read(configuration.get("level")?.as_str()?)?;
        let has_data = configuration.get("includeExecutionData").and_then(Value::as_bool);
        let groups = groups::named(configuration)
            .filter_map(|arn| arn.split_once(":log-group:"))
            .map(|(_, name)| name.strip_suffix(":*").unwrap_or(name).to_owned())
            .collect();
        Some(Self { level, has_data: has_data.unwrap_or(false), groups })
    }
}

impl Logs {
    /// The log groups of a server with these settings.
    pub(crate) fn of(handle: &Handle, settings: &Settings) -> Arc<Self> {
        let place = Place::new(settings);
        let logs = Arc::new(Self {
            handle: handle.clone(),
            place,
            files: Files::new(settings.logs.clone()),
            waiting: Mutex::default(),
            woken: Notify::new(),
            followed: tokio::sync::Mutex::default(),
        });
        let weak = Arc::downgrade(&logs);
        tokio::spawn(async move {
            while let Some(logs) = weak.upgrade() {
                logs.settle().await;
                // Whoever drops the last one need not wait for news.
                let patience = std::time::Duration::from_secs(1);
                let _ = tokio::time::timeout(patience, logs.woken.notified()).await;
            }
        });
        logs
    }

    /// Something happened in an execution that the node keeps.
    pub(super) fn happened(&self, news: News) {
        let News { execution, tenant, first } = news;
        self.waiting().news.entry(execution).or_insert((tenant, first));
        self.woken.notify_one();
    }

    /// An EXPRESS execution tells of itself.
    pub(super) fn told(&self, run: &Run, events: &[Event]) {
        let Some(logging) = Logging::read(&run.revision.logging) else { return };
        let Facts { arn, stream } =
            Facts::of(&run.facts.execution_arn, &run.facts.machine_name, run.facts.started);
        let entries = logging.entries(&run.tenant, (&arn, &stream), 0, events);
        if entries.is_empty() {
            return;
        }
        self.waiting().add(entries);
        self.woken.notify_one();
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits. When it returns, all that was told before can be read.
    async fn settle(&self) {
        let mut followed = self.followed.lock().await;
        loop {
            let Waiting { news, mut entries, lost, .. } = std::mem::take(&mut *self.waiting());
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "events came faster than log groups are written; these are lost"
                );
            }
            if news.is_empty() && entries.is_empty() {
                return;
            }
            for (id, (tenant, first)) in news {
                match self.of_kept(&mut followed, id, &tenant, first).await {
                    Ok(more) => entries.extend(more),
                    // Somebody purged it.
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(%error, %id, "its events are missing in its log group")
                    }
                }
            }
            self.files.write(entries).await;
        }
    }

    /// What is new of an execution that the node keeps.
    async fn of_kept(
        &self,
        followed: &mut BTreeMap<ExecutionId, Followed>,
        id: ExecutionId,
        tenant: &TenantName,
        first: u64,
    ) -> Result<Vec<Entry>, node::Error> {
        let known = followed.remove(&id).filter(|known| known.next <= first);
        let mut known = match known {
            Some(known) => known,
            None => match self.follow(id, tenant).await? {
                Some(found) => found,
                None => return Ok(Vec::new()),
            },
        };
        let mut events = Vec::new();
        for (number, event) in self.handle.run_events_from(id, known.next).await? {
            let told = known.story.tell(event);
            known.next = number + 1;
            // What came before was told by an earlier run of the server.
            if number >= first {
                events.extend(told);
            }
        }
        let redrives = known.redrives + known.story.redrives;
        let names = (&*known.arn, &*known.stream);
        let entries = known.logging.entries(tenant, names, redrives, &events);
        if !known.story.has_ended() {
            followed.insert(id, known);
        }
        if followed.len() > FOLLOWED_MAX {
            followed.pop_first();
        }
        Ok(entries)
    }

    async fn follow(
        &self,
        id: ExecutionId,
        tenant: &TenantName,
    ) -> Result<Option<Followed>, node::Error> {
        let who = Principal {
            tenant: tenant.clone(),
            key: None,
            role: Role::Member,
            max_class: ClassId(0),
        };
        let run = self.handle.run(&who, &Which::Id(id)).await?;
        let (function, version) = (run.info.function.clone(), run.info.version);
        let info = self.handle.function(&who, &function, Some(version)).await?;
        let found = info.environment.iter().find(|(name, _)| name == states::LOGGING);
        let configuration = found.and_then(|(_, text)| serde_json::from_str::<Value>(text).ok());
        let Some(logging) = configuration.as_ref().and_then(Logging::read) else { return Ok(None) };
        let begun_again = states::Origin::read(&run.origin).begun_again;
        let view = View::of_node(&self.place, run);
        let Facts { arn, stream } = Facts::of(&view.arn, &view.machine_name, view.started);
        Ok(Some(Followed {
            logging,
            arn,
            stream,
            redrives: begun_again,
            story: Story::default(),
            next: 1,
        }))
    }

    /// The lines of a group, oldest first; none where there is no such group.
    pub(crate) async fn lines(&self, tenant: &TenantName, group: &str) -> Found {
        self.settle().await;
        self.files.read(tenant, group).await
    }

    async fn forget(&self, tenant: &TenantName, group: &str) {
        self.settle().await;
        self.files.remove(tenant, group).await;
    }
}

/// What the lines of an execution have in common.
struct Facts {
    arn: String,
    stream: String,
}

impl Facts {
    fn of(arn: &str, machine: &str, started: Timestamp) -> Self {
        // As AWS names streams: by the machine and the minute; here each execution has its own.
        let minute = asl::time::render(started);
        let minute = minute.get(..16).unwrap_or_default().replace([':', 'T'], "-");
        let own = arn.rsplit(':').next().unwrap_or_default();
        Self { arn: arn.to_owned(), stream: format!("states/{machine}/{minute}/{own}") }
    }
}

impl Logging {
    fn entries(
        &self,
        tenant: &TenantName,
        (arn, stream): (&str, &str),
        redrives: u32,
        events: &[Event],
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        for event in events.iter().filter(|event| self.level.tells(event.kind)) {
            for group in &self.groups {
                let line = files::Line {
                    at: event.at.as_millis(),
                    stream: stream.to_owned(),
                    message: message::text(event, arn, redrives, self.has_data),
                };
                entries.push(Entry { tenant: tenant.clone(), group: group.clone(), line });
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_is_bounded_and_what_is_lost_is_counted() {
        let entry = |bytes| Entry {
            tenant: "t".parse().expect("a name"),
            group: "g".to_owned(),
            line: files::Line { at: 0, stream: "s".to_owned(), message: "x".repeat(bytes) },
        };
        let mut waiting = Waiting::default();
        waiting.add(vec![entry(limits::LOG_GROUPS_BYTES_WAITING_MAX - 1), entry(1)]);
        assert_eq!((waiting.entries.len(), waiting.lost), (2, 0));
        waiting.add(vec![entry(1), entry(0)]);
        assert_eq!((waiting.entries.len(), waiting.lost), (3, 1));
    }

    #[test]
    fn a_configuration_names_groups_by_their_arn() {
        let to = |arn: &str| json!({"cloudWatchLogsLogGroup": {"logGroupArn": arn}});
        let read = |level: &str| {
            let prefix = "arn:aws:logs:us-east-1:000000000000:log-group:";
            let destinations =
                json!([to(&format!("{prefix}/a/b:*")), to(&format!("{prefix}c")), to("no")]);
            Logging::read(&json!({"level": level, "destinations": destinations}))
        };
        let logging = read("ERROR").expect("it logs");
        assert_eq!(logging.groups, ["/a/b", "c"]);
        assert!(!logging.has_data && read("OFF").is_none());
        assert!(Logging::read(&json!({})).is_none());
    }

    #[test]
    fn a_stream_is_named_by_its_machine_its_minute_and_its_execution() {
        let facts =
            Facts::of("arn:x:express:m:n:id", "m", Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(facts.stream, "states/m/2023-11-14-22-13/id");
    }
}
