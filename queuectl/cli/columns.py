"""`list --columns`: the chosen fields of jobs, in the order in which they were given."""

from collections.abc import Sequence

from msgspec.structs import replace

from queuectl.application.listing import FIELDS
from queuectl.cli.output import Answer
from queuectl.errors import UsageError
from queuectl.render.job_rows import field_table
from queuectl.units import quoted

__all__ = ["names_in", "only"]


def names_in(text: str | None) -> list[str]:
    """The names of fields in `id,state`, each once. None: no names. Raises UsageError for a text with others."""
    names = [] if text is None else list(dict.fromkeys(each.strip() for each in text.split(",")))
    unknown = next((name for name in names if name not in FIELDS), None)
    if unknown is not None:
        raise UsageError(f"--columns: {quoted(unknown)} is not a field of a job: use {', '.join(FIELDS)}")
    return names


def only(answer: Answer, names: Sequence[str]) -> Answer:
    """The answer with these fields of each job alone; without names, as it is."""
    if not names:
        return answer
    rows = [{name: row[name] for name in names} for row in answer.rows]
    return replace(
        answer,
        document=rows,
        rows=rows,
        name=names[0],
        text=lambda look: field_table(rows, names, look.width, look.color) if rows else "",
    )
