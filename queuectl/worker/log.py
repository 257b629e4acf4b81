"""The log that a worker's user reads, and its line for the end of a run."""

import logging
from collections.abc import Mapping

from queuectl.domain.backoff import plain
from queuectl.domain.commands import Command, Release, Report
from queuectl.domain.job import Job, short_cause
from queuectl.domain.machine import State
from queuectl.units import SECOND

__all__ = ["how_it_ended", "log", "runs_line", "stopping_line", "summary_word"]

log = logging.getLogger("queuectl.worker")


def how_it_ended(command: Command, job: Job) -> str:
    """`done`, or `failed (exit 7), retry in 2 s`: what a run's result did to its job, `job` being as it is after."""
    if job.state in (State.DONE, State.CANCELLED):
        return str(job.state)
    if isinstance(command, Release):
        return f"put back into the queue: {command.reason}"
    why = _why(command)
    if job.state is State.DLQ:
        return f"failed ({why}), no retries left: dead"
    wait = (job.due_at or 0) - (job.waits_from or 0)
    return f"failed ({why}), retry in {plain(wait / SECOND)} s"


def _why(command: Command) -> str:
    end = command.exit if isinstance(command, Report) else None
    if end is None or end.cause is None:
        return "?"
    return short_cause(end.cause, end.stderr)


def summary_word(command: Command, job: Job) -> str:
    """How a worker's last line counts a run."""
    if job.state is State.DLQ:
        return "dead"
    if job.state is not State.PENDING:
        return str(job.state)
    return "put back" if isinstance(command, Release) else "to be retried"


def runs_line(runs: int, tally: Mapping[str, int]) -> str:
    """`3 runs: 2 done, 1 to be retried`: what a worker's runs came to, by `summary_word`."""
    counts = ", ".join(f"{count} {word}" for word, count in sorted(tally.items()))
    return f"{runs} run{'' if runs == 1 else 's'}: {counts}" if counts else "no runs"


def stopping_line(running: int) -> str:
    """What a worker says when it is asked to stop while so many jobs run."""
    if not running:
        return "Stopping."
    jobs, them = ("job", "it") if running == 1 else ("jobs", "them")
    return f"Stopping after {running} running {jobs}. Ctrl-C again stops {them} now."
