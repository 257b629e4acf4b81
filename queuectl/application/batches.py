"""The batches of a queue: how many of each one's jobs are in each state, since when, and how long it takes."""

from collections.abc import Sequence
from typing import Any

from queuectl.application.overview import SHOWN_STATES
from queuectl.application.queue import Queue
from queuectl.domain.machine import LIVE
from queuectl.store.batch_limits import limit_of
from queuectl.store.rows import BatchCount
from queuectl.units import SECOND, format_time

__all__ = ["batches"]


def batches(queue: Queue) -> list[dict[str, Any]]:
    """A row for each batch, the newest last, in the shape of `batches --json`. Purged jobs are not counted.

    `took` (seconds) is set when all its jobs have ended, else `eta`: an estimate from those that have, or None. With
    more than `max_failures` of its jobs in the dead-letter queue, those that were pending have been cancelled.
    """
    found: dict[str, list[BatchCount]] = {}
    for count in queue.store.batches.all():
        found.setdefault(count.batch, []).append(count)
    now = queue.store.log.wall() // SECOND
    ordered = sorted(found.items(), key=lambda each: min(count.number for count in each[1]))
    return [_row(name, counts, now, limit_of(queue.store.log, name)) for name, counts in ordered]


def _row(name: str, counts: Sequence[BatchCount], now: int, max_failures: int | None) -> dict[str, Any]:
    jobs = {state.value: sum(count.jobs for count in counts if count.state is state) for state in SHOWN_STATES}
    first, last = min(count.first for count in counts), max(count.last for count in counts)
    total, live = sum(jobs.values()), sum(jobs[state] for state in LIVE)
    ended = total - live
    return {
        "name": name,
        "jobs": total,
        **jobs,
        "started_at": format_time(first * SECOND),
        "changed_at": format_time(last * SECOND),
        "took": None if live else last - first,
        "eta": (now - first) * live // ended if live and ended else None,
        "max_failures": max_failures,
    }
