//! What a sandboxed function is billed for its memory, against what it had.

use runtime::Executor as _;

use crate::house::{House, answer};

/// Grows and shrinks by 16 MiB at a time, computing between; tells when it had how much.
const STEPS: &str = "\
import time
def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
def handler(event, context):
    steps, mib, seconds = event
    told, held = [[time.monotonic(), 0]], []
    def tell():
        told.append([time.monotonic(), len(held) * mib])
    busy(seconds)
    for _ in range(steps):
        tell()
        held.append(b'x' * (mib << 20))
        tell()
        busy(seconds)
    while held:
        tell()
        del held[-1]
        tell()
        busy(seconds)
    tell()
    return told
";

#[test]
fn one_that_grows_and_shrinks_is_billed_what_it_had_within_five_percent() {
    const MIB: f64 = 1_048_576.0;
    let house = House::new();
    let code = house.python(STEPS);
    // A warm sandbox at rest is what holds when it has nothing of its own.
    house.run(&code, "[0, 0, 0.05]");
    for payload in ["[12, 16, 0.03]", "[2, 64, 0.15]"] {
        #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
        let base = house.executor.memory().idle_bytes().0 as f64 / MIB;
        let finished = house.run(&code, payload);
        let told: Vec<(f64, f64)> = serde_json::from_str(&answer(&finished)).unwrap();
        let own: f64 =
            told.windows(2).map(|two| (two[1].0 - two[0].0) * (two[0].1 + two[1].1) / 2.0).sum();
        let truth = own + base * (told[told.len() - 1].0 - told[0].0);
        #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
        let billed = finished.used.memory.0 as f64 / MIB;
        let ratio = billed / truth;
        println!("billed {billed:.2} MiB·s, in truth {truth:.2}: {ratio:.4}");
        assert!((0.95..1.05).contains(&ratio), "billed {billed} MiB·s, in truth {truth}");
    }
}
