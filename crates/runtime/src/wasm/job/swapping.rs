//! A resting job's memory on its way out of RAM and back.
//!
//! Only the swap threads move memory, and only while no worker has the job and none can get it: a
//! job whose memory is not in RAM is given to a worker by them alone, when it is back. The one
//! exception is a job that is to end while its memory is out: dropping an instance does not touch
//! its memory.

use std::sync::Arc;
use std::time::Instant;

use model::{Bytes64, Failure, FailureKind};

use super::{Action, Body, Control, Job, State, unpoisoned};
use crate::executor::Event;
use crate::swap::{Image, Pagemap, Region, Sent, Swap, SwapError};
use crate::wasm::gauge;

/// Where a job's memory is.
#[derive(Debug, Default)]
pub(super) enum Whereabouts {
    /// In RAM.
    #[default]
    In,
    /// A swap thread moves it out. Whether it is wanted back already.
    Leaving { back: bool },
    /// In swap.
    Out(Image),
    /// A swap thread brings it back.
    Returning,
}

impl Control {
    /// Whether a worker may have the job.
    pub(super) const fn is_in(&self) -> bool {
        matches!(self.memory, Whereabouts::In)
    }

    /// The job has a core: to a worker with it, once its memory is there.
    pub(super) const fn go_on(&mut self) -> Action {
        match &mut self.memory {
            Whereabouts::In => Action::Dispatch,
            Whereabouts::Out(_) => Action::Fetch,
            Whereabouts::Leaving { back } => {
                *back = true;
                Action::None
            }
            Whereabouts::Returning => Action::None,
        }
    }

    /// The job is to end: to a worker with it, unless a swap thread is at its memory. That will see
    /// the state when it is done.
    pub(super) const fn go_end(&mut self) -> Action {
        match &mut self.memory {
            Whereabouts::In | Whereabouts::Out(_) => Action::Dispatch,
            Whereabouts::Leaving { back } => {
                *back = true;
                Action::None
            }
            Whereabouts::Returning => Action::None,
        }
    }

    /// What is due after a swap thread is done.
    fn after_move(&mut self, is_wanted: bool) -> Action {
        match self.state {
            State::Ending => Action::Dispatch,
            State::Running => self.go_on(),
            State::Parked | State::Blocked | State::Ready if is_wanted => match self.memory {
                Whereabouts::Out(_) => Action::Fetch,
                Whereabouts::In | Whereabouts::Leaving { .. } | Whereabouts::Returning => {
                    Action::None
                }
            },
            State::Parked | State::Blocked | State::Ready => Action::None,
            State::Preempting | State::Ended => Action::None,
        }
    }
}

impl Job {
    /// Notes where its memory is, or that it is gone.
    pub(in crate::wasm) fn set_region(&self, region: Option<Region>) {
        if let Some(region) = region {
            self.count_pages_of(&region, 0..region.length());
        }
        *unpoisoned(&self.region) = region;
    }

    /// It is about to be this long.
    pub(in crate::wasm) fn grow_region(&self, length: usize) {
        let mut region = unpoisoned(&self.region);
        if let Some(region) = &mut *region {
            let before = region.length();
            *region = crate::wasm::memory::grown(*region, length);
            self.count_pages_of(region, before..region.length());
        }
    }

    /// Looks at its memory.
    pub(in crate::wasm) fn measure(&self, pagemap: &Pagemap) {
        if let Some(region) = *unpoisoned(&self.region) {
            self.metered(|meter| {
                gauge::measure(&region, pagemap, meter, || self.clock.now());
            });
        }
    }

    /// Its memory is not on its bill any more.
    pub(in crate::wasm) fn close_bill(&self) {
        unpoisoned(&self.memory).close(self.clock.now());
    }

    /// What it has in swap.
    pub(in crate::wasm) fn swapped_now(&self) -> Bytes64 {
        match &self.lock().memory {
            Whereabouts::Out(image) => Bytes64(image.bytes()),
            Whereabouts::In | Whereabouts::Leaving { .. } | Whereabouts::Returning => Bytes64(0),
        }
    }

    /// Whether its memory could be moved at all.
    pub(in crate::wasm) fn has_region(&self) -> bool {
        unpoisoned(&self.region).is_some()
    }

    /// For whoever wants it out: whether a swap thread has to see to it.
    pub(in crate::wasm) fn begin_leaving(&self) -> bool {
        let mut control = self.lock();
        let rests = matches!(control.state, State::Parked | State::Blocked | State::Ready);
        let leaves = rests && control.is_in() && matches!(control.body, Body::Fiber(_));
        if leaves {
            control.memory = Whereabouts::Leaving { back: false };
        }
        leaves
    }

