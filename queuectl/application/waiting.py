"""Jobs that wait for others: what holds them up, which cannot start without help, and the commands that free them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from queuectl.domain.dependencies import BATCH, JOB, MET, NEVER, OPEN, describe, held_because, outcome, why_never
from queuectl.domain.events import After
from queuectl.domain.machine import LIVE, State
from queuectl.domain.names import PAUSE_ALL
from queuectl.errors import QueuectlError, command_line
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter, WaitRow
from queuectl.units import counted

__all__ = [
    "HeldError",
    "batches_left",
    "check_held",
    "dependants",
    "held_sentence",
    "left_over",
    "open_sentence",
    "remedies",
    "stuck",
    "waits_elsewhere",
]


class HeldError(QueuectlError):
    """The job is held: what it waits for can no longer happen."""


def edge_of(row: WaitRow) -> After:
    """The dependency of a row."""
    return After(row.name, row.wanted, row.kind)


def open_sentence(rows: Iterable[WaitRow]) -> str:
    """`it waits for build (ok), batch grid (end)`."""
    return f"it waits for {describe(edge_of(row) for row in rows if row.standing != MET)}"


def batches_left(store: Store, rows: Iterable[WaitRow]) -> Iterator[str]:
    """`batch grid: 2 of 10 jobs not ended`, for each batch that is waited for."""
    for row in rows:
        if row.kind == BATCH and row.standing == OPEN:
            jobs = len(store.tables.ids(JobFilter(batch=row.name, limit=0)))
            yield f"batch {row.name}: {len(_live(store, row.name)):,} of {counted(jobs, 'job')} not ended"


def held_sentence(store: Store, rows: Iterable[WaitRow]) -> str | None:
    """Why a job is held: `build is in the dead-letter queue`; None if it is not held."""
    reasons = [why_never(edge_of(row), _outcome(store, row)) for row in rows if row.standing == NEVER]
    return ", ".join(reasons) or None


def remedies(store: Store, job_id: str, rows: Sequence[WaitRow]) -> list[str]:
    """The commands that help a job that waits: to free one that is held, else to wait; last, to start it anyway."""
    unmet = [row for row in rows if row.standing == NEVER]
    commands = _retries(store, unmet) if unmet else [_patience(store, job_id, rows)]
    return [*dict.fromkeys(commands), command_line("unblock", job_id)]


def _retries(store: Store, unmet: Iterable[WaitRow]) -> Iterator[str]:
    """The commands that let happen what can no longer happen by itself."""
    for row in unmet:
        if row.kind == BATCH:
            yield command_line("retry", "--batch", row.name)
        elif row.wanted == "ok":
            words = ("dlq", "retry") if _outcome(store, row) is State.DLQ else ("retry",)
            yield command_line(*words, row.name)


def _patience(store: Store, job_id: str, rows: Iterable[WaitRow]) -> str:
    """The command that waits for the job; if a job for which it waits is held, the one that explains that job."""
    causes = (store.tables.job(row.name) for row in rows if row.kind == JOB and row.standing == OPEN)
    held = next((cause["id"] for cause in causes if cause is not None and cause["held"]), None)
    return command_line("wait", job_id) if held is None else command_line("explain", held)


def _outcome(store: Store, row: WaitRow) -> State | None:
    return outcome(store.log.load(row.name)) if row.kind == JOB else None


def dependants(store: Store, ids: Collection[str]) -> list[str]:
    """The jobs that wait for these jobs, and those that wait for them, and so on."""
    behind = _behind(store.waits.dependencies(), JOB)
    return [job_id for job_id in _spread(ids, lambda job_id: behind[job_id]) if job_id not in ids]


def _behind(rows: Iterable[WaitRow], kind: str) -> dict[str, list[str]]:
    """The jobs that wait for each job, or for each batch."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.kind == kind and row.standing != MET:
            found[row.name].append(row.id)
    return found


def _spread(first: Iterable[str], following: Callable[[str], Iterable[str]]) -> dict[str, None]:
    found, rest = dict[str, None](), [*first]
    while rest:
        job_id = rest.pop()
        if job_id not in found:
            found[job_id] = None
            rest += following(job_id)
    return found


