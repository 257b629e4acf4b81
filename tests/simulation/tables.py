"""The part of the oracle that compares the tables with a fold of the log, row by row."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from queuectl.domain.events import BatchOpened, Enqueued, RecordedEvent
from queuectl.domain.job import Job, fold
from queuectl.store.projections import JOBS, note_row, rows
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter

__all__ = ["InvariantError", "compare_all", "compare_batches", "compare_counts", "compare_job", "must"]


class InvariantError(AssertionError):
    """The queue broke an invariant."""


def must(holds: bool, otherwise: str) -> None:
    """Raise InvariantError unless `holds`."""
    if not holds:
        raise InvariantError(otherwise)


def _of_jobs(row: dict[str, Any]) -> tuple[Any, ...]:
    """The values of a row of `jobs`, without what is counted in other tables."""
    return tuple(row[name] for name in JOBS)


def compare_job(store: Store, job_id: str, job: Job | None, known: tuple[str, int, int]) -> None:
    """Compare a job's rows with its fold and with the state, attempts and run that the oracle recorded."""
    expected = rows(job)
    row = store.tables.job(job_id)
    must((_of_jobs(row) if row else None) == expected.get("jobs"), f"{job_id}: its row is {row}")
    dead = [tuple(each.values()) for each in store.tables.dlq(job_id)]
    must(dead == [*filter(None, [expected.get("dlq")])], f"{job_id}: its rows in the dlq are {dead}")
    said = (row["state"], row["attempts"], row["run"]) if row else ("purged", *known[1:])
    must(said == known, f"{job_id}: its row says {said}, not {known}")


def compare_counts(store: Store, jobs: Iterable[tuple[str, str]]) -> None:
    """Compare the counts with (queue, state) of every job."""
    expected = Counter(each for each in jobs if each[1] != "purged")
    counts = {(count.queue, count.state.value): count.jobs for count in store.tables.counts()}
    must(counts == dict(expected), f"the counts are {counts}, not {dict(expected)}")


def compare_batches(store: Store, records: Iterable[RecordedEvent], jobs: Iterable[Job]) -> None:
    """Compare the counts of batches with their jobs, and how many jobs they say were added with those that were."""
    added, opened = Counter[str](), Counter[str]()
    for record in records:
        if isinstance(record.event, Enqueued) and record.event.batch is not None:
            added[record.event.batch] += 1
        elif isinstance(record.event, BatchOpened):
            opened[record.stream_id.partition(":")[2]] += record.event.jobs
    must(opened == added, f"{added} jobs were added to batches, which say {opened}")
    counts = {(each.batch, each.state.value): each.jobs for each in store.batches.all()}
    expected = Counter((job.spec.batch, job.state.value) for job in jobs if job.spec.batch and job.state != "purged")
    must(counts == dict(expected), f"the batches have {counts}, not {dict(expected)}")


def compare_all(store: Store, records: Iterable[RecordedEvent]) -> None:
    """Compare all tables with a new fold of the whole log."""
    streams: dict[str, list[RecordedEvent]] = defaultdict(list)
    notes = {}
    for record in records:
        streams[record.stream_id].append(record)
        if row := note_row(record):
            notes[row.table, row.key] = row.values
    lives = [fold(each) for stream, each in streams.items() if not stream.startswith("$")]
    compare_batches(store, [each for stream in streams.values() for each in stream], filter(None, lives))
    folded = [*map(rows, lives)]
    jobs = sorted(_of_jobs(row) for row in store.tables.jobs(JobFilter(limit=0)))
    must(jobs == sorted(each["jobs"] for each in folded if "jobs" in each), "the jobs are not what the log says")
    dead = sorted(tuple(row.values()) for row in store.tables.dlq())
    must(dead == sorted(each["dlq"] for each in folded if "dlq" in each), "the dlq is not what the log says")
    pauses = {(queue, *row.values()) for queue, row in store.tables.pauses().items()}
    must(
        pauses == {each for (table, _), each in notes.items() if table == "pauses" and each}, f"the pauses are {pauses}"
    )
