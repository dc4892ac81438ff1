//! Seeded random draws, one stream a purpose, so that a new draw here shifts nothing there.

use policy::rng::Rng;

/// What a stream is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// When invocations arrive.
    Arrival,
    /// How long they run.
    RunTime,
    /// Which class they state.
    Class,
    /// How much memory they come to use.
    Memory,
    /// Which function is called.
    Function,
    /// Which shard an invocation comes to.
    Balance,
    /// What the shards draw.
    Shard,
    /// What the machines draw.
    Machine,
    /// Which machines are lost, and when.
    Loss,
    /// How the copies of a trace are rotated.
    Rotation,
    /// What a baseline draws.
    Baseline,
}

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Stream {
    rng: Rng,
}

impl Stream {
    /// The stream for that purpose in the run with that seed.
    #[must_use]
    pub const fn new(seed: u64, purpose: Purpose) -> Self {
        Self { rng: Rng::new(derive(seed, purpose)) }
    }

    /// Any 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound)
    }

    /// Between 0 and 1, both excluded.
    pub fn unit(&mut self) -> f64 {
        // 52 bits and a half: never 0, never 1, every value exact.
        ((self.rng.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Between the two.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// From the exponential distribution with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// How many events a Poisson process has where `mean` are expected.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        let mut count = 0;
        let mut reached = self.exponential();
        while reached < mean {
            count += 1;
            reached += self.exponential();
        }
        count
    }
}

/// The seed of one stream of a run.
#[must_use]
pub const fn derive(seed: u64, purpose: Purpose) -> u64 {
    let mut mixed = Rng::new(seed);
    let first = mixed.next_u64();
    Rng::new(first ^ (purpose as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93)).next_u64()
}

/// The point that a normal variable with mean 0 and deviation 1 stays below with probability `p`
/// (Acklam's rational approximation; relative error below 1.2 × 10⁻⁹).
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    const TAIL: f64 = 0.024_25;
    let horner = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        horner(&C, q) / (horner(&D, q) * q + 1.0)
    };
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        horner(&A, r) * q / (horner(&B, r) * r + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_by_purpose() {
        let mut arrival = Stream::new(1, Purpose::Arrival);
        let mut class = Stream::new(1, Purpose::Class);
        assert_ne!(arrival.bits(), class.bits());
        assert_eq!(Stream::new(1, Purpose::Class).bits(), Stream::new(1, Purpose::Class).bits());
    }

    #[test]
    fn the_normal_quantile_agrees_with_the_table() {
        for (p, expected) in
            [(0.5, 0.0), (0.975, 1.959_964), (0.01, -2.326_348), (0.999, 3.090_232)]
        {
            assert!((normal_quantile(p) - expected).abs() < 1e-5, "{p}");
        }
    }

    #[test]
    fn poisson_counts_have_their_mean_and_variance() {
        let mut stream = Stream::new(3, Purpose::Arrival);
        let counts: Vec<f64> = (0..20_000).map(|_| stream.poisson(4.0) as f64).collect();
        let mean = counts.iter().sum::<f64>() / 20_000.0;
        let variance = counts.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 4.0).abs() < 0.06 && (variance - 4.0).abs() < 0.2, "{mean} {variance}");
    }
}
