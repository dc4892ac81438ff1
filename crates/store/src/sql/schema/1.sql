CREATE TABLE tenants (
    name TEXT NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL,
    monthly_budget INTEGER,
    allow_network INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id BLOB NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (name),
    label TEXT NOT NULL,
    role TEXT NOT NULL,
    max_class TEXT,
    secret_hash BLOB NOT NULL,
    created INTEGER NOT NULL,
    revoked INTEGER
) STRICT;

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- A name stays here when its versions are deleted, so that no number is given twice.
CREATE TABLE functions (
    tenant TEXT NOT NULL REFERENCES tenants (name),
    name TEXT NOT NULL,
    last_version INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

CREATE TABLE function_versions (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    runtime TEXT NOT NULL,
    handler TEXT NOT NULL,
    timeout_ns INTEGER NOT NULL,
    default_class TEXT,
    environment BLOB NOT NULL,
    network INTEGER NOT NULL,
    code_hash BLOB NOT NULL,
    code_size_bytes INTEGER NOT NULL,
    created INTEGER NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (tenant, name, version)
) STRICT;

-- A call that died is a dead letter. The payload stands last, so that reading the rest of a row
-- does not read it.
CREATE TABLE async_calls (
    id BLOB NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    function TEXT NOT NULL,
    version INTEGER,
    class TEXT NOT NULL,
    max_class TEXT NOT NULL,
    caller BLOB,
    depth INTEGER NOT NULL,
    traceparent TEXT,
    arrived INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    first_attempt INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    failure_kind TEXT,
    failure_message TEXT,
    died INTEGER,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX async_calls_queued ON async_calls (not_before, id) WHERE died IS NULL;
CREATE INDEX async_calls_dead ON async_calls (tenant, id) WHERE died IS NOT NULL;

-- Numbered in the order of their commits; retention removes the lowest numbers.
CREATE TABLE invocations (
    sequence INTEGER NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    function TEXT NOT NULL,
    version INTEGER NOT NULL,
    class TEXT NOT NULL,
    caller BLOB,
    mode TEXT NOT NULL,
    arrived INTEGER NOT NULL,
    started INTEGER,
    finished INTEGER NOT NULL,
    answer_bytes INTEGER NOT NULL,
    failure_kind TEXT,
    failure_message TEXT,
    cpu_ns INTEGER NOT NULL,
    byte_seconds INTEGER NOT NULL,
    cpu_cost INTEGER NOT NULL,
    memory_cost INTEGER NOT NULL,
    logs_dropped_bytes INTEGER NOT NULL,
    cold INTEGER NOT NULL,
    trace TEXT NOT NULL,
    logs BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX invocations_by_id ON invocations (tenant, id, attempt);

-- Sums keep all 64 bits and are never added up in SQL.
CREATE TABLE sums (
    tenant TEXT NOT NULL,
    day INTEGER NOT NULL,
    function TEXT NOT NULL,
    class TEXT NOT NULL,
    invocations INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    byte_seconds INTEGER NOT NULL,
    cpu_cost INTEGER NOT NULL,
    memory_cost INTEGER NOT NULL,
    PRIMARY KEY (tenant, day, function, class)
) STRICT;
