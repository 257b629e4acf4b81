"""A warm process that forks a child for each mutant that it is asked to try.

The child puts the mutant in and runs tests, those that kill most for their time first, until one fails. Changes
inside functions are put into the live functions; a change outside them needs everything to be imported again.
`python -m tests.campaign.nursery` reads numbers of mutants (-1: none) and writes a line for each: what killed it, or
nothing.
"""

import atexit
import gc
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from inspect import CO_NEWLOCALS, CO_OPTIMIZED
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tests.campaign.mutants import HOUSE, Mutant, mutants

__all__ = ["killer"]

ROOT = HOUSE.parent
AT_MOST = 12
"""Seconds of the processor that a mutant has (a survivor needs 6); those that never end are killed too."""

RULES = [
    *(
        f"tests/domain/test_{name}.py"
        for name in (
            "rules",
            "moves",
            "fence",
            "causes",
            "machine_losses",
            "due",
            "edits",
            "dependencies",
            "names",
            "reactions",
            "schedules",
            "signature",
            "sweep",
        )
    ),
    "tests/store/test_codec.py",
]
PROPERTIES = ["tests/domain/test_events.py", "tests/domain/test_backoff.py"]
STORE = [
    f"tests/store/test_{name}.py"
    for name in (
        *("append", "tables", "claiming", "enqueueing", "unreadable"),
        *("dependencies", "batch_limits", "edits", "format"),
    )
]
LOGS = ["tests/integrity/test_fixture_logs.py", "tests/archive/test_lines.py", "tests/time_travel/test_explaining.py"]
QUIETLY = ("-o", "addopts=-q", "-x", "-p", "no:cacheprovider", "-k", "not [file and not [postgres")


def killer(number: int) -> str:
    """The stage that kills a mutant; empty if it survives."""
    nursery = _nursery()
    assert nursery.stdin
    assert nursery.stdout
    nursery.stdin.write(f"{number}\n")
    nursery.stdin.flush()
    return nursery.stdout.readline().strip()


@cache
def _nursery() -> "subprocess.Popen[str]":
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    asked = [sys.executable, "-m", "tests.campaign.nursery"]
    made = subprocess.Popen(asked, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(made.communicate)
    return made


# ── putting a mutant in ─────────────────────────────────────────────────────────────────────────────


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


def _put_in(mutant: Mutant) -> None:
    path = str(HOUSE / mutant.file)
    old = _parts(compile((HOUSE / mutant.file).read_text(encoding="utf-8"), path, "exec"))
    new = _parts(compile(mutant.tree(), path, "exec"))
    if all(_is_body(code) or _own(code) == _own(old[place]) for place, code in new.items()):
        _swap_bodies(mutant.module, new)
        return
    for name in [name for name in sys.modules if name.partition(".")[0] in ("queuectl", "tests")]:
        del sys.modules[name]
    sys.meta_path.insert(0, Swap(mutant))


Parts = dict[tuple[str, int], CodeType]


def _parts(code: CodeType) -> Parts:
    """The code of a module, its classes and functions, by name and line."""
    found = {(code.co_qualname, code.co_firstlineno): code}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found |= _parts(inner)
    return found


def _is_body(code: CodeType) -> bool:
    """Whether the code is a function's, which runs when it is called, and not a module's or class's."""
    return code.co_flags & (CO_OPTIMIZED | CO_NEWLOCALS) == CO_OPTIMIZED | CO_NEWLOCALS


def _own(code: CodeType) -> tuple[Any, ...]:
    """The code itself, without nested functions."""
    return code.co_code, code.co_names, [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]


def _swap_bodies(module: str, new: Parts) -> None:
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and found.__module__ == module:
            place = found.__code__.co_qualname, found.__code__.co_firstlineno
            found.__code__ = new.get(place, found.__code__)
        elif hasattr(type(found), "cache_clear") and str(found.__module__).startswith("queuectl"):
            found.cache_clear()


# ── in the nursery ──────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Try the requested mutants until stdin ends."""
    with redirect_stdout(sys.stderr):
        _warm_up()
    for line in sys.stdin:
        print(_tried(int(line)), flush=True)


def _warm_up() -> None:
    """Import all modules by collecting the tests."""
    import pytest
    from hypothesis import settings

    settings.register_profile("mutant", max_examples=10, database=None, derandomize=True, deadline=None)
    settings.load_profile("mutant")
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        assert pytest.main([*QUIETLY, "--collect-only", *RULES, *STORE, *LOGS, *PROPERTIES]) == 0
    assert _agrees_with_the_model()


def _tried(number: int) -> str:
    child = os.fork()
    if not child:
        _be_killed(number)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return STAGES[os.WEXITSTATUS(status) - 1][0] if os.WEXITSTATUS(status) else ""


def _be_killed(number: int) -> None:
    """Run the tests in the child; its exit code names the stage that failed."""
    resource.setrlimit(resource.RLIMIT_CPU, (AT_MOST, AT_MOST))
    signal.alarm(50 * AT_MOST)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    killed_by = len(STAGES)
    try:
        if number >= 0:
            _put_in(mutants()[number])
        killed_by = next((place for place, (_, stage) in enumerate(STAGES, 1) if not stage()), 0)
    finally:
        os._exit(killed_by)


def _passes(tests: Sequence[str]) -> bool:
    import pytest

    return pytest.main([*QUIETLY, *tests]) == 0


def _agrees_with_the_model() -> bool:
    from hypothesis import Phase

    from tests.campaign.stateful import attempt

    return not attempt(0, (Phase.generate,), lives=4).faults


STAGES: Sequence[tuple[str, Callable[[], bool]]] = (
    ("the model", _agrees_with_the_model),
    ("rules", partial(_passes, RULES)),
    ("stores and logs", partial(_passes, [*STORE, *LOGS])),
    ("properties", partial(_passes, PROPERTIES)),
)
"""A name and what passes when it is sound; those that kill most for their time come first."""

if __name__ == "__main__":
    main()
