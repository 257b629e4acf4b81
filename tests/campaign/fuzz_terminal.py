"""Text on a terminal: whatever jobs and people wrote, no control character except newline and tab is printed.

Through the cleaning itself, tables, JSON, a worker's log in both forms, errors and messages.
"""

import contextlib
import io
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from unittest.mock import patch

from queuectl import cli
from queuectl.cli.log_output import log_to_stderr
from queuectl.cli.messages import say
from queuectl.render import terminal as render
from queuectl.render.tables import Column, table
from tests.campaign.hostile import TERMINAL, altered, below, steering, text
from tests.campaign.plan import Attempt, Campaign, Control

__all__ = ["CAMPAIGN"]

TEXTS = 2_000
MORE = "\x1b"
"""Stands for output that runs over more than its line."""
DEEPER = 20
"""One text of so many goes through all the rest."""


def attempt(seed: int, suspect: str = render._SUSPECT) -> Attempt:
    """Print two thousand hostile texts; `suspect` is the pattern that the cleaning removes."""
    rng = Random(seed)
    counted: Counter[str] = Counter()
    faults: list[str] = []
    with patch.object(render, "_SUSPECT", suspect):
        for number in range(TEXTS):
            hostile = _hostile(rng)
            shown = _cleaned(hostile) if number % DEEPER else _through_everything(rng, hostile)
            for what, output in shown:
                counted[what] += 1
                faults += [f"terminal: a control character reaches it through {what}"] if steering(output) else []
    return Attempt(counted.total(), faults, counted)


def _hostile(rng: Random) -> str:
    """A text, or damaged bytes of one decoded as a job's output is."""
    pieces = [TERMINAL[below(rng, len(TERMINAL))] if below(rng, 2) else text(rng, 2) for _ in range(below(rng, 9))]
    written = "".join(pieces)
    return altered(rng, written.encode()).decode("utf-8", rng.choice(("replace", "surrogateescape")))


def _cleaned(hostile: str) -> Iterator[tuple[str, str]]:
    yield "cleaning", render.clean(hostile)
    line = render.clean(hostile, newlines=False)
    yield "cleaning", MORE if "\n" in line or "\t" in line else line


def _through_everything(rng: Random, hostile: str) -> Iterator[tuple[str, str]]:
    yield "tables", table([{"id": hostile, "state": hostile}], [Column("id", limit=9), "state"], width=40)
    yield "JSON", render.to_json({"a": hostile, hostile: [hostile]})
    yield "JSON lines", _one_line(render.to_ndjson({"a": hostile}) + "\n")
    yield "errors", _one_line(_on_stderr(cli._report, hostile, 2))
    yield "messages", _one_line(_on_stderr(say, hostile))
    for form in ("text", "json"):
        yield "a worker's log", _one_line(_on_stderr(_log, form, hostile))


def _one_line(output: str) -> str:
    """The output, or a text that fails the check if it has more than one line."""
    return output if output.count("\n") == 1 and output.endswith("\n") else MORE


def _on_stderr(write: Callable[..., object], *arguments: object) -> str:
    stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
    with contextlib.redirect_stderr(stderr):
        write(*arguments)
    stderr.flush()
    return stderr.buffer.getvalue().decode()  # type: ignore[attr-defined, no-any-return]


def _log(form: str, hostile: str) -> None:
    log = logging.getLogger("queuectl")
    before = log.handlers, log.level, log.propagate
    log_to_stderr("debug", form)
    try:
        log.info("job %s: %s", "a", hostile)
    finally:
        log.handlers, log.level, log.propagate = before


CAMPAIGN = Campaign(
    name="fuzz-terminal",
    unit="texts",
    short=100_000,
    full=10_000_000,
    attempt=attempt,
    controls=(Control("without the cleaning control characters get through", partial(attempt, suspect="(?!)"), 1),),
)
