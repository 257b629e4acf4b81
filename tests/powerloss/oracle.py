"""Opens the disk that a power cut left, continues to work on it, and reports faults.

Most cuts of one recording leave one of a few logs. So contents that `verify` found sound are remembered (the same rows
in every table, before and after deterministic work), and only new contents are verified.
"""

import io
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, redirect_stderr, suppress
from itertools import islice
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import apsw

from queuectl.application.queue import NewJob, Queue
from queuectl.checks.verify import verify
from queuectl.errors import StoreError
from queuectl.maintenance.recover import recover
from queuectl.store import open_store
from queuectl.store.archive.segments import ArchiveError, folder_of, segments
from queuectl.store.ndjson import event_line
from queuectl.store.options import StoreOptions
from queuectl.store.protocol import Store
from queuectl.store.rows import StoredEvent
from tests.support.builders import HOUR, START, SettableClock, a_spec, claimant
from tests.support.oracle import UNREACTED, audit_findings
from tests.support.queues import WARNING

LOST, INVENTED, AHEAD, BEHIND = "lost", "invented", "ahead", "behind"
REFUSED, BROKEN, DAMAGED, HALF = "refused", "broken", "damaged", "half"
KINDS = (LOST, INVENTED, AHEAD, BEHIND, REFUSED, BROKEN, DAMAGED, HALF)

_TABLES = ("events", "meta", "jobs", "dlq", "counts", "job_tags", "settings", "pauses", "schedules", "waits")
_QUESTIONS = [f"SELECT * FROM {table} ORDER BY 1, 2" for table in _TABLES]


class _Contents(NamedTuple):
    """All rows of the log and of the derived tables, and whether the archive is a prefix of the log."""

    tables: tuple[list[Any], ...]
    archived: bool


class Oracle:
    """Checks the disks of one recording.

    `digests` are those of its whole log, `attempted` also those of events whose writer got an error.
    """

    def __init__(self, digests: Sequence[bytes], attempted: Collection[bytes] = ()) -> None:
        self._digests, self._attempted = digests, {*digests, *attempted}
        self._sound: dict[int, tuple[_Contents, _Contents]] = {}
        self._lines: dict[bytes, bytes] = {}
        self.verified = 0

    def faults(self, path: str, acknowledged: int) -> list[str]:
        """The faults of the queue at `path`, each with its kind in front.

        lost: an acknowledged change is missing. invented: an event was never appended. ahead: the archive has an event
        that was not on disk in the database. behind: the archive does not get new events. refused: the queue cannot be
        opened or written. half: a cause without its consequence. broken: an error of another class than ours. damaged:
        a finding of `verify`, before or after further work.
        """
        said = io.StringIO()
        try:
            with redirect_stderr(said), patch.object(os, "urandom", Random(0).randbytes):
                found = self._judge(path, acknowledged)
        except Exception as error:
            found = [f"{failure(error)}: {_without_names(str(error), path)}"]
        return found + [f"{_kind(line)}: {_without_names(line, path)}" for line in said.getvalue().splitlines()]

    def _judge(self, path: str, acknowledged: int) -> list[str]:
        clock = SettableClock(START + HOUR)
        with closing(open_store(path, clock, WARNING)) as store:
            head = store.log.head().position
            before = self._contents(path, store.engine.db)
            known = self._sound.get(head)
            found = [*self._missing(store, acknowledged)]
            if known is None or before != known[0]:
                self.verified += 1
                found += _unsound(store, path)
            found += _works_on(store)
        with closing(apsw.Connection(path)) as db:
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            after = self._contents(path, db)
            whole = after and db.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
        if known is None or after != known[1]:
            with closing(open_store(path, clock, WARNING)) as store:
                found += _unsound(store, path)
        if before and after and whole and not found:
            self._sound.setdefault(head, (before, after))
        return found or ([] if before and whole else [f"{DAMAGED}: SQLite finds what verify does not"])

    def faults_once_recovered(self, path: str, acknowledged: int) -> list[str]:
        """The faults after `recover`."""
        clock = SettableClock(START + HOUR)
        try:
            with redirect_stderr(io.StringIO()):
                recover(path, clock, StoreOptions(), lambda position: None, force=True)
                with closing(open_store(path, clock, WARNING)) as store:
                    return [*self._missing(store, acknowledged), *_unsound(store, path), *_works_on(store)]
        except Exception as error:
            return [f"{failure(error)}, also by recover: {_without_names(str(error), path)}"]

    def _missing(self, store: Store, acknowledged: int) -> Iterator[str]:
        """Check that the log is a prefix of the recorded one and has every acknowledged event."""
        if acknowledged and store.log.digest_at(acknowledged) != self._digests[acknowledged - 1]:
            yield f"{LOST}: acknowledged events are gone"
        last = _last_recorded(store)
        if last is not None and last.digest not in self._attempted:
            yield f"{INVENTED}: the log ends with another event"

    def _contents(self, path: str, db: apsw.Connection) -> _Contents | None:
        """The contents; None if SQLite finds damage or returns bytes for text."""
        with suppress(apsw.Error, UnicodeDecodeError):
            tables = tuple(db.execute(question).fetchall() for question in _QUESTIONS)
            return _Contents(tables, self._is_archived(path, tables[0]))
        return None

    def _is_archived(self, path: str, rows: Sequence[Any]) -> bool:
        expected = map(self._line, rows)
        return all(line == next(expected, None) for line in _archived_lines(path))

    def _line(self, row: Any) -> bytes:
        digest = row[-1]
        if digest not in self._lines:
            self._lines[digest] = event_line(StoredEvent._make(row))
        return self._lines[digest]


