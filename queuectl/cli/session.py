"""One call of the command line: which queue, whose name, which settings. Everything is opened when first needed."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TextIO

from queuectl.application.queue import Queue
from queuectl.config import Config, archive_dir, database_url, home, read_dotenv
from queuectl.errors import StoreError, UsageError
from queuectl.runtime import SystemClock
from queuectl.store import MEMORY, file_of, is_postgres, is_there, name_of, open_store
from queuectl.store.archive.archive import Keeping
from queuectl.store.archive.segments import lost
from queuectl.store.postgres.url import has_password
from queuectl.store.protocol import DamagedError, Store, advised
from queuectl.store.sqlite.ownership import foreign
from queuectl.units import parse_duration

__all__ = ["Session"]


class Session:
    """What a command gets as its context object."""

    def __init__(
        self, db: str | None, color: str, environ: Mapping[str, str], stdout: TextIO, archive_dir: str | None = None
    ) -> None:
        self._db, self._color, self._environ, self._stdout = db, color, environ, stdout
        self._archive_dir = archive_dir
        self.clock = SystemClock()
        self._said: set[str] = set()

    @cached_property
    def _dotenv(self) -> dict[str, str]:
        flags = {"QUEUECTL_DB": self._db, "QUEUECTL_ARCHIVE_DIR": self._archive_dir}
        return read_dotenv(overruled=[name for each in (flags, self._environ) for name, value in each.items() if value])

    @cached_property
    def url(self) -> str:
        """The queue's path or URL."""
        url, origin = database_url(self._db, self._environ, self._dotenv)
        if origin == "flag" and has_password(url):
            why = "a password on the command line can be seen by everyone on this machine"
            raise UsageError(f"{why}: put the URL into QUEUECTL_DB or .env, or the password into ~/.pgpass")
        return url

    @property
    def color(self) -> bool:
        """Whether to colour what goes to stdout."""
        from queuectl.render.terminal import color_enabled

        return color_enabled(self._color, self._stdout, self._environ)  # type: ignore[arg-type]

    @property
    def width(self) -> int | None:
        """How wide a table may be on stdout; None when that is no terminal."""
        from queuectl.render.terminal import terminal_width

        return terminal_width(self._stdout)

    def config(self, store: Store | None, flags: Mapping[str, str | None] | None = None) -> Config:
        """The settings as this call sees them."""
        stored = store.tables.settings if store else dict
        return Config(flags or {}, self._environ, self._dotenv, stored, self._complain)

    def _complain(self, what: str) -> None:
        """Say it once."""
        if what not in self._said:
            self._said.add(what)
            print(f"queuectl: {what}", file=sys.stderr)

    def place_for_others(self) -> list[str]:
        """The arguments by which another call of the command line means the same queue.

        A URL, which may tell a password, goes by the environment of the processes that we start from now on.
        """
        if is_postgres(self.url):
            os.environ["QUEUECTL_DB"] = self.url
        db = [] if is_postgres(self.url) else ["--db", self.url]
        return [*db, *(["--archive-dir", self._archive_dir] if self._archive_dir else [])]

    @cached_property
    def missing(self) -> bool:
        """Whether there was no queue yet when this was first asked: on a server the answer costs a connection."""
        return not is_there(self.url)

    @cached_property
    def foreign(self) -> str | None:
        """Why the queue is only read, when it is another user's."""
        return None if is_postgres(self.url) else foreign(file_of(self.url))

    @contextmanager
    def queue(self, busy_timeout: int | None = None) -> Iterator[Queue]:
        """The queue, made when it is not there yet. `busy_timeout` (microseconds) overrules the setting.

        Raises StoreError, before anything is made for it, when it is another user's.
        """
        if self.foreign:
            raise StoreError(self.foreign)
        with self._open(self.url, busy_timeout) as store:
            if self.keeping(_settings(store)).durability == "fast" and not store.location.spans_hosts:
                self._complain("durability is fast: a power cut may lose the last changes")
            yield Queue(store, self.actor)

    @contextmanager
    def reading(self, as_of: str | None = None) -> Iterator[Queue]:
        """The queue for a command that only reads: one that is not there is empty, and is not made for it.

        `as_of` is a position or a time: the queue as it stood then. Raises UsageError when it is neither.
        """
        missing = self.missing
        if missing and not is_postgres(self.url) and (error := lost(file_of(self.url))):
            raise error
        with self._open(MEMORY if missing else self.url) as store:
            if place := store.location.moved_to:
                print(f"queuectl: this queue has moved to {place}: it is shown as it was then", file=sys.stderr)
            yield Queue(store if as_of is None else _past(store, as_of), self.actor)

    @contextmanager
    def there(self, *, changed: bool = False) -> Iterator[Queue]:
        """The queue for a command that has nothing to do without one, or vouches for it: an empty one would be a lie.

        Raises StoreError when there is none.
        """
        with self.queue() if changed and not self.missing else self.reading() as queue:
            if self.missing:
                raise StoreError(f"there is no queue at {name_of(self.url)}")
            yield queue

    @contextmanager
    def existing(self) -> Iterator[Queue]:
        """The queue for a command that changes what is in it: one that is not there is empty, and not made for it."""
        with self.reading() if self.missing else self.queue() as queue:
            yield queue

    @contextmanager
    def _open(self, url: str, busy_timeout: int | None = None) -> Iterator[Store]:
        patience = self.config(None)["busy-timeout"] if busy_timeout is None else busy_timeout
        store = open_store(url, self.clock, patience, self.keeping)
        try:
            yield store
        except DamagedError as error:
            error.mend = advised(error.mend, store.location.spans_hosts)
            raise
        finally:
            store.close()

    def keeping(self, stored: Mapping[str, str]) -> Keeping:
        """How the queue is kept, given what `config set` left."""
        config = Config({}, self._environ, self._dotenv, lambda: stored, self._complain)
        folder = archive_dir(self._archive_dir, self._environ, self._dotenv)
        return Keeping(config["durability"], folder and os.path.abspath(folder), home=home(self._environ, self._dotenv))

    def deadline(self, timeout: str | None) -> int | None:
        """The moment at which a `--timeout` is over, on the monotonic clock; None without one. Raises UsageError."""
        try:
            return None if timeout is None else self.clock.monotonic() + parse_duration(timeout)
        except ValueError as error:
            raise UsageError(f"--timeout: {error}") from None

    @property
    def actor(self) -> str:
        """Who makes the change: `user@host:pid`."""
        import pwd

        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
        return f"{user}@{os.uname().nodename}:{os.getpid()}"


def _settings(store: Store) -> Mapping[str, str]:
    """What `config set` left; nothing when the table is wrecked, so that `rebuild` can mend it."""
    try:
        return store.tables.settings()
    except StoreError:
        return {}


def _past(store: Store, as_of: str) -> Store:
    from queuectl.store import past

    return past.as_of(store, as_of)