def stuck(store: Store) -> list[str]:
    """The jobs that cannot start unless someone helps: held ones, those behind them, and those behind paused queues."""
    rows = store.waits.dependencies()
    if not rows:
        return []
    waiting = {row.id for row in rows}
    jobs, batches = _behind(rows, JOB), _behind(rows, BATCH)
    members = {job_id: name for name in batches for job_id in _live(store, name)}
    first = {row.id for row in rows if row.standing == NEVER}
    first |= {job_id for job_id in {*jobs, *members} - waiting if _is_dead_end(store, job_id)}

    def following(job_id: str) -> Iterator[str]:
        yield from jobs[job_id]
        if job_id in members:
            yield from batches[members[job_id]]

    return [job_id for job_id in _spread(first, following) if job_id in waiting]


def _live(store: Store, batch: str) -> Sequence[str]:
    return store.tables.ids(JobFilter(states=LIVE, batch=batch, limit=0))


def _is_dead_end(store: Store, job_id: str) -> bool:
    """Whether a job that others wait for never starts: its queue is paused, or it is damaged."""
    row = store.tables.job(job_id)
    if row is None or row["state"] not in LIVE:
        return False
    if row["state"] == State.PROCESSING:
        return row["locked_by"] is None
    return row["due_at"] is None or not {PAUSE_ALL, row["queue"]}.isdisjoint(store.tables.pauses())


def left_over(store: Store, queues: Collection[str]) -> Iterator[str]:
    """Sentences on the jobs of these queues (none: all) that no worker can start, with the command that helps."""
    yield from _in_paused_queues(store, queues)
    held = {row.id for row in store.waits.dependencies() if row.standing == NEVER}
    behind = [job_id for job_id in stuck(store) if job_id not in held and _is_served(_queue(store, job_id), queues)]
    if behind:
        left = f"{counted(len(behind), 'job')} left: waiting for a job that is held or whose queue is paused"
        yield f"{left} (`{command_line('explain', min(behind))}`)"
    if number := sum(each.held for each in store.waits.by_queue() if _is_served(each.queue, queues)):
        yield f"{counted(number, 'job')} held: {held_because(number)} (`{command_line('list', '--state', 'held')}`)"


def _in_paused_queues(store: Store, queues: Collection[str]) -> Iterator[str]:
    pending = {each.queue: each.jobs for each in store.tables.counts() if each.state is State.PENDING and each.jobs}
    left = {queue: jobs for queue, jobs in pending.items() if _is_served(queue, queues)}
    paused = store.tables.pauses()
    if PAUSE_ALL in paused and left:
        yield f"{counted(sum(left.values()), 'job')} left: every queue is paused (`{command_line('resume')}`)"
        return
    for queue in filter(paused.__contains__, left):
        yield f"{counted(left[queue], 'job')} left: queue {queue} is paused (`{command_line('resume', queue)}`)"


def _is_served(queue: str, queues: Collection[str]) -> bool:
    return not queues or queue in queues


def _queue(store: Store, job_id: str) -> str:
    row = store.tables.job(job_id)
    return "" if row is None else str(row["queue"])


def waits_elsewhere(store: Store, queues: Collection[str]) -> tuple[str, str, str] | None:
    """A job of these queues that waits for a live job of another queue: their ids, and that queue."""
    for row in store.waits.dependencies():
        if row.standing != OPEN or _queue(store, row.id) not in queues:
            continue
        for cause in [row.name] if row.kind == JOB else _live(store, row.name):
            if (queue := _queue(store, cause)) not in queues:
                return row.id, cause, queue
    return None


def check_held(store: Store, ids: Collection[str]) -> None:
    """Raises HeldError when none of these jobs can end without help."""
    job_id = next(iter(ids))
    rows = store.waits.dependencies(job_id)
    if not rows or not set(stuck(store)).issuperset(ids):
        return
    why = held_sentence(store, rows)
    more = f", and {len(ids) - 1} more are held" if len(ids) > 1 else ""
    if why is None:
        raise HeldError(f"job {job_id} cannot start: {open_sentence(rows)}, which cannot start either{more}")
    raise HeldError(f"job {job_id} is held: {why}{more} (`{remedies(store, job_id, rows)[0]}`)")
