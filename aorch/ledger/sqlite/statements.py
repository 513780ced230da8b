"""The SQL of the ledger for SQLite. Generated: do not edit.

Source: aorch/ledger/queries/, which also documents each statement. To generate this file again, run
`uv run python -m aorch.ledger.generate_statements`. It is checked in because no command may import SQLAlchemy (210 ms).
"""

REVISION = "0027"
"""The newest revision in migrations/versions."""

# contract_queries.py

INSERT_CONTRACT = """\
INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability,
    payload, status, created_at, completed_at, result, error, metadata, request_id, parent_id,
    claimed_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Parameters: contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,
    created_at, completed_at, result, error, metadata, request_id, parent_id, claimed_by."""

INSERT_REQUEST = """\
INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability,
    payload, status, created_at, metadata, parent_id, claimed_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?, ?)
"""
"""Parameters: contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,
    created_at, metadata, parent_id, claimed_by."""

INSERT_ROOT_REQUEST = """\
INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability,
    payload, status, created_at, metadata, claimed_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Parameters: contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,
    created_at, metadata, claimed_by."""

INSERT_RESPONSE = """\
INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability,
    payload, status, created_at, completed_at, result, error, metadata, request_id, parent_id)
    VALUES (?, ?, 'RESPONSE', ?, ?, ?, '{}', ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Parameters: contract_id, session_id, from_agent, to_agent, capability, status, created_at, completed_at, result,
    error, metadata, request_id, parent_id."""

INSERT_ROOT_RESULT = """\
INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability,
    payload, status, created_at, completed_at, result, metadata, request_id) VALUES (?, ?,
    'RESPONSE', ?, ?, ?, '{}', ?, ?, ?, ?, ?, ?)
"""
"""Parameters: contract_id, session_id, from_agent, to_agent, capability, status, created_at, completed_at, result,
    metadata, request_id."""

START_REQUEST = """\
UPDATE contracts SET status='in_progress' WHERE contracts.contract_id = ? AND contracts.status =
    'pending'
"""
"""Parameters: request_id."""

FINISH_REQUEST = "UPDATE contracts SET status=?, completed_at=?, claimed_by=NULL WHERE contracts.contract_id = ?"
"""Parameters: final_status, finished_at, request_id."""

SET_AGENT = "UPDATE contracts SET to_agent=? WHERE contracts.contract_id = ?"
"""Parameters: agent_id, request_id."""

LINK_RESPONSE = "UPDATE contracts SET request_id=?, capability=? WHERE contracts.contract_id = ?"
"""Parameters: answered_id, its_capability, response_id."""

CONTRACT_AT = """\
SELECT contracts.contract_id, contracts.session_id, contracts.contract_type, contracts.from_agent,
    contracts.to_agent, contracts.capability, contracts.payload, contracts.status,
    contracts.created_at, contracts.completed_at, contracts.result, contracts.error,
    contracts.metadata, contracts.request_id, contracts.parent_id, contracts.claimed_by
FROM contracts
WHERE contracts.position = ?
"""
"""Parameters: position."""

CONTRACT_BY_ID = """\
SELECT contracts.contract_id, contracts.session_id, contracts.contract_type, contracts.from_agent,
    contracts.to_agent, contracts.capability, contracts.payload, contracts.status,
    contracts.created_at, contracts.completed_at, contracts.result, contracts.error,
    contracts.metadata, contracts.request_id, contracts.parent_id, contracts.claimed_by
FROM contracts
WHERE contracts.contract_id = ?
"""
"""Parameters: contract_id."""

RESPONSE_TO = """\
SELECT contracts.contract_id, contracts.session_id, contracts.contract_type, contracts.from_agent,
    contracts.to_agent, contracts.capability, contracts.payload, contracts.status,
    contracts.created_at, contracts.completed_at, contracts.result, contracts.error,
    contracts.metadata, contracts.request_id, contracts.parent_id, contracts.claimed_by
FROM contracts
WHERE contracts.request_id = ?
"""
"""Parameters: request_id."""

CONTRACT_TEXTS = """\
SELECT CAST(contracts.contract_id AS TEXT) AS contract_id, CAST(contracts.session_id AS TEXT) AS
    session_id, CAST(contracts.contract_type AS TEXT) AS contract_type, CAST(contracts.from_agent AS
    TEXT) AS from_agent, CAST(contracts.to_agent AS TEXT) AS to_agent, CAST(contracts.capability AS
    TEXT) AS capability, CAST(contracts.payload AS TEXT) AS payload, CAST(contracts.status AS TEXT)
    AS status, CAST(contracts.created_at AS TEXT) AS created_at, CAST(contracts.completed_at AS
    TEXT) AS completed_at, CAST(contracts.result AS TEXT) AS result, CAST(contracts.error AS TEXT)
    AS error, CAST(contracts.metadata AS TEXT) AS metadata, CAST(contracts.request_id AS TEXT) AS
    request_id, CAST(contracts.parent_id AS TEXT) AS parent_id, CAST(contracts.claimed_by AS TEXT)
    AS claimed_by
FROM contracts
WHERE contracts.contract_id = ?
"""
"""Parameters: contract_id."""

RESPONSE_TEXTS = """\
SELECT CAST(contracts.contract_id AS TEXT) AS contract_id, CAST(contracts.session_id AS TEXT) AS
    session_id, CAST(contracts.contract_type AS TEXT) AS contract_type, CAST(contracts.from_agent AS
    TEXT) AS from_agent, CAST(contracts.to_agent AS TEXT) AS to_agent, CAST(contracts.capability AS
    TEXT) AS capability, CAST(contracts.payload AS TEXT) AS payload, CAST(contracts.status AS TEXT)
    AS status, CAST(contracts.created_at AS TEXT) AS created_at, CAST(contracts.completed_at AS
    TEXT) AS completed_at, CAST(contracts.result AS TEXT) AS result, CAST(contracts.error AS TEXT)
    AS error, CAST(contracts.metadata AS TEXT) AS metadata, CAST(contracts.request_id AS TEXT) AS
    request_id, CAST(contracts.parent_id AS TEXT) AS parent_id, CAST(contracts.claimed_by AS TEXT)
    AS claimed_by
FROM contracts
WHERE contracts.request_id = ?
"""
"""Parameters: request_id."""

SEARCHABLE_TEXTS = """\
SELECT contracts.position, CAST(contracts.payload AS TEXT) AS payload, CAST(contracts.result AS
    TEXT) AS result, contracts.error
FROM contracts
WHERE contracts.position > ? ORDER BY contracts.position
LIMIT ?
"""
"""Parameters: after, limit."""

LAST_POSITION = "SELECT coalesce(max(contracts.position), 0) AS position FROM contracts"

AGENT_OF_REQUEST = """\
SELECT coalesce((SELECT attempts.agent_id
FROM attempts
WHERE attempts.request_id = contracts.contract_id AND attempts.ended_at IS NULL ORDER BY
    attempts.number DESC
LIMIT 1 OFFSET 0), contracts.to_agent) AS agent_id
FROM contracts
WHERE contracts.contract_id = ?
"""
"""Parameters: request_id."""

PAYLOAD_OF_REQUEST = "SELECT contracts.payload FROM contracts WHERE contracts.contract_id = ?"
"""Parameters: request_id."""

RESULT_OF_REQUEST = "SELECT contracts.result FROM contracts WHERE contracts.request_id = ?"
"""Parameters: request_id."""

ANSWERED_REQUESTS = """\
SELECT contracts.request_id
FROM contracts
WHERE contracts.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: request_ids."""

CONTRACTS_BETWEEN = """\
SELECT session_contracts.contract_id, session_contracts.session_id, session_contracts.contract_type,
    session_contracts.from_agent, session_contracts.to_agent, session_contracts.capability,
    session_contracts.payload, session_contracts.status, session_contracts.created_at,
    session_contracts.completed_at, session_contracts.result, session_contracts.error,
    session_contracts.metadata, session_contracts.request_id, session_contracts.parent_id,
    session_contracts.claimed_by, session_contracts.position
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.position >= (SELECT bound.position
FROM contracts AS bound
WHERE bound.contract_id = ?) AND session_contracts.position <= (SELECT bound.position
FROM contracts AS bound
WHERE bound.contract_id = ?) ORDER BY session_contracts.position
"""
"""Parameters: session_id, first_contract_id, last_contract_id."""

NEWEST_IDS = """\
SELECT contracts.contract_id, contracts.capability, contracts.session_id
FROM contracts ORDER BY contracts.position DESC
LIMIT ?
"""
"""Parameters: limit."""

ANCESTORS = """\
WITH RECURSIVE ancestors(contract_id, to_agent, capability, parent_id) AS
(SELECT contracts.contract_id AS contract_id, contracts.to_agent AS to_agent, contracts.capability
    AS capability, contracts.parent_id AS parent_id
FROM contracts
WHERE contracts.contract_id = ? AND contracts.contract_type = 'REQUEST' UNION SELECT c.contract_id
    AS contract_id, c.to_agent AS to_agent, c.capability AS capability, c.parent_id AS parent_id
FROM contracts AS c JOIN ancestors ON c.contract_id = ancestors.parent_id)
SELECT ancestors.contract_id, ancestors.to_agent, ancestors.capability
FROM ancestors
"""
"""Parameters: contract_id."""

CLAIM_OWNERS = """\
SELECT contracts.claimed_by
FROM contracts
WHERE contracts.claimed_by IS NOT NULL AND contracts.status = 'in_progress' AND contracts.status !=
    'completed' UNION SELECT contracts.claimed_by
FROM contracts
WHERE contracts.claimed_by IS NOT NULL AND contracts.status = 'pending'
"""

OWNERS_AND_EXPIRY = """\
SELECT contracts.claimed_by
FROM contracts
WHERE contracts.claimed_by IS NOT NULL AND contracts.status = 'in_progress' AND contracts.status !=
    'completed' UNION SELECT contracts.claimed_by
FROM contracts
WHERE contracts.claimed_by IS NOT NULL AND contracts.status = 'pending' UNION SELECT NULL AS anon_1
WHERE EXISTS (SELECT contracts.position
FROM contracts
WHERE contracts.expires_at <= ?)
"""
"""Parameters: now."""

CLAIMED_BY_OWNER = """\
WITH given AS
(SELECT ? AS owner_id)
SELECT contracts.contract_id
FROM contracts
WHERE contracts.claimed_by IS NOT NULL AND contracts.status = 'in_progress' AND contracts.status !=
    'completed' AND contracts.claimed_by = (SELECT given.owner_id
FROM given) UNION ALL SELECT contracts.contract_id
FROM contracts
WHERE contracts.claimed_by IS NOT NULL AND contracts.status = 'pending' AND contracts.claimed_by =
    (SELECT given.owner_id
FROM given)
"""
"""Parameters: owner_id."""

# upkeep_queries.py

CONTRACT_TOTAL = "SELECT count(*) AS count FROM contracts"

OLDEST_CONTRACT = "SELECT contracts.created_at, contracts.position FROM contracts ORDER BY contracts.position LIMIT 1"

NEWEST_CONTRACT = """\
SELECT contracts.created_at, contracts.position
FROM contracts ORDER BY contracts.position DESC
LIMIT 1
"""

DUE_WEBHOOK_COUNT = "SELECT count(*) AS count FROM webhooks WHERE webhooks.due_at IS NOT NULL"

# pruning_queries.py

PARTS_AFTER = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.contract_type,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.request_id,
    contracts.parent_id, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.position > ? ORDER BY contracts.position
LIMIT ?
"""
"""Parameters: after, limit."""

CONTRACT_AGES = """\
SELECT contract_ages.last_position, contract_ages.oldest_at
FROM contract_ages ORDER BY contract_ages.last_position
"""

NEXT_POSITION = "SELECT min(contracts.position) AS position FROM contracts WHERE contracts.position > ?"
"""Parameters: after."""

OLDEST_BETWEEN = """\
SELECT min(contracts.created_at) AS oldest_at
FROM contracts
WHERE contracts.position > ? AND contracts.position <= ?
"""
"""Parameters: after, last."""

PARTS = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.contract_type,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.request_id,
    contracts.parent_id, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

PARTS_ANSWERING = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.contract_type,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.request_id,
    contracts.parent_id, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

PARTS_BELOW = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.contract_type,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.request_id,
    contracts.parent_id, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.parent_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

POSITIONS_OF = """\
SELECT contracts.contract_id, contracts.position
FROM contracts
WHERE contracts.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

NEXT_TRIES = """\
SELECT retries.contract_id, retries.request_id
FROM retries
WHERE retries.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

PENDING_WEBHOOKS_OF = """\
SELECT webhooks.request_id
FROM webhooks
WHERE webhooks.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND webhooks.due_at IS NOT NULL
"""
"""Parameters: contract_ids."""

KEYED_REQUESTS = """\
SELECT idempotency_keys.request_id
FROM idempotency_keys
WHERE idempotency_keys.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

GENERATIONS_OF = """\
SELECT batch_lines.request_id, batch_lines.generation
FROM batch_lines
WHERE batch_lines.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

RESUMABLE_GENERATIONS = "SELECT batches.generation, batches.name FROM batches"

REQUESTS_OF_GENERATION = """\
SELECT batch_lines.line_key, batch_lines.request_id
FROM batch_lines
WHERE batch_lines.generation = ? AND batch_lines.line_key > ? ORDER BY batch_lines.line_key
LIMIT ?
"""
"""Parameters: generation, after, limit."""

DUE_AGAIN_AT = """\
SELECT parked_deliveries.position
FROM parked_deliveries
WHERE parked_deliveries.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1) AND parked_deliveries.state = 'due'
"""
"""Parameters: positions."""

COVERED_POSITIONS = """\
SELECT memory_blocks.session_id, max(memory_blocks.last_position) AS position
FROM memory_blocks
WHERE memory_blocks.session_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) GROUP BY memory_blocks.session_id
"""
"""Parameters: session_ids."""

CONTENT_BYTES = """\
SELECT coalesce(sum(length(CAST(CAST(contracts.payload AS TEXT) AS BLOB)) +
    length(CAST(CAST(contracts.metadata AS TEXT) AS BLOB)) +
    coalesce(length(CAST(CAST(contracts.result AS TEXT) AS BLOB)), 0) +
    coalesce(length(CAST(contracts.error AS BLOB)), 0)), 0) AS bytes
