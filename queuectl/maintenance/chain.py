"""Checks the chain of digests: each row must follow from the one before it."""

from collections.abc import Callable, Iterable, Iterator

from queuectl.store.codec import check_follows
from queuectl.store.protocol import Store
from queuectl.store.rows import Head, StoredEvent

__all__ = ["Progress", "chained", "head_on_disk", "head_text"]

Progress = Callable[[int], None]
"""Called with the position that was reached."""


def head_on_disk(store: Store) -> Head:
    """The last event known to be on disk."""
    position = store.writer.bring_to_disk()
    row = (
        next(store.log.stored(after=position - 1, until=position), None) if position > store.log.base.position else None
    )
    return Head(row.position, row.digest, row.recorded_at) if row else store.log.base


def head_text(head: Head) -> str:
    """A head on one line, as `verify --expect` takes it."""
    return f"{head.position} {head.digest.hex()}"


def chained(rows: Iterable[StoredEvent], previous: Head) -> Iterator[StoredEvent]:
    """The rows, each checked to follow from the one before it. Raises DamagedEventError."""
    for row in rows:
        check_follows(row, previous)
        yield row
        previous = Head(row.position, row.digest, row.recorded_at)
