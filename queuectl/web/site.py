"""One served queue: its store, what visitors may do, and the name under which changes are recorded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct

from queuectl.application.access import advising, this_actor
from queuectl.application.activity import Activity
from queuectl.application.queue import Queue
from queuectl.application.time_travel import as_of as past_of
from queuectl.config import Config
from queuectl.errors import RefusedError, command_line
from queuectl.runtime import SystemClock
from queuectl.web.feed import Feed
from queuectl.web.past_moments import PastMoment
from queuectl.web.verification import Verification

if TYPE_CHECKING:
    from queuectl.application.access import Store

__all__ = ["Rights", "Site"]

PASTS = 3
"""Earlier moments that are remembered, because going back needs a pass over the log."""


class Rights(Struct, frozen=True):
    """The rights of visitors: only read, or also change jobs, or also add and edit jobs."""

    read_only: bool = False
    allow_enqueue: bool = False

    def check_adding(self) -> None:
        """Raises RefusedError when jobs may not be added or edited."""
        if not self.allow_enqueue:
            start = command_line("serve", "--allow-enqueue")
            raise RefusedError(f"adding and editing jobs is not allowed here: start `{start}`")


class Site:
    """A queue that is served. `open_store` opens one more connection, for a thread of its own.

    `umask` is that of the jobs that are added here. `verification`, if set, checks the queue now and then.
    """

    verification: Verification | None = None

    def __init__(
        self,
        queue: Queue,
        config: Callable[[Queue], Config],
        open_store: Callable[[], "Store"],
        rights: Rights,
        umask: int = 0o022,
    ):
        self.queue, self.rights, self.umask, self.name = queue, rights, umask, ""
        self._config, self._actor = config, this_actor()
        self.feed = Feed(open_store)
        self.clock = SystemClock()
        self._moments: dict[int, PastMoment] = {}
        self._lock = Lock()

    @property
    def log_id(self) -> str:
        """The id of the queue's log."""
        return self.queue.store.log.log_id

    def config(self) -> Config:
        """The settings of the queue."""
        return self._config(self.queue)

    def changing(self, who: str) -> Queue:
        """The queue, to be changed in the name of the process and of the token `who`."""
        return Queue(self.queue.store, f"{self._actor} web{f':{who}' if who else ''}")

    @contextmanager
    def reading(self, as_of: str | None = None, patience: float | None = None) -> Iterator[Queue]:
        """The queue now, or as it was at a position or a time. Raises UsageError.

        With `patience` (seconds) it raises StillReadingError when the earlier moment is not read by then.
        """
        if as_of is None:
            with advising(self.queue.store):
                yield self.queue
            return
        moment = self._moment(as_of)
        moment.wait(patience)
        with moment.lock, advising(moment.queue.store):  # a folded past may be used by one thread at a time
            yield moment.queue

    def position_of(self, text: str) -> int:
        """The position at a time. Raises UsageError."""
        past = past_of(self.queue.store, text)
        past.close()
        return past.position

    def activity(self, queue: Queue, past: int | None) -> Activity:
        """The hour before the moment that `queue` shows. The caller is reading it."""
        if past is None:
            return self.feed.activity
        return self._moment(str(past)).activity(queue)

    def _moment(self, text: str) -> PastMoment:
        """The moment at a position, which is remembered, or at a time."""
        place = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
        with self._lock:
            known = None if place is None else self._moments.pop(place, None)
            if known is None or known.error is not None:
                known = PastMoment(past_of(self.queue.store, text), self._actor)
            if text == str(known.position):
                self._moments[known.position] = known
            for old in [*self._moments][:-PASTS]:
                del self._moments[old]
            return known
