"""A worker's sleep, which ends early when a child ends, a signal comes, or a writer says that there is work.

Writers on this machine touch a file, which is watched with inotify (Linux); others notify through the store. Both are
only hints: the worker also polls.
"""

import os
import select
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from queuectl.store.protocol import Hints
from queuectl.worker.stop_signals import StopSignals

__all__ = ["Wakeup"]

LOOK_AGAIN = 0.1
"""Seconds to sleep after a hint."""
BUSY = 0.02
"""Seconds without an event after which a worker begins to watch for writers.

A busy one looks at the store every few milliseconds anyway, and the end of a watch holds up the end of its process for
20 ms, which a short `run --drain` would notice.
"""
_AT_ONCE = 4096
IN_ATTRIB = 0x4
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC


class Wakeup:
    """Sleeps until something happens. `on_stop` is called, in the sleeping thread, once for each request to stop."""

    def __init__(
        self, watched: str, signals: StopSignals, on_stop: Callable[[], None], hints: Hints | None = None
    ) -> None:
        self._stop_signals, self._on_stop, self._hints, self._hinted = signals, on_stop, hints, False
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        signals.install()
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self._watched_file, self._watches = watched, False
        self._inotify: int | None = None

    def sleep(self, seconds: float) -> None:
        """Sleep until a child ends, a signal comes, the file is touched, the store sends a hint, or the time is over.

        Writers send one hint for many changes, so the sleep after a hint is short, for the changes that followed it.
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
        if self._watches or seconds <= BUSY:
            self._events(seconds)
        elif not self._events(BUSY):
            self._watch()  # and return: the worker looks once more at what was written before

    def _events(self, seconds: float) -> bool:
        """Wait for events and handle them. Whether there were any."""
        events = self._poll.poll(max(0.0, seconds) * 1000)
        for descriptor, _ in events:
            if descriptor == self._reader:
                self._signals()
            elif descriptor == self._inotify:
                _drain(descriptor)
        return bool(events)

    def _watch(self) -> None:
        self._watches, self._inotify = True, _watch(self._watched_file)
        if self._inotify is not None:
            self._poll.register(self._inotify, select.POLLIN)

    def _signals(self) -> None:
        with suppress(BlockingIOError):
            while len(os.read(self._reader, _AT_ONCE)) == _AT_ONCE:
                pass
        for _ in range(self._stop_signals.take()):
            self._on_stop()


def _nothing(number: int, frame: object) -> None:
    """A handler that does nothing: only signals with a handler are written to the wake-up descriptor."""


def _watch(path: str) -> int | None:
    """A descriptor that becomes readable when the file is touched. None where that is not possible."""
    import ctypes

    with suppress(OSError, AttributeError):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = int(libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC))
        if descriptor < 0:
            return None
        if libc.inotify_add_watch(descriptor, os.fsencode(path), IN_ATTRIB) >= 0:
            return descriptor
        os.close(descriptor)
    return None


def _drain(descriptor: int) -> None:
    with suppress(BlockingIOError):
        while len(os.read(descriptor, 4096)) >= struct.calcsize("iIII"):
            pass
