"""The first lines of a worker's log: which queue it serves, and what is odd about it."""

from contextlib import closing

from queuectl.application.queue import NewJob, Queue
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.units import HOUR
from tests.support.builders import a_spec
from tests.support.command_line import Queuectl


class Fast(SystemClock):
    """A clock that is two hours ahead."""

    def now(self) -> int:
        return super().now() + 2 * HOUR


def test_the_first_line_names_the_queue_and_says_once_that_it_is_new(queuectl: Queuectl) -> None:
    first, second = (queuectl.drain().err.splitlines()[0] for _ in range(2))
    assert first.endswith(f"info Made a new queue at {queuectl.db}")
    assert second.endswith(f"info Queue {queuectl.db}")


def test_a_log_that_is_ahead_of_the_clock_is_reported_once(queuectl: Queuectl) -> None:
    queuectl.add("true")
    with closing(open_store(str(queuectl.db), Fast())) as store:
        Queue(store, "fast").enqueue([NewJob(a_spec(), "ahead")])
    done = queuectl.drain()
    assert done.err.count("ahead of the clock") == 1
    assert "The log is 1h" in done.err or "The log is 2h" in done.err
