"""Questions about jobs in SQL: their rows, the conditions of a filter, and the order of starting."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from queuectl.domain.dependencies import MET, NEVER
from queuectl.domain.machine import State
from queuectl.domain.names import PAUSE_ALL
from queuectl.store.projections import JOBS
from queuectl.store.rows import JobFilter
from queuectl.store.sql.engine import Dialect, Engine
from queuectl.store.sql.job_tags import AMONG_TAGGED, MAY_HAVE_TAG, beginnings, has_few
from queuectl.units import SECOND

__all__ = ["HELD", "SHOWN_COLUMNS", "SORTS", "TURN", "UNCHANGED", "chosen", "conditions", "row_of_job", "rows_of_jobs"]

SORTS = {
    "created": "position",
    "updated": "updated_at",
    "priority": "priority",
    "due": "due_at",
    "attempts": "attempts",
    "finished": "finished_at",
    "duration": "duration",
    "id": "id",
}
"""The value of `list --sort` -> the column of `jobs`. But for `created` no index has that order: all rows are read."""
_MAY_BE_NULL = {"due_at", "finished_at", "duration"}
"""Those of the columns that some jobs have no value in. These jobs come last in either order."""

TURN = "turn"
"""The sort by the order of starting: due jobs by priority, those of paused queues, later ones, and held ones."""
_PAUSED = f"EXISTS (SELECT 1 FROM pauses WHERE pauses.queue IN (jobs.queue, '{PAUSE_ALL}'))"
_BY_TURN = f"""
CASE WHEN due_at IS NULL THEN 3 WHEN due_at > {{now}} THEN 2 WHEN {_PAUSED} THEN 1 ELSE 0 END,
CASE WHEN due_at <= {{now}} THEN -priority ELSE 0 END, due_at, position
"""

HELD = f"waiting = 1 AND EXISTS (SELECT 1 FROM waits WHERE waits.id = jobs.id AND standing = '{NEVER}')"
"""Selects the jobs that wait for something that cannot happen any more."""

_SINCE = """
created_at > ? OR created_at = ?
AND coalesce((SELECT recorded_at FROM events WHERE events.position = jobs.position), ?) >= ?
"""
"""Selects the jobs added since a moment. The table has whole seconds; within one the job's first event decides."""

# The + keeps SQLite on the index of streams: there are many events after the position, and few of a job.
UNCHANGED = """
waiting IS NULL AND NOT EXISTS (SELECT 1 FROM events WHERE events.stream_id = jobs.id AND +events.position > ?)
"""
"""Selects the jobs that are as they were at a position; jobs that wait for others may not be."""


SHOWN_COLUMNS = (*JOBS, "waits", "held")
"""The columns of `jobs`, then how many dependencies of a waiting job are not met, and whether one cannot be met."""
_COUNT = f"SELECT count(*) FROM waits WHERE waits.id = jobs.id AND standing <> '{MET}'"
_COLUMNS = f"{', '.join(JOBS)}, CASE WHEN waiting = 1 THEN ({_COUNT}) ELSE 0 END, CASE WHEN {HELD} THEN 1 ELSE 0 END"


def row_of_job(engine: Engine, job_id: str) -> dict[str, Any] | None:
    """The row of a job, with SHOWN_COLUMNS as keys."""
    found = engine.run(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,))
    return dict(zip(SHOWN_COLUMNS, found[0], strict=True)) if found else None


def rows_of_jobs(engine: Engine, wanted: JobFilter) -> list[dict[str, Any]]:
    """The rows of the jobs that a filter selects, in its order, with SHOWN_COLUMNS as keys."""
    return [dict(zip(SHOWN_COLUMNS, row, strict=True)) for row in chosen(engine, _COLUMNS, wanted)]


def chosen(engine: Engine, columns: str, wanted: JobFilter) -> list[tuple[Any, ...]]:
    """These columns of the jobs that a filter selects, in its order."""
    where, parameters = conditions(engine, wanted)
    if wanted.sort == TURN:
        return engine.run(_in_turn(columns, where, wanted), parameters)
    order, column = "DESC" if wanted.descending else "ASC", SORTS[wanted.sort]
    tie = "" if column == "position" else f"{' NULLS LAST' if column in _MAY_BE_NULL else ''}, position {order}"
    limit = f" LIMIT {wanted.limit}" if wanted.limit else ""
    return engine.run(f"SELECT {columns} FROM jobs{where} ORDER BY {column} {order}{tie}{limit}", parameters)


