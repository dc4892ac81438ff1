//! What is added to a trace: classes, copies, times within the minute.

use model::{ClassId, PriceList};

use crate::random::Stream;
use crate::workload::Phases;

/// How classes are given to functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassRule {
    /// By trigger, for price lists of five classes; 2021 has no triggers and takes the weights of
    /// the paper's workload.
    ByTrigger,
    /// Drawn once for each function with these weights, by class.
    PerFunction(Vec<u32>),
}

/// Where in its minute an invocation arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offset {
    /// Anywhere.
    #[default]
    Uniform,
    /// Evenly spaced from a random beginning.
    Even,
}

/// What is added to a trace.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Copies laid over each other.
    pub copies: u32,
    /// The first minute that is taken.
    pub from_minute: usize,
    /// How many minutes are taken; as many as there are, if fewer.
    pub minutes: usize,
    /// Where in its minute an invocation arrives.
    pub offset: Offset,
    /// How functions get classes.
    pub class: ClassRule,
    /// Memory of 2019 is multiplied by this.
    pub memory_factor: f64,
    /// Memory of 2021 is uniform between these, in MB.
    pub memory_mb: (u64, u64),
    /// The classes.
    pub prices: PriceList,
    /// The phases that are reported.
    pub phases: Phases,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            copies: 1,
            from_minute: 0,
            minutes: usize::MAX,
            offset: Offset::Uniform,
            class: ClassRule::ByTrigger,
            memory_factor: 1.0,
            memory_mb: (100, 1_000),
            prices: PriceList::default(),
            phases: Phases::NONE,
        }
    }
}

const PAPER_WEIGHTS: [u32; 5] = [35, 25, 2, 15, 23];

impl Recipe {
    pub(super) fn class(&self, trigger: Option<&str>, draws: &mut Stream) -> ClassId {
        let by_weight = |weights: &[u32], draws: &mut Stream| {
            let total: u32 = weights.iter().sum();
            let mut left = draws.below(usize::try_from(total.max(1)).expect("fits"));
            let mut class: u8 = 0;
            for (index, &weight) in (0_u8..).zip(weights) {
                class = index;
                let weight = usize::try_from(weight).expect("fits");
                if left < weight {
                    break;
                }
                left -= weight;
            }
            ClassId(class).min(self.prices.highest())
        };
        match (&self.class, trigger) {
            (ClassRule::PerFunction(weights), _) => by_weight(weights, draws),
            (ClassRule::ByTrigger, None) => by_weight(&PAPER_WEIGHTS, draws),
            (ClassRule::ByTrigger, Some(trigger)) => {
                let class = match trigger {
                    "http" => 4,
                    "orchestration" | "event" => 2,
                    "queue" => 1,
                    _ => 0,
                };
                ClassId(class).min(self.prices.highest())
            }
        }
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "minutes {} to {}, {} rotated copies, arrival in the minute {:?}, class {:?}, memory × {}",
            self.from_minute,
            self.from_minute.saturating_add(self.minutes),
            self.copies,
            self.offset,
            self.class,
            self.memory_factor
        )
    }
}
