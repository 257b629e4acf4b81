"""A TOML file that is the whole set of the schedules that it manages: reads it, and compares it with the queue.

[backup]
cron = "0 2 * * *"
tz = "Europe/Berlin"
command = "restic backup /srv"
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from queuectl.application.job_input import JobReader
from queuectl.application.job_json import JobInput
from queuectl.application.schedule_input import ScheduleInput, ScheduleReader, check_name
from queuectl.application.schedules import Put, definition_differs
from queuectl.application.wrong_types import wrong_type
from queuectl.domain.schedule import Schedule
from queuectl.errors import RefusedError, UsageError, command_line

__all__ = ["Difference", "compare", "read_schedules", "to_toml"]

_OF_JOBS = {*JobInput.__struct_fields__} - {"id", "delay", "at"}
_OF_SCHEDULES = set(ScheduleInput.__struct_fields__)
_HEADER = re.compile(r"""\s*\[\s*(?:"([^"]*)"|'([^']*)'|([^\]"'\s]+))\s*\]\s*(?:#.*)?""")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:\.[^=]*)?=""")
_IN_TOML = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
    "date": "a date",
    "datetime": "a date",
}
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


class Difference(Struct, frozen=True):
    """The changes that a file makes: schedules to add, to change (with the fields that differ), and to remove."""

    added: tuple[Put, ...]
    changed: tuple[tuple[Put, tuple[str, ...]], ...]
    removed: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the queue is as the file says."""
        return not (self.added or self.changed or self.removed)

    @property
    def puts(self) -> list[Put]:
        """The schedules to add or change."""
        return [*self.added, *(put for put, _ in self.changed)]


def read_schedules(
    text: str, path: str, reader: ScheduleReader, jobs: Callable[[JobInput], JobReader], there: Mapping[str, Schedule]
) -> list[Put]:
    """The schedules of a file. Its jobs run in the file's folder unless they name another. Raises UsageError.

    `jobs` gives the reader of jobs with these defaults; `there` are the schedules of the queue.
    """
    source, managed_by = os.path.basename(path), os.path.basename(path)
    defaults = JobInput(cwd=os.path.dirname(os.path.abspath(path)))
    puts = []
    for name, table in _tables(text, source).items():
        lines = _lines(text, name)
        try:
            puts.append(_put(name, table, reader, jobs(defaults), there.get(name), managed_by))
        except _FieldError as error:
            line = lines.get(error.field, lines.get("", 0))
            raise UsageError(f"{source}, line {line}: [{name}] {error}") from None
        except UsageError as error:
            field = str(error).partition(":")[0]
            raise UsageError(f"{source}, line {lines.get(field, lines.get('', 0))}: [{name}] {error}") from None
    return puts


class _FieldError(UsageError):
    """A field is unknown or of a wrong type."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.field = field


def _tables(text: str, source: str) -> dict[str, dict[str, Any]]:
    import tomllib

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _AT_LINE.search(str(error))
        where = f"{source}, line {place[1]}" if place else source
        raise UsageError(f"{where}: {_AT_LINE.sub('', str(error)).lower()}") from None
    for name, table in found.items():
        if not isinstance(table, dict):
            line = _lines(text, "").get(name, 1)
            raise UsageError(f"{source}, line {line}: {name} comes before the first [NAME]: move it into a schedule")
    return found


def _lines(text: str, name: str) -> dict[str, int]:
    """The line of each key of a table; under the empty key the line of its header."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.fullmatch(line):
            table = next(filter(None, header.groups()), "")
            if table == name:
                lines.setdefault("", number)
        elif table == name and (key := _KEY.match(line)):
            lines.setdefault(next(filter(None, key.groups()), ""), number)
    return lines


def _put(  # noqa: PLR0913, PLR0917 (what is written, its two readers, and what is there)
    name: str,
    table: Mapping[str, Any],
    reader: ScheduleReader,
    jobs: JobReader,
    there: Schedule | None,
    managed_by: str,
) -> Put:
    check_name(name)
    for key in table:
        if key not in _OF_JOBS and key not in _OF_SCHEDULES:
            raise _FieldError(key, f"{key} is not a field of a schedule or of a job")
    when = _converted({key: value for key, value in table.items() if key in _OF_SCHEDULES}, ScheduleInput)
    given = _converted({key: value for key, value in table.items() if key in _OF_JOBS}, JobInput)
    start = None
    if there is not None and there.definition.every is not None:
        start = there.definition.start
    definition = reader.definition(name, when, jobs.from_input(given).spec, managed_by, start)
    return Put(name, definition, bool(when.paused))


def _converted(fields: Mapping[str, Any], wanted: type[Any]) -> Any:
    for key, value in fields.items():
        try:
            msgspec.convert({key: value}, wanted)
        except msgspec.ValidationError as error:
            raise _FieldError(key, wrong_type(error, _IN_TOML)) from None
    return msgspec.convert(dict(fields), wanted)


def compare(puts: list[Put], there: Mapping[str, Schedule], managed_by: str) -> Difference:
    """The changes that make the queue equal to the file. Raises RefusedError for schedules managed elsewhere."""
    added, changed = list[Put](), list[tuple[Put, tuple[str, ...]]]()
    for put in puts:
        known = there.get(put.name)
        if known is None:
            added.append(put)
            continue
        if known.definition.managed_by != managed_by:
            owner = known.definition.managed_by
            origin = f"from the file {owner}" if owner else "added by hand"
            what = f"there is a schedule {put.name} already, {origin}"
            remove = command_line("schedule", "remove", put.name)
            raise RefusedError(f"{what} (`{remove}` makes room for that of the file)")
        if differing := tuple(_differing(put, known)):
            changed.append((put, differing))
    names = {put.name for put in puts}
    mine = [name for name, each in there.items() if each.definition.managed_by == managed_by]
    return Difference(tuple(added), tuple(changed), tuple(name for name in mine if name not in names))


def _differing(put: Put, known: Schedule) -> Iterator[str]:
    yield from definition_differs(put.definition, known.definition)
    if put.paused and known.paused_at is None:
        yield "paused"


def to_toml(schedules: list[tuple[str, Mapping[str, Any]]]) -> str:
    """A file of schedules, each a name and its fields: texts, and tables of texts."""
    return "\n".join(
        "\n".join([f"[{_text(name) if '.' in name else name}]", *map(_line, fields.items())]) + "\n"
        for name, fields in schedules
    )


def _line(field: tuple[str, Any]) -> str:
    name, value = field
    if isinstance(value, dict):
        inner = ", ".join(f"{_text(key)} = {_text(text)}" for key, text in value.items())
        return f"{name} = {{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"{name} = [{', '.join(map(_text, value))}]"
    return f"{name} = {_text(value)}"


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