def _last_recorded(store: Store) -> StoredEvent | None:
    """The last event that opening or `recover` did not append: they make up for lost consequences."""
    return next((row for row in reversed([*store.log.stored()]) if row.actor != "queuectl"), None)


def _archived_lines(path: str) -> Iterator[bytes]:
    """The archive's lines with events, without a torn one at the end."""
    for segment in segments(folder_of(path)):
        with open(segment, "rb") as file:
            yield from (line for line in islice(file, 1, None) if line.endswith(b"\n"))


def failure(error: Exception) -> str:
    """The kind of fault for an error."""
    return REFUSED if isinstance(error, StoreError) else f"{BROKEN}: {type(error).__name__}"


def _kind(said: str) -> str:
    return AHEAD if "was behind its archive" in said else BEHIND


def _works_on(store: Store) -> Iterator[str]:
    """Append a claim and a new job; then check that the archive has every event that is on disk."""
    queue = Queue(store, "ann@box")
    queue.claim(claimant("w2"), (), 1, lambda job: True)
    queue.enqueue([NewJob(a_spec(queue="afterwards"), "after")])
    if not _is_archived(store):
        yield f"{BEHIND}: the archive does not end with the last event"
    if store.tables.claimable(("afterwards",), 1, store.log.now()) != ["after"]:
        yield f"{DAMAGED}: the new job cannot be claimed"


def _is_archived(store: Store) -> bool:
    assert store.location.archive is not None
    try:
        end = store.location.archive.end()
    except ArchiveError:
        return False
    return end is not None and end.digest == store.log.head().digest


def _unsound(store: Store, path: str) -> Iterator[str]:
    """The findings of `verify`; if there are none, those of `audit`."""
    report = verify(store)
    for problem in report.first[:1]:
        yield f"{DAMAGED}: {problem.kind}: {_without_names(problem.what, path)}"
    if not report.counts:
        yield from audit_findings(store.log.records())
    if store.engine.run(UNREACTED):
        yield f"{HALF}: a cause is there without its consequence"


def _without_names(message: str, path: str) -> str:
    """The message without paths, numbers and details in brackets, so that equal faults can be counted."""
    return re.sub("[0-9]+", "N", message.replace(os.path.dirname(path), "…").partition(" (")[0])
