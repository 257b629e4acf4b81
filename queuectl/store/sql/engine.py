"""The database engine under a store: runs statements, begins transactions, commits them and rolls them back.

Everything else of a store is written once, for any engine. SQLite and PostgreSQL implement this protocol.
"""

from _thread import RLock
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from queuectl.store.rows import Head

__all__ = ["POSTGRES", "SET_META", "SQLITE", "Dialect", "Engine", "LockedLog"]


class LockedLog(Struct, frozen=True):
    """The log as found when its lock was taken.

    `last` is the position, digest and time of the last event (None: no event); the others are rows of `meta`.
    `reactive` is 0 while no job waits for another: then only failures in batches can have consequences.
    """

    last: Sequence[Any] | None
    format: object
    moved_to: object
    projection_version: object
    reactive: object


class Engine(Protocol):
    """One connection to one database. Every method raises StoreError, StoreBusyError if waiting may help.

    `path` names the store in messages. `threads` is held through each statement, and through a transaction together
    with its copy to the archive, so that threads take turns.
    """

    path: str
    dialect: "Dialect"
    threads: RLock

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows. Raises NoTextError for bytes that are not text."""

    def insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row, now or together with the next `run` or `commit`.

        Whichever runs it raises VersionConflictError when a key is taken.
        """

    def insert_new(self, sql: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Insert rows; False when the key of any is taken. The others may have been inserted then."""

    def begin(self, durable: bool) -> LockedLog:
        """Begin a transaction that holds the log's lock. A commit waits for the disk if `durable`."""

    def commit(self, before: Head, after: Head, wakes: bool, meanwhile: Callable[[], None] | None = None) -> None:
        """Commit, and wake idle workers if the change `wakes` them. `before` and `after` are the log's ends.

        `meanwhile` may be called, again and again, while this waits for the disk. It must not use the store.
        """

    def roll_back(self) -> None:
        """Undo the open transaction. Does nothing when there is none."""

    def meta(self) -> dict[str, Any]:
        """The rows of `meta`: the log's id and base, and the versions of its form."""

    def set_meta(self, key: str, value: object) -> None:
        """Change a row of `meta`."""

    def last_on_disk(self) -> int | None:
        """The last position known to be on disk; None when no event is."""

    def sync(self) -> bool:
        """Sync everything that is committed. False: only events up to `last_on_disk` are known to be on disk."""

    def changed(self) -> bool:
        """Whether another process has written since the last call."""

    def close(self) -> None:
        """Close the connection. A second call does nothing."""


SET_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
"""Writes a row of `meta`: its key and value."""


class Dialect(Struct, frozen=True):
    """The few fragments of SQL in which the engines differ; `{}` stands for an operand.

    All other statements run on both. Placeholders are `?`, or `?1` and `?2` when one is used twice.
    """

    bytes_of: str
    """A text as its bytes."""
    text_of: str
    """Bytes as text."""
    queue_of: str
    """The queue that an event's data names; not a text when the data is no JSON or names no queue."""
    tagged: str
    """Whether a job has a tag; the parameters are the tag's key and value."""
    fields_of: str
    """The fields of a JSON object of texts as rows with the columns `key` and `value`."""
    texts_of: str
    """Selects the texts of a JSON array."""
    keep_alive: str | None
    """Exempts the open transaction from the server's limit on idle transactions; None when there is no such limit."""


SQLITE = Dialect(
    bytes_of="CAST({} AS BLOB)",
    text_of="CAST({} AS TEXT)",
    queue_of="CASE WHEN json_valid({0}) THEN json_extract({0}, '$.queue') END",
    tagged="EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.key = ? AND tag.value = ?)",
    fields_of="json_each({})",
    texts_of="SELECT value FROM json_each({})",
    keep_alive=None,
)

POSTGRES = Dialect(
    bytes_of="convert_to({}, 'UTF8')",
    text_of="convert_from({}, 'UTF8')",
    queue_of=(
        "CASE WHEN field({0}, 'queue') IS NOT NULL THEN"  # this implies that the data is JSON
        " CASE json_typeof(CAST({0} AS json) -> 'queue') WHEN 'string' THEN field({0}, 'queue') END END"
    ),
    tagged="field(tags, ?) = ?",
    fields_of="json_each_text(CAST({} AS json))",
    texts_of="SELECT json_array_elements_text(CAST({} AS json))",
    keep_alive="SET LOCAL idle_in_transaction_session_timeout = 0",  # the server still notices a host that disappears
)
