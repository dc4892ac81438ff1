//! Builds the node from what the operator chose and what this computer allows.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use node::{Access, Bands, ExecutionPrices, ExecutorMaker, Interpreters, Node, Parts, Settings};
use runtime::process::{self, ProcessExecutor};
use runtime::wasm::{WasmExecutor, WasmOptions};
use runtime::{Clock, kernel};
use tokio::runtime::Handle;

use super::config::Config;
use super::record::{self, Recording};

/// Threads of the control plane that carry protocols.
const FRONT_THREADS_MIN: usize = 2;

/// Logs to stderr: for people on a terminal, JSON otherwise. `FERMATA_LOG` filters.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FERMATA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { logs.init() } else { logs.json().init() }
}

/// The threads that carry protocols: above every function, so that a flood cannot keep a request
/// from being read.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(FRONT_THREADS_MIN))
        .thread_name("fermata-front")
        .on_thread_start(|| {
            // Without the right to it the thread stays an ordinary one; `in_force` says so.
            let _ = kernel::apply(0, kernel::CONTROL);
        })
        .enable_all()
        .build()
}

/// Starts a node.
pub(crate) fn start(
    config: &Config,
    listens: SocketAddr,
) -> anyhow::Result<(Node, Option<Recording>)> {
    // First, since it takes longest.
    let interpreters = process::Interpreters::look().context("look for interpreters")?;
    let options = store::Options { keep_invocations: config.keep_invocations };
    let opened = config.store.open(options);
    let store = opened.with_context(|| format!("open the store {}", config.store))?;
    let policy = policy::by_name(&config.policy).context("find the policy")?;
    let clock = Clock::new().ahead(config.clock_ahead);
    let settings = Settings {
        clock,
        data: config.data.clone(),
        prices: config.prices.clone(),
        memory_price: config.memory_price,
        execution_prices: ExecutionPrices {
            storage: config.storage_price,
            transition: config.transition_price,
        },
        keep_executions: config.keep_executions,
        node: config.naming.node(listens),
        address: config.naming.address(listens),
        lease: config.naming.lease,
        access: if config.dev { Access::Anybody } else { Access::Keys },
        bands: if policy.name().starts_with("xx") { Bands::ByClass } else { Bands::Same },
        policy,
        shards: config.shards,
        machines: config.machines,
        cores: config.cores,
        memory: config.memory,
        admission_max: config.admission,
        payload_bytes_max: config.payload_bytes_max,
        seed: 1,
        in_force: vec![kernel_in_force()],
    };
    let (recording, observer) = match &config.record {
        None => (None, None),
        Some(path) => {
            let begun = record::begin(path, &config.prices, clock.now(), config.record_bytes_max)?;
            (Some(begun.0), Some(begun.1))
        }
    };
    let (wasm, process) = (Some(wasm(config, clock)), Some(process(config, interpreters, clock)));
    let place = node::states::Place {
        account: config.aws.account.clone(),
        region: config.aws.region.clone(),
    };
    let (quotas, payload_max) = (config.aws.quotas, config.payload_bytes_max);
    let tasks = (config.aws.roles.clone(), config.aws.mocks.clone());
    let machines = node::states::StateMachines::new(place, quotas, payload_max, tasks);
    let interpreters = Interpreters::new().with(Box::new(machines));
    let parts = Parts { store, wasm, process, interpreters, observer };
    let node = Node::start(&settings, parts).context("start the node")?;
    for line in node.handle().in_force() {
        tracing::info!("in force: {line}");
    }
    Ok((node, recording))
}

fn wasm(config: &Config, clock: Clock) -> ExecutorMaker {
    let options = WasmOptions {
        wasm_opt: config.wasm_opt.clone(),
        swap: config.swap.clone(),
        ..WasmOptions::default()
    };
    Box::new(move |events, platform| {
        let opened = WasmExecutor::open(options, clock, platform, events);
        Ok(Arc::new(opened.map_err(std::io::Error::other)?))
    })
}

/// Sandboxes are made by this program itself, under another name.
fn process(config: &Config, interpreters: process::Interpreters, clock: Clock) -> ExecutorMaker {
    let state_dir = config.data.join("sandboxes");
    let memory_bytes = config.memory.0.saturating_mul(u64::from(config.machines));
    // Under a policy without classes functions share the cores.
    let machines = usize::try_from(config.machines).unwrap_or(usize::MAX);
    let cores = (config.policy == "xx").then(|| config.cores.saturating_mul(machines));
    let swap_bandwidth = config.swap.as_ref().and_then(|swap| swap.bandwidth);
    Box::new(move |events, platform| {
        let program = std::env::current_exe()?;
        let options = process::Config {
            warden: vec![program.into(), process::WARDEN_ARG.into()],
            cores,
            swap_bandwidth,
            ..process::Config::new(state_dir, memory_bytes, clock, Handle::current())
        };
        Ok(ProcessExecutor::start(options, interpreters, events, platform)?)
    })
}

/// Whether the control plane can stand above functions, tried on a thread that ends.
fn kernel_in_force() -> String {
    let tried = std::thread::spawn(|| kernel::apply(0, kernel::CONTROL)).join();
    match tried {
        Ok(Ok(())) => {
            "lowest class SCHED_IDLE, others nice 10 to -15, control plane nice -20".to_owned()
        }
        Ok(Err(error)) => format!(
            "all classes alike for the kernel, since priorities cannot be raised ({error}); \
             run as root or grant CAP_SYS_NICE"
        ),
        Err(_) => "unknown: the thread that tried ended early".to_owned(),
    }
}
