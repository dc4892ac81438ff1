//! What is done after a commit, and what it brings back.

use engine::{Call, Effect, Input, Parent, Payload, TurnEnd, Verdict, child_id};
use model::suspend::{InvokeMode, OpId, Resolution};
use model::{ExecutionId, Failure, FailureKind, InvocationId};

use super::{Event, MILLI, Message, Mutant, Reply, What, World, birth, price_of, program};
use engine::Totals;

/// A function that runs; it is lost with the shell.
#[derive(Clone, Debug)]
pub(super) struct Callee {
    execution: ExecutionId,
    call: Call,
}

impl World {
    /// Does one effect, which may be a repeat.
    pub(super) fn act(&mut self, execution: ExecutionId, effect: Effect) {
        let is_committed = self.store.holds(execution, &effect);
        assert!(is_committed, "check failed: {execution} acts before its commit: {effect:?}");
        if self.mutant(Mutant::SettleEarly) {
            let row = self.store.rows.get_mut(&execution).expect("it is committed");
            row.outbox.remove(&effect.key());
        }
        match effect {
            Effect::RunTurn { turn, attempt, .. } => self.run_turn(execution, turn, attempt),
            Effect::CancelTurn { turn, attempt, .. } => {
                let failure = Failure::new(FailureKind::Cancelled, "ended");
                let end = TurnEnd::Failed(failure);
                let used = Totals::default();
                let input = Input::TurnEnded { turn, attempt, end, used };
                self.local(execution, input, Reply::Nobody);
            }
            Effect::Invoke(call) => self.invoke(execution, call),
            Effect::CancelCall { op, id } => self.cancel_call(execution, op, id),
            Effect::SendSignal { op, id, to, name, signal, payload } => {
                let input = Input::Signal { name, id: Some(signal), payload };
                let to = to.parse().expect("the world sends to ids");
                if !self.chance(self.config.faults.answer) {
                    self.local(to, input.clone(), Reply::Sender { execution, op, id });
                }
                if self.chance(self.config.faults.answer) {
                    self.local(to, input, Reply::Sender { execution, op, id });
                }
            }
            Effect::Report { parent, resolution, used } => {
                let Parent { execution: to, op, id } = parent;
                let input = Input::Resolved { op, id, resolution, used };
                let reply = Reply::Child(execution);
                if self.mutant(Mutant::ReportOnce) {
                    self.local(execution, Input::Reported, Reply::Nobody);
                }
                if !self.chance(self.config.faults.answer) {
                    self.local(to, input.clone(), reply);
                }
                if self.chance(self.config.faults.answer) {
                    self.local(to, input, reply);
                }
            }
        }
    }

    fn run_turn(&mut self, execution: ExecutionId, turn: u64, attempt: u32) {
        let now = self.clock();
        let (_, loaded) = self.store.load(execution).expect("it is committed");
        let Some(due) = loaded.turn().filter(|due| (due.number, due.attempt) == (turn, attempt))
        else {
            return;
        };
        let end = if self.chance(self.config.faults.turn) {
            Box::new(TurnEnd::Lost { reason: "the machine died".to_owned() })
        } else {
            let ran = program::run(execution, now, &due, &loaded.mint());
            for (token, heartbeat) in ran.tokens {
                self.give_token(&token, heartbeat);
            }
            Box::new(TurnEnd::Ended(ran.turned))
        };
        let takes = self.draw_ms(40);
        let epoch = self.shell.epoch;
        self.at(takes, Event::TurnEnds { epoch, execution, turn, attempt, end });
    }

    pub(super) fn turn_ends(
        &mut self,
        execution: ExecutionId,
        (turn, attempt): (u64, u32),
        end: TurnEnd,
    ) {
        let used = Totals { invocations: 1, ..Totals::default() };
        let input = Input::TurnEnded { turn, attempt, end, used };
        self.local(execution, input, Reply::Nobody);
    }

    fn invoke(&mut self, execution: ExecutionId, mut call: Call) {
        if self.mutant(Mutant::NewCallIds) {
            call.id = InvocationId(call.id.0 + u128::from(self.order));
        }
        self.checker.called(execution, &call);
        match &*call.function {
            "flow" => self.invoke_flow(execution, call),
            "missing" => {
                let message = "there is none".to_owned();
                let refused = Resolution::Refused { code: "unknown-function".to_owned(), message };
                self.answer(execution, call.op, call.id, &refused, Totals::default());
            }
            _ => {
                if self.calls.contains_key(&call.id) {
                    return;
                }
                let id = call.id;
                self.calls.insert(id, Callee { execution, call });
                let takes = 5 * MILLI + self.draw_ms(700);
                let epoch = self.shell.epoch;
                self.at(takes, Event::CallEnds { epoch, id });
            }
        }
    }

