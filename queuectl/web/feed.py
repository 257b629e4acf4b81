"""The growing log, for all open pages at once: one thread reads it by position and encodes each event once.

A page that is behind reads the log from the store in pages, and no read transaction is open while it waits. So
positions alone decide what a page gets: every event, once.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from starlette.concurrency import run_in_threadpool

from queuectl.application.activity import Activity
from queuectl.application.follow import LogReader, durable_positions
from queuectl.application.run_tally import RunTally
from queuectl.domain.events import EVENT_TYPES, RecordedEvent, type_of
from queuectl.errors import QueuectlError
from queuectl.render import json_shapes
from queuectl.render.terminal import to_ndjson
from queuectl.runtime import pause

if TYPE_CHECKING:
    from queuectl.application.access import Store

__all__ = ["Entry", "Feed", "Wanted"]

ALL_TYPES = tuple(map(type_of, EVENT_TYPES))
RECENT = 5000
"""Events at the log's end that are remembered encoded."""
PAGE = 500
"""Events that are sent at once to a page that is behind."""
TICK = 200_000
"""Microseconds between two checks of the log, so that a busy queue is not read after every commit."""
BUSY = 500
"""New events after which the log is left alone for three times as long, so that readers get fewer, longer parts."""
AGAIN = 1_000_000
"""Microseconds after which a log that could not be read is tried again."""
MOST_FOUND = 20
"""Lists of events that are remembered for the next page that asks for them."""
SILENCE = 15
"""Seconds without an event after which a page is sent an empty line, so that a broken connection is noticed."""


class Wanted(NamedTuple):
    """The events that a page asks for; `job` None: those of all streams."""

    types: Collection[str] = ALL_TYPES
    job: str | None = None


class Entry(NamedTuple):
    """An event of the log, encoded. `type` is empty for a damaged one, which every reader gets."""

    position: int
    stream_id: str
    type: str
    text: str


class Feed:
    """Follows the log in a thread, through a store of its own."""

    def __init__(self, open_store: Callable[[], "Store"]) -> None:
        self._open_store = open_store
        self._recent: deque[Entry] = deque(maxlen=RECENT)
        self._found: dict[tuple[int, int, Wanted], list[Entry]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grown = asyncio.Event()
        self.position = self._taken = 0
        self._reader, self._stop = os.pipe()
        self.ended = False
        self.tally = RunTally("", 0)
        self.activity = Activity()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to follow the log."""
        self._loop = loop
        store = self._open_store()
        self.position = self._taken = store.log.head().position
        self.tally = RunTally(store.log.log_id, self.position)
        self._thread = Thread(target=self._run, args=(store,), name="feed", daemon=True)
        self._thread.start()
        loop.call_later(SILENCE, self._beat)

    def end(self) -> None:
        """End every stream that waits for the feed. May be called by a signal handler, and again."""
        self.ended = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._grown.set)

    def stop(self) -> None:
        """End the thread, and every stream that waits for it."""
        self.end()
        os.close(self._reader)
        self._thread.join(5)
        os.close(self._stop)

    def _run(self, store: "Store") -> None:
        """Read until the feed is stopped. A server that is away is asked again."""
        try:
            with suppress(BrokenPipeError):
                while not self.ended:
                    with suppress(QueuectlError):
                        self._follow(store)
                    pause(AGAIN)
        finally:
            store.close()

    def _follow(self, store: "Store") -> None:
        if not self.activity.since:
            self.activity.begin(store, self._taken)
        for position in durable_positions(store, self._stop):
            new = position - self._taken
            self._take(store, position)
            pause(TICK if new < BUSY else 3 * TICK)

    def _take(self, store: "Store", position: int) -> None:
        """Read up to a position. `_taken` is this thread's: `position` is set later, in the thread of the loop."""
        if position <= self._taken:
            return
        after = max(self._taken, position - RECENT)
        if after > self._taken:
            self._recent.clear()  # what is remembered has no gaps
        self._recent.extend([*map(_entry, LogReader(store, after, None, ALL_TYPES).read(position))])
        self._taken = position
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake, position)
        self.tally.read(store, position, counted=self.activity.take)

    def _beat(self) -> None:
        """Wake every page now and then: one timer costs less than one for each."""
        self._wake(self.position)
        if self._loop is not None and not self.ended:
            self._loop.call_later(SILENCE, self._beat)

    def _wake(self, position: int) -> None:
        self.position = position
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    # ── for one page ────────────────────────────────────────────────────────────────────────────────

    async def follow(self, store: "Store", after: int, wanted: Wanted) -> AsyncIterator[list[Entry] | None]:
        """Events after a position, in order, a list at a time; an empty list once all so far have been sent.

        None when nothing has come for a while.
        """
        head = await run_in_threadpool(store.writer.on_disk)
        caught_up = False
        while not self.ended:
            if after < self.position:
                found, after = await self._next(store, after, wanted)
                if found:
                    yield found
            elif not caught_up and after >= head:
                caught_up = True
                yield []
            else:
                await self._grown.wait()
                if after == self.position:
                    yield None

    async def _next(self, store: "Store", after: int, wanted: Wanted) -> tuple[list[Entry], int]:
        """The next events that are wanted, and the position up to which that are all."""
        end = self.position
        if (after, end, wanted) in self._found:
            return self._found[after, end, wanted], end
        recent = self._recent.copy()  # the thread may drop the first ones at any moment
        if recent and recent[0].position <= after + 1:
            new = [entry for entry in recent if after < entry.position <= end and _is_wanted(entry, wanted)]
            return self._remembered(after, end, wanted, new), end
        end = min(end, after + PAGE)
        return await run_in_threadpool(_read, store, after, end, wanted), end

    def _remembered(self, after: int, end: int, wanted: Wanted, new: list[Entry]) -> list[Entry]:
        """These events, remembered: other pages that follow the log ask for the same ones."""
        while len(self._found) >= MOST_FOUND:
            del self._found[next(iter(self._found))]
        self._found[after, end, wanted] = new
        return new


def _is_wanted(entry: Entry, wanted: Wanted) -> bool:
    return wanted.job in (None, entry.stream_id) and (not entry.type or entry.type in wanted.types)


def _read(store: "Store", after: int, until: int, wanted: Wanted) -> list[Entry]:
    return [_entry(record) for record in LogReader(store, after, wanted.job, wanted.types).read(until)]


def _entry(record: object) -> Entry:
    shown = json_shapes.event(record)  # type: ignore[arg-type]
    kind = record.type if isinstance(record, RecordedEvent) else ""
    return Entry(shown["position"], shown["stream_id"], kind, to_ndjson(shown))
