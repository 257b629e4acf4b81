"""The first line of a worker's log, and of `config`, names the queue."""

from tests.support.command_line import Queuectl


def test_the_first_line_of_a_workers_log_names_the_queue(queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert queuectl.drain().err.splitlines()[0].endswith(f" info Queue {queuectl.db}")


def test_the_first_line_of_config_names_the_queue(queuectl: Queuectl) -> None:
    for words in ((), ("show",)):
        assert queuectl.ok("config", *words).splitlines()[0] == f"queue: {queuectl.db} (default), not made yet"
    queuectl.add("true")
    assert queuectl.ok("config").splitlines()[0] == f"queue: {queuectl.db} (default)"
    elsewhere = queuectl.ok("config", env={"QUEUECTL_DB": "other.db"}).splitlines()[0]
    assert elsewhere == f"queue: {queuectl.folder / 'other.db'} (environment), not made yet"
