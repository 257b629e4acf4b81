"""Given these events, when this command, then those events: the functions that the domain's tests are written with.

    given(a_job(), claimed()).when(succeeds()).then(completed()).is_now("done", attempts=1)

Events are folded one second apart. The job's id is `j`; a command is decided one second after the job's last event.
"""

from functools import partial

import pytest

from queuectl.domain.commands import Cancel, Claim, Enqueue, Exit, Purge, Release, Report, Requeue, decide
from queuectl.domain.events import (
    Event,
    Exited,
    LostWorker,
    RecordedEvent,
)
from queuectl.domain.job import Job, evolve
from queuectl.errors import RefusedError
from tests.support import events
from tests.support.events import HOUR, SECOND, START, a_spec, claimant, claimed

__all__ = [
    "FAILED",
    "HOUR",
    "ID",
    "SECOND",
    "START",
    "Given",
    "When",
    "a_job",
    "buried",
    "cancel",
    "claim",
    "claimant",
    "claimed",
    "completed",
    "enqueue",
    "fails",
    "failures",
    "given",
    "loses_its_worker",
    "purge",
    "release",
    "requeue",
    "retried",
    "succeeds",
]

ID = "j"
FAILED = Exited(1)
a_job = a_spec
completed, retried, buried = (partial(each, duration=0) for each in (events.completed, events.retried, events.buried))


def failures(count, first_run=1) -> list[Event]:
    """The events of `count` runs that each failed and were retried."""
    runs = range(first_run, first_run + count)
    return [event for run in runs for event in (claimed(run), retried(run))]


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────


def enqueue(spec=None, **promises) -> Enqueue:
    return Enqueue(ID, spec or a_job(**promises))


def claim(worker="w1") -> Claim:
    return Claim(ID, claimant(worker))


def succeeds(run=1, **output) -> Report:
    return Report(ID, run, Exit(None, **output))


def fails(run=1, cause=FAILED, jitter=0.0, **output) -> Report:
    return Report(ID, run, Exit(cause, **output), jitter)


def loses_its_worker(run=1, worker="w1") -> Report:
    return fails(run, LostWorker(worker))


def release(run=1, reason="stopping", **output) -> Release:
    return Release(ID, run, reason, Exit(**output))


def cancel(reason="") -> Cancel:
    return Cancel(ID, reason)


def requeue(reason="") -> Requeue:
    return Requeue(ID, reason)


def purge(reason="") -> Purge:
    return Purge(ID, reason)


# ── given, when, then ───────────────────────────────────────────────────────────────────────────────────


class Given:
    """A job folded from its events."""

    def __init__(self, job: Job | None = None, now: int = START) -> None:
        self.job, self.now = job, now

    def and_then(self, *events: Event) -> "Given":
        """The job after further events, a second apart."""
        job, now = self.job, self.now
        for event in events:
            version = job.version + 1 if job else 1
            job, now = evolve(job, RecordedEvent(version, ID, version, now, "tester", event)), now + SECOND
        return Given(job, now)

    def later(self, microseconds: int) -> "Given":
        return Given(self.job, self.now + microseconds)

    def when(self, command, holder=None) -> "When":
        """Decide a command; `holder` is the live job that has the unique key."""
        return When(self, command, holder)

    def is_now(self, state: str, **fields) -> "Given":
        found = {name: getattr(self.job, name) for name in fields}
        assert (self.job.state, found) == (state, fields)
        return self


class When:
    """A command that is decided for that job."""

    def __init__(self, before: Given, command, holder=None) -> None:
        self.before, self.command, self.holder = before, command, holder

    def decided(self) -> list[Event]:
        return decide(self.command, self.before.job, self.before.now, self.holder)

    def then(self, *events: Event) -> Given:
        """Assert that exactly these events were decided; return the job after them."""
        assert self.decided() == list(events)
        return self.before.and_then(*events)

    def nothing(self) -> Given:
        """Assert that no event was decided: the job is already as the command asks."""
        return self.then()

    def refused(self, *words: str, error=RefusedError) -> None:
        """Assert that the command was refused with one line that has all these words."""
        with pytest.raises(error) as caught:
            self.decided()
        message = str(caught.value)
        assert "\n" not in message
        assert [word for word in words if word not in message] == [], message


def given(*events: Event) -> Given:
    return Given().and_then(*events)
