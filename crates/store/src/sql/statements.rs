//! Every statement, in one place, in the SQL that SQLite and PostgreSQL share.

/// Constants of that name, and a list of all.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*
        pub(crate) const ALL: &[&str] = &[$($name),*];
    };
}

macro_rules! version_columns {
    () => {
        "version, tenant, name, kind, runtime, handler, timeout_ns, default_class, environment, \
         network, code_hash, code_size_bytes, created, description, durable"
    };
}

macro_rules! call_columns {
    () => {
        "id, tenant, function, version, class, max_class, caller, depth, traceparent, arrived, \
         attempt, first_attempt, not_before, failure_kind, failure_message, died, payload"
    };
}

macro_rules! invocation_columns {
    () => {
        "tenant, id, attempt, function, version, class, caller, mode, arrived, started, finished, \
         answer_bytes, failure_kind, failure_message, cpu_ns, byte_seconds, cpu_cost, memory_cost, \
         logs_dropped_bytes, cold"
    };
}

macro_rules! invocation_filter {
    () => {
        " FROM invocations WHERE tenant = $1 AND (id, attempt) < ($2, $3) \
         AND (function = $4 OR $4 IS NULL) AND (class = $5 OR $5 IS NULL) \
         AND ((failure_kind IS NULL) = ($6 = 0) OR $6 IS NULL) AND arrived >= $7 \
         ORDER BY id DESC, attempt DESC LIMIT $8"
    };
}

macro_rules! execution_columns {
    () => {
        "id, revision, tenant, name, function, kind, class, max_class, parent, parent_op, created, \
         finished, version, status, updated, wake, waits, custom_status, cost, state_bytes"
    };
}

macro_rules! execution_filter {
    ($also:expr) => {
        concat!(
            "SELECT ",
            execution_columns!(),
            " FROM executions WHERE tenant = $1 AND id < $2 \
             AND (status = $3 OR $3 IS NULL) AND (function = $4 OR $4 IS NULL) \
             AND (version = $5 OR $5 IS NULL) AND (CAST($6 AS TEXT) IS NULL \
             OR substr(name, 1, length(CAST($6 AS TEXT))) = CAST($6 AS TEXT)) \
             AND created >= $7 AND created < $8 AND (parent = $9 OR $9 IS NULL) ",
            $also,
            " ORDER BY id DESC LIMIT $10"
        )
    };
}

