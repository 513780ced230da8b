"""On PostgreSQL, metadata with the escape of U+0000 or of half a pair of surrogates is read."""

from alembic import op

revision = "0023"
down_revision = "0022"

JSON_TEXT = r"""
CREATE OR REPLACE FUNCTION aorch_json_text(document text, VARIADIC path text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$ BEGIN RETURN document::json #>> path; EXCEPTION WHEN data_exception THEN BEGIN RETURN regexp_replace(regexp_replace(regexp_replace(document, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g'), '(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])', '\1\\ufffd', 'g'), '(?<!\\)(?<!\\u[dD][89abAB][0-9a-fA-F]{2})((?:\\\\)*)\\u[dD][c-fC-F][0-9a-fA-F]{2}', '\1\\ufffd', 'g')::json #>> path; EXCEPTION WHEN data_exception THEN RETURN NULL; END; END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(JSON_TEXT)