FROM contracts
WHERE contracts.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1)
"""
"""Parameters: positions."""

ALL_CONTENT_BYTES = """\
SELECT coalesce(sum(length(CAST(CAST(contracts.payload AS TEXT) AS BLOB)) +
    length(CAST(CAST(contracts.metadata AS TEXT) AS BLOB)) +
    coalesce(length(CAST(CAST(contracts.result AS TEXT) AS BLOB)), 0) +
    coalesce(length(CAST(contracts.error AS BLOB)), 0)), 0) AS bytes
FROM contracts
"""

PRUNED_OF_SESSION = """\
SELECT pruned_contracts.contract_id, pruned_contracts.position
FROM pruned_contracts
WHERE pruned_contracts.session_id = ? ORDER BY pruned_contracts.position
"""
"""Parameters: session_id."""

PUT_CONTRACT_AGE = """\
INSERT INTO contract_ages (last_position, oldest_at) VALUES (?, ?) ON CONFLICT (last_position) DO
    UPDATE SET oldest_at = excluded.oldest_at
"""
"""Parameters: last_position, oldest_at."""

DELETE_CONTRACT_AGE = "DELETE FROM contract_ages WHERE contract_ages.last_position = ?"
"""Parameters: its_position."""

INSERT_PRUNED = "INSERT INTO pruned_contracts (session_id, position, contract_id) VALUES (?, ?, ?)"
"""Parameters: session_id, position, contract_id."""

UNREGISTER_BATCH = "DELETE FROM batches WHERE batches.name = ? AND batches.generation = ?"
"""Parameters: its_name, its_generation."""

DELETE_ATTEMPTS_OF = """\
DELETE FROM attempts WHERE attempts.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

DELETE_PROGRESS_OF = """\
DELETE FROM task_progress WHERE task_progress.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

DELETE_WEBHOOKS_OF = """\
DELETE FROM webhooks WHERE webhooks.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

DELETE_KEYS_OF = """\
DELETE FROM idempotency_keys WHERE idempotency_keys.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

DELETE_LINES_OF = """\
DELETE FROM batch_lines WHERE batch_lines.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

DELETE_RETRIES_OF = """\
DELETE FROM retries WHERE retries.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

DELETE_PARKED_AT = """\
DELETE FROM parked_deliveries WHERE parked_deliveries.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1)
"""
"""Parameters: positions."""

DELETE_CONTRACTS_AT = """\
DELETE FROM contracts WHERE contracts.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1)
"""
"""Parameters: positions."""

# check_queries.py

RESPONSES_WITHOUT_REQUEST = """\
SELECT r.contract_id
FROM contracts AS r
WHERE r.contract_type = 'RESPONSE' AND r.request_id IS NOT NULL AND NOT (EXISTS (SELECT 1
FROM contracts AS q
WHERE q.contract_id = r.request_id AND q.contract_type = 'REQUEST'))
"""

ENDED_WITHOUT_RESPONSE = """\
SELECT q.contract_id
FROM contracts AS q
WHERE q.contract_type = 'REQUEST' AND (q.status NOT IN ('pending', 'in_progress')) AND NOT (EXISTS
    (SELECT 1
FROM contracts AS r
WHERE r.request_id = q.contract_id AND r.contract_type = 'RESPONSE'))
"""

OPEN_WITH_RESPONSE = """\
SELECT q.contract_id
FROM contracts AS q
WHERE q.contract_type = 'REQUEST' AND q.status IN ('pending', 'in_progress') AND (EXISTS (SELECT 1
FROM contracts AS r
WHERE r.request_id = q.contract_id AND r.contract_type = 'RESPONSE'))
"""

OTHER_STATUS_THAN_RESPONSE = """\
SELECT q.contract_id
FROM contracts AS r JOIN contracts AS q ON r.request_id = q.contract_id AND r.contract_type =
    'RESPONSE'
WHERE q.contract_type = 'REQUEST' AND (q.status NOT IN ('pending', 'in_progress')) AND q.status !=
    r.status AND NOT (q.status = 'failed' AND r.status = 'interrupted')
"""

UNKNOWN_STATUS = """\
SELECT q.contract_id
FROM contracts AS q
WHERE (q.status NOT IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled',
    'interrupted'))
"""

ENDED_BUT_QUEUED = """\
SELECT q.contract_id
FROM contracts AS q
WHERE q.contract_type = 'REQUEST' AND q.status != 'pending' AND (q.turn IS NOT NULL OR q.due_at IS
    NOT NULL OR q.expires_at IS NOT NULL)
"""

ENDED_BUT_CLAIMED = """\
SELECT q.contract_id
FROM contracts AS q
WHERE q.contract_type = 'REQUEST' AND (q.status NOT IN ('pending', 'in_progress')) AND q.claimed_by
    IS NOT NULL
"""

ATTEMPTS_WITHOUT_REQUEST = """\
SELECT DISTINCT attempts.request_id
FROM attempts
WHERE NOT (EXISTS (SELECT 1
FROM contracts AS q
WHERE q.contract_id = attempts.request_id))
"""

KEYS_WITHOUT_REQUEST = """\
SELECT DISTINCT idempotency_keys.request_id
FROM idempotency_keys
WHERE NOT (EXISTS (SELECT 1
FROM contracts AS q
WHERE q.contract_id = idempotency_keys.request_id))
"""

LINES_WITHOUT_REQUEST = """\
SELECT DISTINCT batch_lines.request_id
FROM batch_lines
WHERE NOT (EXISTS (SELECT 1
FROM contracts AS q
WHERE q.contract_id = batch_lines.request_id))
"""

RETRIES_WITHOUT_REQUEST = """\
SELECT DISTINCT retries.request_id
FROM retries
WHERE NOT (EXISTS (SELECT 1
FROM contracts AS q
WHERE q.contract_id = retries.request_id))
"""

WEBHOOKS_WITHOUT_REQUEST = """\
SELECT DISTINCT webhooks.request_id
FROM webhooks
WHERE NOT (EXISTS (SELECT 1
FROM contracts AS q
WHERE q.contract_id = webhooks.request_id))
"""

# reading_queries.py

CONTRACTS = """\
SELECT c.position, c.contract_id, c.session_id, c.contract_type, c.from_agent, c.to_agent,
    c.capability, CAST(c.payload AS TEXT) AS payload, c.status, c.created_at, c.completed_at,
    CAST(c.result AS TEXT) AS result, c.error, CAST(c.metadata AS TEXT) AS metadata, c.request_id,
    c.parent_id, c.claimed_by
FROM contracts AS c
"""

CONTRACTS_BY_SESSION = """\
SELECT c.position, c.contract_id, c.session_id, c.contract_type, c.from_agent, c.to_agent,
    c.capability, CAST(c.payload AS TEXT) AS payload, c.status, c.created_at, c.completed_at,
    CAST(c.result AS TEXT) AS result, c.error, CAST(c.metadata AS TEXT) AS metadata, c.request_id,
    c.parent_id, c.claimed_by
FROM session_contracts AS c
"""

SHOWN_CONTRACTS = """\
SELECT c.position, c.contract_id, c.session_id, c.contract_type, c.from_agent, c.to_agent,
    c.capability, CAST(c.payload AS TEXT) AS payload, c.status, c.created_at, c.completed_at, CASE
    WHEN (c.contract_type = 'REQUEST' AND c.status = 'completed') THEN (SELECT CAST(r.result AS
    TEXT) AS result
FROM contracts AS r
WHERE r.request_id = c.contract_id) ELSE CAST(c.result AS TEXT) END AS result, c.error,
    CAST(c.metadata AS TEXT) AS metadata, c.request_id, c.parent_id, c.claimed_by
FROM contracts AS c
"""

SHOWN_CONTRACTS_BY_SESSION = """\
SELECT c.position, c.contract_id, c.session_id, c.contract_type, c.from_agent, c.to_agent,
    c.capability, CAST(c.payload AS TEXT) AS payload, c.status, c.created_at, c.completed_at, CASE
    WHEN (c.contract_type = 'REQUEST' AND c.status = 'completed') THEN (SELECT CAST(r.result AS
    TEXT) AS result
FROM contracts AS r
WHERE r.request_id = c.contract_id) ELSE CAST(c.result AS TEXT) END AS result, c.error,
    CAST(c.metadata AS TEXT) AS metadata, c.request_id, c.parent_id, c.claimed_by
FROM session_contracts AS c
"""

COUNT = "SELECT count(c.contract_id) AS count FROM contracts AS c"

COUNT_BY_SESSION = "SELECT count(c.contract_id) AS count FROM session_contracts AS c"

IN_SESSION = "c.session_id = ?"
"""Parameters: session_id."""

OF_TYPE = "c.contract_type = ?"
"""Parameters: contract_type."""

WITH_CAPABILITY = "c.capability = ?"
"""Parameters: capability."""

WITH_STATUS = "c.status = ?"
"""Parameters: status."""

NOT_COMPLETED = "c.status != 'completed'"

FROM_AGENT = "c.from_agent = ?"
"""Parameters: agent_id."""

TO_AGENT = "c.to_agent = ?"
"""Parameters: agent_id."""

FROM_OR_TO_AGENT = "c.from_agent = ? OR c.to_agent = ?"
"""Parameters: from_agent, to_agent."""

CREATED_SINCE = "c.created_at >= ?"
"""Parameters: since."""

CREATED_UNTIL = "c.created_at < ?"
"""Parameters: until."""

CHANGED_SINCE = "c.created_at >= ? OR c.completed_at >= ? OR c.status IN ('pending', 'in_progress')"
"""Parameters: created_since, completed_since."""

BEFORE_POSITION = "c.position < ?"
"""Parameters: before."""

AFTER_POSITION = "c.position > ?"
"""Parameters: after."""

HAS_ID_IN = "c.contract_id IN (SELECT anon_1.value FROM json_each(?) AS anon_1)"
"""Parameters: contract_ids."""

ANSWERS_ONE_OF = "c.request_id IN (SELECT anon_1.value FROM json_each(?) AS anon_1)"
"""Parameters: request_ids."""

DELEGATED_BY_ONE_OF = "c.parent_id IN (SELECT anon_1.value FROM json_each(?) AS anon_1)"
"""Parameters: request_ids."""

IN_ONE_OF_SESSIONS = "c.session_id IN (SELECT anon_1.value FROM json_each(?) AS anon_1)"
"""Parameters: session_ids."""

OLDEST_FIRST = "c.position ASC"

NEWEST_FIRST = "c.position DESC"

LIMIT = "LIMIT ?"
"""Parameters: limit."""

POSITION_OF_CONTRACT = "SELECT c.position FROM contracts AS c WHERE c.contract_id = ?"
"""Parameters: contract_id."""

IDS_LIKE = """\
SELECT c.contract_id
FROM contracts AS c
WHERE c.contract_id LIKE ? ESCAPE '/' OR c.contract_id LIKE ? ESCAPE '/'
LIMIT ?
"""
"""Parameters: beginning, ending, limit."""

SESSIONS_BETWEEN = "SELECT DISTINCT c.session_id FROM contracts AS c WHERE c.position > ? AND c.position <= ?"
"""Parameters: after, last."""

CONTRACT_COUNT = """\
SELECT (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'contracts') - (SELECT value
    FROM counters WHERE name = 'deleted_contracts') AS count
"""

COUNT_OF_SESSION = "SELECT count(*) AS count FROM session_positions WHERE session_positions.session_id = ?"
"""Parameters: session_id."""

STATUS_COUNTS = """\
SELECT 'completed' AS status, (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name =
    'contracts') - (SELECT value FROM counters WHERE name = 'deleted_contracts') AS count UNION ALL
    SELECT c.status, count(*) AS count_1
FROM contracts AS c
WHERE c.status != 'completed' GROUP BY c.status
"""

REQUEST_OF_KEY = """\
SELECT idempotency_keys.fingerprint, idempotency_keys.request_id
FROM idempotency_keys
WHERE idempotency_keys.caller = ? AND idempotency_keys."key" = ?
"""
"""Parameters: caller, key."""

# exchange_queries.py

EXCHANGES = """\
SELECT c.position, c.contract_id, c.session_id, c.parent_id, c.capability, c.from_agent, c.to_agent,
    c.status, c.created_at, c.completed_at, CAST(c.metadata AS TEXT) AS metadata
FROM contracts AS c
"""

EXCHANGES_BY_SESSION = """\
SELECT c.position, c.contract_id, c.session_id, c.parent_id, c.capability, c.from_agent, c.to_agent,
    c.status, c.created_at, c.completed_at, CAST(c.metadata AS TEXT) AS metadata
FROM session_contracts AS c
"""

EXCHANGES_BY_MATCH = """\
SELECT c.position, c.contract_id, c.session_id, c.parent_id, c.capability, c.from_agent, c.to_agent,
    c.status, c.created_at, c.completed_at, CAST(c.metadata AS TEXT) AS metadata, m.position AS
    matched
FROM contracts AS m CROSS JOIN contracts AS c
"""

RESPONSE_IN_EXCHANGE = """\
SELECT r.position, r.contract_id, r.from_agent, r.status, r.completed_at, r.error, CAST(r.result AS
    TEXT) AS result, CAST(r.metadata AS TEXT) AS metadata
FROM contracts AS r
WHERE r.request_id = ?
"""
"""Parameters: request_id."""

MATCHED_POSITIONS = "SELECT m.position FROM contracts AS m"

EXCHANGE_COUNT = """\
SELECT (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'contracts') - (SELECT value
    FROM counters WHERE name = 'deleted_contracts') - (SELECT count(*) AS count_1
FROM contracts
WHERE contracts.request_id IS NOT NULL) AS count
"""

EXCHANGE_STATUS_COUNTS = """\
SELECT c.status, 0 AS was_interrupted, count(*) AS count
FROM contracts AS c
WHERE c.status != 'completed' AND c.contract_type = 'REQUEST' GROUP BY c.status UNION ALL SELECT
    c.status, 1 AS anon_1, count(*) AS count_1