statements! {
    SCHEMA_VERSION_TABLE = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)";
    SCHEMA_VERSION = "SELECT version FROM schema_version";
    SCHEMA_VERSION_CLEAR = "DELETE FROM schema_version";
    SCHEMA_VERSION_SET = "INSERT INTO schema_version (version) VALUES ($1)";

    SETTING = "SELECT value FROM settings WHERE name = $1";
    SETTING_PUT = "INSERT INTO settings (name, value) VALUES ($1, $2) \
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";

    TENANTS = "SELECT name, created, monthly_budget, allow_network FROM tenants ORDER BY name";
    TENANT = "SELECT name, created, monthly_budget, allow_network FROM tenants WHERE name = $1";
    TENANT_ADD = "INSERT INTO tenants (name, created, monthly_budget, allow_network) \
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    TENANT_UPDATE = "UPDATE tenants SET monthly_budget = $1, allow_network = $2 WHERE name = $3";

    KEYS = "SELECT id, tenant, label, role, max_class, secret_hash, created, revoked \
        FROM keys ORDER BY id";
    KEY = "SELECT id, tenant, label, role, max_class, secret_hash, created, revoked \
        FROM keys WHERE id = $1";
    KEY_ADD = "INSERT INTO keys \
        (id, tenant, label, role, max_class, secret_hash, created, revoked) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    KEY_REVOKE = "UPDATE keys SET revoked = COALESCE(revoked, $1) WHERE id = $2 AND tenant = $3";

    FUNCTION_NUMBER = "INSERT INTO functions (tenant, name, last_version) VALUES ($1, $2, 1) \
        ON CONFLICT (tenant, name) DO UPDATE SET last_version = functions.last_version + 1 \
        RETURNING last_version";
    VERSION_ADD = concat!(
        "INSERT INTO function_versions (", version_columns!(), ") \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)");
    VERSION_GET = concat!(
        "SELECT ", version_columns!(), " FROM function_versions \
        WHERE tenant = $1 AND name = $2 AND version = $3");
    VERSIONS_BEFORE = concat!(
        "SELECT ", version_columns!(), " FROM function_versions \
        WHERE tenant = $1 AND name = $2 AND version < $3 ORDER BY version DESC LIMIT $4");
    FUNCTIONS_AFTER = concat!(
        "SELECT ", version_columns!(), " FROM function_versions AS v \
        WHERE tenant = $1 AND name > $2 AND version = (SELECT MAX(version) \
        FROM function_versions AS w WHERE w.tenant = v.tenant AND w.name = v.name) \
        ORDER BY name LIMIT $3");
    VERSION_DELETE = "DELETE FROM function_versions \
        WHERE tenant = $1 AND name = $2 AND version = $3";
    FUNCTION_DELETE = "DELETE FROM function_versions WHERE tenant = $1 AND name = $2";
    CODE_USED = "SELECT DISTINCT code_hash FROM function_versions";

    CALL_ADD = concat!(
        "INSERT INTO async_calls (", call_columns!(), ") \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
        ON CONFLICT DO NOTHING");
    CALL_RETRY = "UPDATE async_calls SET attempt = $1, not_before = $2, failure_kind = $3, \
        failure_message = $4 WHERE id = $5 AND died IS NULL";
    CALL_COMPLETE = "DELETE FROM async_calls WHERE id = $1 AND died IS NULL";
    CALL_BURY = "UPDATE async_calls SET died = $1, failure_kind = $2, failure_message = $3 \
        WHERE id = $4 AND died IS NULL";
    CALL = concat!("SELECT ", call_columns!(), " FROM async_calls WHERE id = $1");
    CALLS_DUE = "SELECT id FROM async_calls WHERE died IS NULL AND not_before <= $1 \
        ORDER BY not_before, id";
    CALL_NEXT = "SELECT not_before FROM async_calls WHERE died IS NULL AND not_before > $1 \
        ORDER BY not_before LIMIT 1";
    CALL_COUNTS = "SELECT tenant, COUNT(*) - COUNT(died), COUNT(died) FROM async_calls \
        GROUP BY tenant ORDER BY tenant";
    LETTERS = concat!(
        "SELECT ", call_columns!(), " FROM async_calls WHERE died IS NOT NULL AND tenant = $1 \
        AND (id < $2 OR $2 IS NULL) AND (function = $3 OR $3 IS NULL) ORDER BY id DESC LIMIT $4");
    LETTER = concat!(
        "SELECT ", call_columns!(), " FROM async_calls \
        WHERE died IS NOT NULL AND tenant = $1 AND id = $2");
    LETTER_REDRIVE = "UPDATE async_calls SET attempt = attempt + 1, first_attempt = attempt + 1, \
        not_before = $1, failure_kind = NULL, failure_message = NULL, died = NULL \
        WHERE tenant = $2 AND id = $3 AND died IS NOT NULL";
    LETTER_DELETE = "DELETE FROM async_calls \
        WHERE tenant = $1 AND id = $2 AND died IS NOT NULL";

    /// Two queries in one, since SQLite finds one end by the index, but not both.
    INVOCATION_RANGE = "SELECT (SELECT MIN(sequence) FROM invocations), \
        (SELECT MAX(sequence) FROM invocations)";
    INVOCATION_FORGET = "DELETE FROM invocations WHERE sequence <= $1";
    INVOCATION_ADD = concat!(
        "INSERT INTO invocations (sequence, ", invocation_columns!(), ", trace, logs) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
        $19, $20, $21, $22, $23) ON CONFLICT DO NOTHING");
    INVOCATION = concat!(
        "SELECT ", invocation_columns!(), ", trace, logs FROM invocations \
        WHERE tenant = $1 AND id = $2 ORDER BY attempt");
    INVOCATIONS_WHOLE = concat!(
        "SELECT ", invocation_columns!(), ", trace, logs", invocation_filter!());
    INVOCATIONS_SUMMARY = concat!(
        "SELECT ", invocation_columns!(), invocation_filter!());

    SUM = "SELECT invocations, failures, cpu_ns, byte_seconds, cpu_cost, memory_cost FROM sums \
        WHERE tenant = $1 AND day = $2 AND function = $3 AND class = $4";
    SUM_PUT = "INSERT INTO sums (tenant, day, function, class, \
        invocations, failures, cpu_ns, byte_seconds, cpu_cost, memory_cost) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
        ON CONFLICT (tenant, day, function, class) DO UPDATE SET \
        invocations = excluded.invocations, failures = excluded.failures, \
        cpu_ns = excluded.cpu_ns, byte_seconds = excluded.byte_seconds, \
        cpu_cost = excluded.cpu_cost, memory_cost = excluded.memory_cost";
    SUMS_OF_TENANT = "SELECT tenant, day, function, class, \
        invocations, failures, cpu_ns, byte_seconds, cpu_cost, memory_cost FROM sums \
        WHERE tenant = $1 AND day >= $2 AND day <= $3";
    SUMS_OF_ALL = "SELECT tenant, day, function, class, \
        invocations, failures, cpu_ns, byte_seconds, cpu_cost, memory_cost FROM sums \
        WHERE day >= $1 AND day <= $2";

    EXECUTION = concat!(
        "SELECT ", execution_columns!(), ", blobs, state FROM executions WHERE id = $1");
    EXECUTION_NAMED = concat!(
        "SELECT ", execution_columns!(), ", blobs, state FROM executions \
        WHERE tenant = $1 AND name = $2");
    EXECUTIONS = execution_filter!("");
    EXECUTIONS_OPEN = execution_filter!("AND finished IS NULL");
    EXECUTIONS_OF_PARENT = execution_filter!("AND parent = $9");
    EXECUTIONS_OF_PARENT_OPEN = execution_filter!("AND parent = $9 AND finished IS NULL");
    EXECUTION_REVISION = "SELECT revision FROM executions WHERE id = $1";
    EXECUTION_HOLDER = "SELECT id FROM executions WHERE tenant = $1 AND name = $2";
    EXECUTION_ADD = "INSERT INTO executions (id, partition, tenant, name, function, kind, class, \
        max_class, parent, parent_op, created, revision, version, status, updated, wake, waits, \
        custom_status, cost, state_bytes, blobs, state, finished) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
        $19, $20, $21, $22, $23) ON CONFLICT DO NOTHING";
    /// Of one that was and stays open: leaves the indexes of open ones alone.
    EXECUTION_STEP = "UPDATE executions SET revision = $1, version = $2, status = $3, \
        updated = $4, wake = $5, waits = $6, custom_status = $7, cost = $8, state_bytes = $9, \
        blobs = $10, state = $11 WHERE id = $12 AND revision = $13 AND finished IS NULL";
    /// Of any.
    EXECUTION_END = "UPDATE executions SET revision = $1, version = $2, status = $3, \
        updated = $4, wake = $5, waits = $6, custom_status = $7, cost = $8, state_bytes = $9, \
        blobs = $10, state = $11, finished = $12 WHERE id = $13 AND revision = $14";
    EXECUTION_FREE_NAME = "UPDATE executions SET name = NULL WHERE id = $1";
    EXECUTION_PURGE = "DELETE FROM executions WHERE id = $1 AND revision = $2";
    OPEN = "SELECT id, wake, status FROM executions \
        WHERE partition = $1 AND finished IS NULL AND id > $2 ORDER BY id LIMIT $3";
    TIMERS_DUE = "SELECT wake, id FROM executions \
        WHERE partition = $1 AND wake IS NOT NULL AND wake <= $2 AND (wake, id) > ($3, $4) \
        ORDER BY wake, id LIMIT $5";
    TIMER_NEXT = "SELECT wake FROM executions \
        WHERE partition = $1 AND wake IS NOT NULL AND wake > $2 ORDER BY wake LIMIT 1";

    HISTORY_ADD = "INSERT INTO history (id, seq, at, bytes, blobs) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT DO NOTHING";
    HISTORY_FORGET = "DELETE FROM history WHERE id = $1 AND seq < $2";
    HISTORY_PURGE = "DELETE FROM history WHERE id = $1";
    HISTORY_FROM = "SELECT seq, at, bytes, blobs FROM history \
        WHERE id = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
    HISTORY_BEFORE = "SELECT seq, at, bytes, blobs FROM history \
        WHERE id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3";

    OUTBOX_PUT = "INSERT INTO outbox (partition, id, op, bytes) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (partition, id, op) DO UPDATE SET bytes = excluded.bytes";
    OUTBOX_DONE = "DELETE FROM outbox WHERE partition = $1 AND id = $2 AND op = $3";
    OUTBOX_PURGE = "DELETE FROM outbox WHERE partition = $1 AND id = $2";
    OUTBOX = "SELECT id, op, bytes FROM outbox \
        WHERE partition = $1 AND (id, op) > ($2, $3) ORDER BY id, op LIMIT $4";

    LEASE = "SELECT partition, node, address, epoch, until FROM leases WHERE partition = $1";
    LEASES = "SELECT partition, node, address, epoch, until FROM leases ORDER BY partition";
    LEASE_TAKE = "INSERT INTO leases (partition, node, address, epoch, until) \
        VALUES ($1, $2, $3, 1, $4) ON CONFLICT (partition) DO UPDATE SET node = excluded.node, \
        address = excluded.address, epoch = leases.epoch + 1, until = excluded.until \
        WHERE leases.until <= $5 OR leases.node = excluded.node RETURNING epoch";
    LEASE_RENEW = "UPDATE leases SET until = $1, address = $2 \
        WHERE partition = $3 AND node = $4 AND epoch = $5";
    LEASE_RELEASE = "UPDATE leases SET until = 0, epoch = epoch + 1 \
        WHERE partition = $1 AND node = $2 AND epoch = $3";
    LEASES_END = "UPDATE leases SET until = 0, epoch = epoch + 1";

    BLOB_ADD = "INSERT INTO blobs (hash, size_bytes, compression, content) \
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    BLOB = "SELECT compression, size_bytes, content FROM blobs WHERE hash = $1";
    BLOB_THERE = "SELECT 1 FROM blobs WHERE hash = $1";
    BLOBS = "SELECT hash, size_bytes FROM blobs";
    BLOB_REMOVE = "DELETE FROM blobs WHERE hash = $1";
    BLOBS_OF_EXECUTIONS = "SELECT blobs FROM executions WHERE blobs IS NOT NULL";
    BLOBS_OF_HISTORY = "SELECT blobs FROM history WHERE blobs IS NOT NULL";
}
