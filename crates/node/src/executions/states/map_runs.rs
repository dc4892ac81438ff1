//! Map runs: what others may know of them, and other limits for those under way.

use std::collections::BTreeSet;

use model::limits;
use model::suspend::{Ask, OpId};
use serde_json::{Value, json};

use super::turn::{Slot, Under};
use super::work::change_signal;

/// What stands beside an ask that waits for other limits of a map run: its ARN.
pub(super) const MAP_RUN: &str = "map run";
/// What the limits of map runs stand beside; no ask has so high a number.
const LIMITS: u64 = u64::MAX;

impl Under<'_> {
    /// Waits for other limits for the map runs under way, and no longer for those that are over.
    pub(super) fn watch_map_runs(&mut self) {
        let mut wanted: BTreeSet<String> = self.run.machine.map_runs().map(|run| run.arn).collect();
        let of = |beside: &Value| beside.get(MAP_RUN)?.as_str().map(str::to_owned);
        let watched: Vec<(u64, String)> =
            self.run.beside.iter().filter_map(|(op, beside)| Some((*op, of(beside)?))).collect();
        for (op, arn) in watched {
            if !wanted.remove(&arn) {
                self.drop_op(OpId(op));
            }
        }
        for arn in wanted {
            let op = self.run.machine.reserve();
            let name = change_signal(&arn);
            self.run.beside.insert(op.0, json!({ MAP_RUN: arn }));
            self.asks.push((Slot::Work.of(op), Ask::Signal { name }));
        }
    }

    /// Remembers the limits of the map runs under way, for when they have ended.
    pub(super) fn note_map_runs(&mut self) {
        let now: Vec<Value> = self.run.machine.map_runs().map(|run| limits_of(&run)).collect();
        if now.is_empty() {
            return;
        }
        let known = self.run.beside.entry(LIMITS).or_insert_with(|| json!([]));
        if let Some(known) = known.as_array_mut() {
            remember(known, now);
        }
    }

    pub(super) fn map_runs_under_way(&self) -> Vec<Value> {
        let shown = self.run.machine.map_runs().map(|run| {
            let mut shown = limits_of(&run);
            let [running, succeeded, failed] = run.items_of;
            shown["itemsOf"] =
                json!({ "running": running, "succeeded": succeeded, "failed": failed });
            for (name, count) in
                [("running", run.running), ("succeeded", run.succeeded), ("failed", run.failed)]
            {
                shown[name] = count.into();
            }
            shown
        });
        shown.collect()
    }

    /// The last limits of those that have ended, as far as they are known.
    pub(super) fn map_runs_ended(&self) -> Vec<Value> {
        let Some(known) = self.run.beside.get(&LIMITS).and_then(Value::as_array) else {
            return Vec::new();
        };
        let open: BTreeSet<String> = self.run.machine.map_runs().map(|run| run.arn).collect();
        let ended = |run: &&Value| run["arn"].as_str().is_none_or(|arn| !open.contains(arn));
        known.iter().filter(ended).cloned().collect()
    }
}

/// The last that is said of each run counts, and the oldest of too many are forgotten.
fn remember(known: &mut Vec<Value>, now: Vec<Value>) {
    known.retain(|run| now.iter().all(|other| other["arn"] != run["arn"]));
    known.extend(now);
    let too_many = known.len().saturating_sub(limits::MAP_RUNS_LIMITS_KNOWN_MAX);
    known.drain(..too_many);
}

fn limits_of(run: &asl::machine::MapRunProgress) -> Value {
    json!({
        "arn": run.arn,
        "items": run.items,
        "children": run.children,
        "maxConcurrency": run.max_concurrency,
        "toleratedFailureCount": run.tolerated_count.unwrap_or_default(),
        "toleratedFailurePercentage": run.tolerated_percentage.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_limits_are_forgotten_beyond_their_number() {
        let run =
            |number: usize, most: u64| json!({ "arn": number.to_string(), "maxConcurrency": most });
        let mut known = Vec::new();
        (0..limits::MAP_RUNS_LIMITS_KNOWN_MAX).for_each(|n| remember(&mut known, vec![run(n, 1)]));
        assert_eq!((known.len(), &known[0]), (limits::MAP_RUNS_LIMITS_KNOWN_MAX, &run(0, 1)));
        remember(&mut known, vec![run(0, 2)]);
        assert_eq!(known.last(), Some(&run(0, 2)), "said anew");
        assert_eq!(known.len(), limits::MAP_RUNS_LIMITS_KNOWN_MAX);
        remember(&mut known, vec![run(limits::MAP_RUNS_LIMITS_KNOWN_MAX, 1)]);
        assert_eq!((known.len(), &known[0]), (limits::MAP_RUNS_LIMITS_KNOWN_MAX, &run(2, 1)));
    }
}
