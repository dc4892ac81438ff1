//! Callback tokens: unguessable, bound to one ask of one execution, needing no table.
//!
//! The text is `exe_….GENERATION.OP.MAC`, where MAC is HMAC-SHA-256 (RFC 2104) over the three before
//! it under the execution's own secret, as 64 hexadecimal digits. Whether a token was used, expired
//! or dropped is known by the execution's state.

use alloc::format;
use alloc::string::String;
use core::fmt;

use model::ExecutionId;
use model::suspend::OpId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::codec::code_struct;

const BLOCK: usize = 64;

/// A token's text, taken apart. Whether it is genuine is for the execution to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose.
    pub execution: ExecutionId,
    /// How often that execution had begun anew.
    pub generation: u32,
    /// Which ask.
    pub op: OpId,
    mac: [u8; 32],
}

code_struct!(Token { execution, generation, op, mac });

/// Makes the tokens of one execution. Cheap to copy; whoever has it can answer for the execution,
/// so it stays inside the platform.
#[derive(Clone)]
pub struct Mint {
    execution: ExecutionId,
    generation: u32,
    secret: [u8; 32],
}

/// A text that is no token at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAToken;

impl Token {
    /// Takes a token's text apart.
    ///
    /// # Errors
    /// The text has another shape. Treat it as forged.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(NotAToken);
        let execution = part()?.parse().map_err(|_| NotAToken)?;
        let generation = parse_number(part()?)?;
        let op = parse_number(part()?)?;
        let mac = parse_hex(part()?)?;
        if parts.next().is_some() {
            return Err(NotAToken);
        }
        let generation = u32::try_from(generation).map_err(|_| NotAToken)?;
        Ok(Self { execution, generation, op: OpId(op), mac })
    }
}

impl Mint {
    pub(crate) const fn new(execution: ExecutionId, generation: u32, secret: [u8; 32]) -> Self {
        Self { execution, generation, secret }
    }

    /// The token of that ask. The same each time.
    #[must_use]
    pub fn token(&self, op: OpId) -> String {
        let head = head(self.execution, self.generation, op);
        let mac = hmac(&self.secret, head.as_bytes());
        let mut text = head;
        text.push('.');
        for byte in mac {
            text.push(hex_digit(byte >> 4));
            text.push(hex_digit(byte & 15));
        }
        text
    }

    /// Whether the token is of this execution and secret, whatever its generation. Takes the same
    /// time wherever it differs.
    pub(crate) fn is_genuine(&self, token: &Token) -> bool {
        let head = head(token.execution, token.generation, token.op);
        let mac = hmac(&self.secret, head.as_bytes());
        token.execution == self.execution && bool::from(mac.ct_eq(&token.mac))
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").field("execution", &self.execution).finish_non_exhaustive()
    }
}

impl fmt::Display for NotAToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a callback token")
    }
}

impl core::error::Error for NotAToken {}

fn head(execution: ExecutionId, generation: u32, op: OpId) -> String {
    format!("{execution}.{generation}.{}", op.0)
}

/// Only the one way in which a number is written: a token has one text.
fn parse_number(text: &str) -> Result<u64, NotAToken> {
    let plain = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| NotAToken) } else { Err(NotAToken) }
}

fn parse_hex(text: &str) -> Result<[u8; 32], NotAToken> {
    let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| NotAToken)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Ok(bytes)
}

const fn hex_value(digit: u8) -> Result<u8, NotAToken> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotAToken),
    }
}

const fn hex_digit(value: u8) -> char {
    (if value < 10 { b'0' + value } else { b'a' + value - 10 }) as char
}

/// HMAC-SHA-256 with a key that is shorter than a block.
pub(crate) fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut inner = [0x36; BLOCK];
    let mut outer = [0x5c; BLOCK];
    for (index, byte) in key.iter().enumerate() {
        inner[index] ^= byte;
        outer[index] ^= byte;
    }
    let digest = Sha256::new().chain_update(inner).chain_update(message).finalize();
    Sha256::new().chain_update(outer).chain_update(digest).finalize().into()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    const SECRET: [u8; 32] = [7; 32];

    #[test]
    fn hmac_is_that_of_the_standard() {
        // RFC 4231, test case 2 ("Jefe"); zeros after a short key change nothing.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac(&key, b"what do ya want for nothing?");
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_token_parses_back_and_is_genuine() {
        let mint = Mint::new(ExecutionId(9), 2, SECRET);
        let token = Token::parse(&mint.token(OpId(5))).expect("our own token");
        assert_eq!((token.execution, token.generation, token.op), (ExecutionId(9), 2, OpId(5)));
        assert!(mint.is_genuine(&token));
    }

    #[test]
    fn a_token_that_was_tampered_with_is_not_genuine() {
        let mint = Mint::new(ExecutionId(9), 0, SECRET);
        let text = mint.token(OpId(5));
        for (from, to) in [(".0.5.", ".0.6."), (".0.5.", ".1.5.")] {
            let token = Token::parse(&text.replace(from, to)).expect("well formed");
            assert!(!mint.is_genuine(&token));
        }
        let other = Mint::new(ExecutionId(9), 0, [8; 32]);
        assert!(!other.is_genuine(&Token::parse(&text).expect("well formed")));
        let other = Mint::new(ExecutionId(10), 0, SECRET);
        assert!(!other.is_genuine(&Token::parse(&text).expect("well formed")));
        // Every single bit of the code counts.
        let token = Token::parse(&text).expect("well formed");
        for bit in 0..256 {
            let mut forged = token;
            forged.mac[bit / 8] ^= 1 << (bit % 8);
            assert!(!mint.is_genuine(&forged), "bit {bit}");
        }
    }

    #[test]
    fn text_that_is_no_token_is_refused() {
        let good = Mint::new(ExecutionId(9), 0, SECRET).token(OpId(5));
        let upper = good.to_uppercase();
        let more = good.clone() + ".1";
        let zero = good.replace(".5.", ".05.");
        let plus = good.replace(".5.", ".+5.");
        for text in ["", ".", "exe_", "a.b.c.d", &upper, &more, &zero, &plus, &good[..90]] {
            assert_eq!(Token::parse(text), Err(NotAToken), "{text}");
        }
        assert_eq!(NotAToken.to_string(), "not a callback token");
    }
}
