"""The connection of a `JobQueue`: opened when it is first needed, closed once, shared by threads."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import RLock

from queuectl.api.arguments import as_actor, as_past, as_place
from queuectl.api.options import Moment
from queuectl.application.access import QueueAccess, advise, this_actor
from queuectl.application.queue import Queue
from queuectl.application.queue_url import named, queue_place
from queuectl.application.time_travel import as_of as past_of
from queuectl.config import Config, read_dotenv
from queuectl.errors import StoreError, UsageError
from queuectl.runtime import SystemClock
from queuectl.store import file_of, is_postgres
from queuectl.store.errors import DamagedError
from queuectl.store.protocol import Store

__all__ = ["QueueConnection"]


class QueueConnection:
    """How a program reaches one queue, to read or to change it. See `open_queue` for the arguments."""

    def __init__(
        self,
        db: str | os.PathLike[str] | None,
        *,
        read_only: bool = False,
        as_of: Moment | int | None = None,
        actor: str | None = None,
    ) -> None:
        self.clock = SystemClock()
        self._access = _access(as_place(db), self.clock)
        self._read_only = read_only or as_of is not None
        self._actor = as_actor(actor)
        self._outside = self._access.config(None)
        self._lock = RLock()
        self._store: Store | None = None
        self._past: Store | None = None
        self._queue: Queue | None = None
        self._may_write = False
        self._closed = False
        if as_of is not None:
            self._past = self._at(as_of)

    @property
    def name(self) -> str:
        """The queue's path, or its URL without a password."""
        return self._access.name

    def warn(self, message: str) -> None:
        """Log a warning."""
        _warn(message)

    def config(self, queue: Queue | None) -> Config:
        """The settings for new jobs; without a queue those from outside, and the defaults."""
        return self._outside if queue is None else self._outside.over(queue.store.tables.settings)

    def is_there(self) -> bool:
        """Whether there is a queue already."""
        return self._store is not None or self._access.is_there()

    @contextmanager
    def reading(self) -> Iterator[Queue]:
        """The queue, to be read: an empty one while there is none. Raises StoreError when its database was lost."""
        self._refuse_closed()
        if self._past is not None:
            with self._lock, _advised(self._as_actor(self._past)) as queue:  # its folds are not for two threads at once
                yield queue
        elif not self.is_there():
            self._access.check_missing(required=False)
            yield from self._reading_nothing()
        else:
            with _advised(self._opened()) as queue:
                yield queue

    def _reading_nothing(self) -> Iterator[Queue]:
        store = self._access.open(empty=True)
        try:
            yield self._as_actor(store)
        finally:
            store.close()

    def writing(self, *, make: bool = True) -> AbstractContextManager[Queue]:
        """The queue, to be changed, made when there is none unless not to `make` it. Raises StoreError."""
        self._refuse_closed()
        if not self._may_write:
            self._refuse_to_write()
        if not make and not self.is_there():
            self._access.check_missing(required=True)
        return _advised(self._opened())

    def _refuse_to_write(self) -> None:
        """Raises StoreError. Asked before the first change: an owner of files does not change while they are open."""
        if self._read_only:
            raise StoreError(f"the queue {self.name} was opened to be read only: open it without read_only and as_of")
        if refusal := self._access.foreign():
            raise StoreError(refusal)
        self._may_write = True

    def _opened(self) -> Queue:
        with self._lock:
            self._refuse_closed()
            if self._queue is None:
                self._store = self._access.open()
                self._access.warn_of_move(self._store)
                self._access.warn_of_durability(self._store)
                self._queue = self._as_actor(self._store)
            return self._queue

    def _at(self, moment: Moment | int) -> Store:
        """The queue as it was then."""
        text = as_past(moment)
        if missing := not self._access.is_there():
            self._access.check_missing(required=False)
        self._store = self._access.open(empty=missing)
        try:
            return past_of(self._store, text)
        except UsageError as error:
            self.close()
            raise UsageError(f"as_of: {error}") from None
        except BaseException:
            self.close()
            raise

    def _as_actor(self, store: Store) -> Queue:
        return Queue(store, self._actor or this_actor())

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreError(f"the queue {self.name} is closed: open it again")

    def close(self) -> None:
        """Give the store back."""
        with self._lock:
            self._closed = True
            for store in (self._past, self._store):
                if store is not None:
                    store.close()
            self._store = self._past = self._queue = None


@contextmanager
def _advised(queue: Queue) -> Iterator[Queue]:
    """The queue. Errors about damage name the remedy for its kind of store."""
    try:
        yield queue
    except DamagedError as error:
        advise(error, queue.store)
        raise


def _access(db: str | None, clock: SystemClock) -> QueueAccess:
    dotenv = read_dotenv(overruled=named({"QUEUECTL_DB": db}, os.environ), warn=_warn)
    url = queue_place(db, None, os.environ, dotenv).url
    # a program may change its folder before the first call
    url = url if is_postgres(url) else file_of(url)
    return QueueAccess(url=url, clock=clock, environ=os.environ, dotenv=dotenv, warn=_warn)


def _warn(message: str) -> None:
    import logging

    logging.getLogger("queuectl").warning(message)
