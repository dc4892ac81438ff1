//! One turn: an instance as the turn before left it, a call, and what is left afterwards.

use bytes::Bytes;
use model::suspend::{Step, Until};
use model::{Failure, FailureKind};
use wasmtime::{Global, Instance, Store, Val};

use super::super::host::{Host, Stop};
use super::super::{artifact, guest};
use super::channel::Channel;
use super::image::{self, BadImage, Image};
use super::pages::{self, PAGE_BYTES};
use super::rewrite::Layout;
use super::state::{Operations, State, Way};
use super::turn::{Stack, Turn};
use super::{FRAMES, RESUME};
use crate::executor::{DurableTurn, Ended};

/// States of a module that went through the asyncify pass.
mod asyncify {
    pub(super) const NORMAL: i32 = 0;
    pub(super) const UNWINDING: i32 = 1;
    pub(super) const REWINDING: i32 = 2;
}

/// What the turn before left, read and checked.
pub(in super::super) struct Begun<'a> {
    turn: Turn,
    image: Option<Image<'a>>,
}

/// Reads the image of the turn before.
///
/// # Errors
/// It is damaged, or of other code.
pub(in super::super) fn begin<'a>(
    start: DurableTurn,
    image: Option<&'a Bytes>,
    code: &[u8; 32],
) -> Result<Begun<'a>, Failure> {
    let Some(image) = image else {
        return Ok(Begun { turn: Turn::new(start, Operations::default()), image: None });
    };
    let mut image = Image::decode(image, code).map_err(|error| bad_image(&error))?;
    let operations = std::mem::take(&mut image.state.operations);
    Ok(Begun { turn: Turn::new(start, operations), image: Some(image) })
}

impl Begun<'_> {
    /// The answer of a function that was done, once its last wishes are safe.
    pub(in super::super) fn is_over(&self) -> Option<Bytes> {
        match self.image.as_ref().map(|image| &image.state.way) {
            Some(Way::Over(answer)) => Some(Bytes::copy_from_slice(answer)),
            Some(Way::Rewind { .. } | Way::Resume) | None => None,
        }
    }
}

/// Runs the turn in a fresh instance.
pub(in super::super) async fn run(
    mut store: Store<Host>,
    instance: Instance,
    layout: &Layout,
    begun: Begun<'_>,
) -> Result<Ended, Failure> {
    let Begun { mut turn, image } = begun;
    let globals = globals(&mut store, instance, layout).inspect_err(|_| leave(&store))?;
    turn.stack = layout.asyncify.map(|places| Stack {
        state: globals[places.state],
        data: globals[places.data],
        buffer: None,
        is_unwinding: false,
    });
    turn.channel = layout.has_channel.then(Channel::default);
    store.data_mut().turn = Some(Box::new(turn));
    store.data_mut().wasi.add_arguments(&layout.arguments);
    let way = match &image {
        Some(image) => {
            restore(&mut store, &globals, image).inspect_err(|_| leave(&store))?;
            Some(image.state.way.clone())
        }
        None => None,
    };
    store.data().job.begins();
    let mut turn = Running { store, instance, layout, globals };
    let called = match way {
        Some(Way::Rewind { buffer, in_resume }) => {
            drop(image);
            turn.rewind(buffer, in_resume).await
        }
        Some(Way::Resume | Way::Over(_)) => {
            drop(image);
            turn.resume().await
        }
        None => turn.first().await,
    };
    match called {
        Ok(in_resume) => turn.ended(in_resume).await,
        Err(error) => turn.stopped(&error),
    }
}

struct Running<'a> {
    store: Store<Host>,
    instance: Instance,
    layout: &'a Layout,
    globals: Vec<Global>,
}

