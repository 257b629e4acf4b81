"""The thread that kills a worker's commands when their lease is not renewed."""

import threading
from queue import Queue
from types import SimpleNamespace

import pytest

from queuectl.errors import StoreBusyError
from queuectl.process.runner import Runner
from queuectl.process.watchdog import LeaseWatchdog
from queuectl.runtime import SystemClock
from queuectl.units import SECOND

CLOCK = SystemClock()
PATIENCE = 20


def test_the_watchdog_acts_when_the_lease_ends_and_again() -> None:
    cuts: Queue[int] = Queue()
    moment = CLOCK.monotonic() + SECOND // 50
    LeaseWatchdog(CLOCK, lambda: cuts.put(CLOCK.monotonic())).extend_to(moment)
    first, second = cuts.get(timeout=PATIENCE), cuts.get(timeout=PATIENCE)
    assert first >= moment
    assert second >= first + LeaseWatchdog.AGAIN


def test_the_watchdog_does_not_act_on_a_renewed_lease() -> None:
    cut = threading.Event()
    line = LeaseWatchdog(CLOCK, cut.set)
    line.extend_to(CLOCK.monotonic() + 3600 * SECOND)
    line.extend_to(CLOCK.monotonic() + 2 * 3600 * SECOND)
    assert not cut.is_set()
    line.extend_to(CLOCK.monotonic())
    assert cut.wait(PATIENCE), "an earlier moment counts too"


def test_the_watchdog_continues_when_killing_fails() -> None:
    fails = iter([True])
    cuts: Queue[int] = Queue()

    def cut() -> None:
        cuts.put(CLOCK.monotonic())
        if next(fails, False):
            raise RuntimeError("dictionary changed size during iteration")

    LeaseWatchdog(CLOCK, cut).extend_to(CLOCK.monotonic())
    cuts.get(timeout=PATIENCE)
    cuts.get(timeout=PATIENCE)


def test_without_its_thread_the_watchdog_promises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_failed_kill_does_not_keep_other_commands_alive() -> None:
    killed = []

    def kill(run: str, number: int) -> None:
        if run == "first":
            raise OSError("no more files")
        killed.append(run)

    worker = SimpleNamespace(_runs={1: "first", 2: "second"}, _leftovers=["third"], _signal=kill)
    with pytest.raises(ExceptionGroup, match="not all commands"):
        Runner.kill_all(worker)  # type: ignore[arg-type]
    assert killed == ["second", "third"]
