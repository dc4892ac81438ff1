//! `fermata serve`: one node with all protocols on one port.

#![expect(clippy::print_stdout, reason = "the address on stdout is the command's interface")]

mod config;
mod naming;
mod outside;
mod platform;
mod record;
mod roles;
mod rules;
mod wake;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::files;

pub(crate) use config::{Config, DATA_DEFAULT, parse_micro};

/// How long answers to what was ended may take to be read.
const ANSWERS_GRACE: Duration = Duration::from_secs(1);

/// Start the platform: scheduler shards, machines, store and all protocols in one process.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Args {
    /// Where to listen [default: 127.0.0.1:4566]
    #[arg(long, env = "FERMATA_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where everything is kept [default: fermata-data]
    #[arg(long, env = "FERMATA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The store: `sqlite` (in the data directory), `sqlite:DIRECTORY`, `postgres://USER@HOST/DB`
    /// (several servers may share it) or `memory:` (gone at the end) [default: sqlite]
    #[arg(long, env = "FERMATA_STORE", value_name = "STORE", hide_env_values = true)]
    store: Option<String>,
    /// This server's name among those that share the store, its own there [default: this computer's
    /// name and the port]
    #[arg(long, env = "FERMATA_NODE", value_name = "NAME")]
    node: Option<String>,
    /// Where the others reach it, as HOST:PORT [default: the listening address]
    #[arg(long, env = "FERMATA_ADVERTISE", value_name = "ADDRESS")]
    advertise: Option<String>,
    /// Seconds after which others take over the executions of a server that fell silent [default: 10]
    #[arg(long, env = "FERMATA_LEASE_SECONDS", value_name = "N")]
    lease_seconds: Option<u64>,
    /// For tests of servers whose clocks differ: this one's is ahead by so much
    #[arg(long, value_name = "MS", hide = true, default_value_t = 0)]
    clock_ahead_ms: u64,
    /// Cores of each logical machine [default: this computer's cores divided by --machines]
    #[arg(long, env = "FERMATA_CORES", value_name = "N")]
    cores: Option<usize>,
    /// Memory that functions may use on each logical machine, as 2G or 512M [default: three
    /// quarters of this computer's, divided by --machines]
    #[arg(long, env = "FERMATA_MEMORY", value_name = "BYTES")]
    memory: Option<config::Size>,
    /// Swap file for the memory of Wasm functions that rest, as 8G; its room on the disk is taken at
    /// the start [default: none]
    #[arg(long, env = "FERMATA_SWAP", value_name = "BYTES")]
    swap: Option<config::Size>,
    /// Folder on whose disk the swap file lies [default: the data directory]
    #[arg(long, env = "FERMATA_SWAP_DIR", value_name = "DIR")]
    swap_dir: Option<PathBuf>,
    /// Bytes a second that are written to swap at most, and as many that are read, as 500M
    /// [default: what the disk gives]
    #[arg(long, env = "FERMATA_SWAP_BANDWIDTH", value_name = "BYTES")]
    swap_bandwidth: Option<config::Size>,
    /// What is done to memory before it is written to swap: `plain`, `packed` (compressed),
    /// `sealed` (encrypted, with a key that is never written) or `packed-sealed` [default: plain]
    #[arg(long, env = "FERMATA_SWAP_CODING", value_name = "WORD")]
    swap_coding: Option<String>,
    /// Logical machines in this process [default: 1]
    #[arg(long, env = "FERMATA_MACHINES", value_name = "N")]
    machines: Option<u32>,
    /// Scheduler shards in this process [default: 1]
    #[arg(long, env = "FERMATA_SHARDS", value_name = "N")]
    shards: Option<u32>,
    /// Functions not finished that one machine takes; more are held at the shard [default: no
    /// limit; 256 with `--policy hermod`, which starts all of them at once]
    #[arg(long, env = "FERMATA_ADMISSION", value_name = "N")]
    admission: Option<usize>,
    /// Scheduling policy: `xx` (price classes), `xx-turns` (the same; inside a class functions take
    /// turns, so that long ones do not hold up short ones), or a baseline that ignores them: `hermod`
    /// (processor sharing), `fifo` [default: xx]
    #[arg(long, env = "FERMATA_POLICY", value_name = "NAME")]
    policy: Option<String>,
    /// Largest payload and answer [default: 16M]
    #[arg(long, env = "FERMATA_PAYLOAD_MAX", value_name = "BYTES")]
    payload_max: Option<config::Size>,
    /// Finished invocations whose details are kept; sums are kept for ever [default: 200000]
    #[arg(long, env = "FERMATA_KEEP_INVOCATIONS", value_name = "N")]
    keep_invocations: Option<u64>,
    /// Seconds for which executions that have ended are kept [default: 7776000, 90 days]
    #[arg(long, env = "FERMATA_KEEP_EXECUTIONS_SECONDS", value_name = "N")]
    keep_executions_seconds: Option<u64>,
    /// Seconds that running functions get to end at SIGTERM [default: 30]
    #[arg(long, env = "FERMATA_DRAIN_SECONDS", value_name = "N")]
    drain_seconds: Option<u64>,
    /// Microseconds that a processor of this computer may take to wake; 0 keeps them all awake. What waits
    /// for a timer, a disk or a request goes on sooner; costs power, on a virtual machine the whole time
    /// of its processors. Needs root [default: as the kernel decides]
    #[arg(long, env = "FERMATA_WAKE_US", value_name = "N")]
    wake_us: Option<u32>,
    /// Write what arrives to FILE, for `fermata sim replay` and `plan`; off unless given
    #[arg(long, env = "FERMATA_RECORD", value_name = "FILE")]
    record: Option<PathBuf>,
    /// Longest recording; it ends there [default: 1G]
    #[arg(long, env = "FERMATA_RECORD_MAX", value_name = "BYTES")]
    record_max: Option<config::Size>,
    /// binaryen's wasm-opt, for the deploy of durable functions [default: the one on PATH]
    #[arg(long, env = "FERMATA_WASM_OPT", value_name = "PROGRAM")]
    wasm_opt: Option<PathBuf>,
    /// The account in the ARNs of the AWS protocols [default: 000000000000]
    #[arg(long, env = "FERMATA_AWS_ACCOUNT", value_name = "DIGITS")]
    aws_account: Option<String>,
    /// The region in the ARNs of the AWS protocols [default: us-east-1]
    #[arg(long, env = "FERMATA_AWS_REGION", value_name = "REGION")]
    aws_region: Option<String>,
    /// Where state machines find an AWS service: `sqs=http://127.0.0.1:5000`; a URL alone stands for all
    /// services that are not named. May be repeated, or separated by commas [default: none is reached]
    #[arg(long, env = "FERMATA_AWS_ENDPOINT", value_name = "SERVICE=URL", value_delimiter = ',')]
    aws_endpoint: Vec<front::outside::Endpoint>,
    /// The file with the keys that such requests are signed with, as AWS's tools keep one
    /// (`~/.aws/credentials`, its section `[default]`) [default: keys that only services for
    /// development take]
    #[arg(long, env = "FERMATA_AWS_CREDENTIALS", value_name = "FILE")]
    aws_credentials: Option<PathBuf>,
    /// The folder with models of AWS services, by which state machines can call each of them: `data` of
    /// botocore (`pip install botocore`) [default: none; services that the server knows are called]
    #[arg(long, env = "FERMATA_AWS_MODELS", value_name = "DIR")]
    aws_models: Option<PathBuf>,
    /// A file of certificates in PEM: authorities that may sign for what state machines reach over
    /// HTTPS, beside those that this computer trusts [default: none]
    #[arg(long, env = "FERMATA_AWS_CA", value_name = "FILE")]
    aws_ca: Option<PathBuf>,
    /// A host that `http:invoke` of state machines may reach: `api.example.com:443`, or
    /// `*.example.com:443` for all below. May be repeated, or separated by commas [default: none]
    #[arg(long, env = "FERMATA_HTTP_ALLOW", value_name = "HOST:PORT", value_delimiter = ',')]
    http_allow: Vec<front::outside::Host>,
    /// Limits of state machines: `aws` (256 KiB of data, 25,000 events) or `platform` (the payload cap,
    /// 1,000,000 events) [default: aws]
    #[arg(long, env = "FERMATA_STATES_QUOTAS", value_name = "WORD")]
    states_quotas: Option<String>,
    /// Test cases of state machines, in the form of Step Functions Local's MockConfigFile.json: an execution
    /// started as `ARN#CASE` has the case's answers in place of the work of its Task states [default: none]
    #[arg(long, env = "FERMATA_STATES_MOCKS", value_name = "FILE")]
    states_mocks: Option<PathBuf>,
    /// For development: loopback only, one tenant, any credentials or none
    #[arg(long, env = "FERMATA_DEV")]
    dev: bool,
    /// End with the process that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
    /// Configuration file; flags and environment variables go before it
    #[arg(long, env = "FERMATA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.with_parent {
        follow_parent()?;
    }
    let config = config::load(args)?;
    if config.dev && !config.listen.ip().is_loopback() {
        bail!(
            "--dev accepts anybody and so listens on a loopback address only, not on {}; \
             leave --dev out and use keys, or listen on 127.0.0.1",
            config.listen
        );
    }
    platform::log();
    let _awake = config.wake_us.map(wake::within).transpose()?;
    // Before there are threads, which would have to wait for it.
    files::make_room();
    let runtime = platform::runtime().context("start the control plane's threads")?;
    runtime.block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

/// Ends with the parent.
fn follow_parent() -> anyhow::Result<()> {
    let told = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
    told.context("ask to be told of the parent's end")
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(config.listen).await;
    let listener = listener.with_context(|| {
        format!("listen on {}: choose another address with --listen", config.listen)
    })?;
    let address = listener.local_addr().context("read the listening address")?;
    let (node, recording) = platform::start(&config, address)?;
    if let Some(path) = node.first_key() {
        tracing::info!(path = %path.display(), "the first admin key was written");
    }
    let stop = stop_signal().context("listen for signals")?;
    println!("listening on http://{address}");
    let handle = node.handle().clone();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let stopping = async move {
        stop.await;
        tracing::info!("draining");
        let _ = tell.send(());
    };
    // Requests under way hold the protocols open; the node's patience bounds that.
    let served = tokio::spawn(front::serve(listener, handle, config.aws.clone(), stopping));
    let _ = told.await;
    node.shutdown(config.drain).await;
    if let Some(recording) = recording {
        recording.end();
    }
    let served = tokio::time::timeout(ANSWERS_GRACE, served).await;
    if !matches!(served, Ok(Ok(()))) {
        tracing::warn!("some connections were closed before their answer was read");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Ends at the first SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
