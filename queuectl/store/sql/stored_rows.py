"""Rows of another store's log, prepared for appending: in batches, checked against the chain, and decoded."""

from collections.abc import Iterable, Iterator, Sequence

from queuectl.domain.events import RecordedEvent
from queuectl.store import codec
from queuectl.store.rows import Head, StoredEvent

__all__ = ["batches", "decoded", "first_versions"]

BATCH = 1000
_REVIVING = "requeued"


def batches(rows: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    """Up to 1000 rows at a time.

    A requeued job may take over a unique key from one that has just ended, so it begins a batch of its own: within a
    batch the tables are not written in the order of the log.
    """
    batch: list[StoredEvent] = []
    for row in rows:
        if batch and (len(batch) == BATCH or row.type == _REVIVING):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def first_versions(rows: Iterable[StoredEvent]) -> dict[str, int]:
    """The first version of each stream among the rows."""
    versions: dict[str, int] = {}
    for row in rows:
        versions.setdefault(row.stream_id, row.version)
    return versions


def decoded(rows: Sequence[StoredEvent], head: Head) -> tuple[dict[str, list[RecordedEvent]], set[str]]:
    """The events by stream, and the streams with events of a later version of queuectl, which this one cannot read.

    Raises DamagedEventError for a row that does not follow the one before it, and for one that no version can read.
    """
    records: dict[str, list[RecordedEvent]] = {}
    unreadable: set[str] = set()
    for row in rows:
        codec.check_follows(row, head)
        try:
            records.setdefault(row.stream_id, []).append(codec.decode(row, head.digest))
        except codec.NewerEventError:
            unreadable.add(row.stream_id)
        head = Head(row.position, row.digest, row.recorded_at)
    return records, unreadable
