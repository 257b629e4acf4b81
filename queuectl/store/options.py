"""How to open a store: what the command line or a program asks for."""

from collections.abc import Callable

from msgspec import Struct

__all__ = ["SERVER_SCHEMES", "StoreOptions", "is_postgres"]

SERVER_SCHEMES = ("postgresql://", "postgres://")
"""The beginnings of URLs of queues on a PostgreSQL server."""


def is_postgres(url: str) -> bool:
    """Whether a path or URL is a PostgreSQL URL."""
    return url.startswith(SERVER_SCHEMES)


def _ignore(message: str) -> None:
    """Print nothing: only a program knows where its warnings go."""


class StoreOptions(Struct, frozen=True):
    """`busy_timeout` is microseconds to wait for another process's lock.

    `durability` is `safe`, `paranoid` or `fast`; None leaves it to the queue's own settings (`config set`).
    `archived` says whether the log is copied to an archive, `archive_dir` where a new archive goes (None: next to the
    database). `home` is the folder for the output files and the archive of a queue on a server (None: see
    `default_home`). `warn` receives one line when a change could not be archived or the log was restored from the
    archive. With `read_only` the database refuses every change.
    """

    busy_timeout: int = 10_000_000
    durability: str | None = None
    archived: bool = True
    archive_dir: str | None = None
    home: str | None = None
    warn: Callable[[str], None] = _ignore
    read_only: bool = False
