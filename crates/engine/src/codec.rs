//! The encoding of what is kept: positional, compact, with a version in front of each whole.
//!
//! Numbers are LEB128, lengths come before content, variants have a number that never changes.
//! Hand-written rather than derived, because `model` knows no encoding and a field that moves must
//! be a visible change here; 200 lines replace a dependency. Decoding takes any bytes: what does not
//! fit is an error, lengths are checked against what is left before anything is allocated.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use model::suspend::OpId;
use model::{
    Amount, ByteSeconds, ClassId, CpuTime, ExecutionId, FunctionName, InvocationId, TenantName,
    Timestamp, Version,
};

use crate::input::SignalId;

/// Bytes that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Written by a newer version of this program.
    Newer {
        /// Its format.
        format: u8,
    },
    /// Damaged, or something else altogether.
    Malformed {
        /// Bytes read before.
        at: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { format } => write!(f, "written in the newer format {format}"),
            Self::Malformed { at } => write!(f, "malformed after byte {at}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Something that is kept.
pub(crate) trait Code: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Puts the format's number and the value.
pub(crate) fn encode(format: u8, value: &impl Code) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(format);
    value.put(&mut out);
    out
}

/// Takes a value of formats up to `format`; nothing may follow it.
pub(crate) fn decode<T: Code>(format: u8, bytes: &[u8]) -> Result<T, DecodeError> {
    let mut from = Reader { bytes, at: 0, format: 0 };
    let found = from.byte()?;
    from.format = found;
    if found > format {
        return Err(DecodeError::Newer { format: found });
    }
    if found == 0 {
        return Err(DecodeError::Malformed { at: 0 });
    }
    let value = T::take(&mut from)?;
    if from.at == bytes.len() { Ok(value) } else { Err(from.malformed()) }
}

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    format: u8,
}

impl<'a> Reader<'a> {
    /// The format of the whole.
    pub(crate) const fn format(&self) -> u8 {
        self.format
    }

    pub(crate) const fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { at: self.at }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.malformed())?;
        self.at += 1;
        Ok(byte)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).ok_or_else(|| self.malformed())?;
        let slice = self.bytes.get(self.at..end).ok_or_else(|| self.malformed())?;
        self.at = end;
        Ok(slice)
    }

    /// A number of items, of which each takes at least one byte.
    fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(u64::take(self)?).map_err(|_| self.malformed())?;
        if count > self.bytes.len() - self.at { Err(self.malformed()) } else { Ok(count) }
    }
}

impl Code for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        loop {
            let low = u8::try_from(rest & 0x7f).expect("seven bits fit");
            rest >>= 7;
            if rest == 0 {
                return out.push(low);
            }
            out.push(low | 0x80);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut value = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = from.byte()?;
            let bits = Self::from(byte & 0x7f);
            // The nineteenth byte has room for two bits.
            if (bits << shift) >> shift != bits {
                return Err(from.malformed());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(from.malformed())
    }
}

macro_rules! code_number {
    ($($number:ty),*) => {$(
        impl Code for $number {
            fn put(&self, out: &mut Vec<u8>) {
                u128::from(*self).put(out);
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::try_from(u128::take(from)?).map_err(|_| from.malformed())
            }
        }
    )*};
}

code_number!(u32, u64);

/// Ids are random: fixed width is shorter.
macro_rules! code_id {
    ($($id:ident),*) => {$(
        impl Code for $id {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0.to_be_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                <[u8; 16]>::take(from).map(|bytes| Self(u128::from_be_bytes(bytes)))
            }
        }
    )*};
}

code_id!(ExecutionId, InvocationId);

macro_rules! code_newtype {
    ($($outer:ident($inner:ty)),* $(,)?) => {$(
        impl Code for $outer {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                <$inner>::take(from).map(Self)
            }
        }
    )*};
}

code_newtype!(
    OpId(u64),
    SignalId(u64),
    Timestamp(u64),
    Version(u32),
    Amount(u64),
    CpuTime(u64),
    ByteSeconds(u64),
);

