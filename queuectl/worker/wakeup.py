"""What a worker sleeps on: its children, its signals, and word from writers when there is work.

On this machine writers touch a file, which is watched with inotify where there is one (Linux); from elsewhere it comes
through the store. Both are only hints, the worker's own poll is the truth.
"""

import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from queuectl.store.protocol import Hints

__all__ = ["Wakeup", "stopping_signals"]

LOOK_AGAIN = 0.1
"""Seconds after a hint."""
IN_ATTRIB = 0x4
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC


class Wakeup:
    """Sleeps until something happens. `on_stop` is called, in the sleeping thread, once for each signal to stop."""

    def __init__(self, watched: str, on_stop: Callable[[], None], hints: Hints | None = None) -> None:
        self._on_stop, self._hints, self._hinted = on_stop, hints, False
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
        """Until a child ends, a signal comes, the file is touched, the store hints, or the time is over.

        Writers pass on one hint of many: after each there is a second look, for what they kept to themselves.
        """
        hints, seconds = self._hints, min(seconds, LOOK_AGAIN) if self._hinted else seconds
        if hints is None:
            self._wait(seconds)
        elif not hints.heard():  # none came while we were busy
            with self._watched(hints.descriptor()):
                self._wait(seconds)
            self._hinted = hints.heard()
        else:
            self._hinted = True

    @contextmanager
    def _watched(self, descriptor: int | None) -> Iterator[None]:
        if descriptor is None:
            yield
            return
        self._poll.register(descriptor, select.POLLIN)
        try:
            yield
        finally:
            self._poll.unregister(descriptor)

    def _wait(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if descriptor == self._inotify:
                _drain(descriptor)
            elif descriptor == self._reader.fileno():
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
