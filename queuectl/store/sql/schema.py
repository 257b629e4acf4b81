"""The SQLite schema: nothing newer than SQLite 3.37, so that people can read it with their own tools.

`DERIVED` are the tables that follow from the log. Other stores have the same, in their own words for the types.
"""

from queuectl.domain.machine import LIVE, State
from queuectl.store.projections import JOBS

__all__ = ["DERIVED", "LIVE_STATES", "SCHEMA"]

_INTEGERS = {
    "attempts",
    "max_retries",
    "next_run_at",
    "locked_at",
    "created_at",
    "updated_at",
    "version",
    "run",
    "priority",
    "exit_code",
    "due_at",
    "position",
    "finished_at",
    "seq",
    "waiting",
}
_REALS = {"timeout", "duration"}


def _jobs_column(name: str) -> str:
    kind = "INTEGER" if name in _INTEGERS else "REAL" if name in _REALS else "TEXT"
    return f"{name} TEXT PRIMARY KEY NOT NULL" if name == "id" else f"{name} {kind}"


LIVE_STATES = ", ".join(f"'{state}'" for state in LIVE)
"""The states of jobs that have not ended, for `IN (…)`."""

_LOG = """
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value ANY) STRICT;

CREATE TABLE events (
    position    INTEGER PRIMARY KEY,
    stream_id   TEXT NOT NULL,
    version     INTEGER NOT NULL,
    type        TEXT NOT NULL,
    schema      INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    actor       TEXT NOT NULL,
    data        TEXT,
    salt        BLOB,
    data_digest BLOB,
    digest      BLOB NOT NULL,
    UNIQUE (stream_id, version)
) STRICT;

CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;

-- REPLACE deletes without firing the trigger above, so it is stopped before it does; and a stream has no gaps.
CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE position = NEW.position)
  OR NEW.version <> 1 + coalesce((SELECT max(version) FROM events WHERE stream_id = NEW.stream_id), 0)
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;

-- Redaction alone: data and salt go, their hash stays, everything else as it was.
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
WHEN NOT (
    OLD.data_digest IS NULL AND NEW.data_digest IS NOT NULL AND NEW.data IS NULL AND NEW.salt IS NULL
    AND NEW.position = OLD.position AND NEW.stream_id = OLD.stream_id AND NEW.version = OLD.version
    AND NEW.type = OLD.type AND NEW.schema = OLD.schema AND NEW.recorded_at = OLD.recorded_at
    AND NEW.actor = OLD.actor AND NEW.digest = OLD.digest
)
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;

"""

DERIVED = f"""CREATE TABLE jobs ({", ".join(map(_jobs_column, JOBS))}) STRICT;
CREATE UNIQUE INDEX jobs_by_position ON jobs (position);
CREATE INDEX jobs_by_state ON jobs (state, position);
CREATE INDEX jobs_claimable ON jobs (queue, priority, due_at, position)
    WHERE state = '{State.PENDING}' AND due_at IS NOT NULL;
CREATE INDEX jobs_retrying ON jobs (state, attempts) WHERE state = '{State.PENDING}' AND attempts > 0;
CREATE INDEX jobs_waiting ON jobs (id) WHERE waiting IS NOT NULL;
CREATE INDEX jobs_by_batch ON jobs (batch, state) WHERE batch IS NOT NULL;
CREATE INDEX jobs_of_origin ON jobs (origin) WHERE origin IS NOT NULL AND state IN ({LIVE_STATES});
CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key) WHERE unique_key IS NOT NULL AND state IN ({LIVE_STATES});

CREATE TABLE dlq (
    id TEXT PRIMARY KEY NOT NULL, command TEXT NOT NULL, attempts INTEGER NOT NULL, last_error TEXT,
    moved_at INTEGER NOT NULL, original_created_at INTEGER NOT NULL, signature TEXT
) STRICT;
CREATE INDEX dlq_by_signature ON dlq (signature);

CREATE TABLE purged (id TEXT PRIMARY KEY NOT NULL, batch TEXT NOT NULL, state TEXT NOT NULL) STRICT;
CREATE INDEX purged_by_batch ON purged (batch, state);

CREATE TABLE waits (
    id TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, wanted TEXT NOT NULL,
    standing TEXT NOT NULL, if_unmet TEXT NOT NULL, PRIMARY KEY (id, number)
) STRICT;
CREATE INDEX waits_by_cause ON waits (kind, name, wanted);
CREATE INDEX waits_unmet ON waits (id, standing) WHERE standing <> 'met';
CREATE INDEX waits_never ON waits (standing, id) WHERE standing = 'never';

CREATE TABLE job_tags (
    name TEXT NOT NULL, value TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (name, value, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE counts (
    queue TEXT NOT NULL, priority INTEGER NOT NULL, state TEXT NOT NULL, jobs INTEGER NOT NULL,
    PRIMARY KEY (queue, priority, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
CREATE TABLE pauses (queue TEXT PRIMARY KEY NOT NULL, paused_at INTEGER NOT NULL, paused_by TEXT NOT NULL) STRICT;

CREATE TABLE schedules (
    name TEXT PRIMARY KEY NOT NULL, cron TEXT, every INTEGER, tz TEXT NOT NULL, command TEXT NOT NULL,
    next_at INTEGER, last_slot INTEGER, last_job TEXT, paused_at INTEGER, paused_by TEXT, managed_by TEXT,
    since INTEGER NOT NULL, next_slot INTEGER, version INTEGER NOT NULL, definition TEXT NOT NULL
) STRICT;
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE workers (
    name TEXT PRIMARY KEY NOT NULL, host TEXT NOT NULL, boot_id TEXT NOT NULL, pid INTEGER NOT NULL,
    pid_namespace INTEGER NOT NULL, pid_started_at INTEGER NOT NULL, slots INTEGER NOT NULL, queues TEXT NOT NULL,
    started_at INTEGER NOT NULL, last_heartbeat INTEGER NOT NULL, beat_at INTEGER NOT NULL, running INTEGER NOT NULL,
    jobs_done INTEGER NOT NULL, stop_requested INTEGER NOT NULL
) STRICT;
"""

SCHEMA = _LOG + DERIVED
