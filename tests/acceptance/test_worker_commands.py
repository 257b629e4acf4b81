"""`worker stop`, `restart`, `logs` and `list`: the jobs that are waited for, and workers in the background."""

import os
from contextlib import closing

import apsw

from queuectl import __version__
from queuectl.process.local_workers import local_workers
from tests.archive.logs import checkpoint
from tests.support.command_line import Queuectl, assert_error, eventually


def test_stop_names_the_jobs_that_it_waits_for(queuectl: Queuectl) -> None:
    queuectl.add("touch began; until [ -e go ]; do sleep 0.02; done")
    queuectl.start("run", "--name", "w", "--once")
    eventually((queuectl.folder / "began").exists, "the job runs")
    done = queuectl("worker", "stop", "--timeout", "800ms")
    assert done.code == 124
    first, hint, last = done.err.splitlines()
    assert first.startswith("waiting for w: job #1 has run for ")
    assert first.endswith(": touch began; until [ -e go ]; do sleep 0.02; done")
    assert hint == "(`queuectl worker stop --now` stops them and puts them back)"
    assert "w still running #1 (touch began" in last
    (queuectl.folder / "go").touch()
    assert queuectl("worker", "stop").code == 0


def test_workers_in_the_background_are_restarted_and_have_a_log(queuectl: Queuectl) -> None:
    queuectl.ok("worker", "start", "--detach", "--name", "night", "--queue", "q")
    (before,) = queuectl.json("worker", "list")
    file = queuectl.output / ".workers" / "night.log"
    assert (before["version"], before["log_file"]) == (__version__, str(file))
    done = queuectl("worker", "restart", cwd=queuectl.folder.parent, env={"QUEUECTL_DB": queuectl.place})
    assert (done.code, done.out) == (0, "night\n")
    (after,) = queuectl.json("worker", "list")
    assert (after["name"], after["queues"]) == ("night", ["q"])
    assert after["pid"] != before["pid"]
    assert file.stat().st_mode & 0o777 == 0o600
    whole = queuectl.ok("worker", "logs", "night")
    assert whole.count("Worker night started: 1 slot, queue q") == 2
    assert queuectl.ok("worker", "logs", "-n", "1") == whole.splitlines()[-1]
    follower = queuectl.start("worker", "logs", "night", "--follow", "-n", "1")
    eventually(follower.stdout.read_text, "the follower has begun")
    queuectl.ok("worker", "stop")
    assert "Worker night ended" in follower.ended().out
    assert_error(queuectl("worker", "restart"), 2, "no worker runs here in the background")
    assert_error(queuectl("worker", "logs", "missing"), 2, "there is no worker missing")


def test_a_worker_in_a_terminal_has_no_log_file(queuectl: Queuectl) -> None:
    assert_error(queuectl("worker", "logs"), 5, "no queue")
    queuectl.add("true")
    queuectl.drain("--name", "w")
    assert_error(queuectl("worker", "logs", "w"), 2, "w logs where it was started")
    queuectl.start("run", "--name", "w")
    eventually(lambda: queuectl.json("worker", "list"), "the worker is known")
    assert [row["log_file"] for row in queuectl.json("worker", "list")] == [None]
    assert_error(queuectl("worker", "restart", "w"), 2, "w does not run here in the background")


def test_a_log_is_printed_though_the_queue_cannot_be_used(queuectl: Queuectl) -> None:
    queuectl.ok("worker", "start", "--detach", "--name", "night")
    queuectl.ok("worker", "stop")
    whole = queuectl("worker", "logs", "night").out
    checkpoint(str(queuectl.db))
    sound = queuectl.db.read_bytes()
    queuectl.db.write_bytes(bytes(100) + sound[100:])
    for words in (("night",), ()):
        done = queuectl("worker", "logs", *words)
        assert (done.code, done.out) == (5, whole)
        assert done.err.startswith(f"{queuectl.output}/.workers/night.log\n")
        assert "run `queuectl recover`" in done.err
    assert_error(queuectl("worker", "logs", "day"), 5, "run `queuectl recover`")
    queuectl.db.write_bytes(sound)


def test_users_of_a_damaged_queue_are_named_with_the_kill(queuectl: Queuectl) -> None:
    """`recover` asks for `worker stop`, which needs the queue. This process uses it as a worker would."""
    queuectl.add("true")
    checkpoint(str(queuectl.db))
    with closing(apsw.Connection(str(queuectl.db))):
        with queuectl.db.open("r+b") as file:
            file.write(bytes(100))
        for words in (("recover",), ("worker", "stop")):
            done = queuectl(*words)
            assert (done.code, f"`kill {os.getpid()}`" in done.err) == (5, True), done
    assert queuectl("recover").code == 0
    assert queuectl("worker", "stop").err == "no worker to stop\n"


def test_workers_are_found_by_their_lock_file_alone(queuectl: Queuectl) -> None:
    """The processes of jobs have that file open too. A supervisor is named in place of its workers."""
    queuectl.ok("enqueue", "sleep 60")
    alone = queuectl.start("run", env={"QUEUECTL_DB": queuectl.place})
    eventually(lambda: queuectl.json("status")["states"]["processing"] == 1, "the job runs")
    supervisor = queuectl.start("worker", "start", "--name", "two", env={"QUEUECTL_DB": queuectl.place})
    eventually(lambda: len(queuectl.json("worker", "list")) == 2, "both workers are there")
    output = f"{queuectl.db}.output"
    assert local_workers([output], lambda url: url == queuectl.place) == sorted(
        [alone.process.pid, supervisor.process.pid]
    )
    assert local_workers([output], lambda url: False) == []
    assert local_workers([str(queuectl.folder)], lambda url: True) == []
    queuectl("worker", "stop", "--now")
