//! What a function says when it suspends, and what it hears when it goes on.
//!
//! An orchestrating function runs in *turns*. A turn ends in a [`Step`]: it waits, or it is done, or
//! it begins anew. While it waits it asks for things ([`Ask`]), each under a number of its own
//! ([`OpId`]), and names those whose end shall wake it ([`Until`]). The next turn is given the
//! [`Resolution`] of each. The engine keeps executions in these words, runtimes and interpreters
//! speak them.
//!
//! What is carried is bytes for a function and its runtime. The engine has the same words over
//! payloads that may lie elsewhere, hence the parameter `P`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::outcome::Failure;
use crate::time::Timestamp;

/// Something an execution asked for. The function chooses the number: each is higher than every one
/// before it, and below 2⁶³. After [`Step::Again`] they may begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What a function asks for when its turn ends. Nothing is done before the turn is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<P = Vec<u8>> {
    /// Resolved at that time with an empty answer.
    Timer {
        /// When.
        at: Timestamp,
    },
    /// Calls a function of the same tenant, of any kind; resolved by its outcome.
    Invoke {
        /// `name` or `name:version`.
        function: String,
        /// Class stated here; the effective one is never lower than the execution's.
        class: Option<String>,
        /// Its input.
        payload: P,
        /// Whether the outcome is wanted.
        mode: InvokeMode,
    },
    /// Resolved by the next signal of that name. One that came before was kept.
    Signal {
        /// Its name.
        name: String,
    },
    /// Resolved by whoever presents the callback token of this number (see `engine::token`), with
    /// success or failure.
    Token {
        /// Longest time between two signs of life, where some are wanted.
        heartbeat: Option<Duration>,
    },
    /// Signals another execution of the same tenant; resolved once it was delivered or refused.
    SendSignal {
        /// The execution's id (`exe_…`) or its name.
        to: String,
        /// The signal's name.
        name: String,
        /// What it carries.
        payload: P,
    },
}

/// What an asked call is to its asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvokeMode {
    /// Resolved when the callee ends. A cancelled execution cancels the callee.
    Wait,
    /// Resolved when the callee is safely queued, with its id; it goes on alone.
    Detach,
}

/// What wakes a suspended function. What ends and is not named is kept until a wait names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// The end of any of these.
    Any(Vec<OpId>),
    /// The end of all of these.
    All(Vec<OpId>),
    /// The end of anything asked for.
    Next,
}

/// The end of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<P = Vec<u8>> {
    /// Passivate until `until`.
    Wait {
        /// What is asked for, in order.
        asks: Vec<(OpId, Ask<P>)>,
        /// What is no longer wanted; it is never resolved afterwards.
        drops: Vec<OpId>,
        /// What wakes it.
        until: Until,
        /// What a person shall see of it; none leaves it as it was.
        status: Option<Vec<u8>>,
    },
    /// The whole execution ended with this answer.
    Done(P),
    /// The whole execution failed.
    Failed(Failure),
    /// Begin anew with this input: history, state and open asks are dropped. Signals that came and
    /// were not seen yet are kept.
    Again(P),
}

/// How something asked for ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution<P = Vec<u8>> {
    /// The answer, the signal's payload, or nothing for a timer.
    Ok(P),
    /// The callee ran and failed, or the token's holder reported a failure.
    Failed(Failure),
    /// It could not be started: no such function, class not allowed, too deep, no budget.
    Refused {
        /// Public code, as in `docs/errors.md`.
        code: String,
        /// For a person.
        message: String,
    },
}

impl<P> Ask<P> {
    /// The same with another sort of payload.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<Q, E>(self, f: &mut dyn FnMut(P) -> Result<Q, E>) -> Result<Ask<Q>, E> {
        Ok(match self {
            Self::Timer { at } => Ask::Timer { at },
            Self::Invoke { function, class, payload, mode } => {
                Ask::Invoke { function, class, payload: f(payload)?, mode }
            }
            Self::Signal { name } => Ask::Signal { name },
            Self::Token { heartbeat } => Ask::Token { heartbeat },
            Self::SendSignal { to, name, payload } => {
                Ask::SendSignal { to, name, payload: f(payload)? }
            }
        })
    }
}

impl<P> Step<P> {
    /// The same with another sort of payload.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<Q, E>(self, f: &mut dyn FnMut(P) -> Result<Q, E>) -> Result<Step<Q>, E> {
        Ok(match self {
            Self::Wait { asks, drops, until, status } => {
                let asks = asks.into_iter().map(|(op, ask)| Ok((op, ask.try_map(f)?)));
                Step::Wait { asks: asks.collect::<Result<_, E>>()?, drops, until, status }
            }
            Self::Done(answer) => Step::Done(f(answer)?),
            Self::Failed(failure) => Step::Failed(failure),
            Self::Again(input) => Step::Again(f(input)?),
        })
    }
}

impl<P> Resolution<P> {
    /// The same with another sort of payload.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<Q, E>(self, f: &mut dyn FnMut(P) -> Result<Q, E>) -> Result<Resolution<Q>, E> {
        Ok(match self {
            Self::Ok(answer) => Resolution::Ok(f(answer)?),
            Self::Failed(failure) => Resolution::Failed(failure),
            Self::Refused { code, message } => Resolution::Refused { code, message },
        })
    }
}
