"""A shortage of descriptors or processes costs no attempt, leaks no descriptor and ends no worker."""

import errno
import logging
import os
from pathlib import Path
from signal import SIGKILL
from threading import Thread
from threading import enumerate as enumerate_threads

import pytest

from queuectl.domain.events import Enqueued
from queuectl.domain.job import Job
from queuectl.errors import StoreBusyError
from queuectl.process import output_monitor
from queuectl.process import procfs as process
from queuectl.process.output_files import Capture
from queuectl.process.output_monitor import OutputMonitor
from queuectl.process.protocol import ShortageError
from queuectl.process.runner import Runner
from queuectl.runtime import SystemClock
from tests.support.command_line import eventually


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(str(tmp_path / "output"), "log", "w1", SystemClock())


def a_job(folder: Path, command: str = "true") -> Job:
    spec = Enqueued(
        command=command,
        queue="q",
        priority=0,
        max_retries=0,
        backoff_base=2,
        backoff_cap=1,
        jitter=False,
        cwd=str(folder),
    )
    return Job("a", spec, 1, 0, 0, 1, run=1)


def failing(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("posix_spawn", errno.EAGAIN),
        ("posix_spawn", errno.ENOMEM),
        ("posix_spawn", errno.EMFILE),
        ("open", errno.ENOSPC),  # the output files
        ("pwrite", errno.ENOSPC),  # the mark that a run starts
    ],
)
def test_a_start_that_the_machine_refuses_costs_no_attempt(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    job, before = a_job(tmp_path), descriptors()
    assert runner.reserve(job)
    monkeypatch.setattr(os, step, failing(number))
    with pytest.raises(ShortageError, match=os.strerror(number)):
        runner.start(job, 0)
    assert descriptors() == before
    monkeypatch.undo()
    assert runner.reserve(job)
    assert runner.start(job, 0) is None
    eventually(runner.ended, "its end")


def test_a_start_without_a_free_thread_costs_no_attempt(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that checks the output starts before the command: no command was started."""
    job, before, others = a_job(tmp_path), descriptors(), process.children(os.getpid())

    def start(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", start)
    assert runner.reserve(job)
    with pytest.raises(ShortageError, match="can't start new thread"):
        runner.start(job, 0)
    assert (descriptors(), process.children(os.getpid())) == (before, others)
    monkeypatch.undo()
    assert runner.reserve(job)
    assert runner.start(job, 0) is None
    assert "output monitor" in [each.name for each in enumerate_threads() if each.is_alive()]
    eventually(runner.ended, "its end")


def test_a_started_but_unrecorded_command_is_killed_too(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, others = a_job(tmp_path, "sleep 300"), {*process.children(os.getpid())}
    monkeypatch.setattr(OutputMonitor, "add", failing(errno.EIO))
    assert runner.reserve(job)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        runner.start(job, 0)
    (pid,) = {*process.children(os.getpid())} - others
    runner.kill_all()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -SIGKILL


def test_a_lock_without_a_free_descriptor_is_retried_later(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(errno.EMFILE))
    with pytest.raises(StoreBusyError):
        runner.reserve(a_job(tmp_path))


def test_output_that_cannot_be_emptied_is_abandoned(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, before = a_job(tmp_path), descriptors()
    monkeypatch.setattr(Capture, "emptied", failing(errno.EIO))
    assert runner.reserve(job)
    runner.start(job, 0)
    assert eventually(runner.ended, "its end")[0].exit.cause is None
    assert descriptors() == before


def test_a_full_disk_is_reported_once_per_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    capture = Capture(str(tmp_path), "a", 1, 8192)
    monkeypatch.setattr(Capture, "publish", failing(errno.ENOSPC))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            output_monitor._maintain(capture)
    capture.discard()
    assert [record.getMessage() for record in caplog.records] == [
        "job a: cannot name or trim its output files: [Errno 28] No space left on device"
    ]
