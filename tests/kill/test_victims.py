"""The means of the kill campaign: victims are real command lines, and die where they are told to."""

import os
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.kill.victims import POINTS, Failpoint, Victim, start
from tests.oracle import rows

COPY = "queuectl.store.keeping:Keeper.copy"


def ended(victim: Victim) -> int:
    """The exit code; below zero a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(victim.pid, 0)[1])


def types(place: Path) -> list[str]:
    """What the log tells."""
    return [row["type"] for row in rows(str(place / "queue.db"))]


@pytest.mark.parametrize("point", POINTS)
def test_a_point_is_a_function(point: str) -> None:
    module, _, name = point.partition(":")
    assert callable(attrgetter(name)(import_module(module)))


def test_a_victim_that_is_left_alone_does_what_it_was_called_for(tmp_path: Path) -> None:
    victim = start(["--db", "queue.db", "enqueue", "--id", "job", "true"], tmp_path, "victim")
    assert (ended(victim), victim.said(), victim.last_words()) == (0, ["job\n"], "")
    assert types(tmp_path) == ["enqueued"]


@pytest.mark.parametrize(("after", "copied"), [(False, 0), (True, 1)], ids=["before", "after"])
def test_a_victim_dies_just_before_or_just_after(after: bool, copied: int, tmp_path: Path) -> None:
    victim = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "victim", [Failpoint(COPY, after, 1).arm])
    assert (ended(victim), victim.said()) == (-SIGKILL, [])
    segments = (tmp_path / "queue.db.archive").glob("*.ndjson")
    assert types(tmp_path) == ["enqueued"]
    assert sum(b"enqueued" in segment.read_bytes() for segment in segments) == copied


def test_a_victim_dies_after_so_many_calls(tmp_path: Path) -> None:
    point = Failpoint("queuectl.application:Queue.enqueue", True, 1)
    victim = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "first", [point.arm])
    assert (ended(victim), types(tmp_path)) == (-SIGKILL, ["enqueued"])
    later = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "second", [point._replace(call=2).arm])
    assert (ended(later), len(later.said())) == (0, 1)


def test_an_error_in_a_victim_is_seen(tmp_path: Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oh")

    victim = start(["--db", "queue.db", "enqueue", "true"], tmp_path, "victim", [broken])
    assert (ended(victim), victim.last_words()) == (70, "ZeroDivisionError: oh")
