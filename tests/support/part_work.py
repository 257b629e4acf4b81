"""The work of child processes in the tests of `parallel`: each part says how its child ends."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from queuectl.errors import StoreBusyError

ENTRY = "tests.support.part_work:opened"


@contextmanager
def opened(setup: str) -> Iterator[Callable[[tuple[str, Any]], Iterator[Any]]]:
    """A function that works on parts (kind, value). Every echo begins with `setup`."""

    def work(part: tuple[str, Any]) -> Iterator[Any]:
        match part:
            case "echo", text:
                yield setup + text
            case "repeat", (text, times):
                yield from (text for _ in range(times))
            case "modules", _:
                yield sorted(sys.modules)
            case "pid", _:
                yield os.getpid()
                signal.pause()
            case "die", number:
                os.kill(os.getpid(), number)
            case "fail", message:
                raise StoreBusyError(message)
            case "exit", code:
                os._exit(code)

    yield work
