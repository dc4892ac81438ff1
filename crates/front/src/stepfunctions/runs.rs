//! Executions under way, and those that ended lately.
//!
//! Each runs in a task of its own, which owns its machine; others reach it through its inbox. What is here is
//! in memory: it is what AWS promises for EXPRESS, and less than it promises for STANDARD (see
//! `docs/compat/step-functions.md`).

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use asl::Document;
use asl::ask::{Ask, ChildAsk, End, Failed, Input, TaskAsk};
use asl::definition::{ChartId, Definition, Language, MachineType};
use asl::history::Event;
use asl::machine::{Facts, Machine, Settings, Start, Turn, World};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::suspend::OpId;
use model::{InvocationId, Timestamp};
use node::states::Quotas;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::registry::Revision;
use super::{Ctx, registry, tasks};

/// Executions that ended and are still told of.
const ENDED_KEPT: usize = 20_000;
/// Work of one activity that no worker has taken yet.
const OFFERS_MAX: usize = 1_000_000;
/// States that a machine enters before others have their turn, where its steps are short.
const TRANSITIONS_BETWEEN: u32 = 64;

/// All executions of this node.
#[derive(Default)]
pub(super) struct Runs {
    table: Mutex<Table>,
    offered: Notify,
}

#[derive(Default)]
struct Table {
    /// In the order in which they began.
    runs: Vec<Arc<Run>>,
    by_arn: BTreeMap<String, Arc<Run>>,
    tokens: BTreeMap<String, Waiting>,
    offers: BTreeMap<(model::TenantName, String), VecDeque<Offer>>,
}

/// Who waits for a token.
struct Waiting {
    inbox: mpsc::UnboundedSender<Input>,
    op: OpId,
}

/// Work of an activity.
pub(super) struct Offer {
    /// The call of the node that it answers, where one does.
    pub(super) id: Option<InvocationId>,
    pub(super) token: String,
    pub(super) input: String,
    /// Tells the execution that this worker takes it, which tells whether it waits for that.
    pub(super) take: Box<dyn FnOnce(Option<String>, oneshot::Sender<bool>) + Send>,
}

/// One execution.
pub(super) struct Run {
    pub(super) tenant: model::TenantName,
    pub(super) facts: Facts,
    pub(super) sort: MachineType,
    pub(super) revision: Revision,
    pub(super) input: String,
    pub(super) version: Option<u32>,
    pub(super) alias: Option<String>,
    case: Option<String>,
    inbox: mpsc::UnboundedSender<Input>,
    state: Mutex<Progress>,
    ended: watch::Sender<bool>,
}

/// How far an execution is.
#[derive(Clone, Default)]
pub(super) struct Progress {
    pub(super) events: Vec<Event>,
    pub(super) end: Option<(Timestamp, End)>,
}

/// What an execution begins with.
pub(super) struct Begin {
    pub(super) facts: Facts,
    pub(super) sort: MachineType,
    pub(super) revision: Revision,
    pub(super) definition: Arc<Definition>,
    pub(super) input: Document,
    pub(super) version: Option<u32>,
    pub(super) alias: Option<String>,
    /// The test case whose answers it has.
    pub(super) case: Option<String>,
}

