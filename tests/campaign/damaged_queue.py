"""A small queue for the corruption campaign: its files, whether damage is noticed, what `recover` restores."""

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, redirect_stderr, suppress
from functools import cache
from itertools import takewhile
from random import Random
from typing import Any
from unittest.mock import patch

import apsw
from msgspec import Struct

from queuectl.application.liveness import is_alive
from queuectl.checks import doctor
from queuectl.checks.verify import verify
from queuectl.domain import events as e
from queuectl.domain.changes import Changes
from queuectl.domain.machine import State
from queuectl.domain.names import SETTINGS_STREAM, batch_stream
from queuectl.errors import StoreError
from queuectl.maintenance.recover import recover
from queuectl.maintenance.salvage import ArchiveLines, Sources
from queuectl.maintenance.sqlite_pages import RawDatabase
from queuectl.store import open_store
from queuectl.store.archive import archive
from queuectl.store.options import StoreOptions
from tests.archive.damage import PAGE
from tests.archive.logs import TABLES, checkpoint, is_prefix
from tests.powerloss.campaign import scratch
from tests.support.builders import (
    HOUR,
    START,
    SettableClock,
    a_spec,
    add,
    buried,
    claimed,
    completed,
    follow,
    new,
    note,
)

DB, WAL, ARCHIVE = "queue.db", "queue.db-wal", "queue.db.archive"
FRAME = PAGE + 24
LEAF = 0x0D
"""The first byte of a page with rows of a table."""

Files = Mapping[str, bytes]
"""Name -> content, of the database, its -wal and the archive's files."""

Contents = tuple[list[Any], ...]
"""The rows of the log, of what is known of it, and of every table that is derived."""


class Whole(Struct, frozen=True):
    """The undamaged queue: its files, also as they were before the last commits, and their contents."""

    files: Files
    older: Files
    contents: Contents
    digests: list[bytes]
    lines: set[bytes]


@cache
def whole() -> Whole:
    """The same queue every time: events in the database, in the -wal, and in several segments; one has three pages.

    Jobs wait for others: one is freed, one is cancelled as a consequence, one still waits. A failure stops the
    other job of its batch, which may have none.
    """
    with scratch() as folder, patch.object(os, "urandom", Random(0).randbytes), patch.object(archive, "SEAL_AT", 3000):
        path, clock = os.path.join(folder, DB), SettableClock()
        with closing(open_store(path, clock)) as store:
            add(store, new("long", command="long" * 2500))
            follow(store, clock, "done", a_spec(), claimed(), completed(stdout="x" * 50))
            follow(store, clock, "dead", a_spec(max_retries=0), claimed(), buried())
            add(store, note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))
            add(
                store,
                note(store, batch_stream("grid"), e.BatchOpened(jobs=1, max_failures=1)),
                new("one", batch="grid"),
            )
            add(
                store,
                new("second", after=(e.After("one"),)),
                new("gives-up", after=(e.After("second"),), if_unmet="cancel"),
            )
            follow(store, clock, "second", e.Amended(changes=Changes(after=(e.After("one", "end"),)), reason="so"))
            follow(store, clock, "one", claimed(), completed())
            follow(store, clock, "second", e.Cancelled(reason="no"))
            add(store, new("then", after=(e.After("long"), e.After("grid", "ok", "batch"))))
            add(
                store,
                note(store, batch_stream("few"), e.BatchOpened(jobs=2, max_failures=0)),
                new("fails", batch="few", max_retries=0),
                new("stopped", batch="few"),
            )
            follow(store, clock, "fails", claimed(), buried())
            stopped = store.log.load("stopped")
            assert stopped is not None
            assert stopped.state is State.CANCELLED, "the limit of failures has stopped nothing"
        older = files_in(folder)
        checkpoint(path)
        with closing(open_store(path, clock)) as store:
            add(store, new("late", command="echo late"))
            follow(store, clock, "late", claimed(), e.Released(run=1, reason="the worker stops"))
        files, found = files_in(folder), contents(path)
        assert found is not None
        assert not noticed(path), "the queue reports something although it is sound"
    lines = {line for name, file in files.items() if ARCHIVE in name for line in file.splitlines(keepends=True)[1:]}
    return Whole(files, older, found, [row[-1] for row in found[0]], lines)


