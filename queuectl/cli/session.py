"""One call of the command line: which queue, in whose name, with which settings."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias

from queuectl.application.access import QueueAccess, advising, this_actor
from queuectl.application.queue import Queue
from queuectl.application.queue_url import Place, QueueUrl, named, queue_place
from queuectl.config import Config, read_dotenv
from queuectl.errors import StoreError, UsageError, set_queue_options
from queuectl.runtime import SystemClock
from queuectl.units import parse_duration, quoted

if TYPE_CHECKING:
    from queuectl.application.access import Store

__all__ = ["Missing", "Session"]

Missing: TypeAlias = Literal["warn", "refuse", "accept"]


class Session:
    """The context object of a command. It opens things only when they are needed."""

    def __init__(
        self,
        db: str | None,
        environ: Mapping[str, str],
        stdout: TextIO,
        archive_dir: str | None = None,
        *,
        context: str | None = None,
        paging: bool = True,
        named_by: Sequence[str] = (),
        must_exist: bool = False,
    ) -> None:
        self._context, self._named_by = context, named_by
        self._db, self._environ, self._stdout = db, environ, stdout
        self._color = "auto"
        self._archive_dir, self.paging = archive_dir, paging
        self._must_exist = must_exist
        self.clock = SystemClock()
        self._said: set[str] = set()

    def use(self, db: str) -> None:
        """Take the path or URL of a `--db` after the command's name. Raises UsageError when another one came before."""
        if self._db not in (None, db):
            raise UsageError(f"--db is given twice: {self._db} and {db}")
        self._db = db

    def use_context(self, name: str) -> None:
        """Take the name of a `--context` after the command's name. Raises UsageError when another one came before."""
        if self._context not in (None, name):
            raise UsageError(f"--context is given twice: {self._context} and {name}")
        self._context = name

    def use_color(self, when: str) -> None:
        """Colour stdout `auto`, `always` or `never`. Raises UsageError for another word."""
        if when not in ("auto", "always", "never"):
            raise UsageError(f"--color: {quoted(when)} is not auto, always or never")
        self._color = when

    def require_queue(self) -> None:
        """Let every command fail when there is no queue, also those that would make one or show an empty one."""
        self._must_exist = True

    def print_at_once(self) -> None:
        """Use no pager."""
        self.paging = False

    def advise(self) -> None:
        """Let advised commands name the queue as the flags did. A password is not repeated."""
        if self._db is not None:
            set_queue_options(*([] if QueueUrl(self._db).has_password else ["--db", self._db]))
        else:
            set_queue_options(*(self._named_by if self._context is None else ["--context", self._context]))

    @cached_property
    def _dotenv(self) -> dict[str, str]:
        flags = {
            "QUEUECTL_DB": self._db,
            "QUEUECTL_CONTEXT": self._context,
            "QUEUECTL_ARCHIVE_DIR": self._archive_dir,
        }
        return read_dotenv(overruled=named(flags, self._environ), warn=self.warn)

    @cached_property
    def found(self) -> Place:
        """The queue that is meant, and where it was named. Raises UsageError for a context that cannot be used."""
        return queue_place(self._db, self._context, self._environ, self._dotenv)

    @cached_property
    def url(self) -> QueueUrl:
        """The queue's path or URL. Raises UsageError for a password on the command line."""
        url = QueueUrl(self.found.url)
        if self.found.origin == "flag" and self.found.context is None and url.has_password:
            why = "a password on the command line can be seen by everyone on this machine"
            raise UsageError(f"{why}: put the URL into QUEUECTL_DB or .env, or the password into ~/.pgpass")
        return url

    def variable(self, name: str) -> str | None:
        """The value of a variable in the environment, else in `.env`; None when it is not set, or empty."""
        return self._environ.get(name) or self._dotenv.get(name) or None

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

    @property
    def place(self) -> str:
        """The queue's path, or its URL without a password, and where it was named."""
        context = self.found.context
        return f"{self.url.name} ({self.found.origin if context is None else f'context {context}'})"

    @cached_property
    def access(self) -> QueueAccess:
        """How the queue is opened."""
        return QueueAccess(
            url=self.url.text,
            clock=self.clock,
            environ=self._environ,
            dotenv=self._dotenv,
            warn=self.warn,
            archive_dir=self._archive_dir,
        )

    def config(self, queue: Queue | None, flags: Mapping[str, str | None] | None = None) -> Config:
        """The settings for this call; without a queue, those that `config set` did not store."""
        return self.access.config(queue.store if queue else None, flags)

    def warn(self, what: str) -> None:
        """Print a warning, once."""
        if what not in self._said:
            self._said.add(what)
            from queuectl.cli.messages import say

            say(f"queuectl: {what}")

    def place_for_others(self) -> list[str]:
        """The arguments that name this queue to another call of queuectl.

        A URL may hold a password, so it goes into the environment of the processes that we start from now on.
        """
        if self.url.is_on_server:
            os.environ["QUEUECTL_DB"] = self.url.text
        db = [] if self.url.is_on_server else ["--db", self.url.text]
        return [*db, *(["--archive-dir", self._archive_dir] if self._archive_dir else [])]

    @cached_property
    def missing(self) -> bool:
        """Whether there was no queue when this was first asked. Asking a server takes a connection."""
        return not self.access.is_there()

    @cached_property
    def foreign(self) -> str | None:
        """Why the queue is read-only, when it belongs to another user."""
        return self.access.foreign()

    @contextmanager
    def open(self, busy_timeout: int | None = None, *, announced: bool = True) -> Iterator[Queue]:
        """The queue, which is made if there is none. `busy_timeout` (microseconds) overrules the setting.

        A new one is announced at once, or, if not `announced`, only when the caller's work has succeeded.
        Raises StoreError if it belongs to another user, or with `--must-exist` if there is none; then nothing is made.
        """
        if self.foreign:
            raise StoreError(self.foreign)
        if self._must_exist and self.missing:
            self.access.check_missing(required=True)
        made = not self.url.is_on_server and self.missing and not self.url.is_in_memory
        with self._store(busy_timeout=busy_timeout) as store:
            if made and announced:
                self._say_made()
            self.access.warn_of_durability(store)
            yield Queue(store, self.actor)
            if made and not announced:
                self._say_made()

    def _say_made(self) -> None:
        from queuectl.cli.messages import say

        self.missing = False
        say(f"made a new queue at {self.url.name}")

    @contextmanager
    def open_existing(self) -> Iterator[Queue]:
        """The queue, to be changed. Raises StoreError if there is none."""
        if self.missing:
            self.access.check_missing(required=True)
        with self.open() as queue:
            yield queue

    @contextmanager
    def open_to_follow(self) -> Iterator[Queue]:
        """The queue, to be followed: its log may have to be synced. Another user's queue is only read."""
        with self.open_read_only(missing="refuse") if self.foreign else self.open_existing() as queue:
            yield queue

    @contextmanager
    def open_read_only(self, as_of: str | None = None, *, missing: Missing = "warn") -> Iterator[Queue]:
        """The queue, for a command that only reads. When there is none it is empty.

        `as_of` is a position or a time: the queue as it was then. Raises UsageError when it is neither.
        `missing` says what to do when there is no queue: `warn` on stderr, `refuse` (StoreError), or `accept`.
        """
        if self.missing:
            self.access.check_missing(required=self._must_exist or missing == "refuse")
        if self.missing and missing == "warn":
            self.warn(f"there is no queue at {self.url.name}")
        with self._store(empty=self.missing) as store:
            self.access.warn_of_move(store)
            yield Queue(store if as_of is None else _past(store, as_of, self.warn), self.actor)

    @property
    def missing_but_not_lost(self) -> bool:
        """Whether there never was a queue here. Raises StoreError when its database was lost.

        With `--must-exist` it also raises StoreError when there never was one.
        """
        if self.missing:
            self.access.check_missing(required=self._must_exist)
        return self.missing

    @contextmanager
    def _store(self, *, empty: bool = False, busy_timeout: int | None = None) -> Iterator["Store"]:
        store = self.access.open(empty=empty, busy_timeout=busy_timeout)
        try:
            with advising(store):
                yield store
        finally:
            store.close()

    def deadline(self, timeout: str | None) -> int | None:
        """The moment at which a `--timeout` is over, on the monotonic clock; None without one. Raises UsageError."""
        try:
            return None if timeout is None else self.clock.monotonic() + parse_duration(timeout)
        except ValueError as error:
            raise UsageError(f"--timeout: {error}") from None

    @property
    def actor(self) -> str:
        """The author of changes: `user@host:pid`."""
        return this_actor()


def _past(store: "Store", as_of: str, warn: Callable[[str], None]) -> "Store":
    from queuectl.application import time_travel

    past = time_travel.as_of(store, as_of)
    if early := time_travel.before_the_log(store, past):
        warn(early)
    return past
