"""N times `run`: starts the workers, replaces one that dies, and passes signals on."""

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
from queuectl.units import SECOND
from queuectl.worker.wakeup import stopping_signals

__all__ = ["Names", "Supervisor", "detach", "places"]

HOPELESS = (2, 4)
"""Exit codes that another start does not mend: options that `run` does not take, and a name that is taken."""
FIRST_WAIT, LONGEST_WAIT = SECOND // 2, 30 * SECOND
"""Before a worker that died is replaced: doubled each time it dies within that wait again."""
LOOK_EVERY = SECOND // 2
"""Whether one that is to be replaced was asked to stop."""

log = logging.getLogger("queuectl.worker.supervisor")


def places(name: str, count: int) -> list[str]:
    """What so many workers are called: `name`, or `name.1`, `name.2`, …"""
    return [f"{name}.{number}" for number in range(1, count + 1)] if count > 1 else [name]


class Names(Protocol):
    """The workers' names in the store."""

    def keep(self, name: str, died: int) -> bool:
        """Keep the name of a worker that died (its pid) for the next one; False once it was asked to stop.

        Raises StoreBusyError when that has to be asked again, QueuectlError or OSError when it cannot be.
        """

    def give_up(self, name: str) -> None:
        """Keep a name no longer; nothing when it is not kept."""

    def moved(self) -> bool:
        """Whether the queue goes on elsewhere: of what makes a store unusable that alone will not pass."""


@dataclass(slots=True)
class _Place:
    """One worker's place: its process, or when the next one is started; `died` is the pid of the one before."""

    name: str
    pid: int | None = None
    died: int | None = None
    started: int = 0
    wait: int = FIRST_WAIT
    start_at: int | None = 0
    look_at: int = 0


@dataclass(slots=True)
class Supervisor:
    """Workers named after `name`; `arguments` are what `queuectl` gets but for the name."""

    name: str
    count: int
    arguments: Sequence[str]
    clock: Clock
    names: Names
    _places: list[_Place] = field(init=False)
    _signals: int = 0
    _refused: int = 0

    def __post_init__(self) -> None:
        self._places = [_Place(name) for name in places(self.name, self.count)]

    def run(self) -> int:
        """Until every worker has ended well; 0, or a worker's own code when starting it again is hopeless."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*stopping_signals(), signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        while self._tick():
            select.select([reader], [], [], self._delay() / SECOND)
            with suppress(BlockingIOError):
                self._heed(os.read(reader, 4096))
        return self._refused

    def _tick(self) -> bool:
        now = self.clock.monotonic()
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
            return  # the worker would wait for it too
        except (QueuectlError, OSError):
            wanted = True  # the worker will say what is wrong
        if not wanted:
            place.start_at = None
            log.info("worker %s was asked to stop: it is not started again", place.name)
        elif wait <= 0:
            self._start(place, now)

    def _start(self, place: _Place, now: int) -> None:
        # A group of its own: Ctrl-C in a terminal reaches the supervisor alone, which passes it on once.
        arguments = [sys.executable, "-P", "-m", "queuectl", *self.arguments, "--name", place.name]
        place.started, place.start_at = now, None
        try:
            place.pid = os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0, setsigmask=[])
        except OSError as error:
            self._start_later(place, now)
            log.warning("worker %s: cannot be started (%s): again in %.1f s", place.name, error, place.wait / SECOND)
            return
        log.info("worker %s started (pid %d)", place.name, place.pid)

    def _ended(self, place: _Place, code: int, now: int) -> None:
        pid, place.pid = place.pid or 0, None
        hopeless = code in HOPELESS or (code == StoreError.exit_code and self.names.moved())
        self._refused = self._refused or (code if hopeless else 0)
        if code == 0 or hopeless or self._signals:
            log.info("worker %s ended", place.name)
            self._give_up(place)
            return
        self._start_later(place, now)
        place.died = pid
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        log.warning("worker %s (pid %s) died (%s): replaced in %.1f s", place.name, pid, how, place.wait / SECOND)

    def _start_later(self, place: _Place, now: int) -> None:
        place.wait = min(place.wait * 2, LONGEST_WAIT) if now - place.started < place.wait * 2 else FIRST_WAIT
        place.start_at, place.look_at = now + place.wait, now

    def _give_up(self, place: _Place) -> None:
        if place.died is not None:
            with suppress(QueuectlError, OSError):
                self.names.give_up(place.name)

    def _heed(self, received: bytes) -> None:
        for number in received:
            if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._signals += 1
                self._pass_on()

    def _pass_on(self) -> None:
        for place in self._places:
            place.start_at = None
            if place.pid is not None:
                os.kill(place.pid, signal.SIGTERM)
        for place in self._places:
            if place.pid is None:
                self._give_up(place)

    def _delay(self) -> int:
        moments = [place.look_at for place in self._places if place.start_at is not None]
        return max(0, min(moments) - self.clock.monotonic()) if moments else 60 * SECOND


def detach(arguments: Sequence[str], log_file: str, started: Callable[[], bool]) -> tuple[int, int | None]:
    """Start `queuectl ARGUMENTS` in the background with its output in `log_file`; its pid once `started` says so.

    When it ended before that, its exit code too.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "queuectl", *arguments],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log_file, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    while not started():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return pid, os.waitstatus_to_exitcode(status)
    return pid, None
