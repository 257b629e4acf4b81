"""A progress bar on stderr for commands that read a whole log. rich draws it, and is imported when one is shown."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from queuectl.runtime import SystemClock
from queuectl.units import SECOND

__all__ = ["progress"]

SHOW_AFTER = SECOND // 2
"""Microseconds that a command has to take before a bar is shown."""

REDRAW_AFTER = SECOND // 10
"""Microseconds between two changes of the bar."""


@contextmanager
def progress(what: str, total: int = 0, *, hidden: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how many of `total` events are done (0: not known). Yields the function to call with their number.

    Shows nothing when stderr is not a terminal, when `hidden`, or when the command is soon over.
    """
    if hidden or not sys.stderr.isatty():
        yield lambda done: None
        return
    with ExitStack() as exits:
        yield _shown(what, total, exits)


def _shown(what: str, total: int, exits: ExitStack) -> Callable[[int], None]:
    bar: Any = None
    shown: int | None = None
    clock = SystemClock()
    next_at = clock.monotonic() + SHOW_AFTER

    def reached(done: int) -> None:
        nonlocal bar, next_at, shown
        if done == shown or (now := clock.monotonic()) < next_at:
            return
        if bar is None:
            bar = exits.enter_context(_bar())
            bar.add_task(what, total=total or None)
        bar.update(bar.task_ids[0], completed=min(done, total) if total else done)
        bar.refresh()
        shown, next_at = done, now + REDRAW_AFTER

    return reached


def _bar() -> Any:
    """A bar without a thread of its own: the working thread redraws it now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
