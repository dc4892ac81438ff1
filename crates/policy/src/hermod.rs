//! Hermod (Kaffes, Yadwadkar and Kozyrakis, SoCC 2022) as paper XX simulates it in section 4.2:
//! least loaded of k polled machines, early binding, processor sharing; price classes ignored.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::machine::ScheduledMachine;
use crate::options::{CoreRule, Options, PollCount, QueueRule};
use crate::shard::PlacingShard;
use crate::{Machine, MachineConfig, Policy, Shard, ShardConfig};

/// The baseline that treats all functions equally.
#[derive(Clone, Debug)]
pub struct Hermod {
    options: Arc<Options>,
}

impl Hermod {
    /// Polls `k` machines for each job.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            options: Arc::new(Options {
                k,
                idle_list: false,
                poll_count: PollCount::All,
                queue_rule: QueueRule::FirstCome,
                core_rule: CoreRule::Shared,
                ..Options::default()
            }),
        }
    }
}

impl Default for Hermod {
    fn default() -> Self {
        Self::new(Options::default().k)
    }
}

impl Policy for Hermod {
    fn name(&self) -> &'static str {
        "hermod"
    }

    fn shard(&self, config: ShardConfig) -> Box<dyn Shard> {
        Box::new(PlacingShard::new(&config, (*self.options).clone()))
    }

    fn machine(&self, config: MachineConfig) -> Box<dyn Machine> {
        Box::new(ScheduledMachine::new(config, Arc::clone(&self.options)))
    }
}
