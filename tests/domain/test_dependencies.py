"""The words for what a job waits for, and why it can wait for it no longer."""

import pytest

from queuectl.domain.commands import Unblock
from queuectl.domain.dependencies import describe, why_never
from queuectl.domain.events import After, DependenciesMet
from queuectl.domain.job import State
from tests.domain.scenario import HOUR, ID, a_job, given

BUILD, GRID = After("build"), After("grid", "failed", "batch")


@pytest.mark.parametrize(
    ("after", "ended", "why"),
    [
        (BUILD, State.DLQ, "build is in the dead-letter queue"),
        (BUILD, State.CANCELLED, "build was cancelled"),
        (BUILD, None, "build has not ended"),
        (GRID, None, "batch grid has ended without a failed job"),
        (After("grid", "ok", "batch"), None, "batch grid has ended with failed jobs"),
    ],
)
def test_a_reason_names_the_dependency_and_how_it_ended(after: After, ended: State | None, why: str) -> None:
    assert why_never(after, ended) == why


def test_dependencies_are_described_with_the_wanted_end() -> None:
    assert describe([BUILD, GRID]) == "build (ok), batch grid (failed)"


def test_a_waiting_job_is_started_without_a_reason() -> None:
    given(a_job(after=(BUILD,))).when(Unblock(ID)).then(DependenciesMet(forced=True, reason="")).is_now("pending")


@pytest.mark.parametrize(("at", "due_in", "counts"), [(-1, 0, True), (0, 0, True), (1, 1, False)])
def test_a_freed_job_is_due_at_its_own_time_if_that_is_later(at: int, due_in: int, counts: bool) -> None:
    now = given(a_job()).now
    job = given(a_job(after=(BUILD,), at=now + at * HOUR)).and_then(DependenciesMet(by=1))
    job.is_now("pending", freed=True, due_at=now + due_in * HOUR, waits_from=now if counts else None)
