//! Keeps the measurement in `examples` from rotting.

#[path = "../../examples/commit_cost.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own, of which this is a part")]
mod commit_cost;

#[test]
fn the_cost_of_a_commit_can_be_measured() {
    let figures = commit_cost::measure(3, 10);
    assert!(!figures.by_record.is_zero());
    assert!(figures.slowest_commit >= figures.by_record);
}
