"""The data of the page of one job: its attempts, output, settings, relations and history."""

from collections.abc import Iterator, Sequence
from typing import Any

from queuectl.application.explain import explain
from queuectl.application.job_details import details, history, shell_line
from queuectl.application.queue import Queue
from queuectl.application.runs import OUTCOMES
from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.machine import LIVE, State
from queuectl.errors import NoSuchJobError, QueuectlError, command_line
from queuectl.render.narrative import tell
from queuectl.web.charts import RUNNING, Attempt, attempts_chart
from queuectl.web.relation_views import relations
from queuectl.web.site import Site

__all__ = ["attempts_of", "job_view"]

MOST_ATTEMPTS = 50
OTHER_VERBS = ("show", "history", "explain", "logs")
MOST_EVENTS = 200
"""Events of a job that its page shows."""


def job_view(site: Site, queue: Queue, job_id: str, past: int | None) -> dict[str, Any]:
    """The data of the page of one job. Raises NoSuchJobError."""
    (found,) = queue.resolve([job_id])
    events = list(history(queue, found))
    explanation = explain(queue.store, found, live=past is None, machine_losses=site.config()["max-machine-losses"])
    try:
        job = details(queue, found)
    except NoSuchJobError:
        job = None  # purged: only its history is left
    attempts = attempts_of(events)
    shown, can = events[-MOST_EVENTS:], _possible(explanation.state, job)
    known = {command_line(verb, found) for verb in (*(() if site.rights.read_only else can), *OTHER_VERBS)}
    return {
        "id": found,
        "job": job,
        "explanation": explanation,
        "attempts": attempts,
        "attempts_chart": attempts_chart(attempts, queue.store.log.wall()) if attempts else "",
        "events": [_event(record, before) for record, before in reversed(shown)],
        "left_out": len(events) - len(shown),
        "promise": _promise(events),
        "relations": _relations(queue, found),
        "shell": shell_line(queue, found),
        "runs": job is not None and job["state"] == State.PROCESSING,
        "can": can,
        "advice": [line for line in explanation.next if line not in {*known, command_line("logs", "-f", found)}],
        "other_commands": [command_line(verb, found) for verb in OTHER_VERBS],
    }


def _relations(queue: Queue, job_id: str) -> dict[str, Any] | None:
    """None for a job whose events are damaged."""
    try:
        return relations(queue, queue.load(job_id))
    except QueuectlError:
        return None


def _possible(state: str, job: dict[str, Any] | None) -> Sequence[str]:
    """The changes that are possible from this state."""
    if state in (each.value for each in LIVE):
        waits = ("unblock",) if job is not None and job.get("waiting") else ()
        return () if job is not None and job["cancel_requested"] is not None else ("cancel", *waits)
    return ("retry",) if job is None else ("retry", "purge")


def _event(record: Any, before: Job | None) -> dict[str, Any]:
    if not isinstance(record, e.RecordedEvent):
        return {"position": record.position, "at": None, "what": str(record), "more": [], "by": ""}
    what, *more = tell(record, before)
    return {
        "position": record.position,
        "at": record.recorded_at,
        "what": what,
        "more": [line for line in more if line],
        "by": record.actor,
    }


def _promise(events: Sequence[tuple[Any, Job | None]]) -> list[str]:
    """The settings with which the job was added."""
    first = events[0][0] if events else None
    return tell(first, None)[2:] if isinstance(first, e.RecordedEvent) and first.type == "enqueued" else []


def attempts_of(events: Sequence[tuple[Any, Job | None]]) -> list[Attempt]:
    """The runs of a job, the oldest first; of very many the last fifty."""
    return list(_attempts(events))[-MOST_ATTEMPTS:]


def _attempts(events: Sequence[tuple[Any, Job | None]]) -> Iterator[Attempt]:
    running: Attempt | None = None
    for record, before in events:
        if not isinstance(record, e.RecordedEvent):
            continue
        if isinstance(record.event, e.Claimed) and before is not None:
            due = min(before.due_at or record.clock, record.recorded_at)
            running = Attempt(
                record.event.run,
                due,
                record.recorded_at,
                None,
                RUNNING,
                record.event.worker,
            )
        elif record.type in OUTCOMES and running is not None:
            yield running._replace(ended_at=record.recorded_at, outcome=record.type)
            running = None
    if running is not None:
        yield running
