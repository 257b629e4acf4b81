"""The metrics of a queue in the text format of Prometheus, with a bounded number of labels.

All but the counts of runs come from the tables, the workers' rows and the ends of the log and of its archive: their
cost does not grow with the number of jobs. The counts of runs are those of a `RunTally`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from queuectl.application.queue import Queue
from queuectl.application.run_tally import BUCKETS, Histogram, RunTally
from queuectl.application.schedule_views import late_schedules
from queuectl.application.workers import workers
from queuectl.store.protocol import Store
from queuectl.units import SECOND

__all__ = ["MAX_QUEUES", "OTHER", "metrics"]

MAX_QUEUES = 200
"""The most queues that have labels of their own: the first by name. The others are counted together as OTHER."""
OTHER = "other"
WORKER_STATES = ("running", "stopping", "restarting", "lost")


class Sample(NamedTuple):
    """One line: what is put behind the metric's name, its labels and its value."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


def metrics(queue: Queue, tally: RunTally) -> str:
    """The metrics now. The counts of runs are those that the tally has read so far."""
    store = queue.store
    label = _labels(store, tally)
    runs = (*_jobs(store, label), *_runs(tally, label))
    families = (*runs, *_workers(queue), *_schedules(store, tally), *_log(store))
    lines: list[str] = []
    for name, kind, about, samples in families:
        lines += [f"# HELP queuectl_{name} {about}", f"# TYPE queuectl_{name} {kind}"]
        lines += [_line(f"queuectl_{name}{sample.suffix}", sample) for sample in samples]
    return "\n".join([*lines, ""])


Family = tuple[str, str, str, Iterable[Sample]]


def _labels(store: Store, tally: RunTally) -> Callable[[str], str]:
    """A queue's label: its name, or OTHER for those that are too many."""
    names = sorted({*(count.queue for count in store.tables.counts()), *tally.ended, *tally.waited})
    own = set(names[:MAX_QUEUES])
    return lambda queue: queue if queue in own else OTHER


def _jobs(store: Store, label: Callable[[str], str]) -> Iterator[Family]:
    jobs: Counter[tuple[str, str]] = Counter()
    for count in store.tables.counts():
        jobs[label(count.queue), count.state.value] += count.jobs
    samples = [Sample({"queue": queue, "state": state}, number) for (queue, state), number in sorted(jobs.items())]
    yield "jobs", "gauge", "Jobs in a state.", samples
    held = sum(each.held for each in store.waits.by_queue())
    yield "held_jobs", "gauge", "Waiting jobs whose condition can no longer be met.", _one(held)
    now, oldest = store.log.wall(), dict[str, float]()
    for queue, due_at in store.tables.oldest_due_by_queue().items():
        waits = max(0, now - due_at) / SECOND
        oldest[label(queue)] = max(waits, oldest.get(label(queue), 0))
    waiting = [Sample({"queue": queue}, seconds) for queue, seconds in sorted(oldest.items())]
    yield "oldest_pending_seconds", "gauge", "How long the job that is due the longest has been due.", waiting


def _runs(tally: RunTally, label: Callable[[str], str]) -> Iterator[Family]:
    ended: Counter[tuple[str, str]] = Counter()
    for queue, outcomes in tally.ended.items():
        for outcome, number in outcomes.items():
            ended[label(queue), outcome] += number
    samples = [Sample({"queue": queue, "outcome": outcome}, n) for (queue, outcome), n in sorted(ended.items())]
    yield "runs_total", "counter", "Ended runs, by the type of the event that ended them.", samples
    yield "run_seconds", "histogram", "How long runs took.", _histograms(tally.took, label)
    yield (
        "wait_seconds",
        "histogram",
        "How long due jobs waited until they were claimed.",
        _histograms(tally.waited, label),
    )


def _histograms(found: Mapping[str, Histogram], label: Callable[[str], str]) -> Iterator[Sample]:
    merged: dict[str, Histogram] = {}
    for queue, histogram in found.items():
        merged.setdefault(label(queue), Histogram()).merge(histogram)
    for queue, histogram in sorted(merged.items()):
        below = 0
        for limit, count in zip((*BUCKETS, "+Inf"), histogram.counts, strict=True):
            below += count
            yield Sample({"queue": queue, "le": str(limit)}, below, "_bucket")
        yield Sample({"queue": queue}, histogram.total, "_sum")
        yield Sample({"queue": queue}, below, "_count")


def _workers(queue: Queue) -> Iterator[Family]:
    rows = workers(queue)
    living = [row for row in rows if row["state"] != "lost"]
    states = Counter(row["state"] for row in rows)
    samples = [Sample({"state": state}, states[state]) for state in WORKER_STATES]
    yield "workers", "gauge", "Workers in a state.", samples
    yield "slots", "gauge", "Slots of the workers that are not lost.", _one(sum(row["slots"] for row in living))
    yield "slots_busy", "gauge", "Slots in which a job runs.", _one(sum(row["running"] for row in living))


def _schedules(store: Store, tally: RunTally) -> Iterator[Family]:
    own = set(sorted({row.name for row in store.schedules.all()} | set(tally.slots))[:MAX_QUEUES])
    late = [Sample({"schedule": each.name}, each.late / SECOND) for each in late_schedules(store) if each.name in own]
    yield "schedule_late_seconds", "gauge", "How late a schedule is; only those that are late.", late
    slots: Counter[tuple[str, str]] = Counter()
    for name, results in tally.slots.items():
        for result, number in results.items():
            slots[name if name in own else OTHER, result] += number
    samples = [Sample({"schedule": name, "result": result}, number) for (name, result), number in sorted(slots.items())]
    yield "schedule_slots_total", "counter", "Slots of schedules that made a job, or were skipped.", samples


def _log(store: Store) -> Iterator[Family]:
    head = store.log.head()
    yield "log_position", "gauge", "The position of the last event.", _one(head.position)
    if store.location.archive is not None:
        end = store.location.archive.end() or store.log.base
        lag = max(0, head.position - end.position)
        yield "archive_lag", "gauge", "Events at the end of the log that are not in the archive yet.", _one(lag)


def _one(value: float) -> Sequence[Sample]:
    return [Sample({}, value)]


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
    return f"{name}{f'{{{labels}}}' if labels else ''} {sample.value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
