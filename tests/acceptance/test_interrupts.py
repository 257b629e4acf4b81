"""Ctrl-C at any moment: exit code 130, at most one line, no traceback, and no partial change."""

import signal
from pathlib import Path

import pytest

from tests.support.command_line import Done, Queuectl, Started, eventually, maps

UNSERVED = "no worker serves these queues: queuectl run\n"
"""A command says this first when no worker has begun yet."""


def _assert_interrupted(done: Done, out: str = "") -> None:
    assert (done.code, done.out) == (130, out), done
    assert done.err.removeprefix(UNSERVED) in ("", "queuectl: interrupted\n"), done


def _wait_until_loaded(started: Started, library: str = "apsw") -> None:
    """Wait until a command has loaded a library, or has ended."""
    eventually(lambda: library in maps(started.pid) or started.process.poll() is not None, f"{library} is loaded")


def test_ctrl_c_interrupts_wait(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--delay", "1h", "true")
    waiter = queuectl.start("wait", job_id)
    eventually(lambda: queuectl.has_opened(waiter.pid), "it has opened the queue")
    waiter.signal(signal.SIGINT)
    _assert_interrupted(waiter.ended())


def test_ctrl_c_says_that_a_job_is_not_cancelled(queuectl: Queuectl) -> None:
    waiter = queuectl.start("enqueue", "--wait", "--id", "a", "true")
    eventually(lambda: waiter.stderr.read_text().endswith(UNSERVED), "it waits")
    waiter.signal(signal.SIGINT)
    done = waiter.ended()
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("stopped waiting for job a (to cancel it: `queuectl cancel a`)\n")
    assert queuectl.state("a") == "pending"


def test_ctrl_c_interrupts_following(queuectl: Queuectl) -> None:
    job_id = queuectl.add("echo one; until [ -e go ]; do sleep 0.05; done")
    queuectl.start("run", "--once")
    follower = queuectl.start("logs", "-f", job_id)
    eventually(lambda: follower.stdout.read_text() == "one\n", "the first line is shown")
    follower.signal(signal.SIGINT)
    _assert_interrupted(follower.ended(), out="one\n")
    (queuectl.folder / "go").touch()
    assert queuectl("wait", job_id).code == 0


@pytest.mark.parametrize("library", ["_msgspec", "apsw", "queue.db-shm"])
def test_ctrl_c_interrupts_enqueue(queuectl: Queuectl, library: str) -> None:
    """A printed id is in the log; without one the job may or may not have been added."""
    queuectl.add("true")
    for number in range(5):
        started = queuectl.start("enqueue", "--id", f"job-{number}", "true")
        _wait_until_loaded(started, library)
        started.signal(signal.SIGINT)
        done = started.ended()
        assert done.code in (0, 130, -signal.SIGINT), done
        assert "Traceback" not in done.err, done
        if done.out:
            assert queuectl.state(f"job-{number}") == "pending"
        else:
            assert queuectl("enqueue", "--id", f"job-{number}", "true").code == 0


def test_ctrl_c_interrupts_reading_jobs_from_stdin(queuectl: Queuectl) -> None:
    fifo = queuectl.folder / "fifo"
    script = queuectl.start_program("sh", "-c", "mkfifo fifo; exec sleep 60 3<> fifo")
    eventually(fifo.exists, "the pipe is there")
    started = queuectl.start("enqueue", "--file", "fifo")
    eventually(lambda: _has_a_fifo_open(started.pid), "it reads")
    started.signal(signal.SIGINT)
    _assert_interrupted(started.ended())
    assert queuectl.position() == 0
    assert script.process.poll() is None


def _has_a_fifo_open(pid: int) -> bool:
    """Whether a process has a fifo open."""
    return any("fifo" in str(path.resolve()) for path in Path(f"/proc/{pid}/fd").iterdir())
