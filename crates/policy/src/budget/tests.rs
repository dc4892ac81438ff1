extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// 2026-11-01T00:00:00Z.
const NOVEMBER: u64 = 20_758;

fn day(of_november: u64) -> Timestamp {
    Timestamp((NOVEMBER + of_november - 1) * NANOS_PER_DAY)
}

fn tenant() -> TenantName {
    "acme".parse().unwrap()
}

fn ledger(budget: u64) -> Ledger {
    let mut ledger = Ledger::new(&PriceList::default());
    ledger.set(&tenant(), Some(Amount(budget)), None, day(1));
    ledger
}

/// The class a call of the top class runs in after `spent`; none where it is refused.
fn class_after(budget: u64, spent: u64, now: Timestamp) -> Option<u8> {
    let mut ledger = ledger(budget);
    ledger.charge(&tenant(), Amount(spent), now);
    match ledger.admit(&tenant(), ClassId(4), now) {
        Decision::AsStated => Some(4),
        Decision::Demote { class, .. } => Some(class.0),
        Decision::Refuse { .. } => None,
    }
}

#[test]
fn months_have_their_lengths() {
    let check = |at: u64, start: u64, end: u64| {
        let nanos = |day: u64| Timestamp(day * NANOS_PER_DAY);
        let month = Month { start: nanos(start), end: nanos(end) };
        assert_eq!(Month::of(nanos(at)), month);
        assert_eq!(Month::of(Timestamp(nanos(end).0 - 1)), month);
    };
    check(0, 0, 31);
    check(31, 31, 59);
    check(790, 790, 821); // March 1972, after a 29 February.
    check(NOVEMBER + 29, NOVEMBER, NOVEMBER + 30);
}

#[test]
fn spending_within_the_allowance_changes_nothing() {
    // On the first day the burst alone is allowed, in mid-month half the budget and the burst.
    assert_eq!(class_after(1_000, 99, day(1)), Some(4));
    assert_eq!(class_after(1_000, 100, day(1)), Some(3));
    assert_eq!(class_after(1_000, 599, day(16)), Some(4));
    assert_eq!(class_after(1_000, 600, day(16)), Some(3));
    assert_eq!(class_after(1_000, 999, day(30)), Some(4));
}

#[test]
fn beyond_it_one_class_is_lost_at_each_step_and_the_limit_refuses() {
    // From the allowance of 100 to the limit of 1,050 are four steps of 237.5.
    let classes: Vec<_> =
        [337, 338, 575, 813, 1_049, 1_050].map(|spent| class_after(1_000, spent, day(1))).into();
    assert_eq!(classes, [Some(3), Some(2), Some(1), Some(0), Some(0), None]);
}

#[test]
fn the_lowest_class_cannot_be_demoted_but_is_refused() {
    let mut ledger = ledger(1_000);
    ledger.charge(&tenant(), Amount(1_049), day(1));
    assert_eq!(ledger.admit(&tenant(), ClassId(0), day(1)), Decision::AsStated);
    ledger.charge(&tenant(), Amount(1), day(1));
    let refused = ledger.admit(&tenant(), ClassId(0), day(30));
    let retry_after = Duration::from_secs(86_400);
    let (spent, limit) = (Amount(1_050), Amount(1_050));
    assert_eq!(refused, Decision::Refuse { retry_after, spent, limit });
}

#[test]
fn a_new_month_begins_with_nothing_spent() {
    let mut ledger = ledger(1_000);
    let lease = ledger.lease(&tenant(), Amount(500), day(1)).unwrap();
    ledger.charge(&tenant(), Amount(2_000), day(1));
    assert_eq!(ledger.admit(&tenant(), ClassId(4), day(31)), Decision::AsStated);
    // A lease of last month is no longer booked, so it does not come back either.
    ledger.settle(&tenant(), &lease, Amount(10), day(31));
    let left = ledger.lease(&tenant(), Amount(u64::MAX), day(31)).unwrap();
    assert_eq!(left.amount, Amount(1_040));
}

#[test]
fn no_budget_is_no_restraint_and_a_budget_of_nothing_refuses_all() {
    let mut ledger = ledger(0);
    let refused = ledger.admit(&tenant(), ClassId(4), day(1));
    assert!(matches!(refused, Decision::Refuse { .. }), "{refused:?}");
    ledger.set(&tenant(), None, None, day(1));
    assert_eq!(ledger.admit(&tenant(), ClassId(4), day(1)), Decision::AsStated);
    assert_eq!(ledger.lease(&tenant(), Amount(1), day(1)), None);
}

/// What one of many spenders holds.
#[derive(Default)]
struct Spender {
    lease: Option<Lease>,
    spent: u64,
    in_flight: Vec<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A thousand spenders lease, start, finish and settle in any order. What they spend in all
    /// stays below the limit, but for what was in flight beyond a lease: a call is started as long
    /// as its spender's lease is not used up, and costs what it costs.
    #[test]
    fn a_thousand_parallel_spenders_keep_the_bound(
        budget in 1_000_u64..1_000_000,
        slice in 1_u64..5_000,
        moves in prop::collection::vec((0_usize..1_000, 0_u8..4, 1_u64..2_000), 1..6_000),
    ) {
        let (name, now) = (tenant(), day(10));
        let mut ledger = ledger(budget);
        let mut spenders: Vec<Spender> = Vec::new();
        spenders.resize_with(1_000, Spender::default);
        let (mut total, mut beyond) = (0, 0);
        for (who, what, cost) in moves {
            let spender = &mut spenders[who];
            match what {
                0 if spender.lease.is_none() => {
                    spender.lease = ledger.lease(&name, Amount(slice), now);
                }
                1 => {
                    let leased = spender.lease.as_ref().map_or(0, |lease| lease.amount.0);
                    if spender.spent < leased {
                        spender.in_flight.push(cost);
                    }
                }
                2 => {
                    if let Some(cost) = spender.in_flight.pop() {
                        let leased = spender.lease.as_ref().map_or(0, |lease| lease.amount.0);
                        beyond += (spender.spent + cost).saturating_sub(leased.max(spender.spent));
                        spender.spent += cost;
                        total += cost;
                    }
                }
                _ if spender.in_flight.is_empty() => {
                    if let Some(lease) = spender.lease.take() {
                        ledger.settle(&name, &lease, Amount(spender.spent), now);
                        spender.spent = 0;
                    }
                }
                _ => {}
            }
            let limit = budget + budget * TOLERANCE_PERCENT / 100;
            prop_assert!(total <= limit + beyond, "{total} > {limit} + {beyond}");
        }
    }
}
