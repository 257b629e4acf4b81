"""The first line of a worker's log, and of `config`, names the queue; its last line counts runs."""

from tests.support.command_line import Queuectl, eventually


def test_the_first_line_of_a_workers_log_names_the_queue(queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert queuectl.drain().err.splitlines()[0].endswith(f" info Queue {queuectl.db}")
    queuectl.ok("worker", "start", "--detach", "--name", "w", "--", "--drain")
    for log in (queuectl.ok("worker", "logs", "w"), queuectl("worker", "start", "--drain").err):
        first, *others = log.splitlines()
        assert first.endswith(f" info Queue {queuectl.db}")
        assert not [line for line in others if " info Queue " in line], "it is named once"


def test_a_worker_says_once_that_it_made_the_queue(queuectl: Queuectl) -> None:
    said = f"made a new queue at {queuectl.db}"
    assert queuectl.drain().err.splitlines()[0] == said
    assert said not in queuectl.drain().err
    elsewhere = str(queuectl.folder / "other.db")
    started = queuectl("--db", elsewhere, "worker", "start", "--detach", "--", "--drain")
    assert started.err.splitlines()[0] == f"made a new queue at {elsewhere}"


def test_the_first_line_of_config_names_the_queue(queuectl: Queuectl) -> None:
    for words in ((), ("show",)):
        assert queuectl.ok("config", *words).splitlines()[0] == f"queue: {queuectl.db} (default), not made yet"
    queuectl.add("true")
    assert queuectl.ok("config").splitlines()[0] == f"queue: {queuectl.db} (default)"
    elsewhere = queuectl.ok("config", env={"QUEUECTL_DB": "other.db"}).splitlines()[0]
    assert elsewhere == f"queue: {queuectl.folder / 'other.db'} (environment), not made yet"


def test_the_last_line_of_a_workers_log_counts_how_runs_ended(queuectl: Queuectl) -> None:
    """A run whose job was retried later is no pending job: nothing is pending in the end."""
    queuectl.add("true")
    queuectl.add("--max-retries", "1", "--backoff-base", "0", "false")
    last = queuectl.drain("--name", "w").err.splitlines()[-1]
    assert last.endswith(" info Worker w ended after 3 runs: 1 dead, 1 done, 1 failed with retries left")


def test_worker_list_counts_runs_and_not_jobs(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "2", "--backoff-base", "0", "false")
    queuectl.start("run")
    eventually(lambda: queuectl.state(job_id) == "dlq", "the job is dead")
    eventually(lambda: queuectl.json("worker", "list")[0]["runs"] == 3, "the heartbeat has the count", 30)
    head, row = queuectl.ok("worker", "list").splitlines()
    place = head.split().index("RUNS")
    assert row.split()[place + 1] == "3", "the column SINCE has a blank in it"
