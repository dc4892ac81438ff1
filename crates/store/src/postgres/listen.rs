//! Hearing of what other processes wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::api::{Listener, Subscription, Wake};
use crate::error::{Error, Result};
use crate::postgres::connection::{Connection, Target};

/// How long the end of a subscription may take to be noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Between two attempts to reach a server that is away.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A thread that listens until this is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    pub(super) fn start(target: Target, listener: Listener) -> Result<Self> {
        let connection = connect(&target)?;
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let listen = move || run(&target, connection, &*listener, &flag);
        let spawned = thread::Builder::new().name("fermata-listen".into()).spawn(listen);
        let failed = |error| Error::from_io("start a thread".into(), error);
        Ok(Self { ended, thread: Some(spawned.map_err(failed)?) })
    }
}

impl Subscription for Listening {}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A listener that panicked has said so already.
            drop(thread.join());
        }
    }
}

fn connect(target: &Target) -> Result<Connection> {
    let mut connection = Connection::open(target)?;
    connection.batch(&format!("LISTEN {}", target.channel()))?;
    Ok(connection)
}

fn run(target: &Target, connection: Connection, listener: &dyn Fn(Wake), ended: &AtomicBool) {
    let mut connection = Some(connection);
    while !ended.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = connect(target).ok();
            if connection.is_some() {
                // What was said meanwhile was not heard.
                listener(Wake::Anything);
            } else {
                thread::sleep(TRY_AGAIN);
            }
            continue;
        };
        match open.wait(LOOK_AGAIN) {
            Ok(heard) => {
                let own = word(Wake::Queue, &target.origin);
                heard.iter().filter(|word| **word != own).for_each(|word| listener(parse(word)));
            }
            Err(_) => connection = None,
        }
    }
}

/// The word for it. [`parse`] is the inverse. What is told often tells who tells it.
pub(super) fn word(wake: Wake, origin: &str) -> String {
    match wake {
        Wake::Catalog => "catalog".into(),
        Wake::Queue => format!("queue {origin}"),
        Wake::Leases => "leases".into(),
        Wake::Partition(partition) => format!("partition {partition}"),
        Wake::Anything => "anything".into(),
    }
}

/// What a newer program says and this one does not know may be anything.
fn parse(word: &str) -> Wake {
    match word {
        "catalog" => Wake::Catalog,
        queue if queue.split(' ').next() == Some("queue") => Wake::Queue,
        "leases" => Wake::Leases,
        other => {
            let partition = other.strip_prefix("partition ").and_then(|text| text.parse().ok());
            partition.map_or(Wake::Anything, Wake::Partition)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_understood() {
        let known = [Wake::Catalog, Wake::Queue, Wake::Leases, Wake::Partition(7), Wake::Anything];
        known.into_iter().for_each(|wake| assert_eq!(parse(&word(wake, "x")), wake));
        assert_eq!(parse("a word of tomorrow"), Wake::Anything);
    }
}
