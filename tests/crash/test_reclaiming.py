"""Freeing the jobs of lost workers while others do the same: a run that began meanwhile is not touched."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from msgspec import structs

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.commands import Claimant, Exit, Report
from queuectl.domain.events import Enqueued, LostWorker
from queuectl.domain.job import Job
from queuectl.process import procfs as process
from queuectl.process.runner import Runner
from queuectl.runtime import Reach, SystemClock, boot_id
from queuectl.store import open_store
from queuectl.store.rows import WorkerRow
from queuectl.units import SECOND
from queuectl.worker.reclaimer import Reclaimer
from tests.support.command_line import alive, eventually


class Host:
    """A store and a runner, as one worker has them."""

    def __init__(self, path: Path, name: str) -> None:
        self.store = open_store(str(path), SystemClock())
        self.queue = Queue(self.store, name)
        self.runner = Runner(self.store.location.output_folder, self.store.log.log_id, name, SystemClock())
        self.name = name

    def claim(self, *, lives: bool = True) -> Job:
        """Claim the next job, as this process or as an earlier one with its pid."""
        claimant = Claimant(
            worker=self.name,
            host=os.uname().nodename,
            boot_id=boot_id(),
            pid=os.getpid(),
            pid_namespace=process.pid_namespace(),
            pid_started_at=process.started_at(os.getpid()) - (not lives),
            lease=30 * SECOND,
        )
        (job,) = self.queue.claim(claimant, (), 1, self.runner.reserve if lives else lambda job: True)
        return job

    def row(self) -> WorkerRow:
        """The row of this worker; its process is another than the one that claims."""
        return WorkerRow(
            name=self.name,
            host="elsewhere",
            boot_id=boot_id(),
            pid=1,
            pid_namespace=0,
            pid_started_at=0,
            slots=1,
            queues=(),
            started_at=0,
            last_heartbeat=0,
            beat_at=0,
        )


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    one, two = Host(tmp_path / "queue.db", "one"), Host(tmp_path / "queue.db", "two")
    with closing(one.store), closing(two.store):
        yield one, two
    shutil.rmtree(tmp_path, ignore_errors=True)


def spec(folder: Path) -> Enqueued:
    """A job that writes its pid and keeps running."""
    return Enqueued(
        command=f"echo $$ > '{folder}/pid'; exec sleep 300",
        queue="default",
        priority=0,
        max_retries=3,
        backoff_base=2,
        backoff_cap=SECOND,
        jitter=False,
        cwd=str(folder),
    )


@pytest.mark.parametrize("on_a_server", [True, False])
def test_a_lock_holder_under_another_home_is_found_on_a_server(tmp_path: Path, on_a_server: bool) -> None:
    """The process has left its session and has no token. For a file queue such a folder belongs to another queue."""
    (tmp_path / "place").mkdir()
    name = f"{os.urandom(8).hex()}.output"  # another test may run at the same time, whose process would be found by it
    folders = [str(tmp_path / home / name) for home in ("one", "two")]
    one, two = (
        Runner(each, "log", "w", SystemClock(), reach=Reach.SEVERAL_HOSTS if on_a_server else Reach.ONE_HOST)
        for each in folders
    )
    command = "env -i setsid sh -c 'echo $$ > pid; exec sleep 300' & until [ -s pid ]; do sleep 0.05; done; sleep 300"
    job = Job("a", structs.replace(spec(tmp_path / "place"), command=command), 1, 0, 0, 1, run=1)
    assert one.reserve(job)
    assert one.start(job, 0) is None
    eventually(lambda: (tmp_path / "place" / "pid").exists() and (tmp_path / "place" / "pid").read_text(), "it runs")
    pid = int((tmp_path / "place" / "pid").read_text())
    try:
        eventually(lambda: two.clear(job), "nothing is left, or it is not seen")
        assert alive(pid) is not on_a_server
    finally:
        one.kill_all()
        eventually(one.ended, "the command is reaped")
        eventually(lambda: not one.end_leftovers(0), "and what it left")


def test_a_run_that_began_meanwhile_is_not_killed(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """While one worker frees two jobs, another one frees the second job and runs it."""
    one, two = hosts
    one.queue.enqueue([NewJob(spec(tmp_path), job_id) for job_id in ("a", "b")])
    lost = {job.id: job for job in (one.claim(lives=False), one.claim(lives=False))}
    begun: list[Job] = []

    class Watched(Runner):
        def tails(self, job: Job) -> tuple[str, str]:
            """Let the other worker act after the reclaimer has ended the first job's processes."""
            other = lost["b" if job.id == "a" else "a"]
            if not begun:
                two.queue.execute([Report(other.id, other.run, Exit(LostWorker("one")))])
                begun.append(two.claim())
                assert two.runner.start(begun[0], 0) is None
                eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "it runs")
            return super().tails(job)

    commands = Watched(one.runner.folder, one.runner.log_id, "one", SystemClock())
    clock = SystemClock()
    Reclaimer(one.queue, commands, clock, one.row(), 30 * SECOND).tick(clock.monotonic(), (), {})
    pid = int((tmp_path / "pid").read_text())
    try:
        assert alive(pid), "the new run was killed instead of the old one"
        job = one.store.log.load(begun[0].id)
        assert job is not None
        assert (job.run, job.claim is not None) == (2, True)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
        eventually(two.runner.ended, "the command is reaped")


def test_a_blocked_job_that_runs_again_is_not_touched(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """The lock holder has ended and the job was claimed again before the reclaimer looks at it."""
    one, two = hosts
    one.queue.enqueue([NewJob(spec(tmp_path), "a")])
    first = one.claim(lives=False)
    one.queue.execute([Report("a", first.run, Exit(LostWorker("one")))])
    blocked = one.store.log.load("a")
    assert blocked is not None
    assert two.runner.start(two.claim(), 0) is None
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "it runs")
    pid = int((tmp_path / "pid").read_text())
    clock = SystemClock()
    try:
        Reclaimer(one.queue, one.runner, clock, one.row(), 30 * SECOND).tick(clock.monotonic(), ("a",), {"a": blocked})
        assert alive(pid), "the new run was killed instead of the leftovers"
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
        eventually(two.runner.ended, "the command is reaped")
