"""The log files of workers in the background: one for the workers of a name, rotated by their supervisor.

Several processes write to one file. The supervisor alone renames it when it is long; the others notice that and open
the new one. `NAME.json` next to it records how the workers were started.
"""

import logging.handlers
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from io import TextIOWrapper

import msgspec

from queuectl.replacement import replace_file
from queuectl.units import DAY, SECOND

__all__ = [
    "RotatedLogFile",
    "SharedLogFile",
    "Start",
    "folder",
    "path",
    "read_start",
    "remove_old",
    "started_names",
    "write_start",
]

LONGEST, KEPT = 10 << 20, 3
"""The size in bytes at which a file is rotated, and how many older ones are kept."""
REMOVED_AFTER = 30 * DAY
"""How long the files of a worker that has ended are kept after the last line."""


class Start(msgspec.Struct, frozen=True):
    """How workers were started in the background: the arguments of `queuectl`, and the folder."""

    name: str
    count: int
    arguments: list[str]
    cwd: str


def folder(output_folder: str) -> str:
    """The folder of the files. It is made if there is none."""
    found = os.path.abspath(os.path.join(output_folder, ".workers"))
    os.makedirs(found, mode=0o700, exist_ok=True)
    return found


def path(output_folder: str, name: str) -> str:
    """The log file of workers that are started together under this name."""
    return os.path.join(folder(output_folder), f"{name}.log")


def write_start(output_folder: str, start: Start) -> None:
    """Record how workers are started."""
    replace_file(os.path.join(folder(output_folder), f"{start.name}.json"), msgspec.json.encode(start))


def read_start(output_folder: str, name: str) -> Start | None:
    """How the workers of this name were started here; None if they were not, or the record cannot be read."""
    with (
        suppress(OSError, msgspec.MsgspecError),
        open(os.path.join(folder(output_folder), f"{name}.json"), "rb") as file,
    ):
        return msgspec.json.decode(file.read(), type=Start)
    return None


def started_names(output_folder: str) -> list[str]:
    """The names under which workers were started in the background here, also those that have ended."""
    return [each.removesuffix(".json") for each in os.listdir(folder(output_folder)) if each.endswith(".json")]


def remove_old(output_folder: str, now: int, is_used: Callable[[str], bool]) -> None:
    """Remove the files of names that are not used, when they are old. `now`: microseconds since the epoch."""
    where = folder(output_folder)
    names = {each.rsplit(".log", 1)[0] for each in os.listdir(where) if ".log" in each}
    for name in names:
        files = [each for each in os.listdir(where) if each.startswith((f"{name}.log", f"{name}.json"))]
        if not is_used(name) and _is_old(where, files, now):
            for each in files:
                with suppress(OSError):
                    os.unlink(os.path.join(where, each))


def _is_old(where: str, files: Collection[str], now: int) -> bool:
    with suppress(OSError):
        return all(os.stat(os.path.join(where, each)).st_mtime * SECOND < now - REMOVED_AFTER for each in files)
    return False


class SharedLogFile(logging.handlers.WatchedFileHandler):
    """Writes to the file of this name, also after another process has rotated it."""

    def _open(self) -> TextIOWrapper:
        return _as_output(super()._open())


class RotatedLogFile(logging.handlers.RotatingFileHandler):
    """Writes to the file, and rotates it once it is long, also when others wrote to it."""

    def __init__(self, name: str, longest: int = LONGEST) -> None:
        super().__init__(name, maxBytes=longest, backupCount=KEPT, encoding="utf-8", errors="replace")

    def _open(self) -> TextIOWrapper:
        return _as_output(super()._open())

    def rotate_if_long(self) -> None:
        """Rotate the file now if it is long. A file that cannot be rotated keeps growing."""
        with suppress(OSError):
            if os.stat(self.baseFilename).st_size >= self.maxBytes:
                self.doRollover()


def _as_output(file: TextIOWrapper) -> TextIOWrapper:
    """Send the rest of this process's output, such as a traceback, to the file too."""
    os.fchmod(file.fileno(), 0o600)
    for descriptor in (1, 2):
        os.dup2(file.fileno(), descriptor)
    return file
