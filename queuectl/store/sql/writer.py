"""Appends events and changes the tables with them, in one transaction under the log's lock, and copies each commit.

table_writer.py writes the tables. The archive gets the events of a commit that is on disk.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from queuectl.domain.events import RecordedEvent
from queuectl.domain.job import Job
from queuectl.errors import StoreError, UsageError
from queuectl.store import codec
from queuectl.store.archive.archive import Written
from queuectl.store.archive.sync import ArchiveSync
from queuectl.store.errors import DamagedEventError
from queuectl.store.meta import FORMATS, check_format, check_place
from queuectl.store.projections import VERSION
from queuectl.store.rows import FIRST_FORMAT, Change, Head, StoredEvent
from queuectl.store.sql.engine import Engine, LockedLog
from queuectl.store.sql.log import Log
from queuectl.store.sql.table_writer import TableWriter
from queuectl.store.stream_fold import streams

if TYPE_CHECKING:
    from queuectl.domain.reactions import View
    from queuectl.store.sql.reacting import Batch
    from queuectl.store.sql.waits import Waits

__all__ = ["KEPT", "WAKING", "Writer"]

KEPT = 1000
"""The most rows that are kept for the next copy to the archive."""

WAKING = frozenset(
    (
        *("enqueued", "amended", "released", "requeued", "dependencies_met", "cancel_requested"),
        *("queue_resumed", "setting_changed", "schedule_set", "schedule_resumed"),
    )
)
"""The event types that give an idle worker something to do."""

_INSERT_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * len(codec.COLUMNS))})"
_ONCE: tuple[tuple[()]] = ((),)
"""The rows of a statement without parameters."""


class Writer:
    """Implements `protocol.Writer`. `appended`, if given, is called with the jobs that each append results in."""

    def __init__(
        self,
        engine: Engine,
        log: Log,
        durability: str,
        sync: ArchiveSync | None,
        appended: Callable[[Sequence[Job | None]], None] | None = None,
    ) -> None:
        self.durability = durability
        self._engine, self._log, self._sync, self._appended = engine, log, sync, appended
        self._tables = TableWriter(engine)
        self._wakes = self._adopted = False
        self._format, self._reactive = FIRST_FORMAT, False
        self._written: Written = (log.base, ())

    @cached_property
    def _waits(self) -> "Waits":
        """The table `waits`. Its module is loaded only where jobs wait for others."""
        from queuectl.store.sql.waits import Waits

        return Waits(self._engine, self._log)

    # ── transactions ────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(
        self, *, durable: bool = True, rebuilding: bool = False, meanwhile: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Hold the log's lock. `durable=False` (for claims only) does not wait for the disk.

        `meanwhile` may be called, again and again, while the commit waits for the disk. It must not use the store.
        `rebuilding` allows writing although another version of queuectl derived the tables.
        """
        engine, log = self._engine, self._log
        with engine.threads:
            if log.locked_head is not None:  # within a transaction of this store
                yield
                return
            if self._sync is not None and self._sync.refusal is not None:
                raise StoreError(self._sync.refusal)
            self._wakes = False
            found = engine.begin(durable and self.durability != "fast")
            try:
                if found.format not in FORMATS or (found.moved_to, found.projection_version) != (None, VERSION):
                    self._refuse_other_versions(found, rebuilding)
                self._format, self._reactive = cast(int, found.format), found.reactive != 0
                before = log.lock(found.last)
                yield
                after = log.locked_head
                assert after is not None
                engine.commit(before, after, self._wakes, meanwhile)
            except BaseException:
                engine.roll_back()
                if self._adopted:
                    self._identify()
                raise
            finally:
                log.locked_head, self._adopted = None, False
            if durable and self._sync is not None and after.position > before.position:
                start, rows = self._written
                self._written = start, ()
                self.copy(after.position, (start, rows) if rows and rows[-1].digest == after.digest else None)

    def _refuse_other_versions(self, found: LockedLog, rebuilding: bool) -> None:
        """Raises StoreError when this version of queuectl must not write to this log any more."""
        check_format(found.format, self._engine.path)
        check_place(found.moved_to, self._engine.path)
        if found.projection_version != VERSION and not rebuilding:
            raise StoreError(f"another version of queuectl has upgraded {self._engine.path}: restart this process")

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """A part of a transaction that takes effect as a whole or not at all."""
        engine, head, known = self._engine, self._log.locked_head, (self._format, self._reactive)
        engine.insert("SAVEPOINT part", _ONCE)
        try:
            yield
            engine.run("RELEASE part")
        except BaseException as error:
            self._log.locked_head, (self._format, self._reactive) = head, known
            # A full disk ends the whole transaction, so there is no part to undo, and its own error says more.
            with suppress(*([StoreError] if isinstance(error, StoreError) else [])):
                engine.run("ROLLBACK TO part")
                engine.insert("RELEASE part", _ONCE)
            raise

    def wake_workers(self) -> None:
        """Wake idle workers when the open transaction commits."""
        self._wakes = True

    def take_long(self) -> None:
        """Keep the open transaction alive, although no statement may run in it for long."""
        if self._engine.dialect.keep_alive is not None:
            self._engine.run(self._engine.dialect.keep_alive)

    # ── new events ──────────────────────────────────────────────────────────────────────────────────

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """Append all changes or none. Returns the resulting jobs, in order. Raises VersionConflictError."""
        with self._engine.threads:
            if not any(change.events for change in changes):
                return [change.job for change in changes]
            _refuse_control_characters(actor, *(change.stream_id for change in changes))
            with self.transaction() if self._log.locked_head is None else self._savepoint():
                batch = self._record(changes, actor)
                jobs = self._tables.write(changes, batch)
                if self._reactive or _may_react(changes, jobs):
                    jobs = self._with_consequences(changes, batch, jobs, actor)
            if self._appended is not None:
                self._appended(jobs)
            return jobs[: len(changes)]

    def _with_consequences(
        self, changes: Sequence[Change], batch: "Batch", jobs: Sequence[Job | None], actor: str
    ) -> list[Job | None]:
        """Append what follows from these changes. Returns their jobs, and after them the other jobs that changed."""
        from queuectl.store.sql.reacting import steps

        others = self._react(self._waits.follow(steps(changes, batch, jobs)), actor)
        return [*(job and others.pop(job.id, job) for job in jobs), *others.values()]

    def _react(self, view: "View", actor: str) -> dict[str, Job]:
        from queuectl.store.sql.reacting import react

        def append(changes: Sequence[Change]) -> tuple["Batch", list[Job | None]]:
            batch = self._record(changes, actor)
            return batch, self._tables.write(changes, batch)

        others = react(self._waits, self._log, view, append)
        self.note_reactive()
        return others

    def note_reactive(self) -> None:
        """Record whether any job waits, so that other appends need not look."""
        if self._reactive != (found := self._waits.any()):
            self._engine.set_meta("reactive", int(found))
            self._reactive = found

    def release(self, actor: str) -> int:
        """Free or cancel the jobs whose cause ended before the end of a log was lost. Returns how many."""
        from queuectl.store.sql.failure_limits import fallen_at_the_end

        with self.transaction():
            fallen = fallen_at_the_end(self._log)
            if not self._reactive and not fallen:
                return 0
            found = self._react(self._waits.overdue(self._log.head().position, fallen), actor)
            if self._appended is not None:
                self._appended([*found.values()])
            return len(found)

    def raise_format(self, needed: int) -> None:
        """Raise the log's format, unless it is that high already. Only in an open transaction."""
        if needed > self._format:
            self._engine.set_meta("format", needed)
            self._format = needed

    def _record(self, changes: Sequence[Change], actor: str) -> list[list[RecordedEvent]]:
        """Insert the events, chained to the head, all with the same time; a wall clock that is behind it is noted."""
        events = [event for change in changes for event in change.events]
        salts = os.urandom(codec.SALT_BYTES * len(events))
        head = self._log.locked_head
        assert head is not None
        position, digest = head.position, head.digest
        wall, now = self._log.clock.both(head.recorded_at)
        is_behind = wall < head.recorded_at
        if (needed := max(map(codec.format_of, events))) > self._format:
            self.raise_format(needed)
        stored: list[StoredEvent] = []
        batch: list[list[RecordedEvent]] = []
        for change in changes:
            records = []
            for version, event in enumerate(change.events, change.version + 1):
                position += 1
                fact = replace(event, clock=wall) if is_behind else event
                record = RecordedEvent(position, change.stream_id, version, now, actor, fact)
                start = codec.SALT_BYTES * len(stored)
                row = codec.seal(record, salts[start : start + codec.SALT_BYTES], digest)
                stored.append(row)
                digest = row.digest
                self._wakes = self._wakes or row.type in WAKING
                records.append(record)
            batch.append(records)
        self._insert(stored, head, Head(position, digest, now))
        return batch

    def _insert(self, rows: Sequence[StoredEvent], before: Head, after: Head) -> None:
        """Insert rows. They are kept for the archive, so that the copy need not read them back.

        Not very many: a bulk change would hold them all, and it takes no longer to read them back in pages.
        """
        self._engine.insert(_INSERT_EVENT, rows)
        self._log.locked_head = after
        start, kept = self._written
        if not kept or kept[-1].digest != before.digest:  # another process wrote, or rows were rolled back
            start, kept = before, ()
        self._written = start, (*kept, *rows) if len(kept) + len(rows) <= KEPT else ()

    # ── events of another store of the same log ─────────────────────────────────────────────────────

    def append_stored(self, rows: Iterable[StoredEvent]) -> None:
        """Append rows of another store of this log unchanged and update the tables, 1000 rows a transaction.

        Raises DamagedEventError for a row that does not follow on the head, VersionConflictError for a taken version.
        """
        from queuectl.store.sql.stored_rows import batches

        for batch in batches(rows):
            with self.transaction():
                self._append_batch(batch)

    def _append_batch(self, batch: Sequence[StoredEvent]) -> None:
        """Append one batch. Rows are decoded, and the jobs that they change loaded, before any row is inserted."""
        from queuectl.store.sql.stored_rows import decoded, first_versions

        starts = first_versions(batch)
        changes = [change for start in starts.items() if (change := self._change(*start))]
        records, unreadable = decoded(batch, self._log.head())
        self.raise_format(
            max((codec.format_of(each.event) for found in records.values() for each in found), default=FIRST_FORMAT)
        )
        last = batch[-1]
        self._insert(batch, self._log.head(), Head(last.position, last.digest, last.recorded_at))
        sound = [change for change in changes if change.stream_id not in unreadable]
        batches = [records[change.stream_id] for change in sound]
        jobs = self._tables.write(sound, batches)
        if self._reactive or any(job is not None and job.spec.after for job in jobs):
            from queuectl.store.sql.reacting import steps

            self._waits.follow(steps(sound, batches, jobs))
            self.note_reactive()
        for stream_id in starts.keys() - {change.stream_id for change in sound}:
            self.quarantine(stream_id)

    def _change(self, stream_id: str, version: int) -> Change | None:
        """A change to a stream, with its events before `version` folded; None when that part is damaged."""
        try:
            job = self._log.load(stream_id) if version > 1 and not stream_id.startswith("$") else None
        except DamagedEventError:
            return None
        return Change(stream_id, version - 1, (), job)

    def quarantine(self, job_id: str) -> None:
        """Make a job unclaimable. If its stream is damaged, release its unique key and write the damage to its row."""
        with self.transaction():
            self._engine.run("UPDATE jobs SET due_at = NULL, next_run_at = NULL WHERE id = ?", (job_id,))
            for stream in streams(self._log.examined(stream_id=job_id)):
                if stream.damage is not None:
                    self._engine.run(
                        "UPDATE jobs SET unique_key = NULL, locked_by = NULL, locked_at = NULL, after = NULL,"
                        " if_unmet = NULL, waiting = NULL, last_error = ? WHERE id = ?",
                        (stream.damage.for_tables, job_id),
                    )
                    self._waits.remove([job_id])

    # ── which log this is, and where it continues ───────────────────────────────────────────────────

    def adopt(self, log_id: str, base: Head) -> None:
        """Make this empty store the store of another log. Only in an open transaction."""
        for key, value in {"log_id": log_id, "base_position": base.position, "base_digest": base.digest}.items():
            self._engine.set_meta(key, value)
        self._identify()
        self._log.locked_head, self._adopted = base, True
        if self._sync is not None and self._sync.refusal is not None:
            raise StoreError(self._sync.refusal)

    def _identify(self) -> None:
        self._log.identify(self._engine.meta())
        if self._sync is not None:
            self._sync.change_log()

    def move_to(self, place: str) -> None:
        """Refuse further changes and record where the log continues. Only in an open transaction."""
        self._engine.set_meta("moved_to", place)

    # ── the disk and the archive ────────────────────────────────────────────────────────────────────

    def on_disk(self) -> int:
        """The last position known to be on disk."""
        found = self._engine.last_on_disk()
        return self._log.base.position if found is None else found

    def bring_to_disk(self) -> int:
        """Sync claims at the log's end too, if possible. Returns the new `on_disk`."""
        head = self._log.head().position
        return head if self._engine.sync() else self.on_disk()

    def copy(self, until: int, written: Written | None = None) -> None:
        """Copy the events up to `until`, which are on disk, to the archive. `written`: see `Archive.catch_up`.

        A failed copy is reported once, and the next copy includes its events. In `paranoid` it raises StoreError.
        """
        if self._sync is None:
            return
        is_paranoid = self.durability == "paranoid"
        try:
            self._sync.archive.catch_up(self._log.stored_page, until, written=written, synced=is_paranoid)
        except (StoreError, OSError, UnicodeError) as error:
            self._sync.report(error, is_fatal=is_paranoid)


def _may_react(changes: Sequence[Change], jobs: Sequence[Job | None]) -> bool:
    """Whether these changes can have consequences although no job waits for another."""
    if any(job is not None and job.spec.after for job in jobs):
        return True
    moved = [(change.job, job) for change, job in zip(changes, jobs, strict=True) if change.job and job]
    if not moved:
        return False
    from queuectl.domain.reactions import has_fallen_back

    return any(has_fallen_back(before, after) for before, after in moved)


def _refuse_control_characters(*texts: str) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is not text: ids and actors must be")
        if not text.isprintable():
            raise StoreError(f"a control character in {text!r}: the log does not take it in ids and actors")
