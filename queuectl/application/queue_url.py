"""The path or URL of a queue: what it names, how messages show it, and which one a call means."""

import os
from collections.abc import Mapping

from msgspec import Struct

from queuectl.config import DEFAULT, DEFAULT_DATABASE
from queuectl.store import MEMORY, file_of, is_postgres, name_of

__all__ = ["Place", "QueueUrl", "contexts_file", "named", "queue_place"]

DB, CONTEXT = "QUEUECTL_DB", "QUEUECTL_CONTEXT"
USED = "context use"
"""The origin of a queue whose context `context use` stored."""


class QueueUrl(Struct, frozen=True):
    """A path, `sqlite:///PATH`, `:memory:` or a postgresql:// URL, as it was given."""

    text: str

    @property
    def name(self) -> str:
        """How messages call the queue: its absolute path, or its URL without the password."""
        return name_of(self.text)

    @property
    def file(self) -> str:
        """The absolute path of the database. Raises StoreError for a queue on a server."""
        return file_of(self.text)

    @property
    def is_on_server(self) -> bool:
        """Whether the queue is on a PostgreSQL server."""
        return is_postgres(self.text)

    @property
    def is_in_memory(self) -> bool:
        """Whether the queue ends with this process."""
        return self.name == MEMORY

    @property
    def has_password(self) -> bool:
        """Whether the URL contains a password."""
        if not self.is_on_server:
            return False
        from queuectl.store.postgres.url import has_password

        return has_password(self.text)


class Place(Struct, frozen=True):
    """A queue's path or URL, where it was named, and the name of its context if it has one.

    `origin` is `flag`, `environment`, `.env`, `context use` or `default`.
    """

    url: str
    origin: str
    context: str | None = None


def queue_place(db: str | None, context: str | None, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Place:
    """The queue that a call means. `db` and `context` are what its flags say.

    Raises UsageError for a context that there is not, and for a file of contexts that cannot be read.
    """
    flags = {DB: db, CONTEXT: context}
    for given, origin in ((flags, "flag"), (environ, "environment"), (dotenv, ".env")):
        url, name = given.get(DB), given.get(CONTEXT)
        if url or (url is not None and origin == "flag"):
            return Place(url, origin)
        if name:
            return _of_context(name, origin, environ)
    # Without a file of contexts, no further module is loaded.
    return _of_context(None, USED, environ) if os.path.exists(contexts_file(environ)) else _DEFAULT


_DEFAULT = Place(DEFAULT_DATABASE, DEFAULT)


def _of_context(name: str | None, origin: str, environ: Mapping[str, str]) -> Place:
    """The queue of this context, or of the used one; the default when none is used."""
    from queuectl.application.contexts import read_contexts

    found = read_contexts(contexts_file(environ))
    wanted = found.used if name is None else name
    return _DEFAULT if wanted is None else Place(found.place(wanted), origin, wanted)


def contexts_file(environ: Mapping[str, str]) -> str:
    """The path of the user's file of contexts, which need not be there."""
    folder = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        folder = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(folder, "queuectl", "config.toml")


def named(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> list[str]:
    """The variables that flags or the environment set. One that names the queue overrules both of `.env`."""
    given = [name for each in (flags, environ) for name, value in each.items() if value]
    return [*given, DB, CONTEXT] if DB in given or CONTEXT in given else given
