"""The views for people and programs that read the ledger with SQL: exchanges, sessions, and figures of agents (SQLite).

docs/ledger.md describes their columns. aorch itself does not use them. Another program may have written metadata that is no JSON:
`json_valid` keeps one such contract from breaking every query. A migration creates the views; to change one, change it here, and
write a migration that drops it and creates it again.
"""

EXCHANGES = """\
CREATE VIEW exchanges AS
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
WHERE c.contract_type = 'REQUEST'"""

SESSIONS = """\
CREATE VIEW sessions AS
SELECT session_id, count(*) AS contracts, sum(contract_type = 'REQUEST') AS exchanges,
    sum(contract_type = 'REQUEST' AND status = 'failed') AS failed,
    sum(contract_type = 'REQUEST' AND status IN ('pending', 'in_progress')) AS open,
    min(created_at) AS first_at, max(created_at) AS last_at
FROM contracts GROUP BY session_id"""

AGENT_LATENCY = """\
CREATE VIEW agent_latency AS
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
FROM ranked GROUP BY agent_id, capability"""

ATTEMPTS_BY_AGENT = """\
CREATE VIEW attempts_by_agent AS
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
GROUP BY agent_id"""

VIEWS = (EXCHANGES, SESSIONS, AGENT_LATENCY, ATTEMPTS_BY_AGENT)
"""In the order in which they must be created."""