def conditions(engine: Engine, wanted: JobFilter) -> tuple[str, list[Any]]:
    """The WHERE clause of a filter, empty when it takes all jobs, and its parameters."""
    rare = [tag for tag in wanted.tags.items() if has_few(engine, *tag)]
    return _conditions(wanted, engine.dialect, rare)


def _in_turn(columns: str, where: str, wanted: JobFilter) -> str:
    """The first rows in the order of starting: their keys are sorted, and only then are rows read."""
    order = _BY_TURN.format(now=int(wanted.now))
    limit = f" LIMIT {wanted.limit}" if wanted.limit else ""
    first = f"SELECT position FROM jobs{where} ORDER BY {order}{limit}"
    return f"SELECT {columns} FROM jobs WHERE position IN ({first}) ORDER BY {order}"


def _conditions(wanted: JobFilter, dialect: Dialect, rare: Collection[tuple[str, str]]) -> tuple[str, list[Any]]:
    """The WHERE clause of a filter, empty when it takes all jobs, and its parameters.

    `rare`: the wanted tags that few jobs have; these jobs are looked up in `job_tags`, of others the first and last.
    """
    all_of: list[str] = []
    parameters: list[Any] = []
    either = []
    if wanted.states:
        either.append(f"state IN ({', '.join('?' * len(wanted.states))})")
        parameters += [state.value for state in wanted.states]
    if wanted.held:
        either.append(HELD)
    if wanted.failed:
        either.append(f"state = '{State.PENDING}' AND attempts > 0")
    if either:
        all_of.append(" OR ".join(either))
    looked_up = [_looked_up(tag, tag in rare) for tag in wanted.tags.items() if tag in rare or wanted.positions is None]
    for condition, values in [*looked_up, *_narrowing(wanted, dialect), *_since(wanted), *_unchanged(wanted)]:
        all_of.append(condition)
        parameters += values
    return (" WHERE " + " AND ".join(f"({each})" for each in all_of) if all_of else ""), parameters


def _narrowing(wanted: JobFilter, dialect: Dialect) -> Iterator[tuple[str, Sequence[Any]]]:
    """The conditions other than the states, each with its parameters."""
    if wanted.queues:
        yield f"queue IN ({', '.join('?' * len(wanted.queues))})", wanted.queues
    yield from _by_dialect(wanted, dialect)
    if wanted.dependent:
        yield "after IS NOT NULL", ()
    if wanted.origin is not None:
        yield "origin = ? OR substr(origin, 1, ?) = ?", (wanted.origin, len(wanted.origin) + 1, f"{wanted.origin}:")
    if wanted.timed:
        yield "due_at IS NOT NULL", ()
    if wanted.text:
        yield "lower(command) LIKE ? ESCAPE '!' OR lower(id) LIKE ? ESCAPE '!'", (_like(wanted.text),) * 2
    if wanted.positions is not None:
        yield "position >= ? AND position < ?", wanted.positions
    for condition, value in _plain_conditions(wanted):
        if value is not None:
            yield condition, (value,)


def _looked_up(tag: tuple[str, str], is_rare: bool) -> tuple[str, Sequence[Any]]:
    return (MAY_HAVE_TAG, beginnings(*tag)) if is_rare else (AMONG_TAGGED, beginnings(*tag) * 2)


def _since(wanted: JobFilter) -> Iterator[tuple[str, Sequence[Any]]]:
    if wanted.since is not None:
        second = wanted.since // SECOND
        yield _SINCE, (second, second, wanted.since, wanted.since)


def _by_dialect(wanted: JobFilter, dialect: Dialect) -> Iterator[tuple[str, Sequence[Any]]]:
    for tag in wanted.tags.items():
        yield dialect.tagged, tag
    if wanted.ids is not None:
        yield f"id IN ({dialect.texts_of.format('?')})", (msgspec.json.encode(wanted.ids).decode(),)


def _unchanged(wanted: JobFilter) -> Iterator[tuple[str, Sequence[Any]]]:
    """Later jobs are excluded twice, so that an index by position is read from there on."""
    if wanted.unchanged_since is not None:
        yield f"jobs.position <= ? AND {UNCHANGED}", (wanted.unchanged_since,) * 2


def _plain_conditions(wanted: JobFilter) -> list[tuple[str, str | int | None]]:
    """Conditions with one parameter each; None: it is not wanted."""
    return [
        ("batch = ?", wanted.batch),
        ("id IN (SELECT id FROM dlq WHERE signature = ?)", wanted.signature),
        ("finished_at <= ?", None if wanted.ended_by is None else wanted.ended_by // SECOND),
    ]


def _like(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text.lower()}%"
