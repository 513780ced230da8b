"""The statements that create a new ledger. Generated from the migrations: do not edit.

To generate this file again, run `uv run python -m aorch.ledger.sqlite.generate_new_ledger`. It is checked in because a new
ledger must not need Alembic and SQLAlchemy (400 ms).
"""

STATEMENTS = (
    r"""CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)""",
    r"""CREATE TABLE tokens (
    token_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    scopes TEXT NOT NULL,
    agent_id VARCHAR,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT, capabilities TEXT,
    CONSTRAINT pk_tokens PRIMARY KEY (token_id),
    CONSTRAINT uq_tokens_sha256 UNIQUE (sha256)
)""",
    r"""CREATE TABLE idempotency_keys (
    caller VARCHAR NOT NULL,
    "key" VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    request_id VARCHAR NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (caller, "key")
)""",
    r"""CREATE TABLE queue_clock (
    priority INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    CONSTRAINT pk_queue_clock PRIMARY KEY (priority)
)""",
    r"""CREATE TABLE webhooks (
    request_id VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    due_at TEXT,
    error VARCHAR,
    CONSTRAINT pk_webhooks PRIMARY KEY (request_id)
)""",
    r"""CREATE INDEX ix_webhooks_due_at ON webhooks (due_at) WHERE due_at IS NOT NULL""",
    r"""CREATE TABLE outbox (
    destination VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    reach INTEGER NOT NULL,
    CONSTRAINT pk_outbox PRIMARY KEY (destination)
)""",
    r"""CREATE TABLE parked_deliveries (
    position INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    contract_id VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    parked_at TEXT NOT NULL,
    CONSTRAINT pk_parked_deliveries PRIMARY KEY (position, kind)
)""",
    r"""CREATE TABLE memory_blocks (
    block_id VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL,
    created_at TEXT NOT NULL,
    last_position INTEGER NOT NULL,
    block TEXT NOT NULL,
    beside TEXT,
    CONSTRAINT pk_memory_blocks PRIMARY KEY (block_id)
)""",
    r"""CREATE INDEX ix_memory_blocks_session_id_last_position ON memory_blocks (session_id, last_position)""",
    r"""CREATE TABLE counters (
    name VARCHAR NOT NULL,
    value INTEGER NOT NULL,
    CONSTRAINT pk_counters PRIMARY KEY (name)
)""",
    r"""CREATE TABLE "contracts" (
    position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    contract_id VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL,
    contract_type VARCHAR NOT NULL,
    from_agent VARCHAR NOT NULL,
    to_agent VARCHAR,
    capability VARCHAR NOT NULL,
    payload TEXT NOT NULL,
    status VARCHAR NOT NULL,
    created_at TEXT NOT NULL,
    completed_at TEXT,
    result TEXT,
    error VARCHAR,
    metadata TEXT NOT NULL,
    request_id VARCHAR,
    parent_id VARCHAR,
    claimed_by VARCHAR,
    priority INTEGER,
    turn INTEGER,
    due_at TEXT,
    expires_at TEXT,
    attempts INTEGER,
    cancelled_by VARCHAR, required_labels VARCHAR,
    CONSTRAINT uq_contracts_contract_id UNIQUE (contract_id)
)""",
    r"""CREATE UNIQUE INDEX ix_contracts_request_id ON contracts (request_id) WHERE request_id IS NOT NULL""",
    r"""CREATE INDEX ix_contracts_parent_id ON contracts (parent_id) WHERE parent_id IS NOT NULL""",
    r"""CREATE INDEX ix_contracts_due_at ON contracts (due_at) WHERE due_at IS NOT NULL""",
    r"""CREATE INDEX ix_contracts_expires_at ON contracts (expires_at) WHERE expires_at IS NOT NULL""",
    r"""CREATE INDEX ix_contracts_cancelled ON contracts (claimed_by) WHERE cancelled_by IS NOT NULL AND claimed_by IS NOT NULL""",
    r"""CREATE VIRTUAL TABLE contracts_text USING fts5(words, content='', tokenize="unicode61 categories 'L* N* Co Mn Mc'")""",
    r"""CREATE INDEX ix_contracts_claimed_by ON contracts (claimed_by) WHERE claimed_by IS NOT NULL AND status = 'pending'""",
    r"""CREATE TRIGGER contracts_deleted AFTER DELETE ON contracts BEGIN UPDATE counters SET value = value + 1 WHERE name = 'deleted_contracts'; DELETE FROM session_index WHERE session_id = old.session_id AND position = old.position; END""",
    r"""CREATE TRIGGER contracts_renamed AFTER UPDATE OF session_id ON contracts BEGIN UPDATE session_index SET session_id = new.session_id WHERE session_id = old.session_id AND position = old.position; END""",
    r"""CREATE VIEW session_positions AS SELECT session_id, position FROM session_index UNION ALL SELECT session_id, position FROM contracts WHERE position > (SELECT value FROM counters WHERE name = 'session_index')""",
    r"""CREATE TABLE batches (
    name VARCHAR NOT NULL,
    generation VARCHAR NOT NULL,
    CONSTRAINT pk_batches PRIMARY KEY (name)
)""",
    r"""CREATE TABLE batch_lines (
    generation VARCHAR NOT NULL,
    line_key VARCHAR NOT NULL,
    request_id VARCHAR NOT NULL,
    CONSTRAINT pk_batch_lines PRIMARY KEY (generation, line_key)
)""",
    r"""CREATE TABLE retries (
    contract_id VARCHAR NOT NULL,
    command VARCHAR NOT NULL,
    request_id VARCHAR NOT NULL,
    CONSTRAINT pk_retries PRIMARY KEY (contract_id, command)
)""",
    r"""CREATE TABLE attempts (
    request_id VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    agent_id VARCHAR NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    code VARCHAR,
    error VARCHAR,
    CONSTRAINT pk_attempts PRIMARY KEY (request_id, number)
)""",
    r"""CREATE TABLE agents (
    agent_id VARCHAR NOT NULL,
    document VARCHAR,
    fingerprint VARCHAR,
    owner VARCHAR NOT NULL,
    registered_at TEXT NOT NULL,
    ttl_s FLOAT,
    lease_ends_at TEXT,
    drained_at TEXT,
    state VARCHAR,
    reason VARCHAR,
    since TEXT, changes VARCHAR, circuit_until TEXT, circuit_since TEXT,
    CONSTRAINT pk_agents PRIMARY KEY (agent_id)
)""",
    r"""CREATE TABLE task_progress (
    request_id VARCHAR NOT NULL,
    reported_at TEXT NOT NULL,
    progress TEXT NOT NULL,
    CONSTRAINT pk_task_progress PRIMARY KEY (request_id)
)""",
    r"""CREATE TABLE metric_totals (
    metric VARCHAR NOT NULL,
    labels VARCHAR NOT NULL,
    value BIGINT NOT NULL,
    CONSTRAINT pk_metric_totals PRIMARY KEY (metric, labels)
)""",
    r"""CREATE INDEX ix_contracts_capability_to_agent_required_labels_priority_turn ON contracts (capability, to_agent, required_labels, priority, turn) WHERE turn IS NOT NULL""",
    r"""CREATE INDEX ix_contracts_required_labels ON contracts (required_labels) WHERE turn IS NOT NULL AND required_labels IS NOT NULL""",
    r"""CREATE VIEW session_contracts AS SELECT s.position, c.contract_id, c.session_id, c.contract_type, c.from_agent, c.to_agent, c.capability, c.payload, c.status, c.created_at, c.completed_at, c.result, c.error, c.metadata, c.request_id, c.parent_id, c.claimed_by, c.priority, c.turn, c.due_at, c.expires_at, c.attempts, c.cancelled_by, c.required_labels FROM session_index s CROSS JOIN contracts c ON c.position = s.position AND c.session_id = s.session_id UNION ALL SELECT position, contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status, created_at, completed_at, result, error, metadata, request_id, parent_id, claimed_by, priority, turn, due_at, expires_at, attempts, cancelled_by, required_labels FROM contracts WHERE position > (SELECT value FROM counters WHERE name = 'session_index')""",
    r"""CREATE TABLE erasures (
    erasure_id VARCHAR NOT NULL,
    erased_at TEXT NOT NULL,
    erased_by VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    selection TEXT NOT NULL,
    cleaned_at TEXT,
    CONSTRAINT pk_erasures PRIMARY KEY (erasure_id)
)""",
    r"""CREATE TABLE erased_contracts (
    contract_id VARCHAR NOT NULL,
    erasure_id VARCHAR NOT NULL,
    CONSTRAINT pk_erased_contracts PRIMARY KEY (contract_id)
)""",
    r"""CREATE TABLE pruned_contracts (
    session_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    contract_id VARCHAR NOT NULL,
    CONSTRAINT pk_pruned_contracts PRIMARY KEY (session_id, position)
)""",
    r"""CREATE INDEX ix_idempotency_keys_request_id ON idempotency_keys (request_id)""",
    r"""CREATE INDEX ix_batch_lines_request_id ON batch_lines (request_id)""",
    r"""CREATE VIEW exchanges AS
SELECT c.position, c.contract_id AS request_id, r.contract_id AS response_id, c.session_id, c.parent_id, c.capability,
    c.from_agent,
    coalesce(CASE WHEN json_valid(c.metadata) THEN json_extract(c.metadata, '$.caller.name') END, c.from_agent) AS caller,
    CASE WHEN r.from_agent <> 'orchestrator' THEN r.from_agent ELSE coalesce((SELECT a.agent_id FROM attempts a
        WHERE a.request_id = c.contract_id ORDER BY a.number DESC LIMIT 1), c.to_agent) END AS agent_id,
    CASE WHEN r.status = 'interrupted' THEN r.status ELSE c.status END AS status,
    c.created_at, c.completed_at,
    CASE WHEN json_valid(r.metadata) THEN json_extract(r.metadata, '$.duration_ms') END AS duration_ms,
    CASE WHEN c.priority IS NOT NULL AND json_valid(c.metadata) AND json_valid(r.metadata) THEN max(0, round(
        (julianday(c.completed_at) - julianday(max(c.created_at, coalesce(json_extract(c.metadata, '$.queue.not_before'),
        c.created_at)))) * 86400000 - json_extract(r.metadata, '$.duration_ms'))) END AS wait_ms,
    coalesce(nullif((SELECT count(*) FROM attempts a WHERE a.request_id = c.contract_id), 0),
        CASE WHEN json_valid(r.metadata) THEN json_extract(r.metadata, '$.attempts') END,
        CASE WHEN r.from_agent <> 'orchestrator' THEN 1 WHEN c.to_agent IS NULL THEN 0
        WHEN r.status = 'interrupted' OR (r.contract_id IS NULL AND c.status = 'in_progress') THEN 1 ELSE 0 END) AS attempts,
    c.payload AS parameters, r.result, r.error,
    CASE WHEN json_valid(r.metadata) THEN json_extract(r.metadata, '$.code') END AS code,
    CASE WHEN json_valid(r.metadata) THEN json_extract(r.metadata, '$.model') END AS model,
    CASE WHEN json_valid(r.metadata) THEN json_extract(r.metadata, '$.usage.input') END AS tokens_in,
    CASE WHEN json_valid(r.metadata) THEN json_extract(r.metadata, '$.usage.output') END AS tokens_out,
    CASE WHEN json_valid(c.metadata) THEN json_extract(c.metadata, '$.erased.at') END AS erased_at
FROM contracts c LEFT JOIN contracts r ON r.request_id = c.contract_id
WHERE c.contract_type = 'REQUEST'""",
    r"""CREATE VIEW sessions AS
SELECT session_id, count(*) AS contracts, sum(contract_type = 'REQUEST') AS exchanges,
    sum(contract_type = 'REQUEST' AND status = 'failed') AS failed,
    sum(contract_type = 'REQUEST' AND status IN ('pending', 'in_progress')) AS open,
    min(created_at) AS first_at, max(created_at) AS last_at
FROM contracts GROUP BY session_id""",
    r"""CREATE VIEW agent_latency AS
WITH measured AS (
    SELECT from_agent AS agent_id, capability, status,
        CASE WHEN json_valid(metadata) AND json_type(metadata, '$.duration_ms') IN ('integer', 'real')
        THEN json_extract(metadata, '$.duration_ms') END AS duration_ms
    FROM contracts
    WHERE contract_type = 'RESPONSE' AND from_agent <> 'orchestrator' AND status IN ('completed', 'failed')
), ranked AS (
    SELECT agent_id, capability, status, duration_ms,
        row_number() OVER (PARTITION BY agent_id, capability ORDER BY duration_ms) AS n,
        count(*) OVER (PARTITION BY agent_id, capability) AS total
    FROM measured WHERE duration_ms IS NOT NULL
)
SELECT agent_id, capability, count(*) AS exchanges, sum(status = 'failed') AS failed, round(avg(duration_ms), 3) AS avg_ms,
    min(CASE WHEN n * 100 >= total * 50 THEN duration_ms END) AS p50_ms,
    min(CASE WHEN n * 100 >= total * 95 THEN duration_ms END) AS p95_ms,
    max(duration_ms) AS max_ms
FROM ranked GROUP BY agent_id, capability""",
    r"""CREATE VIEW attempts_by_agent AS
SELECT agent_id, count(*) AS attempts, sum(outcome = 'succeeded') AS succeeded, sum(outcome = 'failed') AS failed,
    sum(outcome = 'open') AS open, sum(number > 1) AS retries, max(started_at) AS last_at
FROM (
    SELECT agent_id, number, started_at,
        CASE WHEN ended_at IS NULL THEN 'open' WHEN code IS NULL THEN 'succeeded' ELSE 'failed' END AS outcome
    FROM attempts
    UNION ALL
    SELECT agent_id, 1, created_at,
        CASE status WHEN 'completed' THEN 'succeeded' WHEN 'in_progress' THEN 'open' ELSE 'failed' END
    FROM exchanges e
    WHERE attempts > 0 AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.request_id = e.request_id)
)
GROUP BY agent_id""",
    r"""CREATE TABLE contract_ages (
    last_position INTEGER NOT NULL,
    oldest_at TEXT NOT NULL,
    CONSTRAINT pk_contract_ages PRIMARY KEY (last_position)
)""",
    r"""CREATE TABLE work_leases (
    lease_id VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    worker VARCHAR NOT NULL,
    offer_id VARCHAR NOT NULL,
    lease_s FLOAT NOT NULL,
    created_at TEXT NOT NULL,
    ends_at TEXT NOT NULL,
    delivery_id VARCHAR,
    unconfirmed TEXT,
    CONSTRAINT pk_work_leases PRIMARY KEY (lease_id)
)""",
    r"""CREATE INDEX ix_work_leases_ends_at ON work_leases (ends_at)""",
    r"""CREATE INDEX ix_work_leases_offer_id ON work_leases (offer_id)""",
    r"""CREATE TABLE work_offers (
    offer_id VARCHAR NOT NULL,
    document TEXT NOT NULL,
    CONSTRAINT pk_work_offers PRIMARY KEY (offer_id)
)""",
    r"""CREATE INDEX ix_contracts_corrections ON contracts (session_id) WHERE contract_type = 'REQUEST' AND to_agent = 'orchestrator' AND capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo')""",
    r"""CREATE TABLE rate_buckets (
    caller VARCHAR NOT NULL,
    full_at FLOAT NOT NULL,
    CONSTRAINT pk_rate_buckets PRIMARY KEY (caller)
)""",
    r"""CREATE TABLE session_turns (
    session_id VARCHAR NOT NULL,
    priority INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    first_turn INTEGER NOT NULL,
    CONSTRAINT pk_session_turns PRIMARY KEY (session_id, priority, turn)
)
 WITHOUT ROWID""",
    r"""CREATE TRIGGER contracts_queued AFTER INSERT ON contracts WHEN new.turn IS NOT NULL BEGIN UPDATE OR IGNORE session_turns SET turn = new.turn WHERE session_id = new.session_id AND priority = new.priority AND turn = new.turn - 1; INSERT OR IGNORE INTO session_turns VALUES (new.session_id, new.priority, new.turn, new.turn); END""",
    r"""CREATE TRIGGER contracts_due AFTER UPDATE OF turn ON contracts WHEN new.turn IS NOT NULL AND new.turn > (SELECT turn FROM queue_clock WHERE priority = new.priority) BEGIN UPDATE OR IGNORE session_turns SET turn = new.turn WHERE session_id = new.session_id AND priority = new.priority AND turn = new.turn - 1; INSERT OR IGNORE INTO session_turns VALUES (new.session_id, new.priority, new.turn, new.turn); END""",
    r"""CREATE TRIGGER contracts_claimed AFTER UPDATE OF turn ON contracts WHEN new.claimed_by IS NOT NULL AND old.turn IS NOT NULL BEGIN DELETE FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn = old.turn; END""",
    r"""CREATE TRIGGER contracts_withdrawn AFTER UPDATE OF turn ON contracts WHEN new.claimed_by IS NULL AND old.turn IS NOT NULL BEGIN INSERT OR IGNORE INTO session_turns SELECT session_id, priority, old.turn - 1, first_turn FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn = (SELECT min(turn) FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn >= old.turn) AND first_turn < old.turn AND old.turn - 1 > (SELECT turn FROM queue_clock WHERE priority = old.priority); UPDATE session_turns SET first_turn = old.turn + 1 WHERE session_id = old.session_id AND priority = old.priority AND turn = (SELECT min(turn) FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn > old.turn) AND first_turn <= old.turn; DELETE FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn = old.turn; END""",
    r"""CREATE TRIGGER contracts_unqueued AFTER DELETE ON contracts WHEN old.turn IS NOT NULL BEGIN INSERT OR IGNORE INTO session_turns SELECT session_id, priority, old.turn - 1, first_turn FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn = (SELECT min(turn) FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn >= old.turn) AND first_turn < old.turn AND old.turn - 1 > (SELECT turn FROM queue_clock WHERE priority = old.priority); UPDATE session_turns SET first_turn = old.turn + 1 WHERE session_id = old.session_id AND priority = old.priority AND turn = (SELECT min(turn) FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn > old.turn) AND first_turn <= old.turn; DELETE FROM session_turns WHERE session_id = old.session_id AND priority = old.priority AND turn = old.turn; END""",
    r"""CREATE INDEX ix_contracts_status_position_contract_type ON contracts (status, position, contract_type) WHERE status <> 'completed'""",
    r"""CREATE TABLE session_index (
    session_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    is_request INTEGER NOT NULL,
    CONSTRAINT pk_session_index PRIMARY KEY (session_id, position)
)
 WITHOUT ROWID""",
    r"""CREATE TRIGGER contracts_indexed AFTER INSERT ON contracts WHEN new.position % 2048 = 0 BEGIN INSERT INTO session_index SELECT session_id, position, contract_type = 'REQUEST' FROM contracts WHERE position > (SELECT value FROM counters WHERE name = 'session_index') AND position <= new.position ORDER BY session_id, position; UPDATE counters SET value = new.position WHERE name = 'session_index'; END""",
    r"""INSERT INTO alembic_version VALUES ('0027')""",
    r"""INSERT INTO counters VALUES ('deleted_contracts', 0)""",
    r"""INSERT INTO counters VALUES ('session_index', 0)""",
    r"""INSERT INTO queue_clock VALUES (1, 0)""",
    r"""INSERT INTO queue_clock VALUES (2, 0)""",
    r"""INSERT INTO queue_clock VALUES (3, 0)""",
    r"""INSERT INTO queue_clock VALUES (4, 0)""",
    r"""INSERT INTO queue_clock VALUES (5, 0)""",
    r"""INSERT INTO sqlite_sequence VALUES ('contracts', 0)""",
)
