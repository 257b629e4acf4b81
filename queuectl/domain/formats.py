"""The format of the log that each event needs.

An older queuectl cannot read such an event and would set its job aside as damaged. So the first one raises the log's
format in its transaction, and an older queuectl then refuses to write.
"""

from queuectl.domain import events as e

__all__ = ["FIRST", "NEWEST", "format_of"]

FIRST = 1
NEWEST = 2
"""The newest format that this version reads; the highest number below."""

_TYPES: dict[type[e.Event], int] = dict.fromkeys(
    (
        *(e.ScheduleSet, e.SchedulePaused, e.ScheduleResumed, e.ScheduleRemoved, e.ScheduleFired, e.ScheduleSkipped),
        *(e.DependenciesMet, e.Amended),
    ),
    2,
)
"""Events that need this format whatever they hold."""

_FIELDS: dict[type[e.Event], dict[str, int]] = {
    e.Enqueued: {"retry_wait": 2, "merge_output": 2, "origin": 2, "after": 2, "stdin": 2},
    e.Requeued: {"delay": 2},
    e.BatchOpened: {"max_failures": 2},
    e.WorkerStarted: {"version": 2, "log_file": 2},
}
"""Fields whose event needs this format when they are stored, which they are unless they have their defaults."""


def _defaults(event: type[e.Event]) -> dict[str, object]:
    return dict(zip(reversed(event.__struct_fields__), reversed(event.__struct_defaults__), strict=False))


_NEWER = {
    event: [(name, _defaults(event)[name], needed) for name, needed in fields.items()]
    for event, fields in _FIELDS.items()
}
"""The same fields, each with its default."""


def format_of(event: e.Event) -> int:
    """The lowest format of a log that may hold this event."""
    kind = type(event)
    lowest = _TYPES.get(kind, FIRST)
    if isinstance(event, e.ScheduleSet):
        return max(lowest, format_of(event.job))
    if kind in _NEWER:
        for name, default, needed in _NEWER[kind]:  # each event passes here, so no list is made
            if needed > lowest and getattr(event, name) != default:
                lowest = needed
    return lowest
