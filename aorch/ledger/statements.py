"""The writing statements and the reads of a start, as SQLite takes them.

They are compiled from the table in contract.py ahead of time, so that `aorch run` need not import SQLAlchemy (210 ms);
`tests/test_statements.py` holds the two equal.
"""

REVISION = "0002"
"""The newest revision in migrations/versions."""

INSERT = (
    "INSERT INTO contracts (contract_id, session_id, contract_type, from_agent, to_agent, capability, payload, status,"
    " created_at, completed_at, result, error, metadata, request_id, parent_id, claimed_by)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""A whole Row."""

INSERT_KEY = 'INSERT INTO idempotency_keys (caller, "key", fingerprint, request_id) VALUES (?, ?, ?, ?)'

START = "UPDATE contracts SET status=? WHERE contracts.contract_id = ? AND contracts.status = ?"
"""(in_progress, contract_id, pending)"""

COMPLETE = "UPDATE contracts SET status=?, completed_at=?, claimed_by=? WHERE contracts.contract_id = ?"
"""(status, completed_at, None, contract_id)"""

CLAIMED = "SELECT DISTINCT contracts.claimed_by FROM contracts WHERE contracts.claimed_by IS NOT NULL"

ORPHANS = (
    "SELECT contracts.contract_id, contracts.session_id, contracts.from_agent, contracts.to_agent, contracts.capability,"
    " contracts.parent_id FROM contracts WHERE contracts.claimed_by = ?"
)

ANCESTORS = (
    "WITH RECURSIVE ancestors(contract_id, to_agent, capability, payload, parent_id) AS"
    " (SELECT contract_id, to_agent, capability, payload, parent_id FROM contracts WHERE contract_id = ?"
    " UNION SELECT c.contract_id, c.to_agent, c.capability, c.payload, c.parent_id FROM contracts c"
    " JOIN ancestors a ON c.contract_id = a.parent_id)"
    " SELECT contract_id, to_agent, capability, payload FROM ancestors"
)
"""From a contract to the root of its delegation."""

SESSIONS_FROM = (
    "WITH RECURSIVE found(session_id, n) AS"
    " (SELECT min(session_id), 1 FROM contracts WHERE session_id >= ?1"
    " UNION ALL SELECT (SELECT min(session_id) FROM contracts WHERE session_id > found.session_id), n + 1 FROM found"
    " WHERE found.session_id IS NOT NULL AND n < ?2)"
    " SELECT session_id FROM found WHERE session_id IS NOT NULL"
)
"""(first, how many): distinct sessions in order, by skipping through the index instead of reading it all."""

NEWEST_IDS = "SELECT contract_id, capability, session_id FROM contracts ORDER BY position DESC LIMIT ?"
