"""A worker's log, and the texts of its lines on runs and stops."""

import logging
from collections import Counter
from itertools import groupby
from operator import attrgetter
from typing import Any

from msgspec import Struct

from queuectl.domain.cause_text import exit_code_of, retry_in, short_cause
from queuectl.domain.commands import Command, Exit, Release, Report
from queuectl.domain.job import Job, errors_of
from queuectl.domain.machine import State
from queuectl.units import SECOND, format_duration

__all__ = ["RunFields", "RunLines", "RunLog", "log", "stopping_line"]

SHOWN = 120
"""Characters of a command in the line of its start."""

log = logging.getLogger("queuectl.worker")


class RunFields(Struct, frozen=True):
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


class RunLine(Struct, frozen=True):
    """One line on a run, and its moment. `fields` are for a log in JSON."""

    at: int
    level: int
    text: str
    fields: RunFields


class RunLines:
    """The message of a record that stands for several lines. Handlers that do not know that get them as one text."""

    def __init__(self, lines: list[RunLine]) -> None:
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines)


class RunLog:
    """The lines on runs, written several at once: a busy worker logs thousands in a second.

    They are in the order of their moments: when the end of a run is recorded, and its effect known, its slot often has
    the next job already.
    `runs` counts those that have ended, `dead` are the jobs that they left dead. Moments are microseconds, monotonic.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.dead: list[str] = []
        self._tally = Counter[str]()
        self._lines: list[RunLine] = []

    def started(self, job: Job, now: int) -> None:
        """Note that a run has started; `job` is as it was claimed."""
        if not log.isEnabledFor(logging.INFO):
            return
        command = job.spec.command
        shown = command if len(command) <= SHOWN else f"{command[: SHOWN - 1]}…"
        text = f"job {job.id} run {job.run} started: {shown}"
        self._lines.append(RunLine(now, logging.INFO, text, RunFields(job, "started")))

    def ended(self, command: Command, claimed: Job, job: Job, at: int) -> None:
        """Count a run, and note what its result did: a retry is a warning, a death an error. `job` is as it is after.

        `claimed` is the job as the run was claimed.
        """
        word = summary_word(command, job)
        self.runs += 1
        self._tally[word] += 1
        if word == DEAD:
            self.dead.append(job.id)
        level = _LEVELS.get(word, logging.INFO)
        if not log.isEnabledFor(level):
            return
        end = command.exit if isinstance(command, Report | Release) else None
        text = f"job {job.id} run {claimed.run} {how_it_ended(command, job)}"
        self._lines.append(RunLine(at, level, text, RunFields(claimed, _OUTCOMES.get(word, word), end)))

    def write(self, older_than: int | None = None) -> None:
        """Write all lines; nothing when the moment of the one that was added first is after `older_than`."""
        if not self._lines or (older_than is not None and self._lines[0].at > older_than):
            return
        lines, self._lines = sorted(self._lines, key=_MOMENT), []
        for level, group in groupby(lines, key=lambda line: line.level):
            log.log(level, RunLines([*group]))

    def summary(self) -> str:
        """`3 runs: 2 done, 1 failed with retries left`: the runs that have ended, counted by `summary_word`."""
        counts = ", ".join(f"{count} {word}" for word, count in sorted(self._tally.items()))
        return f"{self.runs} run{'' if self.runs == 1 else 's'}: {counts}" if counts else "no runs"


_MOMENT = attrgetter("at")
DEAD = "dead"
FAILED = "failed with retries left"
_LEVELS = {FAILED: logging.WARNING, DEAD: logging.ERROR}
_OUTCOMES = {FAILED: "retry", "put back": "released"}
"""Summary words that are named otherwise in JSON."""


def how_it_ended(command: Command, job: Job) -> str:
    """The effect of a run's result: `done`, or `failed (exit 7), retry in 2s`. `job` is the job after it."""
    if job.state in (State.DONE, State.CANCELLED):
        return str(job.state)
    if isinstance(command, Release):
        return f"put back into the queue: {command.reason}"
    why = _why(command, job)
    if job.state is State.DLQ:
        return f"failed ({why}), no retries left: dead"
    return f"failed ({why}), {retry_in((job.due_at or 0) - (job.waits_from or 0))}"


def _why(command: Command, job: Job) -> str:
    end = command.exit if isinstance(command, Report) else None
    if end is None or end.cause is None:
        return "?"
    return short_cause(end.cause, errors_of(job.spec, end))


def summary_word(command: Command, job: Job) -> str:
    """The word under which a worker's last line counts a run."""
    if job.state is State.DLQ:
        return DEAD
    if job.state is not State.PENDING:
        return str(job.state)
    return "put back" if isinstance(command, Release) else FAILED


def stopping_line(running: int, timeout: int | None = None) -> str:
    """A worker's message when it is asked to stop while `running` jobs run."""
    if not running:
        return "Stopping."
    jobs, them = ("job", "it") if running == 1 else ("jobs", "them")
    latest = "" if timeout is None else f", in {format_duration(timeout)} at the latest"
    return f"Stopping after {running} running {jobs}{latest}. A second Ctrl-C or SIGTERM stops {them} now."
