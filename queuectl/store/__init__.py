"""Where the log and its tables are kept: one switch on the URL's scheme."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from queuectl.errors import StoreError
from queuectl.store.postgres_url import is_postgres

if TYPE_CHECKING:
    from queuectl.runtime import Clock
    from queuectl.store.archive import Keeping
    from queuectl.store.base import EventStore
    from queuectl.store.postgres import PostgresStore

__all__ = ["MEMORY", "file_of", "open_store"]

MEMORY = ":memory:"


def open_store(
    url: str,
    clock: "Clock",
    busy_timeout: int = 10_000_000,
    keep: "Callable[[Mapping[str, str]], Keeping] | None" = None,
) -> "EventStore":
    """The store at a path, `sqlite:///path`, `:memory:`, or a postgresql:// URL.

    `busy_timeout` is microseconds; `keep` says, given what `config set` left, how to keep it. Raises StoreError.
    """
    if is_postgres(url):
        return _postgres()(url, clock, busy_timeout, *([keep] if keep else []))
    path = file_of(url)
    from queuectl.store.sqlite import SqliteStore

    return SqliteStore(path, clock, busy_timeout, *([keep] if keep else []))


def _postgres() -> "type[PostgresStore]":
    try:
        from queuectl.store.postgres import PostgresStore
    except ImportError as error:
        raise StoreError(f"PostgreSQL needs psycopg ({error}): pip install 'queuectl[postgres]'") from error
    return PostgresStore


def file_of(url: str) -> str:
    """The absolute path of the file that a path or `sqlite:///path` means, or `:memory:`. Raises StoreError."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "sqlite":
        raise StoreError(f"no store for {scheme}:// in this version: use a path, or sqlite:///PATH")
    path = rest.removeprefix("/") or MEMORY if separator else url
    return path if path == MEMORY else os.path.abspath(path)
