"""A worker's log, and the texts of its lines on runs and stops."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from queuectl.domain.backoff import plain
from queuectl.domain.commands import Command, Exit, Release, Report
from queuectl.domain.job import Job, errors_of, exit_code_of, short_cause
from queuectl.domain.machine import State
from queuectl.units import SECOND

__all__ = ["log", "log_end", "log_start", "runs_line", "stopping_line", "summary_word"]

SHOWN = 120
"""Characters of a command in the line of its start."""

log = logging.getLogger("queuectl.worker")


class RunFields(NamedTuple):
    """The fields of a line on a run, for a log in JSON. `job` is as its run was claimed; no end yet: it started."""

    job: Job
    outcome: str
    end: Exit | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields. `duration` is seconds; what is not known is null."""
        job, end = self.job, self.end
        code = None if end is None else exit_code_of(end.cause) if end.cause else 0
        return {
            "job": job.id,
            "number": job.position,
            "run": job.run,
            "outcome": self.outcome,
            "exit_code": code,
            "duration": None if end is None else end.duration / SECOND,
            "queue": job.spec.queue,
            "worker": job.claim.worker if job.claim else None,
        }


def log_start(job: Job) -> None:
    """Log that a run has started; `job` is as it was claimed."""
    command = job.spec.command
    shown = command if len(command) <= SHOWN else f"{command[: SHOWN - 1]}…"
    log.info("job %s run %d started: %s", job.id, job.run, shown, extra={"fields": RunFields(job, "started")})


def log_end(command: Command, claimed: Job, job: Job) -> None:
    """Log what a run's result did: a retry is a warning, a death an error. `job` is the job after it."""
    word = summary_word(command, job)
    end = command.exit if isinstance(command, Report | Release) else None
    fields = {"fields": RunFields(claimed, _OUTCOMES.get(word, word), end)}
    level = _LEVELS.get(word, logging.INFO)
    log.log(level, "job %s run %d %s", job.id, claimed.run, how_it_ended(command, job), extra=fields)


_LEVELS = {"to be retried": logging.WARNING, "dead": logging.ERROR}
_OUTCOMES = {"to be retried": "retry", "put back": "released"}
"""Summary words that are named otherwise in JSON."""


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
