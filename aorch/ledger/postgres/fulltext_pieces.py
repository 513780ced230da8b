"""The pieces of SQL with which a select of contracts is restricted to those that contain words, and their place in the index.

SQLite's full-text index splits texts into tokens, and the index here has the same tokens (tokens.py). A row of `contracts_text`
has a part of the tokens of a contract, because PostgreSQL stores at most 256 places of a token per row.
"""

JOIN = "JOIN LATERAL (SELECT {}.position) AS found (position) ON true"
MATCHES = (
    "found.position IN (WITH asked AS (SELECT DISTINCT phrase FROM unnest(string_to_array(%s, E'\\n')) AS phrase)"
    " SELECT t.position FROM asked JOIN contracts_text t ON t.words @@ asked.phrase::tsquery"
    " GROUP BY t.position HAVING count(DISTINCT asked.phrase) = (SELECT count(*) FROM asked))"
)
"""Its parameter has a phrase per line: each must be in some part of the contract."""
IS_AMONG = "found.position IN (SELECT value::bigint FROM json_array_elements_text(%s::json))"
BEFORE, AFTER, OLDEST_FIRST, NEWEST_FIRST = (
    "found.position < %s",
    "found.position > %s",
    "found.position",
    "found.position DESC",
)
DEFINITIONS = (
    "CREATE TABLE contracts_text (position bigint NOT NULL, part bigint NOT NULL, words tsvector NOT NULL,"
    " CONSTRAINT pk_contracts_text PRIMARY KEY (position, part))",
    "CREATE INDEX ix_contracts_text_words ON contracts_text USING gin (words)",
)
