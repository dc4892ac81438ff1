-- How a function suspends: no, stackful, quiescent, explicit.
ALTER TABLE function_versions ADD COLUMN durable TEXT NOT NULL DEFAULT 'no';

-- What never changes stands first, the largest last. No index names a column that every step
-- changes, but for the time at which to look again.
CREATE TABLE executions (
    id BLOB NOT NULL PRIMARY KEY,
    partition INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT,
    function TEXT NOT NULL,
    kind TEXT NOT NULL,
    class TEXT NOT NULL,
    max_class TEXT NOT NULL,
    parent BLOB,
    parent_op INTEGER,
    created INTEGER NOT NULL,
    finished INTEGER,
    revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    updated INTEGER NOT NULL,
    wake INTEGER,
    waits TEXT NOT NULL,
    custom_status BLOB,
    cost INTEGER NOT NULL,
    state_bytes INTEGER NOT NULL,
    blobs BLOB,
    state BLOB NOT NULL
) STRICT;
CREATE INDEX executions_of_tenant ON executions (tenant, id);
CREATE INDEX executions_open_of_tenant ON executions (tenant, id) WHERE finished IS NULL;
CREATE INDEX executions_open ON executions (partition, id) WHERE finished IS NULL;
CREATE INDEX executions_wake ON executions (partition, wake, id) WHERE wake IS NOT NULL;
CREATE INDEX executions_of_parent ON executions (parent, id) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX executions_named ON executions (tenant, name) WHERE name IS NOT NULL;

CREATE TABLE history (
    id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    blobs BLOB,
    PRIMARY KEY (id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    partition INTEGER NOT NULL,
    id BLOB NOT NULL,
    op INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (partition, id, op)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    partition INTEGER NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    address TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- Blobs that are not files of their own. The size is that of the content before compression.
CREATE TABLE blobs (
    hash BLOB NOT NULL PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    compression TEXT NOT NULL,
    content BLOB NOT NULL
) STRICT;
