//! What an operator sets, and what a node is built from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{
    ByteSeconds, Bytes64, ClassId, CpuTime, FunctionName, MemoryPrice, PriceList, TenantName,
    Timestamp,
};
use policy::Policy;
use runtime::{Clock, Events, Executor, Platform};
use store::{NodeName, Store};

use crate::executions::{ExecutionPrices, Interpreters};

/// What an operator sets.
pub struct Settings {
    /// The node's clock, which its executors share.
    pub clock: Clock,
    /// Where artifacts and the first admin key go.
    pub data: PathBuf,
    /// The price classes.
    pub prices: PriceList,
    /// The one price of memory.
    pub memory_price: MemoryPrice,
    /// What keeping executions costs.
    pub execution_prices: ExecutionPrices,
    /// How long an execution that has ended is kept.
    pub keep_executions: Duration,
    /// This node's name among those that share the store.
    pub node: NodeName,
    /// Where others reach it (`http://…`); empty where they do not.
    pub address: String,
    /// How long its leases hold after it was last heard of.
    pub lease: Duration,
    /// Who may come in.
    pub access: Access,
    /// What decides.
    pub policy: Box<dyn Policy>,
    /// How classes are shown to the kernel.
    pub bands: Bands,
    /// Scheduler shards, at least one.
    pub shards: u32,
    /// Logical machines in this process, at least one.
    pub machines: u32,
    /// Cores of each machine, at least one.
    pub cores: usize,
    /// What functions may use of memory on each machine.
    pub memory: Bytes64,
    /// Functions started and not finished on one machine.
    pub admission_max: usize,
    /// Largest payload and answer.
    pub payload_bytes_max: usize,
    /// Seed of the schedulers' random draws.
    pub seed: u64,
    /// What is in force of kernel scheduling and sandboxing, for a person.
    pub in_force: Vec<String>,
}

/// Who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, as the one tenant `default` (`--dev`, loopback only).
    Anybody,
    /// Holders of a key.
    Keys,
}

/// How classes are shown to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bands {
    /// Each class its own band.
    ByClass,
    /// All functions alike: for policies that ignore classes.
    Same,
}

/// Makes an executor, given where its events and its functions' calls go.
pub type ExecutorMaker =
    Box<dyn FnOnce(Events, Arc<dyn Platform>) -> std::io::Result<Arc<dyn Executor>> + Send>;

/// What a node is built from besides its settings.
pub struct Parts {
    /// What it keeps things in.
    pub store: Arc<dyn Store>,
    /// Runs [`model::Kind::Wasm`]; without it such functions are refused.
    pub wasm: Option<ExecutorMaker>,
    /// Runs [`model::Kind::Process`]; without it such functions are refused.
    pub process: Option<ExecutorMaker>,
    /// Kinds of functions that are interpreted.
    pub interpreters: Interpreters,
    /// Hears of each attempt that ended, on whichever thread writes it down: it must not wait.
    pub observer: Option<Observer>,
}

/// Hears of attempts that ended.
pub type Observer = Arc<dyn Fn(Observed) + Send + Sync>;

/// An attempt of an invocation that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Who pays.
    pub tenant: TenantName,
    /// What ran.
    pub function: FunctionName,
    /// Its effective class.
    pub class: ClassId,
    /// When it was accepted.
    pub arrived: Timestamp,
    /// When it had its first core, where it had one.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// CPU time that it used.
    pub cpu: CpuTime,
    /// Memory that it used, over time.
    pub memory: ByteSeconds,
}
