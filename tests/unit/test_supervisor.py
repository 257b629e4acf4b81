"""When a supervisor starts a worker's successor: by what the store says of the name, and by what the machine allows."""

import os
from dataclasses import dataclass

import pytest

from queuectl.errors import StoreBusyError, StoreError
from queuectl.worker.supervisor import LONGEST_WAIT, LOOK_EVERY, Supervisor
from tests.support.builders import SettableClock


@dataclass
class Answers:
    """What the store says when it is asked to keep a name; it is moved nowhere."""

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
    """One supervisor of one worker, in virtual time; its processes are only counted."""

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

    def live(self, microseconds: int) -> bool:
        """Go on for so long; whether the supervisor does."""
        until = self.clock.monotonic() + microseconds
        while (left := until - self.clock.monotonic()) > 0:
            if not self.supervisor._tick():
                return False
            self.clock.advance(max(1, min(left, self.supervisor._delay())))
        return True


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Its worker has died once."""
    clock, names = SettableClock(), Answers()
    machine = Machine(Supervisor("w", 1, ["run"], clock, names), clock, names)
    for name in ("posix_spawn", "waitpid"):
        monkeypatch.setattr(os, name, getattr(machine, name))
    assert machine.live(1)
    machine.codes = (9,)
    return machine


def test_a_worker_that_died_is_replaced(machine):
    assert machine.live(LONGEST_WAIT)
    assert machine.started == 2


def test_none_is_started_once_it_was_asked_to_stop(machine):
    assert machine.live(1)
    machine.names.answer = False
    assert not machine.live(LONGEST_WAIT)
    assert machine.started == 1


def test_no_worker_is_started_while_the_store_is_busy(machine):
    machine.names.answer = StoreBusyError("locked")
    assert machine.live(2 * LONGEST_WAIT)
    assert machine.started == 1
    machine.names.answer = True
    assert machine.live(2 * LOOK_EVERY)
    assert machine.started == 2


@pytest.mark.parametrize("trouble", [StoreError("gone"), OSError(24, "Too many open files")])
def test_one_is_started_when_the_store_cannot_be_asked(machine, trouble):
    machine.names.answer = trouble
    assert machine.live(LONGEST_WAIT)
    assert machine.started == 2


def test_a_start_that_fails_is_tried_again_less_and_less_often(machine, caplog):
    machine.short = True
    assert machine.live(10 * LONGEST_WAIT)
    waits = [record.args[2] for record in caplog.records if "cannot be started" in record.msg]
    assert waits[:7] == [2, 4, 8, 16, 30, 30, 30]
    machine.short = False
    assert machine.live(2 * LONGEST_WAIT)
    assert machine.started == 2


def test_a_name_is_given_up_when_no_worker_is_to_follow(machine):
    assert machine.live(LONGEST_WAIT)
    machine.codes = (0,)
    assert not machine.live(LONGEST_WAIT)
    assert machine.names.given_up