/// Where a machine hears of what it asked for.
#[expect(
    clippy::disallowed_methods,
    reason = "it holds one message for each ask under way; a bound could lose one"
)]
fn inbox() -> (mpsc::UnboundedSender<Input>, mpsc::UnboundedReceiver<Input>) {
    mpsc::unbounded_channel()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    /// How far it is now.
    pub(super) fn progress(&self) -> Progress {
        lock(&self.state).clone()
    }

    /// How it ended, where it did.
    pub(super) fn end(&self) -> Option<(Timestamp, End)> {
        lock(&self.state).end.clone()
    }

    /// Waits for its end.
    pub(super) async fn wait(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as this does.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Runs {
    /// Begins an execution, or gives the one that has its ARN already.
    pub(super) fn begin(&self, ctx: &Ctx, begin: Begin) -> Result<Arc<Run>, Arc<Run>> {
        let (inbox, messages) = self::inbox();
        let run = Arc::new(Run {
            tenant: ctx.who.tenant.clone(),
            facts: begin.facts,
            sort: begin.sort,
            revision: begin.revision,
            input: begin.input.text().to_owned(),
            version: begin.version,
            alias: begin.alias,
            case: begin.case,
            inbox,
            state: Mutex::default(),
            ended: watch::Sender::new(false),
        });
        {
            let mut table = lock(&self.table);
            if let Some(known) = table.by_arn.get(&run.facts.execution_arn) {
                return Err(Arc::clone(known));
            }
            table.by_arn.insert(run.facts.execution_arn.clone(), Arc::clone(&run));
            table.runs.push(Arc::clone(&run));
            table.forget();
        }
        let start = Start {
            facts: run.facts.clone(),
            input: begin.input,
            chart: ChartId(0),
            seed: registry::seed(),
        };
        let driver = Driver {
            ctx: ctx.clone(),
            definition: begin.definition,
            run: Some(Arc::clone(&run)),
            inbox: run.inbox.clone(),
            tell: None,
            timers: BTreeMap::new(),
            working: FuturesUnordered::new(),
            tokens: Vec::new(),
            sort: run.sort,
        };
        driver.begin(start, messages);
        Ok(run)
    }

    /// The execution of that ARN.
    pub(super) fn find(&self, ctx: &Ctx, arn: &str) -> Option<Arc<Run>> {
        let found = lock(&self.table).by_arn.get(arn).cloned()?;
        (found.tenant == ctx.who.tenant).then_some(found)
    }

    /// Hands an answer to who waits for that token. False where nobody does.
    pub(super) fn answer(
        &self,
        token: &str,
        input: impl FnOnce(OpId) -> Input,
        last: Last,
    ) -> bool {
        let mut table = lock(&self.table);
        let found = match last {
            Last::Yes => table.tokens.remove(token).map(|waiting| (waiting.inbox, waiting.op)),
            Last::No => table.tokens.get(token).map(|waiting| (waiting.inbox.clone(), waiting.op)),
        };
        found.is_some_and(|(inbox, op)| inbox.send(input(op)).is_ok())
    }

    /// Work of an activity, once there is some; none after `patience`.
    pub(super) async fn take_offer(
        &self,
        ctx: &Ctx,
        activity: &str,
        worker: Option<String>,
        patience: Duration,
    ) -> Option<(String, String)> {
        let key = (ctx.who.tenant.clone(), activity.to_owned());
        let take = || lock(&self.table).offers.get_mut(&key).and_then(VecDeque::pop_front);
        let wait = async {
            loop {
                let mut notified = std::pin::pin!(self.offered.notified());
                notified.as_mut().enable();
                if let Some(Offer { id, token, input, take }) = take() {
                    let (tell, told) = oneshot::channel();
                    take(worker.clone(), tell);
                    // The state that offered it may have ended.
                    if told.await.unwrap_or(false) {
                        if id.is_some() {
                            // Signs of life are counted from now on.
                            let alive = node::TokenAnswer::Heartbeat;
                            let _ = ctx.handle.end_token(&ctx.who, &token, alive).await;
                        }
                        return (token, input);
                    }
                    continue;
                }
                notified.await;
            }
        };
        tokio::time::timeout(patience, wait).await.ok()
    }
}

/// Whether an answer is the last one of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Yes,
    No,
}

impl Table {
    /// Drops the oldest of those that ended, beyond what is kept.
    fn forget(&mut self) {
        if self.runs.len() <= ENDED_KEPT {
            return;
        }
        if let Some(oldest) = self.runs.iter().position(|run| run.end().is_some()) {
            let run = self.runs.remove(oldest);
            self.by_arn.remove(&run.facts.execution_arn);
        }
    }
}

/// Tells a parent of the end of its child.
type Tell = Box<dyn FnOnce(Result<Document, Failed>) + Send>;

/// How long the steps of a machine may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steps {
    /// Where no state has more to compute than paths and intrinsic functions.
    Short,
    /// An expression in JSONata may take as long as its fence allows.
    Long,
}

impl Steps {
    fn of(definition: &Definition) -> Self {
        let mut states = definition.charts.iter().flat_map(|chart| &chart.states);
        if states.any(|state| state.language == Language::Jsonata) {
            Self::Long
        } else {
            Self::Short
        }
    }

    fn run<T>(self, step: impl FnOnce() -> T) -> T {
        match self {
            Self::Short => step(),
            Self::Long => tokio::task::block_in_place(step),
        }
    }
}

/// Owns one machine under way.
struct Driver {
    ctx: Ctx,
    definition: Arc<Definition>,
    /// What others see of it; a child of a distributed Map state is not seen.
    run: Option<Arc<Run>>,
    inbox: mpsc::UnboundedSender<Input>,
    /// Hears of the end.
    tell: Option<Tell>,
    timers: BTreeMap<(Timestamp, OpId), ()>,
    /// Tasks under way. They are part of this task, so that an end is heard of without another's waking.
    working: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>,
    tokens: Vec<String>,
    sort: MachineType,
}

