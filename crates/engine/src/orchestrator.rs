//! Interpreters that orchestrate: functions whose turns are pure and run inside the engine's step.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use model::suspend::{OpId, Resolution};
use model::{Failure, FailureKind, Timestamp, limits};

use crate::execution::{Birth, DueTurn, Execution};
use crate::input::{Input, TurnEnd, Turned, Verdict};
use crate::money::Totals;
use crate::output::{Effect, Output, TURN_KEY};
use crate::payload::Payload;
use crate::token::Mint;

/// One definition of an interpreted kind: a state machine, a sequence, a conductor.
///
/// A turn is a function of what it is given. It must not panic on any input, and it must end.
pub trait Orchestrator: Send + Sync {
    /// Goes on from `turn.state` with what was resolved, up to the next suspension or the end.
    fn turn(&self, turn: &Turn<'_>) -> Turned;

    /// Whether somebody hears at once of whatever happens in its executions.
    fn is_followed(&self) -> bool {
        false
    }
}

/// What an interpreter's turn begins with.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Whose turn.
    pub birth: &'a Birth,
    /// The time of this turn.
    pub now: Timestamp,
    /// When the execution began (anew).
    pub began: Timestamp,
    /// Counts turns from 1.
    pub number: u64,
    /// How often the execution was redriven.
    pub redrives: u32,
    /// Calls that the last redrive made again, and when: in the first turn after it.
    pub made_again: &'a [(OpId, Timestamp)],
    /// The execution's input, in the first turn (since it began anew). What later ones need of it,
    /// their state has.
    pub input: &'a [u8],
    /// What the turn before left; none in the first one.
    pub state: Option<&'a [u8]>,
    /// What turns before kept beside the state.
    pub parts: Kept<'a>,
    /// What woke it, in the order in which it was committed.
    pub resolved: &'a [(OpId, Resolution)],
    /// Of these, what the same turn had dealt with when it failed, before the execution was redriven.
    pub dealt: &'a [OpId],
    /// Makes callback tokens for asks of this turn.
    pub mint: &'a Mint,
    /// 256 random bits of this turn, the same whenever it is run again.
    pub entropy: [u8; 32],
}

/// What earlier turns kept, read where it is wanted.
#[derive(Clone, Copy)]
pub struct Kept<'a>(&'a dyn Fn(u64) -> Option<Vec<u8>>);

impl<'a> Kept<'a> {
    /// What `part` finds under its numbers.
    pub fn new(part: &'a dyn Fn(u64) -> Option<Vec<u8>>) -> Self {
        Self(part)
    }

    /// The part of that number.
    #[must_use]
    pub fn part(&self, number: u64) -> Option<Vec<u8>> {
        (self.0)(number)
    }
}

impl fmt::Debug for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// Where the shell keeps large payloads.
pub trait Payloads {
    /// Why bytes cannot be had.
    type Error;

    /// The bytes of a payload.
    ///
    /// # Errors
    /// They cannot be had now.
    fn load(&mut self, payload: &Payload) -> Result<Vec<u8>, Self::Error>;

    /// A payload of those bytes, apart where they are more than `inline_max`.
    ///
    /// # Errors
    /// They cannot be kept now.
    fn keep(&mut self, bytes: Vec<u8>, inline_max: usize) -> Result<Payload, Self::Error>;
}

/// Runs the turns that are due, one after the other, inside the same commit as the steps before.
/// Call it after [`Execution::start`] and after one or more of [`Execution::step`] of an interpreted
/// kind; `out` holds what those said of this execution, and gets what follows. Ends of asks that were
/// stepped one after the other are given to one turn together. No turn is left running, so no
/// [`Effect::RunTurn`] is left in `out`.
///
/// # Errors
/// Those of `payloads`. The execution is then half-way: throw it away and load it again.
pub fn run_turns<P: Payloads>(
    execution: &mut Execution,
    orchestrator: &dyn Orchestrator,
    payloads: &mut P,
    now: Timestamp,
    out: &mut Vec<Output>,
) -> Result<(), P::Error> {
    let mut turns = 0;
    execution.feed_more();
    while let Some(due) = execution.turn() {
        turns += 1;
        let (turn, attempt) = (due.number, due.attempt);
        let end = if turns > limits::TURNS_UNWAITED_MAX {
            let message = format!("{turns} turns in a row without waiting for anything");
            TurnEnd::Failed(Failure::new(FailureKind::BadResponse, message))
        } else {
            let turned = interpret(execution, orchestrator, payloads, now, &due)?;
            let inline_max = execution.inline_max();
            TurnEnd::Ended(turned.try_map(&mut |bytes| payloads.keep(bytes, inline_max))?)
        };
        let ended = Input::TurnEnded { turn, attempt, end, used: Totals::default() };
        let verdict = execution.step(now, ended, out);
        assert_eq!(verdict, Verdict::Applied, "the turn that is due can end");
    }
    // One over whose head the execution ended never ran.
    if let Some((turn, attempt)) = execution.turn_to_cancel() {
        let end = TurnEnd::Lost { reason: String::new() };
        let ended = Input::TurnEnded { turn, attempt, end, used: Totals::default() };
        let _ = execution.step(now, ended, out);
    }
    out.retain(|output| match output {
        Output::Effect(effect) => {
            !matches!(effect, Effect::RunTurn { .. } | Effect::CancelTurn { .. })
        }
        Output::Settled(key) => *key != TURN_KEY,
        Output::Arm(_)
        | Output::Disarm
        | Output::History(_)
        | Output::ForgetHistory { .. }
        | Output::Ended { .. }
        | Output::Touched
        | Output::Closed { .. } => true,
    });
    Ok(())
}

fn interpret<P: Payloads>(
    execution: &Execution,
    orchestrator: &dyn Orchestrator,
    payloads: &mut P,
    now: Timestamp,
    due: &DueTurn<'_>,
) -> Result<Turned, P::Error> {
    let input = if due.state.is_none() { payloads.load(due.input)? } else { Vec::new() };
    let state = due.state.map(|state| payloads.load(state)).transpose()?;
    let mut load = |payload: Payload| payloads.load(&payload);
    let resolved = due.resolved.iter().map(|(op, resolution)| {
        let resolution = (*resolution).clone().try_map(&mut load)?;
        Ok((*op, resolution))
    });
    let resolved = resolved.collect::<Result<Vec<_>, P::Error>>()?;
    // A part that cannot be had makes the whole turn void, whatever it led to.
    let (payloads, missing) = (RefCell::new(payloads), RefCell::new(None));
    let part = |number: u64| match payloads.borrow_mut().load(execution.part(number)?) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            missing.replace(Some(error));
            None
        }
    };
    let turned = orchestrator.turn(&Turn {
        birth: execution.birth(),
        now,
        began: execution.began(),
        number: due.number,
        redrives: execution.redrives(),
        made_again: &execution.made_again(),
        input: &input,
        state: state.as_deref(),
        parts: Kept::new(&part),
        resolved: &resolved,
        dealt: execution.dealt(),
        mint: &execution.mint(),
        entropy: due.entropy,
    });
    missing.into_inner().map_or(Ok(turned), Err)
}
