"""When a supervisor replaces a dead worker: it depends on the name's row in the store and on the machine."""

import os
from dataclasses import dataclass

import pytest

from queuectl.errors import StoreBusyError, StoreError
from queuectl.worker.supervisor import LONGEST_WAIT, LOOK_EVERY, Supervisor
from tests.support.builders import SettableClock


@dataclass
class Answers:
    """The store's answers when the supervisor reserves a name; the queue has not moved."""

    answer: bool | Exception = True
    given_up: bool = False

    def keep(self, name: str, died: int) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def give_up(self, name: str) -> None:
        self.given_up = True

    def moved(self) -> bool:
        return False


@dataclass
class Machine:
    """One supervisor of one worker in virtual time; its processes are only counted."""

    supervisor: Supervisor
    clock: SettableClock
    names: Answers
    short: bool = False
    started: int = 0
    codes: tuple[int, ...] = ()

    def posix_spawn(self, *arguments: object, **options: object) -> int:
        if self.short:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.started += 1
        return 1000 + self.started

    def waitpid(self, pid: int, options: int) -> tuple[int, int]:
        code, self.codes = (self.codes[0], self.codes[1:]) if self.codes else (None, ())
        return (0, 0) if code is None else (pid, code)

    def advance(self, microseconds: int) -> bool:
        """Advance the time; return whether the supervisor still runs."""
        until = self.clock.monotonic() + microseconds
        while (left := until - self.clock.monotonic()) > 0:
            if not self.supervisor._tick():
                return False
            self.clock.advance(max(1, min(left, self.supervisor._delay())))
        return True


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose worker has died once."""
    clock, names = SettableClock(), Answers()
    machine = Machine(Supervisor("w", 1, ["run"], clock, names), clock, names)
    for name in ("posix_spawn", "waitpid"):
        monkeypatch.setattr(os, name, getattr(machine, name))
    assert machine.advance(1)
    machine.codes = (9,)
    return machine


def test_a_worker_that_died_is_replaced(machine):
    assert machine.advance(LONGEST_WAIT)
    assert machine.started == 2


def test_no_worker_is_started_after_a_request_to_stop(machine):
    assert machine.advance(1)
    machine.names.answer = False
    assert not machine.advance(LONGEST_WAIT)
    assert machine.started == 1


def test_no_worker_is_started_while_the_store_is_busy(machine):
    machine.names.answer = StoreBusyError("locked")
    assert machine.advance(2 * LONGEST_WAIT)
    assert machine.started == 1
    machine.names.answer = True
    assert machine.advance(2 * LOOK_EVERY)
    assert machine.started == 2


@pytest.mark.parametrize("trouble", [StoreError("gone"), OSError(24, "Too many open files")])
def test_a_worker_is_started_when_the_store_is_unavailable(machine, trouble):
    machine.names.answer = trouble
    assert machine.advance(LONGEST_WAIT)
    assert machine.started == 2


def test_failed_starts_are_repeated_less_and_less_often(machine, caplog):
    machine.short = True
    assert machine.advance(10 * LONGEST_WAIT)
    waits = [record.args[2] for record in caplog.records if "cannot be started" in record.msg]
    assert waits[:7] == ["2s", "4s", "8s", "16s", "30s", "30s", "30s"]
    machine.short = False
    assert machine.advance(2 * LONGEST_WAIT)
    assert machine.started == 2


def test_a_name_is_released_when_no_worker_will_follow(machine):
    assert machine.advance(LONGEST_WAIT)
    machine.codes = (0,)
    assert not machine.advance(LONGEST_WAIT)
    assert machine.names.given_up
