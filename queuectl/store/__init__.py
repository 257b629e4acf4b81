"""Where the log and its tables are kept: one switch on the URL's scheme."""

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from queuectl.errors import StoreError, UsageError
from queuectl.store.postgres.url import is_postgres, without_password

if TYPE_CHECKING:
    from types import ModuleType

    from queuectl.runtime import Clock
    from queuectl.store.archive.archive import Keeping
    from queuectl.store.protocol import Store

__all__ = ["MEMORY", "file_of", "is_postgres", "is_there", "name_of", "open_store"]

MEMORY = ":memory:"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_ON_A_SERVER = "postgresql://USER@HOST/DATABASE"
_SHAPES = {"sqlite": "sqlite:///PATH", "postgresql": _ON_A_SERVER, "postgres": _ON_A_SERVER}


def open_store(
    url: str,
    clock: "Clock",
    busy_timeout: int = 10_000_000,
    keep: "Callable[[Mapping[str, str]], Keeping] | None" = None,
) -> "Store":
    """The store at a path, `sqlite:///path`, `:memory:`, or a postgresql:// URL.

    `busy_timeout` is microseconds; `keep` says, given what `config set` left, how to keep it. Raises StoreError.
    """
    further = [keep] if keep else []
    if is_postgres(url):
        store: Store = _postgres().PostgresStore(url, clock, busy_timeout, *further)
        return store
    from queuectl.store.sqlite.store import SqliteStore

    return SqliteStore(file_of(url), clock, busy_timeout, *further)


def is_there(url: str) -> bool:
    """Whether there is a queue already. Raises StoreError when that cannot be found out."""
    if is_postgres(url):
        return bool(_postgres().is_there(url))
    path = file_of(url)
    return path == MEMORY or os.path.exists(path)


def name_of(url: str) -> str:
    """What to call the place in messages, and in the log's meta: an absolute path, or a URL without its password."""
    return without_password(url) if is_postgres(url) else file_of(url)


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
    if (found := _SCHEME.match(url)) is None:
        return url
    scheme, slashes = found.groups()
    if slashes and scheme == "sqlite":
        return url[found.end() :].removeprefix("/") or MEMORY
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
