"""Functions for these tests: a queue with a history, the contents of its files, and checks."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw

from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM
from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.builders import SettableClock, a_spec, add, buried, claimed, completed, follow, new, note, retried

TABLES = ("jobs", "dlq", "counts", "job_tags", "settings", "pauses", "schedules", "waits")


def add_history(store: Store, clock: SettableClock, jobs: int = 10) -> None:
    """Append jobs that end in every way, a setting, odd texts, and data longer than a page."""
    for number in range(jobs):
        follow(store, clock, f"done-{number}", a_spec(f"echo {number}"), claimed(), completed(stdout="x" * 50))
        follow(store, clock, f"dead-{number}", a_spec(f"false {number}", max_retries=0), claimed(), buried())
    follow(store, clock, "again", a_spec(unique="k"), claimed(), retried(), claimed(2), completed(2))
    add(store, note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))
    follow(store, clock, "gone", a_spec(), e.Cancelled(reason='"ü"\n\t\\'), e.Purged())
    follow(store, clock, "back", a_spec(unique="k"), e.Cancelled(), e.Requeued())
    add(store, new("long", command="echo " + "long" * 3000), new("last"))


def closed_queue(path: str, jobs: int = 10) -> list[tuple[Any, ...]]:
    """Make a queue with a history and close it; return its rows."""
    clock = SettableClock()
    store = open_store(path, clock)
    add_history(store, clock, jobs)
    store.close()
    return rows(path)


def rows(path: str) -> list[tuple[Any, ...]]:
    """The log's rows, read without queuectl."""
    return _all(path, "SELECT * FROM events ORDER BY position")


def tables(path: str) -> dict[str, list[tuple[Any, ...]]]:
    """The projections' rows."""
    return {table: sorted(_all(path, f"SELECT * FROM {table}"), key=repr) for table in TABLES}


def _all(path: str, sql: str) -> list[tuple[Any, ...]]:
    db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return db.execute(sql).fetchall()
    finally:
        db.close()


def checkpoint(path: str) -> None:
    """Move all content of the -wal into the database file."""
    db = apsw.Connection(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()


def segment_files(path: str) -> list[Path]:
    return sorted(Path(f"{path}.archive").glob("*.ndjson"))


def archived(path: str) -> list[dict[str, Any]]:
    """The archive's events; asserts that segments and digests follow each other."""
    found: list[dict[str, Any]] = []
    digest = bytes(32)
    for file in segment_files(path):
        header, *lines = file.read_bytes().splitlines(keepends=True)
        head = json.loads(header)
        assert head["queuectl"] == "log"
        assert (head["base_position"], head["base_digest"]) == (len(found), digest.hex())
        assert file.name == f"{len(found) + 1:012d}.ndjson"
        for line in lines:
            assert line.endswith(b"\n")
            event = json.loads(line)
            assert event["position"] == len(found) + 1
            digest = _digest(digest, event, line.split(b'"data":', 1)[1][:-2])
            assert digest.hex() == event["digest"]
            found.append(event)
    return found


def _digest(previous: bytes, event: dict[str, Any], data: bytes) -> bytes:
    """The digest of an event, computed without queuectl."""
    body = event["data_digest"] or sha256(bytes.fromhex(event["salt"]) + data).hexdigest()
    names = ("position", "stream_id", "version", "type", "schema", "recorded_at", "actor")
    content = "\n".join([*(str(event[name]) for name in names), body])
    return sha256(previous + sha256(content.encode()).digest()).digest()


def is_prefix(path: str) -> int:
    """Assert that the archive is a prefix of the log; return its length."""
    digests = [row[-1].hex() for row in rows(path)]
    found = [event["digest"] for event in archived(path)]
    assert found == digests[: len(found)]
    return len(found)


def remove(path: str, *suffixes: str) -> None:
    for suffix in suffixes:
        os.unlink(path + suffix)
