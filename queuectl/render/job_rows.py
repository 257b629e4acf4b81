"""Jobs as rows of the tables that people read: short ids, ages, short errors, and which columns give way."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from queuectl.domain.names import is_generated
from queuectl.render.field_text import field_text
from queuectl.render.json_shapes import IN_SECONDS
from queuectl.render.tables import Column, table
from queuectl.units import SECOND, about, ago, counted, local_time, short_duration

__all__ = ["Order", "dead_table", "field_table", "job_table", "short_error", "short_id", "when"]

SHORT = 8
"""The number of characters that are shown of a generated id: its end, which differs from its neighbours'."""
EXITED = "exited with code "

NUMBER = Column("number", short="#")
COMMAND = Column("command", limit=1000, least=24, middle=True)
ERROR = Column("last_error", limit=1000, least=20)
JOBS = (
    NUMBER,
    Column("id", spare=6),
    Column("state"),
    Column("queue", limit=30, spare=4, usual="default", middle=True),
    Column("priority", short="prio", spare=1, usual=0),
    Column("attempts", short="tries", spare=3, usual=0),
    Column("next"),
    Column("age", spare=2),
    COMMAND,
    ERROR,
    Column("origin", limit=1000),
    Column("why", limit=1000, least=24),
)
_WHOLE = tuple(column for column in JOBS if column.name != "why")
_FITTED = tuple(column for column in JOBS if column.name not in ("next", "last_error", "origin"))
SORTED = MappingProxyType({"duration": Column("duration", short="took"), "finished": Column("finished", short="ended")})
"""By the key of an order: the column that a table for a terminal has only then."""
DEAD = (
    NUMBER,
    Column("id", spare=3),
    Column("attempts", short="tries", spare=2),
    Column("moved_at", short="moved", spare=1),
    COMMAND,
    ERROR,
)


class Order(Struct, frozen=True):
    """How jobs are ordered: the key of `list --sort`, which is a column on a terminal.

    `starts`: by id, when jobs start whose due time was recorded by a clock that was ahead.
    """

    sort: str = ""
    starts: Mapping[str, int] = {}


UNSORTED = Order()


def job_table(
    rows: Sequence[Mapping[str, Any]], now: int, width: int | None, color: bool, order: Order = UNSORTED
) -> str:
    """Rows of `jobs` as a table. `now`: the log's time in microseconds; `width`: None for whole ids and texts."""
    columns = _WHOLE if width is None else _sorted_by(order.sort)
    shown = [_job(row, order.starts.get(row["id"], row["due_at"]), now, width) for row in rows]
    return table(shown, columns, width=width, color=color)


def _sorted_by(sort: str) -> Sequence[Column]:
    """The columns for a terminal, and before the command that of the order, unless it is among them."""
    column = SORTED.get(sort)
    place = _FITTED.index(COMMAND)
    return _FITTED if column is None else (*_FITTED[:place], column, *_FITTED[place:])


def dead_table(rows: Sequence[Mapping[str, Any]], now: int, width: int | None) -> str:
    """Rows of `dlq` as a table. `now` and `width` are as for `job_table`."""
    shown = [{**_brief(row, width), "moved_at": when(row["moved_at"] * SECOND, now, width)} for row in rows]
    return table(shown, DEAD, width=width)


def field_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int | None, color: bool) -> str:
    """These fields of jobs in the shape of `list --json`. `width`: None for whole ids and texts."""
    known = {column.name: column for column in JOBS}
    columns = [_field_column(name, known.get(name, Column(name, limit=1000))) for name in names]
    shown = [{name: _field(name, value) for name, value in row.items()} for row in rows]
    if width is not None and "id" in names:
        shown = [{**row, "id": short_id(str(row["id"]))} for row in shown]
    return table(shown, columns, width=width, color=color)


def _field_column(name: str, known: Column) -> Column:
    """A column that stays whatever its values are. States are not cut, and times only after the second."""
    if name.endswith("_at"):
        return Column(name, limit=1000, least=20, chosen=True)
    if name == "id":
        return Column(name, limit=1000, middle=True, chosen=True)
    return Column(name, limit=0 if name == "state" else known.limit, least=known.least, chosen=True)


def _field(name: str, value: Any) -> Any:
    """A value of a field: a whole number as it is, so that it stands to the right; None for a table's dash."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and name not in IN_SECONDS):
        return value
    return field_text(name, value) or None


def when(moment: int, now: int, width: int | None) -> str:
    """A past moment as a table shows it: its age on a terminal, which has little room, else the whole time."""
    return local_time(moment) if width is None else f"{ago(now - moment)} ago"


def _job(row: Mapping[str, Any], due: int | None, now: int, width: int | None) -> dict[str, Any]:
    waits = f"in {about(due - now)}" if due is not None and due > now else None
    shown = {**_brief(row, width), "next": waits, "age": ago(now - row["created_at"] * SECOND)}
    shown |= {"duration": _took(row.get("duration")), "finished": _ended(row, now)}
    return {**shown, "why": _why(shown, now)}


def _took(seconds: float | None) -> str | None:
    return None if seconds is None else short_duration(round(seconds * SECOND))


def _ended(row: Mapping[str, Any], now: int) -> str | None:
    ended = row.get("finished_at")
    return None if ended is None else f"{ago(now - ended * SECOND)} ago"


def _why(row: Mapping[str, Any], now: int) -> str | None:
    """How long it has been running and where; or until when it waits, and what went wrong."""
    if row["locked_at"] is not None:
        return f"for {ago(now - row['locked_at'] * SECOND)} on {row['locked_by']}"
    return "; ".join(filter(None, (row["next"], _waits(row), row["last_error"]))) or None


def _waits(row: Mapping[str, Any]) -> str | None:
    """That it is held, or for how many others it waits."""
    if not row.get("waits"):
        return None
    return f"{'held, ' if row.get('held') else ''}waits for {counted(row['waits'], 'other')}"


def _brief(row: Mapping[str, Any], width: int | None) -> dict[str, Any]:
    shown = {**row, "number": row.get("position")}
    if width is not None:
        shown |= {"id": short_id(row["id"]), "last_error": short_error(row["last_error"])}
    return shown


def short_id(job_id: str) -> str:
    """The end of a generated id; an id that people chose as it is."""
    return f"…{job_id[-SHORT:]}" if is_generated(job_id) else job_id


def short_error(text: str | None) -> str | None:
    """`exit 1: No such file` for `exited with code 1: No such file`, as most errors begin."""
    if text is None or not text.startswith(EXITED):
        return text
    return f"exit {text.removeprefix(EXITED)}"
