"""Builders for tests of stores: a clock that is set, specs, events, changes, and readers of a log."""

import hashlib
from typing import Any

from queuectl.domain import events as e
from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job, fold
from queuectl.domain.machine import State
from queuectl.store import projections
from queuectl.store.protocol import Store
from queuectl.store.rows import Change, Count, JobFilter, StoredEvent, WorkerRow
from tests.support.events import HOUR, SECOND, START, a_spec, buried, claimant, claimed, completed, retried

__all__ = [
    "ACTOR",
    "EVENT_COLUMNS",
    "HOUR",
    "SECOND",
    "START",
    "SettableClock",
    "a_spec",
    "a_worker",
    "add",
    "buried",
    "chained",
    "claimant",
    "claimed",
    "completed",
    "counted",
    "derived",
    "everything",
    "follow",
    "more",
    "new",
    "note",
    "projected",
    "retried",
    "rows_of",
    "scanned",
    "stored",
    "streams_of",
]

ACTOR = "ann@box"


class SettableClock:
    """A wall clock and a monotonic clock that stand still until a test moves them."""

    def __init__(self, now: int = START) -> None:
        self._now, self._monotonic = now, 7 * SECOND

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return self._monotonic

    def advance(self, microseconds: int) -> None:
        """Advance both clocks."""
        self._now += microseconds
        self._monotonic += microseconds

    def turn(self, microseconds: int) -> None:
        """Set the wall clock forward or back; the monotonic clock is unchanged."""
        self._now += microseconds


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────


def new(job_id: str, **promises: Any) -> Change:
    """The change that enqueues a job."""
    return Change(job_id, 0, [a_spec(**promises)])


def more(job: Job | None, *events: e.Event) -> Change:
    """The next events of a job."""
    assert job is not None
    return Change(job.id, job.version, events, job)


def note(store: Store, stream_id: str, *events: e.Event) -> Change:
    """Notes, which belong to no job."""
    return Change(stream_id, store.log.version(stream_id), events)


def add(store: Store, *changes: Change) -> list[Job | None]:
    return store.writer.append(changes, ACTOR)


def follow(store: Store, clock: SettableClock, job_id: str, *events: e.Event) -> Job | None:
    """Append a job's events, ten seconds apart."""
    job = store.log.load(job_id)
    for event in events:
        clock.advance(10 * SECOND)
        [job] = add(store, Change(job_id, job.version if job else 0, [event], job))
    return job


def a_worker(name: str = "w1", **columns: Any) -> WorkerRow:
    usual = {
        "host": "box",
        "boot_id": "b",
        "pid": 10,
        "pid_namespace": 1,
        "pid_started_at": 5,
        "slots": 2,
        "queues": ("default", "mail"),
        "started_at": START // SECOND,
        "last_heartbeat": START // SECOND,
        "beat_at": 7 * SECOND,
    }
    return WorkerRow(name=name, **{**usual, **columns})


# ── what a log says ─────────────────────────────────────────────────────────────────────────────────


def streams_of(store: Store) -> dict[str, list[RecordedEvent]]:
    """The log's events by stream."""
    streams: dict[str, list[RecordedEvent]] = {}
    for record in store.log.records():
        streams.setdefault(record.stream_id, []).append(record)
    return streams


def rows_of(store: Store, table: str) -> dict[str, tuple[Any, ...]]:
    """The rows of a projection, by key."""
    columns = projections.TABLES[table]
    found: list[tuple[Any, ...]] = store.engine.run(f"SELECT {', '.join(columns)} FROM {table}")
    return {row[0]: row for row in found}


def counted(store: Store) -> dict[tuple[Any, ...], int]:
    found = store.engine.run("SELECT queue, priority, state, jobs FROM counts")
    return {tuple(key): jobs for *key, jobs in found}


def tagged(store: Store) -> list[tuple[Any, ...]]:
    return store.engine.run("SELECT name, value, position FROM job_tags ORDER BY 3, 1, 2")


def projected(store: Store) -> dict[str, dict[Any, Any]]:
    """The stored rows of every projection."""
    tables: dict[str, dict[Any, Any]] = {table: rows_of(store, table) for table in projections.TABLES}
    return {**tables, "counts": counted(store), "job_tags": dict.fromkeys(tagged(store))}


def derived(store: Store) -> dict[str, dict[Any, Any]]:
    """Every projection computed from the log alone: jobs folded again, counts by scanning the jobs."""
    tables: dict[str, dict[Any, Any]] = {table: {} for table in (*projections.TABLES, "counts", "job_tags")}
    for stream_id, records in streams_of(store).items():
        job = fold(records)
        for table, row in projections.rows(job).items():
            tables[table][stream_id] = row
        if job and job.state is not State.PURGED:
            key = (job.spec.queue, job.spec.priority, job.state.value)
            tables["counts"][key] = tables["counts"].get(key, 0) + 1
            tables["job_tags"] |= {
                (name[:100], value[:100], job.position): None for name, value in job.spec.tags.items()
            }
    for record in store.log.records():
        place = projections.place_of(record)
        known = None if place is None else tables[place[0]].get(place[1])
        row = projections.note_row(record, None if place is None else projections.Row(*place, known))
        if row is None:
            continue
        tables[row.table].pop(row.key, None)
        if row.values is not None:
            tables[row.table][row.key] = row.values
    return tables


def everything(store: Store) -> Any:
    """The log and its tables, to assert that nothing changed."""
    return store.log.head(), list(store.log.records()), projected(store), store.workers.rows()


def scanned(store: Store) -> list[Count]:
    """The result that `counts` must have, by scanning all jobs."""
    found: dict[tuple[str, str], int] = {}
    for row in store.tables.jobs(JobFilter(limit=0)):
        key = (row["queue"], row["state"])
        found[key] = found.get(key, 0) + 1
    return [Count(queue, State(state), jobs) for (queue, state), jobs in sorted(found.items())]


# ── the stored form, from DESIGN section 4 alone ────────────────────────────────────────────────────

EVENT_COLUMNS = StoredEvent._fields


def stored(store: Store) -> list[StoredEvent]:
    """The rows of `events`, not decoded."""
    return list(store.log.stored())


def chained(rows: list[StoredEvent]) -> list[bytes]:
    """The digest that each row must have."""
    digests, digest = [], bytes(32)
    for row in rows:
        body = row.data_digest or hashlib.sha256((row.salt or b"") + (row.data or "").encode()).digest()
        fields = (row.position, row.stream_id, row.version, row.type, row.schema, row.recorded_at, row.actor)
        content = "\n".join([*map(str, fields), body.hex()])
        digest = hashlib.sha256(digest + hashlib.sha256(content.encode()).digest()).digest()
        digests.append(digest)
    return digests