    fn invoke_flow(&mut self, execution: ExecutionId, call: Call) {
        let (op, id) = (call.op, call.id);
        let Payload::Inline(input) = call.payload else { panic!("everything is small here") };
        let (parent, reply) = match call.mode {
            InvokeMode::Wait => (Some(Parent { execution, op, id }), Reply::Nobody),
            InvokeMode::Detach => (None, Reply::Sender { execution, op, id }),
        };
        let secret = u64::try_from(id.0 >> 64).expect("64 bits");
        let to = child_id(id);
        let what = What::Start(Box::new(birth(to, parent, input, secret)));
        let epoch = self.shell.epoch;
        self.at(0, Event::Local { epoch, message: Message { to, what, reply } });
    }

    /// A function ended. It may have run before: the first run is the one that is billed.
    pub(super) fn call_ends(&mut self, id: InvocationId) {
        let Some(Callee { execution, call }) = self.calls.remove(&id) else { return };
        let used = price_of(id);
        self.checker.ran(execution, &call, used);
        let Payload::Inline(payload) = &call.payload else { panic!("everything is small here") };
        let is_broken = call.function == "flaky" && self.checker.is_first_of(&call);
        let resolution = if is_broken {
            Resolution::Failed(Failure::new(FailureKind::Handler, "not yet"))
        } else {
            Resolution::Ok(program::leaf_answer(payload).into())
        };
        self.answer(execution, call.op, id, &resolution, used);
    }

    fn cancel_call(&mut self, execution: ExecutionId, op: OpId, id: InvocationId) {
        let child = child_id(id);
        let cancelled = Failure::new(FailureKind::Cancelled, "ended by its caller");
        if self.calls.remove(&id).is_some() || self.checker.is_leaf(id) {
            // It is billed where it had come to an end.
            let used = self.checker.receipt(id);
            self.answer(execution, op, id, &Resolution::Failed(cancelled), used);
        } else if self.store.rows.contains_key(&child) || self.is_starting(child) {
            // Its report is the answer.
            let reason = "its caller was cancelled".to_owned();
            self.local(child, Input::Cancel { reason }, Reply::Nobody);
        } else {
            self.answer(execution, op, id, &Resolution::Failed(cancelled), Totals::default());
        }
    }

    fn is_starting(&self, child: ExecutionId) -> bool {
        let starts =
            |message: &Message| message.to == child && matches!(message.what, What::Start(_));
        self.shell.hot.contains_key(&child)
            || self.shell.inbox.iter().any(starts)
            || self.queue.values().any(|event| match event {
                Event::Local { epoch, message } => *epoch == self.shell.epoch && starts(message),
                _ => false,
            })
    }

    /// An answer on its way: it may be lost, or come twice, or late.
    fn answer(
        &mut self,
        execution: ExecutionId,
        op: OpId,
        id: InvocationId,
        resolution: &Resolution<Payload>,
        used: Totals,
    ) {
        let copies = if self.chance(self.config.faults.answer) {
            0
        } else {
            1 + usize::from(self.chance(self.config.faults.answer))
        };
        for copy in 0..copies {
            let used = if self.mutant(Mutant::CountTwice) { used.plus(used) } else { used };
            let resolution = resolution.clone();
            let what = What::Input(Input::Resolved { op, id, resolution, used });
            let message = Message { to: execution, what, reply: Reply::Nobody };
            let epoch = self.shell.epoch;
            let late = if copy == 0 { 0 } else { self.draw_ms(3_000) };
            self.at(late, Event::Local { epoch, message });
        }
    }

    pub(super) fn signal_arrived(
        &mut self,
        execution: ExecutionId,
        op: OpId,
        id: InvocationId,
        verdict: Option<&Verdict>,
    ) {
        let resolution = match verdict {
            Some(Verdict::Applied | Verdict::Duplicate) => {
                Resolution::Ok(child_id(id).to_string().into_bytes().into())
            }
            Some(Verdict::Late(why) | Verdict::Refused(why)) => {
                let message = why.message().to_owned();
                Resolution::Refused { code: why.code().to_owned(), message }
            }
            None => Resolution::Refused {
                code: "unknown-execution".to_owned(),
                message: "there is none".to_owned(),
            },
        };
        self.answer(execution, op, id, &resolution, Totals::default());
    }
}
