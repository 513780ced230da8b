"""The SQL of the session of a process. A lock has a name; the server computes its key from that and the schema of the ledger."""

OWNER, WORK, STATE, SLOT = "owner/", "work/", "state/", "slot/"
"""How the names of locks start, by their kind."""
RETAKEN = (OWNER, SLOT)
"""The kinds of locks that a process takes again even if another process held them meanwhile."""

CREATE_STATES = """
CREATE TABLE process_states (name text COLLATE "C" PRIMARY KEY, state bytea NOT NULL, moment double precision NOT NULL)"""
"""What processes leave to others besides the tables of schema.py: states under locks, the times of the next calls of agents, and
the run of the server that was last seen.
"""

_KEY = "hashtextextended(concat(current_schema(), '/', name), 0)"
LOCK = f"SELECT name FROM unnest(%s::text[]) name WHERE pg_try_advisory_lock({_KEY}) LIMIT %s"
UNLOCK = f"SELECT pg_advisory_unlock({_KEY}) FROM (SELECT %s::text AS name) locked"
HELD = f"""
SELECT name FROM (SELECT name, {_KEY} AS key FROM unnest(%s::text[]) name) asked
WHERE key IN (
    SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)"""

_CHANNEL = "left(concat('aorch/', current_schema()), 60)"
NOTIFY = f"SELECT pg_notify({_CHANNEL}, '')"

_SERVER = "server"
PREPARE = f"""
SELECT quote_ident({_CHANNEL}), run.id, extract(epoch FROM clock_timestamp())::float8, convert_from(known.state, 'UTF8'),
    known.moment
FROM (
    SELECT concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), extract(epoch FROM stats_reset)) AS id
    FROM pg_stat_archiver
) run LEFT JOIN process_states known ON known.name = '{_SERVER}'"""
"""`run.id` changes when the server frees all locks. The first time in it is that of a start, and changes with a failover; the
second one is also that of a crash of one process of the server, which restarts all others.
"""
REMEMBER_RUN = f"""
INSERT INTO process_states (name, state, moment) VALUES ('{_SERVER}', convert_to(%s, 'UTF8'), %s)
ON CONFLICT (name) DO UPDATE SET state = excluded.state, moment = excluded.moment
WHERE process_states.state <> excluded.state RETURNING 1"""

READ_STATE = "SELECT state FROM process_states WHERE name = %s"
WRITE_STATE = """
INSERT INTO process_states (name, state, moment) VALUES (%s, %s, 0)
ON CONFLICT (name) DO UPDATE SET state = excluded.state RETURNING 1"""

_NOW = "extract(epoch FROM clock_timestamp())::float8"
REGISTER_OWNERS = """
INSERT INTO process_states (name, state, moment) SELECT name, convert_to(%s, 'UTF8'), 'infinity' FROM unnest(%s::text[]) name
ON CONFLICT (name) DO UPDATE SET state = excluded.state, moment = excluded.moment RETURNING name, (xmax = 0)::int"""
"""Returns each name, and 1 if it was not registered, otherwise 0.

`moment`: since when other processes see an owner without its lock; 'infinity' while it has it."""
OWNERS = f"SELECT name FROM process_states WHERE name LIKE '{OWNER}%%'"
REGISTERED = f"""
SELECT name, convert_from(state, 'UTF8'), CASE WHEN moment <= {_NOW} THEN {_NOW} - moment END
FROM process_states WHERE name = ANY(%s::text[])"""
MARK_MISSING = f"""
UPDATE process_states SET moment = {_NOW} WHERE name = ANY(%s::text[]) AND moment > {_NOW} RETURNING 1"""
MARK_PRESENT = (
    "UPDATE process_states SET moment = 'infinity' WHERE name = ANY(%s::text[]) AND moment < 'infinity' RETURNING 1"
)
FORGET_OWNER = "DELETE FROM process_states WHERE name = %s RETURNING 1"

TAKE_TURN = f"""
INSERT INTO process_states AS known (name, state, moment) VALUES (%s, '', {_NOW} + %s)
ON CONFLICT (name) DO UPDATE SET moment =
    greatest(CASE WHEN known.moment <= {_NOW} THEN known.moment ELSE 0 END, {_NOW} - %s) + %s
WHERE known.moment <= {_NOW} OR known.moment > {_NOW} + %s RETURNING 1"""
"""Parameters: name, interval, how late a call may be, interval, interval (seconds). No row: it is not its turn yet. A time that
no call can have set, as after a failover to a server whose clock is late, counts as past.
"""
UNTIL_TURN = f"SELECT greatest(0, moment - {_NOW}) FROM process_states WHERE name = %s AND moment <= {_NOW} + %s"
