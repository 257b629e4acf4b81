"""The verification of a served queue: it is checked while someone looks, and the page says when it was."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from queuectl.application.queue import NewJob
from queuectl.runtime import SystemClock
from queuectl.web.verification import PAUSE, SHARE, Verification, Verified
from tests.support.builders import SECOND, SettableClock, a_spec
from tests.support.command_line import eventually
from tests.web.client import served

CLEAN = json.dumps({"clean": True, "head": {"position": 12, "digest": ""}, "problems": {}})
DAMAGED = json.dumps({"clean": False, "head": {"position": 12, "digest": ""}, "problems": {"event": 2, "table": 1}})


def printing(text: str, more: str = "pass") -> list[str]:
    """A command that prints this text, and does something more before that."""
    return [sys.executable, "-c", f"{more}; print({text!r})"]


def outcome(verification: Verification) -> Verified:
    """The outcome once it is there."""
    return eventually(verification.look, "it has been verified")


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


def test_the_first_look_starts_a_check(clock: SettableClock) -> None:
    verification = Verification(printing(CLEAN), clock)
    assert verification.look() is None
    assert outcome(verification) == Verified(clock.now(), 12, 0)


def test_damage_is_counted(clock: SettableClock) -> None:
    assert outcome(Verification(printing(DAMAGED), clock)).problems == 3


def checks(clock: SettableClock, file: Path, lasts: int) -> tuple[Verification, Callable[[], int]]:
    """A verification, and how many checks it has started. Each takes so many seconds on the clock."""
    verification = Verification(printing(CLEAN, f"open({str(file)!r}, 'a').write('x')"), clock)
    printed = verification._printed

    def slow() -> bytes:
        clock.advance(lasts * SECOND)
        return printed()

    verification._printed = slow  # type: ignore[method-assign]
    return verification, lambda: len(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("lasts", "pause"), [(0, PAUSE), (60, SHARE * 60 * SECOND)])
def test_the_next_check_comes_after_a_pause(clock: SettableClock, tmp_path: Path, lasts: int, pause: int) -> None:
    verification, number = checks(clock, tmp_path / "checks", lasts)
    outcome(verification)
    eventually(lambda: not verification._runs, "the check has ended")
    clock.advance(pause - 1)
    verification.look()
    assert not verification._runs
    assert number() == 1
    clock.advance(1)
    verification.look()
    eventually(lambda: number() == 2, "the next check")


@pytest.mark.parametrize("text", ["", "{}", "Traceback", "[1]"])
def test_a_check_that_fails_keeps_the_last_outcome(clock: SettableClock, text: str) -> None:
    verification = Verification(printing(text), clock)
    verification.last = known = Verified(clock.now(), 3, 0)
    verification.look()
    eventually(lambda: not verification._runs, "the check has ended")
    assert verification.last == known


def test_a_program_that_is_not_there_is_no_outcome(clock: SettableClock) -> None:
    verification = Verification(["/nothing/here"], clock)
    assert verification.look() is None
    eventually(lambda: not verification._runs, "the check has ended")
    assert verification.last is None


def test_the_end_ends_a_check(clock: SettableClock) -> None:
    verification = Verification(printing(CLEAN, "import time; time.sleep(600)"), clock)
    verification.look()
    eventually(lambda: verification._child is not None, "it runs")
    verification.end()
    eventually(lambda: not verification._runs, "the check has ended")
    clock.advance(2 * PAUSE)
    assert verification.look() is None
    assert not verification._runs


def verified(problems: int) -> Verification:
    """As if the queue had been verified two minutes ago, and the next check comes later."""
    verification, clock = Verification(printing(CLEAN), SystemClock()), SystemClock()
    verification._due_at = clock.monotonic() + PAUSE
    verification.last = Verified(clock.now() - 125 * SECOND, 1200, problems)
    return verification


def test_the_page_says_when_it_was_verified(path: str) -> None:
    with served(path, verification=verified(0)) as (client, queue):
        queue.enqueue([NewJob(a_spec("true"), "a")])
        assert '✓ <span class="wide-text">verified</span> 2m ago' in client.get("/").text
        assert "verify found no damage up to event #1,200" in client.get("/jobs").text
        assert "verified" not in client.get("/?as_of=1").text


def test_the_page_says_that_damage_was_found(path: str) -> None:
    with served(path, verification=verified(3)) as (client, _):
        found = client.get("/").text
    assert "! damaged" in found
    assert "verify found 3 problems ▸" in found
    assert "✓ <" not in found


def test_the_page_says_nothing_when_nobody_verifies(path: str) -> None:
    with served(path) as (client, _):
        assert "verified" not in client.get("/").text
