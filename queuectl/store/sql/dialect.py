"""The few fragments of SQL in which the engines differ. All other statements run on both.

Placeholders are `?` (`?1`, `?2` when one is used twice); the PostgreSQL engine renames them.
"""

from typing import NamedTuple

__all__ = ["POSTGRES", "SQLITE", "Dialect"]


class Dialect(NamedTuple):
    """Expressions and statements of one engine; `{}` stands for an operand."""

    bytes_of: str
    """A text as its bytes."""
    text_of: str
    """Bytes as text."""
    queue_of: str
    """The queue that an event's data names; not a text when the data is no JSON or names no queue."""
    tagged: str
    """Whether a job has a tag; the parameters are the tag's key and value."""
    keep_alive: str | None
    """Exempts the open transaction from the server's limit on idle transactions; None when there is no such limit."""


SQLITE = Dialect(
    bytes_of="CAST({} AS BLOB)",
    text_of="CAST({} AS TEXT)",
    queue_of="CASE WHEN json_valid({0}) THEN json_extract({0}, '$.queue') END",
    tagged="EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.key = ? AND tag.value = ?)",
    keep_alive=None,
)

POSTGRES = Dialect(
    bytes_of="convert_to({}, 'UTF8')",
    text_of="convert_from({}, 'UTF8')",
    queue_of=(
        "CASE WHEN field({0}, 'queue') IS NOT NULL THEN"  # so it is JSON
        " CASE json_typeof(CAST({0} AS json) -> 'queue') WHEN 'string' THEN field({0}, 'queue') END END"
    ),
    tagged="field(tags, ?) = ?",
    keep_alive="SET LOCAL idle_in_transaction_session_timeout = 0",  # the server still notices a host that has gone
)
