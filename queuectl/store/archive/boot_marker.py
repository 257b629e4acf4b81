"""In which boot of the machine an archive's unsynced segment was last read whole: a power cut begins another one."""

import os
from contextlib import suppress

from queuectl.runtime import boot_id

__all__ = ["is_checked", "note_checked"]


def is_checked(folder: str) -> bool:
    """Whether it was in this boot."""
    with suppress(FileNotFoundError), open(_file(folder), "rb") as file:
        return file.read() == boot_id().encode()
    return False


def note_checked(folder: str) -> None:
    """It has just been. Not synced: should the note be lost, the segment is read once more."""
    note = os.open(_file(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(note, "wb") as file:
        file.write(boot_id().encode())


def _file(folder: str) -> str:
    return os.path.join(folder, "boot")
