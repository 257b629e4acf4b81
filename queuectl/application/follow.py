"""Reading the log as it grows, by position.

A follower gets only events that survive a power cut. A claim is committed without waiting for the disk, so claims at
the end of the log are held back until a later event, which did wait for the disk, follows them. If none follows within
a second, the follower syncs the log itself (a checkpoint syncs the -wal first). Claims stay held back until then.

No read transaction is open while a page of events is handled, so a slow reader blocks nobody. New events are noticed
by polling `data_version`; on a server, where each poll is a query, by LISTEN with a slow poll in addition.
"""

import select
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from queuectl.domain.events import RecordedEvent
from queuectl.errors import StoreError
from queuectl.runtime import Reach
from queuectl.store.errors import DamagedEventError
from queuectl.store.protocol import Hints, Store
from queuectl.store.stream_fold import Examined

__all__ = ["Examined", "LogReader", "durable_positions", "follow"]

POLL, SLOWEST = 10_000, 500_000
"""Microseconds between two polls. A server is polled less and less often, down to SLOWEST, while nothing new comes."""
HELD_FOR = 100
"""Polls after which claims at the log's end are synced."""


class LogReader:
    """Reads the wanted events, each once. `after` is the last position read.

    `stream`: only events of this one; `is_wanted`: only those of streams for which it says so.
    """

    def __init__(
        self,
        store: Store,
        after: int,
        stream: str | None,
        types: Collection[str],
        is_wanted: Callable[[str], bool] | None = None,
    ) -> None:
        self._store, self._stream, self._types, self._is_wanted = store, stream, types, is_wanted
        self.after = after

    def read(self, until: int) -> Iterator[Examined]:
        """The events after the last position read, up to `until`; a damaged one as its error."""
        for record in self._read(until):
            if isinstance(record, DamagedEventError) or (record.type in self._types and self._is_member(record)):
                yield record
        self.after = max(self.after, until)

    def _is_member(self, record: RecordedEvent) -> bool:
        return self._is_wanted is None or self._is_wanted(record.stream_id)

    def _read(self, until: int) -> Iterator[Examined]:
        after = self.after
        while True:
            try:
                for record in self._records(after, until):
                    yield record
                    after = record.position
            except DamagedEventError as error:
                yield from self._records(after, error.position - 1)
                yield error
                after = error.position
            else:
                return

    def _records(self, after: int, until: int) -> Iterator[RecordedEvent]:
        return self._store.log.records(after=after, until=until, stream_id=self._stream)


def follow(store: Store, last: int | None, reader: int | None = None) -> Iterator[int]:
    """Positions up to which the log may be read: the first ends the backlog; ends after position `last`.

    `reader` is the descriptor of the reader. Raises BrokenPipeError when that is closed.
    """
    for position in durable_positions(store, reader):
        if last is not None and position >= last:
            yield last
            return
        yield position


def durable_positions(store: Store, reader: int | None = None) -> Iterator[int]:
    """The last position known to be on disk: at once, then whenever it has grown. Blocks between two of them."""
    known, held, rest, hints = store.writer.on_disk(), 0, POLL, _hints(store)
    claims_wait = store.log.head().position > known
    while True:
        yield known
        before, rest = known, POLL
        while known == before:
            if _wait(rest, hints, reader):
                rest = POLL
            elif store.location.reach is Reach.SEVERAL_HOSTS:
                rest = min(2 * rest, SLOWEST)
            held = held + 1 if claims_wait else 0
            if held == HELD_FOR or store.workers.changed():
                reached = store.writer.bring_to_disk() if held == HELD_FOR else store.writer.on_disk()
                known, held = max(known, reached), held % HELD_FOR
                claims_wait = store.log.head().position > known


def _hints(store: Store) -> Hints | None:
    with suppress(StoreError):  # a standby server takes no LISTEN
        return store.workers.hints()
    return None


def _wait(microseconds: int, hints: Hints | None, reader: int | None) -> bool:
    """Wait for a hint; whether there was one. Raises BrokenPipeError when the reader is gone."""
    poll = select.poll()
    if reader is not None:
        poll.register(reader, 0)
    if hints is not None and (descriptor := hints.descriptor()) is not None:
        poll.register(descriptor, select.POLLIN)
    if any(number == reader for number, _ in poll.poll(microseconds / 1000)):
        raise BrokenPipeError
    return hints is not None and hints.heard()
