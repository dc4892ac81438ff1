//! Whether memory was taken strictly by class, and how fast it moved: read from what the platform says
//! of each function.
//!
//! A function that was swapped out or killed was of the wrong class if one of a lower class had
//! memory in RAM then. Times are known to a few milliseconds, and the platform looks at memory every
//! so often: who had its memory only just before or just after is not counted.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::super::functions::LOWEST;
use super::pressure::LOW;
use crate::load::platform::Platform;

/// Functions that have begun count after so long: until then nobody has looked at them.
const SEEN_AFTER_US: u64 = 100_000;
/// Whoever could not be moved is left alone for so long.
const LEFT_ALONE_US: u64 = 1_100_000;
/// Two times are not told apart where they differ by less.
const BLUR_US: u64 = 20_000;

/// What was looked at and found.
#[derive(Debug, Serialize)]
pub(super) struct Order {
    /// Functions swapped out or killed.
    pub(super) looked_at: usize,
    /// Of them, while one of a lower class had memory in RAM.
    pub(super) out_of_order: usize,
    /// How fast memory moved out and back, while it moved; none where none did.
    pub(super) out_mb_s: Option<f64>,
    pub(super) in_mb_s: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Invocation {
    class: String,
    arrived_ms: u64,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    after_us: u64,
    what: String,
    #[serde(default)]
    why: String,
}

impl Order {
    /// Of all invocations of these functions.
    pub(super) fn load(platform: &Platform, functions: &[&str]) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for name in functions {
            let list = platform.print_of(&["invocations", "list", "--function", name, "--json"])?;
            let page: Page = serde_json::from_str(&list).context("read the invocations")?;
            for Named { id } in page.items {
                let text = platform.print_of(&["invocations", "show", &id, "--json"])?;
                all.push(serde_json::from_str(&text).context("read an invocation")?);
            }
        }
        Ok(Self::of(&all))
    }

    fn of(all: &[Invocation]) -> Self {
        let (mut looked_at, mut out_of_order) = (0, 0);
        for invocation in all {
            for at in invocation.losses() {
                looked_at += 1;
                let lower = all.iter().filter(|other| other.rank() < invocation.rank());
                out_of_order += usize::from(
                    lower
                        .flat_map(Invocation::stays)
                        .any(|(from, until)| from + BLUR_US <= at && at + BLUR_US <= until),
                );
            }
        }
        let rate = |what: &str| {
            let steps = all.iter().flat_map(|one| &one.steps).filter(|step| step.what == what);
            let (bytes, seconds) = steps
                .filter_map(|step| moved(&step.why))
                .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            (seconds > 0.0).then(|| bytes / 1e6 / seconds)
        };
        let (out_mb_s, in_mb_s) = (rate("swapped-out"), rate("swapped-in"));
        Self { looked_at, out_of_order, out_mb_s, in_mb_s }
    }
}

/// Bytes and seconds of a step that says `268435456 bytes in 312.5ms`.
fn moved(why: &str) -> Option<(f64, f64)> {
    let (bytes, took) = why.split_once(" bytes in ")?;
    let units = [("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("s", 1.0)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        Some(took.strip_suffix(unit)?.parse::<f64>().ok()? * seconds)
    })?;
    Some((bytes.parse().ok()?, seconds))
}

impl Invocation {
    fn rank(&self) -> usize {
        [LOWEST, LOW].iter().position(|class| *class == self.class).unwrap_or(usize::MAX)
    }

    fn times(&self) -> impl Iterator<Item = (u64, &str)> {
        let arrived_us = self.arrived_ms * 1_000;
        self.steps.iter().map(move |step| (arrived_us + step.after_us, step.what.as_str()))
    }

    /// When it had to give up its memory.
    fn losses(&self) -> impl Iterator<Item = u64> {
        self.times().filter(|(_, what)| matches!(*what, "swap-out" | "killed")).map(|(at, _)| at)
    }

    /// From when until when it had memory in RAM and could have been chosen.
    fn stays(&self) -> Vec<(u64, u64)> {
        let (mut stays, mut since) = (Vec::new(), None);
        for (at, what) in self.times() {
            match what {
                "began" => since = Some(at + SEEN_AFTER_US),
                "swapped-in" => since = Some(at),
                "swap-failed" => since = Some(at + LEFT_ALONE_US),
                "swap-out" | "killed" | "ended" => {
                    stays.extend(since.take().map(|since| (since, at)));
                }
                _ => {}
            }
        }
        stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(class: &str, steps: &[(u64, &str)]) -> Invocation {
        let step = |&(ms, what): &(u64, &str)| Step {
            after_us: ms * 1_000,
            what: what.to_owned(),
            why: "2000000 bytes in 40.0ms".to_owned(),
        };
        Invocation {
            class: class.to_owned(),
            arrived_ms: 7,
            steps: steps.iter().map(step).collect(),
        }
    }

    #[test]
    fn a_higher_class_that_leaves_before_a_lower_one_is_found() {
        let low = invocation(LOW, &[(0, "began"), (1_000, "swap-out")]);
        let check = |lowest: &[(u64, &str)], expected| {
            let found = Order::of(&[invocation(LOWEST, lowest), invocation(LOW, &low.steps())]);
            assert_eq!(found.out_of_order, expected, "{lowest:?}");
        };
        check(&[(0, "began"), (2_000, "ended")], 1);
        check(&[(0, "began"), (500, "swap-out"), (2_000, "ended")], 0);
        check(&[(0, "began"), (500, "swap-out"), (900, "swapped-in"), (2_000, "ended")], 1);
        check(&[(950, "began"), (2_000, "ended")], 0);
        check(&[(0, "began"), (1_010, "swap-out")], 0);
    }

    #[test]
    fn memory_moves_as_fast_as_the_steps_say() {
        let steps = [(0, "began"), (10, "swap-out"), (50, "swapped-out"), (90, "swapped-out")];
        let found = Order::of(&[invocation(LOW, &steps)]);
        assert_eq!((found.out_mb_s.map(f64::round), found.in_mb_s), (Some(50.0), None));
        assert_eq!(moved("3 bytes in 1.5s"), Some((3.0, 1.5)));
        assert_eq!(moved("it stays in memory: swap is full"), None);
    }

    impl Invocation {
        fn steps(&self) -> Vec<(u64, &str)> {
            self.steps.iter().map(|step| (step.after_us / 1_000, step.what.as_str())).collect()
        }
    }
}
