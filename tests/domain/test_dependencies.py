"""The words for what a job waits for, and why it can wait for it no longer."""

import pytest

from queuectl.domain.commands import Unblock
from queuectl.domain.dependencies import describe, why_never
from queuectl.domain.events import After, DependenciesMet
from queuectl.domain.job import State
from tests.domain.scenario import ID, a_job, given

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
