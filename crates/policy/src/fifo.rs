//! First come, first served: at the shard and on the machine, to the end, whatever the class.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::machine::ScheduledMachine;
use crate::options::{CoreRule, Options, PollCount, QueueRule};
use crate::shard::PlacingShard;
use crate::{Machine, MachineConfig, Policy, Shard, ShardConfig};

/// The simplest baseline. Places on the least loaded of k polled machines.
#[derive(Clone, Debug)]
pub struct Fifo {
    options: Arc<Options>,
}

impl Fifo {
    /// Polls `k` machines for each job.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            options: Arc::new(Options {
                k,
                idle_list: false,
                poll_count: PollCount::All,
                queue_rule: QueueRule::FirstCome,
                core_rule: CoreRule::FirstCome,
                ..Options::default()
            }),
        }
    }
}

impl Default for Fifo {
    fn default() -> Self {
        Self::new(Options::default().k)
    }
}

impl Policy for Fifo {
    fn name(&self) -> &'static str {
        "fifo"
    }

    fn shard(&self, config: ShardConfig) -> Box<dyn Shard> {
        Box::new(PlacingShard::new(&config, (*self.options).clone()))
    }

    fn machine(&self, config: MachineConfig) -> Box<dyn Machine> {
        Box::new(ScheduledMachine::new(config, Arc::clone(&self.options)))
    }
}