def files_in(folder: str) -> Files:
    """All files but the -shm, which SQLite creates again."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not name.endswith("-shm"):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, folder)] = file.read()
    return found


def put(files: Files, folder: str) -> str:
    """Write the files; return the path of the database."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, ARCHIVE), mode=0o700)
    for name, content in files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    return os.path.join(folder, DB)


def contents(path: str) -> Contents | None:
    """The contents that SQLite reads; None if it finds damage."""
    with suppress(apsw.Error, UnicodeDecodeError), closing(apsw.Connection(path)) as db:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        found = tuple(
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in ("events", "meta", *TABLES)
        )
        return found if db.execute("PRAGMA integrity_check").fetchall() == [("ok",)] else None
    return None


def noticed(path: str) -> bool:
    """Whether opening the queue, `verify` or `doctor` reports a fault."""
    said, clock = io.StringIO(), SettableClock(START + HOUR)
    try:
        with redirect_stderr(said), closing(open_store(path, clock)) as store:
            findings = doctor.queue(store, is_alive)
            return bool(verify(store).counts or any(each.level != "ok" for each in findings) or said.getvalue())
    except StoreError:
        return True


def is_whole_again(path: str) -> bool:
    """Whether the queue and its archive are as before, after one more event."""
    if contents(path) != whole().contents:
        return False
    with suppress(StoreError, AssertionError, ValueError, StopIteration):
        with closing(open_store(path, SettableClock(START + HOUR))) as store:
            add(store, new("next"))
        return is_prefix(path) == len(whole().digests) + 1
    return False


def remaining(path: str) -> tuple[list[bytes], list[bytes]]:
    """The digests of the log that `recover` would make, with the archive and without it."""
    carved = [RawDatabase(path, f"{path}-wal")]
    both = Sources(carved, ArchiveLines(f"{path}.archive")), Sources(carved, ArchiveLines(None))
    found = [[link.digest for link in remains.longest(remains.base)] for remains in both]
    return found[0], found[1]


def recovered(path: str) -> Contents | None:
    """The contents after `recover`; None if they are not consistent."""
    clock = SettableClock(START + HOUR)
    with suppress(StoreError), redirect_stderr(io.StringIO()):
        recover(path, clock, StoreOptions(), lambda position: None, force=True)
        with closing(open_store(path, clock)) as store:
            if verify(store).counts:
                return None
        return contents(path)
    return None


def lasting(files: Files) -> int:
    """The number of events from the first on that are in an undamaged line, page or frame."""
    places = {*_pages(files.get(DB, b""), whole().files[DB]), *_frames(files.get(WAL, b""), whole().files[WAL])}
    lines = {line for name, file in files.items() if ARCHIVE in name for line in file.splitlines(keepends=True)[1:]}
    lasts = [any(digest in page for page in places) for digest in whole().digests]
    lasts[0] = False  # its text is longer than its page
    lined = b"".join(lines & whole().lines)
    there = [last or digest.hex().encode() in lined for last, digest in zip(lasts, whole().digests, strict=True)]
    return there.index(False) if False in there else len(there)


def _pages(db: bytes, right: bytes) -> Iterator[bytes]:
    """The undamaged leaf pages. Other pages may have remains of rows, which do not count."""
    pages = {right[start : start + PAGE] for start in range(0, len(right), PAGE) if right[start] == LEAF}
    found = (db[start : start + PAGE] for start in range(0, len(db), PAGE))
    return (page for page in found if page in pages)


def _frames(wal: bytes, right: bytes) -> Iterator[bytes]:
    """The frames of complete commits up to the first damaged one."""
    starts = range(32, min(len(wal), len(right)) - FRAME + 1, FRAME) if wal[:32] == right[:32] else ()
    same = list(takewhile(lambda start: wal[start : start + FRAME] == right[start : start + FRAME], starts))
    commits = [start for start in same if any(wal[start + 4 : start + 8])]
    return (wal[start : start + FRAME] for start in same if commits and start <= commits[-1])
