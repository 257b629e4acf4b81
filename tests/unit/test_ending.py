"""The end of a worker: what it was asked, and what failed."""

from queuectl.errors import StoreError
from queuectl.worker.ending import NEVER, Ending


def test_only_the_first_request_to_stop_sets_the_limit() -> None:
    ending = Ending(timeout=8)
    ending.ask(now=100, running=1)
    ending.ask(now=105, running=1)
    assert (ending.asked, ending.hurry_at) == (2, 108)


def test_without_a_stop_timeout_nothing_is_hurried() -> None:
    ending = Ending()
    ending.ask(now=100, running=1)
    assert ending.has_begun
    assert ending.hurry_at == NEVER


def test_a_lost_name_does_not_replace_an_earlier_failure() -> None:
    ending, error = Ending(), StoreError("the disk is gone")
    ending.lose_store(error, now=100, running=0)
    ending.lose_name("w1", running=0)
    assert ending.failure is error


def test_a_failed_store_is_timed_from_when_no_job_runs() -> None:
    ending, error = Ending(), StoreError("the disk is gone")
    waits = [ending.lose_store(error, now, running) for now, running in ((100, 1), (150, 1), (190, 0), (200, 0))]
    assert waits == [0, 0, 40, 50]
    assert not ending.asked
    assert ending.has_begun
