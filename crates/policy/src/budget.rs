//! A tenant's monthly budget: a guideline that demotes, then refuses (paper XX, section 3.1; DESIGN
//! rule 8).
//!
//! With budget *B*, a month (UTC) of length *L* and *e* of it elapsed, the *allowance* is
//! `min(B, B·e/L + B·10 %)`: what is due by now, and a burst. The *limit* is `B·105 %`.
//!
//! | spent | a call runs |
//! |---|---|
//! | below the allowance | as stated |
//! | from there to the limit | demoted: one class at the allowance, one more for each equal step, the lowest at the last |
//! | at the limit or above | not at all, until the month ends |
//!
//! Running work is never ended, so what is spent exceeds the limit by at most what was in flight
//! when it was reached. A spender that cannot ask for each call takes a [`Lease`]: what is leased
//! counts as spent until it comes back, so the bound holds for any number of spenders.

use alloc::collections::BTreeMap;
use core::time::Duration;

use model::{Amount, ClassId, PriceList, TenantName, Timestamp};

/// What may be spent ahead of time, in percent of the budget.
pub const BURST_PERCENT: u64 = 10;
/// What may be spent beyond the budget, in percent of it.
pub const TOLERANCE_PERCENT: u64 = 5;

const NANOS_PER_DAY: u64 = 86_400 * 1_000_000_000;

/// What a budget says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs in the class stated.
    AsStated,
    /// It runs in a lower class.
    Demote {
        /// In this one.
        class: ClassId,
        /// Spent this month, leases included.
        spent: Amount,
        /// What was allowed by now.
        allowance: Amount,
    },
    /// It does not run.
    Refuse {
        /// Until the month ends.
        retry_after: Duration,
        /// Spent this month, leases included.
        spent: Amount,
        /// Budget and tolerance.
        limit: Amount,
    },
}

/// The right to spend up to an amount without asking.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease counts as spent until it is returned"]
pub struct Lease {
    /// How much.
    pub amount: Amount,
    /// In which month it was taken: it is worth nothing in another one.
    month: Month,
}

/// The accounts of all tenants that have a budget.
#[derive(Debug)]
pub struct Ledger {
    classes: u64,
    accounts: BTreeMap<TenantName, Account>,
}

#[derive(Debug)]
struct Account {
    budget: Amount,
    month: Month,
    spent: Amount,
    leased: Amount,
}

/// A calendar month in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Month {
    start: Timestamp,
    end: Timestamp,
}

impl Ledger {
    /// A ledger without budgets.
    #[must_use]
    pub fn new(prices: &PriceList) -> Self {
        let classes = u64::try_from(prices.len()).expect("few classes");
        Self { classes, accounts: BTreeMap::new() }
    }

    /// Sets or lifts a tenant's budget. `spent` is what is known to be spent this month; where it
    /// is not given, what this ledger knows stays.
    pub fn set(
        &mut self,
        tenant: &TenantName,
        budget: Option<Amount>,
        spent: Option<Amount>,
        now: Timestamp,
    ) {
        let Some(budget) = budget else {
            self.accounts.remove(tenant);
            return;
        };
        let fresh =
            || Account { budget, month: Month::of(now), spent: Amount(0), leased: Amount(0) };
        let account = self.accounts.entry(tenant.clone()).or_insert_with(fresh);
        account.budget = budget;
        account.turn_page(now);
        account.spent = spent.unwrap_or(account.spent);
    }

    /// What the budget says to a call that states `class`. A tenant without budget is never
    /// restrained.
    pub fn admit(&mut self, tenant: &TenantName, class: ClassId, now: Timestamp) -> Decision {
        let classes = self.classes;
        self.accounts.get_mut(tenant).map_or(Decision::AsStated, |account| {
            account.turn_page(now);
            account.admit(class, classes, now)
        })
    }

    /// Books what an invocation that ended has cost.
    pub fn charge(&mut self, tenant: &TenantName, cost: Amount, now: Timestamp) {
        if let Some(account) = self.accounts.get_mut(tenant) {
            account.turn_page(now);
            account.spent += cost;
        }
    }

    /// Leases up to `wanted`, never more than is left below the limit. None where nothing is left,
    /// or where the tenant has no budget and so needs no lease.
    pub fn lease(&mut self, tenant: &TenantName, wanted: Amount, now: Timestamp) -> Option<Lease> {
        let account = self.accounts.get_mut(tenant)?;
        account.turn_page(now);
        let left = account.limit().saturating_sub(account.spent + account.leased);
        let amount = wanted.min(left);
        account.leased += amount;
        (amount > Amount(0)).then_some(Lease { amount, month: account.month })
    }

    /// Takes a lease back; `spent` of it is booked, and so is what was spent beyond it.
    pub fn settle(&mut self, tenant: &TenantName, lease: &Lease, spent: Amount, now: Timestamp) {
        let Some(account) = self.accounts.get_mut(tenant) else { return };
        account.turn_page(now);
        account.spent += spent;
        if lease.month == account.month {
            account.leased = account.leased.saturating_sub(lease.amount);
        }
    }
}

impl Account {
    /// With a new month, nothing is spent.
    fn turn_page(&mut self, now: Timestamp) {
        if now >= self.month.end {
            self.month = Month::of(now);
            self.spent = Amount(0);
            self.leased = Amount(0);
        }
    }

    fn limit(&self) -> Amount {
        Amount(percent(self.budget.0, 100 + TOLERANCE_PERCENT))
    }

    fn allowance(&self, now: Timestamp) -> Amount {
        let length = self.month.end.0 - self.month.start.0;
        let elapsed = now.0.saturating_sub(self.month.start.0);
        let due = u128::from(self.budget.0) * u128::from(elapsed) / u128::from(length);
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        Amount(due.saturating_add(percent(self.budget.0, BURST_PERCENT))).min(self.budget)
    }

    fn admit(&self, class: ClassId, classes: u64, now: Timestamp) -> Decision {
        let spent = self.spent + self.leased;
        let (allowance, limit) = (self.allowance(now), self.limit());
        if spent >= limit {
            let retry_after = self.month.end.since(now);
            return Decision::Refuse { retry_after, spent, limit };
        }
        if spent < allowance {
            return Decision::AsStated;
        }
        // limit > spent >= allowance, so the divisor is at least one.
        let over = u128::from(spent.0 - allowance.0) * u128::from(classes.max(2) - 1);
        let steps = 1 + over / u128::from(limit.0 - allowance.0);
        let steps = u8::try_from(steps).unwrap_or(u8::MAX);
        match class.0.saturating_sub(steps) {
            same if same == class.0 => Decision::AsStated,
            lower => Decision::Demote { class: ClassId(lower), spent, allowance },
        }
    }
}

impl Month {
    fn of(at: Timestamp) -> Self {
        let day = at.0 / NANOS_PER_DAY;
        let (year, month, day_of_month) = civil(day);
        let start = day + 1 - day_of_month;
        let end = start + days_in(year, month);
        let nanos = |day: u64| Timestamp(day.saturating_mul(NANOS_PER_DAY));
        Self { start: nanos(start), end: nanos(end) }
    }
}

fn percent(amount: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// Year, month (1 to 12) and day of the month (from 1) of a day counted from 1970-01-01, in the
/// Gregorian calendar, by walking: a ledger asks once a month.
fn civil(mut day: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while day >= days_in_year(year) {
        day -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

const fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

#[cfg(test)]
mod tests;
