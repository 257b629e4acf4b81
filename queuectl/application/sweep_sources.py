"""Reads the sources of a sweep: words after `:::`, lines of files, CSV, TSV, NDJSON, ranges of numbers."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, TextIO

import msgspec

from queuectl.domain.sweep import MAX_JOBS, Source, Values, named_source
from queuectl.errors import UsageError
from queuectl.units import counted, quoted

__all__ = ["MARKERS", "read_sources"]

MARKERS = (":::", ":::+", "::::")
"""Words that begin a source: values, linked values, files of lines."""

Option = tuple[str, str]
"""An option that names a source, such as `--csv`, and its value."""

_RANGE = re.compile(r"(-?\d{1,18})-(-?\d{1,18})(?::(\d{1,18}))?")


def read_sources(options: Sequence[Option], words: Sequence[str]) -> list[Source]:
    """The sources that options name, then those of the words from the first marker on. Raises UsageError."""
    if sum(value == "-" for name, value in options if name != "--range") + _from_stdin(words) > 1:
        raise UsageError("stdin (-) can be read once: give it to one source")
    return [*chain.from_iterable(_OPTIONS[name](value) for name, value in options), *_from_words(words)]


def _from_stdin(words: Sequence[str]) -> int:
    return sum(value == "-" for marker, values in _groups(words) if marker == "::::" for value in values)


def _from_words(words: Sequence[str]) -> Iterator[Source]:
    for marker, values in _groups(words):
        if marker == "::::":
            if not values:
                raise UsageError("::::: give the name of a file after it")
            yield from map(_lines, values)
        else:
            text = f"{marker} {' '.join(values[:3])}{' …' if values[3:] else ''}".rstrip()
            yield named_source(values, text, linked=marker == ":::+")


def _groups(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each marker with the words up to the next one."""
    group: list[str] = []
    marker = ""
    for word in words:
        if word in MARKERS:
            if marker:
                yield marker, group
            marker, group = word, []
        else:
            group.append(word)
    if marker:
        yield marker, group


def _lines(name: str) -> Source:
    with _opened(name) as file:
        return named_source([line.removesuffix("\n").removesuffix("\r") for line in file], f":::: {name}", line=1)


def _delimited(name: str, option: str, dialect: str) -> Iterator[Source]:
    """One column for each name in the header. Raises UsageError with the line of a ragged row."""
    import csv

    text = f"{option} {name}"
    with _opened(name) as file:
        reader = csv.reader(file, dialect, strict=True)
        try:
            header = next(reader, [])
            rows = [tuple(_row(text, reader.line_num, row, len(header))) for row in reader if row]
        except csv.Error as error:
            raise UsageError(f"{text}: line {reader.line_num}: {error}") from None
    yield _table(text, tuple(name.strip() for name in header), rows, 1)


def _row(text: str, line: int, row: list[str], columns: int) -> list[str]:
    if len(row) != columns:
        raise UsageError(f"{text}: line {line} has {counted(len(row), 'value')}, the header names {columns}")
    return row


def _ndjson(name: str) -> Iterator[Source]:
    """One column for each key of the first object; all others have the same keys."""
    text = f"--ndjson {name}"
    names: tuple[str, ...] = ()
    first = 1
    rows: list[Values] = []
    with _opened(name) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                found = _object(text, number, line)
                if not rows:
                    names, first = tuple(found), number
                if set(found) != set(names):
                    raise UsageError(f"{text}: line {number} has other keys than the first one ({', '.join(names)})")
                rows.append(tuple(found[each] for each in names))
    yield _table(text, names, rows, first)


def _object(text: str, number: int, line: str) -> dict[str, str]:
    try:
        found = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return {key: _plain(bytes(value)) for key, value in found.items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UsageError(f"{text}: line {number}: not an object of texts and numbers in JSON: {error}") from None


def _plain(raw: bytes) -> str:
    """A text as it is, a number as it is written, `true`, `false`; null is empty."""
    if raw[:1] in (b"[", b"{"):
        raise msgspec.ValidationError("an array or object is no value")
    value: Any = msgspec.json.decode(raw)
    return value if isinstance(value, str) else "" if value is None else raw.decode()


def _table(text: str, names: tuple[str, ...], rows: list[Values], line: int) -> Source:
    """The source of a file whose names are in that line."""
    if not rows:
        raise UsageError(f"the source {text} has no rows")
    return Source(names, rows, text, line=line)


def _range(given: str) -> Iterator[Source]:
    found = _RANGE.fullmatch(given)
    if found is None:
        raise UsageError(f"--range {quoted(given)}: write A-B or A-B:STEP, such as 1-10 or 0-100:25")
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if step == 0 or first > last:
        raise UsageError(f"--range {given}: it has no numbers: write the smaller one first, and a step from 1")
    numbers = range(first, last + 1, step)
    if len(numbers) > MAX_JOBS:
        raise UsageError(f"--range {given}: that would be {len(numbers)} jobs: a sweep has at most {MAX_JOBS}")
    yield Source((None,), [(f"{number}",) for number in numbers], f"--range {given}")


@contextmanager
def _opened(name: str) -> Iterator[TextIO]:
    """A file, or stdin for `-`, as UTF-8 text. Raises UsageError when it cannot be read."""
    try:
        with open(
            sys.stdin.fileno() if name == "-" else name, encoding="utf-8-sig", newline="\n", closefd=name != "-"
        ) as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read {name or quoted(name)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8: save it as UTF-8") from None


_OPTIONS: dict[str, Callable[[str], Iterator[Source]]] = {
    "--csv": lambda name: _delimited(name, "--csv", "excel"),
    "--tsv": lambda name: _delimited(name, "--tsv", "excel-tab"),
    "--ndjson": _ndjson,
    "--range": _range,
}