impl Driver {
    /// Drives it in a task of its own.
    fn begin(self, start: Start, messages: mpsc::UnboundedReceiver<Input>) {
        let steps = Steps::of(&self.definition);
        // A child is driven by the same function as its parent.
        let driving: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(self.drive(steps, start, messages));
        match steps {
            Steps::Short => spawn_near(driving),
            Steps::Long => drop(tokio::spawn(driving)),
        }
    }

    async fn drive(
        mut self,
        steps: Steps,
        start: Start,
        mut messages: mpsc::UnboundedReceiver<Input>,
    ) {
        let region = self.ctx.api.place.region().to_owned();
        let mut settings = Settings { region, ..Settings::default() };
        if self.ctx.api.quotas == Quotas::Platform {
            settings.data_bytes_max = self.ctx.handle.payload_bytes_max();
            settings.variables_bytes_max = model::limits::ASL_VARIABLES_BYTES_PLATFORM;
            settings.events_max = model::limits::ASL_EVENTS_MAX;
        }
        if self.sort == MachineType::Express {
            settings.seconds_max = Some(model::limits::EXPRESS_SECONDS_MAX);
        }
        if steps == Steps::Short {
            settings.transitions_per_step = TRANSITIONS_BETWEEN;
        }
        let secret = registry::secret();
        let mint = move |op: OpId| registry::token(&secret, op.0);
        let facts = start.facts.clone();
        let definition = Arc::clone(&self.definition);
        let now = self.ctx.handle.now();
        let (mut machine, turn) =
            steps.run(|| Machine::start(definition, settings, start, &World { now, token: &mint }));
        let mut end = self.act(&facts, turn, &mint);
        while end.is_none() {
            let Some(input) = self.next(&mut messages).await else { return };
            let now = self.ctx.handle.now();
            let turn = steps.run(|| machine.step([input], &World { now, token: &mint }));
            end = self.act(&facts, turn, &mint);
        }
        // What is under way goes on to its end, heard by nobody.
        let mut left = std::mem::take(&mut self.working);
        if !left.is_empty() {
            tokio::spawn(async move { while left.next().await.is_some() {} });
        }
        if let Some(end) = end {
            self.ended(end);
        }
    }

    /// What comes next: a message, or a timer that is due.
    async fn next(&mut self, messages: &mut mpsc::UnboundedReceiver<Input>) -> Option<Input> {
        let first = self.timers.first_key_value().map(|(key, ())| *key);
        let patience = first.map(|(at, _)| at.since(self.ctx.handle.now()));
        let mut timer = std::pin::pin!(patience.map(tokio::time::sleep));
        loop {
            tokio::select! {
                biased;
                message = messages.recv() => return message,
                // What it led to is a message by now.
                Some(()) = self.working.next() => {}
                () = async { timer.as_mut().as_pin_mut().expect("there is one").await }, if first.is_some() => {
                    self.timers.remove(&first?);
                    return first.map(|(_, op)| Input::Fired(op));
                }
            }
        }
    }

    /// Does what a step wants, and tells of it.
    fn act(&mut self, facts: &Facts, turn: Turn, mint: &dyn Fn(OpId) -> String) -> Option<End> {
        if let Some(run) = &self.run {
            self.ctx.api.logs.told(run, &turn.events);
            lock(&run.state).events.extend(turn.events);
        }
        for op in turn.drops {
            self.timers.retain(|(_, timer), ()| *timer != op);
            let token = mint(op);
            lock(&self.ctx.api.runs.table).tokens.remove(&token);
        }
        if turn.end.is_some() {
            return turn.end;
        }
        for (op, ask) in turn.asks {
            match ask {
                Ask::Timer { at } => {
                    self.timers.insert((at, op), ());
                }
                Ask::Task(task) => {
                    if let Some(reply) = self.mocked(facts, &task) {
                        let _ = self.inbox.send(Input::TaskEnded(op, reply));
                        continue;
                    }
                    let token = mint(op);
                    let waiting = Waiting { inbox: self.inbox.clone(), op };
                    lock(&self.ctx.api.runs.table).tokens.insert(token.clone(), waiting);
                    self.tokens.push(token.clone());
                    let by = vec![facts.execution_arn.clone(), facts.machine_arn.clone()];
                    let order = tasks::Order { op, token, inbox: self.inbox.clone(), by };
                    let ctx = self.ctx.clone();
                    let work = async move { tasks::perform(&ctx, *task, order).await };
                    self.working.push(Box::pin(work));
                }
                Ask::Read(_) => {
                    let _ = self
                        .inbox
                        .send(Input::ItemsRead(op, Err(no_storage("States.ItemReaderFailed"))));
                }
                Ask::Write(_) => {
                    let failed = Err(no_storage("States.ResultWriterFailed"));
                    let _ = self.inbox.send(Input::ResultsWritten(op, failed));
                }
                Ask::Child(child) => self.child(facts, op, *child),
            }
        }
        None
    }

