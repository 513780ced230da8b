"""The views for people and programs that read the ledger with SQL: exchanges, sessions, and figures of agents (PostgreSQL).

They have the same columns as on SQLite (`view_definitions.py` in the directory above), with times as `timestamp with time zone`.
Another program may have written metadata that is no JSON, or another time: then a column is NULL.
"""

TIME = (
    "CREATE FUNCTION aorch_time(written text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS"
    " $$ BEGIN RETURN written::timestamptz; EXCEPTION WHEN data_exception THEN RETURN NULL; END $$"
)
NUMBER = (
    "CREATE FUNCTION aorch_json_number(document text, VARIADIC path text[]) RETURNS double precision"
    " LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS"
    " $$ DECLARE found json; BEGIN found := document::json #> path;"
    " RETURN CASE json_typeof(found) WHEN 'number' THEN (found #>> '{}')::double precision END;"
    " EXCEPTION WHEN data_exception THEN RETURN NULL; END $$"
)

EXCHANGES = """\
CREATE VIEW exchanges AS
SELECT c.position, c.contract_id AS request_id, r.contract_id AS response_id, c.session_id, c.parent_id, c.capability,
    c.from_agent, coalesce(aorch_json_text(c.metadata, 'caller', 'name'), c.from_agent) AS caller,
    CASE WHEN r.from_agent <> 'orchestrator' THEN r.from_agent ELSE coalesce((SELECT a.agent_id FROM attempts a
        WHERE a.request_id = c.contract_id ORDER BY a.number DESC LIMIT 1), c.to_agent) END AS agent_id,
    CASE WHEN r.status = 'interrupted' THEN r.status ELSE c.status END AS status,
    aorch_time(c.created_at) AS created_at, aorch_time(c.completed_at) AS completed_at,
    aorch_json_number(r.metadata, 'duration_ms') AS duration_ms,
    CASE WHEN c.priority IS NOT NULL AND aorch_json_number(r.metadata, 'duration_ms') IS NOT NULL THEN greatest(0, round(
        extract(epoch FROM aorch_time(c.completed_at) - greatest(aorch_time(c.created_at),
        aorch_time(aorch_json_text(c.metadata, 'queue', 'not_before'))))::double precision * 1000
        - aorch_json_number(r.metadata, 'duration_ms'))) END AS wait_ms,
    coalesce(nullif((SELECT count(*) FROM attempts a WHERE a.request_id = c.contract_id), 0),
        aorch_json_number(r.metadata, 'attempts')::bigint,
        CASE WHEN r.from_agent <> 'orchestrator' THEN 1 WHEN c.to_agent IS NULL THEN 0
        WHEN r.status = 'interrupted' OR (r.contract_id IS NULL AND c.status = 'in_progress') THEN 1 ELSE 0 END) AS attempts,
    c.payload AS parameters, r.result, r.error,
    aorch_json_text(r.metadata, 'code') AS code, aorch_json_text(r.metadata, 'model') AS model,
    aorch_json_number(r.metadata, 'usage', 'input')::bigint AS tokens_in,
    aorch_json_number(r.metadata, 'usage', 'output')::bigint AS tokens_out,
    aorch_time(aorch_json_text(c.metadata, 'erased', 'at')) AS erased_at
FROM contracts c LEFT JOIN contracts r ON r.request_id = c.contract_id
WHERE c.contract_type = 'REQUEST'"""

SESSIONS = """\
CREATE VIEW sessions AS
SELECT session_id, count(*) AS contracts, count(*) FILTER (WHERE contract_type = 'REQUEST') AS exchanges,
    count(*) FILTER (WHERE contract_type = 'REQUEST' AND status = 'failed') AS failed,
    count(*) FILTER (WHERE contract_type = 'REQUEST' AND status IN ('pending', 'in_progress')) AS open,
    aorch_time(min(created_at)) AS first_at, aorch_time(max(created_at)) AS last_at
FROM contracts GROUP BY session_id"""

AGENT_LATENCY = """\
CREATE VIEW agent_latency AS
WITH measured AS (
    SELECT from_agent AS agent_id, capability, status, aorch_json_number(metadata, 'duration_ms') AS duration_ms
    FROM contracts
    WHERE contract_type = 'RESPONSE' AND from_agent <> 'orchestrator' AND status IN ('completed', 'failed')
)
SELECT agent_id, capability, count(*) AS exchanges, count(*) FILTER (WHERE status = 'failed') AS failed,
    round(avg(duration_ms)::numeric, 3)::double precision AS avg_ms,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50_ms,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms,
    max(duration_ms) AS max_ms
FROM measured WHERE duration_ms IS NOT NULL GROUP BY agent_id, capability"""

ATTEMPTS_BY_AGENT = """\
CREATE VIEW attempts_by_agent AS
SELECT agent_id, count(*) AS attempts, count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE outcome = 'failed') AS failed, count(*) FILTER (WHERE outcome = 'open') AS open,
    count(*) FILTER (WHERE number > 1) AS retries, max(started_at) AS last_at
FROM (
    SELECT agent_id, number, aorch_time(started_at) AS started_at,
        CASE WHEN ended_at IS NULL THEN 'open' WHEN code IS NULL THEN 'succeeded' ELSE 'failed' END AS outcome
    FROM attempts
    UNION ALL
    SELECT agent_id, 1, created_at,
        CASE status WHEN 'completed' THEN 'succeeded' WHEN 'in_progress' THEN 'open' ELSE 'failed' END
    FROM exchanges e
    WHERE attempts > 0 AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.request_id = e.request_id)
) AS calls
GROUP BY agent_id"""

VIEWS = (TIME, NUMBER, EXCHANGES, SESSIONS, AGENT_LATENCY, ATTEMPTS_BY_AGENT)
"""In the order in which they must be created."""
