//! What every store must do, run on each of them, and what only one of them can do.
//!
//! The list below names the behavior all stores share. Beside it, [`directory`], [`killed`] and
//! [`schema`] test what a store in a directory adds, [`faults`] what a store in memory can be told,
//! [`full`] a server without room, and [`random`] compares the two on random histories.

#![expect(clippy::unwrap_used, reason = "clippy takes only `#[test]` functions for tests")]

mod bill;
mod cluster;
mod cost;
mod directory;
mod executions;
mod faults;
mod full;
mod functions;
mod given;
mod invocations;
mod killed;
mod queue;
mod random;
mod schema;
mod tenants;

use store::{MemoryStore, Options, PostgresStore, SqliteStore, Store};

/// One test a store for each named case, a function from a store's opener.
macro_rules! on_every_store {
    ($($module:ident::$case:ident,)*) => {
        mod memory {
            $(#[test] fn $case() { crate::$module::$case(&crate::memory_store); })*
        }
        mod sqlite {
            $(#[test] fn $case() { crate::on_sqlite(crate::$module::$case); })*
        }
        mod postgres {
            $(#[test] fn $case() { crate::on_postgres(crate::$module::$case); })*
        }
    };
}

on_every_store! {
    tenants::a_tenant_is_created_once_and_updated,
    tenants::a_key_is_kept_until_and_after_it_is_revoked,
    tenants::a_key_of_another_tenant_cannot_be_revoked,
    tenants::a_setting_keeps_its_last_value,
    functions::a_version_is_read_back_as_it_was_published,
    functions::the_latest_version_is_the_highest_that_is_not_deleted,
    functions::a_version_number_is_never_given_twice,
    functions::functions_and_versions_come_in_pages,
    functions::functions_of_another_tenant_are_not_there,
    functions::code_must_be_there_before_it_is_published,
    functions::a_sweep_removes_only_what_no_version_uses,
    functions::content_with_another_hash_is_refused,
    queue::a_call_is_read_back_as_it_was_queued,
    queue::calls_come_when_they_are_due_and_by_that_time,
    queue::a_call_that_runs_is_passed_over,
    queue::a_retry_waits_and_a_completed_call_is_gone,
    queue::a_call_that_is_given_up_is_a_dead_letter_until_it_is_redriven,
    queue::dead_letters_come_in_pages_to_their_tenant_only,
    queue::changes_to_the_queue_can_be_repeated,
    queue::a_queued_call_is_found_until_it_is_settled,
    queue::the_backlog_counts_by_tenant,
    invocations::a_record_is_read_back_as_it_was_committed,
    invocations::every_attempt_has_its_record,
    invocations::a_list_shows_what_the_filter_lets_through,
    invocations::a_list_comes_in_pages_without_gaps,
    invocations::a_summary_leaves_out_trace_and_logs,
    invocations::records_of_another_tenant_are_not_there,
    invocations::only_the_newest_records_are_kept_and_every_sum,
    invocations::a_page_has_a_largest_size,
    executions::an_execution_is_read_back_as_it_was_committed,
    executions::a_step_changes_what_may_change,
    executions::a_step_of_another_revision_is_refused_alone,
    executions::without_the_lease_nothing_is_written,
    executions::a_lease_is_held_until_it_runs_out_or_is_given_up,
    executions::a_name_is_one_executions_until_it_is_freed,
    executions::history_is_read_in_both_orders_and_forgotten,
    executions::effects_stay_until_they_are_done,
    executions::timers_come_when_they_are_due,
    executions::open_executions_come_in_pages,
    executions::a_list_of_executions_shows_what_the_filter_lets_through,
    executions::a_purged_execution_leaves_nothing_but_its_receipts,
    executions::blobs_stay_as_long_as_an_execution_refers_to_them,
    executions::what_is_staged_stays_until_a_step_refers_to_it,
    executions::many_executions_commit_at_once,
    bill::a_record_is_counted_once_however_often_it_is_committed,
    bill::a_batch_larger_than_what_is_kept_can_be_repeated,
    bill::rows_are_grouped_as_asked,
    bill::a_month_is_what_its_days_cost,
    bill::sums_saturate,
    bill::nothing_used_is_no_row,
}

/// Opens an empty store with these options.
type Opener<'a> = &'a dyn Fn(Options) -> Box<dyn Store>;

fn memory_store(options: Options) -> Box<dyn Store> {
    Box::new(MemoryStore::new(options))
}

/// Runs a case that opens one store at most, and finds the store sound after it.
fn on_sqlite(case: fn(Opener<'_>)) {
    let directory = tempfile::tempdir().unwrap();
    case(&|options| Box::new(SqliteStore::open(directory.path(), options).unwrap()));
    SqliteStore::open(directory.path(), Options::default()).unwrap().check().unwrap();
}

/// The same on a server, in a schema of its own.
fn on_postgres(case: fn(Opener<'_>)) {
    let url = cluster::fresh_url();
    case(&|options| Box::new(PostgresStore::connect(&url, options).unwrap()));
    PostgresStore::connect(&url, Options::default()).unwrap().check().unwrap();
}
