"""What is left of a lost worker's runs: known by the token and the lock that a run's processes carry, and killed."""

import os
import signal

from queuectl.domain.job import Job
from queuectl.process import job_lock as runlock
from queuectl.process import procfs as process

__all__ = ["TOKEN", "Traces"]

TOKEN = "QUEUECTL_RUN_TOKEN"


class Traces:
    """The traces that runs of one queue leave. `locks` is its lock file, `log_id` tells it from any other queue.

    `spans_hosts`: it is on a server, so that another lock file below another QUEUECTL_HOME is its own too.
    """

    def __init__(self, locks: str, log_id: str, spans_hosts: bool = False) -> None:
        self._locks, self._log_id, self._spans_hosts = locks, log_id, spans_hosts

    def token(self, job: Job) -> bytes:
        """The variable by which the processes of a run are known, `NAME=value`: unlike those of any other queue."""
        return f"{TOKEN}={self._log_id}:{job.position}:{job.run}".encode()

    def clear(self, job: Job) -> bool:
        """Kill what is left of a lost worker's run; True once nothing is, and the job's lock can be taken."""
        found = [pid for pid in process.every_process() if self._is_left(pid, job)]
        sessions = {process.session(pid) for pid in found} - {0, os.getsid(0)}
        process.kill(
            process.every_process() if found else (),
            signal.SIGKILL,
            lambda pid: process.session(pid) in sessions or self._is_left(pid, job),
        )
        if found:
            return False
        lock = runlock.take(self._locks, job.position)
        if lock is None:
            _kill_claimant(job)
            return False
        os.close(lock)
        return True

    def _is_left(self, pid: int, job: Job) -> bool:
        """Whether a process is the run's. Its worker is not, though it may hold the lock, nor are those beside it."""
        if pid in (os.getpid(), job.claim.pid if job.claim else 0) or process.is_zombie(pid):
            return False
        if self.token(job) in process.environment(pid).split(b"\0"):
            return True
        return runlock.holds(pid, self._locks, job.position, anywhere=self._spans_hosts)


def _kill_claimant(job: Job) -> None:
    """The lock is held although no process of the run is left: its worker stopped between claim and start."""
    claim = job.claim
    if claim is not None and process.alive(claim, spans_hosts=True):
        process.kill([claim.pid], signal.SIGKILL, lambda _: bool(process.alive(claim, spans_hosts=True)))
