//! What a node asks of a runtime, and what it hears back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::receipt::Used;
use model::suspend::{OpId, Resolution, Step};
use model::{
    Bytes64, Failure, FailureKind, FunctionName, InvocationId, SwapPlace, TenantName, Timestamp,
    Version,
};

use crate::kernel::Band;

/// Runs functions of one kind. All methods but [`Executor::prepare`] return at once; what happens
/// comes back through [`Events`]. Calls about an unknown or finished invocation do nothing: its
/// `Finished` may be on its way.
pub trait Executor: Send + Sync {
    /// Checks a code package and makes what `start` needs, in `artifact_dir` (new and empty).
    /// Blocks (it compiles or unpacks), so it is not for the control thread.
    ///
    /// # Errors
    /// [`PrepareError`] says what is wrong with the package and where.
    fn prepare(&self, code: &Prepare<'_>, artifact_dir: &Path) -> Result<Prepared, PrepareError>;

    /// Makes of the package of a durable function what is to be stored in its place, once in the
    /// life of a version: images of its executions fit that and nothing else. None where the
    /// package is stored as it is. [`Executor::prepare`] is then given what this returned. Blocks.
    ///
    /// # Errors
    /// [`PrepareError`]: what of the package cannot be suspended, or which tool is missing.
    fn instrument(&self, code: &Prepare<'_>) -> Result<Option<Vec<u8>>, PrepareError> {
        let _ = code;
        Ok(None)
    }

    /// Begins an invocation, which holds a core from now on.
    fn start(&self, start: Start);

    /// Takes the function's core away; it keeps its progress. Answered by [`Event::Stopped`],
    /// or by `Blocked` or `Finished` if that came first.
    fn preempt(&self, id: InvocationId);

    /// Gives a preempted or unblocked function a core again.
    fn resume(&self, id: InvocationId);

    /// Ends a function, wherever it is, with this failure.
    fn end(&self, id: InvocationId, failure: Failure);

    /// Changes the kernel scheduling of a running function (its effective class rose).
    fn set_band(&self, id: InvocationId, band: Band);

    /// Memory held now by each unfinished invocation, and by warm instances that run nothing.
    fn memory(&self) -> MemoryUse;

    /// What its functions may hold in RAM in all. Where they hold more, one that takes still more
    /// stops by itself ([`Event::ShortOfMemory`]). Said again and again; an executor whose functions
    /// the kernel bounds need not listen.
    fn set_memory_max(&self, _bytes: Bytes64) {}

    /// Moves the memory of a function that holds no core out of RAM, in the background. Answered by
    /// [`Event::SwappedOut`] or [`Event::SwapFailed`]. An executor that cannot do this marks what
    /// it holds as [`Held::fixed`].
    fn swap_out(&self, _id: InvocationId) {}

    /// Brings it back, before the next `resume`. Answered by [`Event::SwappedIn`], or by `Finished`
    /// where that could not be.
    fn swap_in(&self, _id: InvocationId) {}

    /// Forgets warm instances of a function's versions (it was deleted), or idle ones, whose memory
    /// it may also move out first. What was begun is returned.
    fn reclaim(&self, which: Reclaim<'_>) -> Reclaimed;

    /// Whether it can start functions now.
    fn condition(&self) -> Condition {
        Condition::default()
    }

    /// What of isolation and scheduling is in force on this machine, one line each, for a person.
    fn in_force(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends everything and waits until it is gone.
    fn shutdown(&self);
}

/// A code package to be made ready.
#[derive(Clone, Copy, Debug)]
pub struct Prepare<'a> {
    /// `wasm`, `provided`, `python3.12`, `nodejs20.x`, …
    pub runtime: &'a str,
    /// What to call inside the package, where the runtime needs it (`app.handler`).
    pub handler: &'a str,
    /// The package: a `.wasm` module, or a zip in the Lambda layout.
    pub package: &'a [u8],
    /// Whether it may suspend.
    pub durable: Durable,
}

/// Whether a function may suspend and go on later, in any process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durable {
    /// It runs to its end in one go. One that tries to suspend fails.
    #[default]
    No,
    /// Its invocations are turns of an execution ([`DurableTurn`]).
    Yes,
}

/// What `prepare` found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Bytes on disk.
    pub artifact_bytes: u64,
}

/// Why a package cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The package is malformed, unsafe or too large; `reason` names the place.
    #[error("the package is refused: {reason}")]
    Package {
        /// What is wrong, and where.
        reason: String,
    },
    /// No such runtime, or its interpreter is not on this machine.
    #[error("runtime {runtime:?} is not available: {reason}")]
    Runtime {
        /// As stated.
        runtime: String,
        /// Why, with the cure.
        reason: String,
    },
    /// The disk or the compiler failed.
    #[error("prepare the package")]
    Io(#[source] std::io::Error),
}