impl Code for ClassId {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.byte().map(Self)
    }
}

impl Code for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.malformed()),
        }
    }
}

impl Code for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_nanos().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let nanos = u128::take(from)?;
        let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| from.malformed())?;
        let rest = u32::try_from(nanos % 1_000_000_000).expect("below a second");
        Ok(Self::new(seconds, rest))
    }
}

impl<const N: usize> Code for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(from.slice(N)?.try_into().expect("as long as asked"))
    }
}

impl Code for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = from.count()?;
        from.slice(len).map(<[u8]>::to_vec)
    }
}

impl Code for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_utf8(Vec::take(from)?).map_err(|_| from.malformed())
    }
}

macro_rules! code_name {
    ($($name:ident),*) => {$(
        impl Code for $name {
            fn put(&self, out: &mut Vec<u8>) {
                (self.as_str().len() as u64).put(out);
                out.extend_from_slice(self.as_str().as_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                String::take(from)?.parse().map_err(|_| from.malformed())
            }
        }
    )*};
}

code_name!(TenantName, FunctionName);

impl<T: Code> Code for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::take(from)? { T::take(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Code> Code for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.count()?;
        (0..count).map(|_| T::take(from)).collect()
    }
}

impl<T: Code> Code for VecDeque<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::take(from).map(Into::into)
    }
}

impl<K: Code + Ord, V: Code> Code for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.count()?;
        let mut map = Self::new();
        for _ in 0..count {
            let key = K::take(from)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(from.malformed());
            }
            map.insert(key, V::take(from)?);
        }
        Ok(map)
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<A: Code, B: Code> Code for Result<A, B> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::take(from)? { Ok(Ok(A::take(from)?)) } else { Ok(Err(B::take(from)?)) }
    }
}

/// Fields in the order given; those that a later format added have their default in earlier ones.
macro_rules! code_struct {
    ($name:ty { $($field:ident),* $(,)? } $(since $format:literal { $($added:ident),* $(,)? })*) => {
        impl $crate::codec::Code for $name {
            fn put(&self, out: &mut alloc::vec::Vec<u8>) {
                $($crate::codec::Code::put(&self.$field, out);)*
                $($($crate::codec::Code::put(&self.$added, out);)*)*
            }

            fn take(
                from: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                $(let $field = $crate::codec::Code::take(from)?;)*
                $($(let $added = if from.format() >= $format {
                    $crate::codec::Code::take(from)?
                } else {
                    Default::default()
                };)*)*
                Ok(Self { $($field,)* $($($added,)*)* })
            }
        }
    };
}
pub(crate) use code_struct;

/// The variant's number, then its fields in the order given; those that a later format added have
/// their default in earlier ones.
macro_rules! code_enum {
    ($name:ty {
        $($number:literal => $variant:ident $(($($place:ident),*))?
            $({$($field:ident),* $(; since $format:literal: $($added:ident),*)?})?),*
        $(,)?
    }) => {
        impl $crate::codec::Code for $name {
            fn put(&self, out: &mut alloc::vec::Vec<u8>) {
                match self {
                    $(Self::$variant
                        $(($($place),*))? $({$($field,)* $($($added,)*)?})? => {
                        out.push($number);
                        $($($crate::codec::Code::put($place, out);)*)?
                        $($($crate::codec::Code::put($field, out);)*
                            $($($crate::codec::Code::put($added, out);)*)?)?
                    })*
                }
            }

            fn take(
                from: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Ok(match from.byte()? {
                    $($number => {
                        $($(let $place = $crate::codec::Code::take(from)?;)*)?
                        $($(let $field = $crate::codec::Code::take(from)?;)*
                            $($(let $added = if from.format() >= $format {
                                $crate::codec::Code::take(from)?
                            } else {
                                Default::default()
                            };)*)?)?
                        Self::$variant $(($($place),*))? $({$($field,)* $($($added,)*)?})?
                    })*
                    _ => return Err(from.malformed()),
                })
            }
        }
    };
}
pub(crate) use code_enum;
