"""Shares work out to child processes. Each child is a new interpreter that runs one function over parts of the work.

Processes and not threads, because the work is Python code, which runs in one thread at a time. A child is started with
its entry alone, so it imports neither the command line nor anything else that the work does not need. Frames go through
pipes: their length in 8 bytes, then a pickle. Only this process and its own children hold the pipes' ends.
"""

import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

from queuectl.errors import QueuectlError, StoreError, queue_options, set_queue_options

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = ["ChildError", "Children", "Entry", "cores"]

Entry: TypeAlias = Callable[[Any], AbstractContextManager[Callable[[Any], Iterator[Any]]]]
"""Given the set-up: what turns one part of the work into its results, one at a time, for as long as it is open."""

_CHILD = "from queuectl.parallel import serve; serve()"
AHEAD = 2
"""How many parts a child is given at once, so that it need not wait for the next one."""

_LENGTH = 8
_CHUNK = 1 << 18
_QUOTA = "/sys/fs/cgroup/cpu.max"
_RESULT, _END, _ERROR = "result", "end", "error"


class ChildError(StoreError):
    """A child process ended before its work was done."""


def cores() -> int:
    """The number of cores that this process may use: those it may be scheduled on, and its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError), open(_QUOTA, encoding="ascii") as file:
        quota, period = file.read().split()
        count = min(count, -(-int(quota) // int(period)))
    return max(1, count)


class Children:
    """Child processes that work on parts. Close it to end them; as a context manager it closes itself.

    `entry` is `module:function`, an Entry, and `setup` its argument. Raises ChildError when none can be started.
    """

    def __init__(self, entry: str, setup: object, processes: int) -> None:
        self._waiting: deque[tuple[int, object]] = deque()
        self._given = 0
        self._children: list[_Child] = []
        try:
            for _ in range(processes):
                self._children.append(_Child(entry, setup))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def give(self, parts: Iterable[object]) -> None:
        """Add parts of the work. They are begun at once, in this order, as children become free."""
        for part in parts:
            self._waiting.append((self._given, part))
            self._given += 1
        for _ in range(AHEAD):
            for child in self._children:
                self._give_next(child)

    def _give_next(self, child: "_Child") -> None:
        if self._waiting and child.parts < AHEAD:
            child.take(self._waiting.popleft())

    def results(self) -> Iterator[tuple[int, Any]]:
        """(number of the part, a result of it), in the order of their arrival, until all parts are done.

        Raises what a child raised, and ChildError for a child that ended early.
        """
        from selectors import EVENT_READ, DefaultSelector

        with DefaultSelector() as selector:
            for child in self._children:
                selector.register(child.descriptor, EVENT_READ, child)
            while any(child.parts for child in self._children):
                for key, _ in selector.select():
                    for kind, number, what in key.data.frames():
                        if kind == _ERROR:
                            raise pickle.loads(what)
                        if kind == _RESULT:
                            yield number, what
                        else:
                            self._give_next(key.data)

    def close(self) -> None:
        """Kill them, and wait until they are gone. They only read, so nothing is left half done."""
        for child in self._children:
            child.end()


class _Child:
    """A child process, and the pipes to and from it. `parts` is how many it was given and has not finished."""

    def __init__(self, entry: str, setup: object) -> None:
        self._process, self.parts = _start(), 0
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.descriptor = self._stdout.fileno()
        self._received = b""
        self._send((entry, queue_options(), setup))

    def take(self, part: tuple[int, object]) -> None:
        """Give it a part."""
        self.parts += 1
        self._send(part)

    def _send(self, frame: object) -> None:
        with suppress(BrokenPipeError):  # it has ended, which reading from it will show
            self._stdin.write(_framed(frame))
            self._stdin.flush()

    def frames(self) -> Iterator[Any]:
        """The frames that have arrived. Raises ChildError when the child has ended."""
        chunk = os.read(self.descriptor, _CHUNK)
        if not chunk:
            raise ChildError(_how(self._process.wait()))
        received, start = memoryview(self._received + chunk), 0
        while len(received) >= (body := start + _LENGTH):
            end = body + int.from_bytes(received[start:body], "big")
            if len(received) < end:
                break
            frame = pickle.loads(received[body:end])
            start = end
            self.parts -= frame[0] == _END
            yield frame
        self._received = bytes(received[start:])

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._process.wait()


def _start() -> "Popen[bytes]":
    """A new interpreter, in a process group of its own: Ctrl-C is for this process, which then ends its children."""
    from subprocess import PIPE, Popen

    command = [sys.executable, "-X", "utf8", "-P", "-c", _CHILD]
    try:
        return Popen(command, stdin=PIPE, stdout=PIPE, process_group=0)
    except OSError as error:
        raise ChildError(f"cannot start a child process ({error.strerror}): use --jobs 1") from error


def _how(code: int) -> str:
    how = f"ended with exit code {code}"
    if code < 0:
        with suppress(ValueError):
            how = f"was ended by {signal.Signals(-code).name}"
    return f"a child process {how} before its work was done: run the command again, or with --jobs 1"


def _framed(frame: object) -> bytes:
    body = pickle.dumps(frame, pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(_LENGTH, "big") + body


# ── in the child ────────────────────────────────────────────────────────────────────────────────────


def serve() -> None:
    """Work on parts from stdin until there are no more. The results go to stdout."""
    import gc

    from queuectl.imports import import_msgspec

    gc.set_threshold(100_000)  # what each event makes is freed at once, without the collector
    import_msgspec()
    source, sink = open(0, "rb", closefd=False), open(os.dup(1), "wb")  # noqa: SIM115 (until it exits)
    os.dup2(2, 1)  # printed text must not get between the frames
    with suppress(BrokenPipeError):
        _work(source, sink)
    os._exit(0)  # the parent has exited or has all results: nothing to clean up


def _work(source: BinaryIO, sink: BinaryIO) -> None:
    entry, options, setup = _read(source)
    set_queue_options(*options)
    module, _, name = entry.partition(":")
    try:
        opened: Entry = getattr(import_module(module), name)
        with opened(setup) as work:
            while (part := _read(source)) is not None:
                number, what = part
                for result in work(what):
                    _write(sink, (_RESULT, number, result))
                _write(sink, (_END, number, None))
    except BrokenPipeError:
        raise
    except Exception as error:
        _write(sink, (_ERROR, 0, _pickled(error)))


def _write(sink: BinaryIO, frame: object) -> None:
    sink.write(_framed(frame))
    sink.flush()


def _read(source: BinaryIO) -> Any:
    """The next frame; None when there are no more."""
    length = source.read(_LENGTH)
    return pickle.loads(source.read(int.from_bytes(length, "big"))) if len(length) == _LENGTH else None


def _pickled(error: Exception) -> bytes:
    """The error for the other process: one of the same class if it can be made again, else one with its message."""
    with suppress(Exception):
        found = pickle.dumps(error)
        if str(pickle.loads(found)) == str(error):
            return found
    if isinstance(error, QueuectlError):
        return pickle.dumps(StoreError(str(error)))
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
