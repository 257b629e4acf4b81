"""The thread that ends a worker's commands when nobody holds on to them."""

import threading
from queue import Queue
from types import SimpleNamespace

import pytest

from queuectl.errors import StoreBusyError
from queuectl.process.runner import Runner
from queuectl.process.watchdog import LeaseWatchdog
from queuectl.runtime import SystemClock

CLOCK = SystemClock()
PATIENCE = 20
SECOND = 1_000_000


def test_it_is_cut_when_the_moment_has_come_and_again_after_that() -> None:
    cuts: Queue[int] = Queue()
    moment = CLOCK.monotonic() + SECOND // 50
    LeaseWatchdog(CLOCK, lambda: cuts.put(CLOCK.monotonic())).extend_to(moment)
    first, second = cuts.get(timeout=PATIENCE), cuts.get(timeout=PATIENCE)
    assert first >= moment
    assert second >= first + LeaseWatchdog.AGAIN


def test_a_renewed_lease_is_not_cut_off() -> None:
    cut = threading.Event()
    line = LeaseWatchdog(CLOCK, cut.set)
    line.extend_to(CLOCK.monotonic() + 3600 * SECOND)
    line.extend_to(CLOCK.monotonic() + 2 * 3600 * SECOND)
    assert not cut.is_set()
    line.extend_to(CLOCK.monotonic())
    assert cut.wait(PATIENCE), "an earlier moment counts too"


def test_it_continues_when_truncating_fails() -> None:
    fails = iter([True])
    cuts: Queue[int] = Queue()

    def cut() -> None:
        cuts.put(CLOCK.monotonic())
        if next(fails, False):
            raise RuntimeError("dictionary changed size during iteration")

    LeaseWatchdog(CLOCK, cut).extend_to(CLOCK.monotonic())
    cuts.get(timeout=PATIENCE)
    cuts.get(timeout=PATIENCE)


def test_without_a_thread_nothing_is_promised_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    cut = threading.Event()
    line = LeaseWatchdog(CLOCK, cut.set)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(StoreBusyError, match="can't start new thread"):
        line.extend_to(CLOCK.monotonic())
    monkeypatch.undo()
    line.extend_to(CLOCK.monotonic())
    assert cut.wait(PATIENCE)


def test_a_command_that_cannot_be_killed_keeps_no_other_alive() -> None:
    killed = []

    def kill(run: str, number: int) -> None:
        if run == "first":
            raise OSError("no more files")
        killed.append(run)

    worker = SimpleNamespace(_runs={1: "first", 2: "second"}, _leftovers=["third"], _signal=kill)
    with pytest.raises(ExceptionGroup, match="not all commands"):
        Runner.kill_all(worker)  # type: ignore[arg-type]
    assert killed == ["second", "third"]
