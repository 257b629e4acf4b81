"""The living processes of a worker's runs, and the orphans among them that show no sign of their run.

The worker adopts the orphans of its jobs. As a rule every process that it adopts came from a job. Not so for a worker
that is PID 1, which adopts every orphan of its container, or one that had children already when it became a worker by
exec: such a worker ends an orphan only when it saw it descend from a job before.
"""

import logging
import os
import signal
from collections.abc import Collection, Iterable, Sequence

from queuectl.process import procfs
from queuectl.process.job_lock import LockFile
from queuectl.process.run import Run

__all__ = ["Descendants", "named"]

log = logging.getLogger("queuectl.worker")


class Descendants:
    """Knows a run's processes by descent, session, token and lock."""

    def __init__(self, locks: LockFile) -> None:
        self._locks = locks
        self._children = procfs.OwnChildren()
        self._others = set(self._children.pids())  # not ours to end: this process was something else before
        self._adopts_others = os.getpid() == 1 or bool(self._others)
        self._seen: dict[int, int] = {}
        self._strays: dict[int, set[int]] = {}

    @property
    def strays(self) -> bool:
        """Whether there are orphans without a sign of their run."""
        return bool(self._strays)

    def reaped(self, pid: int) -> None:
        """A child has ended: its pid may be given to another process."""
        self._others.discard(pid)

    def look(self, running: Iterable[int]) -> None:
        """Remember what descends from running commands, where an orphan could be somebody else's."""
        if not self._adopts_others:
            return
        seen = {pid: began for pid, began in self._seen.items() if procfs.started_at(pid) == began}
        for command in running:
            for pid in procfs.descendants(command):
                seen[pid] = procfs.started_at(pid)
        self._seen = seen

    def orphans(self, running: Collection[int]) -> list[int]:
        """The processes that this worker has adopted because their parents ended."""
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
        """Whether an adopted orphan came from this run: by session, token or lock."""
        return (
            procfs.session(pid) == run.pid
            or run.token in procfs.environment(pid).split(b"\0")
            or self._locks.is_held_by(pid, run.position)
        )

    def end_strays(self, ended: Run, running: Collection[int], known: Iterable[Run], orphans: Sequence[int]) -> int:
        """Kill the orphans without a sign once every run that may have started them has ended.

        Returns how many of them only the run that `ended` just now can have started.
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
        if strays:
            log.warning("killing what jobs left in the background: %s", named(strays))
        for pid in strays:
            procfs.kill([pid, *procfs.descendants(pid)], signal.SIGKILL)

    def _is_of_a_job(self, pid: int) -> bool:
        return not self._adopts_others or self._seen.get(pid) == procfs.started_at(pid)


def named(pids: Sequence[int]) -> str:
    """Processes for a message: `sleep (pid 12), sh (pid 13)`."""
    shown = ", ".join(f"{procfs.name_of(pid)} (pid {pid})" for pid in pids[:5])
    return f"{shown} and {len(pids) - 5} more" if len(pids) > 5 else shown
