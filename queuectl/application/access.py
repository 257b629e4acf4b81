"""Opens a queue according to its settings, and says whether it exists and may be changed."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from queuectl.config import DEFAULT, Config, archive_dir, home
from queuectl.errors import StoreError
from queuectl.runtime import Clock
from queuectl.store import MEMORY, StoreOptions, file_of, is_postgres, is_there, name_of, open_store
from queuectl.store.archive.segments import lost
from queuectl.store.errors import DamagedError
from queuectl.store.meta import check_place
from queuectl.store.sqlite.ownership import foreign, nearest_folder, unreadable, user_name

if TYPE_CHECKING:
    from queuectl.store.protocol import Store as Store  # noqa: PLC0414 (cli/ and web/ may not import store/)
    from queuectl.store.ranges import Shares

__all__ = ["QueueAccess", "advise", "advising", "check_not_moved", "owner_of", "this_actor"]


class QueueAccess(Struct, frozen=True, kw_only=True):
    """A queue's path or URL, and the settings that it is opened with. `archive_dir` is the caller's choice, if any.

    `warn` is called with each message about a setting that cannot be followed, or about the archive.
    """

    url: str
    clock: Clock
    environ: Mapping[str, str]
    dotenv: Mapping[str, str]
    warn: Callable[[str], None]
    archive_dir: str | None = None

    @property
    def name(self) -> str:
        """The queue's path, or its URL without a password."""
        return name_of(self.url)

    def config(self, store: "Store | None", flags: Mapping[str, str | None] | None = None) -> Config:
        """The settings: the flags, the environment, `.env`, and what `config set` left in the store."""
        stored = store.tables.settings if store else dict
        return Config(flags or {}, self.environ, self.dotenv, stored, self.warn)

    def store_options(self, busy_timeout: int | None = None) -> StoreOptions:
        """How to open a store, as the environment and `.env` say. `busy_timeout` (microseconds) overrules them."""
        config, folder = self.config(None), archive_dir(self.archive_dir, self.environ, self.dotenv)
        durability = config.value("durability")
        return StoreOptions(
            busy_timeout=config["busy-timeout"] if busy_timeout is None else busy_timeout,
            durability=None if durability.origin == DEFAULT else durability.value,
            archive_dir=folder and os.path.abspath(folder),
            home=home(self.environ, self.dotenv),
            warn=self.warn,
        )

    def is_there(self) -> bool:
        """Whether the queue exists. For a server this takes a connection."""
        return is_there(self.url)

    def foreign(self) -> str | None:
        """Why the queue is read-only for this user; None if it is not."""
        return None if is_postgres(self.url) else foreign(file_of(self.url))

    def check_missing(self, *, required: bool) -> None:
        """For a queue that does not exist: raises StoreError if its database was lost, or if it is `required`."""
        if not is_postgres(self.url):
            if why := unreadable(file_of(self.url)):
                raise StoreError(why)
            if error := lost(file_of(self.url)):
                raise error
        if required:
            raise StoreError(f"there is no queue at {self.name}")

    def output_folders(self) -> list[str]:
        """The folders that may have the queue's output, found without opening it: for a server, those of all queues."""
        if not is_postgres(self.url):
            return [f"{file_of(self.url)}.output"]
        from glob import escape, glob

        from queuectl.store.postgres.store import default_home

        return glob(os.path.join(escape(home(self.environ, self.dotenv) or default_home()), "*.output"))

    def open(self, *, empty: bool = False, busy_timeout: int | None = None) -> "Store":
        """The store, which is made if it does not exist; with `empty`, an empty one in memory instead.

        `busy_timeout` (microseconds) overrules the setting. Raises StoreError.
        """
        return open_store(MEMORY if empty else self.url, self.clock, self.store_options(busy_timeout))

    def peek(self, busy_timeout: int) -> "Store":
        """The store, only to be read: no file is made, and it is not compared with its archive. Raises StoreError.

        `busy_timeout` is microseconds.
        """
        options = StoreOptions(busy_timeout=busy_timeout, archived=False, read_only=True)
        return open_store(self.url, self.clock, options)

    def open_other(self, url: str, *, archived: bool = True) -> "Store":
        """Another store, which a log is copied to or checked in. Raises StoreError."""
        return open_store(url, self.clock, self.store_options() if archived else StoreOptions(archived=False))

    def shares(self, processes: int | None) -> "Shares":
        """How many processes read a long log: `processes`, or one for each core that this one may use."""
        from queuectl.parallel import cores
        from queuectl.store.ranges import Shares

        return Shares(self.url, self.config(None)["busy-timeout"], processes or cores())

    def warn_of_durability(self, store: "Store") -> None:
        """Warn when a power cut may lose changes that were acknowledged."""
        if store.writer.durability == "fast":
            self.warn("durability is fast: a power cut may lose the last changes")

    def warn_of_move(self, store: "Store") -> None:
        """Warn when the queue has moved to another store."""
        if place := store.location.moved_to:
            self.warn(f"this queue has moved to {place}: you see it as it was then")


def advise(error: DamagedError, store: "Store") -> None:
    """Let an error about damage name the remedy for this kind of store."""
    error.remedy = store.location.remedies.advised(error.remedy)


@contextmanager
def advising(store: "Store") -> Iterator[None]:
    """Let errors about damage name their remedy: see `advise`."""
    try:
        yield
    except DamagedError as error:
        advise(error, store)
        raise


def check_not_moved(store: "Store", name: str) -> None:
    """Raises StoreError, which names the new place, when the queue called `name` was migrated away."""
    check_place(store.location.moved_to, name)


def owner_of(path: str) -> str:
    """The name of the user who owns the queue at `path`.

    A new queue is the caller's; for root, that of the owner of its folder.
    """
    if os.path.exists(path):
        return user_name(os.stat(path).st_uid)
    return user_name(os.geteuid() or os.stat(nearest_folder(path)).st_uid)


def this_actor() -> str:
    """The author of changes made by this process: `user@host:pid`."""
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename}:{os.getpid()}"
