//! Paper XX, Figure 3: tail latency under a wave of load, by class, with and without classes.

use super::{CompareConfig, Comparison, compare, seeds};
use crate::policies::find;
use crate::runner::Runner;
use crate::workload::synthetic::Synthetic;
use crate::world::WorldConfig;

/// Figure 3's parameters.
#[derive(Clone, Debug)]
pub struct Figure3Config {
    /// Cluster, policies and seeds.
    pub compare: CompareConfig,
    /// What arrives.
    pub workload: Synthetic,
}

/// 100 machines × 8 cores, 4 shards, k = 3, no idle list, memory absurdly high; 170, 300 and again
/// 170 invocations a tick, changing at ticks 50 and 80, until tick 200. Besides XX and Hermod it has
/// XX that polls for functions of the same class or higher.
impl Default for Figure3Config {
    fn default() -> Self {
        let workload = Synthetic::default();
        let names = ["xx-polling", "xx-same-or-higher", "hermod"];
        let compare = CompareConfig {
            world: WorldConfig::default(),
            policies: names.iter().filter_map(|name| find(name, 3)).collect(),
            seeds: seeds(5),
            tick_ns: Some(workload.tick_ns),
        };
        Self { compare, workload }
    }
}

/// Simulates Figure 3.
#[must_use]
pub fn figure3(config: &Figure3Config, runner: &Runner<'_>) -> Comparison {
    compare(&config.compare, &config.workload, runner)
}
