//! What holds for a server: flags, then environment, then the file, then defaults.

use std::collections::BTreeMap;
use std::mem::take;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use figment::Figment;
use figment::providers::{Format, Toml};
use model::{
    Amount, Bytes64, MemoryPrice, Price, PriceClass, PriceList, amount::PICO_PER_MICRO, limits,
};
use node::states::{Mocks, Quotas};
use runtime::swap::{Coding, SwapOptions};
use serde::Deserialize;
use store::Address;

use super::Args;
use super::naming::Naming;
use super::{outside, roles, rules};

/// Price of memory where the file states none: 0.05 µ¢ a GiB-second.
const MEMORY_PRICE_DEFAULT: MemoryPrice = MemoryPrice(PICO_PER_MICRO / 20);
/// A hundredth of memory's: a disk is so much cheaper.
const STORAGE_PRICE_DEFAULT: MemoryPrice = MemoryPrice(PICO_PER_MICRO / 2_000);
const TRANSITION_PRICE_DEFAULT: Amount = Amount(PICO_PER_MICRO / 1_000);

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4566);

/// The data directory where none is stated.
pub(crate) const DATA_DEFAULT: &str = "fermata-data";

/// What holds for a server.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) store: Address,
    pub(crate) naming: Naming,
    pub(crate) clock_ahead: Duration,
    pub(crate) cores: usize,
    pub(crate) memory: Bytes64,
    pub(crate) swap: Option<SwapOptions>,
    pub(crate) machines: u32,
    pub(crate) shards: u32,
    pub(crate) admission: usize,
    pub(crate) policy: String,
    pub(crate) payload_bytes_max: usize,
    pub(crate) keep_invocations: u64,
    pub(crate) keep_executions: Duration,
    pub(crate) drain: Duration,
    pub(crate) wake_us: Option<u32>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) record_bytes_max: u64,
    pub(crate) wasm_opt: Option<PathBuf>,
    pub(crate) dev: bool,
    pub(crate) aws: front::stepfunctions::Settings,
    pub(crate) prices: PriceList,
    pub(crate) memory_price: MemoryPrice,
    pub(crate) storage_price: MemoryPrice,
    pub(crate) transition_price: Amount,
}

/// The file: every flag under its own name, and the price list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    listen: Option<SocketAddr>,
    data: Option<PathBuf>,
    store: Option<String>,
    node: Option<String>,
    advertise: Option<String>,
    lease_seconds: Option<u64>,
    cores: Option<usize>,
    memory: Option<String>,
    swap: Option<String>,
    swap_dir: Option<PathBuf>,
    swap_bandwidth: Option<String>,
    swap_coding: Option<String>,
    machines: Option<u32>,
    shards: Option<u32>,
    admission: Option<usize>,
    policy: Option<String>,
    payload_max: Option<String>,
    keep_invocations: Option<u64>,
    keep_executions_seconds: Option<u64>,
    drain_seconds: Option<u64>,
    wake_us: Option<u32>,
    record: Option<PathBuf>,
    record_max: Option<String>,
    wasm_opt: Option<PathBuf>,
    aws_account: Option<String>,
    aws_region: Option<String>,
    /// URLs by service.
    aws_endpoints: BTreeMap<String, String>,
    aws_credentials: Option<PathBuf>,
    aws_models: Option<PathBuf>,
    aws_ca: Option<PathBuf>,
    http_allow: Vec<String>,
    http_connections: BTreeMap<String, outside::Connection>,
    event_rules: BTreeMap<String, rules::Rule>,
    roles: BTreeMap<String, roles::Role>,
    states_quotas: Option<String>,
    states_mocks: Option<PathBuf>,
    /// µ¢ per CPU second, by class name.
    classes: Option<BTreeMap<String, Decimal>>,
    /// µ¢ per GiB-second.
    memory_price: Option<Decimal>,
    /// µ¢ per GiB-second of what suspended executions keep.
    storage_price: Option<Decimal>,
    /// µ¢ per transition of an execution.
    transition_price: Option<Decimal>,
}

/// A number of bytes, as `1048576`, `512K`, `512M` or `2G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size: use bytes, or a number with K, M or G");
        let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
            Some(b'K') => (&text[..text.len() - 1], 10),
            Some(b'M') => (&text[..text.len() - 1], 20),
            Some(b'G') => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(wrong)
    }
}

/// A price in µ¢ with up to six decimals, kept exactly.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "toml::Value")]
struct Decimal {
    pico: u64,
}

impl TryFrom<toml::Value> for Decimal {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let text = match &value {
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::String(text) => text.clone(),
            _ => return Err(format!("{value} is not a price")),
        };
        parse_micro(&text).map(|pico| Self { pico }).ok_or_else(|| {
            format!("{text:?} is not a price: use a number of µ¢ with up to six decimals")
        })
    }
}

/// `1.5` as pico-cents.
pub(crate) fn parse_micro(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    if rest.is_empty() || rest.len() > 6 || !rest.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let rest: u64 = format!("{rest:0<6}").parse().ok()?;
    whole.checked_mul(PICO_PER_MICRO)?.checked_add(rest)
}

