"""The writing statements and the reads of a start, as SQLite takes them.

They are compiled from the table in contract.py ahead of time, so that `aorch run` need not import SQLAlchemy (210 ms);
`tests/ledger/test_statements.py` holds the two equal.
"""

REVISION = "0006"
"""The newest revision in migrations/versions."""

INSERT = (
    "INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,"
    " created_at, completed_at, result, error, metadata, request_id, parent_id, claimed_by)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""A whole Row."""

INSERT_BEGUN = (
    "INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,"
    " created_at, metadata, parent_id, claimed_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""A Row without what only an answer brings: each None that is not handed to SQLite saves 0.3 µs of the 20 that a row takes."""

INSERT_KEY = 'INSERT INTO idempotency_keys (caller, "key", fingerprint, request_id) VALUES (?, ?, ?, ?)'

REPLACE_KEY = 'INSERT OR REPLACE INTO idempotency_keys (caller, "key", fingerprint, request_id) VALUES (?, ?, ?, ?)'

UNDER_KEY = (
    "SELECT idempotency_keys.request_id FROM idempotency_keys"
    ' WHERE idempotency_keys.caller = ? AND idempotency_keys."key" = ?'
)

INSERT_BLOCK = (
    "INSERT INTO memory_blocks (block_id, session_id, created_at, last_position, block, beside)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)

COVERED = "SELECT max(memory_blocks.last_position) AS max_1 FROM memory_blocks WHERE memory_blocks.session_id = ?"
"""The position up to which a session's contracts are in memory blocks; NULL where there is none."""

START = "UPDATE contracts SET status=? WHERE contracts.contract_id = ? AND contracts.status = ?"
"""(in_progress, contract_id, pending)"""

COMPLETE = "UPDATE contracts SET status=?, completed_at=?, claimed_by=NULL WHERE contracts.contract_id = ?"
"""(status, completed_at, contract_id)"""

CLAIMED = "SELECT DISTINCT contracts.claimed_by FROM contracts WHERE contracts.claimed_by IS NOT NULL"

ORPHANS = "SELECT contracts.contract_id FROM contracts WHERE contracts.claimed_by = ?"

ANCESTORS = (
    "WITH RECURSIVE ancestors(contract_id, to_agent, capability, parent_id) AS"
    " (SELECT contract_id, to_agent, capability, parent_id FROM contracts"
    " WHERE contract_id = ? AND contract_type = 'REQUEST'"
    " UNION SELECT c.contract_id, c.to_agent, c.capability, c.parent_id FROM contracts c"
    " JOIN ancestors a ON c.contract_id = a.parent_id)"
    " SELECT contract_id, to_agent, capability FROM ancestors"
)
"""From a REQUEST to the root of its delegation; nothing for a RESPONSE."""

AGENT = "SELECT contracts.to_agent FROM contracts WHERE contracts.contract_id = ?"

PAYLOAD = "SELECT contracts.payload FROM contracts WHERE contracts.contract_id = ?"

TRIED = (
    "WITH RECURSIVE tries(contract_id, capability, session_id, resumes, retry_of) AS"
    " (SELECT contract_id, capability, session_id, json_extract(metadata, '$.resumes'), json_extract(metadata, '$.retry_of')"
    " FROM contracts WHERE contract_id = ?"
    " UNION SELECT c.contract_id, c.capability, c.session_id, json_extract(c.metadata, '$.resumes'),"
    " json_extract(c.metadata, '$.retry_of') FROM tries t CROSS JOIN contracts c ON c.contract_id IN (t.resumes, t.retry_of)"
    " WHERE c.capability = t.capability AND c.session_id = t.session_id"
    " UNION SELECT c.contract_id, c.capability, c.session_id, json_extract(c.metadata, '$.resumes'),"
    " json_extract(c.metadata, '$.retry_of') FROM tries t"
    " CROSS JOIN idempotency_keys k ON k.caller IN ('retry', 'resume') AND k.key = t.contract_id"
    " CROSS JOIN contracts c ON c.contract_id = k.request_id"
    " WHERE c.capability = t.capability AND c.session_id = t.session_id),"
    " steps(first, contract_id) AS"
    " (SELECT c.contract_id, c.contract_id FROM tries t CROSS JOIN contracts c ON c.parent_id = t.contract_id"
    " WHERE c.contract_type = 'REQUEST' AND c.from_agent = ?"
    " UNION SELECT s.first, k.request_id FROM steps s"
    " CROSS JOIN idempotency_keys k ON k.caller IN ('retry', 'resume') AND k.key = s.contract_id)"
    " SELECT c.contract_id, c.to_agent, q.capability, q.payload, c.status, c.completed_at IS NULL AND"
    " coalesce(c.claimed_by, c.turn, c.due_at) IS NOT NULL, q.metadata FROM steps s"
    " CROSS JOIN contracts q ON q.contract_id = s.first CROSS JOIN contracts c ON c.contract_id = s.contract_id"
    " WHERE c.capability = q.capability ORDER BY c.position"
)
"""(contract_id, from_agent): what that agent asked for on behalf of a REQUEST and of its other tries, oldest first, and the
later tries of those: whether it waits or runs here now (not if it was imported open), and what identifies the first of them.

Only tries of one capability in one session count: what `metadata` says comes from outside. The key of a try is the id of the
one before it (store.RETRY; `resume` in ledgers of older versions)."""

RESULT = "SELECT contracts.result FROM contracts WHERE contracts.request_id = ?"
"""What the RESPONSE to that REQUEST holds."""

SESSIONS_FROM = (
    "WITH RECURSIVE found(session_id, n) AS"
    " (SELECT min(session_id), 1 FROM contracts WHERE session_id >= ?"
    " UNION ALL SELECT (SELECT min(session_id) FROM contracts WHERE session_id > found.session_id), n + 1 FROM found"
    " WHERE found.session_id IS NOT NULL AND n < ?)"
    " SELECT session_id FROM found WHERE session_id IS NOT NULL"
)
"""(first, how many): distinct sessions in order, by skipping through the index instead of reading it all."""

NEWEST_IDS = "SELECT contract_id, capability, session_id FROM contracts ORDER BY position DESC LIMIT ?"

# The queue

ENQUEUE = (
    "INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,"
    " created_at, completed_at, result, error, metadata, request_id, parent_id, claimed_by, priority, due_at, expires_at,"
    " turn) SELECT given.*,"
    " CASE WHEN given.due_at IS NULL THEN max((SELECT turn + 1 FROM queue_clock WHERE priority = given.priority),"
    " (SELECT coalesce(max(c.turn) + 1, 0) FROM contracts AS c"
    " WHERE c.session_id = given.session_id AND c.priority = given.priority AND c.turn IS NOT NULL))"
    " END FROM (SELECT ?, ? AS session_id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? AS priority, ? AS due_at, ?) AS given"
)
"""A whole Row, priority, due_at, expires_at."""

ENQUEUE_WEBHOOK = "INSERT INTO webhooks (request_id, url, attempts) VALUES (?, ?, 0)"

FIRST = (
    "SELECT priority, turn, position, capability FROM contracts WHERE capability = ? AND to_agent IS ?"
    " AND turn IS NOT NULL ORDER BY priority, turn, position LIMIT ?"
)
"""(capability, the agent that it insists on or None, how many at most): those that come first, in order."""

CLAIM = (
    "UPDATE contracts SET status = 'in_progress', claimed_by = ?, to_agent = ?, turn = NULL, expires_at = NULL,"
    " attempts = coalesce(attempts, 0) + 1 WHERE position = ?"
)
"""(owner, the agent that is to do it, position)"""

CLOCK = (
    "INSERT INTO queue_clock (priority, turn) VALUES (?, ?)"
    " ON CONFLICT (priority) DO UPDATE SET turn = max(turn, excluded.turn)"
)

_ROW = (
    "SELECT contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status, created_at,"
    " completed_at, result, error, metadata, request_id, parent_id, claimed_by FROM contracts WHERE "
)
BY_POSITION = _ROW + "position = ?"
BY_ID = _ROW + "contract_id = ?"
BETWEEN = (
    _ROW  # noqa: S608  a constant
    + "session_id = ? AND position BETWEEN (SELECT position FROM contracts WHERE contract_id = ?)"
    " AND (SELECT position FROM contracts WHERE contract_id = ?) ORDER BY position"
)
"""(session, first contract_id, last contract_id): the contracts of a session from one to another, oldest first."""
BY_REQUEST = _ROW + "request_id = ?"
"""The RESPONSE to that REQUEST."""

ANSWERED = "SELECT request_id FROM contracts WHERE request_id IN (SELECT value FROM json_each(?))"

DUE = "SELECT position, session_id, priority FROM contracts WHERE due_at <= ? ORDER BY due_at LIMIT ?"

PROMOTE = (
    "UPDATE contracts SET due_at = NULL, turn = max("
    "(SELECT turn + 1 FROM queue_clock WHERE priority = contracts.priority),"
    " (SELECT coalesce(max(c.turn) + 1, 0) FROM contracts AS c"
    " WHERE c.session_id = contracts.session_id AND c.priority = contracts.priority AND c.turn IS NOT NULL))"
    " WHERE position = ? AND session_id = ? AND priority = ?"
)
"""(position, session_id, priority)"""

EXPIRED = "SELECT position FROM contracts WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"

NEXT_MOMENT = (
    "SELECT min(moment) FROM (SELECT min(due_at) AS moment FROM contracts WHERE due_at IS NOT NULL"
    " UNION ALL SELECT min(expires_at) FROM contracts WHERE expires_at IS NOT NULL)"
)
"""When the next one is due, or expires."""

CLAIMED_STATE = (
    "SELECT position, attempts, cancelled_by, priority IS NOT NULL FROM contracts"
    " WHERE contract_id = ? AND claimed_by IS NOT NULL"
)

STATE = (
    "SELECT status, contract_type, turn IS NOT NULL OR due_at IS NOT NULL, claimed_by, position FROM contracts"
    " WHERE contract_id = ?"
)

END = (
    "UPDATE contracts SET status = ?, completed_at = ?, claimed_by = NULL, turn = NULL, due_at = NULL, expires_at = NULL"
    " WHERE contract_id = ?"
)
"""(status, completed_at, contract_id): COMPLETE for one that may still wait."""

REQUEUE = (
    "UPDATE contracts SET status = 'pending', claimed_by = NULL, attempts = attempts - ?, to_agent = ?,"
    " turn = (SELECT turn FROM queue_clock WHERE priority = contracts.priority) WHERE contract_id = ?"
)
"""(1 where its agent was not called, else 0; the agent that it insists on, else NULL; contract_id): it waits at the head of
its priority."""

CANCEL = "UPDATE contracts SET cancelled_by = ? WHERE contract_id = ? AND cancelled_by IS NULL"

CANCELLED = (
    "SELECT contract_id, cancelled_by FROM contracts WHERE claimed_by = ? AND cancelled_by IS NOT NULL"
    " AND claimed_by IS NOT NULL"
)

LENGTH = (
    "SELECT (SELECT count(*) FROM contracts WHERE turn IS NOT NULL)"
    " + (SELECT count(*) FROM contracts WHERE due_at IS NOT NULL)"
)

WAITING = "SELECT capability, to_agent, count(*) FROM contracts WHERE turn IS NOT NULL GROUP BY capability, to_agent"
"""What waits for whom, read from its index alone."""

DUE_WEBHOOKS = (
    "SELECT request_id, url, attempts FROM webhooks WHERE due_at <= ?"
    " AND substr(url || '/', 1, instr(substr(url || '/', 9), '/') + 8) NOT IN (SELECT value FROM json_each(?))"
    " AND url NOT IN (SELECT value FROM json_each(?)) ORDER BY due_at LIMIT ?"
)
"""(moment, hosts as `addresses.host_of` writes them, URLs, how many at most): what is due, but not to these."""

WEBHOOK_SENT = "DELETE FROM webhooks WHERE request_id = ?"

WEBHOOK_FAILED = "UPDATE webhooks SET attempts = ?, due_at = ?, error = ? WHERE request_id = ?"

WEBHOOKS_GONE = "UPDATE webhooks SET due_at = NULL, error = ? WHERE url = ? AND (due_at IS NOT NULL OR error IS NULL)"
"""(error, URL): gives up all that wait for this URL, also those of tasks that have not ended."""

WEBHOOK_DUE = "UPDATE webhooks SET due_at = ? WHERE request_id = ? AND error IS NULL"
RECORDED = (
    "WITH RECURSIVE given(caller, keys, longest) AS (SELECT ?, ?, ?), trials(key, request_id) AS"
    " (SELECT k.key, k.request_id FROM given CROSS JOIN json_each(given.keys) AS wanted"
    " CROSS JOIN idempotency_keys AS k ON k.caller = given.caller AND k.key = wanted.value"
    " UNION ALL SELECT t.key, k.request_id FROM trials AS t"
    " CROSS JOIN idempotency_keys AS k ON k.caller IN ('retry', 'resume') AND k.key = t.request_id)"
    " SELECT t.key, q.contract_id, q.session_id, q.to_agent, json_extract(q.metadata, '$.retry_of'), r.from_agent, r.status,"
    " r.created_at, r.error, json_extract(r.metadata, '$.called'),"
    " iif(length(r.metadata) + coalesce(length(r.result), 0) <= given.longest, r.result, NULL),"
    " iif(length(r.metadata) + coalesce(length(r.result), 0) <= given.longest, r.metadata, NULL)"
    " FROM given CROSS JOIN trials AS t CROSS JOIN contracts AS q ON q.contract_id = t.request_id"
    " LEFT JOIN contracts AS r ON r.request_id = t.request_id"
    " WHERE NOT EXISTS (SELECT 1 FROM idempotency_keys AS k WHERE k.caller IN ('retry', 'resume')"
    " AND k.key = t.request_id)"
)
"""(caller, keys as a JSON list, length above which result and metadata are left out): the last trial of each used key.

The key of a trial is the id of the one that it comes after (store.RETRY). CROSS JOIN keeps SQLite from reading all keys of
the caller first."""

_TRIES = (
    "found AS MATERIALIZED (SELECT contract_id, capability, position, status,"
    " coalesce(json_extract(metadata, '$.retry_of'), json_extract(metadata, '$.resumes')) AS before FROM contracts"
    " WHERE session_id = (SELECT session FROM given) AND contract_type = 'REQUEST' AND before IS NOT NULL),"
    " tries(contract_id, capability, position, status, before) AS (SELECT * FROM found"
    " UNION SELECT t.contract_id, t.capability, t.position, t.status, coalesce(json_extract(c.metadata, '$.retry_of'),"
    " json_extract(c.metadata, '$.resumes')) AS further FROM tries t CROSS JOIN contracts c ON c.contract_id = t.before"
    " WHERE further IS NOT NULL AND c.session_id = (SELECT session FROM given) AND c.capability = t.capability)"
)
"""`tries` has a row for each REQUEST of a session that does another one (`before`) again, and for each before that."""

UNDONE = (
    "WITH RECURSIVE given(session) AS (SELECT ?), "  # noqa: S608  a constant
    + _TRIES
    + ", again AS (SELECT before, capability, max(position), contract_id, status, sum(status = 'completed') AS done"
    " FROM tries GROUP BY before, capability)"
    " SELECT q.position, coalesce(again.contract_id, q.contract_id) FROM contracts q"
    " LEFT JOIN again ON again.before = q.contract_id AND again.capability = q.capability"
    " WHERE q.session_id = (SELECT session FROM given) AND q.contract_type = 'REQUEST' AND q.status IN ('failed', 'cancelled')"
    " AND q.parent_id IS NULL AND q.contract_id NOT IN (SELECT t.contract_id FROM tries t"
    " CROSS JOIN contracts c ON c.contract_id = t.before WHERE c.session_id = (SELECT session FROM given)"
    " AND c.capability = t.capability)"
    " AND coalesce(again.done, 0) = 0"
    " AND coalesce(again.status, q.status) IN ('failed', 'cancelled') ORDER BY q.position"
)
"""(session): the position of each REQUEST of a caller's own that came to nothing, also when it was tried again by whatever
command, and the id of its last try."""

LAST_TRY = (
    "WITH RECURSIVE given(session, request) AS (SELECT ?, ?), "  # noqa: S608  a constant
    + _TRIES
    + ", firsts(contract_id) AS (SELECT request FROM given UNION SELECT t.before FROM tries t"
    " CROSS JOIN contracts c ON c.contract_id = t.before AND c.session_id = (SELECT session FROM given)"
    " AND c.capability = t.capability"
    " WHERE t.contract_id = (SELECT request FROM given))"
    " SELECT c.contract_id, c.status FROM contracts c WHERE c.contract_id IN (SELECT contract_id FROM firsts"
    " UNION SELECT t.contract_id FROM tries t WHERE t.before IN (SELECT contract_id FROM firsts)"
    " AND t.capability = (SELECT capability FROM contracts WHERE contract_id = (SELECT request FROM given)))"
    " ORDER BY c.status = 'completed' DESC, c.position DESC LIMIT 1"
)
"""(session, contract_id): the id and the status of the last try of what that REQUEST asks for; a completed one goes first."""

ASKED = (
    "SELECT contract_id, from_agent, to_agent, capability, payload, metadata FROM contracts"
    " WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position"
)
"""(positions as a JSON list)"""
