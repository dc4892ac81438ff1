//! Where the control plane's state is worked on, by one thread at a time.
//!
//! Messages are taken in the order in which they were sent. The control thread takes them as it is
//! rung for; a thread that brings a call takes them itself where nobody else is at it, which saves
//! that call the time until another thread wakes.

use std::sync::mpsc::{self, Receiver, SendError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use model::Timestamp;
use runtime::Clock;
use tokio::runtime::Handle;

use super::{Control, Message};

/// Messages that a thread other than the control thread takes before it goes its own way again.
const VISIT_MAX: usize = 8;

/// What the control thread takes before it lets go of the state, and takes it again.
const STAY_MAX: usize = 1024;

/// How much later than they are due receipts may go: to ring for them costs a call more than all else
/// that is between the end of one function and the start of the next.
const RECEIPTS_PATIENCE: Duration = Duration::from_millis(15);

/// A way to the control plane.
#[derive(Clone)]
pub(crate) struct Mailbox {
    inbox: Sender<Message>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<Option<State>>,
    /// The control thread, once there is one.
    owner: OnceLock<Thread>,
    /// What replies may spawn tasks on, whichever thread gives them.
    tokio: Handle,
}

struct State {
    control: Control,
    inbox: Receiver<Message>,
    /// Until when the control thread sleeps if it is not rung for.
    sleeps_until: Option<Timestamp>,
    /// When another thread last took messages.
    visited: Option<Timestamp>,
}

/// Why someone stopped taking messages.
pub(super) enum Turn {
    /// There are none.
    Idle(Due),
    /// It took as many as it was to take.
    Enough,
    /// It was told to stop.
    Stop,
}

/// When something is due, if at all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// What is not to be late.
    pub(super) soon: Option<Timestamp>,
    /// Receipts.
    pub(super) receipts: Option<Timestamp>,
}

impl Due {
    fn first(&self) -> Option<Timestamp> {
        self.soon.into_iter().chain(self.receipts).min()
    }

    /// Whether who sleeps until then need not be woken for it.
    fn is_met_by(&self, sleeps_until: Option<Timestamp>) -> bool {
        let receipts = self.receipts.map(|due| due + RECEIPTS_PATIENCE);
        let latest = self.soon.into_iter().chain(receipts).min();
        latest.is_none_or(|latest| sleeps_until.is_some_and(|until| until <= latest))
    }
}

impl Mailbox {
    /// What is sent before [`run`](Self::run) waits for it.
    pub(crate) fn new(tokio: Handle) -> (Self, Receiver<Message>) {
        let (sender, inbox) = mpsc::channel();
        let shared = Arc::new(Shared { state: Mutex::default(), owner: OnceLock::new(), tokio });
        (Self { inbox: sender, shared }, inbox)
    }

    /// Leaves a message for the control thread. May be called with any lock held.
    ///
    /// # Errors
    /// The message, where the control thread has stopped.
    #[expect(clippy::result_large_err, reason = "as a channel: it is its sender's again")]
    pub(crate) fn send(&self, message: Message) -> Result<(), SendError<Message>> {
        self.inbox.send(message)?;
        self.ring();
        Ok(())
    }

    /// Leaves a message that nobody waits for: it is taken with the next one that is rung for. The
    /// sampler rings several times a second.
    pub(crate) fn leave(&self, message: Message) {
        // After the end there is nobody to tell.
        drop(self.inbox.send(message));
    }

    /// Leaves a message and, where nobody is at it, takes what is there at once. What a message
    /// leads to may ask for locks of executors and stores, so the caller must hold none.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[expect(clippy::result_large_err, reason = "as `send`")]
    pub(crate) fn carry(&self, message: Message) -> Result<(), SendError<Message>> {
        self.inbox.send(message)?;
        if !self.visit() {
            self.ring();
        }
        Ok(())
    }

    /// Takes some messages. Tells whether the control thread can sleep on.
    fn visit(&self) -> bool {
        // Whoever has the state may have looked for messages already, and a state that a panic
        // left behind is for the control thread to see.
        let Ok(mut guard) = self.shared.state.try_lock() else { return false };
        let Some(state) = guard.as_mut() else { return false };
        let _inside = self.shared.tokio.enter();
        match state.control.turn(&state.inbox, VISIT_MAX) {
            Turn::Idle(due) => {
                state.visited = Some(state.control.clock.now());
                due.is_met_by(state.sleeps_until)
            }
            Turn::Enough => false,
            Turn::Stop => {
                *guard = None;
                false
            }
        }
    }

    fn ring(&self) {
        if let Some(owner) = self.shared.owner.get() {
            owner.unpark();
        }
    }

    /// The control thread: takes messages until [`Message::Stop`].
    ///
    /// # Panics
    /// Where another thread panicked while it took some: what it left behind is not to be trusted.
    pub(crate) fn run(&self, control: Control, inbox: Receiver<Message>, clock: &Clock) {
        let _ = self.shared.owner.set(thread::current());
        *self.shared.state.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(State { control, inbox, sleeps_until: None, visited: None });
        loop {
            let mut guard = match self.shared.state.lock() {
                Ok(guard) => guard,
                Err(poisoned) => {
                    // Whoever sends is told from now on.
                    *poisoned.into_inner() = None;
                    panic!("the control plane's state was left half-way");
                }
            };
            let Some(state) = guard.as_mut() else { return };
            match state.control.turn(&state.inbox, STAY_MAX) {
                Turn::Idle(due) => {
                    // Who came a moment ago may come again, and then need not ring.
                    let again = state.visited.map(|at| at + RECEIPTS_PATIENCE);
                    let again = again.filter(|again| *again > clock.now());
                    let until = due.first().into_iter().chain(again).min();
                    state.sleeps_until = until;
                    drop(guard);
                    match until {
                        Some(at) => thread::park_timeout(at.since(clock.now())),
                        None => thread::park(),
                    }
                }
                Turn::Enough => {}
                Turn::Stop => {
                    *guard = None;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn receipts_have_patience_and_nothing_else_has() {
        let soon = Due { soon: Some(DUE), receipts: None };
        let receipts = Due { soon: None, receipts: Some(DUE) };
        let late = DUE + RECEIPTS_PATIENCE;
        let later = Timestamp(late.0 + 1);
        for (due, latest, too_late) in [
            (soon, DUE, late),
            (receipts, late, later),
            (Due { soon: Some(late), ..receipts }, late, later),
        ] {
            assert!(due.is_met_by(Some(latest)));
            assert!(!due.is_met_by(Some(too_late)));
            assert!(!due.is_met_by(None), "who sleeps for ever is woken");
        }
        assert!(Due::default().is_met_by(None), "nothing is due");
        assert_eq!(Due { soon: Some(late), ..receipts }.first(), Some(DUE));
    }
}
