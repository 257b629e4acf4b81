"""The thread that ends a worker's commands when nobody holds on to them."""

import threading
from queue import Queue

from queuectl.lifeline import Lifeline
from queuectl.runtime import SystemClock

CLOCK = SystemClock()
PATIENCE = 20
SECOND = 1_000_000


def test_it_is_cut_when_the_moment_has_come_and_again_after_that() -> None:
    cuts: Queue[int] = Queue()
    moment = CLOCK.monotonic() + SECOND // 50
    Lifeline(CLOCK, lambda: cuts.put(CLOCK.monotonic())).hold_until(moment)
    first, second = cuts.get(timeout=PATIENCE), cuts.get(timeout=PATIENCE)
    assert first >= moment
    assert second >= first + Lifeline.AGAIN


def test_who_holds_on_in_time_is_not_cut_off() -> None:
    cut = threading.Event()
    line = Lifeline(CLOCK, cut.set)
    line.hold_until(CLOCK.monotonic() + 3600 * SECOND)
    line.hold_until(CLOCK.monotonic() + 2 * 3600 * SECOND)
    assert not cut.is_set()
    line.hold_until(CLOCK.monotonic())
    assert cut.wait(PATIENCE), "an earlier moment counts too"
