//! One sandbox as the server sees it: the socket that its program calls, its output, its control
//! groups, and whose it is.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use model::{Failure, FailureKind, FunctionName, TenantName, Version};
use tokio::sync::oneshot;

use super::api;
use super::group::Group;
use super::job::{Afterwards, Job};
use super::shared::{Shared, unpoisoned};
use super::sys;
use super::wire::{self, News, Recipe};
use crate::executor::{Code, Logs, Start};
use crate::kernel::Band;
use crate::meter::LogBuffer;

/// Most that is read from a program's output before others have a turn.
const OUTPUT_PIECE_BYTES: usize = 64 << 10;

/// How an interpreter starts ahead: below the functions that run, and still not starved by them, or
/// there would be none when many functions start.
const STARTING: Band = Band::Normal { nice: 10 };

/// Whose a sandbox is, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) tenant: TenantName,
    pub(super) function: FunctionName,
    pub(super) version: Version,
    /// A function deleted and made again begins again with version 1.
    hash: [u8; 32],
}

impl Owner {
    pub(super) fn of(code: &Code) -> Self {
        Self {
            tenant: code.tenant.clone(),
            function: code.function.clone(),
            version: code.version,
            hash: code.hash,
        }
    }
}

/// How a sandbox came to its end.
pub(super) enum End {
    /// By its program.
    Program(String),
    /// Not by its program: it could not be made, or was ended from outside.
    Unmade(String),
}

/// The invocation that a program asked for.
pub(super) struct Next(pub(super) Start);

/// One sandbox.
pub(super) struct Sandbox {
    pub(super) n: u32,
    has_network: bool,
    pub(super) shared: Arc<Shared>,
    slot: Mutex<Slot>,
    group: OnceLock<Group>,
    /// Read end of the program's standard output and error.
    output: File,
    /// What it gave since the last invocation ended.
    printed: Mutex<LogBuffer>,
}

#[derive(Default)]
struct Slot {
    owner: Option<Owner>,
    job: Option<Arc<Job>>,
    /// What a generic interpreter is to run, once its code is there.
    assignment: Option<Bytes>,
    assignment_asking: Option<oneshot::Sender<Bytes>>,
    next_asking: Option<oneshot::Sender<Next>>,
    has_asked: bool,
    is_gone: bool,
}

/// What is known of a sandbox that may take an invocation.
pub(super) enum Claim {
    Taken,
    Gone,
}

