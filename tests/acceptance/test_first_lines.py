"""The first line of a worker's log names the queue that it serves."""

from tests.support.command_line import Queuectl


def test_the_first_line_of_a_workers_log_names_the_queue(queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert queuectl.drain().err.splitlines()[0].endswith(f" info Queue {queuectl.db}")
