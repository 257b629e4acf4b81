"""Starts and times other programs, each with a time limit. Kills only what it has started."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

ERRORS = "stderr.txt"  # in the working folder; what the newest timed program said
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME", "SHELL")
ENVIRONMENT = {name: os.environ[name] for name in _INHERITED if name in os.environ}


class BenchmarkError(Exception):
    """A program that was to be measured failed or took too long."""


def timed(argv: list[str], *, env: dict[str, str] | None = None, stdin: str = os.devnull, limit: float = 60) -> float:
    """Seconds from just before the spawn until the exit was seen; standard output is thrown away."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, ERRORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    environment = ENVIRONMENT | (env or {})
    started = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions)
    code = _exit_code(pid, limit)
    elapsed = time.perf_counter() - started
    if code:
        raise BenchmarkError(f"{' '.join(argv)[:200]}: {_reason(code, limit)}{_last_words()}")
    return elapsed


def _exit_code(pid: int, limit: float) -> int:
    """Waits for our child; kills it when the limit is over."""
    watch = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        if not poll.poll(limit * 1000):
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(watch)


def _reason(code: int, limit: float) -> str:
    return f"killed after {limit:g} s" if code == -signal.SIGKILL else f"exit {code}"


def _last_words() -> str:
    with open(ERRORS, encoding="utf-8", errors="replace") as file:
        lines = file.read().strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def output(argv: list[str], *, env: dict[str, str] | None = None, stdin: str = "", limit: float = 60) -> str:
    """The output of a program; for set-up, not for timing."""
    try:
        done = subprocess.run(
            argv, env=ENVIRONMENT | (env or {}), input=stdin, capture_output=True, text=True, timeout=limit, check=True
        )
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"{' '.join(argv)[:200]}: exit {error.returncode}: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{' '.join(argv)[:200]}: killed after {limit:g} s") from error
    return done.stdout


@contextmanager
def running(argv: list[str], *, env: dict[str, str] | None = None, limit: float = 30) -> Iterator[subprocess.Popen]:
    """A program in the background, ended with SIGTERM and, when it does not obey, SIGKILL."""
    with open(ERRORS, "wb") as errors:
        process = subprocess.Popen(
            argv, env=ENVIRONMENT | (env or {}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
