"""The options of one worker."""

from dataclasses import dataclass

from queuectl.domain.events import WorkerStarted
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND
from queuectl.worker.ahead import AT_MOST

__all__ = ["WorkerOptions"]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of a worker. `grace` and `lease` are in microseconds; an empty `queues` means all queues.

    `inside`: ids of the jobs that started this worker. They end after it, so `drain` does not wait for them.
    `machine_losses`: how many runs in a row a job may lose to machine restarts before they cost attempts.
    `stop_timeout`: microseconds that running jobs have to finish once it is asked to stop; None: no limit.
    `version` and `log_file`: those of its program and its log, to be recorded.
    `ahead`: how many jobs it may claim before there is a slot for them.
    """

    slots: int = 1
    queues: frozenset[str] = frozenset()
    grace: int = 10 * SECOND
    lease: int = 30 * SECOND
    drain: bool = False
    once: bool = False
    inside: frozenset[str] = frozenset()
    machine_losses: int = 3
    ahead: int = AT_MOST
    stop_timeout: int | None = None
    version: str = ""
    log_file: str = ""

    def started(self, row: WorkerRow, lock_file: str) -> WorkerStarted:
        """The event of the start of a worker with these options; `row` says who it is."""
        return WorkerStarted(
            host=row.host,
            pid=row.pid,
            slots=self.slots,
            queues=row.queues,
            lock_file=lock_file,
            version=self.version,
            log_file=self.log_file,
        )
