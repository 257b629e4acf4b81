"""The contents of a disk after a power cut: all that was synced, and a random part of the rest.

Writes that were not synced survive, vanish, tear between (sometimes within) sectors, and are reordered, in each file by
itself. A file that grew may have its new length and zeros in place of the data. Changes of names reach the disk in
their order in each folder, as on a journaling file system, and are certain once the folder was synced.
"""

import os
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeAlias

SECTOR = 512
FOLDER = 0
"""The file that the name of a folder stands for."""


class Write(NamedTuple):
    file: int
    offset: int
    data: bytes


class Truncate(NamedTuple):
    file: int
    size: int


class Sync(NamedTuple):
    file: int


class FailedSync(NamedTuple):
    """A failed sync: unsynced data never reaches the disk, because the system has dropped it or takes it for written.

    `seed` decides which part had reached the disk.
    """

    file: int
    seed: int


class Name(NamedTuple):
    """From now on `path` names this file; None: the name is removed."""

    path: str
    file: int | None


class Rename(NamedTuple):
    """A rename in one folder, which replaces a file with the new name."""

    old: str
    path: str


class SyncFolder(NamedTuple):
    path: str


class Acknowledged(NamedTuple):
    """The log was acknowledged as on disk up to this position."""

    position: int


Step: TypeAlias = Write | Truncate | Sync | FailedSync | Name | Rename | SyncFolder | Acknowledged
Files: TypeAlias = dict[str, bytes | None]
"""Path -> content; None for a folder."""


@dataclass(slots=True)
class Disk:
    """The certain contents, and the steps since; `spoiled`: some sync has failed."""

    acknowledged: int = 0
    spoiled: bool = False
    _contents: dict[int, bytearray] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _unsynced: dict[int, list[Write | Truncate]] = field(default_factory=dict)
    _unsure: dict[str, list[Name | Rename]] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        """Apply the next step."""
        match step:
            case Write(file) | Truncate(file):
                self._unsynced.setdefault(file, []).append(step)
            case Sync(file):
                self._contents[file] = self._content(file, _Survival(None))
                self._unsynced.pop(file, None)
            case FailedSync(file, seed):
                self.spoiled = True
                self._contents[file] = self._content(file, _Survival(Random(seed)).of_a_file())
                self._unsynced.pop(file, None)
            case Name() | Rename():
                self._unsure.setdefault(os.path.dirname(step.path), []).append(step)
            case SyncFolder(folder):
                _rename(self._names, self._unsure.pop(folder, []))
            case Acknowledged(position):
                self.acknowledged = position

    def everything(self) -> Files:
        """The files as a reader sees them now."""
        return self._files(_Survival(None))

    def after_a_cut(self, rng: Random) -> Files:
        """A possible disk after a power cut at this moment."""
        return self._files(_Survival(rng))

    def _files(self, survival: "_Survival") -> Files:
        names = dict(self._names)
        for steps in self._unsure.values():
            _rename(names, steps[: survival.how_many(len(steps))])
        return {
            path: None if file == FOLDER else bytes(self._content(file, survival.of_a_file()))
            for path, file in names.items()
            if self._is_there(os.path.dirname(path), names)
        }

    def _is_there(self, folder: str, names: dict[str, int]) -> bool:
        """Whether a folder exists; the folders of the whole recording always do."""
        return folder in names or not any(step.path == folder for steps in self._unsure.values() for step in steps)

    def _content(self, file: int, survival: "_Survival") -> bytearray:
        content = bytearray(self._contents.get(file, b""))
        unsynced = self._unsynced.get(file, [])
        for number, step in enumerate(unsynced):
            survival.at(number / len(unsynced))
            if isinstance(step, Truncate):
                if survival.survives():
                    _cut(content, step.size)
            else:
                for offset, data in survival.pieces(step):
                    _put(content, offset, data)
        return content


class _Survival:
    """The part of a file that survives; without `rng` all of it.

    Each file has its own rule: all or nothing, all up to some moment, or each sector at random.
    """

    def __init__(self, rng: Random | None) -> None:
        self._rng = rng
        self._survival = 1.0
        self._until = 1.0
        self._grows = False

    def of_a_file(self) -> "_Survival":
        """The survival of another file, with its own rule."""
        survival = _Survival(self._rng)
        if self._rng is not None:
            survival._survival = self._rng.choice((0.0, 1.0, 1.0, 0.95, self._rng.random()))
            survival._until = self._rng.choice((1.0, self._rng.random()))
            survival._grows = self._rng.random() < 0.3
        return survival

    def how_many(self, names: int) -> int:
        """How many of `names` changes of names survive."""
        return names if self._rng is None else self._rng.randint(0, names)

    def at(self, part: float) -> None:
        """Set the progress (0 to 1) through the unsynced steps; after the file's moment nothing survives."""
        if part >= self._until:
            self._survival = 0.0

    def survives(self) -> bool:
        """Whether the next step survives."""
        return self._rng is None or self._rng.random() < self._survival

    def pieces(self, write: Write) -> list[tuple[int, bytes]]:
        """The pieces of a write that reach the disk."""
        if self._rng is None:
            return [(write.offset, write.data)]
        found = []
        for offset, data in _sectors(write):
            if self.survives():
                torn = self._survival < 1 and self._rng.random() < 0.02
                found.append((offset, data[: self._rng.randrange(len(data))] if torn else data))
            elif self._grows:
                found.append((offset + len(data), b""))
        return found


def _rename(names: dict[str, int], steps: list[Name | Rename]) -> None:
    for step in steps:
        file = names.pop(step.old) if isinstance(step, Rename) else step.file
        if file is None:
            names.pop(step.path, None)
        else:
            names[step.path] = file


def _sectors(write: Write) -> list[tuple[int, bytes]]:
    """A write, split at the disk's sector boundaries."""
    end = write.offset + len(write.data)
    cuts = [write.offset, *range(write.offset // SECTOR * SECTOR + SECTOR, end, SECTOR), end]
    return [(a, write.data[a - write.offset : b - write.offset]) for a, b in pairwise(cuts)]


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