impl Sandbox {
    pub(super) fn new(recipe: &Recipe, shared: Arc<Shared>, output: OwnedFd) -> Arc<Self> {
        let (n, has_network) = (recipe.n, recipe.has_network);
        let output = File::from(output);
        Arc::new(Self {
            n,
            has_network,
            shared,
            slot: Mutex::default(),
            group: OnceLock::new(),
            output,
            printed: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        unpoisoned(&self.slot)
    }

    /// Its control groups, once it is open.
    pub(super) fn group(&self) -> Option<&Group> {
        self.group.get()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    /// Whether it shares the machine's network.
    pub(super) fn has_network(&self) -> bool {
        self.has_network
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        self.lock().owner.clone()
    }

    pub(super) fn job(&self) -> Option<Arc<Job>> {
        self.lock().job.clone()
    }

    /// Makes it the job's.
    pub(super) fn claim(&self, owner: Owner, job: &Arc<Job>) -> Claim {
        let mut slot = self.lock();
        if slot.is_gone {
            return Claim::Gone;
        }
        // What was printed while nothing ran here belongs to nobody.
        drop(self.take_output());
        slot.owner = Some(owner);
        slot.job = Some(Arc::clone(job));
        Claim::Taken
    }

    /// Its invocation ended; it may have another one of the same owner. Stops it if it has come to
    /// rest.
    pub(super) fn release(&self) {
        let mut slot = self.lock();
        slot.job = None;
        if slot.next_asking.is_some() {
            self.stop_idle(&slot);
        }
    }

    /// Stops it if nothing runs here.
    pub(super) fn rest(&self) {
        self.stop_idle(&self.lock());
    }

    fn stop_idle(&self, slot: &Slot) {
        let is_idle = slot.job.is_none() && !slot.is_gone && slot.owner.is_some();
        if let Some(group) = self.group().filter(|_| is_idle) {
            group.stop();
        }
    }

    /// Marks it as gone; whether it was not yet.
    pub(super) fn set_gone(&self) -> bool {
        let mut slot = self.lock();
        slot.job = None;
        slot.next_asking = None;
        slot.assignment_asking = None;
        !std::mem::replace(&mut slot.is_gone, true)
    }

    /// Whether it is a generic interpreter that waits to be told what to run.
    pub(super) fn is_ready(&self) -> bool {
        let slot = self.lock();
        slot.assignment_asking.is_some() && slot.owner.is_none() && !slot.is_gone
    }

    /// Tells a generic interpreter what to run, now or when it asks.
    pub(super) fn assign(&self, assignment: Bytes) {
        let mut slot = self.lock();
        match slot.assignment_asking.take() {
            // Where the program has just gone, its end tells.
            Some(asking) => drop(asking.send(assignment)),
            None => slot.assignment = Some(assignment),
        }
    }

    /// The program asks what it is to run.
    pub(super) fn ask_assignment(&self) -> oneshot::Receiver<Bytes> {
        let (sender, receiver) = oneshot::channel();
        let mut slot = self.lock();
        match slot.assignment.take() {
            Some(assignment) => drop(sender.send(assignment)),
            None if slot.is_gone => {}
            None => slot.assignment_asking = Some(sender),
        }
        drop(slot);
        self.shared.interpreter_is_ready();
        receiver
    }

    /// The program asks for an invocation.
    pub(super) fn ask_next(&self) -> oneshot::Receiver<Next> {
        let (sender, receiver) = oneshot::channel();
        let mut slot = self.lock();
        slot.has_asked = true;
        if !slot.is_gone {
            slot.next_asking = Some(sender);
        }
        let job = slot.job.clone();
        self.stop_idle(&slot);
        drop(slot);
        if let Some(job) = job {
            job.deliver();
        }
        receiver
    }

    /// The program's open question for an invocation.
    pub(super) fn take_asking(&self) -> Option<oneshot::Sender<Next>> {
        self.lock().next_asking.take().filter(|asking| !asking.is_closed())
    }

    /// Takes what the program printed.
    pub(super) fn take_output(&self) -> Logs {
        /// A program that never stops printing must not keep its reader for ever.
        const PIECES_MAX: usize = 16;
        let mut printed = unpoisoned(&self.printed);
        let mut piece = vec![0; OUTPUT_PIECE_BYTES];
        for _ in 0..PIECES_MAX {
            match (&self.output).read(&mut piece) {
                Ok(length) if length > 0 => printed.push(&piece[..length]),
                _ => break,
            }
        }
        std::mem::take(&mut *printed).into_logs()
    }

    /// Follows the life of the sandbox until it ends.
    pub(super) async fn watch(self: Arc<Self>, control: OwnedFd) {
        let output = tokio::spawn(Arc::clone(&self).watch_output());
        let mut end = End::Unmade(String::from("the sandbox was ended from outside"));
        let Ok(control) = sys::watchable(control.into()) else { return self.ended(end) };
        while let Ok(mut ready) = control.readable().await {
            match ready.try_io(wire::receive) {
                Err(_would_block) => {}
                Ok(Ok(Some((news, descriptors)))) => {
                    if let Some(heard) = self.hear(news, descriptors) {
                        end = heard;
                    }
                }
                Ok(Ok(None) | Err(_)) => break,
            }
        }
        output.abort();
        self.ended(end);
    }

    fn hear(self: &Arc<Self>, news: News, mut descriptors: Vec<OwnedFd>) -> Option<End> {
        match news {
            News::Listening => {
                let opened = descriptors.pop().ok_or_else(|| io::ErrorKind::InvalidData.into());
                let error = opened.and_then(|listener| self.open(listener)).err()?;
                self.shared.discard(self);
                Some(End::Unmade(format!("the sandbox could not be opened: {error}")))
            }
            News::Broken { error } => {
                Some(End::Unmade(format!("the sandbox could not be made: {error}")))
            }
            News::Exited { code } => {
                Some(End::Program(format!("the program exited with code {code}")))
            }
            News::Killed { signal } => {
                let name = nix::sys::signal::Signal::try_from(signal).map(|signal| signal.as_str());
                let name = name.unwrap_or("a signal");
                Some(End::Program(format!("the program was ended by {name}")))
            }
        }
    }

    fn open(self: &Arc<Self>, listener: OwnedFd) -> io::Result<()> {
        let group = Group::open(&self.shared.tree, self.n)?;
        group.set_band(STARTING);
        self.group.get_or_init(|| group);
        let listener = tokio::net::TcpListener::from_std(listener.into())?;
        if let Some(job) = self.job() {
            job.sandbox_opened();
        }
        tokio::spawn(api::serve(Arc::clone(self), listener));
        Ok(())
    }

    async fn watch_output(self: Arc<Self>) {
        let Ok(output) = self.output.try_clone().and_then(sys::watchable) else { return };
        let mut piece = vec![0; OUTPUT_PIECE_BYTES];
        while let Ok(mut ready) = output.readable().await {
            let read = ready.try_io(|output| {
                // Read and noted in one step, so that who takes the output misses nothing.
                let mut printed = unpoisoned(&self.printed);
                let length = output.get_ref().read(&mut piece)?;
                printed.push(&piece[..length]);
                Ok(length)
            });
            if matches!(read, Ok(Ok(0) | Err(_))) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// It is gone; so is the invocation that it had.
    pub(super) fn ended(self: &Arc<Self>, end: End) {
        let (job, has_asked) = {
            let slot = self.lock();
            (slot.job.clone(), slot.has_asked)
        };
        if let Some(job) = job {
            let is_out_of_memory = self.group().is_some_and(|group| group.oom_kills() > 0);
            let failure = match end {
                _ if is_out_of_memory => Failure::new(FailureKind::OutOfMemory, "memory ran out"),
                End::Unmade(text) => Failure::new(FailureKind::Platform, text),
                End::Program(text) if has_asked => Failure::new(FailureKind::Exited, text),
                End::Program(text) => {
                    let message = format!("{text} before it asked for an invocation");
                    Failure::new(FailureKind::Init, message)
                }
            };
            job.finish(Err(failure), Afterwards::Discard);
        }
        self.shared.discard(self);
    }
}
