//! Where payloads lie that are too large for a state: the blob store.

use std::collections::HashMap;

use engine::{Birth, Execution, Input, Payload, Payloads, TokenAnswer, TurnEnd};
use model::limits;
use store::{BlobHash, Store};

/// The payloads of one step: those that it makes are committed with it.
pub(crate) struct StepPayloads<'a> {
    store: &'a dyn Store,
    made: HashMap<[u8; 32], Vec<u8>>,
}

impl<'a> StepPayloads<'a> {
    pub(crate) fn new(store: &'a dyn Store) -> Self {
        Self { store, made: HashMap::new() }
    }

    /// A birth whose input lies where it belongs.
    pub(crate) fn birth(&mut self, birth: Birth) -> Birth {
        let input = match birth.input {
            Payload::Inline(bytes) => self.put(bytes, limits::PAYLOAD_INLINE_BYTES_MAX),
            stored @ Payload::Stored { .. } => stored,
        };
        Birth { input, ..birth }
    }

    /// An input whose payloads lie where they belong.
    pub(crate) fn carry(&mut self, input: Input, execution: &Execution) -> store::Result<Input> {
        let inline_max = execution.inline_max();
        let mut move_it = |payload: Payload| match payload {
            Payload::Inline(bytes) => self.keep(bytes, inline_max),
            stored @ Payload::Stored { .. } => Ok(stored),
        };
        Ok(match input {
            Input::TurnEnded { turn, attempt, end: TurnEnd::Ended(turned), used } => {
                let end = TurnEnd::Ended(turned.try_map(&mut move_it)?);
                Input::TurnEnded { turn, attempt, end, used }
            }
            Input::Resolved { op, id, resolution, used } => {
                let resolution = resolution.try_map(&mut move_it)?;
                Input::Resolved { op, id, resolution, used }
            }
            Input::Signal { name, id, payload } => {
                Input::Signal { name, id, payload: move_it(payload)? }
            }
            Input::Token { tenant, token, answer: TokenAnswer::Ended(Ok(payload)) } => {
                let answer = TokenAnswer::Ended(Ok(move_it(payload)?));
                Input::Token { tenant, token, answer }
            }
            other => other,
        })
    }

    fn put(&mut self, bytes: Vec<u8>, inline_max: usize) -> Payload {
        if bytes.len() <= inline_max {
            return Payload::Inline(bytes);
        }
        let hash = BlobHash::quick(&bytes).0;
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.made.insert(hash, bytes);
        Payload::Stored { hash, len }
    }

    /// What the step made, for its commit.
    pub(crate) fn into_made(self) -> Vec<(BlobHash, Vec<u8>)> {
        self.made.into_iter().map(|(hash, bytes)| (BlobHash(hash), bytes)).collect()
    }
}

impl Payloads for StepPayloads<'_> {
    type Error = store::Error;

    fn load(&mut self, payload: &Payload) -> store::Result<Vec<u8>> {
        match payload {
            Payload::Inline(bytes) => Ok(bytes.clone()),
            Payload::Stored { hash, .. } => match self.made.get(hash) {
                Some(bytes) => Ok(bytes.clone()),
                None => self.store.get_blob(BlobHash(*hash)),
            },
        }
    }

    fn keep(&mut self, bytes: Vec<u8>, inline_max: usize) -> store::Result<Payload> {
        Ok(self.put(bytes, inline_max))
    }
}
