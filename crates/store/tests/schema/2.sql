CREATE TABLE schema_version (version INTEGER NOT NULL);
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
    description TEXT NOT NULL, durable TEXT NOT NULL DEFAULT 'no',
    PRIMARY KEY (tenant, name, version)
) STRICT;
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
CREATE TABLE blobs (
    hash BLOB NOT NULL PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    compression TEXT NOT NULL,
    content BLOB NOT NULL
) STRICT;
INSERT INTO schema_version VALUES (2);
INSERT INTO tenants VALUES ('acme', 1790000000000000000, -2, 0);
INSERT INTO tenants VALUES ('globex', 1790000000000000000, -2, 0);
INSERT INTO keys VALUES (X'00000000000000000000000000000001', 'acme', 'the build server', 'admin', 'interactive', X'0909090909090909090909090909090909090909090909090909090909090909', 1790000000001000000, NULL);
INSERT INTO settings VALUES ('salt', X'00FF');
INSERT INTO functions VALUES ('acme', 'f', 2);
INSERT INTO function_versions VALUES ('acme', 'f', 1, 'process', 'python3.12', 'app.handler', 1500000000, 'economy', X'040000004D4F444505000000613D620A63010000004100000000', 1, X'26EA0894AD7DC615A548B05F116F076A67AB63F06452174E2438DB716393C5E1', 8, 1790000000002000000, 'resizes “images”', 'explicit');
INSERT INTO function_versions VALUES ('acme', 'f', 2, 'process', 'python3.12', 'app.handler', 1500000000, 'economy', X'040000004D4F444505000000613D620A63010000004100000000', 1, X'26EA0894AD7DC615A548B05F116F076A67AB63F06452174E2438DB716393C5E1', 8, 1790000000002000000, 'resizes “images”', 'explicit');
INSERT INTO async_calls VALUES (X'01A0C4506C03FFFFFFFFFFFFFFFFFFFF', 'acme', 'mail', 4, 'standard', 'critical', X'01A0C45FAE40FFFFFFFFFFFFFFFFFFFF', 3, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 1790000000003000000, 1, 1, 1790000000003000000, NULL, NULL, NULL, X'00FF0A');
INSERT INTO async_calls VALUES (X'01A0C4506C04FFFFFFFFFFFFFFFFFFFF', 'acme', 'mail', 4, 'standard', 'critical', X'01A0C45FAE40FFFFFFFFFFFFFFFFFFFF', 3, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 1790000000004000000, 1, 1, 1790000000004000000, 'timed-out', 'no answer in 60 s', 1790000000050000000, X'00FF0A');
INSERT INTO invocations VALUES (0, 'acme', X'01A0C4506C01FFFFFFFFFFFFFFFFFFFF', 1, 'home', 2, 'critical', X'01A0C45FAE40FFFFFFFFFFFFFFFFFFFF', 'async', 1790000000001000000, 1790000000002000000, 1790000000003000000, 77, NULL, NULL, 10, 20, 30, 4, -1, 1, '{"queued_ns":1}', X'1B5B00FF');
INSERT INTO invocations VALUES (1, 'globex', X'01A0C4506C02FFFFFFFFFFFFFFFFFFFF', 1, 'home', 2, 'critical', X'01A0C45FAE40FFFFFFFFFFFFFFFFFFFF', 'async', 1790000000002000000, 1790000000003000000, 1790000000004000000, 77, NULL, NULL, 10, 20, 30, 4, -1, 1, '{"queued_ns":1}', X'1B5B00FF');
INSERT INTO sums VALUES ('acme', 20717, 'home', 'critical', 1, 0, 10, 20, 30, 4);
INSERT INTO sums VALUES ('globex', 20717, 'home', 'critical', 1, 0, 10, 20, 30, 4);
INSERT INTO executions VALUES (X'01A0C4506C0100000000000000000003', 3, 'acme', 'one', 'order', 'state-machine', 'standard', 'critical', X'01A0C4506FE800000000000000000003', 7, 1790000000001000000, NULL, 1, 3, 'suspended', 1790000000002000000, 1790000000100000000, 'signal approved since 12:00', X'00FF', -1, -1, X'FA2C8CC4F28176BBEED4B736DF569A34C79CD3723E9EC42F9674B4D46AC6B8B8', X'FF0001');
INSERT INTO history VALUES (X'01A0C4506C0100000000000000000003', 1, 1790000000001000000, X'01', X'FA2C8CC4F28176BBEED4B736DF569A34C79CD3723E9EC42F9674B4D46AC6B8B8');
INSERT INTO outbox VALUES (3, X'01A0C4506C0100000000000000000003', 4, X'02');
INSERT INTO leases VALUES (0, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (1, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (2, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (3, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (4, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (5, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (6, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (7, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (8, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (9, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (10, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (11, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (12, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (13, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (14, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO leases VALUES (15, 'here', 'http://here:4566', 1, 1790000010000000000);
INSERT INTO blobs VALUES (X'FA2C8CC4F28176BBEED4B736DF569A34C79CD3723E9EC42F9674B4D46AC6B8B8', 4, 'none', X'626C6F62');
