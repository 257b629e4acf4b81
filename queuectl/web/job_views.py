"""The data of the pages about jobs: the list with its filter, and one job with its attempts, output and history."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from queuectl.application.explain import explain
from queuectl.application.failures import check_signature
from queuectl.application.job_details import details, history, shell_line
from queuectl.application.job_page import job_page
from queuectl.application.listing import Selection, job_filter
from queuectl.application.queue import Queue
from queuectl.application.runs import OUTCOMES
from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.machine import LIVE, State
from queuectl.errors import NoSuchJobError, QueuectlError, UsageError, command_line
from queuectl.render.narrative import tell
from queuectl.units import parse_time
from queuectl.web.charts import RUNNING, Attempt, attempts_chart
from queuectl.web.relation_views import relations
from queuectl.web.site import Site

__all__ = ["attempts_of", "filter_of", "job_view", "jobs_view"]

SHOWN = 50
WORDS = ("state", "queue", "tag", "batch", "since", "sig")
MOST_EVENTS = 200
"""Events of a job that its page shows."""


def filter_of(text: str, now: int) -> dict[str, Any]:
    """The filter that is written as `state:dlq queue:gpu tag:team=ci since:-2h text`. Raises UsageError."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    found: dict[str, list[str]] = {name: [] for name in (*WORDS, "text")}
    for word in words:
        name, separator, value = word.partition(":")
        if separator and name in WORDS:
            found[name].append(value)
        else:
            found["text"].append(word)
    return _checked(found, now)


def _checked(found: dict[str, list[str]], now: int) -> dict[str, Any]:
    for tag in found["tag"]:
        if "=" not in tag:
            raise UsageError(f"tag:{tag}: write it as tag:NAME=VALUE")
    since = None
    for text in found["since"]:
        try:
            since = parse_time(text, now)
        except ValueError as error:
            raise UsageError(f"since: {error}") from None
    tags = dict(tag.split("=", 1) for tag in found["tag"])
    batch = found["batch"][-1] if found["batch"] else None
    wanted = job_filter(Selection(tuple(found["state"]), tuple(found["queue"]), tags, since, batch), "-created")
    if found["sig"]:
        wanted = replace(wanted, states=(State.DLQ,), signature=check_signature(found["sig"][-1]))
    return {"wanted": replace(wanted, text=" ".join(found["text"])), "words": found}


def jobs_view(queue: Queue, text: str, before: int | None) -> dict[str, Any]:
    """The data of the list of jobs. Raises UsageError."""
    chosen = filter_of(text, queue.store.log.wall())
    found = job_page(queue, chosen["wanted"], SHOWN, before)
    names = sorted({count.queue for count in queue.store.tables.counts()})[:100]
    hints = [
        *(f"state:{state}" for state in State if state is not State.PURGED),
        "state:failed",
        "state:retrying",
        "state:held",
    ]
    return {
        "rows": found.rows,
        "before": found.before,
        "unfinished": found.unfinished,
        "q": text,
        "hints": [*hints, *(f"queue:{name}" for name in names)],
        "command": _list_command(chosen["words"]),
        "total": _total(queue, chosen["wanted"]),
    }


def _list_command(words: dict[str, list[str]]) -> str:
    """The command line that lists the same jobs. It has no search for a text."""
    return command_line("list", *(part for name in WORDS for value in words[name] for part in (f"--{name}", value)))


def _total(queue: Queue, wanted: Any) -> int | None:
    """How many jobs match, when the counts can tell."""
    if (
        wanted.failed
        or wanted.held
        or wanted.tags
        or wanted.batch
        or wanted.signature
        or wanted.text
        or wanted.since is not None
    ):
        return None
    return sum(
        count.jobs
        for count in queue.store.tables.counts()
        if count.state in (wanted.states or list(State)) and count.queue in (wanted.queues or (count.queue,))
    )


# ── one job ─────────────────────────────────────────────────────────────────────────────────────────


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
    shown = events[-MOST_EVENTS:]
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
        "can": _possible(explanation.state, job),
        "other_commands": [command_line(verb, found) for verb in ("show", "history", "explain", "logs")],
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
    return list(_attempts(events))[-SHOWN:]


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