    /// For whoever wants it back.
    pub(in crate::wasm) fn want_back(&self) -> Action {
        let mut control = self.lock();
        if matches!(control.state, State::Ending | State::Ended) {
            return Action::None;
        }
        match &mut control.memory {
            Whereabouts::Out(_) => Action::Fetch,
            Whereabouts::Leaving { back } => {
                *back = true;
                Action::None
            }
            Whereabouts::In | Whereabouts::Returning => Action::None,
        }
    }

    /// It cannot be moved: said so.
    pub(in crate::wasm) fn refuse_to_leave(&self, why: &str) {
        self.change(|control, _| {
            if control.state != State::Ended {
                let why = why.to_owned();
                control.outbox.push_back(Event::SwapFailed { id: self.id, why });
            }
        });
    }

    /// For the swap thread, after `begin_leaving`: moves the memory out.
    pub(in crate::wasm) fn move_out(&self, swap: &Arc<Swap>) -> Action {
        let region = *unpoisoned(&self.region);
        let Some(region) = region else {
            return self.stays("its memory is not known".to_owned(), Ok(()));
        };
        let begun = Instant::now();
        let held = region.touched(swap.pagemap()).unwrap_or_default() as u64;
        self.jump(held);
        let mut image = Image::new(swap);
        let sent = swap.send(&region, &mut image, &|freed| {
            self.jump(held.saturating_sub(freed));
            !matches!(self.lock().memory, Whereabouts::Leaving { back: true })
        });
        match sent {
            Ok(Sent::All) => self.is_out(image, begun),
            Ok(Sent::Stopped) => {
                let restored = self.restore(image, &region);
                self.stays("it was wanted back".to_owned(), restored)
            }
            Err(error) => {
                let why = explain(&error);
                let restored = self.restore(image, &region);
                self.stays(why, restored)
            }
        }
    }

    fn is_out(&self, image: Image, begun: Instant) -> Action {
        self.change(|control, _| {
            let is_wanted = matches!(control.memory, Whereabouts::Leaving { back: true });
            let (id, bytes, took) = (self.id, Bytes64(image.bytes()), begun.elapsed());
            control.memory = Whereabouts::Out(image);
            if control.state != State::Ending {
                control.outbox.push_back(Event::SwappedOut { id, bytes, took });
            }
            control.after_move(is_wanted)
        })
    }

    fn stays(&self, why: String, restored: Result<(), SwapError>) -> Action {
        self.change(|control, _| {
            control.memory = Whereabouts::In;
            match restored {
                Ok(()) => {
                    if control.state != State::Ending {
                        control.outbox.push_back(Event::SwapFailed { id: self.id, why });
                    }
                }
                Err(error) => control.lose(&error),
            }
            control.after_move(false)
        })
    }

    /// For the swap thread, after `want_back` or `resume`: brings the memory back.
    pub(in crate::wasm) fn move_in(&self) -> Action {
        let image = {
            let mut control = self.lock();
            if matches!(control.state, State::Ending | State::Ended) {
                return Action::None;
            }
            match std::mem::take(&mut control.memory) {
                Whereabouts::Out(image) => {
                    control.memory = Whereabouts::Returning;
                    image
                }
                other => {
                    control.memory = other;
                    return Action::None;
                }
            }
        };
        let begun = Instant::now();
        let (bytes, region) = (image.bytes(), *unpoisoned(&self.region));
        let region = region.expect("it had one when its memory left, and rested since");
        let restored = self.restore(image, &region);
        self.change(|control, _| {
            control.memory = Whereabouts::In;
            match restored {
                Ok(()) => {
                    if control.state != State::Ending {
                        let (id, bytes, took) = (self.id, Bytes64(bytes), begun.elapsed());
                        control.outbox.push_back(Event::SwappedIn { id, bytes, took });
                    }
                }
                Err(error) => control.lose(&error),
            }
            control.after_move(false)
        })
    }

    fn restore(&self, image: Image, region: &Region) -> Result<(), SwapError> {
        let before = unpoisoned(&self.memory).bytes().0;
        // Others may not have its room meanwhile.
        let mut promised = self.promise(image.bytes());
        image.restore(region, &mut |restored| {
            self.jump(before + restored);
            promised.keep(restored);
        })
    }

    fn jump(&self, bytes: u64) {
        let now = self.clock.now();
        self.metered(|meter| meter.jump(bytes, now));
    }
}

impl Control {
    /// The memory is not what it was: the function must not go on.
    fn lose(&mut self, error: &SwapError) {
        if !matches!(self.state, State::Ending | State::Ended) {
            self.state = State::Ending;
            let message = format!("the function was ended: {}", explain(error));
            self.failure = Some(Failure::new(FailureKind::Platform, message));
        }
    }
}

/// An error with its cause.
fn explain(error: &SwapError) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
