"""The store: an append-only log and the tables derived from it, in a SQLite file or on a PostgreSQL server."""

import os
import re
from typing import TYPE_CHECKING

from queuectl.errors import StoreError, UsageError
from queuectl.store.options import StoreOptions, is_postgres

if TYPE_CHECKING:
    from types import ModuleType

    from queuectl.runtime import Clock
    from queuectl.store.protocol import Log, Store

__all__ = ["MEMORY", "StoreOptions", "file_of", "is_postgres", "is_there", "name_of", "open_store"]

MEMORY = ":memory:"

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*):(//)?"
_ON_A_SERVER = "postgresql://USER@HOST/DATABASE"
_SHAPES = {"sqlite": "sqlite:///PATH", "postgresql": _ON_A_SERVER, "postgres": _ON_A_SERVER}


def open_store(url: str, clock: "Clock", options: StoreOptions = StoreOptions()) -> "Store":  # noqa: B008 (frozen)
    """The store at a path, `sqlite:///path`, `:memory:`, or a postgresql:// URL; creates it if there is none.

    Raises StoreError, and UsageError for a URL that is not understood.
    """
    if is_postgres(url):
        store: Store = _postgres().open_postgres(url, clock, options, _copy_to_file)
        return store
    from queuectl.store.sqlite.store import open_sqlite

    return open_sqlite(file_of(url), clock, options)


def _copy_to_file(log: "Log", path: str) -> None:
    from queuectl.store.sqlite.store import copy_log

    copy_log(log, os.path.abspath(path))


def is_there(url: str) -> bool:
    """Whether there is a queue at a path or URL. Raises StoreError when that cannot be determined."""
    if is_postgres(url):
        return bool(_postgres().is_there(url))
    path = file_of(url)
    return path == MEMORY or os.path.exists(path)


def name_of(url: str) -> str:
    """The queue's name in messages and in the log's meta: an absolute path, or a URL without its password."""
    if not is_postgres(url):
        return file_of(url)
    from queuectl.store.postgres.url import without_password

    return without_password(url)


def file_of(url: str) -> str:
    """The absolute path of the file that a path or `sqlite:///path` means, or `:memory:`.

    Links are followed: archive and output are named after the database, so two names would make two queues.
    Raises StoreError for a queue on a server, UsageError for what looks like a URL and is none of ours.
    """
    if is_postgres(url):
        raise StoreError("this is for queues in a file: use a path, or sqlite:///PATH")
    path = _path_of(url)
    return path if path == MEMORY else os.path.realpath(path)


def _path_of(url: str) -> str:
    if ":" not in url or (found := re.match(_SCHEME, url)) is None:
        return url
    scheme, slashes = found.groups()
    if slashes and scheme == "sqlite":
        return url[found.end() :].removeprefix("/") or MEMORY
    if slashes and scheme == "ssh":
        raise UsageError("ssh:// is for the command line: give it with --db or in QUEUECTL_DB")
    if slashes:
        raise UsageError(f"no store for {scheme}://: use a path, sqlite:///PATH, or {_ON_A_SERVER}")
    if scheme == "file":
        raise UsageError(
            f"file: is not part of a path: write {url[found.end() :] or 'PATH'} (for a file of that name: ./{url})"
        )
    if scheme in _SHAPES:
        raise UsageError(
            f"{scheme}: lacks its slashes: write {_SHAPES[scheme]} (for a file of that name: ./{scheme}:…)"
        )
    return url


def _postgres() -> "ModuleType":
    try:
        from queuectl.store.postgres import store as postgres
    except ImportError as error:
        raise StoreError(f"PostgreSQL needs psycopg ({error}): pip install 'psycopg[binary]'") from error
    return postgres
