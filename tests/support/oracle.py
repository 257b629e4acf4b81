"""The one oracle of the campaigns: finds the faults of a queue, given what was acknowledged.

It reads the files with SQL, JSON and SHA-256 and does not use the codec. `audit`, which shares no rule with the
domain, checks the log; `verify` checks that the tables are derived from it. Each fault begins with its kind and has
the same words for every queue, so that faults can be counted.
"""

import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, suppress
from functools import cache, reduce
from hashlib import sha256
from operator import or_
from pathlib import Path
from typing import Any

import apsw
import msgspec

from queuectl.checks.audit import RULES, audit
from queuectl.checks.verify import verify
from queuectl.domain.events import EVENT_TYPES, Event, RecordedEvent
from queuectl.runtime import SystemClock
from queuectl.store import open_store

__all__ = [
    "COLUMNS",
    "UNREACTED",
    "Acknowledged",
    "audit_findings",
    "faults",
    "faults_in",
    "log_faults",
    "log_id",
    "orphans",
    "rows",
]

COLUMNS = ("position", "stream_id", "version", "type", "schema", "recorded_at", "actor", "data", "salt", "digest")
Row = dict[str, Any]

UNREACTED = """
SELECT id FROM jobs AS job WHERE state = 'pending' AND waiting = 1 AND (
    NOT EXISTS (SELECT 1 FROM waits WHERE waits.id = job.id AND standing <> 'met')
    OR EXISTS (SELECT 1 FROM waits WHERE waits.id = job.id AND standing = 'never' AND waits.if_unmet = 'cancel')
)
"""
"""Jobs that should have been freed or cancelled: which dependencies are met is for `verify` to check."""


class Acknowledged(msgspec.Struct):
    """Acknowledged changes: jobs that are enqueued, (job, event type) of other changes, heads as (position, hex)."""

    jobs: Collection[str] = ()
    changes: Collection[tuple[str, str]] = ()
    heads: Collection[tuple[int, str]] = ()


def faults(path: str, acknowledged: Acknowledged) -> list[str]:
    """Everything that is wrong with the queue at `path`, while no process works on it."""
    log = rows(path)
    return [
        *_lost(log, acknowledged),
        *faults_in(log),
        *_verify_findings(path),
        *_half_faults(path),
        *_archive_faults(path, log),
        *_mode_faults(path),
        *(["orphan: a process of a run is left"] if orphans(log_id(path)) else []),
    ]


def log_faults(path: str) -> list[str]:
    """The faults of the log alone; other processes may be working on it."""
    return faults_in(rows(path))


def faults_in(log: list[Row]) -> list[str]:
    """The faults of a log that any store returned as rows."""
    return [*_chain_faults(log), *audit_findings(map(_record, log))]


def rows(path: str) -> list[Row]:
    """The rows of the table `events`."""
    with closing(_connected(path)) as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position").fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def log_id(path: str) -> str:
    """The log's id."""
    with closing(_connected(path)) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE key = 'log_id'").get)


def _connected(path: str) -> apsw.Connection:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(10_000)
    return connection


# ── acknowledged changes ───────────────────────────────────────────────────────────────────────────────


def _lost(log: list[Row], acknowledged: Acknowledged) -> Iterator[str]:
    """Acknowledged changes that are not in the log, and printed heads that no event has."""
    there = {(row["stream_id"], row["type"]) for row in log}
    if any((job, "enqueued") not in there for job in acknowledged.jobs):
        yield "lost: an acknowledged job is not there"
    for kind in sorted({kind for job, kind in acknowledged.changes if (job, kind) not in there}):
        yield f"lost: an acknowledged {kind} is not there"
    digests = {0: bytes(32).hex(), **{row["position"]: row["digest"].hex() for row in log}}
    if any(digests.get(position) != digest for position, digest in acknowledged.heads):
        yield "lost: a head that was printed is not there"


# ── the log ─────────────────────────────────────────────────────────────────────────────────────────────


def _chain_faults(log: list[Row]) -> Iterator[str]:
    """Gaps in positions or versions, and digests that are not computed from the stored form."""
    versions: dict[str, int] = {}
    digest = bytes(32)
    for place, row in enumerate(log, 1):
        stream = row["stream_id"]
        versions[stream] = versions.get(stream, 0) + 1
        body = sha256(row["salt"] + row["data"].encode()).hexdigest()
        content = "\n".join([*(str(row[name]) for name in COLUMNS[:7]), body])
        digest = sha256(digest + sha256(content.encode()).digest()).digest()
        if (row["position"], row["version"], row["digest"]) != (place, versions[stream], digest):
            yield "chain: an event does not follow on the one before it"
            return


def audit_findings(records: Iterable[RecordedEvent]) -> list[str]:
    """The rules that a log breaks, as `audit` reports them."""
    return [f"audit: {rule}: not so: {RULES[rule]}" for rule in audit(records).found]


@cache
def _decoder() -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(reduce(or_, EVENT_TYPES))


def _record(row: Row) -> RecordedEvent:
    event = _decoder().decode(row["data"])
    return RecordedEvent(row["position"], row["stream_id"], row["version"], row["recorded_at"], row["actor"], event)


def _verify_findings(path: str) -> list[str]:
    """The first problem that `verify` reports, usually in the tables."""
    with closing(open_store(path, SystemClock())) as store:
        return [f"verify: {problem.kind}" for problem in verify(store).first[:1]]


def _half_faults(path: str) -> Iterator[str]:
    """Whether a job waits that was to be freed or cancelled in the same transaction as its cause."""
    with closing(_connected(path)) as connection:
        if connection.execute(UNREACTED).fetchall():
            yield "half: a cause is there without its consequence"


def _archive_faults(path: str, log: list[Row]) -> Iterator[str]:
    """Whether the archive holds anything but the log's first events, unchanged."""
    archived = [
        json.loads(line) for file in sorted(Path(f"{path}.archive").glob("*.ndjson")) for line in _complete_lines(file)
    ]
    events = [line for line in archived if "queuectl" not in line]
    mine = [(row["position"], row["digest"].hex(), json.loads(row["data"])) for row in log[: len(events)]]
    if [(event["position"], event["digest"], event["data"]) for event in events] != mine:
        yield "archive: it is not a prefix of the log"


def _complete_lines(file: Path) -> list[bytes]:
    """The complete lines of a segment: the last one is torn when its writer was killed, and the next writer cuts it."""
    return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


# ── what surrounds the log ─────────────────────────────────────────────────────────────────────────────


def _mode_faults(path: str) -> Iterator[str]:
    """Whether another user can read a file of the queue, its archive or its output."""
    places = [place for place in Path(path).parent.glob(f"{Path(path).name}*") if not place.is_symlink()]
    everything = [*places, *(each for place in places for each in place.rglob("*"))]
    for each in everything:
        with suppress(FileNotFoundError):
            if each.lstat().st_mode & 0o077:
                yield "private: a file can be read by others"
                return


def orphans(of_log: str) -> dict[int, str]:
    """The living processes whose environment has a run token of this log: pid -> `position:run`."""
    token = f"QUEUECTL_RUN_TOKEN={of_log}:".encode()
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            carried = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            runs = [variable.removeprefix(token).decode() for variable in carried if variable.startswith(token)]
            found |= {int(name): run for run in runs}
    return found
