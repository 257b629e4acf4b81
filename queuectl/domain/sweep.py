"""Sweeps: one template and lists of values make many jobs. Pure: sources, their product, placeholders, quoting."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, product
from math import prod
from typing import TypeAlias

from msgspec import Struct

from queuectl.domain.shell_places import MARK, Place, places, quoted_value
from queuectl.errors import UsageError

__all__ = ["MAX_JOBS", "Source", "Template", "Values", "named_source", "names_of", "number_of_jobs", "rows_of"]

MAX_JOBS = 1_000_000

Values: TypeAlias = tuple[str, ...]
"""The values of one job: one for each column of each source, in order."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMED_VALUE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLACEHOLDER = re.compile(r"(\d+|[A-Za-z_][A-Za-z0-9_]*)?(\.|//|/\.|/)?")


class Source(Struct, frozen=True):
    """Rows of values, one column for each of `names` (None: only a number). `text` is the source as written.

    `linked`: its rows go with those of the source before it, and are not multiplied with them. `line` is that of its
    file with the names; 0: no file.
    """

    names: tuple[str | None, ...]
    rows: Sequence[Values]
    text: str
    linked: bool = False
    line: int = 0

    @property
    def names_at(self) -> str:
        """Where its names are, for messages."""
        return f"{self.text}: line {self.line}" if self.line else self.text


def named_source(values: Sequence[str], text: str, *, linked: bool = False, line: int = 0) -> Source:
    """A source of one column; when its first value is `name=V` that is its name. Raises UsageError when it is empty.

    When every value begins with that name, as a shell writes `seed={1..3}`, it is removed from all of them.
    """
    if not values:
        raise UsageError(f"the source {text} has no values")
    found = _NAMED_VALUE.fullmatch(values[0])
    name, first = found.groups() if found else (None, values[0])
    rest = values[1:]
    if name is not None and all(value.startswith(f"{name}=") for value in rest):
        rest = [value.removeprefix(f"{name}=") for value in rest]
    return Source((name,), [(first,), *((value,) for value in rest)], text, linked, line)


def names_of(sources: Sequence[Source]) -> list[str | None]:
    """The names of all columns, in order. Raises UsageError for a name that is given twice, or that is none."""
    names = list[str | None]()
    for source in sources:
        for name in source.names:
            if name is not None:
                _check_name(name, names, source.names_at)
            names.append(name)
    return names


def _check_name(name: str, before: Collection[str | None], place: str) -> None:
    if not _NAME.fullmatch(name):
        rule = "letters, digits and _ make one, and it begins with no digit"
        raise UsageError(f"{place}: {name!r} is not a name: {rule}")
    if name in before:
        raise UsageError(f"{place}: the name {name} is given twice")


def number_of_jobs(sources: Sequence[Source]) -> int:
    """How many jobs the sources make. Raises UsageError for linked sources of unequal length, and for too many jobs."""
    number = prod(len(group[0].rows) for group in _groups(sources))
    if number > MAX_JOBS:
        raise UsageError(f"that would be {number} jobs: a sweep has at most {MAX_JOBS}")
    return number


def rows_of(sources: Sequence[Source]) -> Iterator[Values]:
    """The values of each job: all combinations of the sources, of which the last one varies fastest."""
    linked = [
        [tuple(chain(*rows)) for rows in zip(*(each.rows for each in group), strict=True)] for group in _groups(sources)
    ]
    return (tuple(chain(*rows)) for rows in product(*linked))


def _groups(sources: Sequence[Source]) -> list[list[Source]]:
    """The sources, each with those that are linked to it."""
    groups: list[list[Source]] = []
    for source in sources:
        if not source.linked:
            groups.append([source])
            continue
        if not groups:
            raise UsageError(f"{source.text}: there is no source before it to link it to")
        first = groups[-1][0]
        if len(source.rows) != len(first.rows):
            raise UsageError(f"{source.text}: {len(source.rows)} values cannot be linked to {len(first.rows)}")
        groups[-1].append(source)
    return groups


class _Slot(Struct, frozen=True):
    """A placeholder: the columns it takes (None: the job's number), what it takes of each value, and its place."""

    columns: tuple[int, ...] | None
    part: str
    place: Place | None = None

    def fill(self, values: Values, number: int) -> str:
        if self.columns is None:
            return f"{number}"
        taken = [_PARTS[self.part](values[column]) for column in self.columns]
        return " ".join(taken if self.place is None else [quoted_value(value, self.place) for value in taken])


class Template(Struct, frozen=True):
    """A text with placeholders: its literal pieces, with a slot between each two of them."""

    pieces: tuple[str, ...]
    slots: tuple[_Slot, ...]

    @classmethod
    def parse(cls, text: str, names: Sequence[str | None], *, shell: bool = False) -> "Template":
        """The template in a text, for columns of these names. In a `shell` command values are quoted.

        Raises UsageError for an unknown placeholder, a single brace, and a place where no value can be quoted.
        """
        pieces, slots, written = [""], list[_Slot](), list[str]()
        end = 0
        for found in _BRACES.finditer(text):
            pieces[-1] += text[end : found.start()]
            end = found.end()
            if found[1] is None:
                pieces[-1] += _brace(found[0])
                continue
            slots.append(_slot(found[0], found[1], names))
            written.append(found[0])
            pieces.append("")
        pieces[-1] += text[end:]
        if shell:
            where = places(MARK.join(pieces), written)
            slots = [_Slot(slot.columns, slot.part, place) for slot, place in zip(slots, where, strict=True)]
        return cls(tuple(pieces), tuple(slots))

    def fill(self, values: Values, number: int) -> str:
        """The text for one job: its values, and its number from 1."""
        filled = (slot.fill(values, number) + piece for slot, piece in zip(self.slots, self.pieces[1:], strict=True))
        return self.pieces[0] + "".join(filled)


def _brace(text: str) -> str:
    if len(text) == 1:
        raise UsageError(f"a single {text}: write {text * 2} for a brace of the command's own")
    return text[0]


def _slot(written: str, inside: str, names: Sequence[str | None]) -> _Slot:
    if inside == "#":
        return _Slot(None, "")
    found = _PLACEHOLDER.fullmatch(inside)
    columns = _columns(found[1], names) if found else None
    if found is None or columns is None:
        raise UsageError(f"{written} is not a placeholder here: use {_known(names)}, and {{{{ and }}}} for braces")
    return _Slot(columns, found[2] or "")


def _columns(wanted: str | None, names: Sequence[str | None]) -> tuple[int, ...] | None:
    """The columns that a placeholder takes; None when there are none such."""
    if wanted is None:
        return tuple(range(len(names)))
    if wanted.isdecimal():
        return (int(wanted) - 1,) if wanted[0] != "0" and 1 <= int(wanted[:10]) <= len(names) else None
    return (names.index(wanted),) if wanted in names else None


def _known(names: Sequence[str | None]) -> str:
    return ", ".join(
        ["{}", *(f"{{{number}}}" for number in range(1, len(names) + 1)), *(f"{{{n}}}" for n in names if n), "{#}"]
    )


def _name(path: str) -> str:
    """The last part of a path."""
    return path.rstrip("/").rpartition("/")[2] or path[:1]


def _folder(path: str) -> str:
    """The folder that a path is in; `.` when it names none."""
    before, slash, _ = path.rstrip("/").rpartition("/")
    return before.rstrip("/") or ("/" if slash or path[:1] == "/" else ".")


def _without_extension(path: str) -> str:
    """The path without the extension of its last part, when that has one."""
    before, dot, _ = path.rpartition(".")
    name = before.rpartition("/")[2]
    return before if dot and "/" not in path[len(before) :] and name.strip(".") else path


_PARTS: dict[str, Callable[[str], str]] = {
    "": lambda path: path,
    ".": _without_extension,
    "/": _name,
    "//": _folder,
    "/.": lambda path: _without_extension(_name(path)),
}
