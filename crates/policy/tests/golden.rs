//! Golden traces: scripts of events with every decision and its reason below each.
//!
//! A script's lines: `cluster policy=xx shards=1 machines=2 cores=1 admission=8 queue=100 idle=on`
//! begins; `@12 arrive a critical` is an event at 12 ms; `#` is a comment. Indented lines are what
//! was decided. `UPDATE_EXPECT=1` rewrites them; the difference is reviewed like code.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fmt::Write as _;
use std::path::Path;

use model::{Bytes64, InvocationId, MachineId, ShardId, Timestamp};
use policy::{
    Job, MachineInput, MachineOutput, Memory, PlaceReason, Policy, PreemptReason, RefuseReason,
    RunReason, ShardInput, ShardOutput, ToMachine, ToShard, xx,
};
use support::{Cluster, Decided, Mail, Size};

/// What a script's machine has of memory: 100 so that bytes are percent.
const MEMORY: Bytes64 = Bytes64(100);

#[test]
fn every_trace_is_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut scripts: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 10, "the scripts are missing");
    for path in scripts {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        expect_test::expect_file![&path].assert_eq(&play(&name, &text));
    }
}

/// The script with fresh decisions.
fn play(name: &str, text: &str) -> String {
    let mut played = String::new();
    let mut cluster = None;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with(' ') {
            continue;
        }
        writeln!(played, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "cluster" {
            cluster = Some(build(&words[1..]));
            continue;
        }
        let cluster = cluster.as_mut().unwrap_or_else(|| panic!("{name}:{number}: no cluster"));
        let now = words[0].strip_prefix('@').and_then(|ms| ms.parse().ok());
        let now = now.map(Timestamp::from_millis);
        let now = now.unwrap_or_else(|| panic!("{name}:{number}: no time"));
        cluster.tick(now);
        for decided in cluster.carry(now) {
            describe(cluster, &decided, &mut played);
        }
        event(cluster, now, &words[1..]);
        for decided in cluster.carry(now) {
            describe(cluster, &decided, &mut played);
        }
    }
    played
}

