//! A checksum that is quick enough for memory. It finds damage, not malice.

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// The sum of nothing.
pub(crate) const START: u64 = SEED;

/// The sum over `bytes`, continued from that of what came before.
pub(crate) fn continued(sum: u64, bytes: &[u8]) -> u64 {
    let mut lanes = [sum, sum ^ 1, sum ^ 2, sum ^ 3];
    let (chunks, rest) = bytes.as_chunks::<32>();
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(31);
        }
    }
    let mut sum = lanes
        .into_iter()
        .fold(bytes.len() as u64, |sum, lane| (sum ^ lane).wrapping_mul(FACTOR).rotate_left(29));
    for byte in rest {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(FACTOR);
    }
    sum ^ (sum >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_a_swapped_word_and_another_length_change_the_sum() {
        let bytes: Vec<u8> =
            (0..4096_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let sum = continued(START, &bytes);
        for at in [0, 7, 31, 32, 2047, 4095] {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert_ne!(continued(START, &other), sum, "{at}");
        }
        let mut other = bytes.clone();
        other.swap(8, 40);
        assert_ne!(continued(START, &other), sum);
        assert_ne!(continued(START, &bytes[..4095]), sum);
        assert_eq!(continued(START, &bytes), sum);
    }
}
