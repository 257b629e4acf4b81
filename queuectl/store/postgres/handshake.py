"""Checks every new connection to a server: is the server safe, and is the schema ours? Creates the schema if needed."""

import os

from queuectl.errors import StoreError
from queuectl.store.meta import check_format, new_meta
from queuectl.store.postgres.connection import Link
from queuectl.store.postgres.schema import schema_sql

__all__ = ["as_text", "greet"]

OLDEST = 130_000
# Queried from the catalog itself: the server's cache of names may date from before the transaction's lock was taken.
_CHECK = """
SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('server_encoding'),
       CAST(current_setting('server_version_num') AS integer),
       EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = '{schema}' AND tablename = 'meta')
"""
_ROOM = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = '{schema}')"
# With the schema's name: the search path silently skips a schema that the role may not use.
_META = "SELECT key, value FROM {schema}.meta WHERE key IN ('log_id', 'format')"


def greet(link: Link, known_log: str | None) -> None:
    """Refuse a server that could lose commits, create a missing schema, and refuse a log other than `known_log`."""
    [[(fsync, synchronous_commit, encoding, version, made)]] = link.script(_CHECK.format(schema=link.schema))
    for name, value in (("fsync", fsync), ("synchronous_commit", synchronous_commit)):
        if value == "off":
            what = f"its {name} is off, so it may lose what it has confirmed: set it to on"
            raise StoreError(f"{link.shown} is not safe: {what}")
    if encoding != "UTF8":
        raise StoreError(f"{link.shown} keeps {encoding}: use a database with the encoding UTF8")
    if version < OLDEST:
        raise StoreError(f"{link.shown} is older than PostgreSQL 13: upgrade it")
    if not made:
        _make(link)
    _refuse_another(link, known_log)


def _make(link: Link) -> None:
    """Create the schema under the log's lock: other processes wait, and then find it."""
    with link.locked():
        if link.script(_CHECK.format(schema=link.schema))[0][0][4]:
            return
        if not link.script(_ROOM.format(schema=link.schema))[0][0][0]:
            link.script(f"CREATE SCHEMA {link.schema}")
        link.script(schema_sql(link.schema))
        meta = {**new_meta(), "writes": 0, "notified_at": 0, "place": os.urandom(8).hex()}
        link.many("INSERT INTO meta VALUES (?, ?)", [(key, as_text(value)) for key, value in meta.items()])


def _refuse_another(link: Link, known_log: str | None) -> None:
    found: dict[str, str] = dict(link.script(_META.format(schema=link.schema))[0])
    if known_log is not None and found.get("log_id") != known_log:
        raise StoreError(f"{link.shown} contains another log than before: restart this process")
    check_format(int(found.get("format") or 0), link.shown)


def as_text(value: object) -> str | None:
    """A value as the table `meta` stores it."""
    return value.hex() if isinstance(value, bytes) else None if value is None else str(value)
