"""The tools of the kill campaign: victims are real command lines that die at a given point."""

import os
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest

from tests.kill.life import Life, _called_with
from tests.kill.victims import OF_A_WORKER, OF_EVERY_COMMAND, POINTS, Failpoint, Victim, start
from tests.support.command_line import eventually
from tests.support.oracle import rows

COPY = "queuectl.store.sql.writer:Writer.copy"
EXECUTE = "queuectl.application.queue:Queue.execute"
OF_THE_LOST = {
    "queuectl.worker.reclaimer:Reclaimer._free",
    "queuectl.process.runner:Runner.clear",
    "queuectl.application.queue:Queue.lose_worker",
}
"""Functions that a worker calls after another worker was lost."""


def ended(victim: Victim) -> int:
    """Wait for the victim's exit code; a negative number is a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(victim.pid, 0)[1])


def types(place: Path) -> list[str]:
    """The types of all events in the log."""
    return [row["type"] for row in rows(str(place / "queue.db"))]


@pytest.mark.parametrize("point", POINTS)
def test_a_point_is_a_function(point: str) -> None:
    module, _, name = point.partition(":")
    assert callable(attrgetter(name)(import_module(module)))


@pytest.mark.parametrize("point", [point for point in OF_EVERY_COMMAND if point != EXECUTE])
def test_an_enqueue_reaches_each_point_of_every_command(point: str, tmp_path: Path) -> None:
    """The second job waits for the first, so that there is something to react to."""
    (tmp_path / "jobs").write_text('{"id": "a", "command": "true"}\n{"command": "true", "after": ["a"]}\n')
    arguments = ["--db", "queue.db", "enqueue", "--file", "jobs"]
    assert ended(start(arguments, tmp_path, "victim", [Failpoint(point, False, 1).arm])) == -SIGKILL


@pytest.mark.parametrize("point", [EXECUTE, *(point for point in OF_A_WORKER if point not in OF_THE_LOST)])
def test_a_worker_reaches_each_of_its_points(point: str, tmp_path: Path) -> None:
    assert ended(start(["--db", "queue.db", "enqueue", "true"], tmp_path, "enqueue")) == 0
    victim = start(["--db", "queue.db", "run", "--drain"], tmp_path, "victim", [Failpoint(point, False, 1).arm])
    assert ended(victim) == -SIGKILL


def test_a_victim_that_is_not_killed_does_its_command(tmp_path: Path) -> None:
    victim = start(["--db", "queue.db", "enqueue", "--id", "job", "true"], tmp_path, "victim")
    assert (ended(victim), victim.printed()) == (0, ["job\n"])
    made, unserved = victim.err.read_text(encoding="utf-8").splitlines()
    assert made == f"made a new queue at {tmp_path}/queue.db"
    assert unserved == "no worker serves these queues: queuectl --db queue.db run"
    assert types(tmp_path) == ["enqueued"]


@pytest.mark.parametrize(("after", "copied"), [(False, 0), (True, 1)], ids=["before", "after"])
def test_a_victim_dies_just_before_or_just_after_a_call(after: bool, copied: int, tmp_path: Path) -> None:
    victim = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "victim", [Failpoint(COPY, after, 1).arm])
    assert (ended(victim), victim.printed()) == (-SIGKILL, [])
    segments = (tmp_path / "queue.db.archive").glob("*.ndjson")
    assert types(tmp_path) == ["enqueued"]
    assert sum(b"enqueued" in segment.read_bytes() for segment in segments) == copied


def test_a_victim_dies_at_the_given_number_of_calls(tmp_path: Path) -> None:
    point = Failpoint("queuectl.application.queue:Queue.add", True, 1)
    victim = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "first", [point.arm])
    assert (ended(victim), types(tmp_path)) == (-SIGKILL, ["enqueued"])
    later = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "second", [point._replace(call=2).arm])
    assert (ended(later), len(later.printed())) == (0, 1)


def test_an_error_in_a_victim_is_reported(tmp_path: Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oh")

    victim = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "victim", [broken])
    assert (ended(victim), victim.last_error_line()) == (70, "ZeroDivisionError: oh")


def test_the_workers_of_a_killed_supervisor_are_killed_too(tmp_path: Path) -> None:
    life = Life(tmp_path, Random(0), supervised=True)
    point = "queuectl.worker.supervisor:Supervisor._start"
    supervisor = life._run(["worker", "start", "--count", "2"], [Failpoint(point, True, 2).arm])
    life._doom(supervisor, 60, point)
    eventually(lambda: life._reap() or not life.doomed, "the supervisor is dead")
    assert life.at_points == {point: 1}
    assert life.kills > 1
    eventually(lambda: not list(_called_with(life.db)), "its workers are dead")
