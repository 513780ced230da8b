"""What a PostgreSQL ledger has besides the tables of schema.py: functions, triggers, views and indexes. `migrate` executes them
once, in a new ledger; to change one later, change it here, and write a migration that replaces it.
"""

from aorch.ledger.postgres import fulltext_pieces
from aorch.ledger.postgres.session_queries import CREATE_STATES
from aorch.ledger.postgres.view_definitions import VIEWS
from aorch.ledger.schema import Contract

_CONTRACTS = ", ".join(column.name for column in Contract.__table__.columns)  # type: ignore[attr-defined]  # SQLModel adds it

CONTENT = {
    "contracts": ("payload", "result", "error", "metadata"),
    "contracts_text": ("words",),
    "attempts": ("error",),
    "task_progress": ("progress",),
    "webhooks": ("url", "error"),
    "idempotency_keys": ("fingerprint",),
    "batch_lines": ("line_key",),
    "parked_deliveries": ("reason",),
    "memory_blocks": ("block", "beside"),
}
"""The columns that an erasure empties, by table."""
_REPLACED = "regexp_replace(regexp_replace(regexp_replace(document, {}), {}), {})".format(
    *(
        rf"'{pattern}', '\1\\ufffd', 'g'"
        for pattern in (
            r"(?<!\\)((?:\\\\)*)\\u0000",
            r"(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])",
            r"(?<!\\)(?<!\\u[dD][89abAB][0-9a-fA-F]{2})((?:\\\\)*)\\u[dD][c-fC-F][0-9a-fA-F]{2}",
        )
    )
)
"""The document with U+FFFD for the escapes that PostgreSQL does not read: U+0000, and surrogates that are not in a pair."""
JSON_TEXT = (
    "CREATE OR REPLACE FUNCTION aorch_json_text(document text, VARIADIC path text[]) RETURNS text"
    " LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS"
    " $$ BEGIN RETURN document::json #>> path; EXCEPTION WHEN data_exception THEN"
    f" BEGIN RETURN {_REPLACED}::json #>> path; EXCEPTION WHEN data_exception THEN RETURN NULL; END; END $$"
)
"""The text at `path` in a JSON document. NULL for a text that is no JSON: another program may have written it."""
DEFINITIONS = (
    CREATE_STATES,
    JSON_TEXT,
    # the index that finds the next task of the queue: NULL counts as equal to NULL (queue_queries.py). Without the
    # position the server would read all queued tasks and sort them
    "CREATE INDEX ix_contracts_queue ON contracts"
    " (capability, coalesce(to_agent, ''), coalesce(required_labels, ''), priority, turn, position) WHERE turn IS NOT NULL",
    # SQLite needs tables of its own as the indexes of contracts and of turns by session; here indexes do
    "CREATE INDEX ix_contracts_session_id_position ON contracts (session_id, position)",
    "CREATE INDEX ix_contracts_session_id_priority_turn ON contracts (session_id, priority, turn) WHERE turn IS NOT NULL",
    "CREATE VIEW session_index AS SELECT session_id, position, (contract_type = 'REQUEST')::int AS is_request FROM contracts",
    "CREATE VIEW session_positions AS SELECT session_id, position FROM contracts",
    f"CREATE VIEW session_contracts AS SELECT {_CONTRACTS} FROM contracts",  # noqa: S608  constants
    "CREATE VIEW session_turns AS SELECT session_id, priority, turn, turn AS first_turn FROM contracts"
    " WHERE turn IS NOT NULL",
    "CREATE FUNCTION aorch_count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " UPDATE counters SET value = value + (SELECT count(*) FROM deleted) WHERE name = 'deleted_contracts';"
    " RETURN NULL; END $$",
    "CREATE TRIGGER contracts_deleted AFTER DELETE ON contracts REFERENCING OLD TABLE AS deleted"
    " FOR EACH STATEMENT EXECUTE FUNCTION aorch_count_deleted()",
    *fulltext_pieces.DEFINITIONS,
    # the statistics of the server would keep content that is erased later
    *(
        f"ALTER TABLE {table} {', '.join(f'ALTER {name} SET STATISTICS 0' for name in columns)}"
        for table, columns in CONTENT.items()
    ),
    *VIEWS,
)
ROWS = (
    "INSERT INTO queue_clock (priority, turn) SELECT priority, 0 FROM generate_series(1, 5) AS priority",
    # `session_index`: all contracts are in the index
    "INSERT INTO counters (name, value) VALUES ('deleted_contracts', 0), ('session_index', 9223372036854775807)",
)
"""The rows of a new ledger, which migrations insert on SQLite."""
