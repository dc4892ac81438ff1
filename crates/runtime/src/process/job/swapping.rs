//! A resting invocation's memory on its way to the system's swap and back.
//!
//! The kernel moves pages whoever runs; a process that touches one that is out waits until it is
//! back. So nothing here is needed for a function to go on: what is moved is moved early, so that
//! others have the room, and brought back early, so that the function does not wait page by page.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use model::Bytes64;

use super::{Core, Inner, Job};
use crate::executor::Event;
use crate::process::pager::MOVED_PART;
use crate::process::paging;

/// Where an invocation's memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// In RAM.
    #[default]
    Ram,
    /// On its way out. Whether it is wanted back already.
    Leaving { back: bool },
    /// So much of it is in swap.
    Out { bytes: u64 },
    /// On its way back.
    Returning { bytes: u64 },
}

impl Inner {
    const fn rests(&self) -> bool {
        matches!(self.core, Core::Stopped | Core::Blocked | Core::Unblocked)
    }
}

impl Job {
    /// See [`crate::Executor::swap_out`].
    pub(in crate::process) fn swap_out(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.is_finished {
            return;
        }
        let has_group = inner.sandbox.as_ref().is_some_and(|sandbox| sandbox.group().is_some());
        let why = match inner.whereabouts {
            Whereabouts::Ram if !inner.rests() => "it is in use",
            Whereabouts::Ram if !has_group => "its sandbox is not there yet",
            Whereabouts::Ram if paging::system_swap().is_none() => "the system has no swap",
            Whereabouts::Ram => {
                inner.whereabouts = Whereabouts::Leaving { back: false };
                self.shared.pager.send(self);
                return;
            }
            Whereabouts::Leaving { .. } | Whereabouts::Out { .. } => return,
            Whereabouts::Returning { .. } => "it is on its way back",
        };
        self.emit(Event::SwapFailed { id: self.id(), why: why.to_owned() });
    }

    /// See [`crate::Executor::swap_in`].
    pub(in crate::process) fn swap_in(self: &Arc<Self>) {
        let mut inner = self.lock();
        match inner.whereabouts {
            Whereabouts::Out { bytes } if !inner.is_finished => {
                inner.whereabouts = Whereabouts::Returning { bytes };
                self.shared.pager.fetch(self);
            }
            Whereabouts::Leaving { .. } => inner.whereabouts = Whereabouts::Leaving { back: true },
            Whereabouts::Out { .. } | Whereabouts::Ram | Whereabouts::Returning { .. } => {}
        }
    }

    /// It has a core again and touches what it needs. For `resume`, locked.
    pub(super) fn goes_on_touching(&self, inner: &mut Inner) {
        match inner.whereabouts {
            Whereabouts::Out { bytes } => {
                inner.whereabouts = Whereabouts::Ram;
                self.shared.pager.count_in(bytes);
                let bytes = Bytes64(bytes);
                self.emit(Event::SwappedIn { id: self.id(), bytes, took: Default::default() });
            }
            Whereabouts::Leaving { .. } => inner.whereabouts = Whereabouts::Leaving { back: true },
            Whereabouts::Ram | Whereabouts::Returning { .. } => {}
        }
    }

    /// What it has in swap.
    pub(in crate::process) fn swapped(&self) -> Bytes64 {
        match self.lock().whereabouts {
            Whereabouts::Out { bytes } => Bytes64(bytes),
            Whereabouts::Ram | Whereabouts::Leaving { .. } | Whereabouts::Returning { .. } => {
                Bytes64(0)
            }
        }
    }

    /// For the pager's thread, after `swap_out`.
    pub(in crate::process) fn move_out(self: &Arc<Self>) {
        let Some(sandbox) = self.lock().sandbox.clone() else { return };
        let Some(group) = sandbox.group() else { return };
        let (begun, before) = (Instant::now(), group.memory_bytes());
        let mut last = before;
        let moved = group.pages().send(&|| group.memory_bytes(), &mut |held| {
            self.shared.pager.count_out(last.saturating_sub(held));
            last = held;
            let mut inner = self.lock();
            inner.memory.jump(held, self.shared.clock.now());
            let goes_on =
                !inner.is_finished && inner.whereabouts == Whereabouts::Leaving { back: false };
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let freed = before.saturating_sub(last);
        let mut inner = self.lock();
        let is_wanted = inner.whereabouts == Whereabouts::Leaving { back: true };
        if inner.is_finished || is_wanted {
            inner.whereabouts = Whereabouts::Ram;
        }
        let why = match moved {
            _ if inner.is_finished => None,
            _ if is_wanted => Some("it was wanted back".to_owned()),
            Err(error) => Some(format!("its memory could not be moved: {error}")),
            Ok(()) if freed < before / MOVED_PART => {
                Some(format!("the system's swap took {freed} of its {before} bytes"))
            }
            Ok(()) => {
                inner.whereabouts = Whereabouts::Out { bytes: freed };
                let (bytes, took) = (Bytes64(freed), begun.elapsed());
                return self.emit(Event::SwappedOut { id: self.id(), bytes, took });
            }
        };
        // What is out of it comes back as it is touched.
        self.shared.pager.count_gone(freed);
        if let Some(why) = why {
            inner.whereabouts = Whereabouts::Ram;
            self.emit(Event::SwapFailed { id: self.id(), why });
        }
    }

    /// For the pager's thread, after `swap_in`.
    pub(in crate::process) fn move_in(self: &Arc<Self>) {
        let (sandbox, bytes) = {
            let inner = self.lock();
            let Whereabouts::Returning { bytes } = inner.whereabouts else { return };
            (inner.sandbox.clone(), bytes)
        };
        let begun = Instant::now();
        if let Some(group) = sandbox.as_ref().and_then(|sandbox| sandbox.group()) {
            let (begun_with, mut last) = (group.memory_bytes(), group.memory_bytes());
            group.pages().fetch(&mut || {
                let held = group.memory_bytes();
                self.shared.pager.pay_back(held.saturating_sub(last));
                last = held;
                let mut inner = self.lock();
                inner.memory.jump(held, self.shared.clock.now());
                if inner.is_finished { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            tracing::debug!(id = %self.id(), begun_with, last, bytes, "brought a sandbox back");
        }
        let mut inner = self.lock();
        if inner.is_finished {
            return;
        }
        inner.whereabouts = Whereabouts::Ram;
        self.shared.pager.count_in(bytes);
        let (bytes, took) = (Bytes64(bytes), begun.elapsed());
        self.emit(Event::SwappedIn { id: self.id(), bytes, took });
    }

    /// Its memory is gone. For `finish`, locked.
    pub(super) fn leaves_swap(&self, inner: &mut Inner) {
        if let Whereabouts::Out { bytes } | Whereabouts::Returning { bytes } = inner.whereabouts {
            self.shared.pager.count_gone(bytes);
        }
        inner.whereabouts = Whereabouts::Ram;
    }
}
