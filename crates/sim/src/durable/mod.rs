//! Durable executions in virtual time: the live engine over a store and a shell that fail.
//!
//! A run is a world of one shell, one store, functions, and clients, whose time is a number. The
//! shell crashes between any two events, commits fail or lose their reply, requests and replies of
//! clients are lost, doubled and late, answers of calls too, functions are lost, the clock jumps.
//! After each event [`check`] looks for what must never be; after the last one everything must have
//! come to its end.
//!
//! The same seed gives the same trace. A [`Mutant`] is a bug planted in the shell or between shell
//! and engine, for which the checks must have an eye.
//!
//! Start reading at `shell.rs`.

mod act;
mod check;
mod client;
mod program;
mod shell;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Birth, Input, Totals, TurnEnd, Verdict};
use model::suspend::OpId;
use model::{ClassId, ExecutionId, Timestamp, Version};
use policy::rng::Rng;

use check::Checker;
use client::Client;
use program::Plan;
use shell::Shell;
use store::Store;

/// Virtual time after which no fault happens any more.
const CALM_NS: u64 = 60_000_000_000;
/// Virtual time by which all must have come to its end.
const END_NS: u64 = 4_000_000_000_000;
const MILLI: u64 = 1_000_000;
const EVENTS_MAX: u64 = 2_000_000;

/// What one run is made of.
#[derive(Clone, Debug)]
pub struct DurableConfig {
    /// Everything that is drawn follows from it.
    pub seed: u64,
    /// Executions that clients start.
    pub roots: usize,
    /// How often things go wrong.
    pub faults: DurableFaults,
    /// A planted bug.
    pub mutant: Option<Mutant>,
}

/// Chances in thousandths, and times.
#[derive(Clone, Copy, Debug)]
pub struct DurableFaults {
    /// Mean time between crashes.
    pub crash_every: Option<Duration>,
    /// A commit fails, half of the times after it was applied.
    pub commit: usize,
    /// A request or reply of a client is lost; another as often doubled.
    pub network: usize,
    /// The answer of a function is lost; another as often doubled.
    pub answer: usize,
    /// A turn is lost without an end.
    pub turn: usize,
    /// The clock jumps, at each crash and each sweep.
    pub clock: usize,
}

impl DurableFaults {
    /// Nothing goes wrong.
    pub const NONE: Self =
        Self { crash_every: None, commit: 0, network: 0, answer: 0, turn: 0, clock: 0 };
    /// Much goes wrong.
    pub const MANY: Self = Self {
        crash_every: Some(Duration::from_millis(400)),
        commit: 40,
        network: 150,
        answer: 100,
        turn: 30,
        clock: 200,
    };
}

/// A planted bug. The checks must find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Senders hear that an input was taken before it is committed.
    AckBeforeCommit,
    /// Effects are done before they are committed.
    ActBeforeCommit,
    /// What is in the outbox is not done again after a crash.
    ForgetOutbox,
    /// Timers are not armed again after a crash.
    ForgetTimers,
    /// After a commit that failed the shell goes on with what it has in memory.
    KeepAfterFailure,
    /// Effects leave the outbox when they are done, not when they are answered.
    SettleEarly,
    /// The ids of signals do not reach the engine.
    DropSignalIds,
    /// A call that is made again is made as another call.
    NewCallIds,
    /// A signal that nothing waits for is acknowledged and forgotten.
    DropEarlySignals,
    /// Timers fire an hour early.
    EarlyTimers,
    /// One of a hundred history records is not kept.
    LoseHistory,
    /// What a call used is told twice over.
    CountTwice,
    /// The timer of a suspended execution is not kept when other things follow.
    LoseTimers,
    /// The parent is told of a child's end without regard to whether it took it.
    ReportOnce,
}

impl Mutant {
    /// Every planted bug.
    pub const ALL: [Self; 14] = [
        Self::AckBeforeCommit,
        Self::ActBeforeCommit,
        Self::ForgetOutbox,
        Self::ForgetTimers,
        Self::KeepAfterFailure,
        Self::SettleEarly,
        Self::DropSignalIds,
        Self::NewCallIds,
        Self::DropEarlySignals,
        Self::EarlyTimers,
        Self::LoseHistory,
        Self::CountTwice,
        Self::LoseTimers,
        Self::ReportOnce,
    ];
}

/// What happened in a run that held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurableReport {
    /// Events of the world.
    pub events: u64,
    /// Hash of all that was committed, in order.
    pub trace: u64,
    /// Crashes of the shell.
    pub crashes: u64,
    /// Commits that were applied.
    pub commits: u64,
    /// Steps that were committed.
    pub steps: u64,
    /// Executions, children included.
    pub executions: u64,
    /// Calls made again after a crash or a lost answer.
    pub repeats: u64,
}

/// Something that comes to an execution.
#[derive(Clone, Debug)]
struct Message {
    to: ExecutionId,
    what: What,
    reply: Reply,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are inputs")]
enum What {
    Start(Box<Birth>),
    Input(Input),
    /// Redrive with what the history says.
    Redrive,
}

/// Who hears what became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Nobody,
    Client {
        client: usize,
        request: u64,
    },
    /// The execution that sent a signal.
    Sender {
        execution: ExecutionId,
        op: OpId,
        id: model::InvocationId,
    },
    /// The child that told its end.
    Child(ExecutionId),
}

