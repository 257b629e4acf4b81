"""N times `run`: starts the workers, replaces one that dies, and passes signals on."""

import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from queuectl.errors import StoreError
from queuectl.runtime import Clock
from queuectl.wakeup import stopping_signals

__all__ = ["Supervisor", "detach"]

SECOND = 1_000_000
HOPELESS = (2, 4)
"""Exit codes that another start does not mend: options that `run` does not take, and a name that is taken."""
FIRST_WAIT, LONGEST_WAIT = SECOND // 2, 30 * SECOND
"""Before a worker that died is replaced: doubled each time it dies within that wait again."""

log = logging.getLogger("queuectl.supervisor")


@dataclass(slots=True)
class _Place:
    """One worker's place: its process, or when the next one is started."""

    name: str
    pid: int | None = None
    started: int = 0
    wait: int = FIRST_WAIT
    start_at: int | None = 0


@dataclass(slots=True)
class Supervisor:
    """Workers named `name.1`, `name.2`, …; `arguments` are what `queuectl` gets but for the name.

    `moved` says whether the queue goes on elsewhere: of what makes a store unusable that alone will not pass.
    """

    name: str
    count: int
    arguments: Sequence[str]
    clock: Clock
    moved: Callable[[], bool]
    _places: list[_Place] = field(default_factory=list)
    _signals: int = 0
    _refused: int = 0

    def run(self) -> int:
        """Until every worker has ended well; 0, or a worker's own code when starting it again is hopeless."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*stopping_signals(), signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._places = [_Place(f"{self.name}.{i}" if self.count > 1 else self.name) for i in range(1, self.count + 1)]
        while self._tick():
            select.select([reader], [], [], self._delay() / SECOND)
            with suppress(BlockingIOError):
                self._heed(os.read(reader, 4096))
        return self._refused

    def _tick(self) -> bool:
        now = self.clock.monotonic()
        for place in self._places:
            if place.start_at is not None and now >= place.start_at:
                self._start(place, now)
            elif place.pid is not None and (ended := os.waitpid(place.pid, os.WNOHANG))[0]:
                self._ended(place, os.waitstatus_to_exitcode(ended[1]), now)
        return any(place.pid is not None or place.start_at is not None for place in self._places)

    def _start(self, place: _Place, now: int) -> None:
        # A group of its own: Ctrl-C in a terminal reaches the supervisor alone, which passes it on once.
        arguments = [sys.executable, "-P", "-m", "queuectl", *self.arguments, "--name", place.name]
        place.pid = os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0, setsigmask=[])
        place.started, place.start_at = now, None
        log.info("worker %s started (pid %d)", place.name, place.pid)

    def _ended(self, place: _Place, code: int, now: int) -> None:
        pid, place.pid = place.pid, None
        hopeless = code in HOPELESS or (code == StoreError.exit_code and self.moved())
        self._refused = self._refused or (code if hopeless else 0)
        if code == 0 or hopeless or self._signals:
            log.info("worker %s ended", place.name)
            return
        place.wait = min(place.wait * 2, LONGEST_WAIT) if now - place.started < place.wait * 2 else FIRST_WAIT
        place.start_at = now + place.wait
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        log.warning("worker %s (pid %s) died (%s): replaced in %.1f s", place.name, pid, how, place.wait / SECOND)

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

    def _delay(self) -> int:
        moments = [place.start_at for place in self._places if place.start_at is not None]
        return max(0, min(moments) - self.clock.monotonic()) if moments else 60 * SECOND


def detach(arguments: Sequence[str], log_file: str, alive: Callable[[], bool]) -> int | None:
    """Start `queuectl ARGUMENTS` in the background with its output in `log_file`; its pid once `alive` says so.

    None when it ended before that.
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
    while not alive():
        if os.waitpid(pid, os.WNOHANG)[0]:
            return None
    return pid
