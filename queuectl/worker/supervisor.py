"""Starts several workers, replaces one that dies, and passes requests to stop on to them."""

import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from queuectl.errors import QueuectlError, StoreBusyError, StoreError
from queuectl.runtime import Clock
from queuectl.units import SECOND, format_duration
from queuectl.worker.stop_signals import STOP_NOW, StopSignals

__all__ = ["Names", "Supervisor", "worker_names"]

HOPELESS = (2, 4)
"""Exit codes after which another start would fail too: wrong options, and a name that is taken."""
FIRST_WAIT, LONGEST_WAIT = SECOND // 2, 30 * SECOND
"""The wait before a dead worker is replaced; it doubles each time the next one dies within twice the wait."""
LOOK_EVERY = SECOND // 2
"""How often a supervisor checks whether a worker that it is about to replace was asked to stop."""

log = logging.getLogger("queuectl.worker.supervisor")


def worker_names(name: str, count: int) -> list[str]:
    """The names of so many workers: `name`, or `name.1`, `name.2`, …"""
    return [f"{name}.{number}" for number in range(1, count + 1)] if count > 1 else [name]


class Names(Protocol):
    """The workers' names in the store."""

    def keep(self, name: str, died: int) -> bool:
        """Reserve the name of a dead worker (`died` is its pid) for the next one; False once it was asked to stop.

        Raises StoreBusyError when the caller should try again, QueuectlError or OSError when the store cannot be used.
        """

    def give_up(self, name: str) -> None:
        """Drop a reservation, if there is one."""

    def moved(self) -> bool:
        """Whether the queue was migrated away: the only store failure that is not worth retrying."""


@dataclass(slots=True)
class _Place:
    """One worker: its process, or when to start its replacement. `died` is the pid of the previous process."""

    name: str
    pid: int | None = None
    died: int | None = None
    started: int = 0
    wait: int = FIRST_WAIT
    start_at: int | None = 0
    look_at: int = 0


@dataclass(slots=True)
class Supervisor:
    """Workers named after `name`; `arguments` are those of `queuectl`, without the name."""

    name: str
    count: int
    arguments: Sequence[str]
    clock: Clock
    names: Names
    upkeep: Callable[[], None] = lambda: None
    _places: list[_Place] = field(init=False)
    _stops: int = 0
    _refused: int = 0
    _signals: StopSignals = field(init=False)

    def __post_init__(self) -> None:
        self._signals = StopSignals(self.clock)
        self._places = [_Place(name) for name in worker_names(self.name, self.count)]

    def run(self) -> int:
        """Run until every worker has ended. Returns 0, or the exit code of a worker that cannot be started again."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._signals.install()
        changed = select.poll()  # unlike select(), it takes descriptors above 1023
        changed.register(reader, select.POLLIN)
        while self._tick():
            changed.poll(self._delay() / 1000)
            with suppress(BlockingIOError):
                os.read(reader, 4096)
            if new := self._signals.take():
                self._stop(new)
        return self._refused

    def _tick(self) -> bool:
        now = self.clock.monotonic()
        self.upkeep()
        for place in self._places:
            if place.start_at is not None and now >= place.look_at:
                self._look(place, now, place.start_at - now)
            elif place.pid is not None and (ended := os.waitpid(place.pid, os.WNOHANG))[0]:
                self._ended(place, os.waitstatus_to_exitcode(ended[1]), now)
        return any(place.pid is not None or place.start_at is not None for place in self._places)

    def _look(self, place: _Place, now: int, wait: int) -> None:
        """Start the place's worker when it is time, unless it was asked to stop meanwhile."""
        place.look_at = now + (wait if 0 < wait < LOOK_EVERY else LOOK_EVERY)
        try:
            wanted = place.died is None or self.names.keep(place.name, place.died)
        except StoreBusyError:
            return  # the worker would have to wait too
        except (QueuectlError, OSError):
            wanted = True  # the worker will report the error
        if not wanted:
            place.start_at = None
            log.info("Worker %s was asked to stop: not replacing it", place.name)
        elif wait <= 0:
            self._start(place, now)

    def _start(self, place: _Place, now: int) -> None:
        # A process group of its own: Ctrl-C in a terminal reaches only the supervisor, which passes it on once.
        names = ["--name", place.name, "--supervisor", str(os.getpid())]
        arguments = [sys.executable, "-P", "-m", "queuectl", *self.arguments, *names]
        place.started, place.start_at = now, None
        try:
            place.pid = os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0, setsigmask=[])
        except OSError as error:
            self._start_later(place, now)
            what = "Worker %s cannot be started (%s): trying again in %s"
            log.warning(what, place.name, error, format_duration(place.wait))
            return
        log.info("Worker %s started (pid %d)", place.name, place.pid)

    def _ended(self, place: _Place, code: int, now: int) -> None:
        pid, place.pid = place.pid or 0, None
        hopeless = code in HOPELESS or (code == StoreError.exit_code and self.names.moved())
        self._refused = self._refused or (code if hopeless else 0)
        if code == 0 or hopeless or self._stops:
            log.info("Worker %s ended", place.name)
            self._give_up(place)
            return
        self._start_later(place, now)
        place.died = pid
        how, wait = f"exit code {code}" if code > 0 else f"signal {-code}", format_duration(place.wait)
        log.warning("Worker %s (pid %s) died (%s): replacing it in %s", place.name, pid, how, wait)

    def _start_later(self, place: _Place, now: int) -> None:
        place.wait = min(place.wait * 2, LONGEST_WAIT) if now - place.started < place.wait * 2 else FIRST_WAIT
        place.start_at, place.look_at = now + place.wait, now

    def _give_up(self, place: _Place) -> None:
        if place.died is not None:
            with suppress(QueuectlError, OSError):
                self.names.give_up(place.name)

    def _stop(self, new: int) -> None:
        """Start no more workers, and pass the request on to those that run."""
        self._stops += new
        for place in self._places:
            place.start_at = None
            if place.pid is not None:
                os.kill(place.pid, signal.SIGTERM if self._stops == 1 else STOP_NOW)
        for place in self._places:
            if place.pid is None:
                self._give_up(place)

    def _delay(self) -> int:
        moments = [place.look_at for place in self._places if place.start_at is not None]
        return max(0, min(moments) - self.clock.monotonic()) if moments else 60 * SECOND