#[derive(Clone, Debug)]
enum Event {
    /// In the shell's process: lost in a crash.
    Local {
        epoch: u64,
        message: Message,
    },
    /// From outside: waits for a shell to be there.
    Remote(Message),
    ClientHears {
        client: usize,
        request: u64,
        verdict: Option<Verdict>,
    },
    ClientWakes(usize),
    TurnEnds {
        epoch: u64,
        execution: ExecutionId,
        turn: u64,
        attempt: u32,
        end: Box<TurnEnd>,
    },
    CallEnds {
        epoch: u64,
        id: model::InvocationId,
    },
    TimerDue {
        epoch: u64,
        execution: ExecutionId,
    },
    Commit {
        epoch: u64,
        batch: u64,
    },
    Committed {
        epoch: u64,
        batch: u64,
        ok: bool,
    },
    Sweep {
        epoch: u64,
    },
    Crash,
    Restart,
}

struct World {
    config: DurableConfig,
    /// True time. The shell's clock is this plus `clock_offset`.
    now: u64,
    clock_offset: i64,
    order: u64,
    queue: BTreeMap<(u64, u64), Event>,
    rng: Rng,
    store: Store,
    shell: Shell,
    calls: BTreeMap<model::InvocationId, act::Callee>,
    clients: Vec<Client>,
    checker: Checker,
    report: DurableReport,
}

/// Runs one world to its end.
///
/// # Panics
/// Where a promise was broken; the message tells which. The one who calls prints the seed.
#[must_use]
pub fn run_durable(config: &DurableConfig) -> DurableReport {
    let mut world = World::new(config.clone());
    world.begin();
    while let Some(((at, _), event)) = world.queue.pop_first() {
        world.now = at;
        world.report.events += 1;
        assert!(world.report.events < EVENTS_MAX, "check failed: it never comes to rest");
        world.happen(event);
        if world.now > CALM_NS && world.is_at_rest() {
            break;
        }
        assert!(world.now < END_NS, "check failed: {}", world.who_is_stuck());
    }
    world.finish()
}

impl World {
    fn new(config: DurableConfig) -> Self {
        Self {
            now: 0,
            clock_offset: 0,
            order: 0,
            queue: BTreeMap::new(),
            rng: Rng::new(config.seed),
            store: Store::default(),
            shell: Shell::default(),
            calls: BTreeMap::new(),
            clients: Vec::new(),
            checker: Checker::default(),
            report: DurableReport::default(),
            config,
        }
    }

    fn begin(&mut self) {
        self.shell.up = true;
        for root in 0..self.config.roots {
            let id = ExecutionId::from_parts(1, root as u128 + 1);
            let plan = Plan::draw(&mut self.rng, 3);
            let birth = birth(id, None, plan.to_payload(), self.rng.next_u64());
            let client = Client::new(&plan, birth, &mut self.rng);
            self.clients.push(client);
            let at = self.rng.below(2_000) as u64 * MILLI;
            self.at(at, Event::ClientWakes(root));
        }
        self.at(0, Event::Sweep { epoch: 0 });
        self.plan_crash();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Local { epoch, message } => {
                if epoch == self.shell.epoch {
                    self.shell.inbox.push_back(message);
                    self.begin_batch();
                }
            }
            Event::Remote(message) => {
                if self.shell.up {
                    self.shell.inbox.push_back(message);
                    self.begin_batch();
                }
            }
            Event::ClientHears { client, request, verdict } => {
                self.client_hears(client, request, verdict);
            }
            Event::ClientWakes(client) => self.client_wakes(client),
            Event::TurnEnds { epoch, execution, turn, attempt, end } => {
                if epoch == self.shell.epoch {
                    self.turn_ends(execution, (turn, attempt), *end);
                }
            }
            Event::CallEnds { epoch, id } => {
                if epoch == self.shell.epoch {
                    self.call_ends(id);
                }
            }
            Event::TimerDue { epoch, execution } => {
                if epoch == self.shell.epoch {
                    self.timer_due(execution);
                }
            }
            Event::Commit { epoch, batch } => self.commit(epoch, batch),
            Event::Committed { epoch, batch, ok } => self.committed(epoch, batch, ok),
            Event::Sweep { epoch } => self.sweep(epoch),
            Event::Crash => self.crash(),
            Event::Restart => self.restart(),
        }
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    /// Sends something inside the shell's process, soon.
    fn local(&mut self, to: ExecutionId, input: Input, reply: Reply) {
        let message = Message { to, what: What::Input(input), reply };
        let epoch = self.shell.epoch;
        self.at(0, Event::Local { epoch, message });
    }

    fn chance(&mut self, thousandths: usize) -> bool {
        let calm = self.now > CALM_NS;
        thousandths > 0 && self.rng.below(1_000) < thousandths && !calm
    }

    fn draw_ms(&mut self, most: usize) -> u64 {
        self.rng.below(most) as u64 * MILLI
    }

    fn mutant(&self, mutant: Mutant) -> bool {
        self.config.mutant == Some(mutant)
    }

    /// What the shell's clock says: never back within one process.
    fn clock(&mut self) -> Timestamp {
        let wall = (1_000_000_000_000 + self.now).saturating_add_signed(self.clock_offset);
        self.shell.clock = self.shell.clock.max(wall);
        Timestamp(self.shell.clock)
    }
}

fn birth(id: ExecutionId, parent: Option<engine::Parent>, input: Vec<u8>, secret: u64) -> Birth {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&secret.to_le_bytes());
    Birth {
        id,
        tenant: "sim".parse().expect("a tenant's name"),
        function: "flow".parse().expect("a function's name"),
        version: Version(1),
        class: ClassId(2),
        max_class: ClassId(4),
        depth: 0,
        parent,
        input: input.into(),
        timeout: Duration::from_secs(365 * 24 * 3600),
        secret: bytes,
        origin: Vec::new(),
    }
}

/// What a call of that id uses, whenever and however often it runs.
fn price_of(id: model::InvocationId) -> Totals {
    let amount = model::Amount(u64::try_from(id.0 % 1_000).expect("small") + 1);
    Totals { amount, invocations: 1, ..Totals::default() }
}
