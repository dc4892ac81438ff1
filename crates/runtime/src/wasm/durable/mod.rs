//! Functions that suspend and go on later, in any process.
//!
//! At deploy ([`prepare`]) a module is checked for what cannot be saved ([`module`], [`code`]), put
//! through the asyncify pass where it waits in the middle of a call ([`asyncify`]), and rewritten so
//! that the host reaches its state ([`rewrite`]). A turn ([`run`]) is an instance as the turn before
//! left it ([`image`]: what differs from the module's beginning, found by [`pages`], and the
//! [`state`] outside of the memory) in which a function is called. What it asks for through the
//! imports ([`imports`]), or by writing where it cannot import ([`channel`]), is kept in its [`turn`].
//!
//! Two ways to wait. *In the middle of a call* (`wait`): the module's functions return one after
//! the other and put their frames into a buffer in the guest's memory; in the next turn the same
//! calls take them out again. *Between calls* (`await`, then return): nothing lies on the stack, and
//! the next turn calls the export `fermata_resume`.

mod asyncify;
mod channel;
mod code;
mod image;
mod imports;
mod module;
mod pages;
mod prepare;
mod rewrite;
mod run;
mod state;
mod turn;

pub(super) use self::channel::{is_ready, read, request};
pub use self::image::parts;
pub(super) use self::imports::link;
pub(super) use self::prepare::{check, has_start, instrument, waits_in_calls};
pub(super) use self::rewrite::{Layout, append_arguments, layout, mark_channel, program_hash};
pub(super) use self::run::{Begun, begin, run};
pub(super) use self::state::Streams;
pub(super) use self::turn::Turn;

/// Called in each turn after the first of a function that waits between calls.
const RESUME: &str = "fermata_resume";
/// Tells where the frames of a waiting function may go: the address, and in the upper half of the
/// 64 bits the length.
const FRAMES: &str = "fermata_frames";
