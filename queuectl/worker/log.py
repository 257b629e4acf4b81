"""A worker's log, and the texts of its lines on runs and stops."""

import logging
from collections.abc import Mapping

from queuectl.domain.backoff import plain
from queuectl.domain.commands import Command, Release, Report
from queuectl.domain.job import Job, errors_of, short_cause
from queuectl.domain.machine import State
from queuectl.units import SECOND

__all__ = ["how_it_ended", "log", "runs_line", "stopping_line", "summary_word"]

log = logging.getLogger("queuectl.worker")


def how_it_ended(command: Command, job: Job) -> str:
    """The effect of a run's result: `done`, or `failed (exit 7), retry in 2 s`. `job` is the job after it."""
    if job.state in (State.DONE, State.CANCELLED):
        return str(job.state)
    if isinstance(command, Release):
        return f"put back into the queue: {command.reason}"
    why = _why(command, job)
    if job.state is State.DLQ:
        return f"failed ({why}), no retries left: dead"
    wait = (job.due_at or 0) - (job.waits_from or 0)
    return f"failed ({why}), retry in {plain(wait / SECOND)} s"


def _why(command: Command, job: Job) -> str:
    end = command.exit if isinstance(command, Report) else None
    if end is None or end.cause is None:
        return "?"
    return short_cause(end.cause, errors_of(job.spec, end))


def summary_word(command: Command, job: Job) -> str:
    """The word under which a worker's last line counts a run."""
    if job.state is State.DLQ:
        return "dead"
    if job.state is not State.PENDING:
        return str(job.state)
    return "put back" if isinstance(command, Release) else "to be retried"


def runs_line(runs: int, tally: Mapping[str, int]) -> str:
    """`3 runs: 2 done, 1 to be retried`: a worker's runs, counted by `summary_word`."""
    counts = ", ".join(f"{count} {word}" for word, count in sorted(tally.items()))
    return f"{runs} run{'' if runs == 1 else 's'}: {counts}" if counts else "no runs"


def stopping_line(running: int) -> str:
    """A worker's message when it is asked to stop while `running` jobs run."""
    if not running:
        return "Stopping."
    jobs, them = ("job", "it") if running == 1 else ("jobs", "them")
    return f"Stopping after {running} running {jobs}. Ctrl-C again stops {them} now."
