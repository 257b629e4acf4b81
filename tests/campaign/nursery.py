"""A warm process that has everything loaded but queuectl, and forks a child for each mutant that it is asked to try.

A child loads queuectl with the mutant in it and runs tests, the fastest that kill most first, until one fails.
`python -m tests.campaign.nursery` reads numbers of mutants (-1: none) and writes a line for each: what killed it, or
nothing.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType, ModuleType

from tests.campaign.mutants import HOUSE, Mutant, mutants

__all__ = ["killer"]

ROOT = HOUSE.parent
AT_MOST = 120
"""Seconds that a mutant has; those that never end are killed too."""

DOMAIN = ["tests/domain", "--deselect=tests/domain/test_lives.py"]
STORE = [f"tests/store/test_{name}.py" for name in ("append", "tables", "claiming", "enqueueing")]
LOGS = ["tests/checks/test_fixture_logs.py", "tests/archive/test_lines.py", "tests/past/test_explaining.py"]


class Swap(MetaPathFinder, SourceLoader):
    """Loads one module from a changed tree."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname == self._mutant.module else None

    def get_filename(self, fullname: str) -> str:
        return str(HOUSE / self._mutant.file)

    def get_data(self, path: str) -> bytes:
        return b""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.tree(), self.get_filename(fullname), "exec")


def killer(number: int) -> str:
    """What kills a mutant; empty when it survives."""
    nursery = _nursery()
    assert nursery.stdin
    assert nursery.stdout
    nursery.stdin.write(f"{number}\n")
    nursery.stdin.flush()
    return nursery.stdout.readline().strip()


@cache
def _nursery() -> "subprocess.Popen[str]":
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    asked = [sys.executable, "-m", "tests.campaign.nursery"]
    return subprocess.Popen(asked, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ── in the nursery ──────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Try what is asked for, until nobody asks any more."""
    _warm_up()
    for line in sys.stdin:
        print(_tried(int(line)), flush=True)


def _warm_up() -> None:
    import apsw
    import hypothesis.stateful
    import msgspec
    import pytest
    import transitions

    assert {apsw, hypothesis, msgspec, pytest, transitions}.isdisjoint(
        {name for name in sys.modules if name[:8] == "queuectl"}
    )


def _tried(number: int) -> str:
    child = os.fork()
    if not child:
        _be_killed(number)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return STAGES[os.WEXITSTATUS(status) - 1][0] if os.WEXITSTATUS(status) else ""


def _be_killed(number: int) -> None:
    """In the child: its exit code says which stage killed it."""
    signal.alarm(AT_MOST)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    if number >= 0:
        sys.meta_path.insert(0, Swap(mutants()[number]))
    killed_by = len(STAGES)
    try:
        killed_by = next((place for place, (_, stage) in enumerate(STAGES, 1) if not stage()), 0)
    finally:
        os._exit(killed_by)


def _passes(tests: Sequence[str]) -> bool:
    import pytest
    from hypothesis import settings

    settings.register_profile("mutant", max_examples=20, database=None, derandomize=True, deadline=None)
    settings.load_profile("mutant")
    quietly = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    return pytest.main([*quietly, "-k", "not file and not shared", *tests]) == 0


def _agrees_with_the_model() -> bool:
    from hypothesis import Phase

    from tests.campaign.stateful import attempt

    return not attempt(0, (Phase.generate,)).faults


STAGES: Sequence[tuple[str, Callable[[], bool]]] = (
    ("the model", _agrees_with_the_model),
    ("tests/domain", partial(_passes, DOMAIN)),
    ("tests/store and logs", partial(_passes, [*STORE, *LOGS])),
)
"""A name and what passes when it is sound; those that kill most for their time come first."""

if __name__ == "__main__":
    main()
