"""The table `job_tags`: a row for each tag of each job, so that a few jobs with a tag are found among very many.

It follows from the column `tags` of `jobs`, and has only the beginnings of long names and values, because an entry of
an index has a limit. So it says which jobs may have a tag. A job without tags has no row and costs nothing.
"""

from collections.abc import Sequence

import msgspec

from queuectl.store.projections import JOBS, NO_TAGS, TAGS, Values
from queuectl.store.sql.engine import Dialect, Engine

__all__ = ["AMONG_TAGGED", "FEW", "MAY_HAVE_TAG", "beginnings", "has_few", "replace_tags", "tags_of", "write_tags"]

FEW = 10_000
"""A tag that more jobs have selects too little: the jobs are then looked through in their order."""
LONGEST = 100
"""Characters of a name or a value that the table has."""

MAY_HAVE_TAG = "position IN (SELECT position FROM job_tags WHERE name = ? AND value = ?)"
"""Selects the jobs that may have a tag; the parameters are its `beginnings`."""

_WITH_TAG = "FROM job_tags WHERE name = ? AND value = ?"
AMONG_TAGGED = f"position >= (SELECT min(position) {_WITH_TAG}) AND position <= (SELECT max(position) {_WITH_TAG})"
"""Selects the jobs between the first and the last one that may have a tag; the parameters are its beginnings, twice."""

_POSITION = JOBS.index("position")
_INSERT = "INSERT INTO job_tags VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_DELETE = "DELETE FROM job_tags WHERE name = ? AND value = ? AND position = ?"
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM job_tags WHERE name = ? AND value = ? LIMIT ?) AS found"

_decode = msgspec.json.Decoder(dict[str, str]).decode


def beginnings(name: str, value: str) -> tuple[str, str]:
    """The name and the value of a tag as the table has them."""
    return name[:LONGEST], value[:LONGEST]


def write_tags(engine: Engine, jobs: Sequence[Values]) -> None:
    """Insert the tags of new rows of `jobs`."""
    found = [row for job in jobs for row in _rows(job)]
    if found:
        engine.insert(_INSERT, found)


def replace_tags(engine: Engine, old: Values, new: Values | None) -> None:
    """Replace the tags of a row of `jobs` whose tags have changed, or (None) that is deleted."""
    if old[TAGS] != NO_TAGS:
        engine.insert(_DELETE, _rows(old))
    if new is not None:
        write_tags(engine, [new])


def _rows(job: Values) -> list[tuple[str, str, int]]:
    return [(*beginnings(*tag), job[_POSITION]) for tag in _decode(job[TAGS]).items()]


def has_few(engine: Engine, name: str, value: str) -> bool:
    """Whether at most FEW jobs may have this tag."""
    count: int = engine.run(_COUNT, (*beginnings(name, value), FEW + 1))[0][0]
    return count <= FEW


def tags_of(dialect: Dialect, table: str) -> str:
    """Selects the rows that follow from `jobs`, or from a query with the columns `position` and `tags`."""
    rows = dialect.fields_of.format("made.tags")
    columns = f"substr(tag.key, 1, {LONGEST}), substr(tag.value, 1, {LONGEST}), made.position"
    return f"SELECT DISTINCT {columns} FROM {table} AS made, {rows} AS tag WHERE made.tags <> '{NO_TAGS}'"