fn build(settings: &[&str]) -> Cluster {
    let get = |name: &str| settings.iter().find_map(|s| s.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, default| get(name).map_or(default, |text| text.parse().unwrap());
    let options = xx::Options {
        idle_list: get("idle") == Some("on"),
        poll_count: match get("count") {
            Some("same-or-higher") => xx::PollCount::SameOrHigher,
            _ => xx::PollCount::All,
        },
        ..xx::Options::default()
    };
    let policy: Box<dyn Policy> = match get("policy").unwrap_or("xx") {
        "xx" => Box::new(xx::Xx::new(options)),
        other => policy::by_name(other).unwrap(),
    };
    Cluster::new(
        &*policy,
        Size {
            shards: number("shards", 1),
            machines: number("machines", 1),
            cores: support::index(number("cores", 1)),
            admission_max: support::index(number("admission", 1_000)),
            queue_max: support::index(number("queue", 1_000)),
            seed: 1,
        },
    )
}

/// Invocations are named by a letter.
fn id(name: &str) -> InvocationId {
    let [letter] = name.as_bytes() else { panic!("{name:?} is not a letter") };
    InvocationId(u128::from(*letter))
}

fn name(id: InvocationId) -> char {
    char::from(u8::try_from(id.0).unwrap())
}

fn machine(name: &str) -> MachineId {
    MachineId(name.strip_prefix('m').unwrap().parse().unwrap())
}

fn event(cluster: &mut Cluster, now: Timestamp, words: &[&str]) {
    match words {
        ["arrive", job, class] => event(cluster, now, &["arrive", job, class, "s0"]),
        ["arrive", job, class, shard] => {
            let class = cluster.prices.find(class).unwrap();
            let shard = shard.strip_prefix('s').unwrap().parse().unwrap();
            cluster.arrive(shard, Job { id: id(job), class, arrived: now });
        }
        ["finish", job] => cluster.tell(id(job), MachineInput::Finished(id(job))),
        ["block", job] => cluster.tell(id(job), MachineInput::Blocked(id(job))),
        ["unblock", job] => cluster.tell(id(job), MachineInput::Unblocked(id(job))),
        ["boost", job, class] => {
            let class = cluster.prices.find(class).unwrap();
            cluster.tell(id(job), MachineInput::Boost(id(job), class));
        }
        ["withdraw", job] => {
            cluster.mail.push_back(Mail::Shard(ShardId(0), ShardInput::Withdraw(id(job))));
        }
        ["memory", on, free] => {
            let free: u64 = free.strip_prefix("free=").unwrap().parse().unwrap();
            let used = Bytes64(MEMORY.0 - free);
            let memory = Memory { total: MEMORY, used, swap_free: Bytes64(0) };
            cluster.mail.push_back(Mail::Machine(machine(on), MachineInput::Memory(memory)));
        }
        ["cut", on] => drop(cluster.cut_off.insert(machine(on))),
        ["mend", on] => drop(cluster.cut_off.remove(&machine(on))),
        ["lose", on] => {
            let lost = machine(on);
            for shard in 0..u32::try_from(cluster.shards.len()).unwrap() {
                cluster.mail.push_back(Mail::Shard(ShardId(shard), ShardInput::MachineLost(lost)));
            }
        }
        ["tick"] => {}
        other => panic!("no event {other:?}"),
    }
}

fn describe(cluster: &Cluster, decided: &Decided, text: &mut String) {
    let class = |id: &model::ClassId| cluster.prices.get(*id).name.clone();
    let line = match decided {
        Decided::Shard(shard, ShardOutput::Held(job)) => format!("{shard} holds {}", name(*job)),
        Decided::Shard(shard, ShardOutput::Reject(job, why)) => {
            format!("{shard} rejects {}: {}", name(job.id), refusal(*why))
        }
        Decided::Shard(shard, ShardOutput::ToMachine(machine, message)) => match message {
            ToMachine::Poll(..) => format!("{shard} asks {machine}"),
            ToMachine::Place(job, why) => {
                format!("{shard} places {} on {machine}: {}", name(job.id), placing(why))
            }
            ToMachine::IdleLength(_, length) => {
                format!("{shard} tells {machine} its idle list's length: {length}")
            }
        },
        Decided::Machine(machine, MachineOutput::Run(job, why)) => {
            let why = match why {
                RunReason::CoreFree { waited } => format!("a core is free, waited {waited:?}"),
                RunReason::Preempting { victim, victim_class, waited } => format!(
                    "takes the core of {} of {}, waited {waited:?}",
                    name(*victim),
                    class(victim_class)
                ),
                RunReason::Shared { sharing } => format!("{sharing} share"),
            };
            format!("{machine} runs {}: {why}", name(*job))
        }
        Decided::Machine(machine, MachineOutput::Preempt(job, why)) => {
            let why = match why {
                PreemptReason::HigherClass { by, by_class } => {
                    format!("for {} of {}", name(*by), class(by_class))
                }
                PreemptReason::TurnOver { had } => format!("its turn is over, had {had:?}"),
            };
            format!("{machine} preempts {}: {why}", name(*job))
        }
        Decided::Machine(machine, MachineOutput::ToShard(shard, message)) => {
            let said = match message {
                ToShard::Load(_, load) => format!(
                    "{} functions, {} of the class or higher, {}",
                    load.functions,
                    load.same_or_higher,
                    if load.room { "room" } else { "no room" }
                ),
                ToShard::Refused(job, why) => {
                    format!("refuses {}: {}", name(job.id), refusal(*why))
                }
                ToShard::Room => "room again".to_owned(),
                ToShard::IdleLength(_) => "how long is your idle list?".to_owned(),
                ToShard::IdleJoin(entry) => format!(
                    "joins the idle list, version {}: {} functions, {} free",
                    entry.version, entry.functions, entry.memory_free.0
                ),
                ToShard::IdleLeave { version } => {
                    format!("leaves the idle list, version {version}")
                }
            };
            format!("{machine} to {shard}: {said}")
        }
    };
    writeln!(text, "    {line}").unwrap();
}

fn placing(why: &PlaceReason) -> String {
    match why {
        PlaceReason::IdleList { functions, memory_free, candidates, queued } => format!(
            "{functions} functions and {} free, of {candidates} on the idle list, queued {queued:?}",
            memory_free.0
        ),
        PlaceReason::Polled { counted, answered, queued } => {
            format!("{counted} counted, of {answered} that answered, queued {queued:?}")
        }
        PlaceReason::Direct { queued } => format!("the only choice, queued {queued:?}"),
    }
}

fn refusal(why: RefuseReason) -> String {
    match why {
        RefuseReason::Admission { limit } => format!("its limit of {limit} is reached"),
        RefuseReason::QueueFull { limit } => format!("the queue's limit of {limit} is reached"),
        RefuseReason::Memory { free } => format!("{} of memory free", free.0),
    }
}
