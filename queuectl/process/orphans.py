"""Finds and kills what is left of a lost worker's runs, by the token and the lock that their processes carry."""

import os
import signal
from collections.abc import Sequence

from queuectl.domain.job import Job
from queuectl.process import procfs
from queuectl.process.job_lock import LockFile, identity, lock_file
from queuectl.runtime import Reach

__all__ = ["OUTER", "TOKEN", "LostRuns", "queue_scope"]

TOKEN = "QUEUECTL_RUN_TOKEN"
OUTER = "QUEUECTL_OUTER_RUNS"
"""The tokens of the runs in which a worker was itself started, outermost first, separated by blanks."""


def queue_scope(log_id: str, folder: str, reach: Reach) -> str:
    """A text that no other queue has: a copy has another lock file, and on a server the folder's name is random."""
    place = os.path.basename(folder) if reach is Reach.SEVERAL_HOSTS else identity(lock_file(os.path.realpath(folder)))
    return f"{log_id}:{place}"


class LostRuns:
    """The runs that lost workers of one queue left. `scope` distinguishes this queue from all others, also copies."""

    def __init__(self, locks: LockFile, scope: str) -> None:
        self._locks, self._scope = locks, scope
        self._logged: set[int] = set()

    def token(self, job: Job) -> bytes:
        """The variable that marks the processes of a run, as `NAME=value`."""
        return f"{TOKEN}={self._scope}:{job.position}:{job.run}".encode()

    def clear(self, job: Job) -> bool:
        """Kill what is left of a lost worker's run. True once nothing is left and the job's lock can be taken."""
        found = [pid for pid in procfs.every_process() if self._is_left(pid, job)]
        if found:
            self._kill(job, found)
            return False
        lock = self._locks.take(job.position)
        if lock is None:
            self._kill_claimant(job)
            return False
        os.close(lock)
        return True

    def _kill(self, job: Job, found: list[int]) -> None:
        """Kill these processes and all others in their sessions."""
        sessions = {procfs.session(pid) for pid in found} - {0, os.getsid(0)}

        def is_meant(pid: int) -> bool:
            return procfs.session(pid) in sessions or self._is_left(pid, job)

        left = [pid for pid in procfs.every_process() if is_meant(pid)]
        self._log(job, left)
        procfs.kill(left, signal.SIGKILL, is_meant)

    def _log(self, job: Job, left: Sequence[int]) -> None:
        """Log these processes, each of them once: it may take some time until a killed process is gone."""
        import logging  # not at start-up: `wait` and `logs` import this file too

        log = logging.getLogger("queuectl.worker")
        for text in procfs.named([pid for pid in left if pid not in self._logged]):
            log.warning("job %s run %d: killing what its lost worker left: %s", job.id, job.run, text)
        self._logged = {pid for pid in {*self._logged, *left} if procfs.started_at(pid)}

    def _is_left(self, pid: int, job: Job) -> bool:
        """Whether a process belongs to the run. The worker that claimed it does not, though it may hold the lock."""
        if pid in (os.getpid(), job.claim.pid if job.claim else 0) or procfs.is_zombie(pid):
            return False
        if self.token(job) in procfs.environment(pid).split(b"\0"):
            return True
        return self._locks.is_held_by(pid, job.position)

    def _kill_claimant(self, job: Job) -> None:
        """Kill a worker that holds the lock although none of the run's processes is left: it hangs before the start."""
        claim = job.claim
        if claim is not None and self._locks.works(claim):
            procfs.kill([claim.pid], signal.SIGKILL, lambda _: bool(procfs.alive(claim, Reach.SEVERAL_HOSTS)))
