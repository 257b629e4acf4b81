"""No process escapes: all that a job leaves behind is dead after its timeout, cancel, stop or freeing."""

import os
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

from tests.support.command_line import PROGRAM, Queuectl, Started, alive, eventually, lines

ESCAPE = str(Path(__file__).with_name("escape.py"))
KINDS = [
    "plain child",
    "setsid",
    "double fork",
    "nohup",
    "ignores SIGTERM",
    "closes its descriptors",
    "python subprocess",
    "env -i",
]
COMBINED = "everything at once"
"""Leaves its session, closes its descriptors and drops its environment: found only while its worker lives."""


class Escapees:
    """One job for each kind of escape, and the processes that they left behind."""

    def __init__(self, queuectl: Queuectl, then: str, kinds: list[str], **job: object) -> None:
        self.queuectl = queuectl
        self.pids = {kind: queuectl.folder / f"pids {kind}" for kind in kinds}
        self.ids = queuectl.add_all(
            *(
                {"argv": [sys.executable, ESCAPE, kind, str(path), then], "max_retries": 0, **job}
                for kind, path in self.pids.items()
            )
        )

    def work(self, *options: str) -> Started:
        """Start a worker with a slot for each job."""
        return self.queuectl.start("run", "--concurrency", str(len(self.ids)), "--grace", "500ms", *options)

    def wait_until_left(self) -> None:
        """Wait until each job has left its process behind."""
        eventually(lambda: all(lines(path) for path in self.pids.values()), "every job has left a process", 60)

    def states(self) -> set[str]:
        """The states that the jobs are in."""
        return {str(self.queuectl.state(job_id)) for job_id in self.ids}

    def survivors(self) -> dict[str, list[int]]:
        """The living leftover processes, by kind."""
        found = {kind: [int(pid) for pid in lines(path) if alive(int(pid))] for kind, path in self.pids.items()}
        return {kind: pids for kind, pids in found.items() if pids}


def test_the_end_of_a_job_is_the_end_of_what_it_left(queuectl: Queuectl) -> None:
    escapees = Escapees(queuectl, "end", [*KINDS, COMBINED])
    worker = escapees.work()
    eventually(lambda: escapees.states() == {"done"}, "every job is done", 60)
    eventually(lambda: not escapees.survivors(), "nothing is left", 30)
    assert worker.process.poll() is None


def test_a_process_without_a_sign_of_its_job_is_counted_and_named(queuectl: Queuectl) -> None:
    escapees = Escapees(queuectl, "end", [COMBINED])
    worker = escapees.work()
    [pid] = eventually(lambda: lines(escapees.pids[COMBINED]), "it has left a process", 60)
    said = f"killing what jobs left in the background: sleep (pid {pid})"
    eventually(lambda: said in worker.stderr.read_text(), "the worker names it", 30)
    assert eventually(lambda: queuectl.events("completed"), "the job is done")[0]["left_behind"] == 1


def test_a_worker_with_other_children_ends_only_what_jobs_started(queuectl: Queuectl) -> None:
    """It has seen the process descend from the job. The other child was there before it became a worker by `exec`."""
    escapees = Escapees(queuectl, "later", ["only its descent"])
    worker = queuectl.start_program("/bin/sh", "-c", f"sleep 301 & echo $! > before; exec {PROGRAM} run")
    [before] = eventually(lambda: lines(queuectl.folder / "before"), "the shell has started its own")
    try:
        eventually(lambda: escapees.states() == {"done"}, "the job is done", 60)
        eventually(lambda: not escapees.survivors(), "nothing is left", 30)
        assert "killing what jobs left in the background: sleep (pid " in worker.stderr.read_text()
        assert alive(int(before))
    finally:
        os.kill(int(before), SIGKILL)


def test_a_timeout_ends_the_whole_tree(queuectl: Queuectl) -> None:
    escapees = Escapees(queuectl, "hang", [*KINDS, COMBINED], timeout="5s")
    escapees.work()
    escapees.wait_until_left()
    eventually(lambda: escapees.states() == {"dlq"}, "every job has timed out", 60)
    eventually(lambda: not escapees.survivors(), "nothing is left", 30)
    assert {queuectl.show(job_id)["exit_code"] for job_id in escapees.ids} == {124}


def test_a_cancel_ends_the_whole_tree(queuectl: Queuectl) -> None:
    escapees = Escapees(queuectl, "hang", [*KINDS, COMBINED])
    escapees.work()
    escapees.wait_until_left()
    queuectl.ok("cancel", *escapees.ids)
    eventually(lambda: escapees.states() == {"cancelled"}, "every job is cancelled", 60)
    eventually(lambda: not escapees.survivors(), "nothing is left", 30)


def test_a_shutdown_ends_the_whole_tree_and_releases_the_jobs(queuectl: Queuectl) -> None:
    escapees = Escapees(queuectl, "hang", [*KINDS, COMBINED])
    worker = escapees.work()
    escapees.wait_until_left()
    worker.signal(SIGTERM)
    eventually(lambda: "Stopping" in worker.stderr.read_text(), "the worker handles the first signal")
    assert escapees.states() == {"processing"}
    eventually(lambda: worker.signal(SIGTERM) or "stopping it" in worker.stderr.read_text(), "the second one counts")
    assert worker.ended(60).code == 0
    assert not escapees.survivors()
    assert escapees.states() == {"pending"}
    assert {queuectl.show(job_id)["attempts"] for job_id in escapees.ids} == {0}


def test_the_tree_of_a_killed_worker_is_dead_before_its_job_is_freed(queuectl: Queuectl) -> None:
    escapees = Escapees(queuectl, "hang", KINDS)
    worker = escapees.work("--name", "first")
    escapees.wait_until_left()
    worker.signal(SIGKILL)
    worker.ended()
    assert escapees.survivors().keys() == set(KINDS), "a killed worker cannot end them itself"
    queuectl.start("run", "--name", "second")
    for job_id, kind in zip(escapees.ids, KINDS, strict=True):
        eventually(lambda job_id=job_id: queuectl.state(job_id) == "dlq", f"the job ({kind}) is freed", 30)
        assert kind not in escapees.survivors()
