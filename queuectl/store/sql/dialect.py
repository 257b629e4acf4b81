"""The few words of SQL in which the stores differ. Everything else they share says the same on both.

Placeholders are `?` (`?1`, `?2` when one is used twice); the PostgreSQL store writes them as it wants them.
"""

from typing import NamedTuple

__all__ = ["POSTGRES", "SQLITE", "Dialect"]


class Dialect(NamedTuple):
    """`{}` is what is put in."""

    bytes_of: str
    """A text as its bytes."""
    text_of: str
    """Bytes as text."""
    queue_of: str
    """The queue that an event's data names; no text when it is no JSON, or names none."""
    tagged: str
    """Whether a job has a tag: its key and its value are asked for."""


SQLITE = Dialect(
    bytes_of="CAST({} AS BLOB)",
    text_of="CAST({} AS TEXT)",
    queue_of="CASE WHEN json_valid({0}) THEN json_extract({0}, '$.queue') END",
    tagged="EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.key = ? AND tag.value = ?)",
)

POSTGRES = Dialect(
    bytes_of="convert_to({}, 'UTF8')",
    text_of="convert_from({}, 'UTF8')",
    queue_of=(
        "CASE WHEN field({0}, 'queue') IS NOT NULL THEN"  # so it is JSON
        " CASE json_typeof(CAST({0} AS json) -> 'queue') WHEN 'string' THEN field({0}, 'queue') END END"
    ),
    tagged="field(tags, ?) = ?",
)
