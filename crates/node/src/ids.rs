//! Ids and secrets from the operating system's random source.

use model::{InvocationId, KeyId, Timestamp};

/// Prefix of every key's secret.
const SECRET_PREFIX: &str = "fk_";

/// A new invocation id.
pub(crate) fn invocation(now: Timestamp) -> InvocationId {
    InvocationId::from_parts(now.as_millis(), random())
}

/// What tells a signal from others where its sender does not.
pub(crate) fn signal() -> engine::SignalId {
    engine::SignalId(u64::try_from(random() >> 64).expect("64 bits fit"))
}

/// A number that is as random as the id.
pub(crate) fn draw(id: u128) -> usize {
    let bits = u64::try_from((id >> 8) & u128::from(u32::MAX)).expect("32 bits fit");
    usize::try_from(bits).unwrap_or_default()
}

/// What an execution's tokens are made with: 256 random bits.
pub(crate) fn execution_secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes
}

/// A new key id.
pub(crate) fn key(now: Timestamp) -> KeyId {
    KeyId(InvocationId::from_parts(now.as_millis(), random()).0)
}

/// A new key's secret: 256 random bits.
pub(crate) fn secret() -> String {
    format!("{SECRET_PREFIX}{:032x}{:032x}", random(), random())
}

/// A token that proves which invocation is calling: 128 random bits.
pub(crate) fn token() -> String {
    format!("{:032x}", random())
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    u128::from_le_bytes(bytes)
}
