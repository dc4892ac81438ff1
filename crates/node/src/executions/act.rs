//! What follows from a committed step: turns, calls, signals, and the news to a parent. Each may
//! happen again after a crash, under the same id.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use engine::{
    Call, Effect, Input, Mint, Parent, Payload, Refusal, SignalId, Totals, TurnEnd, Turned,
    Verdict, child_id,
};
use model::suspend::{InvokeMode, OpId, Resolution, Step};
use model::{
    ClassId, ExecutionId, Failure, FailureKind, FunctionName, InvocationId, TenantName, Version,
    limits,
};
use runtime::{DurableTurn, Ended};
use store::{BlobHash, Mode};

use super::slot::{Hot, StartResult, What};
use super::{Executions, Message, explicit, services};
use crate::catalog::Entry;
use crate::control::{self, RecordedBy};
use crate::error::{Error, ErrorKind};
use crate::inner::{Attempt, Inner, Wanted, check_depth, parse_target};

/// Wait before something that was refused for load, budget or the store is tried again.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// The same at the most: a budget may be raised long before its month ends.
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(10);

/// What an effect needs besides itself.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) inner: Arc<Inner>,
    thread: Sender<Message>,
    pub(super) execution: ExecutionId,
    pub(super) function: (FunctionName, Version),
    pub(super) tenant: TenantName,
    pub(super) max_class: ClassId,
    pub(super) depth: u32,
    /// How often the execution was redriven.
    pub(super) redrives: u32,
    /// As long as this is there, the execution's partition is not given away.
    pub(super) _under_way: Arc<()>,
}

/// A turn and which beginning of it.
type TurnKey = (u64, u32);

/// What a turn begins with.
struct Given {
    entry: Arc<Entry>,
    class: ClassId,
    turn: u64,
    attempt: u32,
    id: InvocationId,
    input: Payload,
    state: Option<Payload>,
    resolved: Vec<(OpId, Resolution<Payload>)>,
    next_op: OpId,
    mint: Mint,
}

impl Executions {
    /// Does what a committed step asked for.
    pub(super) fn act(&mut self, id: ExecutionId, hot: &Hot, effect: Effect) {
        let Some(effect) = self.tenure.may_act(id, effect) else { return };
        let scene = Scene {
            inner: Arc::clone(&self.inner),
            thread: self.inner.executions.clone(),
            execution: id,
            function: (hot.row.function.clone(), hot.row.version),
            tenant: hot.row.tenant.clone(),
            max_class: hot.execution.birth().max_class,
            depth: hot.execution.birth().depth,
            redrives: hot.execution.redrives(),
            _under_way: self.tenure.under_way(id),
        };
        match effect {
            Effect::RunTurn { turn, attempt, id: invocation } => {
                let Some(given) = given(hot, turn, attempt, invocation) else { return };
                let again = Effect::RunTurn { turn, attempt, id: invocation };
                self.hand(invocation, async move { scene.run_turn(given, again).await });
            }
            Effect::Invoke(call) if call.function.starts_with(services::PREFIX) => {
                self.hand_later(call.id, async move { scene.invoke(call).await });
            }
            Effect::Invoke(call) => {
                self.hand(call.id, async move { scene.invoke(call).await });
            }
            // Not to overtake it: nobody would find the call, and then it would begin.
            Effect::CancelTurn { id: call, .. } | Effect::CancelCall { id: call, .. }
                if let Some(cancel) = self.handing.get_mut(&call) =>
            {
                *cancel = Some((id, effect));
            }
            Effect::CancelTurn { turn, attempt, id: invocation } => {
                scene.cancel_turn((turn, attempt), invocation);
            }
            Effect::CancelCall { op, id: call } => scene.cancel_call(op, call),
            Effect::SendSignal { op, id: call, to, name, signal, payload } => {
                let signal = Signal { op, call, to, name, signal, payload };
                self.tokio.spawn(async move { scene.send_signal(signal).await });
            }
            Effect::Report { parent, resolution, used } => scene.report(parent, resolution, used),
        }
    }
}