impl Running<'_> {
    async fn call(&mut self, name: &str) -> wasmtime::Result<()> {
        let function = self.instance.get_typed_func::<(), ()>(&mut self.store, name)?;
        function.call_async(&mut self.store, ()).await
    }

    /// The handler from its beginning. Returns whether it was `fermata_resume`.
    async fn first(&mut self) -> wasmtime::Result<bool> {
        if let Some(start) = self.layout.start {
            self.call(start).await?;
        }
        let entry = self.entry();
        let has_initialize =
            self.instance.get_func(&mut self.store, artifact::INITIALIZE).is_some();
        if entry != artifact::ENTRY_DEFAULT && has_initialize {
            self.call(artifact::INITIALIZE).await?;
        }
        self.find_buffer().await?;
        self.call(&entry).await?;
        Ok(false)
    }

    async fn resume(&mut self) -> wasmtime::Result<bool> {
        self.find_buffer().await?;
        self.call(RESUME).await?;
        Ok(true)
    }

    async fn rewind(&mut self, buffer: u32, in_resume: bool) -> wasmtime::Result<bool> {
        let misfit = || Stop::Misuse("its image has a stack, and its module no way for one".into());
        let length = self.head(buffer)?.1.saturating_sub(buffer);
        let turn = self.store.data_mut().turn.as_mut().ok_or_else(misfit)?;
        let stack = turn.stack.as_mut().ok_or_else(misfit)?;
        stack.buffer = Some((buffer, length));
        let stack = *stack;
        stack.data.set(&mut self.store, Val::I32(buffer.cast_signed()))?;
        stack.state.set(&mut self.store, Val::I32(asyncify::REWINDING))?;
        let entry = if in_resume { RESUME.to_owned() } else { self.entry() };
        self.call(&entry).await?;
        Ok(in_resume)
    }

    fn entry(&self) -> String {
        artifact::entry(&self.store.data().job.code.handler).to_owned()
    }

    /// Asks the module where its frames may go.
    async fn find_buffer(&mut self) -> wasmtime::Result<()> {
        let frames = self.instance.get_typed_func::<(), u64>(&mut self.store, FRAMES);
        let Ok(frames) = frames else { return Ok(()) };
        let packed = frames.call_async(&mut self.store, ()).await?;
        let [a, b, c, d, e, f, g, h] = packed.to_le_bytes();
        let (address, length) =
            (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        frames_fit(address, length, self.memory_size()).map_err(Stop::Misuse)?;
        let turn = self.store.data_mut().turn.as_mut();
        if let Some(stack) = turn.and_then(|turn| turn.stack.as_mut()) {
            stack.buffer = Some((address, length));
        }
        Ok(())
    }

    /// It returned: because its stack is in its memory, because it waits, or because it is done.
    async fn ended(mut self, mut in_resume: bool) -> Result<Ended, Failure> {
        loop {
            let Some(turn) = self.store.data_mut().turn.as_mut() else {
                return self.misled(lost());
            };
            let is_unwinding = turn.stack.is_some_and(|stack| stack.is_unwinding);
            match turn.wait.take() {
                Some(until) if is_unwinding => return self.unwound(until, in_resume),
                Some(until) if !self.layout.resumes => {
                    let _ = until;
                    let message = format!("it waits, and its module exports no {RESUME}");
                    return self.misled(Failure::new(FailureKind::Trapped, message));
                }
                Some(until) if is_satisfied(turn, &until) => {
                    if let Err(error) = self.call(RESUME).await {
                        return self.stopped(&error);
                    }
                    in_resume = true;
                }
                Some(until) => {
                    let step = turn.step(until);
                    return self.suspended(step, Way::Resume);
                }
                None => return self.done(),
            }
        }
    }

    /// Its stack is in the buffer, unless the buffer was too small.
    fn unwound(mut self, until: Until, in_resume: bool) -> Result<Ended, Failure> {
        self.leave();
        let Some(turn) = self.store.data_mut().turn.as_mut() else { return Err(lost()) };
        let step = turn.step(until);
        let Some((stack, buffer)) = turn.stack.and_then(|s| s.buffer.map(|buffer| (s, buffer)))
        else {
            return Err(lost());
        };
        if stack.state.get(&mut self.store).i32() != Some(asyncify::UNWINDING) {
            let message = "it went on though it was to wait: a frame of its host lies between";
            return Err(Failure::new(FailureKind::Trapped, message));
        }
        let (address, length) = buffer;
        let (top, end) = self.head(address).map_err(|_| lost())?;
        if top > end {
            let message = format!(
                "its stack does not fit into the {length} bytes that {FRAMES} names: make them more"
            );
            return Err(Failure::new(FailureKind::Trapped, message));
        }
        for (global, value) in [(stack.state, asyncify::NORMAL), (stack.data, 0)] {
            global.set(&mut self.store, Val::I32(value)).map_err(|_| lost())?;
        }
        self.suspended(step, Way::Rewind { buffer: address, in_resume })
    }

    fn suspended(mut self, step: Step, way: Way) -> Result<Ended, Failure> {
        self.leave();
        let host = self.store.data_mut();
        let turn = host.turn.take();
        let mut streams = host.save();
        let channel = turn.as_ref().and_then(|turn| turn.channel.as_ref());
        streams.channel = channel.map(Channel::save).unwrap_or_default();
        let operations = turn.map(|turn| turn.operations).unwrap_or_default();
        let globals: Vec<Global> = self.globals.clone();
        let globals = globals.iter().map(|global| bits(&global.get(&mut self.store))).collect();
        let memory = self.store.data().memory;
        let memory = memory.map(|memory| memory.data(&self.store)).unwrap_or_default();
        let memory_pages = u32::try_from(memory.len() >> 16).unwrap_or(u32::MAX);
        let pages = match way {
            Way::Rewind { .. } | Way::Resume => pages::changed(memory, &self.layout.initial),
            Way::Over(_) => Vec::new(),
        };
        let (bytes, limit) =
            ((pages.len() * PAGE_BYTES) as u64, self.store.data().services.image_bytes_max);
        if bytes > limit {
            let message =
                format!("it suspends with {bytes} bytes of changed memory (limit {limit})");
            return Err(Failure::new(FailureKind::OutOfMemory, message));
        }
        let state = State { way, operations, streams, globals, memory_pages };
        let code = &self.store.data().job.code;
        let image = image::encode(&code.hash, &state, memory, &pages);
        Ok(Ended::Suspended { step, image: image.into() })
    }

    /// It returned and waits for nothing.
    fn done(mut self) -> Result<Ended, Failure> {
        self.leave();
        let wishes = self.store.data_mut().turn.as_mut().and_then(|turn| {
            let until = turn.last_wishes()?;
            Some(turn.step(until))
        });
        match wishes {
            None => Ok(Ended::Answer(self.store.data_mut().wasi.take_output().into())),
            Some(step) => {
                let answer = self.store.data_mut().wasi.take_output();
                self.suspended(step, Way::Over(answer))
            }
        }
    }

    /// An import or a trap ended it.
    fn stopped(self, error: &wasmtime::Error) -> Result<Ended, Failure> {
        self.leave();
        match error.downcast_ref::<Stop>() {
            Some(Stop::Exit(0)) => self.done(),
            Some(Stop::Again(input)) => {
                Ok(Ended::Suspended { step: Step::Again(input.clone()), image: Bytes::new() })
            }
            _ => Err(guest::failure(error, self.store.data())),
        }
    }

    /// It has come to where no module gets by itself.
    fn misled(&self, failure: Failure) -> Result<Ended, Failure> {
        self.leave();
        Err(failure)
    }

    /// Its memory is looked at a last time, and then no longer: it is about to go with the store.
    fn leave(&self) {
        leave(&self.store);
    }

    fn memory_size(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// The two words at the head of the buffer: the end of what is used, and of all.
    fn head(&self, buffer: u32) -> wasmtime::Result<(u32, u32)> {
        let memory = self.store.data().memory;
        let memory = memory.map(|memory| memory.data(&self.store)).unwrap_or_default();
        let head = memory.get(buffer as usize..).and_then(|head| head.first_chunk::<8>());
        let head = head.ok_or_else(|| Stop::Misuse("its frames lie outside its memory".into()))?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Ok((word(0), word(4)))
    }
}

/// Whether frames may go there.
///
/// # Errors
/// What is wrong.
pub(super) fn frames_fit(address: u32, length: u32, memory_bytes: usize) -> Result<(), String> {
    const LENGTH_MIN: u32 = 256;
    let fits = u64::from(address) + u64::from(length) <= memory_bytes as u64;
    if fits && length >= LENGTH_MIN && address.is_multiple_of(4) {
        return Ok(());
    }
    Err(format!(
        "{FRAMES} names {length} bytes at {address}; they have to lie in the memory of \
         {memory_bytes} bytes, begin at a multiple of 4 and be at least {LENGTH_MIN}"
    ))
}

/// See [`Running::leave`].
fn leave(store: &Store<Host>) {
    let host = store.data();
    host.services.gauge.last_look(&host.job);
    host.job.set_region(None);
}

/// Looks without taking: `next` is to name it again.
fn is_satisfied(turn: &mut Turn, until: &Until) -> bool {
    match until {
        Until::Next => !turn.operations.unseen.is_empty(),
        Until::Any(_) | Until::All(_) => turn.is_over(until).is_some(),
    }
}

fn globals(
    store: &mut Store<Host>,
    instance: Instance,
    layout: &Layout,
) -> Result<Vec<Global>, Failure> {
    let globals = layout.globals.iter().map(|name| instance.get_global(&mut *store, name));
    globals.collect::<Option<_>>().ok_or_else(lost)
}

/// Memory, globals, streams as they were.
fn restore(store: &mut Store<Host>, globals: &[Global], image: &Image<'_>) -> Result<(), Failure> {
    let misfit = |what: &str| {
        Failure::new(FailureKind::Platform, format!("the image does not fit the code: {what}"))
    };
    let state = &image.state;
    if let Some(memory) = store.data().memory {
        let missing = u64::from(state.memory_pages).saturating_sub(memory.size(&*store));
        if missing > 0 {
            let grown = memory.grow(&mut *store, missing);
            grown.map_err(|error| {
                let message = format!("its memory cannot grow to what it was: {error:#}");
                Failure::new(FailureKind::OutOfMemory, message)
            })?;
        }
        image.fill(memory.data_mut(&mut *store)).map_err(|error| bad_image(&error))?;
    }
    if state.globals.len() != globals.len() {
        return Err(misfit("it has another number of globals"));
    }
    for (global, (type_byte, bits)) in globals.iter().zip(&state.globals) {
        let value = value(*type_byte, *bits).ok_or_else(|| misfit("a global's type"))?;
        global.set(&mut *store, value).map_err(|_| misfit("a global has another type"))?;
    }
    let host = store.data_mut();
    host.restore(&state.streams);
    if let Some(channel) = host.turn.as_mut().and_then(|turn| turn.channel.as_mut()) {
        *channel = Channel::restore(&state.streams.channel);
    }
    Ok(())
}

fn bits(value: &Val) -> (u8, u128) {
    match value {
        Val::I32(value) => (0x7f, u128::from(value.cast_unsigned())),
        Val::I64(value) => (0x7e, u128::from(value.cast_unsigned())),
        Val::F32(bits) => (0x7d, u128::from(*bits)),
        Val::F64(bits) => (0x7c, u128::from(*bits)),
        Val::V128(bits) => (0x7b, bits.as_u128()),
        // The deploy refuses modules with such globals.
        _ => (0, 0),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the upper bits are zero for shorter types")]
fn value(type_byte: u8, bits: u128) -> Option<Val> {
    Some(match type_byte {
        0x7f => Val::I32((bits as u32).cast_signed()),
        0x7e => Val::I64((bits as u64).cast_signed()),
        0x7d => Val::F32(bits as u32),
        0x7c => Val::F64(bits as u64),
        0x7b => Val::V128(bits.into()),
        _ => return None,
    })
}

fn bad_image(error: &BadImage) -> Failure {
    Failure::new(FailureKind::Platform, format!("the suspended function cannot go on: {error}"))
}

fn lost() -> Failure {
    Failure::new(FailureKind::Platform, "the function's turn was lost")
}