FROM contracts AS r CROSS JOIN contracts AS c
WHERE r.status = 'interrupted' AND r.status != 'completed' AND c.contract_id = r.request_id AND
    c.status != 'completed' AND c.contract_type = 'REQUEST' GROUP BY c.status
"""

IS_REQUEST = "c.contract_type = 'REQUEST'"

IS_EXCHANGE_OF_MATCH = """\
c.contract_id = CASE WHEN (m.contract_type = 'REQUEST') THEN m.contract_id ELSE m.request_id END
"""

MATCH_IS_NOT_COMPLETED = "m.status != 'completed'"

HAS_ENDED_BADLY = "c.status IN ('failed', 'cancelled') AND c.status != 'completed'"

IS_INTERRUPTED = """\
EXISTS (SELECT *
FROM contracts AS r
WHERE r.request_id = c.contract_id AND r.status = 'interrupted')
"""

IS_NOT_INTERRUPTED = """\
NOT (EXISTS (SELECT *
FROM contracts AS r
WHERE r.request_id = c.contract_id AND r.status = 'interrupted'))
"""

ERROR_CONTAINS = """\
EXISTS (SELECT *
FROM contracts AS r
WHERE r.request_id = c.contract_id AND r.error LIKE ? ESCAPE '/')
"""
"""Parameters: pattern."""

CALLED_AGENT = """\
c.to_agent = ? OR c.contract_id IN (SELECT attempts.request_id
FROM attempts
WHERE attempts.agent_id = ?)
"""
"""Parameters: agent_id, other_agent_id."""

WITH_CALLER = """\
c.from_agent = ? OR instr(c.metadata, '"caller"') > 0 AND (json_extract(c.metadata, '$.caller.name')
    = ? OR json_extract(c.metadata, '$.caller.id') = ?)
"""
"""Parameters: from_agent, name, id."""

MATCHES_UP_TO = "m.position <= ?"
"""Parameters: last."""

# stats_queries.py

HAS_FAILED = "r.status IN ('failed', 'interrupted')"

STATS_BY_CAPABILITY = """\
SELECT c.capability, CASE WHEN (r.contract_id IS NULL) THEN CASE WHEN (c.status IN ('completed',
    'failed', 'cancelled')) THEN c.status ELSE 'open' END WHEN (r.status = 'failed' AND r.from_agent
    = 'orchestrator') THEN 'rejected' ELSE r.status END AS outcome, CAST(r.metadata AS TEXT) AS
    told, CASE WHEN (c.priority IS NOT NULL) THEN r.created_at END AS ended_at, CASE WHEN
    (c.priority IS NOT NULL) THEN c.created_at END AS queued_at, CASE WHEN (c.priority IS NOT NULL)
    THEN CAST(c.metadata AS TEXT) END AS asked, CASE WHEN (r.status IN ('failed', 'interrupted'))
    THEN c.position END AS failed
FROM contracts AS c LEFT OUTER JOIN contracts AS r ON r.request_id = c.contract_id
"""

STATS_BY_AGENT = """\
SELECT coalesce(nullif(r.from_agent, 'orchestrator'), c.to_agent) AS agent_id, CASE WHEN
    (r.contract_id IS NULL) THEN CASE WHEN (c.status IN ('completed', 'failed', 'cancelled')) THEN
    c.status ELSE 'open' END WHEN (r.status = 'failed' AND r.from_agent = 'orchestrator') THEN
    'rejected' ELSE r.status END AS outcome, CAST(r.metadata AS TEXT) AS told, CASE WHEN (c.priority
    IS NOT NULL) THEN r.created_at END AS ended_at, CASE WHEN (c.priority IS NOT NULL) THEN
    c.created_at END AS queued_at, CASE WHEN (c.priority IS NOT NULL) THEN CAST(c.metadata AS TEXT)
    END AS asked, CASE WHEN (r.status IN ('failed', 'interrupted')) THEN c.position END AS failed
FROM contracts AS c LEFT OUTER JOIN contracts AS r ON r.request_id = c.contract_id
"""

STATS_BY_SESSION = """\
SELECT c.session_id, CASE WHEN (r.contract_id IS NULL) THEN CASE WHEN (c.status IN ('completed',
    'failed', 'cancelled')) THEN c.status ELSE 'open' END WHEN (r.status = 'failed' AND r.from_agent
    = 'orchestrator') THEN 'rejected' ELSE r.status END AS outcome, CAST(r.metadata AS TEXT) AS
    told, CASE WHEN (c.priority IS NOT NULL) THEN r.created_at END AS ended_at, CASE WHEN
    (c.priority IS NOT NULL) THEN c.created_at END AS queued_at, CASE WHEN (c.priority IS NOT NULL)
    THEN CAST(c.metadata AS TEXT) END AS asked, CASE WHEN (r.status IN ('failed', 'interrupted'))
    THEN c.position END AS failed
FROM contracts AS c LEFT OUTER JOIN contracts AS r ON r.request_id = c.contract_id
"""

STATS_BY_TIME = """\
SELECT c.created_at, CASE WHEN (r.contract_id IS NULL) THEN CASE WHEN (c.status IN ('completed',
    'failed', 'cancelled')) THEN c.status ELSE 'open' END WHEN (r.status = 'failed' AND r.from_agent
    = 'orchestrator') THEN 'rejected' ELSE r.status END AS outcome, CAST(r.metadata AS TEXT) AS
    told, CASE WHEN (c.priority IS NOT NULL) THEN r.created_at END AS ended_at, CASE WHEN
    (c.priority IS NOT NULL) THEN c.created_at END AS queued_at, CASE WHEN (c.priority IS NOT NULL)
    THEN CAST(c.metadata AS TEXT) END AS asked, CASE WHEN (r.status IN ('failed', 'interrupted'))
    THEN c.position END AS failed
FROM contracts AS c LEFT OUTER JOIN contracts AS r ON r.request_id = c.contract_id
"""

STATS_BY_CALLER = """\
SELECT c.from_agent, CASE WHEN (instr(CAST(c.metadata AS TEXT), '"caller"') > 0) THEN
    CAST(c.metadata AS TEXT) END AS caller, CASE WHEN (r.contract_id IS NULL) THEN CASE WHEN
    (c.status IN ('completed', 'failed', 'cancelled')) THEN c.status ELSE 'open' END WHEN (r.status
    = 'failed' AND r.from_agent = 'orchestrator') THEN 'rejected' ELSE r.status END AS outcome,
    CAST(r.metadata AS TEXT) AS told, CASE WHEN (c.priority IS NOT NULL) THEN r.created_at END AS
    ended_at, CASE WHEN (c.priority IS NOT NULL) THEN c.created_at END AS queued_at, CASE WHEN
    (c.priority IS NOT NULL) THEN CAST(c.metadata AS TEXT) END AS asked, CASE WHEN (r.status IN
    ('failed', 'interrupted')) THEN c.position END AS failed
FROM contracts AS c LEFT OUTER JOIN contracts AS r ON r.request_id = c.contract_id
"""

STATS_BY_ERROR = """\
SELECT r.error, CASE WHEN (r.contract_id IS NULL) THEN CASE WHEN (c.status IN ('completed',
    'failed', 'cancelled')) THEN c.status ELSE 'open' END WHEN (r.status = 'failed' AND r.from_agent
    = 'orchestrator') THEN 'rejected' ELSE r.status END AS outcome, CAST(r.metadata AS TEXT) AS
    told, CASE WHEN (c.priority IS NOT NULL) THEN r.created_at END AS ended_at, CASE WHEN
    (c.priority IS NOT NULL) THEN c.created_at END AS queued_at, CASE WHEN (c.priority IS NOT NULL)
    THEN CAST(c.metadata AS TEXT) END AS asked, CASE WHEN (r.status IN ('failed', 'interrupted'))
    THEN c.position END AS failed
