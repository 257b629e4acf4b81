"""Reads the cells of a job's row that hold JSON. A corrupt cell is read as empty; `verify` reports it."""

import msgspec

from queuectl.domain.events import After

__all__ = ["dependencies_in", "tags_in"]

_tags = msgspec.json.Decoder(dict[str, str]).decode
_dependencies = msgspec.json.Decoder(tuple[After, ...]).decode
_CORRUPT = (msgspec.MsgspecError, UnicodeError, TypeError)


def tags_in(cell: str) -> dict[str, str]:
    """The tags in the cell `tags`."""
    try:
        return _tags(cell)
    except _CORRUPT:
        return {}


def dependencies_in(cell: str | None) -> tuple[After, ...]:
    """The dependencies in the cell `after`; none for a job that has none."""
    try:
        return () if cell is None else _dependencies(cell)
    except _CORRUPT:
        return ()
