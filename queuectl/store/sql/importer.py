"""Puts stored rows back as they were: same places, digests and salts, and the tables follow.

The same for every store, like projecting.py. Nothing is taken whose digest does not follow from the head's.
"""

from collections.abc import Iterable, Iterator, Sequence

from queuectl.domain.events import RecordedEvent
from queuectl.store import codec
from queuectl.store.protocol import Change, DamagedEventError, Head, StoredEvent
from queuectl.store.sql.projector import ProjectedTables

__all__ = ["ReplayedTables"]

BATCH = 1000
_REVIVING = "requeued"


class ReplayedTables(ProjectedTables):
    """The tables with what putting rows back does to them."""

    def adopt(self, log_id: str, base: Head) -> None:
        """See the protocol."""
        meta = {"log_id": log_id, "base_position": base.position, "base_digest": base.digest}
        for key, value in meta.items():
            self._set_meta(key, value)
        self._become_what_meta_says()
        self._locked_head, self._adopted = base, True
        self._refuse_diverged()

    @property
    def moved_to(self) -> str | None:
        """See the protocol."""
        found = self._run("SELECT value FROM meta WHERE key = 'moved_to'")
        return found[0][0] if found else None

    def move_to(self, place: str) -> None:
        """See the protocol."""
        self._set_meta("moved_to", place)

    def append_stored(self, rows: Iterable[StoredEvent]) -> None:
        """See the protocol."""
        for batch in _batches(rows):
            with self.transaction():
                self._append_batch(batch)

    def _append_batch(self, rows: Sequence[StoredEvent]) -> None:
        head = self.head()
        streams: dict[str, int] = {}
        for row in rows:
            streams.setdefault(row.stream_id, row.version)
        changes = [change for each in streams.items() if (change := self._change(*each))]
        records, damaged = _decoded(rows, head)
        self._insert_events(rows)
        self._locked_head = Head(rows[-1].position, rows[-1].digest, rows[-1].recorded_at)
        sound = [change for change in changes if change.stream_id not in damaged]
        self._project(sound, [records[change.stream_id] for change in sound])
        for stream_id in streams.keys() - {change.stream_id for change in sound}:
            self.hold(stream_id)

    def _change(self, stream_id: str, version: int) -> Change | None:
        """What the rows of a stream change: a job that stands before `version`, or notes; None: it is damaged."""
        try:
            job = self.load(stream_id) if version > 1 and not stream_id.startswith("$") else None
        except DamagedEventError:
            return None
        return Change(stream_id, version - 1, (), job)


def _batches(rows: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    """Up to 1000 rows at a time.

    A job that is put back may take over a unique key from one that has just ended, so it begins a batch of its own:
    within a batch the tables are not written in the order of the log.
    """
    batch: list[StoredEvent] = []
    for row in rows:
        if batch and (len(batch) == BATCH or row.type == _REVIVING):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _decoded(rows: Sequence[StoredEvent], head: Head) -> tuple[dict[str, list[RecordedEvent]], set[str]]:
    """The events by stream, and the streams with events of a later version, which this one cannot read.

    Raises DamagedEventError for a row that does not follow the one before it, and for one that no version can read.
    """
    records: dict[str, list[RecordedEvent]] = {}
    damaged: set[str] = set()
    for row in rows:
        codec.check_follows(row, head)
        try:
            records.setdefault(row.stream_id, []).append(codec.decode(row, head.digest))
        except codec.NewerEventError:
            damaged.add(row.stream_id)
        head = Head(row.position, row.digest, row.recorded_at)
    return records, damaged
