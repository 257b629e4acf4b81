"""The PostgreSQL schema: the log with its guards, and the derived tables in PostgreSQL's types.

Texts compare byte by byte (`COLLATE "C"`), as on SQLite, whatever the database's own collation is. A job's row changes
a few times and then no more. So pages have free space for new versions of rows, and are vacuumed early, because claims
read past dead rows.
"""

import re
from functools import cache

from queuectl.store.sql.schema import DERIVED

__all__ = ["derived", "schema_sql", "statements"]

TEXT = 'text COLLATE "C"'
_HOT = (
    " WITH (fillfactor = 70, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.01,"
    " autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);"
)
_WORDS = {
    " STRICT, WITHOUT ROWID;": " STRICT;",
    " STRICT;": _HOT,
    " TEXT": f" {TEXT}",
    " INTEGER": " bigint",
    " REAL": " double precision",
}

_LOG = f"""
CREATE TABLE {{schema}}.meta (key {TEXT} PRIMARY KEY, value text) WITH (fillfactor = 50);

CREATE TABLE {{schema}}.events (
    position    bigint PRIMARY KEY,
    stream_id   {TEXT} NOT NULL,
    version     bigint NOT NULL,
    type        {TEXT} NOT NULL,
    schema      bigint NOT NULL,
    recorded_at bigint NOT NULL,
    actor       {TEXT} NOT NULL,
    data        {TEXT},
    salt        bytea,
    data_digest bytea,
    digest      bytea NOT NULL,
    UNIQUE (stream_id, version)
);

CREATE FUNCTION {{schema}}.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the event log is append-only'; END $$;

CREATE FUNCTION {{schema}}.follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.version <> 1 + coalesce((SELECT max(version) FROM {{schema}}.events WHERE stream_id = NEW.stream_id), 0) THEN
        RAISE unique_violation USING MESSAGE = 'a stream has no gaps';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER events_refuse_delete BEFORE DELETE OR TRUNCATE ON {{schema}}.events
    FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.refuse();
CREATE TRIGGER events_follow BEFORE INSERT ON {{schema}}.events
    FOR EACH ROW EXECUTE FUNCTION {{schema}}.follow();

-- Redaction alone: data and salt go, their hash stays, everything else as it was.
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON {{schema}}.events FOR EACH ROW WHEN (NOT (
    OLD.data_digest IS NULL AND NEW.data_digest IS NOT NULL AND NEW.data IS NULL AND NEW.salt IS NULL
    AND NEW.position = OLD.position AND NEW.stream_id = OLD.stream_id AND NEW.version = OLD.version
    AND NEW.type = OLD.type AND NEW.schema = OLD.schema AND NEW.recorded_at = OLD.recorded_at
    AND NEW.actor = OLD.actor AND NEW.digest = OLD.digest
)) EXECUTE FUNCTION {{schema}}.refuse();

-- A field of a JSON object as text; NULL when it is none, so that one damaged event does not hide the others.
CREATE FUNCTION {{schema}}.field(data text, name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    RETURN data::json ->> name;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
"""


def schema_sql(schema: str) -> str:
    """The statements that make an empty queue in an existing schema that is first in the search path."""
    return _LOG.format(schema=schema) + derived()


@cache
def derived() -> str:
    """The derived tables."""
    sql = DERIVED
    for ours, theirs in _WORDS.items():
        sql = sql.replace(ours, theirs)
    return sql


def statements(table: str) -> list[str]:
    """The statements that create one derived table and its indexes."""
    return re.findall(rf"CREATE [A-Z ]*(?:TABLE|\w+ ON) {table} [^;]*;", derived())