    /// What stands in for the work of a task, in the test case that the execution has.
    fn mocked(&self, facts: &Facts, task: &TaskAsk) -> Option<Result<Document, Failed>> {
        let case = self.run.as_ref()?.case.as_ref()?;
        self.ctx.api.mocks.reply(&facts.machine_name, case, &task.state, task.attempt)
    }

    /// Begins a child execution of a distributed Map state.
    fn child(&self, parent: &Facts, op: OpId, child: ChildAsk) {
        let place = &self.ctx.api.place;
        let machine_name = format!("{}/{}", parent.machine_name, child.label);
        let name = registry::uuid().unwrap_or_else(|_| op.0.to_string());
        let facts = Facts {
            execution_arn: place.execution(&machine_name, &name),
            execution_name: name,
            role_arn: parent.role_arn.clone(),
            started: self.ctx.handle.now(),
            redrive_count: (child.machine_type == MachineType::Standard).then_some(0),
            machine_arn: place.machine(&machine_name),
            machine_name,
        };
        let start = Start { facts, input: child.input, chart: child.chart, seed: registry::seed() };
        let (inbox, messages) = self::inbox();
        let parent_inbox = self.inbox.clone();
        let driver = Self {
            ctx: self.ctx.clone(),
            definition: Arc::clone(&self.definition),
            run: None,
            inbox,
            tell: Some(Box::new(move |outcome| {
                let _ = parent_inbox.send(Input::ChildEnded(op, outcome));
            })),
            timers: BTreeMap::new(),
            working: FuturesUnordered::new(),
            tokens: Vec::new(),
            sort: child.machine_type,
        };
        driver.begin(start, messages);
    }

    fn ended(self, end: End) {
        {
            let mut table = lock(&self.ctx.api.runs.table);
            for token in &self.tokens {
                table.tokens.remove(token);
            }
        }
        if let Some(run) = &self.run {
            lock(&run.state).end = Some((self.ctx.handle.now(), end.clone()));
            run.ended.send_replace(true);
        }
        if let Some(tell) = self.tell {
            tell(match end {
                End::Succeeded(output) => Ok(output),
                End::Failed { error, cause } | End::Aborted { error, cause } => {
                    Err(Failed { error: error.unwrap_or_default(), cause })
                }
                End::TimedOut => Err(Failed { error: "States.Timeout".to_owned(), cause: None }),
            });
        }
        tracing::debug!(sort = self.sort.as_str(), "an execution ended");
    }
}

/// Runs a task of short steps where what it waits for happens: by a thread that has just told of a
/// function's end, where it is one, else by the runtime.
fn spawn_near(task: impl Future<Output = ()> + Send + 'static) {
    let tokio = tokio::runtime::Handle::current();
    let schedule = move |step: async_task::Runnable| {
        let inside = tokio.clone();
        let step = Box::new(move || {
            let _inside = inside.enter();
            step.run();
        });
        if let Err(step) = node::take_up(step) {
            tokio.spawn(async move { step() });
        }
    };
    let (first, task) = async_task::spawn(task, schedule);
    task.detach();
    first.schedule();
}

fn no_storage(error: &str) -> Failed {
    let cause = "an EXPRESS execution has no distributed Map states".to_owned();
    Failed { error: error.to_owned(), cause: Some(cause) }
}

impl Runs {
    /// Whether more work may be offered.
    pub(super) fn has_room(&self, tenant: &model::TenantName, activity: &str) -> bool {
        let key = (tenant.clone(), activity.to_owned());
        lock(&self.table).offers.get(&key).is_none_or(|offers| offers.len() < OFFERS_MAX)
    }

    /// Offers work of an activity to its workers.
    pub(super) fn offer(&self, tenant: &model::TenantName, activity: &str, offer: Offer) {
        {
            let mut table = lock(&self.table);
            let offers = table.offers.entry((tenant.clone(), activity.to_owned())).or_default();
            // A repeat of the same call replaces it.
            if let Some(id) = offer.id
                && let Some(known) = offers.iter_mut().find(|known| known.id == Some(id))
            {
                *known = offer;
            } else {
                offers.push_back(offer);
            }
        }
        self.offered.notify_waiters();
    }

    /// Takes back what that call offered.
    pub(super) fn withdraw(&self, id: InvocationId) {
        for offers in lock(&self.table).offers.values_mut() {
            offers.retain(|offer| offer.id != Some(id));
        }
    }

    /// Whether somebody waits for that token.
    pub(super) fn waits(&self, token: &str) -> bool {
        lock(&self.table).tokens.contains_key(token)
    }
}
