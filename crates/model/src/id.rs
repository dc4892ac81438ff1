//! Identifiers. Each prints with its prefix and parses back.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::limits;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// One call of a function: `inv_` and 26 characters. Ids made later sort later.
///
/// The upper 48 bits are milliseconds since the epoch, the rest is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId(pub u128);

impl InvocationId {
    /// An id from its time and 80 random bits (the upper bits of `random` are dropped).
    #[must_use]
    pub const fn from_parts(millis: u64, random: u128) -> Self {
        Self(((millis as u128) << 80) | (random & ((1 << 80) - 1)))
    }
}

/// An execution: a durable instance of an orchestrating function. Sorts by time of birth, like an
/// invocation's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub u128);

impl ExecutionId {
    /// An id of that time.
    #[must_use]
    pub const fn from_parts(millis: u64, random: u128) -> Self {
        Self(InvocationId::from_parts(millis, random).0)
    }

    /// The partition it belongs to, for its whole life: below [`limits::PARTITIONS`].
    #[must_use]
    pub fn partition(self) -> u32 {
        let partition = self.0 % u128::from(limits::PARTITIONS);
        u32::try_from(partition).expect("the remainder is below a 32-bit number")
    }
}

/// An API key, without its secret: `key_` and 26 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u128);

/// A global scheduler shard: `shard-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// A machine: `machine-0`. Numbered from 0 without large gaps: the number is an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub u32);

/// Who pays. 1 to 64 of `a-z`, `0-9`, `-`, `_`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(String);

/// A text that is not an id of the wanted sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdError {
    /// What was wanted, for a person: "an invocation id (inv_…)".
    pub wanted: &'static str,
}

impl TenantName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed =
            |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        let first = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if first && text.len() <= limits::NAME_BYTES_MAX && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(IdError { wanted: "a tenant name (1 to 64 of a-z, 0-9, - and _)" })
        }
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard-{}", self.0)
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "machine-{}", self.0)
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_base32("inv_", self.0, f)
    }
}

impl FromStr for InvocationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wanted = IdError { wanted: "an invocation id (inv_ and 26 characters)" };
        parse_base32("inv_", text).map(Self).ok_or(wanted)
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_base32("exe_", self.0, f)
    }
}

impl FromStr for ExecutionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wanted = IdError { wanted: "an execution id (exe_ and 26 characters)" };
        parse_base32("exe_", text).map(Self).ok_or(wanted)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_base32("key_", self.0, f)
    }
}

impl FromStr for KeyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wanted = IdError { wanted: "a key id (key_ and 26 characters)" };
        parse_base32("key_", text).map(Self).ok_or(wanted)
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}", self.wanted)
    }
}

impl core::error::Error for IdError {}

fn fmt_base32(prefix: &str, value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(prefix)?;
    for index in (0..26).rev() {
        let digit = (value >> (index * 5)) & 31;
        let digit = usize::try_from(digit).expect("five bits fit");
        fmt::Write::write_char(f, char::from(ALPHABET[digit]))?;
    }
    Ok(())
}

fn parse_base32(prefix: &str, text: &str) -> Option<u128> {
    let digits = text.strip_prefix(prefix)?;
    if digits.len() != 26 {
        return None;
    }
    let mut value: u128 = 0;
    for c in digits.bytes() {
        let digit = ALPHABET.iter().position(|&a| a == c)?;
        value = value.checked_mul(32)? | u128::try_from(digit).ok()?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn ids_print_with_their_prefix_and_parse_back() {
        for value in [0, 1, 31, 32, u128::MAX, 0x0123_4567_89ab_cdef << 37] {
            let id = InvocationId(value);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(KeyId(value).to_string().parse(), Ok(KeyId(value)));
            assert_eq!(ExecutionId(value).to_string().parse(), Ok(ExecutionId(value)));
        }
        assert_eq!(InvocationId(33).to_string(), "inv_00000000000000000000000011");
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        let too_large = "inv_80000000000000000000000000";
        for text in ["", "inv_", "key_00000000000000000000000011", "inv_0000000000000000000000001u"]
        {
            assert!(text.parse::<InvocationId>().is_err(), "{text}");
        }
        assert!(too_large.parse::<InvocationId>().is_err());
    }

    #[test]
    fn later_ids_sort_later() {
        assert!(InvocationId::from_parts(1, u128::MAX) < InvocationId::from_parts(2, 0));
    }

    #[test]
    fn tenant_names_are_plain() {
        assert!("acme-2_b".parse::<TenantName>().is_ok());
        for bad in ["", "-a", "A", "a/b", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad}");
        }
    }
}
