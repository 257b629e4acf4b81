"""Several processes that do the same step at the same time: started, held until all are ready, released, timed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.process import ENVIRONMENT, BenchmarkError

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOME = {"PYTHONPATH": _ROOT, "QUEUECTL_HOME": "home"}
"""All on one machine, so one folder for the archive."""

LIMIT = 600


def install(name: str, url: str) -> None:
    """Make the queue."""
    with member(name, "install", 0, url) as child:
        _finish(child)


def seconds(name: str, step: str, count: int, urls: Sequence[str], env: dict[str, str] | None = None) -> float:
    """From the moment that all are let go until the last has ended; one process for each URL."""
    with ExitStack() as stack:
        crew = [stack.enter_context(member(name, step, count, url, env)) for url in urls]
        for child in crew:
            _expect(child)
        started = time.monotonic()
        for child in crew:
            _let_go(child)
        return max(_finish(child) for child in crew) - started


def answer(name: str, step: str, count: int, url: str, env: dict[str, str]) -> Any:
    """The report of one process on its step."""
    with member(name, step, count, url, env) as child:
        _expect(child)
        _let_go(child)
        return _finish(child)


@contextmanager
def waiting(name: str, url: str, env: dict[str, str]) -> Iterator[None]:
    """A worker with nothing to do, ended afterwards."""
    with member(name, "wait", 0, url, env) as child:
        _expect(child)
        _let_go(child)
        yield


@contextmanager
def member(
    name: str, step: str, count: int, url: str, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """One process of `postgres_library`."""
    words = [sys.executable, "-m", "benchmarks.postgres_library", name, step, str(count), url]
    child = subprocess.Popen(
        words, env=ENVIRONMENT | HOME | (env or {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _expect(child: "subprocess.Popen[str]") -> None:
    assert child.stdout is not None
    if child.stdout.readline() != "ready\n":
        raise BenchmarkError(f"{' '.join(map(str, child.args))[:200]}: exit {child.wait(LIMIT)}")  # type: ignore[arg-type]


def _let_go(child: "subprocess.Popen[str]") -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def _finish(child: "subprocess.Popen[str]") -> Any:
    """Its last word."""
    said, _ = child.communicate(timeout=LIMIT)
    if child.returncode:
        raise BenchmarkError(f"{' '.join(map(str, child.args))[:200]}: exit {child.returncode}")
    return json.loads(said) if said else None
