"""The one oracle of the campaigns: finds the faults of a queue, given what was acknowledged.

It reads the files with its own eyes: SQL, JSON and SHA-256, not our codec. What the log tells is judged by `audit`,
which shares no rule with the domain; that the tables are what the log makes them, by `verify`. Each fault begins with
its kind and is worded the same for every queue, so that faults can be counted.
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

__all__ = ["COLUMNS", "Told", "faults", "judged", "log_id", "misbehaved", "orphans", "rows", "wrong_in"]

COLUMNS = ("position", "stream_id", "version", "type", "schema", "recorded_at", "actor", "data", "salt", "digest")
Row = dict[str, Any]


class Told(msgspec.Struct):
    """Acknowledged changes: jobs that are enqueued, (job, event type) of other changes, heads as (position, hex)."""

    jobs: Collection[str] = ()
    changes: Collection[tuple[str, str]] = ()
    heads: Collection[tuple[int, str]] = ()


def faults(path: str, told: Told) -> list[str]:
    """Everything that is wrong with the queue at `path`, while no process works on it."""
    log = rows(path)
    return [
        *_lost(log, told),
        *wrong_in(log),
        *_unsound(path),
        *_not_a_prefix(path, log),
        *_readable_by_others(path),
        *(["orphan: a process of a run is left"] if orphans(log_id(path)) else []),
    ]


def misbehaved(path: str) -> list[str]:
    """What is wrong with the log alone, while others may work on it."""
    return wrong_in(rows(path))


def wrong_in(log: list[Row]) -> list[str]:
    """The same, of the rows of any store."""
    return [*_unchained(log), *judged(map(_record, log))]


def rows(path: str) -> list[Row]:
    """The log as its table has it."""
    with closing(_connected(path)) as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position").fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def log_id(path: str) -> str:
    """Whose log it is."""
    with closing(_connected(path)) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE key = 'log_id'").get)


def _connected(path: str) -> apsw.Connection:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(10_000)
    return connection


# ── acknowledged changes ───────────────────────────────────────────────────────────────────────────────


def _lost(log: list[Row], told: Told) -> Iterator[str]:
    """An acknowledged change is in the log, and a head that was printed is still there."""
    there = {(row["stream_id"], row["type"]) for row in log}
    if any((job, "enqueued") not in there for job in told.jobs):
        yield "lost: someone was told of a job that is not there"
    for kind in sorted({kind for job, kind in told.changes if (job, kind) not in there}):
        yield f"lost: someone was told of a {kind} that is not there"
    digests = {0: bytes(32).hex(), **{row["position"]: row["digest"].hex() for row in log}}
    if any(digests.get(position) != digest for position, digest in told.heads):
        yield "lost: a head that someone was told of is not there"


# ── the log ─────────────────────────────────────────────────────────────────────────────────────────────


def _unchained(log: list[Row]) -> Iterator[str]:
    """Positions and versions without gaps, and each digest as DESIGN section 4 has it."""
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


def judged(records: Iterable[RecordedEvent]) -> list[str]:
    """What the audit finds in a log."""
    return [f"audit: {rule}: not so: {RULES[rule]}" for rule in audit(records).found]


@cache
def _decoder() -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(reduce(or_, EVENT_TYPES))


def _record(row: Row) -> RecordedEvent:
    event = _decoder().decode(row["data"])
    return RecordedEvent(row["position"], row["stream_id"], row["version"], row["recorded_at"], row["actor"], event)


def _unsound(path: str) -> list[str]:
    """What `verify` says, of the tables above all."""
    with closing(open_store(path, SystemClock())) as store:
        return [f"verify: {problem.kind}" for problem in verify(store).first[:1]]


def _not_a_prefix(path: str, log: list[Row]) -> Iterator[str]:
    """The archive has the log's first events, each as it is, and none that is not there."""
    archived = [json.loads(line) for file in sorted(Path(f"{path}.archive").glob("*.ndjson")) for line in _whole(file)]
    events = [line for line in archived if "queuectl" not in line]
    mine = [(row["position"], row["digest"].hex(), json.loads(row["data"])) for row in log[: len(events)]]
    if [(event["position"], event["digest"], event["data"]) for event in events] != mine:
        yield "archive: it is no prefix of the log"


def _whole(file: Path) -> list[bytes]:
    """The lines of a segment but for one that is torn: its writer was killed, the next one cuts it."""
    return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


# ── what is beside the log ──────────────────────────────────────────────────────────────────────────────


def _readable_by_others(path: str) -> Iterator[str]:
    """Every file of the queue, and of its archive and output, is its owner's alone."""
    places = [place for place in Path(path).parent.glob(f"{Path(path).name}*") if not place.is_symlink()]
    everything = [*places, *(each for place in places for each in place.rglob("*"))]
    for each in everything:
        with suppress(FileNotFoundError):
            if each.lstat().st_mode & 0o077:
                yield "private: a file can be read by others"
                return


def orphans(of_log: str) -> dict[int, str]:
    """The living processes that carry a token of the queue's runs: pid -> `position:run`."""
    token = f"QUEUECTL_RUN_TOKEN={of_log}:".encode()
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            carried = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            runs = [variable.removeprefix(token).decode() for variable in carried if variable.startswith(token)]
            found |= {int(name): run for run in runs}
    return found