/// Flags and environment from `args`, then the file, then defaults.
pub(crate) fn load(mut args: Args) -> anyhow::Result<Config> {
    let mut file = match &args.config {
        Some(path) => read(path)?,
        None => File::default(),
    };
    let mut aws = aws(&mut args, &mut file)?;
    let machines = args.machines.or(file.machines).unwrap_or(1);
    let shards = args.shards.or(file.shards).unwrap_or(1);
    if machines == 0 || shards == 0 || args.cores.or(file.cores) == Some(0) {
        bail!("--machines, --shards and --cores are at least 1");
    }
    let (cores_here, memory_here) = (cores_here(), memory_here()?);
    let per_machine = usize::try_from(machines).context("count the machines")?;
    let memory_share = memory_here / 4 * 3 / u64::from(machines);
    let payload = args.payload_max.or(size(file.payload_max, "payload-max")?);
    let payload = payload.map_or(Ok(limits::PAYLOAD_BYTES_DEFAULT), |size| usize::try_from(size.0));
    let policy = args.policy.or(file.policy).unwrap_or_else(|| "xx".to_owned());
    if policy::by_name(&policy).is_none() {
        bail!("no policy {policy:?}; there are {}", policy::NAMES.join(", "));
    }
    let record_max = args.record_max.or(size(file.record_max, "record-max")?);
    let memory = args.memory.or(size(file.memory, "memory")?);
    let data = args.data.or(file.data).unwrap_or_else(|| PathBuf::from(DATA_DEFAULT));
    aws.logs = Some(data.join("log-groups"));
    let coding = parse_coding(args.swap_coding.or(file.swap_coding).as_deref())?;
    let swap = swap(
        args.swap.or(size(file.swap, "swap")?),
        args.swap_bandwidth.or(size(file.swap_bandwidth, "swap-bandwidth")?),
        coding,
        args.swap_dir.or(file.swap_dir).unwrap_or_else(|| data.clone()),
    )?;
    let (node, advertise) = (args.node.or(file.node), args.advertise.or(file.advertise));
    let naming =
        Naming::new(node, advertise.as_deref(), args.lease_seconds.or(file.lease_seconds))?;
    Ok(Config {
        listen: args.listen.or(file.listen).unwrap_or(LISTEN_DEFAULT),
        naming,
        clock_ahead: Duration::from_millis(args.clock_ahead_ms),
        store: Address::parse(args.store.or(file.store).as_deref(), &data)?,
        data,
        cores: args.cores.or(file.cores).unwrap_or_else(|| (cores_here / per_machine).max(1)),
        memory: Bytes64(memory.map_or(memory_share, |size| size.0)),
        swap,
        machines,
        shards,
        admission: args.admission.or(file.admission).unwrap_or_else(|| admission(&policy)),
        policy,
        payload_bytes_max: payload.context("fit the payload cap into memory")?,
        keep_invocations: args
            .keep_invocations
            .or(file.keep_invocations)
            .unwrap_or(limits::INVOCATIONS_KEPT_DEFAULT),
        keep_executions: kept(args.keep_executions_seconds.or(file.keep_executions_seconds)),
        drain: Duration::from_secs(args.drain_seconds.or(file.drain_seconds).unwrap_or(30)),
        wake_us: args.wake_us.or(file.wake_us),
        record: args.record.or(file.record),
        record_bytes_max: record_max.map_or(limits::RECORDING_BYTES_DEFAULT, |size| size.0),
        wasm_opt: args.wasm_opt.or(file.wasm_opt),
        dev: args.dev,
        aws,
        prices: file.classes.map_or_else(|| Ok(PriceList::default()), price_list)?,
        memory_price: file
            .memory_price
            .map_or(MEMORY_PRICE_DEFAULT, |price| MemoryPrice(price.pico)),
        storage_price: file
            .storage_price
            .map_or(STORAGE_PRICE_DEFAULT, |price| MemoryPrice(price.pico)),
        transition_price: file
            .transition_price
            .map_or(TRANSITION_PRICE_DEFAULT, |price| Amount(price.pico)),
    })
}

fn kept(seconds: Option<u64>) -> Duration {
    seconds.map_or(limits::EXECUTIONS_KEPT_DEFAULT, Duration::from_secs)
}

/// A size of the file.
fn size(text: Option<String>, name: &str) -> anyhow::Result<Option<Size>> {
    let parsed = text.map(|text| text.parse::<Size>()).transpose();
    parsed.map_err(|error| anyhow::anyhow!("{name} in the configuration file: {error}"))
}

fn read(path: &Path) -> anyhow::Result<File> {
    if !path.is_file() {
        bail!("no configuration file {}", path.display());
    }
    let file = Figment::from(Toml::file_exact(path)).extract();
    file.with_context(|| format!("read the configuration file {}", path.display()))
}

fn price_list(classes: BTreeMap<String, Decimal>) -> anyhow::Result<PriceList> {
    let class = |(name, price): (String, Decimal)| PriceClass { name, price: Price(price.pico) };
    PriceList::new(classes.into_iter().map(class).collect()).context("read the price list")
}