/// One version of a function, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Whose.
    pub tenant: TenantName,
    /// Which function.
    pub function: FunctionName,
    /// Which version.
    pub version: Version,
    /// `wasm`, `provided`, `python3.12`, `nodejs20.x`, …
    pub runtime: String,
    /// What to call inside the package.
    pub handler: String,
    /// Variables the function sees.
    pub environment: Vec<(String, String)>,
    /// Whether it may reach the network.
    pub network: Network,
    /// Time limit.
    pub timeout: Duration,
    /// Largest answer.
    pub response_bytes_max: usize,
    /// Whether it may suspend; as it was prepared.
    pub durable: Durable,
    /// SHA-256 of the package.
    pub hash: [u8; 32],
    /// Where `prepare` put its work.
    pub artifact_dir: PathBuf,
}

/// What of the network a function may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nothing but the platform's own endpoint.
    None,
    /// The machine's network.
    Granted,
}

/// An invocation to begin.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which invocation.
    pub id: InvocationId,
    /// What to run.
    pub code: Arc<Code>,
    /// Its input.
    pub payload: Bytes,
    /// How the kernel shall treat its threads.
    pub band: Band,
    /// Name of its effective class, for the function to read.
    pub class: String,
    /// When it would be ended if it ran without pause, for the function to read.
    pub deadline: Timestamp,
    /// Proves to the platform's endpoint which invocation is calling; valid until `Finished`.
    pub token: String,
    /// W3C trace context, taken and passed on.
    pub traceparent: Option<String>,
    /// The turn of an execution that this invocation is, where it is one.
    pub durable: Option<DurableTurn>,
}

/// A turn of an execution. Its `payload` is the execution's input, the same in each turn.
///
/// Executors of processes ignore it: there, suspension is what the node reads in the answer.
#[derive(Clone)]
pub struct DurableTurn {
    /// What the turn before left ([`Ended::Suspended`]); none in the first.
    pub image: Option<Bytes>,
    /// What ended since then, in the order of its end.
    pub resolved: Vec<(OpId, Resolution)>,
    /// Makes the text of a callback token.
    pub token: TokenMaker,
}

/// Makes the text of the callback token of one operation. The same at each call.
pub type TokenMaker = Arc<dyn Fn(OpId) -> String + Send + Sync>;

impl fmt::Debug for DurableTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableTurn")
            .field("image_bytes", &self.image.as_ref().map(Bytes::len))
            .field("resolved", &self.resolved)
            .finish_non_exhaustive()
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The handler's first instruction is about to run.
    Running {
        /// Which invocation.
        id: InvocationId,
        /// When.
        at: Timestamp,
        /// Whether an instance had to be made for it.
        cold: bool,
    },
    /// It waits for something else than a core, and uses none until `resume`.
    Blocked {
        /// Which invocation.
        id: InvocationId,
    },
    /// What it waited for is there; it goes on at `resume`.
    Unblocked {
        /// Which invocation.
        id: InvocationId,
    },
    /// A preemption took hold.
    Stopped {
        /// Which invocation.
        id: InvocationId,
        /// When.
        at: Timestamp,
    },
    /// It has given its core back by itself, because all functions hold more memory than they may
    /// ([`Executor::set_memory_max`]). It goes on at `resume`.
    ShortOfMemory {
        /// Which invocation.
        id: InvocationId,
        /// When.
        at: Timestamp,
    },
    /// Its memory is out of RAM.
    SwappedOut {
        /// Which invocation.
        id: InvocationId,
        /// How much.
        bytes: Bytes64,
        /// How long that took, without the wait for others.
        took: Duration,
    },
    /// Its memory is back in RAM.
    SwappedIn {
        /// Which invocation.
        id: InvocationId,
        /// How much.
        bytes: Bytes64,
        /// How long that took, without the wait for others.
        took: Duration,
    },
    /// Its memory could not be moved out, and is in RAM.
    SwapFailed {
        /// Which invocation.
        id: InvocationId,
        /// Why, for a person.
        why: String,
    },
    /// It ended.
    Finished(Box<Finished>),
}

/// The end of an invocation.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which invocation.
    pub id: InvocationId,
    /// How it ended, or why it did not come to its end.
    pub outcome: Result<Ended, Failure>,
    /// What it used, as measured.
    pub used: Used,
    /// The most memory it held at once, as sampled.
    pub memory_peak: Bytes64,
    /// What it printed.
    pub logs: Logs,
}

/// How an invocation ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The function is done, with this answer.
    Answer(Bytes),
    /// The turn is over. Only where [`Start::durable`] said that it is one.
    Suspended {
        /// What it waits for, or that it begins anew.
        step: Step,
        /// The function as it stands, for the next turn. Empty where it begins anew.
        image: Bytes,
    },
}