FROM contracts AS c LEFT OUTER JOIN contracts AS r ON r.request_id = c.contract_id
"""

FAILURES_AT = """\
SELECT c.position, c.contract_id, c.created_at, r.error
FROM contracts AS c JOIN contracts AS r ON r.request_id = c.contract_id
WHERE c.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1)
"""
"""Parameters: positions."""

SINCE_ID = "c.contract_id >= ?"
"""Parameters: first_id."""

# session_queries.py

SESSIONS_FROM = """\
WITH RECURSIVE given AS
(SELECT ? AS first, ? AS "limit"),
found(session_id, n) AS
(SELECT min(session_index.session_id) AS session_id, 1 AS n
FROM session_index
WHERE session_index.session_id >= (SELECT given.first
FROM given) UNION ALL SELECT (SELECT min(session_index.session_id) AS min_1
FROM session_index
WHERE session_index.session_id > found.session_id) AS anon_1, found.n + 1 AS anon_2
FROM found
WHERE found.session_id IS NOT NULL AND found.n < (SELECT given."limit"
FROM given))
SELECT found.session_id
FROM found
WHERE found.session_id IS NOT NULL UNION SELECT contracts.session_id
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') AND contracts.session_id >= (SELECT given.first
FROM given) ORDER BY session_id
LIMIT (SELECT given."limit"
FROM given)
"""
"""Parameters: first, limit."""

FIRST_SESSIONS = """\
WITH RECURSIVE given AS
(SELECT ? AS "limit"),
found(session_id, n) AS
(SELECT min(session_index.session_id) AS session_id, 1 AS n
FROM session_index UNION ALL SELECT (SELECT min(session_index.session_id) AS min_2
FROM session_index
WHERE session_index.session_id > found.session_id) AS anon_1, found.n + 1 AS anon_2
FROM found
WHERE found.session_id IS NOT NULL AND found.n < (SELECT given."limit"
FROM given)),
recent AS
(SELECT contracts.session_id AS session_id, count(*) AS contracts, min(contracts.position) AS first,
    max(contracts.position) AS last
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') GROUP BY contracts.session_id),
its AS
(SELECT found.session_id AS session_id
FROM found
WHERE found.session_id IS NOT NULL UNION SELECT recent.session_id AS session_id
FROM recent ORDER BY session_id
LIMIT (SELECT given."limit"
FROM given) OFFSET 0)
SELECT its.session_id, (SELECT count(*) AS count_1
FROM session_index
WHERE session_index.session_id = its.session_id) + coalesce(recent.contracts, 0) AS contracts,
    (SELECT contracts.created_at
FROM contracts
WHERE contracts.position = coalesce((SELECT min(session_index.position) AS min_1
FROM session_index
WHERE session_index.session_id = its.session_id), recent.first)) AS first_at, (SELECT
    contracts.created_at
FROM contracts
WHERE contracts.position = coalesce(recent.last, (SELECT max(session_index.position) AS max_1
FROM session_index
WHERE session_index.session_id = its.session_id))) AS last_at
FROM its LEFT OUTER JOIN recent ON recent.session_id = its.session_id ORDER BY its.session_id
"""
"""Parameters: limit."""

SESSIONS_AFTER = """\
WITH RECURSIVE given AS
(SELECT ? AS "after", ? AS "limit"),
found(session_id, n) AS
(SELECT min(session_index.session_id) AS session_id, 1 AS n
FROM session_index
WHERE session_index.session_id > (SELECT given."after"
FROM given) UNION ALL SELECT (SELECT min(session_index.session_id) AS min_2
FROM session_index
WHERE session_index.session_id > found.session_id) AS anon_1, found.n + 1 AS anon_2
FROM found
WHERE found.session_id IS NOT NULL AND found.n < (SELECT given."limit"
FROM given)),
recent AS
(SELECT contracts.session_id AS session_id, count(*) AS contracts, min(contracts.position) AS first,
    max(contracts.position) AS last
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') GROUP BY contracts.session_id),
its AS
(SELECT found.session_id AS session_id
FROM found
WHERE found.session_id IS NOT NULL UNION SELECT recent.session_id AS session_id
FROM recent
WHERE recent.session_id > (SELECT given."after"
FROM given) ORDER BY session_id
LIMIT (SELECT given."limit"
FROM given) OFFSET 0)
SELECT its.session_id, (SELECT count(*) AS count_1
FROM session_index
WHERE session_index.session_id = its.session_id) + coalesce(recent.contracts, 0) AS contracts,
    (SELECT contracts.created_at
FROM contracts
WHERE contracts.position = coalesce((SELECT min(session_index.position) AS min_1
FROM session_index
WHERE session_index.session_id = its.session_id), recent.first)) AS first_at, (SELECT
    contracts.created_at
FROM contracts
WHERE contracts.position = coalesce(recent.last, (SELECT max(session_index.position) AS max_1
FROM session_index
WHERE session_index.session_id = its.session_id))) AS last_at
FROM its LEFT OUTER JOIN recent ON recent.session_id = its.session_id ORDER BY its.session_id
"""
"""Parameters: after, limit."""

NAMED_SESSIONS = """\
WITH named AS
(SELECT anon_1.value AS value
FROM json_each(?) AS anon_1),
its AS
(SELECT named.value AS session_id
FROM named),
recent AS
(SELECT contracts.session_id AS session_id, count(*) AS contracts, min(contracts.position) AS first,
    max(contracts.position) AS last
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') GROUP BY contracts.session_id)
SELECT its.session_id, (SELECT count(*) AS count_1
FROM session_index
WHERE session_index.session_id = its.session_id) + coalesce(recent.contracts, 0) AS contracts,
    (SELECT contracts.created_at
FROM contracts
WHERE contracts.position = coalesce((SELECT min(session_index.position) AS min_1
FROM session_index
WHERE session_index.session_id = its.session_id), recent.first)) AS first_at, (SELECT
    contracts.created_at
FROM contracts
WHERE contracts.position = coalesce(recent.last, (SELECT max(session_index.position) AS max_1
FROM session_index
WHERE session_index.session_id = its.session_id))) AS last_at
FROM its LEFT OUTER JOIN recent ON recent.session_id = its.session_id
"""
"""Parameters: session_ids."""

SESSION_COUNT_UP_TO = """\
WITH RECURSIVE found(session_id, n) AS
(SELECT min(session_index.session_id) AS session_id, 1 AS n
FROM session_index UNION ALL SELECT (SELECT min(session_index.session_id) AS min_1
FROM session_index
WHERE session_index.session_id > found.session_id) AS anon_1, found.n + 1 AS anon_2
FROM found
WHERE found.session_id IS NOT NULL AND found.n < ?),
recent AS
(SELECT contracts.session_id AS session_id, count(*) AS contracts, min(contracts.position) AS first,
    max(contracts.position) AS last
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') GROUP BY contracts.session_id)
SELECT (SELECT count(*) AS count_1
FROM (SELECT found.session_id AS session_id
FROM found
WHERE found.session_id IS NOT NULL) AS some) + (SELECT count(*) AS count_2
FROM recent
WHERE NOT (EXISTS (SELECT session_index.session_id
FROM session_index
WHERE session_index.session_id = recent.session_id))) AS count
"""
"""Parameters: limit."""

SESSION_COUNT = """\
WITH recent AS
(SELECT contracts.session_id AS session_id, count(*) AS contracts, min(contracts.position) AS first,
    max(contracts.position) AS last
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') GROUP BY contracts.session_id)
SELECT count(DISTINCT session_index.session_id) + (SELECT count(*) AS count_1
FROM recent
WHERE NOT (EXISTS (SELECT session_index.session_id
FROM session_index
WHERE session_index.session_id = recent.session_id))) AS count
FROM session_index
"""

NEWEST_OF_SESSIONS_BETWEEN = """\
SELECT contracts.session_id, max(contracts.position) AS last
FROM contracts
WHERE contracts.position > ? AND contracts.position < ? GROUP BY contracts.session_id
"""
"""Parameters: after, before."""

EXCHANGE_COUNTS = """\
WITH given AS
(SELECT ? AS session_id)
SELECT coalesce(sum(CASE WHEN (its.contract_type = 'REQUEST') THEN 1 ELSE 0 END), 0) AS exchanges,
    coalesce(sum(CASE WHEN (its.contract_type = 'REQUEST' AND its.status = 'failed') THEN 1 ELSE 0
    END), 0) AS failed, coalesce(sum(CASE WHEN (its.contract_type = 'REQUEST' AND its.status IN
    ('pending', 'in_progress')) THEN 1 ELSE 0 END), 0) AS open
FROM (SELECT contracts.position AS position, contracts.contract_type AS contract_type,
    contracts.status AS status
FROM session_index CROSS JOIN contracts
WHERE session_index.session_id = (SELECT given.session_id
FROM given) AND contracts.position = session_index.position UNION ALL SELECT contracts.position AS
    position, contracts.contract_type AS contract_type, contracts.status AS status
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') AND contracts.session_id = (SELECT given.session_id
FROM given)) AS its
"""
"""Parameters: session_id."""

EXCHANGES_OF_SESSION = """\
WITH given AS
(SELECT ? AS session_id)
SELECT (SELECT coalesce(sum(session_index.is_request), 0) AS coalesce_1
FROM session_index
WHERE session_index.session_id = (SELECT given.session_id
FROM given)) + (SELECT count(*) AS count_1
FROM contracts
WHERE contracts.position > (SELECT counters.value
FROM counters
WHERE counters.name = 'session_index') AND contracts.session_id = (SELECT given.session_id
FROM given) AND contracts.contract_type = 'REQUEST') AS exchanges
"""
"""Parameters: session_id."""

NOT_COMPLETED_UP_TO = """\
SELECT count(*) AS count_1
FROM (SELECT contracts.position AS position
FROM contracts
WHERE contracts.status != 'completed' AND contracts.contract_type = 'REQUEST'
LIMIT ? OFFSET 0) AS some
"""
"""Parameters: limit."""

NOT_COMPLETED_BY_SESSION = """\
SELECT contracts.session_id, sum(CASE WHEN (contracts.status = 'failed') THEN 1 ELSE 0 END) AS
    failed, sum(CASE WHEN (contracts.status IN ('pending', 'in_progress')) THEN 1 ELSE 0 END) AS
    open
FROM contracts
WHERE contracts.status != 'completed' AND contracts.contract_type = 'REQUEST' GROUP BY
    contracts.session_id
"""

# tree_queries.py

TREE_NODE = """\
SELECT contracts.contract_id, contracts.parent_id, contracts.capability,
    coalesce(nullif(r.from_agent, 'orchestrator'), contracts.to_agent) AS agent_id,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.from_agent,
    contracts.metadata, r.status AS answer_status, r.error AS answer_error, r.metadata AS
    answer_metadata
FROM contracts LEFT OUTER JOIN contracts AS r ON r.request_id = contracts.contract_id
WHERE contracts.contract_id = ? AND contracts.contract_type = 'REQUEST'
"""
"""Parameters: request_id."""

ALL_CHILDREN = """\
SELECT contracts.contract_id, contracts.parent_id, contracts.capability,
    coalesce(nullif(r.from_agent, 'orchestrator'), contracts.to_agent) AS agent_id,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.from_agent,
    contracts.metadata, r.status AS answer_status, r.error AS answer_error, r.metadata AS
    answer_metadata
FROM contracts LEFT OUTER JOIN contracts AS r ON r.request_id = contracts.contract_id
WHERE contracts.parent_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND contracts.contract_type = 'REQUEST' ORDER BY contracts.position
"""
"""Parameters: request_ids."""

FIRST_CHILDREN = """\
SELECT contracts.contract_id, contracts.parent_id, contracts.capability,
    coalesce(nullif(r.from_agent, 'orchestrator'), contracts.to_agent) AS agent_id,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.from_agent,
    contracts.metadata, r.status AS answer_status, r.error AS answer_error, r.metadata AS
    answer_metadata
FROM contracts JOIN (SELECT contracts.position AS position, row_number() OVER (PARTITION BY
    contracts.parent_id ORDER BY contracts.position) AS n
FROM contracts
WHERE contracts.parent_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND contracts.contract_type = 'REQUEST') AS numbered ON
    numbered.position = contracts.position LEFT OUTER JOIN contracts AS r ON r.request_id =
    contracts.contract_id
WHERE numbered.n <= ? ORDER BY contracts.position
"""
"""Parameters: request_ids, most."""

OMITTED_CHILDREN = """\
SELECT contracts.parent_id, contracts.status, count(*) AS count
FROM contracts JOIN (SELECT contracts.position AS position, row_number() OVER (PARTITION BY
    contracts.parent_id ORDER BY contracts.position) AS n
FROM contracts
WHERE contracts.parent_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND contracts.contract_type = 'REQUEST') AS numbered ON
    numbered.position = contracts.position
WHERE numbered.n > ? GROUP BY contracts.parent_id, contracts.status
"""
"""Parameters: request_ids, most."""

OLDEST_ROOTS_OF_SESSION = """\
SELECT session_contracts.position, session_contracts.contract_id
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.contract_type = 'REQUEST' AND
    session_contracts.position > ? AND session_contracts.position < ? AND
    (session_contracts.parent_id IS NULL OR NOT (EXISTS (SELECT p.position
FROM contracts AS p
WHERE p.contract_id = session_contracts.parent_id AND p.session_id = session_contracts.session_id
    AND p.contract_type = 'REQUEST'))) ORDER BY session_contracts.position
LIMIT ?
"""
"""Parameters: session_id, after, before, limit."""

NEWEST_ROOTS_OF_SESSION = """\
SELECT session_contracts.position, session_contracts.contract_id
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.contract_type = 'REQUEST' AND
    session_contracts.position > ? AND session_contracts.position < ? AND
    (session_contracts.parent_id IS NULL OR NOT (EXISTS (SELECT p.position
FROM contracts AS p
WHERE p.contract_id = session_contracts.parent_id AND p.session_id = session_contracts.session_id
    AND p.contract_type = 'REQUEST'))) ORDER BY session_contracts.position DESC
LIMIT ?
"""
"""Parameters: session_id, after, before, limit."""

TREE_NODES = """\
SELECT contracts.contract_id, contracts.parent_id, contracts.capability,
    coalesce(nullif(r.from_agent, 'orchestrator'), contracts.to_agent) AS agent_id,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.from_agent,
    contracts.metadata, r.status AS answer_status, r.error AS answer_error, r.metadata AS
    answer_metadata
FROM contracts LEFT OUTER JOIN contracts AS r ON r.request_id = contracts.contract_id
WHERE contracts.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND contracts.contract_type = 'REQUEST'
"""
"""Parameters: request_ids."""

# queue_queries.py

ENQUEUE = """\
INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability,
    payload, status, created_at, completed_at, result, error, metadata, request_id, parent_id,
    claimed_by, priority, due_at, expires_at, required_labels, turn) SELECT given.contract_id,
    given.session_id, given.contract_type, given.from_agent, given.to_agent, given.capability,
    given.payload, given.status, given.created_at, given.completed_at, given.result, given.error,
    given.metadata, given.request_id, given.parent_id, given.claimed_by, given.priority,
    given.due_at, given.expires_at, given.required_labels, CASE WHEN (given.due_at IS NULL) THEN
    max((SELECT queue_clock.turn + 1 AS anon_2
FROM queue_clock
WHERE queue_clock.priority = given.priority), (SELECT coalesce(max(session_turns.turn) + 1, 0) AS
    coalesce_1
FROM session_turns
WHERE session_turns.session_id = given.session_id AND session_turns.priority = given.priority)) END
    AS anon_1
FROM (SELECT ? AS contract_id, ? AS session_id, ? AS contract_type, ? AS from_agent, ? AS to_agent,
    ? AS capability, ? AS payload, ? AS status, ? AS created_at, ? AS completed_at, ? AS result, ?
    AS error, ? AS metadata, ? AS request_id, ? AS parent_id, ? AS claimed_by, ? AS priority, ? AS
    due_at, ? AS expires_at, ? AS required_labels) AS given
"""
"""Parameters: contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,
    created_at, completed_at, result, error, metadata, request_id, parent_id, claimed_by, priority,
    due_at, expires_at, required_labels."""

QUEUE_HEAD = """\
SELECT contracts.priority, contracts.turn, contracts.position, contracts.capability,
    contracts.required_labels
FROM contracts
WHERE contracts.capability = ? AND contracts.to_agent IS ? AND contracts.required_labels IS ? AND
    contracts.turn IS NOT NULL ORDER BY contracts.priority, contracts.turn, contracts.position
LIMIT ?
"""
"""Parameters: capability, agent_id, labels, limit."""

REQUIRED_LABELS = """\
WITH RECURSIVE found(labels) AS
(SELECT (SELECT min(q.required_labels) AS min_1
FROM contracts AS q
WHERE q.turn IS NOT NULL AND q.required_labels IS NOT NULL) AS labels UNION ALL SELECT (SELECT
    min(q.required_labels) AS min_1
FROM contracts AS q
WHERE q.turn IS NOT NULL AND q.required_labels IS NOT NULL AND q.required_labels > found.labels) AS
    anon_1
FROM found
WHERE found.labels IS NOT NULL)
SELECT found.labels
FROM found
WHERE found.labels IS NOT NULL
"""

CLAIM_REQUEST = """\
UPDATE contracts SET status='in_progress', claimed_by=?, to_agent=?, turn=NULL, expires_at=NULL,
    attempts=(coalesce(contracts.attempts, 0) + 1) WHERE contracts.position = ?
"""
"""Parameters: owner_id, agent_id, its_position."""

ADVANCE_QUEUE_CLOCK = """\
INSERT INTO queue_clock (priority, turn) VALUES (?, ?) ON CONFLICT (priority) DO UPDATE SET turn =
    max(queue_clock.turn, excluded.turn)
"""
"""Parameters: priority, turn."""

DUE_REQUESTS = """\
SELECT contracts.position, contracts.session_id, contracts.priority
FROM contracts
WHERE contracts.due_at <= ? ORDER BY contracts.due_at
LIMIT ?
"""
"""Parameters: now, limit."""

QUEUE_DUE_REQUEST = """\
UPDATE contracts SET due_at=NULL, turn=max((SELECT queue_clock.turn + 1 AS anon_1
FROM queue_clock
WHERE queue_clock.priority = contracts.priority), (SELECT coalesce(max(session_turns.turn) + 1, 0)
    AS coalesce_1
FROM session_turns
WHERE session_turns.session_id = contracts.session_id AND session_turns.priority =
    contracts.priority)) WHERE contracts.position = ? AND contracts.session_id = ? AND
    contracts.priority = ?
"""
"""Parameters: its_position, its_session_id, its_priority."""

EXPIRED_REQUESTS = """\
SELECT contracts.position
FROM contracts
WHERE contracts.expires_at <= ? ORDER BY contracts.expires_at
LIMIT ?
"""
"""Parameters: now, limit."""

NEXT_QUEUE_TIME = """\
SELECT min(times.time) AS min_1
FROM (SELECT min(contracts.due_at) AS time
FROM contracts
WHERE contracts.due_at IS NOT NULL UNION ALL SELECT min(contracts.expires_at) AS min_2
FROM contracts
WHERE contracts.expires_at IS NOT NULL) AS times
"""

CLAIMED_STATE = """\
SELECT contracts.position, contracts.attempts, contracts.cancelled_by, contracts.priority IS NOT
    NULL AS was_queued
FROM contracts
WHERE contracts.contract_id = ? AND contracts.claimed_by IS NOT NULL
"""
"""Parameters: request_id."""

REQUEST_STATE = """\
SELECT contracts.status, contracts.contract_type, contracts.turn IS NOT NULL OR contracts.due_at IS
    NOT NULL AS is_queued, contracts.claimed_by, contracts.position
FROM contracts
WHERE contracts.contract_id = ?
"""
"""Parameters: contract_id."""

FINISH_QUEUED_REQUEST = """\
UPDATE contracts SET status=?, completed_at=?, claimed_by=NULL, turn=NULL, due_at=NULL,
    expires_at=NULL WHERE contracts.contract_id = ?
"""
"""Parameters: final_status, finished_at, request_id."""

REQUEUE = """\
UPDATE contracts SET status='pending', claimed_by=NULL, attempts=(contracts.attempts - ?),
    to_agent=?, turn=(SELECT queue_clock.turn
FROM queue_clock
WHERE queue_clock.priority = contracts.priority) WHERE contracts.contract_id = ?
"""
"""Parameters: uncounted_attempts, agent_id, request_id."""

POSTPONE = """\
UPDATE contracts SET status='pending', claimed_by=NULL, attempts=(contracts.attempts - 1),
    to_agent=?, due_at=?, expires_at=? WHERE contracts.contract_id = ?
"""
"""Parameters: agent_id, again_at, ends_at, request_id."""

REQUEST_CANCELLATION = """\
UPDATE contracts SET cancelled_by=? WHERE contracts.contract_id = ? AND contracts.cancelled_by IS
    NULL
"""
"""Parameters: canceller, request_id."""

CANCELLED_CLAIMS = """\
SELECT contracts.contract_id, contracts.cancelled_by
FROM contracts
WHERE contracts.claimed_by = ? AND contracts.cancelled_by IS NOT NULL AND contracts.claimed_by IS
    NOT NULL
"""
"""Parameters: owner_id."""

QUEUE_LENGTH = """\
SELECT (SELECT count(*) AS count_1
FROM contracts
WHERE contracts.turn IS NOT NULL) + (SELECT count(*) AS count_2
FROM contracts
WHERE contracts.due_at IS NOT NULL) AS length
"""

ANY_QUEUED = """\
SELECT (EXISTS (SELECT contracts.position
FROM contracts
WHERE contracts.turn IS NOT NULL)) OR (EXISTS (SELECT contracts.position
FROM contracts
WHERE contracts.due_at IS NOT NULL)) AS any_queued
"""

QUEUED_COUNTS = """\
SELECT contracts.capability, contracts.to_agent, contracts.required_labels, count(*) AS count
FROM contracts
WHERE contracts.turn IS NOT NULL GROUP BY contracts.capability, contracts.to_agent,
    contracts.required_labels ORDER BY contracts.capability, contracts.to_agent,
    contracts.required_labels
"""

INSERT_WEBHOOK = "INSERT INTO webhooks (request_id, url, attempts) VALUES (?, ?, 0)"
"""Parameters: request_id, url."""

DUE_WEBHOOKS = """\
SELECT webhooks.request_id, webhooks.url, webhooks.attempts
FROM webhooks
WHERE webhooks.due_at <= ? AND (substr(webhooks.url || '/', 1, instr(substr(webhooks.url || '/', 9),
    '/') + 8) NOT IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)) AND (webhooks.url NOT IN (SELECT anon_2.value
FROM json_each(?) AS anon_2)) ORDER BY webhooks.due_at
LIMIT ?
"""
"""Parameters: now, hosts, urls, limit."""

NEXT_WEBHOOK_AT = "SELECT min(webhooks.due_at) AS min_1 FROM webhooks WHERE webhooks.due_at IS NOT NULL"

DELETE_WEBHOOK = "DELETE FROM webhooks WHERE webhooks.request_id = ?"
"""Parameters: request_id."""

FAIL_WEBHOOK = "UPDATE webhooks SET attempts=?, due_at=?, error=? WHERE webhooks.request_id = ?"
"""Parameters: attempts_made, next_at, reason, its_request_id."""

GIVE_UP_URL = """\
UPDATE webhooks SET due_at=NULL, error=? WHERE webhooks.url = ? AND (webhooks.due_at IS NOT NULL OR
    webhooks.error IS NULL)
"""
"""Parameters: reason, its_url."""

WEBHOOK_IS_DUE = "UPDATE webhooks SET due_at=? WHERE webhooks.request_id = ? AND webhooks.error IS NULL"
"""Parameters: now, its_request_id."""

QUEUED_BY_PRIORITY = """\
SELECT contracts.capability, contracts.priority, count(*) AS count, min(contracts.position) AS first
FROM contracts
WHERE contracts.turn IS NOT NULL GROUP BY contracts.capability, contracts.priority
"""

DUE_BY_PRIORITY = """\
SELECT contracts.capability, contracts.priority, count(*) AS count, min(contracts.due_at) AS first
FROM contracts
WHERE contracts.due_at <= ? GROUP BY contracts.capability, contracts.priority
"""
"""Parameters: now."""

SCHEDULED_BY_PRIORITY = """\
SELECT contracts.capability, contracts.priority, count(*) AS count, min(contracts.due_at) AS first
FROM contracts
WHERE contracts.due_at > ? GROUP BY contracts.capability, contracts.priority
"""
"""Parameters: now."""

RUNNING_BY_PRIORITY = """\
SELECT contracts.capability, contracts.priority, count(*) AS count, min(contracts.position) AS first
FROM contracts
WHERE contracts.status = 'in_progress' AND contracts.status != 'completed' AND contracts.priority IS
    NOT NULL GROUP BY contracts.capability, contracts.priority
"""

QUEUED_POSITIONS_OF = """\
SELECT contracts.position
FROM contracts
WHERE contracts.capability = ? AND contracts.priority = ? AND contracts.turn IS NOT NULL
"""
"""Parameters: capability, priority."""

WORKERS = """\
SELECT contracts.claimed_by, count(*) AS count
FROM contracts
WHERE contracts.status = 'in_progress' AND contracts.status != 'completed' AND contracts.priority IS
    NOT NULL GROUP BY contracts.claimed_by
"""

RUNNING_TASKS = """\
SELECT contracts.contract_id, contracts.session_id, contracts.capability, contracts.priority,
    contracts.to_agent, contracts.created_at, contracts.due_at, contracts.expires_at,
    contracts.attempts, contracts.claimed_by, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.status = 'in_progress' AND contracts.status != 'completed' AND contracts.priority IS
    NOT NULL ORDER BY contracts.position
LIMIT ?
"""
"""Parameters: limit."""

TASKS_WITH_START = """\
SELECT contracts.contract_id, contracts.session_id, contracts.capability, contracts.priority,
    contracts.to_agent, contracts.created_at, contracts.due_at, contracts.expires_at,
    contracts.attempts, contracts.claimed_by, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.due_at IS NOT NULL ORDER BY contracts.due_at, contracts.position
LIMIT ?
"""
"""Parameters: limit."""

TASKS_AT = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.capability,
    contracts.priority, contracts.to_agent, contracts.created_at, contracts.due_at,
    contracts.expires_at, contracts.attempts, contracts.claimed_by, CAST(contracts.metadata AS TEXT)
    AS metadata
FROM contracts
WHERE contracts.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1)
"""
"""Parameters: positions."""

# work_queries.py

LEDGER_TIME = "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS moment"

INSERT_WORK_LEASE = """\
INSERT INTO work_leases (lease_id, owner, worker, offer_id, lease_s, created_at, ends_at,
    delivery_id, unconfirmed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Parameters: lease_id, owner, worker, offer_id, lease_s, created_at, ends_at, delivery_id, unconfirmed."""

WORK_LEASE = """\
SELECT work_leases.lease_id, work_leases.owner, work_leases.worker, work_leases.offer_id,
    work_leases.lease_s, work_leases.created_at, work_leases.ends_at, work_leases.delivery_id,
    work_leases.unconfirmed
FROM work_leases
WHERE work_leases.lease_id = ?
"""
"""Parameters: its_lease_id."""

WORK_LEASES = """\
SELECT work_leases.lease_id, work_leases.owner, work_leases.worker, work_leases.offer_id,
    work_leases.lease_s, work_leases.created_at, work_leases.ends_at, work_leases.delivery_id,
    work_leases.unconfirmed
FROM work_leases ORDER BY work_leases.lease_id
"""

RENEW_WORK_LEASE = "UPDATE work_leases SET ends_at=? WHERE work_leases.lease_id = ?"
"""Parameters: new_end, its_lease_id."""

DELIVER_WORK = "UPDATE work_leases SET delivery_id=?, unconfirmed=? WHERE work_leases.lease_id = ?"
"""Parameters: new_delivery_id, request_ids, its_lease_id."""

UNCONFIRMED_WORK = """\
SELECT work_leases.lease_id, work_leases.delivery_id
FROM work_leases
WHERE work_leases.unconfirmed IS NOT NULL
"""

CONFIRM_WORK = "UPDATE work_leases SET unconfirmed=NULL, ends_at=? WHERE work_leases.lease_id = ?"
"""Parameters: new_end, its_lease_id."""

DELETE_WORK_LEASE = "DELETE FROM work_leases WHERE work_leases.lease_id = ?"
"""Parameters: its_lease_id."""

ENDED_WORK_LEASES = "SELECT work_leases.lease_id, work_leases.lease_s FROM work_leases WHERE work_leases.ends_at <= ?"
"""Parameters: moment."""

PUT_WORK_OFFER = "INSERT INTO work_offers (offer_id, document) VALUES (?, ?) ON CONFLICT (offer_id) DO NOTHING"
"""Parameters: offer_id, document."""

WORK_OFFER_IDS = "SELECT DISTINCT work_leases.offer_id FROM work_leases"

WORK_OFFER = "SELECT work_offers.document FROM work_offers WHERE work_offers.offer_id = ?"
"""Parameters: its_offer_id."""

DELETE_UNUSED_OFFERS = """\
DELETE FROM work_offers WHERE (work_offers.offer_id NOT IN (SELECT work_leases.offer_id
FROM work_leases))
"""

CLAIMED_CONTRACTS = """\
SELECT contracts.contract_id, contracts.session_id, contracts.contract_type, contracts.from_agent,
    contracts.to_agent, contracts.capability, contracts.payload, contracts.status,
    contracts.created_at, contracts.completed_at, contracts.result, contracts.error,
    contracts.metadata, contracts.request_id, contracts.parent_id, contracts.claimed_by
FROM contracts
WHERE contracts.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND contracts.claimed_by = ? ORDER BY contracts.position
"""
"""Parameters: request_ids, its_lease_id."""

ALL_CANCELLED_CLAIMS = """\
SELECT contracts.claimed_by, contracts.contract_id, contracts.cancelled_by
FROM contracts
WHERE contracts.cancelled_by IS NOT NULL AND contracts.claimed_by IS NOT NULL
"""

# rate_queries.py

RATE_BUCKETS = """\
SELECT rate_buckets.caller, rate_buckets.full_at
FROM rate_buckets
WHERE rate_buckets.caller IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: callers."""

PUT_RATE_BUCKET = """\
INSERT INTO rate_buckets (caller, full_at) VALUES (?, ?) ON CONFLICT (caller) DO UPDATE SET full_at
    = excluded.full_at
"""
"""Parameters: caller, full_at."""

DELETE_FULL_BUCKETS = "DELETE FROM rate_buckets WHERE rate_buckets.full_at <= ?"
"""Parameters: moment."""

# retry_queries.py

INSERT_KEY = 'INSERT INTO idempotency_keys (caller, "key", fingerprint, request_id) VALUES (?, ?, ?, ?)'
"""Parameters: caller, key, fingerprint, request_id."""

START_BATCH = """\
INSERT INTO batches (name, generation) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET generation =
    excluded.generation
"""
"""Parameters: name, generation."""

BATCH_GENERATION = "SELECT batches.generation FROM batches WHERE batches.name = ?"
"""Parameters: name."""

INSERT_BATCH_LINE = "INSERT INTO batch_lines (generation, line_key, request_id) VALUES (?, ?, ?)"
"""Parameters: generation, line_key, request_id."""

INSERT_RETRY = "INSERT INTO retries (contract_id, command, request_id) VALUES (?, 'retry', ?)"
"""Parameters: contract_id, request_id."""

STEPS_OF_TRIES = """\
WITH RECURSIVE tries(contract_id, capability, session_id, resumes, retry_of) AS
(SELECT contracts.contract_id AS contract_id, contracts.capability AS capability,
    contracts.session_id AS session_id, json_extract(contracts.metadata, '$.resumes') AS resumes,
    json_extract(contracts.metadata, '$.retry_of') AS retry_of
FROM contracts
WHERE contracts.contract_id = ? UNION SELECT c.contract_id AS contract_id, c.capability AS
    capability, c.session_id AS session_id, json_extract(c.metadata, '$.resumes') AS resumes,
    json_extract(c.metadata, '$.retry_of') AS retry_of
FROM tries CROSS JOIN contracts AS c
WHERE c.contract_id IN (SELECT tries.resumes UNION ALL SELECT tries.retry_of UNION ALL SELECT
    k.request_id
FROM retries AS k
WHERE k.contract_id = tries.contract_id) AND c.capability = tries.capability AND c.session_id =
    tries.session_id),
steps(first, contract_id) AS
(SELECT c.contract_id AS first, c.contract_id AS contract_id
FROM tries CROSS JOIN contracts AS c
WHERE c.parent_id = tries.contract_id AND c.contract_type = 'REQUEST' AND c.from_agent = ? UNION
    SELECT steps.first AS first, k.request_id AS request_id
FROM steps CROSS JOIN retries AS k
WHERE k.contract_id = steps.contract_id)
SELECT c.contract_id, c.to_agent, q.capability, q.payload, c.status, c.completed_at IS NULL AND
    (c.claimed_by IS NOT NULL OR c.turn IS NOT NULL OR c.due_at IS NOT NULL) AS is_open, q.metadata
FROM steps CROSS JOIN contracts AS q CROSS JOIN contracts AS c
WHERE q.contract_id = steps.first AND c.contract_id = steps.contract_id AND c.capability =
    q.capability ORDER BY c.position
"""
"""Parameters: request_id, from_agent."""

BATCH_RESULTS = """\
WITH RECURSIVE given AS
(SELECT ? AS longest),
tries(line_key, request_id) AS
(SELECT batch_lines.line_key AS line_key, batch_lines.request_id AS request_id
FROM batch_lines
WHERE batch_lines.generation = ? AND batch_lines.line_key IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) UNION ALL SELECT tries.line_key AS line_key, k.request_id AS request_id
FROM tries CROSS JOIN retries AS k
WHERE k.contract_id = tries.request_id)
SELECT tries.line_key, q.contract_id, q.session_id, q.to_agent, json_extract(q.metadata,
    '$.retry_of') AS retry_of, r.from_agent, r.status, r.created_at, r.error,
    coalesce(json_extract(r.metadata, '$.delivered'), json_extract(r.metadata, '$.called')) AS
    delivered, CASE WHEN (length(r.metadata) + coalesce(length(r.result), 0) <= (SELECT
    given.longest
FROM given)) THEN r.result END AS result, CASE WHEN (length(r.metadata) + coalesce(length(r.result),
    0) <= (SELECT given.longest
FROM given)) THEN r.metadata END AS metadata
FROM tries CROSS JOIN contracts AS q LEFT OUTER JOIN contracts AS r ON r.request_id =
    tries.request_id
WHERE q.contract_id = tries.request_id AND NOT (EXISTS (SELECT 1
FROM retries AS k
WHERE k.contract_id = tries.request_id))
"""
"""Parameters: longest, generation, line_keys."""

UNFINISHED = """\
WITH RECURSIVE given AS
(SELECT ? AS session_id),
q AS
(SELECT session_contracts.position AS position, session_contracts.contract_id AS contract_id,
    session_contracts.capability AS capability, session_contracts.status AS status
FROM session_contracts
WHERE session_contracts.session_id = (SELECT given.session_id
FROM given) AND session_contracts.contract_type = 'REQUEST' AND session_contracts.parent_id IS NULL
    AND session_contracts.status IN ('failed', 'cancelled')),
found AS MATERIALIZED
(SELECT session_contracts.contract_id AS contract_id, session_contracts.capability AS capability,
    session_contracts.position AS position, session_contracts.status AS status,
    CAST(coalesce(json_extract(session_contracts.metadata, '$.retry_of'),
    json_extract(session_contracts.metadata, '$.resumes')) AS TEXT) AS previous
FROM session_contracts
WHERE session_contracts.session_id = (SELECT given.session_id
FROM given) AND session_contracts.contract_type = 'REQUEST' AND
    CAST(coalesce(json_extract(session_contracts.metadata, '$.retry_of'),
    json_extract(session_contracts.metadata, '$.resumes')) AS TEXT) IS NOT NULL),
tries(contract_id, capability, position, status, previous) AS
(SELECT found.contract_id AS contract_id, found.capability AS capability, found.position AS
    position, found.status AS status, found.previous AS previous
FROM found UNION SELECT tries.contract_id AS contract_id, tries.capability AS capability,
    tries.position AS position, tries.status AS status, CAST(coalesce(json_extract(c.metadata,
    '$.retry_of'), json_extract(c.metadata, '$.resumes')) AS TEXT) AS coalesce_1
FROM tries CROSS JOIN contracts AS c
WHERE c.contract_id = tries.previous AND c.session_id = (SELECT given.session_id
FROM given) AND c.capability = tries.capability AND CAST(coalesce(json_extract(c.metadata,
    '$.retry_of'), json_extract(c.metadata, '$.resumes')) AS TEXT) IS NOT NULL),
ranked AS
(SELECT tries.previous AS previous, tries.capability AS capability, tries.contract_id AS
    contract_id, tries.status AS status, sum(CASE WHEN (tries.status = 'completed') THEN 1 ELSE 0
    END) OVER (PARTITION BY tries.previous, tries.capability) AS completed, row_number() OVER
    (PARTITION BY tries.previous, tries.capability ORDER BY tries.position DESC) AS number
FROM tries)
SELECT q.position, coalesce(ranked.contract_id, q.contract_id) AS last_try
FROM q LEFT OUTER JOIN ranked ON ranked.previous = q.contract_id AND ranked.capability =
    q.capability AND ranked.number = 1
WHERE (q.contract_id NOT IN (SELECT tries.contract_id
FROM tries CROSS JOIN contracts AS c
WHERE c.contract_id = tries.previous AND c.session_id = (SELECT given.session_id
FROM given) AND c.capability = tries.capability)) AND coalesce(ranked.completed, 0) = 0 AND
    coalesce(ranked.status, q.status) IN ('failed', 'cancelled') ORDER BY q.position
"""
"""Parameters: session_id."""

LAST_TRY = """\
WITH RECURSIVE given AS
(SELECT ? AS session_id, ? AS request_id),
found AS MATERIALIZED
(SELECT session_contracts.contract_id AS contract_id, session_contracts.capability AS capability,
    session_contracts.position AS position, session_contracts.status AS status,
    CAST(coalesce(json_extract(session_contracts.metadata, '$.retry_of'),
    json_extract(session_contracts.metadata, '$.resumes')) AS TEXT) AS previous
FROM session_contracts
WHERE session_contracts.session_id = (SELECT given.session_id
FROM given) AND session_contracts.contract_type = 'REQUEST' AND
    CAST(coalesce(json_extract(session_contracts.metadata, '$.retry_of'),
    json_extract(session_contracts.metadata, '$.resumes')) AS TEXT) IS NOT NULL),
tries(contract_id, capability, position, status, previous) AS
(SELECT found.contract_id AS contract_id, found.capability AS capability, found.position AS
    position, found.status AS status, found.previous AS previous
FROM found UNION SELECT tries.contract_id AS contract_id, tries.capability AS capability,
    tries.position AS position, tries.status AS status, CAST(coalesce(json_extract(c.metadata,
    '$.retry_of'), json_extract(c.metadata, '$.resumes')) AS TEXT) AS coalesce_1
FROM tries CROSS JOIN contracts AS c
WHERE c.contract_id = tries.previous AND c.session_id = (SELECT given.session_id
FROM given) AND c.capability = tries.capability AND CAST(coalesce(json_extract(c.metadata,
    '$.retry_of'), json_extract(c.metadata, '$.resumes')) AS TEXT) IS NOT NULL),
firsts AS
(SELECT given.request_id AS contract_id
FROM given UNION SELECT tries.previous AS previous
FROM tries CROSS JOIN contracts AS c
WHERE c.contract_id = tries.previous AND c.session_id = (SELECT given.session_id
FROM given) AND c.capability = tries.capability AND tries.contract_id = (SELECT given.request_id
FROM given))
SELECT c.contract_id, c.status
FROM contracts AS c
WHERE c.contract_id IN (SELECT firsts.contract_id
FROM firsts UNION SELECT tries.contract_id
FROM tries
WHERE tries.previous IN (SELECT firsts.contract_id
FROM firsts) AND tries.capability = (SELECT q.capability
FROM contracts AS q
WHERE q.contract_id = (SELECT given.request_id
FROM given))) ORDER BY c.status = 'completed' DESC, c.position DESC
LIMIT 1
"""
"""Parameters: session_id, request_id."""

REQUESTS_AT = """\
SELECT contracts.contract_id, contracts.session_id, contracts.contract_type, contracts.from_agent,
    contracts.to_agent, contracts.capability, contracts.payload, contracts.status,
    contracts.created_at, contracts.completed_at, contracts.result, contracts.error,
    contracts.metadata, contracts.request_id, contracts.parent_id, contracts.claimed_by
FROM contracts
WHERE contracts.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1) ORDER BY contracts.position
"""
"""Parameters: positions."""

# attempt_queries.py

PUT_ATTEMPT = """\
INSERT INTO attempts (request_id, number, agent_id, started_at, ended_at, code, error) VALUES (?, ?,
    ?, ?, ?, ?, ?) ON CONFLICT (request_id, number) DO UPDATE SET ended_at = excluded.ended_at, code
    = excluded.code, error = excluded.error
"""
"""Parameters: request_id, number, agent_id, started_at, ended_at, code, error."""

ATTEMPTS_OF = """\
SELECT attempts.request_id, attempts.number, attempts.agent_id, attempts.started_at,
    attempts.ended_at, attempts.code, attempts.error
FROM attempts
WHERE attempts.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) ORDER BY attempts.request_id, attempts.number
"""
"""Parameters: request_ids."""

PUT_PROGRESS = """\
INSERT INTO task_progress (request_id, reported_at, progress) VALUES (?, ?, ?) ON CONFLICT
    (request_id) DO UPDATE SET reported_at = excluded.reported_at, progress = excluded.progress
"""
"""Parameters: request_id, reported_at, progress."""

PROGRESS_OF = """\
SELECT task_progress.reported_at, task_progress.progress
FROM task_progress
WHERE task_progress.request_id = ?
"""
"""Parameters: request_id."""

DELETE_PROGRESS = "DELETE FROM task_progress WHERE task_progress.request_id = ?"
"""Parameters: request_id."""

DELETE_ENDED_PROGRESS = """\
DELETE FROM task_progress WHERE NOT (EXISTS (SELECT *
FROM contracts
WHERE contracts.contract_id = task_progress.request_id AND contracts.status = 'in_progress'))
"""

# delivery_queries.py

OUTBOX_POSITION = "SELECT outbox.position, outbox.reach FROM outbox WHERE outbox.destination = ?"
"""Parameters: destination."""

ADVANCE_OUTBOX = """\
INSERT INTO outbox (destination, position, reach) VALUES (?, ?, ?) ON CONFLICT (destination) DO
    UPDATE SET position = excluded.position, reach = excluded.reach
"""
"""Parameters: destination, position, reach."""

ANY_DELIVERY_IS_DUE = """\
SELECT (EXISTS (SELECT 1
FROM contracts
WHERE contracts.position > ?)) OR (EXISTS (SELECT 1
FROM parked_deliveries
WHERE parked_deliveries.state = 'due')) AS is_due
"""
"""Parameters: outbox_position."""

DELETED_CONTRACTS = "SELECT counters.value FROM counters WHERE counters.name = 'deleted_contracts'"

CONTRACT_ID_AT = "SELECT contracts.contract_id FROM contracts WHERE contracts.position = ?"
"""Parameters: position."""

CONTRACTS_AFTER = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.contract_type,
    contracts.from_agent, contracts.to_agent, contracts.capability, contracts.payload,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.result,
    contracts.error, contracts.metadata, contracts.request_id, contracts.parent_id,
    contracts.claimed_by
FROM contracts
WHERE contracts.position > ? ORDER BY contracts.position
LIMIT ?
"""
"""Parameters: after, limit."""

CONTRACTS_OF_SESSION = """\
SELECT session_contracts.position, session_contracts.contract_id, session_contracts.session_id,
    session_contracts.contract_type, session_contracts.from_agent, session_contracts.to_agent,
    session_contracts.capability, session_contracts.payload, session_contracts.status,
    session_contracts.created_at, session_contracts.completed_at, session_contracts.result,
    session_contracts.error, session_contracts.metadata, session_contracts.request_id,
    session_contracts.parent_id, session_contracts.claimed_by
FROM session_contracts
WHERE session_contracts.session_id = ? ORDER BY session_contracts.position
"""
"""Parameters: session_id."""

CONTRACTS_OF_SESSION_UP_TO = """\
SELECT session_contracts.contract_id, session_contracts.session_id, session_contracts.contract_type,
    session_contracts.from_agent, session_contracts.to_agent, session_contracts.capability,
    session_contracts.payload, session_contracts.status, session_contracts.created_at,
    session_contracts.completed_at, session_contracts.result, session_contracts.error,
    session_contracts.metadata, session_contracts.request_id, session_contracts.parent_id,
    session_contracts.claimed_by, session_contracts.position
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.position <= ? ORDER BY
    session_contracts.position
"""
"""Parameters: session_id, last."""

NEWEST_AND_OLDEST_SESSIONS = """\
SELECT DISTINCT anon_1.session_id
FROM (SELECT contracts.session_id AS session_id
FROM contracts
WHERE contracts.position <= ? ORDER BY contracts.position DESC
LIMIT ? OFFSET 0) AS anon_1 UNION ALL SELECT DISTINCT anon_2.session_id
FROM (SELECT contracts.session_id AS session_id
FROM contracts
WHERE contracts.position <= ? ORDER BY contracts.position
LIMIT ? OFFSET 0) AS anon_2
"""
"""Parameters: last, limit, last, limit."""

PARKED_DELIVERIES = """\
SELECT parked_deliveries.position, parked_deliveries.kind, parked_deliveries.contract_id,
    parked_deliveries.session_id, parked_deliveries.state, parked_deliveries.reason,
    parked_deliveries.attempts, parked_deliveries.parked_at
FROM parked_deliveries ORDER BY parked_deliveries.position, parked_deliveries.kind
LIMIT ?
"""
"""Parameters: limit."""

PARKED_DELIVERIES_IN_STATE = """\
SELECT parked_deliveries.position, parked_deliveries.kind, parked_deliveries.contract_id,
    parked_deliveries.session_id, parked_deliveries.state, parked_deliveries.reason,
    parked_deliveries.attempts, parked_deliveries.parked_at
FROM parked_deliveries
WHERE parked_deliveries.state = ? ORDER BY parked_deliveries.position, parked_deliveries.kind
LIMIT ?
"""
"""Parameters: state, limit."""

PARKED_KINDS = """\
SELECT parked_deliveries.state, parked_deliveries.kind, parked_deliveries.reason, count(*) AS
    deliveries, min(parked_deliveries.contract_id) AS contract_id
FROM parked_deliveries GROUP BY parked_deliveries.state, parked_deliveries.kind,
    parked_deliveries.reason ORDER BY count(*) DESC, min(parked_deliveries.position),
    parked_deliveries.kind
LIMIT ?
"""
"""Parameters: limit."""

PARK_DELIVERY = """\
INSERT INTO parked_deliveries (position, kind, contract_id, session_id, state, reason, attempts,
    parked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (position, kind) DO UPDATE SET
    contract_id = excluded.contract_id, session_id = excluded.session_id, state = excluded.state,
    reason = excluded.reason, attempts = excluded.attempts, parked_at = excluded.parked_at
"""
"""Parameters: position, kind, contract_id, session_id, state, reason, attempts, parked_at."""

UNPARK_DELIVERY = "DELETE FROM parked_deliveries WHERE parked_deliveries.position = ? AND parked_deliveries.kind = ?"
"""Parameters: position, kind."""

DELIVERY_COUNTS = """\
WITH given AS
(SELECT ? AS outbox_position, ? AS few)
SELECT all_contracts.total, all_contracts.beyond, all_parked.again, all_parked.parked,
    all_parked.parked_beyond, all_parked.nodes
FROM (SELECT (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'contracts') - (SELECT
    value FROM counters WHERE name = 'deleted_contracts') AS total, CASE WHEN ((SELECT
    given.outbox_position
FROM given) = 0) THEN (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'contracts') -
    (SELECT value FROM counters WHERE name = 'deleted_contracts') WHEN ((SELECT count(*) AS count_1
FROM (SELECT contracts.position AS position
FROM contracts
WHERE contracts.position > (SELECT given.outbox_position
FROM given)
LIMIT (SELECT given.few
FROM given) OFFSET 0) AS some) < (SELECT given.few
FROM given)) THEN (SELECT count(*) AS count_1
FROM (SELECT contracts.position AS position
FROM contracts
WHERE contracts.position > (SELECT given.outbox_position
FROM given)
LIMIT (SELECT given.few
FROM given) OFFSET 0) AS some) ELSE (SELECT count(*) FILTER (WHERE contracts.position > (SELECT
    given.outbox_position
FROM given)) AS anon_1
FROM contracts) END AS beyond) AS all_contracts, (SELECT count(*) FILTER (WHERE
    parked_deliveries.kind != 'provenance.node' AND parked_deliveries.state = 'due' AND
    parked_deliveries.position <= (SELECT given.outbox_position
FROM given)) AS again, count(*) FILTER (WHERE parked_deliveries.kind != 'provenance.node' AND
    parked_deliveries.state != 'due') AS parked, count(*) FILTER (WHERE parked_deliveries.kind !=
    'provenance.node' AND parked_deliveries.state != 'due' AND parked_deliveries.position > (SELECT
    given.outbox_position
FROM given)) AS parked_beyond, count(*) FILTER (WHERE parked_deliveries.kind = 'provenance.node') AS
    nodes
FROM parked_deliveries JOIN contracts ON contracts.position = parked_deliveries.position) AS
    all_parked
"""
"""Parameters: outbox_position, few."""

FEW_DUE = """\
WITH given AS
(SELECT ? AS outbox_position)
SELECT (SELECT count(*) AS count_1
FROM (SELECT contracts.position AS position
FROM contracts
WHERE contracts.position > (SELECT given.outbox_position
FROM given)
LIMIT ? OFFSET 0) AS some) AS beyond, (SELECT (count(*) FILTER (WHERE parked_deliveries.state =
    'due' AND parked_deliveries.position <= (SELECT given.outbox_position
FROM given))) - (count(*) FILTER (WHERE parked_deliveries.state != 'due' AND
    parked_deliveries.position > (SELECT given.outbox_position
FROM given))) AS anon_1
FROM parked_deliveries
WHERE parked_deliveries.kind != 'provenance.node') AS parked_due
"""
"""Parameters: outbox_position, limit."""

EVENT_WAS_DELIVERED_BEFORE = """\
SELECT EXISTS (SELECT 1
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.position < ? AND NOT (EXISTS (SELECT 1
FROM parked_deliveries
WHERE parked_deliveries.position = session_contracts.position AND parked_deliveries.kind !=
    'provenance.node'))) AS was_delivered
"""
"""Parameters: session_id, before."""

NODE_WAS_DELIVERED_BEFORE = """\
SELECT EXISTS (SELECT 1
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.position < ? AND NOT (EXISTS (SELECT 1
FROM parked_deliveries
WHERE parked_deliveries.position = session_contracts.position AND parked_deliveries.kind =
    'provenance.node')) AND session_contracts.contract_type = 'REQUEST') AS was_delivered
"""
"""Parameters: session_id, before."""

# memory_block_queries.py

INSERT_BLOCK = """\
INSERT INTO memory_blocks (block_id, session_id, created_at, last_position, block, beside) VALUES
    (?, ?, ?, ?, ?, ?)
"""
"""Parameters: block_id, session_id, created_at, last_position, block, beside."""

COVERED_POSITION = """\
SELECT max(memory_blocks.last_position) AS position
FROM memory_blocks
WHERE memory_blocks.session_id = ?
"""
"""Parameters: session_id."""

BLOCK_BY_ID = """\
SELECT memory_blocks.block_id, memory_blocks.session_id, memory_blocks.created_at,
    memory_blocks.last_position, memory_blocks.block, memory_blocks.beside
FROM memory_blocks
WHERE memory_blocks.block_id = ?
"""
"""Parameters: block_id."""

BLOCKS_OF_SESSION = """\
SELECT memory_blocks.block_id, memory_blocks.session_id, memory_blocks.created_at,
    memory_blocks.last_position, memory_blocks.block, memory_blocks.beside
FROM memory_blocks
WHERE memory_blocks.session_id = ? AND memory_blocks.last_position > ? ORDER BY
    memory_blocks.last_position
LIMIT ?
"""
"""Parameters: session_id, after, limit."""

NEWEST_BLOCKS = """\
SELECT memory_blocks.block_id, memory_blocks.session_id, memory_blocks.created_at,
    memory_blocks.last_position, memory_blocks.block, memory_blocks.beside
FROM memory_blocks
WHERE memory_blocks.block_id < ? ORDER BY memory_blocks.block_id DESC
LIMIT ?
"""
"""Parameters: before, limit."""

NEWEST_BLOCKS_OF_SESSION = """\
SELECT memory_blocks.block_id, memory_blocks.session_id, memory_blocks.created_at,
    memory_blocks.last_position, memory_blocks.block, memory_blocks.beside
FROM memory_blocks
WHERE memory_blocks.session_id = ? AND memory_blocks.block_id < ? ORDER BY memory_blocks.block_id
    DESC
LIMIT ?
"""
"""Parameters: session_id, before, limit."""

COMPANIONS_OF_SESSION = """\
SELECT memory_blocks.beside
FROM memory_blocks
WHERE memory_blocks.session_id = ? AND memory_blocks.beside IS NOT NULL
"""
"""Parameters: session_id."""

SESSIONS_WITH_BLOCKS = "SELECT DISTINCT memory_blocks.session_id FROM memory_blocks ORDER BY memory_blocks.session_id"

NEWEST_CONTRACT_OF_SESSION = """\
SELECT session_contracts.created_at, session_contracts.position
FROM session_contracts
WHERE session_contracts.session_id = ? ORDER BY session_contracts.position DESC
LIMIT 1
"""
"""Parameters: session_id."""

LAST_CLOSED_POSITION = """\
SELECT session_contracts.position
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.position > ? AND NOT
    (session_contracts.contract_type = 'REQUEST' AND session_contracts.status IN ('pending',
    'in_progress')) AND NOT (session_contracts.capability IN ('memory.pin', 'memory.note',
    'memory.forget', 'memory.undo') AND (session_contracts.to_agent = 'orchestrator' OR
    session_contracts.from_agent = 'orchestrator')) ORDER BY session_contracts.position DESC
LIMIT 1
"""
"""Parameters: session_id, after."""

SENDERS_BETWEEN = """\
SELECT DISTINCT session_contracts.from_agent
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.contract_type = 'REQUEST' AND
    session_contracts.position > ? AND session_contracts.position <= ?
"""
"""Parameters: session_id, after, last."""

FIRST_SENDER = """\
SELECT session_contracts.from_agent, session_contracts.position
FROM session_contracts
WHERE session_contracts.session_id = ? ORDER BY session_contracts.position
LIMIT 1
"""
"""Parameters: session_id."""

CALLED_BEFORE = """\
SELECT session_contracts.position
FROM session_contracts
WHERE session_contracts.session_id = ? AND session_contracts.position <= ? AND
    session_contracts.position > coalesce((SELECT session_positions.position
FROM session_positions
WHERE session_positions.session_id = ? AND session_positions.position <= ? ORDER BY
    session_positions.position DESC
LIMIT 1 OFFSET 20000), 0) AND session_contracts.contract_type = 'REQUEST' AND
    session_contracts.to_agent = ? AND NOT (session_contracts.to_agent = 'orchestrator' AND
    session_contracts.capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo'))
    ORDER BY session_contracts.position DESC
LIMIT 1
"""
"""Parameters: session_id, last, session_id, last, agent."""

COUNT_BETWEEN_POSITIONS = """\
SELECT count(*) AS count
FROM session_positions
WHERE session_positions.session_id = ? AND session_positions.position > ? AND
    session_positions.position <= ?
"""
"""Parameters: session_id, after, last."""

COUNT_AFTER = """\
SELECT count(*) AS count
FROM session_positions
WHERE session_positions.session_id = ? AND session_positions.position > ?
"""
"""Parameters: session_id, after."""

ERASED_BETWEEN = """\
SELECT count(*) AS count
FROM (SELECT contracts.contract_id AS contract_id
FROM session_positions JOIN contracts ON contracts.position = session_positions.position
WHERE session_positions.session_id = ? AND session_positions.position > ? AND
    session_positions.position <= ? UNION ALL SELECT pruned_contracts.contract_id AS contract_id
FROM pruned_contracts
WHERE pruned_contracts.session_id = ? AND pruned_contracts.position > ? AND
    pruned_contracts.position <= ?) AS contracts_between
WHERE contracts_between.contract_id IN (SELECT erased_contracts.contract_id
FROM erased_contracts)
"""
"""Parameters: session_id, after, last, pruned_session_id, pruned_after, pruned_last."""

SESSIONS_WITH_NEWS = """\
SELECT sessions.value, (SELECT session_positions.position
FROM session_positions
WHERE session_positions.session_id = sessions.value ORDER BY session_positions.position DESC
LIMIT 1 OFFSET 0) > (SELECT coalesce(max(memory_blocks.last_position), 0) AS coalesce_1
FROM memory_blocks
WHERE memory_blocks.session_id = sessions.value) AS has_news
FROM json_each(?) AS sessions ORDER BY sessions.value
"""
"""Parameters: session_ids."""

# correction_queries.py

CORRECTIONS_OF_SESSION = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.contract_type,
    contracts.from_agent, contracts.to_agent, contracts.capability, contracts.payload,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.result,
    contracts.error, contracts.metadata, contracts.request_id, contracts.parent_id,
    contracts.claimed_by
FROM contracts
WHERE contracts.contract_type = 'REQUEST' AND contracts.to_agent = 'orchestrator' AND
    contracts.capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo') AND
    contracts.status = 'completed' AND contracts.session_id = ? ORDER BY contracts.position
"""
"""Parameters: session_id."""

CORRECTED_SESSIONS = """\
SELECT DISTINCT contracts.session_id
FROM contracts
WHERE contracts.contract_type = 'REQUEST' AND contracts.to_agent = 'orchestrator' AND
    contracts.capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo') AND
    contracts.status = 'completed' ORDER BY contracts.session_id
"""

CORRECTION_POSITIONS = """\
SELECT contracts.position, contracts.contract_id
FROM contracts
WHERE contracts.contract_type = 'REQUEST' AND contracts.to_agent = 'orchestrator' AND
    contracts.capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo') AND
    contracts.status = 'completed' AND contracts.session_id = ? UNION ALL SELECT answer.position,
    answer.contract_id
FROM contracts JOIN contracts AS answer ON answer.request_id = contracts.contract_id
WHERE contracts.contract_type = 'REQUEST' AND contracts.to_agent = 'orchestrator' AND
    contracts.capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo') AND
    contracts.status = 'completed' AND contracts.session_id = ? AND answer.request_id IS NOT NULL
"""
"""Parameters: session_id, answered_session_id."""

CORRECTIONS_AMONG = """\
SELECT contracts.contract_id
FROM contracts
WHERE contracts.contract_type = 'REQUEST' AND contracts.to_agent = 'orchestrator' AND
    contracts.capability IN ('memory.pin', 'memory.note', 'memory.forget', 'memory.undo') AND
    contracts.status = 'completed' AND contracts.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

# token_queries.py

ALL_TOKENS = """\
SELECT tokens.token_id, tokens.name, tokens.sha256, tokens.scopes, tokens.agent_id,
    tokens.created_at, tokens.expires_at, tokens.revoked_at, tokens.capabilities
FROM tokens ORDER BY tokens.token_id
"""

INSERT_TOKEN = """\
INSERT INTO tokens (token_id, name, sha256, scopes, agent_id, created_at, expires_at, revoked_at,
    capabilities) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Parameters: token_id, name, sha256, scopes, agent_id, created_at, expires_at, revoked_at, capabilities."""

REVOKE_TOKEN = "UPDATE tokens SET revoked_at=? WHERE tokens.token_id = ? AND tokens.revoked_at IS NULL"
"""Parameters: now, revoked_id."""

# agent_queries.py

ANY_REGISTERED_AGENT = "SELECT agents.agent_id FROM agents WHERE agents.document IS NOT NULL LIMIT 1"

AGENTS_WITHOUT_DOCUMENTS = """\
SELECT agents.agent_id, agents.fingerprint, agents.owner, agents.registered_at, agents.ttl_s,
    agents.lease_ends_at, agents.drained_at, agents.state, agents.reason, agents.since,
    agents.changes, agents.circuit_until, agents.circuit_since
FROM agents ORDER BY agents.agent_id
"""

ONE_AGENT = """\
SELECT agents.agent_id, agents.document, agents.fingerprint, agents.owner, agents.registered_at,
    agents.ttl_s, agents.lease_ends_at, agents.drained_at, agents.state, agents.reason,
    agents.since, agents.changes, agents.circuit_until, agents.circuit_since
FROM agents
WHERE agents.agent_id = ?
"""
"""Parameters: agent_id."""

REGISTERED_COUNT = "SELECT count(*) AS count_1 FROM agents WHERE agents.document IS NOT NULL"

PUT_AGENT = """\
INSERT INTO agents (agent_id, document, fingerprint, owner, registered_at, ttl_s, lease_ends_at,
    drained_at, state, reason, since, changes, circuit_until, circuit_since) VALUES (?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (agent_id) DO UPDATE SET document = excluded.document,
    fingerprint = excluded.fingerprint, owner = excluded.owner, registered_at =
    excluded.registered_at, ttl_s = excluded.ttl_s, lease_ends_at = excluded.lease_ends_at,
    drained_at = excluded.drained_at, state = excluded.state, reason = excluded.reason, since =
    excluded.since, changes = excluded.changes, circuit_until = excluded.circuit_until,
    circuit_since = excluded.circuit_since
"""
"""Parameters: agent_id, document, fingerprint, owner, registered_at, ttl_s, lease_ends_at, drained_at, state,
    reason, since, changes, circuit_until, circuit_since."""

PUT_AGENT_STATE = """\
INSERT INTO agents (agent_id, document, fingerprint, owner, registered_at, ttl_s, lease_ends_at,
    drained_at, state, reason, since, changes, circuit_until, circuit_since) VALUES (?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (agent_id) DO UPDATE SET state = excluded.state, reason =
    excluded.reason, since = excluded.since
"""
"""Parameters: agent_id, document, fingerprint, owner, registered_at, ttl_s, lease_ends_at, drained_at, state,
    reason, since, changes, circuit_until, circuit_since."""

SET_AGENT_STATE = """\
UPDATE agents SET state=?, reason=?, since=? WHERE agents.agent_id = ? AND agents.fingerprint = ?
    AND agents.drained_at IS NULL
"""
"""Parameters: state, reason, since, agent_id, its_fingerprint."""

PUT_AGENT_CIRCUIT = """\
INSERT INTO agents (agent_id, document, fingerprint, owner, registered_at, ttl_s, lease_ends_at,
    drained_at, state, reason, since, changes, circuit_until, circuit_since) VALUES (?, ?, ?, ?, ?,
    ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (agent_id) DO UPDATE SET circuit_until =
    excluded.circuit_until, circuit_since = excluded.circuit_since
"""
"""Parameters: agent_id, document, fingerprint, owner, registered_at, ttl_s, lease_ends_at, drained_at, state,
    reason, since, changes, circuit_until, circuit_since."""

SET_AGENT_CIRCUIT = """\
UPDATE agents SET circuit_until=?, circuit_since=? WHERE agents.agent_id = ? AND agents.fingerprint
    = ?
"""
"""Parameters: circuit_until, circuit_since, agent_id, its_fingerprint."""

SET_AGENT_CHANGES = "UPDATE agents SET changes=? WHERE agents.agent_id = ? AND agents.fingerprint = ?"
"""Parameters: changes, agent_id, its_fingerprint."""

DRAIN_AGENT = "UPDATE agents SET drained_at=?, state=?, reason=?, since=? WHERE agents.agent_id = ?"
"""Parameters: drained_at, state, reason, since, agent_id."""

RENEW_LEASE = """\
UPDATE agents SET lease_ends_at=? WHERE agents.agent_id = ? AND (agents.lease_ends_at IS NULL OR
    agents.lease_ends_at > ?)
"""
"""Parameters: ends_at, agent_id, now."""

DELETE_AGENT = "DELETE FROM agents WHERE agents.agent_id = ?"
"""Parameters: agent_id."""

DELETE_ENDED_AGENT = "DELETE FROM agents WHERE agents.agent_id = ? AND agents.lease_ends_at <= ?"
"""Parameters: agent_id, moment."""

# metric_queries.py

MEASURED_RESPONSES = """\
SELECT contracts.capability, contracts.from_agent, contracts.status, contracts.created_at,
    CAST(contracts.metadata AS TEXT) AS metadata, contracts.request_id, r.to_agent, r.created_at AS
    created_at_1, r.priority, CAST(r.metadata AS TEXT) AS metadata__1
FROM contracts LEFT OUTER JOIN contracts AS r ON r.contract_id = contracts.request_id
WHERE contracts.position > ? AND contracts.position <= ? AND contracts.contract_type = 'RESPONSE'
    ORDER BY contracts.position
"""
"""Parameters: after, last."""

METRIC_TOTALS = "SELECT metric_totals.metric, metric_totals.labels, metric_totals.value FROM metric_totals"

METRIC_POSITION = """\
SELECT metric_totals.value
FROM metric_totals
WHERE metric_totals.metric = 'position' AND metric_totals.labels = '[]'
"""

PUT_METRIC_TOTAL = """\
INSERT INTO metric_totals (metric, labels, value) VALUES (?, ?, ?) ON CONFLICT (metric, labels) DO
    UPDATE SET value = excluded.value
"""
"""Parameters: metric, labels, value."""

QUEUED_BY_CAPABILITY = """\
SELECT contracts.capability, count(*) AS count, min(contracts.position) AS first_position
FROM contracts
WHERE contracts.turn IS NOT NULL GROUP BY contracts.capability
"""

DUE_BY_CAPABILITY = """\
SELECT contracts.capability, count(*) AS count, min(contracts.position) AS first_position
FROM contracts
WHERE contracts.due_at <= ? GROUP BY contracts.capability
"""
"""Parameters: now."""

FIRST_DUE_AT = "SELECT min(contracts.due_at) AS min_1 FROM contracts WHERE contracts.due_at IS NOT NULL"

SCHEDULED_BY_CAPABILITY = """\
SELECT contracts.capability, count(*) AS count, min(contracts.position) AS first_position
FROM contracts
WHERE contracts.due_at > ? GROUP BY contracts.capability
"""
"""Parameters: now."""

RUNNING_BY_CAPABILITY = """\
SELECT contracts.capability, count(*) AS count, min(contracts.position) AS first_position
FROM contracts
WHERE contracts.status = 'in_progress' AND contracts.status != 'completed' AND contracts.priority IS
    NOT NULL GROUP BY contracts.capability
"""

QUEUED_POSITIONS = "SELECT contracts.position FROM contracts WHERE contracts.turn IS NOT NULL"

WAITING_SINCE = """\
SELECT contracts.created_at, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.position IN (SELECT anon_1.value AS value
FROM json_each(?) AS anon_1) ORDER BY contracts.position
"""
"""Parameters: positions."""

# span_queries.py

ENDED_EXCHANGES = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.from_agent,
    contracts.capability, contracts.status, contracts.created_at, contracts.error,
    CAST(contracts.metadata AS TEXT) AS metadata, contracts.request_id, contracts.parent_id,
    r.from_agent AS from_agent_1, r.to_agent, r.created_at AS created_at_1, CAST(r.metadata AS TEXT)
    AS metadata__1, r.priority
FROM contracts LEFT OUTER JOIN contracts AS r ON r.contract_id = contracts.request_id
WHERE contracts.position > ? AND contracts.position <= ? AND contracts.contract_type = 'RESPONSE'
    ORDER BY contracts.position
LIMIT ?
"""
"""Parameters: after, last, limit."""

ENDED_EXCHANGES_WITH_CONTENT = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.from_agent,
    contracts.capability, contracts.status, contracts.created_at, contracts.error,
    CAST(contracts.metadata AS TEXT) AS metadata, contracts.request_id, contracts.parent_id,
    r.from_agent AS from_agent_1, r.to_agent, r.created_at AS created_at_1, CAST(r.metadata AS TEXT)
    AS metadata__1, r.priority, CAST(contracts.result AS TEXT) AS result, CAST(r.payload AS TEXT) AS
    payload
FROM contracts LEFT OUTER JOIN contracts AS r ON r.contract_id = contracts.request_id
WHERE contracts.position > ? AND contracts.position <= ? AND contracts.contract_type = 'RESPONSE'
    ORDER BY contracts.position
LIMIT ?
"""
"""Parameters: after, last, limit."""

PARENT_OF = """\
SELECT contracts.parent_id, CAST(contracts.metadata AS TEXT) AS metadata
FROM contracts
WHERE contracts.contract_id = ?
"""
"""Parameters: contract_id."""

CONTRACTS_BEYOND = "SELECT count(*) FILTER (WHERE contracts.position > ?) AS beyond FROM contracts"
"""Parameters: after."""

FEW_BEYOND = """\
SELECT count(*) AS count_1
FROM (SELECT contracts.position AS position
FROM contracts
WHERE contracts.position > ?
LIMIT ? OFFSET 0) AS some
"""
"""Parameters: after, limit."""

# erasure_queries.py

INSERT_ERASURE = """\
INSERT INTO erasures (erasure_id, erased_at, erased_by, reason, selection, cleaned_at) VALUES (?, ?,
    ?, ?, ?, ?) ON CONFLICT (erasure_id) DO NOTHING
"""
"""Parameters: erasure_id, erased_at, erased_by, reason, selection, cleaned_at."""

INSERT_ERASED_CONTRACT = """\
INSERT INTO erased_contracts (contract_id, erasure_id) VALUES (?, ?) ON CONFLICT (contract_id) DO
    UPDATE SET erasure_id = excluded.erasure_id
"""
"""Parameters: contract_id, erasure_id."""

ERASURES = """\
SELECT erasures.erasure_id, erasures.erased_at, erasures.erased_by, erasures.reason,
    erasures.selection, erasures.cleaned_at, count(erased_contracts.contract_id) AS contracts
FROM erasures LEFT OUTER JOIN erased_contracts ON erased_contracts.erasure_id = erasures.erasure_id
    GROUP BY erasures.erasure_id, erasures.erased_at, erasures.erased_by, erasures.reason,
    erasures.selection, erasures.cleaned_at ORDER BY erasures.erased_at DESC, erasures.erasure_id
    DESC
LIMIT ?
"""
"""Parameters: limit."""

UNFINISHED_ERASURES = "SELECT erasures.erasure_id FROM erasures WHERE erasures.cleaned_at IS NULL"

FINISH_ERASURES = "UPDATE erasures SET cleaned_at=? WHERE erasures.cleaned_at IS NULL"
"""Parameters: finished_at."""

ERASED_CONTRACTS = "SELECT erased_contracts.contract_id, erased_contracts.erasure_id FROM erased_contracts"

ALL_ERASED = "SELECT erased_contracts.contract_id FROM erased_contracts ORDER BY erased_contracts.contract_id"

IS_ERASED = "SELECT erased_contracts.erasure_id FROM erased_contracts WHERE erased_contracts.contract_id = ?"
"""Parameters: contract_id."""

EXCHANGES_OF = """\
SELECT contracts.position, contracts.contract_id, contracts.session_id, contracts.contract_type,
    contracts.from_agent, contracts.to_agent, contracts.capability, contracts.payload,
    contracts.status, contracts.created_at, contracts.completed_at, contracts.result,
    contracts.error, contracts.metadata, contracts.request_id, contracts.parent_id,
    contracts.claimed_by
FROM contracts
WHERE contracts.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) UNION ALL SELECT contracts.position, contracts.contract_id,
    contracts.session_id, contracts.contract_type, contracts.from_agent, contracts.to_agent,
    contracts.capability, contracts.payload, contracts.status, contracts.created_at,
    contracts.completed_at, contracts.result, contracts.error, contracts.metadata,
    contracts.request_id, contracts.parent_id, contracts.claimed_by
FROM contracts
WHERE contracts.request_id IN (SELECT anon_2.value
FROM json_each(?) AS anon_2)
"""
"""Parameters: contract_ids, request_ids."""

RERUNS_IN = """\
SELECT contracts.contract_id, CAST(contracts.metadata AS TEXT) AS metadata
FROM session_positions JOIN contracts ON contracts.position = session_positions.position
WHERE session_positions.session_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND contracts.contract_type = 'REQUEST' AND ((CAST(contracts.metadata
    AS TEXT) LIKE '%' || '"rerun_of"' || '%') OR (CAST(contracts.metadata AS TEXT) LIKE '%' ||
    '"retry_of"' || '%') OR (CAST(contracts.metadata AS TEXT) LIKE '%' || '"resumes"' || '%'))
"""
"""Parameters: session_ids."""

TEXTS_ABOUT_CONTRACTS = """\
SELECT attempts.request_id, attempts.error AS text
FROM attempts
WHERE attempts.error IS NOT NULL UNION ALL SELECT webhooks.request_id, webhooks.url
FROM webhooks UNION ALL SELECT webhooks.request_id, webhooks.error
FROM webhooks
WHERE webhooks.error IS NOT NULL UNION ALL SELECT task_progress.request_id,
    CAST(task_progress.progress AS TEXT) AS progress
FROM task_progress UNION ALL SELECT batch_lines.request_id, batch_lines.line_key
FROM batch_lines UNION ALL SELECT parked_deliveries.contract_id, parked_deliveries.reason
FROM parked_deliveries
WHERE parked_deliveries.contract_id IS NOT NULL
"""

ALL_BLOCKS = """\
SELECT memory_blocks.block_id, memory_blocks.session_id, memory_blocks.created_at,
    memory_blocks.last_position, memory_blocks.block, memory_blocks.beside
FROM memory_blocks
"""

ERASE_CONTRACT = """\
UPDATE contracts SET payload='{}', result=NULL, error=NULL, required_labels=NULL, metadata=? WHERE
    contracts.contract_id = ?
"""
"""Parameters: mark, erased_id."""

ERASE_ATTEMPTS = """\
UPDATE attempts SET error=NULL WHERE attempts.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND attempts.error IS NOT NULL
"""
"""Parameters: contract_ids."""

ERASE_PROGRESS = """\
DELETE FROM task_progress WHERE task_progress.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

ERASE_WEBHOOKS = "DELETE FROM webhooks WHERE webhooks.request_id IN (SELECT anon_1.value FROM json_each(?) AS anon_1)"
"""Parameters: contract_ids."""

ERASE_KEYS = """\
UPDATE idempotency_keys SET fingerprint='erased' WHERE idempotency_keys.request_id IN (SELECT
    anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

ERASE_PARKED = """\
UPDATE parked_deliveries SET reason='erased' WHERE parked_deliveries.contract_id IN (SELECT
    anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

PARKED_EVENTS_OF = """\
SELECT parked_deliveries.contract_id, parked_deliveries.state
FROM parked_deliveries
WHERE parked_deliveries.contract_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1) AND parked_deliveries.kind != 'provenance.node'
"""
"""Parameters: contract_ids."""

LINES_OF = """\
SELECT batch_lines.generation, batch_lines.line_key
FROM batch_lines
WHERE batch_lines.request_id IN (SELECT anon_1.value
FROM json_each(?) AS anon_1)
"""
"""Parameters: contract_ids."""

RENAME_LINE = "UPDATE batch_lines SET line_key=? WHERE batch_lines.generation = ? AND batch_lines.line_key = ?"
"""Parameters: new_key, its_generation, its_key."""

BLOCKS_AFTER = """\
SELECT memory_blocks.block_id, memory_blocks.session_id, memory_blocks.created_at,
    memory_blocks.last_position, memory_blocks.block, memory_blocks.beside
FROM memory_blocks
WHERE memory_blocks.session_id = ? AND memory_blocks.last_position >= ? ORDER BY
    memory_blocks.last_position
"""
"""Parameters: session_id, position."""

REPLACE_BLOCK = "UPDATE memory_blocks SET block=?, beside=? WHERE memory_blocks.block_id = ?"
"""Parameters: new_block, new_beside, its_id."""
