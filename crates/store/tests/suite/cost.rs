//! Keeps the measurement in `examples` from rotting.

#[path = "../../examples/commit_cost.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own, of which this is a part")]
mod commit_cost;

#[path = "../../examples/store_bench.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own, of which this is a part")]
mod store_bench;

#[test]
fn the_cost_of_a_step_can_be_measured() {
    for address in [None, Some(crate::cluster::fresh_url())] {
        let figures = store_bench::measure(20, address.as_deref());
        assert!(!figures.step.quantile(500).is_zero());
        assert!(figures.rates.iter().all(|(_, rate)| *rate > 0.0), "{figures:?}");
    }
}

#[test]
fn the_cost_of_a_commit_can_be_measured() {
    let figures = commit_cost::measure(3, 10);
    assert!(!figures.by_record.is_zero());
    assert!(figures.slowest_commit >= figures.by_record);
}
