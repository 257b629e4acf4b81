"""The dependencies of a job as written: `build`, `test:failed`, `batch:grid:end`, or the same in JSON."""

from collections.abc import Iterable

from queuectl.application import job_fields as fields
from queuectl.application.job_json import AfterInput
from queuectl.domain.dependencies import BATCH, JOB, WANTED
from queuectl.domain.events import After
from queuectl.errors import UsageError
from queuectl.units import quoted

__all__ = ["as_json", "as_texts", "edges"]

_PREFIX = f"{BATCH}:"


def edges(given: Iterable[str | AfterInput]) -> tuple[After, ...]:
    """The dependencies, with their names as written. Raises UsageError."""
    return tuple(_edge(each) for each in given)


def _edge(given: str | AfterInput) -> After:
    if isinstance(given, str):
        kind = BATCH if given.startswith(_PREFIX) else JOB
        name, _, on = given.removeprefix(_PREFIX).partition(":")
        return _checked(kind, name, on or "ok", given)
    if (given.job is None) == (given.batch is None):
        raise UsageError("after: give either a job or a batch")
    return _checked(JOB if given.batch is None else BATCH, given.job or given.batch or "", given.on, "")


def _checked(kind: str, name: str, on: str, given: str) -> After:
    if not name:
        raise UsageError(f"after: {quoted(given)} names no {kind}: write ID, ID:end, ID:failed or batch:NAME")
    if on not in WANTED:
        raise UsageError(f"after: {quoted(on)} is not one of {', '.join(WANTED)}")
    return After(fields.text("after", name), on, kind)


def as_json(after: Iterable[After]) -> list[dict[str, str]]:
    """The dependencies as JSON has them."""
    return [{each.kind: each.name, "on": each.on} for each in after]


def as_texts(after: Iterable[After]) -> list[str]:
    """The dependencies as `--after` takes them."""
    return [
        f"{_PREFIX if each.kind == BATCH else ''}{each.name}{'' if each.on == 'ok' else f':{each.on}'}"
        for each in after
    ]
