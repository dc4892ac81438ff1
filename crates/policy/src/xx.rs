//! Fermata's policy (paper XX, section 3; DESIGN section 4).

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::machine::ScheduledMachine;
pub use crate::options::{CoreRule, Options, PollCount, QueueRule};
use crate::shard::PlacingShard;
use crate::{Machine, MachineConfig, Policy, Shard, ShardConfig};

/// Price classes: multi-queue shards, idle lists, strict preemptive machines.
///
/// ```
/// use policy::{Policy, xx};
/// let options = xx::Options { k: 2, idle_list: false, ..xx::Options::default() };
/// assert_eq!(xx::Xx::new(options).name(), "xx");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Xx {
    options: Arc<Options>,
}

impl Xx {
    /// With these choices; `Xx::default()` has the settled ones.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(options) }
    }

    /// The settled choices, but functions take turns inside their class.
    #[must_use]
    pub fn turns() -> Self {
        Self::new(Options { core_rule: CoreRule::Turns, ..Options::default() })
    }
}

impl Policy for Xx {
    fn name(&self) -> &'static str {
        match self.options.core_rule {
            CoreRule::Turns => "xx-turns",
            CoreRule::StrictByClass | CoreRule::FirstCome | CoreRule::Shared => "xx",
        }
    }

    fn shard(&self, config: ShardConfig) -> Box<dyn Shard> {
        Box::new(PlacingShard::new(&config, (*self.options).clone()))
    }

    fn machine(&self, config: MachineConfig) -> Box<dyn Machine> {
        Box::new(ScheduledMachine::new(config, Arc::clone(&self.options)))
    }
}
