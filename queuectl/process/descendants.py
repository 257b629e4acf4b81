"""The living processes of a worker's runs, and the orphans among them that cannot be matched to a run.

The worker adopts the orphans of its jobs. Normally every process that it adopts came from a job. There are two
exceptions: a worker that is PID 1 adopts every orphan of its container, and a worker that was started by exec may have
had children before. Such a worker ends an orphan only if it has seen it descend from a job.
"""

import logging
import os
import signal
from collections.abc import Collection, Iterable, Sequence

from queuectl.process import procfs
from queuectl.process.job_lock import LockFile
from queuectl.process.run import Run

__all__ = ["Descendants"]

log = logging.getLogger("queuectl.worker")


class Descendants:
    """Finds the processes of a run by descent, session, token and lock."""

    def __init__(self, locks: LockFile) -> None:
        self._locks = locks
        self._children = procfs.OwnChildren()
        self._others = set(self._children.pids())  # not jobs: they were started before this process became a worker
        self._adopts_others = os.getpid() == 1 or bool(self._others)
        self._seen: dict[int, int] = {}
        self._strays: dict[int, set[int]] = {}

    @property
    def strays(self) -> bool:
        """Whether there are orphans that cannot be matched to a run."""
        return bool(self._strays)

    def reaped(self, pid: int) -> None:
        """Call when a child has ended: its pid may be given to another process."""
        self._others.discard(pid)

    def look(self, running: Iterable[int]) -> None:
        """Remember the descendants of running commands, if orphans may also come from elsewhere."""
        if not self._adopts_others:
            return
        seen = {pid: began for pid, began in self._seen.items() if procfs.started_at(pid) == began}
        for command in running:
            for pid in procfs.descendants(command):
                seen[pid] = procfs.started_at(pid)
        self._seen = seen

    def orphans(self, running: Collection[int]) -> list[int]:
        """The processes that this worker adopted because their parents had ended."""
        return [
            pid
            for pid in self._children.pids()
            if pid not in running and pid not in self._others and not procfs.is_zombie(pid)
        ]

    def of_run(self, run: Run, is_running: bool, orphans: Sequence[int]) -> list[int]:
        """The living processes of a run, except the command itself."""
        found = procfs.descendants(run.pid) if is_running else []
        for orphan in orphans:
            if self._belongs(orphan, run):
                found += [orphan, *procfs.descendants(orphan)]
        return [pid for pid in found if not procfs.is_zombie(pid)]

    def _belongs(self, pid: int, run: Run) -> bool:
        """Whether an adopted orphan came from this run, by its session, token or lock."""
        return (
            procfs.session(pid) == run.pid
            or run.token in procfs.environment(pid).split(b"\0")
            or self._locks.is_held_by(pid, run.position)
        )

    def end_strays(self, ended: Run, running: Collection[int], known: Iterable[Run], orphans: Sequence[int]) -> int:
        """Kill unmatched orphans once every run that may have started them has ended.

        Returns how many of them only the run `ended`, which has just ended, can have started.
        """
        known = [ended, *known]
        for pid in orphans:
            if pid not in self._strays and self._is_of_a_job(pid) and not any(self._belongs(pid, run) for run in known):
                self._strays[pid] = {ended.pid, *running}
        alone = sum(suspects == {ended.pid} for suspects in self._strays.values())
        self._strays = {pid: runs & set(running) for pid, runs in self._strays.items() if pid in orphans}
        self._kill([pid for pid, runs in self._strays.items() if not runs])
        return alone

    def _kill(self, strays: Sequence[int]) -> None:
        for text in procfs.named(strays):
            log.warning("killing what jobs left in the background: %s", text)
        for pid in strays:
            procfs.kill([pid, *procfs.descendants(pid)], signal.SIGKILL)

    def _is_of_a_job(self, pid: int) -> bool:
        return not self._adopts_others or self._seen.get(pid) == procfs.started_at(pid)
