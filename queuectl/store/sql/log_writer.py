"""The log of an open store, the same for each: transactions under its lock, appending, the chain, the archive.

A store says how a transaction is begun, committed and rolled back, and what it does to its connection.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from msgspec.structs import replace

from queuectl.domain.events import RecordedEvent, type_of
from queuectl.domain.job import Job
from queuectl.errors import StoreError, UsageError
from queuectl.runtime import Clock, LogClock
from queuectl.store import codec
from queuectl.store.archive.archive import Archive, Keeping
from queuectl.store.archive.sync import ArchiveSync
from queuectl.store.protocol import WAKING, Change, DamagedError, DamagedEventError, Head, StoredEvent, advised
from queuectl.store.sql.importer import ReplayedTables
from queuectl.store.sql.moments import Moments
from queuectl.store.sql.rebuild import RebuiltTables

__all__ = ["AppendedLog", "Keep", "head_of"]

Keep = Callable[[Mapping[str, str]], Keeping]
"""How a queue is kept, given what `config set` left."""

_INSERT_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * len(codec.COLUMNS))})"
_ONCE: tuple[tuple[()]] = ((),)
"""The rows of a statement without parameters."""
_LAST = "SELECT position, digest, recorded_at FROM events ORDER BY position DESC LIMIT 1"


class AppendedLog(RebuiltTables, Moments, ReplayedTables):
    """See the protocol."""

    _keeper: ArchiveSync | None = None

    @property
    def log(self) -> Self:
        """See the protocol."""
        return self

    writer = tables = workers = upkeep = location = log

    def _open_up(self, clock: Clock, keep: Keep) -> None:
        """Everything that comes after the connection."""
        self._log_clock = LogClock(clock)
        self._keeping = self._how_to_keep(keep)
        self._become_what_meta_says()
        self._follow_this_version(self._derived_by)
        if self._keeper is not None and not self._is_read_only():
            self._keeper.compare()

    def _how_to_keep(self, keep: Keep) -> Keeping:
        try:
            return keep(self.settings())
        except StoreError:
            return keep({})  # `rebuild` repairs a corrupt table

    def _become_what_meta_says(self) -> None:
        meta = self._meta()
        try:
            self._log_id: str = meta["log_id"]
            self._base = Head(meta["base_position"], meta["base_digest"], 0)
        except KeyError as error:
            damage = DamagedError(f"{self.path} is damaged ({error} is missing)")
            damage.remedy = advised(damage.remedy, self.spans_hosts)
            raise damage from error
        self._keeper = None
        self._adopted = False
        self._derived_by = meta.get("projection_version")
        prefix = self._file_prefix(meta)
        if prefix is not None and self._keeping.archived:
            archive = Archive(prefix, self._log_id, self._base, self._keeping.archive_dir)
            self._keeper = ArchiveSync(self, archive, self._keeping)

    @abstractmethod
    def _file_prefix(self, meta: dict[str, Any]) -> str | None:
        """What the names of the archive and of the output folder begin with; None: there is to be no archive."""

    # ── what it is ──────────────────────────────────────────────────────────────────────────────────

    @property
    def log_id(self) -> str:
        """See the protocol."""
        return self._log_id

    @property
    def base(self) -> Head:
        """See the protocol."""
        return self._base

    @property
    def wake_file(self) -> str:
        """See the protocol."""
        return os.path.join(self.output_folder, ".wake")

    @property
    @abstractmethod
    def output_folder(self) -> str:
        """See the protocol."""

    @property
    def archive(self) -> Archive | None:
        """See the protocol."""
        return self._keeper.archive if self._keeper is not None else None

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """See the protocol."""
        with self._threads:
            if self._in_transaction():
                yield
                return
            self._refuse_diverged()
            self._waking = False
            self._begin(durable)
            try:
                self._locked_head = before = self._checked_head()
                yield
                after = self._locked_head
                self._commit(before, after)
            except BaseException:
                self._roll_back()
                if self._adopted:
                    self._become_what_meta_says()
                raise
            finally:
                self._locked_head, self._adopted = None, False
            if durable and self._keeper is not None and after.position > before.position:
                self._keeper.copy(after.position)

    @abstractmethod
    def _in_transaction(self) -> bool:
        """Whether a transaction of this store is open. Raises StoreError when the store is closed."""

    @abstractmethod
    def _begin(self, durable: bool) -> None:
        """Take the log's lock."""

    @abstractmethod
    def _checked_head(self) -> Head:
        """The head, now that nobody else can move it. Raises StoreError when this version may not write any more."""

    @abstractmethod
    def _commit(self, before: Head, after: Head) -> None:
        """Make it so, and wake idle workers if there is something to do for them."""

    @abstractmethod
    def _roll_back(self) -> None:
        """Undo what is undone yet; it is no error when nothing is."""

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """A part of a transaction that is done as a whole or not at all."""
        head = self._locked_head
        self._insert("SAVEPOINT part", _ONCE)
        try:
            yield
            self._insert("RELEASE part", _ONCE)
            self._settle()
        except BaseException:
            self._run("ROLLBACK TO part")
            self._locked_head = head
            self._insert("RELEASE part", _ONCE)
            raise

    def _refuse_diverged(self) -> None:
        if self._keeper is not None and self._keeper.refusal is not None:
            raise StoreError(self._keeper.refusal)

    def now(self) -> int:
        """See the protocol."""
        return self._log_clock.now(self.head().recorded_at)

    def wall(self) -> int:
        """See Store."""
        return self._log_clock.wall()

    def behind_for(self) -> int | None:
        """See Store."""
        return self._log_clock.behind_for(self.head().recorded_at)

    def append(self, changes: Sequence[Change], actor: str) -> list[Job | None]:
        """See the protocol."""
        with self._threads:
            if not any(change.events for change in changes):
                return [change.job for change in changes]
            _refuse_control_characters(actor, *(change.stream_id for change in changes))
            with self._savepoint() if self._in_transaction() else self.transaction():
                batch = self._record(changes, actor)
                jobs = self._project(changes, batch)
                if any(type_of(record.event) in WAKING for records in batch for record in records):
                    self._waking = True
            return jobs

    def _record(self, changes: Sequence[Change], actor: str) -> list[list[RecordedEvent]]:
        """Insert the events, chained to the head, all with the same time; a wall clock that is behind it is noted."""
        head = self.head()
        position, digest = head.position, head.digest
        wall, now = self._log_clock.wall(), self._log_clock.now(head.recorded_at)
        is_behind = wall < head.recorded_at
        salts = memoryview(os.urandom(codec.SALT_BYTES * sum(len(change.events) for change in changes)))
        stored: list[StoredEvent] = []
        batch: list[list[RecordedEvent]] = []
        for change in changes:
            records = []
            for version, event in enumerate(change.events, change.version + 1):
                position += 1
                fact = replace(event, clock=wall) if is_behind else event
                record = RecordedEvent(position, change.stream_id, version, now, actor, fact)
                salt, salts = bytes(salts[: codec.SALT_BYTES]), salts[codec.SALT_BYTES :]
                stored.append(codec.seal(record, salt, digest))
                digest = stored[-1].digest
                records.append(record)
            batch.append(records)
        self._insert_events(stored)
        self._locked_head = Head(position, digest, now)
        return batch

    def _insert_events(self, rows: Sequence[StoredEvent]) -> None:
        self._insert(_INSERT_EVENT, rows)

    @abstractmethod
    def _settle(self) -> None:
        """Wait until every row passed to `_insert` is inserted."""

    # ── reading the log's end ───────────────────────────────────────────────────────────────────────

    def head(self) -> Head:
        """See the protocol."""
        with self._threads:
            if self._locked_head is not None:
                return self._locked_head
            found = self._run(_LAST)
            return head_of(found[0]) if found else self._base

    def digest_at(self, position: int) -> bytes | None:
        """See the protocol."""
        if position == self._base.position:
            return self._base.digest
        found = self._run("SELECT digest FROM events WHERE position = ?", (position,))
        return found[0][0] if found else None

    def version(self, stream_id: str) -> int:
        """See the protocol."""
        return int(self._run("SELECT coalesce(max(version), 0) FROM events WHERE stream_id = ?", (stream_id,))[0][0])


def head_of(row: Sequence[Any]) -> Head:
    """The log's end by its position, digest and time. Raises DamagedEventError when they cannot be an event's."""
    position, digest, recorded_at = row
    if not isinstance(digest, bytes) or not isinstance(recorded_at, int):
        raise DamagedEventError(position, "the log", "its digest or its time is missing")
    return Head(position, digest, recorded_at)


def _refuse_control_characters(*texts: str) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is no text: ids and actors are")
        if not text.isprintable():
            raise StoreError(f"a control character in {text!r}: the log does not take it in ids and actors")
