//! A thread that looks at all that runs: whether functions wait, what memory they hold, and which
//! idle sandboxes must come to rest or go.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::shared::{Shared, unpoisoned};

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Memory is looked at on each fourth look.
const LOOKS_PER_MEMORY: u32 = 4;
/// Time a program has after its answer to ask for the next invocation, before it is stopped.
const GRACE: Duration = Duration::from_millis(5);

/// Looks until the executor is closed.
pub(super) fn run(shared: &Arc<Shared>) {
    shared.set_sampler(thread::current());
    let mut looks = 0_u32;
    while !shared.is_closed() {
        let now = Instant::now();
        let jobs = shared.jobs();
        looks = looks.wrapping_add(1);
        for job in &jobs {
            job.look(looks.is_multiple_of(LOOKS_PER_MEMORY));
        }
        let age_max = shared.config.idle_age;
        let (restless, old, is_restless, next_old) = {
            let mut pool = unpoisoned(&shared.pool);
            let restless = pool.take_restless(now, GRACE);
            let old = pool.take_old(now, age_max);
            (restless, old, pool.is_restless(), pool.next_old(age_max))
        };
        for sandbox in restless {
            sandbox.rest();
        }
        shared.discard_all(old);
        if !jobs.is_empty() || is_restless {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        match next_old {
            Some(at) => thread::park_timeout(at.saturating_duration_since(now) + LOOK_EVERY),
            None => thread::park(),
        }
    }
}
