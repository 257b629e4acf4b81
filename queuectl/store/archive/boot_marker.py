"""Records in which boot of the machine the archive's open segment was last checked. A power cut begins a new one.

A system that has no boot ids cannot tell two boots apart: there every process checks the segment again.
"""

import os
from contextlib import suppress

from queuectl.runtime import boot_id

__all__ = ["is_checked", "note_checked"]


def is_checked(folder: str) -> bool:
    """Whether the open segment was checked in this boot."""
    boot = boot_id().encode()
    if not boot:
        return False
    with suppress(FileNotFoundError), open(_file(folder), "rb") as file:
        return file.read() == boot
    return False


def note_checked(folder: str) -> None:
    """Record that it was checked. The note is not synced: if it is lost, the segment is checked once more."""
    note = os.open(_file(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(note, "wb") as file:
        file.write(boot_id().encode())


def _file(folder: str) -> str:
    return os.path.join(folder, "boot")
