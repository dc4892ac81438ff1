//! `--record FILE`: writes what really arrived, for `fermata sim replay` and `plan`.
//!
//! The node tells of each attempt when it ended, on the thread that writes receipts, so no call
//! waits for it. What it tells goes over a bounded channel to a thread of its own; where the disk
//! is too slow for it, records are left out and counted, never waited for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use model::{PriceList, Timestamp, limits};
use node::{Observed, Observer};
use sim::workload::recording::{Record, Recorder};

/// How long a record may stay in memory.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Recording {
    thread: JoinHandle<()>,
}

/// Begins a recording of at most `bytes_max`; the observer is for the node.
pub(crate) fn begin(
    path: &Path,
    prices: &PriceList,
    now: Timestamp,
    bytes_max: u64,
) -> anyhow::Result<(Recording, Observer)> {
    let file =
        File::create(path).with_context(|| format!("make the recording {}", path.display()))?;
    let recorder = Recorder::new(Counted { to: BufWriter::new(file), bytes: 0 }, prices)
        .with_context(|| format!("write to the recording {}", path.display()))?;
    let (tell, told) = mpsc::sync_channel(limits::RECORDING_PENDING_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let keeper = Keeper {
        path: path.to_owned(),
        prices: prices.clone(),
        bytes_max,
        lost: Arc::clone(&lost),
    };
    let thread = std::thread::Builder::new()
        .name("fermata-recorder".into())
        .spawn(move || keeper.run(recorder, &told, now))
        .context("start the recorder")?;
    let observer = move |observed: Observed| {
        // A recorder that is gone said why.
        if let Err(TrySendError::Full(_)) = tell.try_send(observed) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    };
    Ok((Recording { thread }, Arc::new(observer)))
}

impl Recording {
    /// Waits until everything is written; the node is gone by then.
    pub(crate) fn end(self) {
        if self.thread.join().is_err() {
            tracing::error!("the recorder ended early; the recording is not whole");
        }
    }
}

/// Counts what is written.
#[derive(Debug)]
struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

struct Keeper {
    path: PathBuf,
    prices: PriceList,
    bytes_max: u64,
    lost: Arc<AtomicU64>,
}

impl Keeper {
    fn run<W: Write>(
        self,
        mut recorder: Recorder<Counted<W>>,
        told: &Receiver<Observed>,
        began: Timestamp,
    ) {
        let mut records = 0_u64;
        let mut flushed = Instant::now();
        let done = loop {
            let next = told.recv_timeout(FLUSH_EVERY);
            let written = match next {
                Ok(observed) => {
                    records += 1;
                    recorder.record(&self.record(&observed, began))
                }
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            };
            let written = written.and_then(|()| {
                if flushed.elapsed() < FLUSH_EVERY {
                    return Ok(());
                }
                flushed = Instant::now();
                recorder.writer().flush()
            });
            if written.is_err() {
                break written;
            }
            if recorder.writer().bytes >= self.bytes_max {
                tracing::warn!(
                    bytes = self.bytes_max,
                    "the recording is as long as it may be and ends here"
                );
                break Ok(());
            }
        };
        let done = done.and_then(|()| recorder.finish().map(drop));
        let (lost, path) = (self.lost.load(Ordering::Relaxed), self.path.display());
        if let Err(error) = done {
            tracing::warn!(%error, %path, "the recording cannot be written and ends here");
        }
        if lost > 0 {
            tracing::warn!(lost, %path, "the recording is not whole: the disk was too slow for some");
        }
        tracing::info!(records, lost, %path, "recorded");
    }

    fn record(&self, observed: &Observed, began: Timestamp) -> Record {
        let nanos = |later: Timestamp, earlier| {
            u64::try_from(later.since(earlier).as_nanos()).unwrap_or(u64::MAX)
        };
        // The mean over its time on the machine: what it had at most is not measured.
        let there = nanos(observed.finished, observed.started.unwrap_or(observed.arrived)).max(1);
        let mean = u128::from(observed.memory.0) * 1_000_000_000 / u128::from(there);
        Record {
            at_ns: nanos(observed.arrived, began),
            function: format!("{}/{}", observed.tenant, observed.function),
            class: self.prices.get(observed.class).name.clone(),
            cpu_ns: observed.cpu.0,
            memory_bytes: u64::try_from(mean).unwrap_or(u64::MAX),
            latency_ns: Some(nanos(observed.finished, observed.arrived)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ByteSeconds, ClassId, CpuTime};
    use sim::workload::Workload as _;
    use sim::workload::recording::Recording as Recorded;

    fn observed(arrived: u64) -> Observed {
        Observed {
            tenant: "acme".parse().unwrap(),
            function: "page".parse().unwrap(),
            class: ClassId(4),
            arrived: Timestamp(1_000 + arrived),
            started: Some(Timestamp(1_500 + arrived)),
            finished: Timestamp(1_000_001_500 + arrived),
            cpu: CpuTime(700),
            memory: ByteSeconds(4_096),
        }
    }

    fn recorded(count: u64, bytes_max: u64) -> Recorded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        let (recording, observer) =
            begin(&path, &PriceList::default(), Timestamp(1_000), bytes_max).unwrap();
        for nth in 0..count {
            observer(observed(nth));
        }
        drop(observer);
        recording.end();
        Recorded::load(&path).unwrap()
    }

    #[test]
    fn what_ended_is_read_back_by_the_simulator() {
        let recording = recorded(3, u64::MAX);
        let all: Vec<_> = recording.arrivals(1).collect();
        assert_eq!((all.len(), all[2].at_ns, all[2].cpu_ns), (3, 2, 700));
        // 4,096 byte-seconds in one second.
        assert_eq!((all[0].class, all[0].memory_peak), (ClassId(4), 4_096));
        assert_eq!(recording.functions(), ["acme/page"]);
        assert!(recording.measured().is_some());
    }

    #[test]
    fn a_recording_ends_at_its_limit_and_stays_readable() {
        let one = recorded(1, u64::MAX).len();
        assert_eq!(one, 1);
        let cut = recorded(1_000, 10_000).len();
        assert!((10..200).contains(&cut), "{cut}");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_at_once() {
        let begun = begin(Path::new("/no/such/place"), &PriceList::default(), Timestamp(0), 1);
        let error = format!("{:#}", begun.err().unwrap());
        assert!(error.starts_with("make the recording /no/such/place"), "{error}");
    }
}
