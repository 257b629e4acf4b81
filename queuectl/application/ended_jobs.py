"""The jobs with a run that ended in a part of the time, found in the log."""

from msgspec import Struct
from msgspec.structs import replace

from queuectl.application.runs import CLAIMED, runs
from queuectl.application.time_travel import position_at
from queuectl.errors import UsageError
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from queuectl.units import parse_time, quoted

__all__ = ["EndedRuns", "Span", "ended_runs", "span_of"]

Span = tuple[int, int]
"""From a moment to before another one (microseconds)."""


class EndedRuns(Struct, frozen=True):
    """`by_job`: the types of the events that ended each job's runs, in order. `is_whole`: all events were read."""

    by_job: dict[str, list[str]]
    is_whole: bool

    def narrowed(self, wanted: JobFilter) -> JobFilter:
        """The filter, only for these jobs."""
        return replace(wanted, ids=tuple(self.by_job))

    def count(self, *types: str) -> int:
        """How many runs ended with an event of these types."""
        return sum(each in types for ends in self.by_job.values() for each in ends)


def ended_runs(store: Store, span: Span, most: int | None = None) -> EndedRuns:
    """The runs that ended in a part of the time; with `most` only those among the last so many events of it."""
    start, end = span
    after, until = (position_at(store.log, moment - 1) for moment in (start, max(start, end)))
    found: dict[str, list[str]] = {}
    first = after if most is None else max(after, until - most)
    for run in runs(store.history, first, until):
        if run.type != CLAIMED:
            found.setdefault(run.job_id, []).append(run.type)
    return EndedRuns(found, first == after)


def span_of(text: str, now: int) -> Span:
    """The time that `FROM..TO` names, or `FROM`: from then until now. Raises UsageError."""
    first, _, last = text.partition("..")
    try:
        start, end = parse_time(first, now), parse_time(last, now) if last else now + 1
    except ValueError as error:
        raise UsageError(f"ended: {error} (or a range, -2h..-1h)") from None
    if end <= start:
        raise UsageError(f"ended: {quoted(text)} ends before it begins")
    return start, end
