"""What a worker sleeps on: its children, its signals, and a file that writers touch when there is work.

The file is watched with inotify where there is one (Linux); it is only a hint, the worker's own poll is the truth.
"""

import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Wakeup", "stopping_signals"]

IN_ATTRIB = 0x4
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC


class Wakeup:
    """Sleeps until something happens. `on_stop` is called, in the sleeping thread, once for each signal to stop."""

    def __init__(self, watched: str, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *stopping_signals()):
            signal.signal(number, _nothing)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self._inotify = _watch(watched)
        if self._inotify is not None:
            self._poll.register(self._inotify, select.POLLIN)

    def sleep(self, seconds: float) -> None:
        """Until a child ends, a signal comes, the file is touched, or the time is over."""
        for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if descriptor == self._inotify:
                _drain(descriptor)
            else:
                self._signals()

    def _signals(self) -> None:
        with suppress(BlockingIOError):
            while received := self._reader.recv(4096):
                for number in received:
                    if number != signal.SIGCHLD:
                        self._on_stop()


def stopping_signals() -> list[signal.Signals]:
    """What asks to stop: also a terminal that is closed, unless `nohup` has it ignored."""
    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hangup]


def _nothing(number: int, frame: object) -> None:
    """A signal has to have a handler to reach the wake-up descriptor."""


def _watch(path: str) -> int | None:
    import ctypes

    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = int(libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC))
        if descriptor >= 0 and libc.inotify_add_watch(descriptor, os.fsencode(path), IN_ATTRIB) >= 0:
            return descriptor
    return None


def _drain(descriptor: int) -> None:
    with suppress(BlockingIOError):
        while len(os.read(descriptor, 4096)) >= struct.calcsize("iIII"):
            pass
