"""Child processes: every result arrives once, and no end of a child goes unnoticed."""

import os
import signal
from pathlib import Path

import pytest

from queuectl import parallel
from queuectl.errors import StoreBusyError
from queuectl.parallel import ChildError, Children, cores
from queuectl.store.errors import DamagedEventError
from tests.support.command_line import alive, eventually
from tests.support.part_work import ENTRY

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def _this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The children have to find the tests."""
    monkeypatch.setenv("PYTHONPATH", ROOT)


def results(*parts: tuple[str, object], processes: int = 2) -> list[tuple[int, object]]:
    with Children(ENTRY, "it is ", processes) as children:
        children.give(parts)
        return sorted(children.results())


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_part_is_done_once(processes):
    found = results(*(("echo", str(number)) for number in range(20)), processes=processes)
    assert found == [(number, f"it is {number}") for number in range(20)]


def test_parts_may_be_given_later():
    with Children(ENTRY, "", 2) as children:
        children.give([("echo", "a")])
        first = list(children.results())
        children.give([("echo", "b"), ("echo", "c"), ("echo", "d")])
        assert sorted(first + list(children.results())) == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]


def test_results_may_be_larger_than_a_pipe():
    [*found] = results(("repeat", ("x" * 200_000, 5)), ("repeat", ("y" * 300_000, 3)))
    assert [(number, len(text)) for number, text in found] == [(0, 200_000)] * 5 + [(1, 300_000)] * 3


def test_an_error_of_a_child_is_raised_here():
    with pytest.raises(StoreBusyError, match="locked, says the child"):
        results(("echo", ""), ("fail", "locked, says the child"))


def test_an_error_that_cannot_be_made_again_keeps_its_message():
    error = DamagedEventError(7, "job", "its digest does not match")
    assert str(error) == str(parallel.pickle.loads(parallel._pickled(error)))


@pytest.mark.parametrize(("part", "how"), [(("die", signal.SIGKILL), "by SIGKILL"), (("exit", 0), "exit code 0")])
def test_a_child_that_ends_early_is_an_error(part, how):
    with pytest.raises(ChildError, match=how):
        results(("echo", ""), part, ("echo", ""))


def test_a_child_that_cannot_be_started_is_an_error(monkeypatch):
    monkeypatch.setattr(parallel.sys, "executable", "/nonexistent/python")
    with pytest.raises(ChildError, match="--jobs 1"):
        results(("echo", ""))


def test_no_child_outlives_an_error_here():
    pids: list[int] = []

    def interrupted() -> None:
        with Children(ENTRY, "", 2) as children:
            children.give([("pid", None), ("pid", None)])
            pids.extend(pid for _, (_, pid) in zip(range(2), children.results(), strict=False))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(map(alive, pids))


def test_a_child_ends_when_its_parent_was_killed():
    """It finds nobody to send its results to."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        children = Children(ENTRY, "", 1)
        children.give([("repeat", ("x", 1)), ("repeat", ("x" * 1000, 1_000_000))])
        found = children.results()
        next(found)
        os.write(writer, str(children._children[0]._process.pid).encode())
        signal.pause()
    child = int(os.read(reader, 20))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    eventually(lambda: not alive(child), "the end of the child")


def test_children_import_no_more_than_their_work_needs():
    [(_, modules)] = results(("modules", None), processes=1)
    others = {"typer", "click", "rich", "queuectl.cli", "queuectl.application", "subprocess", "typing_extensions"}
    assert not others & set(modules)


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1), ("", 8)])
def test_cores_are_those_that_may_be_used(monkeypatch, tmp_path, quota, expected):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(parallel, "_QUOTA", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cores() == expected
