"""What is on a disk when the power goes: all that was synced, and of the rest whatever chance leaves.

Writes that were not synced survive, vanish, tear between (now and then within) sectors, and overtake each other, in
each file by itself. A file that grew may have its new length and zeros for what was written there. Names come to the
disk in their order in each folder, as file systems with a journal keep them, and for certain once it was synced.
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
    """It failed, and what was not on the disk by then never comes there: the system thinks that it is, or gave it up.

    `chance` decides what is.
    """

    file: int
    chance: int


class Name(NamedTuple):
    """From now on `path` is this file; None: it is removed."""

    path: str
    file: int | None


class Rename(NamedTuple):
    """In one folder, replacing what has the new name."""

    old: str
    path: str


class SyncFolder(NamedTuple):
    path: str


class Told(NamedTuple):
    """The log was acknowledged as on disk up to this position."""

    position: int


Step: TypeAlias = Write | Truncate | Sync | FailedSync | Name | Rename | SyncFolder | Told
Files: TypeAlias = dict[str, bytes | None]
"""Path -> content; None for a folder."""


@dataclass(slots=True)
class Disk:
    """What is certainly on it, and what was asked of it since; `spoiled`: some sync has failed."""

    told: int = 0
    spoiled: bool = False
    _contents: dict[int, bytearray] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _unsynced: dict[int, list[Write | Truncate]] = field(default_factory=dict)
    _unsure: dict[str, list[Name | Rename]] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        """The next thing that happened."""
        match step:
            case Write(file) | Truncate(file):
                self._unsynced.setdefault(file, []).append(step)
            case Sync(file):
                self._contents[file] = self._content(file, _Chance(None))
                self._unsynced.pop(file, None)
            case FailedSync(file, chance):
                self.spoiled = True
                self._contents[file] = self._content(file, _Chance(Random(chance)).of_a_file())
                self._unsynced.pop(file, None)
            case Name() | Rename():
                self._unsure.setdefault(os.path.dirname(step.path), []).append(step)
            case SyncFolder(folder):
                _rename(self._names, self._unsure.pop(folder, []))
            case Told(position):
                self.told = position

    def everything(self) -> Files:
        """What the files are to those who read them now."""
        return self._files(_Chance(None))

    def after_a_cut(self, rng: Random) -> Files:
        """One of the disks that a power cut at this moment can leave."""
        return self._files(_Chance(rng))

    def _files(self, chance: "_Chance") -> Files:
        names = dict(self._names)
        for steps in self._unsure.values():
            _rename(names, steps[: chance.how_many(len(steps))])
        return {
            path: None if file == FOLDER else bytes(self._content(file, chance.of_a_file()))
            for path, file in names.items()
            if self._is_there(os.path.dirname(path), names)
        }

    def _is_there(self, folder: str, names: dict[str, int]) -> bool:
        """Whether a folder is: those in which everything happens always are."""
        return folder in names or not any(step.path == folder for steps in self._unsure.values() for step in steps)

    def _content(self, file: int, chance: "_Chance") -> bytearray:
        content = bytearray(self._contents.get(file, b""))
        unsynced = self._unsynced.get(file, [])
        for number, step in enumerate(unsynced):
            chance.at(number / len(unsynced))
            if isinstance(step, Truncate):
                if chance.survives():
                    _cut(content, step.size)
            else:
                for offset, data in chance.pieces(step):
                    _put(content, offset, data)
        return content


class _Chance:
    """What survives of a file: without `rng` everything.

    Files have fates: one keeps all or nothing, one all up to some moment, one each sector by a throw of dice.
    """

    def __init__(self, rng: Random | None) -> None:
        self._rng = rng
        self._survival = 1.0
        self._until = 1.0
        self._grows = False

    def of_a_file(self) -> "_Chance":
        """Another file, another fate."""
        chance = _Chance(self._rng)
        if self._rng is not None:
            chance._survival = self._rng.choice((0.0, 1.0, 1.0, 0.95, self._rng.random()))
            chance._until = self._rng.choice((1.0, self._rng.random()))
            chance._grows = self._rng.random() < 0.3
        return chance

    def how_many(self, names: int) -> int:
        """How many changes of a name survive."""
        return names if self._rng is None else self._rng.randint(0, names)

    def at(self, part: float) -> None:
        """So far (0 to 1) through what was not synced: past the moment nothing survives."""
        if part >= self._until:
            self._survival = 0.0

    def survives(self) -> bool:
        """Whether the next thing does."""
        return self._rng is None or self._rng.random() < self._survival

    def pieces(self, write: Write) -> list[tuple[int, bytes]]:
        """What comes to the disk of a write."""
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
    """A write, cut where the disk's sectors meet."""
    end = write.offset + len(write.data)
    cuts = [write.offset, *range(write.offset // SECTOR * SECTOR + SECTOR, end, SECTOR), end]
    return [(a, write.data[a - write.offset : b - write.offset]) for a, b in pairwise(cuts)]


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
