//! Where the slowest top-class calls spent their time, and all low-class functions theirs, by what the
//! platform says of each.

use std::ops::Range;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::super::functions::TOP;
use crate::load::platform::Platform;

/// The slowest one in so many.
const PART: usize = 100;
const PAGE: &str = "999";

/// The mean of some calls, in milliseconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Spent {
    calls: usize,
    total_ms: f64,
    /// From arrival to placement, and from there to the first core.
    queued_ms: f64,
    waiting_ms: f64,
    /// From the core to the function's first instruction.
    starting_ms: f64,
    /// Without the core it had, and waiting for memory.
    preempted_ms: f64,
    memory_ms: f64,
    /// Waiting for something else than a core.
    blocked_ms: f64,
    /// With a core.
    running_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    id: String,
    arrived_ms: u64,
    finished_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Invocation {
    times: Times,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Times {
    queued_us: u64,
    waiting_us: u64,
    starting_us: u64,
    preempted_us: u64,
    memory_us: u64,
    running_us: u64,
    blocked_us: u64,
    total_us: u64,
}

impl Spent {
    /// Of top-class calls that arrived then, in milliseconds since 1970: the slowest hundredth, and a
    /// hundredth of all.
    pub(super) fn of_top(platform: &Platform, when: Range<u64>) -> anyhow::Result<[Self; 2]> {
        let all = top(platform, when)?;
        let some: Vec<String> = all.iter().step_by(PART).map(|item| item.id.clone()).collect();
        Ok([Self::of_ids(platform, &slowest(all))?, Self::of_ids(platform, &some)?])
    }

    /// How long a call held a core, in seconds.
    pub(super) fn core_s(&self) -> f64 {
        (self.starting_ms + self.running_ms) / 1e3
    }

    /// Of all calls of these functions that arrived from then on.
    pub(super) fn of_functions(
        platform: &Platform,
        functions: &[&str],
        from_ms: u64,
    ) -> anyhow::Result<Self> {
        let mut ids = Vec::new();
        for name in functions {
            let list = platform.print_of(&["invocations", "list", "--function", name, "--json"])?;
            let page: Page = serde_json::from_str(&list).context("read the invocations")?;
            let since = page.items.into_iter().filter(|item| item.arrived_ms >= from_ms);
            ids.extend(since.map(|item| item.id));
        }
        Self::of_ids(platform, &ids)
    }

    fn of_ids(platform: &Platform, ids: &[String]) -> anyhow::Result<Self> {
        let times = ids.iter().map(|id| {
            let text = platform.print_of(&["invocations", "show", id, "--json"])?;
            let shown: Invocation = serde_json::from_str(&text).context("read an invocation")?;
            anyhow::Ok(shown.times)
        });
        Ok(Self::of(&times.collect::<anyhow::Result<Vec<Times>>>()?))
    }

    fn of(slowest: &[Times]) -> Self {
        let mean = |part: fn(&Times) -> u64| {
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let (sum, count) = (slowest.iter().map(part).sum::<u64>() as f64, slowest.len() as f64);
            sum / count.max(1.0) / 1e3
        };
        Self {
            calls: slowest.len(),
            total_ms: mean(|times| times.total_us),
            queued_ms: mean(|times| times.queued_us),
            waiting_ms: mean(|times| times.waiting_us),
            starting_ms: mean(|times| times.starting_us),
            preempted_ms: mean(|times| times.preempted_us),
            memory_ms: mean(|times| times.memory_us),
            blocked_ms: mean(|times| times.blocked_us),
            running_ms: mean(|times| times.running_us),
        }
    }

    pub(super) fn show(&self, whose: &str) {
        println!(
            "  {} {whose}: {:.1} ms = queued {:.1} + waiting {:.1} + starting {:.1} + preempted {:.1} \
             + memory {:.1} + blocked {:.1} + running {:.1}",
            self.calls,
            self.total_ms,
            self.queued_ms,
            self.waiting_ms,
            self.starting_ms,
            self.preempted_ms,
            self.memory_ms,
            self.blocked_ms,
            self.running_ms
        );
    }
}

/// All top-class calls that arrived then.
fn top(platform: &Platform, when: Range<u64>) -> anyhow::Result<Vec<Item>> {
    let (mut all, mut before): (Vec<Item>, Option<String>) = (Vec::new(), None);
    loop {
        let mut arguments = vec!["invocations", "list", "--class", TOP, "--limit", PAGE, "--json"];
        if let Some(id) = &before {
            arguments.extend(["--before", id]);
        }
        let page: Page = serde_json::from_str(&platform.print_of(&arguments)?)
            .context("read the invocations")?;
        let Some(last) = page.items.last() else { break };
        before = Some(last.id.clone());
        let is_over = last.arrived_ms < when.start;
        all.extend(page.items.into_iter().filter(|item| when.contains(&item.arrived_ms)));
        if is_over {
            break;
        }
    }
    Ok(all)
}

/// The ids of the slowest hundredth.
fn slowest(mut all: Vec<Item>) -> Vec<String> {
    let took = |item: &Item| item.finished_ms.map_or(0, |end| end.saturating_sub(item.arrived_ms));
    all.sort_by_key(|item| std::cmp::Reverse(took(item)));
    all.truncate(all.len().div_ceil(PART));
    all.into_iter().map(|item| item.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_hundredth_is_looked_at() {
        let item =
            |took: u64| Item { id: took.to_string(), arrived_ms: 7, finished_ms: Some(7 + took) };
        assert_eq!(slowest((0..200).map(item).collect()), ["199", "198"]);
        assert_eq!(slowest(vec![item(3)]), ["3"]);
        assert!(slowest(Vec::new()).is_empty());
    }
}