impl Executions {
    /// Lets `work` hand a call on, and hears when it has, where that is not at once.
    fn hand(&mut self, call: InvocationId, work: impl Future<Output = ()> + Send + 'static) {
        let mut work = Box::pin(work);
        let poll = {
            let _runtime = self.tokio.enter();
            work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        if poll.is_pending() {
            self.hand_later(call, work);
        }
    }

    /// The same, but not on this thread: it takes time, or waits.
    fn hand_later(&mut self, call: InvocationId, work: impl Future<Output = ()> + Send + 'static) {
        self.handing.entry(call).or_default();
        let thread = self.inner.executions.clone();
        self.tokio.spawn(async move {
            work.await;
            let _ = thread.send(Message::Handed(call));
        });
    }
}

fn given(hot: &Hot, turn: u64, attempt: u32, id: InvocationId) -> Option<Given> {
    let due = hot.execution.turn().filter(|due| (due.number, due.attempt) == (turn, attempt))?;
    let resolved = due.resolved.iter().map(|(op, resolution)| (*op, (*resolution).clone()));
    Some(Given {
        entry: Arc::clone(&hot.entry),
        class: hot.execution.class(),
        turn,
        attempt,
        id,
        input: due.input.clone(),
        state: due.state.cloned(),
        resolved: resolved.collect(),
        next_op: hot.execution.next_op(),
        mint: hot.execution.mint(),
    })
}

struct Signal {
    op: OpId,
    call: InvocationId,
    to: String,
    name: String,
    signal: SignalId,
    payload: Payload,
}

impl Scene {
    pub(super) fn happens(&self, id: ExecutionId, input: Input, ack: Option<super::Ack>) {
        let _ = self.thread.send(Message::Happens(id, What::Input(Box::new(input)), ack));
    }

    pub(super) fn resolved(
        &self,
        op: OpId,
        id: InvocationId,
        resolution: Resolution<Payload>,
        used: Totals,
    ) {
        self.happens(self.execution, Input::Resolved { op, id, resolution, used }, None);
    }

