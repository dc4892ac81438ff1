//! What of a suspended function lies outside of its memory, as bytes of format version 1.

use std::collections::{BTreeMap, VecDeque};

use model::suspend::{OpId, Resolution};
use model::{Failure, FailureKind};

use super::image::BadImage;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) way: Way,
    pub(super) operations: Operations,
    pub(super) streams: Streams,
    /// In the order of the layout: the byte of the type, and the bits.
    pub(super) globals: Vec<(u8, u128)>,
    pub(super) memory_pages: u32,
}

/// How it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The stack lies in its memory, in the buffer at this address, and is put back by calling what
    /// was called then.
    Rewind {
        /// Address of the buffer's head.
        buffer: u32,
        /// Whether `fermata_resume` was called, not the handler.
        in_resume: bool,
    },
    /// It returned; `fermata_resume` is called.
    Resume,
    /// It is done with this answer. What it asked for last had to be safe first.
    Over(Vec<u8>),
}

/// What it asked for, and what came of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Operations {
    /// The highest number given away.
    pub(super) last: u64,
    /// Asked for and not ended.
    pub(super) open: Vec<OpId>,
    /// Ended, and the outcome not taken.
    pub(super) ended: BTreeMap<OpId, Resolution>,
    /// Those of `ended` in the order of their end.
    pub(super) order: VecDeque<OpId>,
    /// Those of `order` that `next` has not named yet.
    pub(super) unseen: VecDeque<OpId>,
}

/// Where its streams and clocks stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Streams {
    /// Bytes read of the payload.
    pub(in super::super) input_read: u64,
    /// What it answered so far.
    pub(in super::super) output: Vec<u8>,
    pub(in super::super) is_open: [bool; 3],
    /// What it has not read of the last outcome.
    pub(in super::super) reply: Vec<u8>,
    /// What it has not read of the channel's last answer.
    pub(in super::super) channel: Vec<u8>,
    /// Its monotonic clock, real time and CPU time when it stopped, in nanoseconds.
    pub(in super::super) monotonic: u64,
    pub(in super::super) real: u64,
    pub(in super::super) cpu: u64,
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Writer(Vec::new());
        match &self.way {
            Way::Rewind { buffer, in_resume } => {
                to.byte(0);
                to.u32(*buffer);
                to.byte(u8::from(*in_resume));
            }
            Way::Resume => to.byte(1),
            Way::Over(answer) => {
                to.byte(2);
                to.bytes(answer);
            }
        }
        self.operations.encode(&mut to);
        let streams = &self.streams;
        to.u64(streams.input_read);
        to.bytes(&streams.output);
        streams.is_open.iter().for_each(|is_open| to.byte(u8::from(*is_open)));
        to.bytes(&streams.reply);
        to.bytes(&streams.channel);
        to.u64(streams.monotonic);
        to.u64(streams.real);
        to.u64(streams.cpu);
        to.count(self.globals.len());
        for (type_byte, bits) in &self.globals {
            to.byte(*type_byte);
            to.0.extend_from_slice(&bits.to_le_bytes());
        }
        to.u32(self.memory_pages);
        to.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadImage> {
        let mut from = Reader(bytes);
        let way = match from.byte()? {
            0 => Way::Rewind { buffer: from.u32()?, in_resume: from.flag()? },
            1 => Way::Resume,
            2 => Way::Over(from.bytes()?),
            _ => return Err(BadImage::Damaged("it goes on in no known way")),
        };
        let operations = Operations::decode(&mut from)?;
        let streams = Streams {
            input_read: from.u64()?,
            output: from.bytes()?,
            is_open: [from.flag()?, from.flag()?, from.flag()?],
            reply: from.bytes()?,
            channel: from.bytes()?,
            monotonic: from.u64()?,
            real: from.u64()?,
            cpu: from.u64()?,
        };
        let globals = from.list(|from| {
            let type_byte = from.byte()?;
            Ok((type_byte, u128::from_le_bytes(from.array()?)))
        })?;
        let memory_pages = from.u32()?;
        match from.0 {
            [] => Ok(Self { way, operations, streams, globals, memory_pages }),
            _ => Err(BadImage::Damaged("its state has bytes behind its end")),
        }
    }
}

impl Operations {
    fn encode(&self, to: &mut Writer) {
        to.u64(self.last);
        to.ids(self.open.iter());
        to.count(self.order.len());
        for id in &self.order {
            to.u64(id.0);
            match &self.ended[id] {
                Resolution::Ok(answer) => {
                    to.byte(0);
                    to.bytes(answer);
                }
                Resolution::Failed(failure) => {
                    to.byte(1);
                    to.bytes(failure.kind.code().as_bytes());
                    to.bytes(failure.message.as_bytes());
                    to.byte(u8::from(failure.detail.is_some()));
                    to.bytes(failure.detail.as_deref().unwrap_or_default());
                }
                Resolution::Refused { code, message } => {
                    to.byte(2);
                    to.bytes(code.as_bytes());
                    to.bytes(message.as_bytes());
                }
            }
        }
        to.ids(self.unseen.iter());
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, BadImage> {
        let mut operations = Self { last: from.u64()?, open: from.ids()?, ..Self::default() };
        let ended = from.list(|from| {
            let id = OpId(from.u64()?);
            let resolution = match from.byte()? {
                0 => Resolution::Ok(from.bytes()?),
                1 => Resolution::Failed(from.failure()?),
                2 => Resolution::Refused { code: from.text()?, message: from.text()? },
                _ => return Err(BadImage::Damaged("an operation ended in no known way")),
            };
            Ok((id, resolution))
        })?;
        operations.order = ended.iter().map(|(id, _)| *id).collect();
        operations.ended = ended.into_iter().collect();
        operations.unseen = from.ids()?.into();
        Ok(operations)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.u64(count as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn ids<'a>(&mut self, ids: impl ExactSizeIterator<Item = &'a OpId>) {
        self.count(ids.len());
        ids.for_each(|id| self.u64(id.0));
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    const CUT: BadImage = BadImage::Damaged("its state ends in the middle");

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadImage> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Self::CUT)?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, BadImage> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Result<bool, BadImage> {
        self.byte().map(|byte| byte != 0)
    }

    fn u32(&mut self) -> Result<u32, BadImage> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadImage> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, BadImage> {
        let length = usize::try_from(self.u64()?).map_err(|_| Self::CUT)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Self::CUT)?;
        self.0 = rest;
        Ok(bytes.to_vec())
    }

    fn text(&mut self) -> Result<String, BadImage> {
        String::from_utf8(self.bytes()?).map_err(|_| BadImage::Damaged("a text is not UTF-8"))
    }

    fn failure(&mut self) -> Result<Failure, BadImage> {
        let kind = FailureKind::from_code(&self.text()?);
        let kind = kind.ok_or(BadImage::Damaged("a failure is of no known kind"))?;
        let message = self.text()?;
        let has_detail = self.flag()?;
        let detail = self.bytes()?;
        Ok(Failure { kind, message, detail: has_detail.then_some(detail) })
    }

    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, BadImage>,
    ) -> Result<Vec<T>, BadImage> {
        let count = self.u64()?;
        // Each item has at least one byte, so a false count runs out of bytes, not of memory.
        (0..count).map(|_| item(self)).collect()
    }

    fn ids(&mut self) -> Result<Vec<OpId>, BadImage> {
        self.list(|from| from.u64().map(OpId))
    }
}
