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
    woken: Arc<Notify>,
    known: tokio::sync::Mutex<Known>,
}

/// Executions that log.
#[derive(Default)]
struct Known {
    followed: BTreeMap<ExecutionId, Followed>,
    /// The entry of their histories that comes next, also of those that have ended: news may come after what
    /// they tell of.
    told: BTreeMap<ExecutionId, u64>,
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

impl Known {
    fn keep(&mut self, id: ExecutionId, followed: Followed) {
        self.told.insert(id, followed.next);
        if !followed.story.has_ended() {
            self.followed.insert(id, followed);
        }
        if self.told.len() > FOLLOWED_MAX {
            self.told.pop_first();
        }
        if self.followed.len() > FOLLOWED_MAX {
            self.followed.pop_first();
        }
    }
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
            woken: Arc::default(),
            known: tokio::sync::Mutex::default(),
        });
        let (weak, woken) = (Arc::downgrade(&logs), Arc::clone(&logs.woken));
        tokio::spawn(async move {
            loop {
                woken.notified().await;
                let Some(logs) = weak.upgrade() else { return };
                logs.settle().await;
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
        let facts = &run.facts;
        let stream = stream(&facts.execution_arn, &facts.machine_name, facts.started);
        let names = (&*facts.execution_arn, &*stream);
        let entries = logging.entries(&run.tenant, names, 0, events);
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
    pub(crate) async fn settle(&self) {
        let mut known = self.known.lock().await;
        let mut failed = Vec::new();
        loop {
            let Waiting { news, mut entries, lost, .. } = std::mem::take(&mut *self.waiting());
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "events came faster than log groups are written; these are lost"
                );
            }
            if news.is_empty() && entries.is_empty() {
                break;
            }
            for (id, (tenant, first)) in news {
                match self.of_kept(&mut known, id, &tenant, first).await {
                    Ok(more) => entries.extend(more),
                    // Somebody purged it.
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(%error, %id, "its events come late to its log group");
                        failed.push((id, tenant, first));
                    }
                }
            }
            self.files.write(entries).await;
        }
        // They are told when something happens again.
        let mut waiting = self.waiting();
        for (id, tenant, first) in failed {
            waiting
                .news
                .entry(id)
                .and_modify(|(_, other)| *other = first.min(*other))
                .or_insert((tenant, first));
        }
    }

    /// What is new of an execution that the node keeps.
    async fn of_kept(
        &self,
        known: &mut Known,
        id: ExecutionId,
        tenant: &TenantName,
        first: u64,
    ) -> Result<Vec<Entry>, node::Error> {
        // News of one commit may have come with those of the commit before.
        let first = known.told.get(&id).map_or(first, |next| first.max(*next));
        let mut followed = match known.followed.remove(&id) {
            Some(followed) => followed,
            None => match self.follow(id, tenant).await? {
                Some(found) => found,
                None => return Ok(Vec::new()),
            },
        };
        let mut entries = Vec::new();
        for (number, event) in self.handle.run_events_from(id, followed.next).await? {
            let events = followed.story.tell(event);
            followed.next = number + 1;
            // What came before was told, maybe by an earlier run of the server.
            if number >= first {
                let redrives = followed.redrives + followed.story.redrives;
                let names = (&*followed.arn, &*followed.stream);
                entries.extend(followed.logging.entries(tenant, names, redrives, &events));
            }
        }
        known.keep(id, followed);
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
        Ok(Some(Followed {
            logging,
            stream: stream(&view.arn, &view.machine_name, view.started),
            arn: view.arn,
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

impl Drop for Logs {
    /// Its task ends.
    fn drop(&mut self) {
        self.woken.notify_one();
    }
}

/// The stream of an execution. AWS names streams by the machine and the minute; here each execution has its own.
fn stream(arn: &str, machine: &str, started: Timestamp) -> String {
    let minute = asl::time::render(started);
    let minute = minute.get(..16).unwrap_or_default().replace([':', 'T'], "-");
    let own = arn.rsplit(':').next().unwrap_or_default();
    format!("states/{machine}/{minute}/{own}")
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
        let started = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(stream("arn:x:express:m:n:id", "m", started), "states/m/2023-11-14-22-13/id");
    }
}