    pub(super) fn retry(&self, effect: Effect, after: Option<Duration>) {
        let (thread, execution) = (self.thread.clone(), self.execution);
        let wait = after.unwrap_or(REFUSED_WAIT).min(REFUSED_WAIT_MAX);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = thread.send(Message::Retry(execution, effect));
        });
    }

    async fn load(&self, payload: Payload) -> Result<Bytes, store::Error> {
        match payload {
            Payload::Inline(bytes) => Ok(bytes.into()),
            Payload::Stored { hash, .. } => {
                let store = Arc::clone(&self.inner.store);
                let read = move || store.get_blob(BlobHash(hash)).map(Bytes::from);
                tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| {
                    Err(store::Error::Transient { reason: format!("read a blob: {error}") })
                })
            }
        }
    }

    /// Runs a turn as an invocation of the execution's own function.
    async fn run_turn(self, given: Given, again: Effect) {
        let (execution, turn) = (self.execution, given.turn);
        let key = (turn, given.attempt);
        let submission = match self.turn_submission(&given).await {
            Ok(submission) => submission,
            Err(error) => {
                tracing::warn!(%execution, turn, %error, "a turn waits: its payloads cannot be read");
                self.retry(again, None);
                return;
            }
        };
        let is_explicit = given.entry.info.durable == model::Durable::Explicit;
        let attempt = Attempt {
            id: given.id,
            // A turn's invocations are told apart in the receipts by its number and attempt.
            attempt: given.attempt,
            first_attempt: 1,
            // Its end is settled here, not by the queue of asynchronous calls.
            mode: Mode::Sync,
            recorded_by: RecordedBy::Caller,
        };
        let done = {
            let (scene, again) = (self.clone(), again.clone());
            Box::new(move |result: Result<control::Done, Error>| match result {
                Ok(done) => scene.turn_ended(key, is_explicit, done),
                Err(error) => scene.turn_refused(key, again, &error),
            })
        };
        let (wanted, durable) = submission;
        if let Err(error) = self.inner.submit_as(wanted, attempt, Some(durable), done).await {
            self.turn_refused(key, again, &error);
        }
    }

    async fn turn_submission(&self, given: &Given) -> Result<(Wanted, DurableTurn), store::Error> {
        let input = self.load(given.input.clone()).await?;
        let state = match &given.state {
            Some(state) => Some(self.load(state.clone()).await?),
            None => None,
        };
        let mut resolved = Vec::with_capacity(given.resolved.len());
        for (op, resolution) in &given.resolved {
            let loaded = match resolution {
                Resolution::Ok(payload) => {
                    Resolution::Ok(self.load(payload.clone()).await?.to_vec())
                }
                Resolution::Failed(failure) => Resolution::Failed(failure.clone()),
                Resolution::Refused { code, message } => {
                    Resolution::Refused { code: code.clone(), message: message.clone() }
                }
            };
            resolved.push((*op, loaded));
        }
        let mint = given.mint.clone();
        let payload = if given.entry.info.durable == model::Durable::Explicit {
            let envelope = explicit::Given {
                execution: self.execution,
                turn: given.turn,
                input: &input,
                state: state.as_deref(),
                resolved: &resolved,
                next_op: given.next_op,
                token: &|op| mint.token(op),
            };
            explicit::render(&envelope).into()
        } else {
            input
        };
        let wanted = Wanted {
            tenant: self.tenant.clone(),
            function: given.entry.info.name.clone(),
            version: Some(given.entry.info.version),
            class: given.class,
            max_class: self.max_class,
            payload,
            traceparent: None,
            caller: None,
            depth: self.depth,
            arrived: self.inner.clock.now(),
        };
        let token = Arc::new(move |op| mint.token(op));
        Ok((wanted, DurableTurn { image: state, resolved, token }))
    }

    fn turn_ended(&self, key: TurnKey, is_explicit: bool, mut done: control::Done) {
        let (used, kept) = (totals(&done), done.kept.take());
        let end = match done.outcome {
            Err(failure) => TurnEnd::Failed(failure),
            Ok(Ended::Suspended { step, image })
                if image.len() >= limits::IMAGE_STAGED_BYTES_MIN =>
            {
                self.clone().stage(key, (step, image), used, kept);
                return;
            }
            Ok(Ended::Suspended { step, image }) => {
                TurnEnd::Ended(turned(Payload::Inline(image.into()), step))
            }
            Ok(Ended::Answer(answer)) if is_explicit => {
                match explicit::parse(&answer, self.inner.clock.now()) {
                    Ok((step, state)) => TurnEnd::Ended(turned(state.into(), step)),
                    Err(failure) => TurnEnd::Failed(failure),
                }
            }
            Ok(Ended::Answer(answer)) => {
                TurnEnd::Ended(turned(Payload::empty(), Step::Done(answer.into())))
            }
        };
        let (turn, attempt) = key;
        self.ended(Input::TurnEnded { turn, attempt, end, used }, kept);
    }

    /// Has a large image written before the step that takes it, and not by the thread that commits
    /// the steps of all.
    fn stage(
        self,
        (turn, attempt): TurnKey,
        (step, image): (Step, Bytes),
        used: Totals,
        kept: Option<Box<control::Ended>>,
    ) {
        tokio::task::spawn_blocking(move || {
            let state = match self.inner.store.stage_blob(&image) {
                Ok(Some(BlobHash(hash))) => Payload::Stored { hash, len: image.len() as u64 },
                // Where it cannot be written now, its commit will say so, and be tried again.
                Ok(None) | Err(_) => Payload::Inline(image.into()),
            };
            let end = TurnEnd::Ended(turned(state, step));
            self.ended(Input::TurnEnded { turn, attempt, end, used }, kept);
            self.inner.store.stage_ahead();
        });
    }

    fn turn_over(&self, (turn, attempt): TurnKey, end: TurnEnd, used: Totals) {
        let input = Input::TurnEnded { turn, attempt, end, used };
        self.happens(self.execution, input, None);
    }

    /// The end of an invocation, with its receipt.
    fn ended(&self, input: Input, kept: Option<Box<control::Ended>>) {
        let Some(kept) = kept else { return self.happens(self.execution, input, None) };
        let _ = self.thread.send(Message::Ended(self.execution, Box::new(input), kept));
    }

    fn turn_refused(&self, key: TurnKey, again: Effect, error: &Error) {
        if passes(error.kind) {
            self.retry(again, error.retry_after);
            return;
        }
        let failure = Failure::new(FailureKind::Platform, error.message.clone());
        self.turn_over(key, TurnEnd::Failed(failure), Totals::default());
    }

    fn cancel_turn(self, key: TurnKey, invocation: InvocationId) {
        let control = self.inner.control.clone();
        let found = Box::new(move |found: bool| {
            if !found {
                self.turn_over(key, TurnEnd::Failed(cancelled()), Totals::default());
            }
        });
        let _ = control.send(control::Message::Cancel(invocation, found));
    }

    /// Calls a function: an invocation, or an execution where the callee itself orchestrates.
    async fn invoke(self, call: Call) {
        let payload = match self.load(call.payload.clone()).await {
            Ok(payload) => payload,
            Err(error) => {
                tracing::warn!(execution = %self.execution, %error, "a call waits: its payload cannot be read");
                self.retry(Effect::Invoke(call), None);
                return;
            }
        };
        if let Some(name) = call.function.strip_prefix(services::PREFIX) {
            let name = name.to_owned();
            return self.service(call, name, payload).await;
        }
        let (op, id) = (call.op, call.id);
        let wanted = match self.wanted(&call, payload) {
            Ok(wanted) => wanted,
            Err(error) => return self.not_called(call, &error),
        };
        let orchestrates = self
            .inner
            .find(&wanted.tenant, &wanted.function, wanted.version)
            .is_ok_and(|entry| entry.orchestrates());
        match (orchestrates, call.mode) {
            (true, mode) => self.start_child(call, wanted, mode),
            (false, InvokeMode::Detach) => match self.inner.enqueue_as(wanted, id).await {
                Ok(()) => {
                    let answer = Resolution::Ok(id.to_string().into_bytes().into());
                    self.resolved(op, id, answer, Totals::default());
                }
                Err(error) => self.not_called(call, &error),
            },
            (false, InvokeMode::Wait) => self.call(call, wanted).await,
        }
    }

    async fn call(self, call: Call, wanted: Wanted) {
        let (op, id) = (call.op, call.id);
        let done = {
            let (scene, call) = (self.clone(), call.clone());
            Box::new(move |result: Result<control::Done, Error>| match result {
                Ok(mut done) => {
                    let (used, kept) = (totals(&done), done.kept.take());
                    let resolution = match done.outcome {
                        Ok(Ended::Answer(answer)) => Resolution::Ok(answer.to_vec().into()),
                        Ok(Ended::Suspended { .. }) => Resolution::Failed(Failure::new(
                            FailureKind::Platform,
                            "it suspended though it is not durable",
                        )),
                        Err(failure) => Resolution::Failed(failure),
                    };
                    scene.ended(Input::Resolved { op, id, resolution, used }, kept);
                }
                Err(error) => scene.not_called(call, &error),
            })
        };
        let attempt = Attempt { recorded_by: RecordedBy::Caller, ..Attempt::only(id) };
        if let Err(error) = self.inner.submit(wanted, attempt, done).await {
            self.not_called(call, &error);
        }
    }

    fn wanted(&self, call: &Call, payload: Bytes) -> Result<Wanted, Error> {
        let inner = &self.inner;
        check_depth(self.depth)?;
        inner.check_payload(payload.len())?;
        let (function, version) = parse_target(&call.function)?;
        let stated = match &call.stated {
            Some(name) => inner.class(name, self.max_class)?,
            None => call.floor,
        };
        Ok(Wanted {
            tenant: self.tenant.clone(),
            function,
            version,
            class: stated.max(call.floor),
            max_class: self.max_class,
            payload,
            traceparent: None,
            caller: Some(InvocationId(self.execution.0)),
            depth: self.depth + 1,
            arrived: inner.clock.now(),
        })
    }

    fn start_child(self, call: Call, wanted: Wanted, mode: InvokeMode) {
        let (op, id) = (call.op, call.id);
        let parent = match mode {
            InvokeMode::Wait => Some(Parent { execution: self.execution, op, id }),
            InvokeMode::Detach => None,
        };
        let inner = Arc::clone(&self.inner);
        let scene = self.clone();
        let again = call.clone();
        let reply = Box::new(move |result: StartResult| match (result, mode) {
            // Its report comes when it ends.
            (StartResult::New | StartResult::Exists(_), InvokeMode::Wait) => {}
            (StartResult::New | StartResult::Exists(_), InvokeMode::Detach) => {
                let answer = Resolution::Ok(id.to_string().into_bytes().into());
                scene.resolved(op, id, answer, Totals::default());
            }
            (StartResult::Failed(error), _) => scene.not_called(again, &error),
            (StartResult::Moved, _) => {
                scene.retry(Effect::Invoke(again), Some(super::tenure::MOVING))
            }
        });
        let (name, replace, origin) = (None, None, Vec::new());
        let order = super::handle::Order { id: child_id(id), name, replace, parent, origin };
        if let Err(error) = inner.start_execution(wanted, &order, reply) {
            self.not_called(call, &error);
        }
    }

    /// A call refused for load, budget or the store is made again; any other refusal is its end.
    pub(super) fn not_called(&self, call: Call, error: &Error) {
        if passes(error.kind) {
            self.retry(Effect::Invoke(call), error.retry_after);
            return;
        }
        let code = error.kind.code().to_owned();
        let resolution = Resolution::Refused { code, message: error.message.clone() };
        self.resolved(call.op, call.id, resolution, Totals::default());
    }

    /// Ends a call wherever it is; its end is answered by the call itself where it was under way.
    fn cancel_call(self, op: OpId, call: InvocationId) {
        self.inner.services.withdraw(call);
        let control = self.inner.control.clone();
        let found = Box::new(move |found: bool| {
            if !found {
                self.cancel_child(op, call);
            }
        });
        let _ = control.send(control::Message::Cancel(call, found));
    }

    fn cancel_child(self, op: OpId, call: InvocationId) {
        let reason = format!("{} no longer waits for it", self.execution);
        let scene = self.clone();
        let ack = Box::new(move |taken: Result<Verdict, Error>| match taken {
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {
                let never = Resolution::Failed(cancelled());
                scene.resolved(op, call, never, Totals::default());
            }
            Err(error) => {
                scene.retry(Effect::CancelCall { op, id: call }, error.retry_after);
            }
        });
        self.happens(child_id(call), Input::Cancel { reason }, Some(ack));
    }

    async fn send_signal(self, signal: Signal) {
        let target = match signal.to.parse::<ExecutionId>() {
            Ok(id) => self.inner.execution_of(&self.tenant, id).await,
            Err(_) => self.inner.execution_named(&self.tenant, &signal.to).await,
        };
        let Signal { op, call, to, name, signal, payload } = signal;
        let again = Effect::SendSignal {
            op,
            id: call,
            to,
            name: name.clone(),
            signal,
            payload: payload.clone(),
        };
        let target = match target {
            Ok(target) => target,
            Err(error) => return self.not_sent(op, call, again, &error),
        };
        let scene = self.clone();
        let ack = Box::new(move |taken: Result<Verdict, Error>| match taken {
            Ok(Verdict::Applied | Verdict::Duplicate) => {
                let answer = Resolution::Ok(Payload::empty());
                scene.resolved(op, call, answer, Totals::default());
            }
            Ok(Verdict::Late(refusal) | Verdict::Refused(refusal)) => {
                scene.resolved(op, call, refused(refusal), Totals::default());
            }
            Err(error) => scene.not_sent(op, call, again, &error),
        });
        self.happens(target, Input::Signal { name, id: Some(signal), payload }, Some(ack));
    }

    fn not_sent(&self, op: OpId, call: InvocationId, again: Effect, error: &Error) {
        if passes(error.kind) {
            self.retry(again, error.retry_after);
            return;
        }
        let code = error.kind.code().to_owned();
        let resolution = Resolution::Refused { code, message: error.message.clone() };
        self.resolved(op, call, resolution, Totals::default());
    }

    /// Tells the parent, and hears when the parent has committed it.
    fn report(self, parent: Parent, resolution: Resolution<Payload>, used: Totals) {
        let scene = self.clone();
        let again = Effect::Report { parent, resolution: resolution.clone(), used };
        let ack = Box::new(move |taken: Result<Verdict, Error>| match taken {
            Ok(_) => scene.happens(scene.execution, Input::Reported, None),
            // The parent is forgotten: nobody wants to know.
            Err(error) if error.kind == ErrorKind::NotFound => {
                scene.happens(scene.execution, Input::Reported, None);
            }
            Err(error) => scene.retry(again, error.retry_after),
        });
        let Parent { execution, op, id } = parent;
        self.happens(execution, Input::Resolved { op, id, resolution, used }, Some(ack));
    }
}

fn turned(state: Payload, step: Step) -> Turned<Payload> {
    let inline = |bytes: Vec<u8>| Ok::<_, std::convert::Infallible>(Payload::Inline(bytes));
    match Turned::new(Vec::new(), step).try_map(&mut { inline }) {
        Ok(turned) => Turned { state, ..turned },
        Err(never) => match never {},
    }
}

fn totals(done: &control::Done) -> Totals {
    Totals {
        amount: done.receipt.total(),
        cpu: done.receipt.cpu,
        memory: done.receipt.memory,
        invocations: 1,
        ..Totals::default()
    }
}

fn cancelled() -> Failure {
    Failure::new(FailureKind::Cancelled, "it was cancelled before it began")
}

fn refused(refusal: Refusal) -> Resolution<Payload> {
    Resolution::Refused { code: refusal.code().to_owned(), message: refusal.message().to_owned() }
}

/// Whether the same may succeed later.
fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::OverBudget
            | ErrorKind::Overloaded
            | ErrorKind::Draining
            | ErrorKind::OwnerAway
            | ErrorKind::Storage
    )
}