fn aws(args: &mut Args, file: &mut File) -> anyhow::Result<front::stepfunctions::Settings> {
    let mut aws = front::stepfunctions::Settings::default();
    let account = args.aws_account.take().or_else(|| file.aws_account.take());
    let region = args.aws_region.take().or_else(|| file.aws_region.take());
    let wanted = args.states_quotas.take().or_else(|| file.states_quotas.take());
    aws.quotas = quotas(wanted.as_deref())?;
    if let Some(path) = args.states_mocks.take().or_else(|| file.states_mocks.take()) {
        let read = || Mocks::parse(&std::fs::read_to_string(&path)?).map_err(anyhow::Error::msg);
        aws.mocks = read().with_context(|| format!("read the test cases in {}", path.display()))?;
    }
    aws.account = account.unwrap_or(aws.account);
    aws.region = region.unwrap_or(aws.region);
    aws.outside = outside::Outside {
        endpoints: (take(&mut args.aws_endpoint), take(&mut file.aws_endpoints)),
        credentials: args.aws_credentials.take().or_else(|| file.aws_credentials.take()),
        models: args.aws_models.take().or_else(|| file.aws_models.take()),
        authorities: args.aws_ca.take().or_else(|| file.aws_ca.take()),
        http_allow: (take(&mut args.http_allow), take(&mut file.http_allow)),
        connections: take(&mut file.http_connections),
    }
    .settings()?;
    aws.rules = rules::settings(take(&mut file.event_rules))?;
    (aws.roles, aws.outside.keys_of_roles) = roles::settings(take(&mut file.roles))?;
    if aws.account.len() != 12 || !aws.account.bytes().all(|c| c.is_ascii_digit()) {
        bail!("--aws-account is twelve digits, not {:?}", aws.account);
    }
    Ok(aws)
}

fn quotas(word: Option<&str>) -> anyhow::Result<Quotas> {
    match word {
        None | Some("aws") => Ok(Quotas::Aws),
        Some("platform") => Ok(Quotas::Platform),
        Some(other) => bail!("--states-quotas is aws or platform, not {other:?}"),
    }
}

fn swap(
    size: Option<Size>,
    bandwidth: Option<Size>,
    coding: Coding,
    folder: PathBuf,
) -> anyhow::Result<Option<SwapOptions>> {
    if size.is_some_and(|size| size.0 > limits::SWAP_BYTES_MAX) {
        bail!("--swap is at most {} bytes", limits::SWAP_BYTES_MAX);
    }
    Ok(size.map(|size| SwapOptions {
        bandwidth: bandwidth.map(|size| Bytes64(size.0)),
        coding,
        ..SwapOptions::new(folder, Bytes64(size.0))
    }))
}

fn parse_coding(text: Option<&str>) -> anyhow::Result<Coding> {
    match text {
        None | Some("plain") => Ok(Coding::Plain),
        Some("packed") => Ok(Coding::Packed),
        Some("sealed") => Ok(Coding::Sealed),
        Some("packed-sealed") => Ok(Coding::PackedSealed),
        Some(other) => {
            bail!("no swap coding {other:?}; there are plain, packed, sealed and packed-sealed")
        }
    }
}

/// A policy that starts everything at once needs a bound; one that lets functions wait on the
/// machine does not, and a bound there would let low classes keep high ones out.
fn admission(policy: &str) -> usize {
    if policy == "hermod" { limits::SHARING_ADMISSION_DEFAULT } else { usize::MAX }
}

fn cores_here() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// This computer's memory, in bytes.
fn memory_here() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).context("find MemTotal in /proc/meminfo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_zero_is_refused() {
        assert_eq!("2G".parse(), Ok(Size(2 << 30)));
        assert_eq!("512m".parse(), Ok(Size(512 << 20)));
        assert_eq!("7".parse(), Ok(Size(7)));
        for bad in ["", "G", "-1", "0", "1T", "99999999999G"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prices_are_kept_exactly() {
        assert_eq!(parse_micro("1.5"), Some(1_500_000));
        assert_eq!(parse_micro("0.000001"), Some(1));
        assert_eq!(parse_micro("2"), Some(2_000_000));
        for bad in ["", "1.", ".5x", "-1", "0.0000001"] {
            assert_eq!(parse_micro(bad), None, "{bad}");
        }
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fermata.toml");
        std::fs::write(&path, "shards = 3\nmachines = 2\n[classes]\nlow = 0.5\nhigh = 4\n")
            .unwrap();
        let args = Args { machines: Some(1), config: Some(path.clone()), ..Args::default() };
        let config = load(args).unwrap();
        assert_eq!((config.machines, config.shards), (1, 3));
        assert_eq!(config.prices.get(config.prices.highest()).price, Price(4_000_000));
        assert_eq!(config.listen.port(), 4566);

        std::fs::write(&path, "shard = 3\n").unwrap();
        let error = load(Args { config: Some(path), ..Args::default() }).unwrap_err();
        assert!(format!("{error:#}").contains("shard"), "{error:#}");
    }
}
