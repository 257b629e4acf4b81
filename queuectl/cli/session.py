"""One call of the command line: which queue, whose name, which settings. Everything is opened when first needed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TextIO

from queuectl.application import Queue
from queuectl.config import Config, database_url, read_dotenv
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.base import EventStore

__all__ = ["Session"]


class Session:
    """What a command gets as its context object."""

    def __init__(self, db: str | None, color: str, environ: Mapping[str, str], stdout: TextIO) -> None:
        self._db, self._color, self._environ, self._stdout = db, color, environ, stdout
        self.clock = SystemClock()

    @cached_property
    def _dotenv(self) -> dict[str, str]:
        return read_dotenv()

    @cached_property
    def url(self) -> str:
        """The queue's path or URL."""
        return database_url(self._db, self._environ, self._dotenv)[0]

    @property
    def color(self) -> bool:
        """Whether to colour what goes to stdout."""
        from queuectl.render import color_enabled

        return color_enabled(self._color, self._stdout, self._environ)  # type: ignore[arg-type]

    def config(self, store: EventStore | None, flags: Mapping[str, str | None] | None = None) -> Config:
        """The settings as this call sees them."""
        return Config(flags or {}, self._environ, self._dotenv, store.settings if store else dict)

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """The queue, made when it is not there yet."""
        with self._open(self.url) as store:
            yield Queue(store, self.actor)

    @contextmanager
    def reading(self) -> Iterator[Queue]:
        """The queue for a command that only reads: one that is not there is empty, and is not made for it."""
        missing = "://" not in self.url and not os.path.exists(self.url)
        with self._open(":memory:" if missing else self.url) as store:
            yield Queue(store, self.actor)

    @contextmanager
    def _open(self, url: str) -> Iterator[EventStore]:
        store = open_store(url, self.clock, self.config(None)["busy-timeout"])
        try:
            yield store
        finally:
            store.close()

    @property
    def actor(self) -> str:
        """Who makes the change: `user@host:pid`."""
        import pwd

        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
        return f"{user}@{os.uname().nodename}:{os.getpid()}"
