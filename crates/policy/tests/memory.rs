//! The memory planner on a toy machine: golden traces with every decision and reason, and what holds
//! whatever happens.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/ram.rs"]
mod ram;

use std::path::Path;

use model::ClassId;
use proptest::prelude::*;
use ram::{Marks, Toy};

#[test]
fn every_memory_trace_is_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-memory");
    let mut scripts: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 6, "the scripts are missing");
    for path in scripts {
        let text = std::fs::read_to_string(&path).unwrap();
        expect_test::expect_file![&path].assert_eq(&ram::play(&text));
    }
}

/// Functions as drawn: class, arrival in ms, CPU time in ms, peak in percent of memory, and whether
/// it sleeps in the middle.
type Drawn = (u8, u64, u64, u64, bool);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let one = (0_u8..4, 0_u64..2_000, 20_u64..400, 5_u64..60, any::<bool>());
    proptest::collection::vec(one, 1..30)
}

fn toy(marks: Marks, swap: u64, functions: &[Drawn]) -> Toy {
    let mut toy = Toy::new(1_000, swap, 2, marks);
    for (number, &(class, arrives_ms, cpu_ms, percent, sleeps)) in (1..).zip(functions) {
        toy.add(ram::Function {
            class: ClassId(class),
            arrives_ms,
            cpu_ms,
            peak: percent * 10,
            sleep_ms: if sleeps { 50 } else { 0 },
            ..ram::Function::new(number)
        });
    }
    toy
}

proptest! {
    /// With swap for all: everything ends, nobody is killed, memory holds, and order is by class.
    #[test]
    fn all_work_ends_in_order_and_memory_holds(functions in drawn()) {
        let mut toy = toy(Marks::Live, 1_000_000, &functions);
        toy.run(120_000);
        prop_assert!(toy.is_done(), "{}", toy.describe());
        prop_assert_eq!(toy.kills, 0);
        // Two cores fill at most 60 % in 20 ms each: what grows in one step may be over.
        prop_assert!(toy.over <= toy.step_growth_max(), "{} over", toy.over);
        prop_assert_eq!(toy.out_of_order, 0);
    }

    /// It never thrashes: what is swapped is bounded by what arrives, sleeps and ends.
    #[test]
    fn swapping_is_bounded_by_what_happens(functions in drawn()) {
        let mut toy = toy(Marks::Live, 1_000_000, &functions);
        toy.run(120_000);
        prop_assert!(toy.is_done());
        let count = functions.len() as u64;
        prop_assert!(toy.swap_outs <= 4 * count + toy.elapsed_ms / 500 * 2, "{} swaps", toy.swap_outs);
    }

    /// Where swap is short too, work is killed by class and still ends.
    #[test]
    fn with_little_swap_work_is_killed_in_order_and_ends(functions in drawn()) {
        let mut toy = toy(Marks::Live, 300, &functions);
        toy.run(240_000);
        prop_assert!(toy.is_done(), "{}", toy.describe());
        prop_assert_eq!(toy.killed_out_of_order, 0);
    }

    /// The same views give the same decisions.
    #[test]
    fn the_same_happens_again(functions in drawn()) {
        let run = || {
            let mut toy = toy(Marks::Live, 2_000, &functions);
            toy.run(120_000);
            (toy.swap_outs, toy.kills, toy.elapsed_ms)
        };
        prop_assert_eq!(run(), run());
    }

    /// Without watermarks, as in the paper: those that ask get by rank, and all end.
    #[test]
    fn those_that_ask_get_by_rank(functions in drawn()) {
        let mut toy = toy(Marks::None, 1_000_000, &functions);
        toy.run(240_000);
        prop_assert!(toy.is_done(), "{}", toy.describe());
    }
}
