//! Reading executions: those that are asked for, timers that come near, and at the start everything
//! that an earlier run of a node left half-done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use engine::Effect;
use model::{ExecutionId, Timestamp, limits};
use store::{Lease, Store};

use super::Message;
use super::timers::Reading;
use crate::inner::Inner;

/// Executions read at once.
const LOAD_MAX: usize = limits::PAGE_MAX;
/// Wait before the store is asked again for what it could not tell.
const READ_RETRY: Duration = Duration::from_millis(500);

/// Reads executions that are asked for, until nobody can ask any more. What is asked for while the
/// store works is read together.
pub(crate) fn load(store: &dyn Store, asked: &Receiver<Vec<ExecutionId>>, to: &Sender<Message>) {
    while let Ok(mut ids) = asked.recv() {
        while ids.len() < LOAD_MAX
            && let Ok(more) = asked.try_recv()
        {
            ids.extend(more);
        }
        for page in ids.chunks(LOAD_MAX) {
            let read = store.load_executions(page).map_err(Arc::new);
            if to.send(Message::Loaded(page.to_vec(), read)).is_err() {
                return;
            }
        }
    }
}

/// Reads the timers up to `until` in the background.
pub(super) fn read_timers(
    inner: &Arc<Inner>,
    tokio: &tokio::runtime::Handle,
    leases: &Arc<[Lease]>,
    (reading, until): (Reading, Timestamp),
) {
    let (inner, leases) = (Arc::clone(inner), Arc::clone(leases));
    tokio.spawn_blocking(move || {
        for lease in leases.iter() {
            while let Err(error) = read_timers_of(&inner, lease.partition, (reading, until)) {
                tracing::warn!(%error, "timers cannot be read; trying again");
                std::thread::sleep(READ_RETRY);
            }
        }
        let _ = inner.executions.send(Message::Due(reading, Vec::new(), Some(until)));
    });
}

/// What is due is told page by page; all of it has been told once this returns.
fn read_timers_of(
    inner: &Inner,
    partition: u32,
    (reading, until): (Reading, Timestamp),
) -> Result<(), store::Error> {
    let mut after = None;
    loop {
        let page = inner.store.timers_due(&[partition], until, after, usize::MAX)?.due;
        let is_full = page.len() >= limits::PAGE_MAX;
        after = page.last().copied();
        if !page.is_empty() {
            let _ = inner.executions.send(Message::Due(reading, page, None));
        }
        if !is_full {
            return Ok(());
        }
    }
}

/// Reads everything of a partition that was committed and may not have been done, in the background.
pub(super) fn read_outbox(
    inner: &Arc<Inner>,
    tokio: &tokio::runtime::Handle,
    partition: u32,
    gain: u64,
) {
    let inner = Arc::clone(inner);
    tokio.spawn_blocking(move || {
        let left = loop {
            match outbox(&*inner.store, partition) {
                Ok(left) => break left,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, partition, "what was left cannot be read; trying again");
                    std::thread::sleep(READ_RETRY);
                }
                Err(error) => {
                    tracing::error!(%error, partition, "what was left cannot be read");
                    break BTreeMap::new();
                }
            }
        };
        let _ = inner.executions.send(Message::Recovered(partition, gain, left));
    });
}

fn outbox(
    store: &dyn Store,
    partition: u32,
) -> Result<BTreeMap<ExecutionId, Vec<Effect>>, store::Error> {
    let mut found: BTreeMap<ExecutionId, Vec<Effect>> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.outbox(partition, after, limits::PAGE_MAX)?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some((last.id, last.op));
        for item in &page {
            let effect = Effect::decode(&item.bytes).map_err(|error| store::Error::Corrupt {
                reason: format!("effect {} of {}: {error}", item.op.0, item.id),
            })?;
            found.entry(item.id).or_default().push(effect);
        }
    }
}