impl Finished {
    /// The answer or the failure, for whoever did not start a turn.
    ///
    /// # Errors
    /// The function's failure.
    pub fn answer(&self) -> Result<Bytes, Failure> {
        match &self.outcome {
            Ok(Ended::Answer(answer)) => Ok(answer.clone()),
            Ok(Ended::Suspended { .. }) => Err(Failure::new(
                FailureKind::Platform,
                "it suspended though it was not started as a turn of an execution",
            )),
            Err(failure) => Err(failure.clone()),
        }
    }
}

/// What a function printed, up to [`model::limits::LOG_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Standard error and output in the order of arrival, as printed.
    pub bytes: Vec<u8>,
    /// Bytes that came after the limit and were dropped.
    pub dropped: u64,
}

/// Memory in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// By unfinished invocation.
    pub held: Vec<Held>,
    /// By warm instances that run nothing.
    pub idle: Vec<IdleUse>,
    /// Fermata's own swap file, where the executor has one.
    pub swap: Option<SwapUse>,
    /// The operating system's swap, where the executor moves memory there.
    pub system_swap: Option<SwapUse>,
}

impl MemoryUse {
    /// All that warm instances hold.
    #[must_use]
    pub fn idle_bytes(&self) -> Bytes64 {
        Bytes64(self.idle.iter().map(|idle| idle.bytes.0).sum())
    }
}

/// What one invocation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which invocation.
    pub id: InvocationId,
    /// In RAM.
    pub resident: Bytes64,
    /// In swap.
    pub swapped: Bytes64,
    /// Whether it cannot be swapped out.
    pub fixed: bool,
    /// Where it would go.
    pub swaps_to: SwapPlace,
}

/// What warm instances hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleUse {
    /// Name of the class of what they last ran; empty where they have run nothing.
    pub class: String,
    /// In RAM.
    pub bytes: Bytes64,
}

/// What is in swap, and what went through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapUse {
    /// Its size.
    pub total: Bytes64,
    /// Taken of it, of the system's by whomever.
    pub used: Bytes64,
    /// Memory whose place it takes: more than `used` where there were zeros or it was packed.
    pub held: Bytes64,
    /// Written to it so far.
    pub written: Bytes64,
    /// Read back from it so far.
    pub read: Bytes64,
    /// Pages of zeros that were not written, in bytes.
    pub zeros: Bytes64,
}

/// How a runtime is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Why it cannot start functions now.
    pub trouble: Option<String>,
    /// Times that a part of it died and was started again.
    pub restarts: u64,
}

/// Which warm instances to forget.
#[derive(Clone, Copy, Debug)]
pub enum Reclaim<'a> {
    /// All versions of one function.
    Function(&'a TenantName, &'a FunctionName),
    /// All idle ones that last ran something of this class, as [`IdleUse::class`].
    Class(&'a str),
    /// All idle ones.
    Idle,
}

/// What a [`Executor::reclaim`] began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Warm sandboxes that go, or whose memory does.
    pub sandboxes: u64,
    /// What they held.
    pub bytes: Bytes64,
}

/// Where events go. Must not block for long: it is called from function threads.
pub type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// A function's call of another function.
#[derive(Clone, Debug)]
pub struct Call {
    /// Name, optionally `name:version`.
    pub function: String,
    /// Class stated where the call is made; the effective one is never lower than the caller's.
    pub class: Option<String>,
    /// The input.
    pub payload: Bytes,
    /// Whether the caller waits.
    pub mode: CallMode,
}

/// Whether a caller waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallMode {
    /// It waits.
    Wait,
    /// It goes on once the call is safely queued.
    Async,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub enum CallResult {
    /// The callee answered.
    Ok(InvocationId, Bytes),
    /// The callee failed.
    Failed(InvocationId, Failure),
    /// Queued ([`CallMode::Async`]).
    Accepted(InvocationId),
    /// Not started: unknown function, class, depth, budget, overload.
    Refused {
        /// Public code, as in `docs/errors.md`.
        code: &'static str,
        /// For a person.
        message: String,
    },
}

/// What the platform does for a running function.
pub trait Platform: Send + Sync {
    /// Calls another function of the same tenant. `reply` is called exactly once, from any thread.
    fn call(&self, caller: InvocationId, call: Call, reply: Box<dyn FnOnce(CallResult) + Send>);
}

impl CallResult {
    /// The result where the caller itself has ended.
    #[must_use]
    pub fn caller_gone() -> Self {
        Self::Refused { code: FailureKind::Cancelled.code(), message: "the caller ended".into() }
    }
}
