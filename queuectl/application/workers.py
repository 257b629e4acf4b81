"""Lists the workers of a queue, and stops them from any machine."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

from msgspec.structs import asdict

from queuectl.application.liveness import is_alive
from queuectl.application.queue import Queue
from queuectl.domain.events import RecordedEvent, WorkerStarted
from queuectl.domain.machine import State
from queuectl.domain.names import worker_stream
from queuectl.errors import RefusedError, UsageError, WaitTimedOutError, command_line
from queuectl.runtime import Clock, pause
from queuectl.store.rows import JobFilter, WorkerRow
from queuectl.units import SECOND

__all__ = ["Stop", "ending_workers", "is_called", "is_taken", "latest_start", "workers"]

POLL = 50_000
"""Microseconds between two checks whether the workers have stopped."""
TELL_AFTER = SECOND // 2
"""Microseconds after which a wait is not short."""
SHOWN = 3
"""Jobs that an error names one by one."""
Row: TypeAlias = dict[str, Any]
FINISH, KILL = 1, 2
"""How a worker is to stop: after its running jobs, or at once."""


def workers(queue: Queue) -> list[dict[str, Any]]:
    """Each worker's row and `state`: `lost` if its process is dead, `restarting` if it has no process yet."""
    return [{**asdict(row), "state": _state(queue, row)} for row in queue.store.workers.rows()]


def _state(queue: Queue, row: WorkerRow) -> str:
    if not _may_live(queue, row):
        return "lost"
    return "stopping" if row.stop_requested else "running" if row.slots else "restarting"


def is_called(row: WorkerRow, name: str) -> bool:
    """Whether a worker has this name, or is one of those that were started together under it (`NAME.1`, `NAME.2`)."""
    return row.name == name or (row.name.startswith(f"{name}.") and row.name[len(name) + 1 :].isdigit())


def is_taken(queue: Queue, name: str) -> bool:
    """Whether a worker has this name, or a name that begins with it and a number."""
    return any(is_called(row, name) for row in queue.store.workers.rows())


def ending_workers(queue: Queue, name: str, own: Collection[str]) -> list[WorkerRow]:
    """The running workers of this name, all of which are stopping.

    Raises RefusedError when one is not, or is one of `own`, whose job the caller is: it ends after the caller.
    """
    rows = [row for row in queue.store.workers.rows() if is_called(row, name) and is_alive(queue.store, row)]
    for row in rows:
        where = f"{row.name} (pid {row.pid} on {row.host})"
        if not row.stop_requested:
            raise RefusedError(f"{where} is already running: choose another --name")
        if row.name in own:
            raise RefusedError(f"{where} runs this command and ends after it: choose another --name")
    return rows


def _may_live(queue: Queue, row: WorkerRow) -> bool:
    """Whether a worker may still be running: False only if we know that it is dead."""
    return is_alive(queue.store, row) is not False


class Stop:
    """A request to stop workers: of these names, or all of them. Raises UsageError for a name that none has.

    The workers called `own` run the caller as their job: they are asked too, but the caller cannot wait for them.
    """

    def __init__(self, queue: Queue, names: Sequence[str] | None, own: Collection[str], *, now: bool) -> None:
        self._queue, self._level = queue, KILL if now else FINISH
        self.rows = _chosen(queue.store.workers.rows(), names or ())
        self.own = [row.name for row in self.rows if row.name in own]
        self.waited_for = {row.name for row in self.rows}.difference(self.own)
        # determined before any worker is asked, because a worker that has stopped is not lost
        self.lost = [row for row in self.rows if not _may_live(queue, row)]

    def ask(self) -> None:
        """Ask all of them, lost ones too, because a supervisor may be about to replace a lost one."""
        self._ask(self.rows)

    def _ask(self, rows: Sequence[WorkerRow]) -> None:
        for row in rows:
            if row.stop_requested < self._level:
                self._queue.store.workers.ask_to_stop(row.name, self._level)

    def wait(self, clock: Clock, until: int | None, tell: Callable[[Sequence[Row]], None]) -> None:
        """Wait until they have stopped; `until` is a moment of the monotonic clock. Raises WaitTimedOutError.

        `tell` is called with the jobs that they still run, when the wait is not short, and again when there are fewer.
        """
        named, tell_at = set[str](), clock.monotonic() + TELL_AFTER
        while left := self._left(self.waited_for):
            self._ask(left)
            if until is not None and clock.monotonic() >= until:
                names = ", ".join(row.name for row in left)
                raise WaitTimedOutError(f"timed out: {names} still running {_named(self._running(left))}")
            if clock.monotonic() >= tell_at:
                running, tell_at = self._running(left), clock.monotonic() + SECOND
                if {job["id"] for job in running} != named:
                    named = {job["id"] for job in running}
                    tell(running)
            pause(POLL)

    def _running(self, rows: Sequence[WorkerRow]) -> list[Row]:
        """The jobs that these workers run, the first to start first."""
        names = {row.name for row in rows}
        jobs = self._queue.store.tables.jobs(JobFilter(states=(State.PROCESSING,), limit=0))
        return sorted((job for job in jobs if job["locked_by"] in names), key=lambda job: job["locked_at"] or 0)

    def _left(self, names: Collection[str]) -> list[WorkerRow]:
        """The workers that have not stopped yet. A later worker of the same name does not count, a replacement does."""
        rows = [row for row in self._queue.store.workers.rows() if row.name in names]
        return [row for row in rows if (row.stop_requested or not row.slots) and _may_live(self._queue, row)]


def _named(jobs: Sequence[Row]) -> str:
    shown = ", ".join(f"#{job['position']} ({job['command']})" for job in jobs[:SHOWN])
    return shown + (f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else "") or "jobs"


def latest_start(queue: Queue, name: str) -> WorkerStarted | None:
    """The last start of a worker of this name that the log has; None when there is none."""
    found = None
    for record in queue.store.log.examined(stream_id=worker_stream(name)):
        if isinstance(record, RecordedEvent) and isinstance(record.event, WorkerStarted):
            found = record.event
    return found


def _chosen(rows: list[WorkerRow], names: Sequence[str]) -> list[WorkerRow]:
    for name in names:
        if not any(is_called(row, name) for row in rows):
            raise UsageError(f"there is no worker {name} (`{command_line('worker', 'list')}` lists the workers)")
    return [row for row in rows if not names or any(is_called(row, name) for name in names)]
