"""The version of the stored format, the `meta` of a new queue, and the checks that refuse writes because of `meta`."""

import os
from shlex import quote
from typing import Any

from queuectl.errors import StoreError
from queuectl.store.projections import VERSION
from queuectl.store.rows import FIRST_FORMAT, GENESIS, NEWEST_FORMAT

__all__ = ["FORMATS", "check_format", "check_place", "new_meta"]

FORMATS = range(FIRST_FORMAT, NEWEST_FORMAT + 1)
"""The formats that this version reads and writes. A queue begins with the first one: see `codec.format_of`."""


def new_meta() -> dict[str, Any]:
    """The rows of a new queue's `meta`."""
    return {
        "format": FIRST_FORMAT,
        "log_id": os.urandom(16).hex(),
        "base_position": 0,
        "base_digest": GENESIS,
        "moved_to": None,
        "projection_version": VERSION,
        "reactive": 0,
    }


def check_format(form: object, path: str) -> None:
    """Refuse a queue of a newer format. Asked at open and again in each write transaction."""
    if not isinstance(form, int) or form > NEWEST_FORMAT:
        raise StoreError(
            f"{path} has format {form}, newer than this queuectl reads ({NEWEST_FORMAT}): upgrade queuectl"
        )


def check_place(moved_to: object, path: str) -> None:
    """Refuse to write to a queue that has moved. Checked in each write transaction; reading stays possible."""
    if moved_to is not None:
        raise StoreError(f"{path} has moved to {moved_to}: use --db {quote(str(moved_to))}")
