"""Candidates for completion of a command line, each with a hint: jobs, queues, tags, batches, workers, schedules.

Each answer takes a bounded time, however long the log is.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from queuectl.domain.machine import State
from queuectl.domain.names import is_generated
from queuectl.render.job_cells import tags_in
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from queuectl.units import SECOND, ago, counted

__all__ = ["MOST", "Candidate", "batches", "jobs", "queues", "schedules", "tags", "workers"]

MOST = 50
"""How many candidates there are at most."""
LOOKED_AT = 200
"""The newest jobs, whose tags are candidates."""


class Candidate(NamedTuple):
    """A word that may stand in this place, and a hint for the reader. Both may hold any text."""

    value: str
    hint: str = ""


def jobs(store: Store, text: str, states: Collection[State] = (), *, begun: bool = False) -> list[Candidate]:
    """The newest jobs in these states (none: all) whose id or number begins with the text; `begun`: that have a run.

    A job with a generated id is named by its number, which is shorter, unless the text is the beginning of its id.
    """
    rows = store.tables.jobs(JobFilter(states=tuple(states), limit=MOST))
    found = [*_named(rows, text, begun=begun)]
    if text and len(rows) == MOST:
        shown = {row["id"] for row in rows}
        others = (each for each in store.history.streams(text, MOST) if each not in shown)
        older = (row for row in map(store.tables.job, others) if row and (not states or row["state"] in states))
        found += _named(older, text, begun=begun)
    return found[:MOST]


def _named(rows: Any, text: str, *, begun: bool) -> Iterator[Candidate]:
    for row in rows:
        name = _name(row, text)
        if name is not None and (row["run"] or not begun):
            yield Candidate(name, f"{row['state']}: {row['command']}")


def _name(row: Mapping[str, Any], text: str) -> str | None:
    job_id, number = row["id"], str(row["position"])
    if job_id.startswith(text) and (text or not is_generated(job_id)):
        return str(job_id)
    mark = text[:1] if text.startswith("#") else ""
    return f"{mark}{number}" if f"{mark}{number}".startswith(text) else None


def queues(store: Store, text: str) -> list[Candidate]:
    """The queues whose name begins with the text."""
    found = dict[str, int]()
    for count in store.tables.counts():
        found[count.queue] = found.get(count.queue, 0) + count.jobs
    return [Candidate(name, counted(jobs, "job")) for name, jobs in found.items() if name.startswith(text)]


def tags(store: Store, text: str) -> list[Candidate]:
    """The tags of the newest jobs, as `NAME=VALUE`."""
    found = dict[str, None]()
    for row in store.tables.jobs(JobFilter(limit=LOOKED_AT)):
        found |= dict.fromkeys(f"{name}={value}" for name, value in tags_in(row["tags"]).items())
    return [Candidate(each) for each in found if each.startswith(text)][:MOST]


def schedules(store: Store, text: str) -> list[Candidate]:
    """The schedules whose name begins with the text."""
    found = [each for each in store.schedules.all() if each.name.startswith(text)][:MOST]
    return [Candidate(each.name, each.definition.job.command) for each in found]


def batches(store: Store, text: str) -> list[Candidate]:
    """The batches whose name begins with the text, by their names."""
    return [Candidate(name) for name in store.batches.names(text, MOST)]


def workers(store: Store, text: str) -> list[Candidate]:
    """The workers whose name begins with the text."""
    now = store.log.wall()
    return [
        Candidate(row.name, f"{row.host}, heartbeat {ago(now - row.last_heartbeat * SECOND)} ago")
        for row in store.workers.rows()
        if row.name.startswith(text)
    ]
