"""`wait`: blocks until jobs have ended, and exits with the code that a shell would give."""

from typing import Any

from tests.support.command_line import Queuectl, assert_error, eventually

CODES: dict[str, tuple[dict[str, Any], int]] = {
    "done": ({"command": "true"}, 0),
    "own": ({"command": "exit 7"}, 7),
    "signalled": ({"command": "kill -TERM $$"}, 143),
    "timed-out": ({"command": "sleep 30", "timeout": 0.2}, 124),
    "not-started": ({"argv": ["/no/such/program"]}, 127),
    "cancelled-job": ({"command": "true"}, 1),
}


def test_wait_exits_with_the_code_of_the_job(queuectl: Queuectl) -> None:
    queuectl.add_all(*({"id": name, "max_retries": 0, **job} for name, (job, _) in CODES.items()))
    queuectl.ok("cancel", "cancelled-job")
    queuectl.drain()
    assert {name: queuectl("wait", name).code for name in CODES} == {name: code for name, (_, code) in CODES.items()}
    assert queuectl("wait", "own", "done", "signalled", "cancelled-job").code == 143
    assert queuectl("wait", "done", "cancelled-job").code == 1


def test_wait_prints_nothing(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    queuectl.drain()
    assert queuectl("wait", job_id) == (0, "", "")


def test_wait_lasts_until_the_last_retry(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "1", "--backoff-base", "0.3", "exit $((40 + QUEUECTL_RUN))")
    waiter = queuectl.start("wait", job_id)
    queuectl.drain()
    assert waiter.ended().code == 42


def test_wait_notices_the_end_of_a_running_job(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "touch started; until [ -e go ]; do sleep 0.05; done; exit 9")
    queuectl.start("run", "--once")
    eventually((queuectl.folder / "started").exists, "the job runs")
    waiter = queuectl.start("wait", job_id, "--timeout", "30s")
    assert queuectl("wait", job_id, "--timeout", "0.2").code == 124
    (queuectl.folder / "go").touch()
    assert waiter.ended().code == 9


def test_wait_ends_at_its_timeout(queuectl: Queuectl) -> None:
    ended, pending = queuectl.add("true"), queuectl.add("--delay", "1h", "true")
    queuectl("run", "--once")
    done = queuectl("wait", ended, pending, "--timeout", "100ms")
    assert done.err.splitlines()[0] == "no worker serves these queues: queuectl run"
    assert_error(done._replace(err=done.err.partition("\n")[2]), 124, pending)


def test_an_invalid_timeout_is_refused(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    for timeout in ("-1s", "soon", "10000y"):
        assert_error(queuectl("wait", job_id, f"--timeout={timeout}"), 2, "--timeout")


def test_waiting_for_an_unknown_job_is_refused(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    assert_error(queuectl("wait", job_id, "none"), 3, "none")


def test_a_lost_job_counts_as_a_failure(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "kill -KILL $PPID; sleep 30")
    assert queuectl.start("run", "--once").ended().code == -9
    queuectl.drain()
    assert queuectl("wait", job_id).code == 1


def test_a_purged_job_has_ended(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--max-retries", "0", "exit 5")
    queuectl.drain()
    queuectl.ok("purge", job_id)
    assert queuectl("wait", job_id, "--timeout", "5s").code == 5


def test_a_purge_does_not_change_the_exit_code(queuectl: Queuectl) -> None:
    job_id = queuectl.add("true")
    queuectl.drain()
    queuectl.ok("retry", job_id)
    queuectl.ok("cancel", job_id)
    assert queuectl("wait", job_id).code == 1
    queuectl.ok("purge", job_id)
    assert queuectl("wait", job_id, "--timeout", "5s").code == 1
