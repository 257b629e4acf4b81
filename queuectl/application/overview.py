"""The overview that `status` shows: jobs by queue and state, pauses, workers, and the oldest job that is due."""

from typing import Any

from queuectl.application.queue import Queue
from queuectl.application.workers import workers
from queuectl.domain.machine import State
from queuectl.render import json_shapes
from queuectl.units import SECOND, format_time

__all__ = ["SHOWN_STATES", "overview"]

SHOWN_STATES = [state for state in State if state is not State.PURGED]


def overview(queue: Queue, *, live: bool) -> dict[str, Any]:
    """The overview in the shape of `status --json`. `live`: the store is not the past, so workers are known."""
    queues = _queues(queue)
    oldest = queue.store.tables.oldest_due(queue.store.log.wall())
    return {
        "queues": queues,
        "states": {state: sum(row[state] for row in queues) for state in SHOWN_STATES},
        "paused": [
            {"queue": name, **row, "paused_at": format_time(row["paused_at"] * SECOND)}
            for name, row in queue.store.tables.pauses().items()
        ],
        "workers": list(map(json_shapes.worker, workers(queue))) if live else None,
        "oldest_due": json_shapes.job(oldest) if oldest else None,
    }


def _queues(queue: Queue) -> list[dict[str, Any]]:
    """A row for each queue: its name, and how many of its jobs are in each state."""
    queues: dict[str, dict[str, Any]] = {}
    for count in queue.store.tables.counts():
        row = queues.setdefault(count.queue, {"queue": count.queue, **dict.fromkeys(SHOWN_STATES, 0)})
        row[count.state] = count.jobs
    return list(queues.values())
