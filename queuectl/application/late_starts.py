"""When jobs start whose due time is wrong, because it was recorded by a clock that was ahead."""

from collections.abc import Iterable, Mapping
from typing import Any

from queuectl.domain.job import Job, misdated_wait
from queuectl.store.protocol import Store

__all__ = ["late_start", "late_starts"]


def late_start(store: Store, job: Job, now: int, behind_for: int | None) -> int | None:
    """When such a job starts (microseconds, wall clock); None for any other job. `behind_for`: see `is_due`."""
    if behind_for is None or (wait := misdated_wait(job, now)) is None:
        return None
    return now + max(0, wait - (store.tables.waited(job, now, behind_for) or 0))


def late_starts(store: Store, rows: Iterable[Mapping[str, Any]], now: int) -> dict[str, int]:
    """When those of these rows of `jobs` start that are such jobs, by id."""
    behind_for = store.log.behind_for()
    if behind_for is None:
        return {}
    ids = [row["id"] for row in rows if row["due_at"] is not None and row["due_at"] > now]
    jobs = [job for job in store.log.load_all(ids).values() if isinstance(job, Job)]
    starts = {job.id: late_start(store, job, now, behind_for) for job in jobs}
    return {job_id: start for job_id, start in starts.items() if start is not None}
