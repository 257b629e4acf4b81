"""When a pending job is due: by the wall clock, or by its wait if the log's clock was ahead."""

import pytest
from msgspec.structs import replace

from queuectl.domain.job import is_due
from tests.domain.scenario import START, a_job, given

WAIT = 4_000_000


@pytest.fixture
def waiting():
    """A job that was added with a delay of four seconds."""
    return given(a_job(delay=WAIT)).job


@pytest.mark.parametrize(("now", "due"), [(0, False), (WAIT - 1, False), (WAIT, True), (WAIT + 1, True)])
@pytest.mark.parametrize("behind_for", [None, 0, WAIT])
def test_it_is_due_when_its_wait_is_over(waiting, now, due, behind_for):
    assert is_due(waiting, waiting.waits_from + now, behind_for) is due


@pytest.mark.parametrize(("behind_for", "due"), [(None, False), (0, False), (WAIT - 1, False), (WAIT, True)])
def test_a_wait_recorded_in_the_future_lasts_as_long(waiting, behind_for, due):
    assert is_due(waiting, waiting.waits_from - 1, behind_for) is due


def test_a_job_with_a_given_time_is_not_due_before_it():
    job = given(a_job(at=START + WAIT)).job
    assert not is_due(job, START - WAIT, 10 * WAIT)


def test_a_job_that_is_not_pending_is_not_due(waiting):
    assert not is_due(replace(waiting, due_at=None), waiting.due_at + 1)
