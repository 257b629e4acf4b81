"""How a process of ours waits for work and how it ends, each tried in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest


def python(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


WAITS = """
import os, sys, threading, time
from queuectl.runtime import SystemClock
from queuectl.worker.stop_signals import StopSignals
from queuectl.worker.wakeup import Wakeup

wakeup = Wakeup(sys.argv[1], StopSignals(SystemClock()), lambda: None)
for _ in range(3):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    wakeup.sleep(60)
print(os.path.exists(sys.argv[1]))
wakeup.sleep(60)
print(os.path.exists(sys.argv[1]))
threading.Timer(0.2, os.utime, sys.argv[1:]).start()
wakeup.sleep(60)
print("awake")
"""


def test_a_worker_watches_for_writers_once_it_is_idle(tmp_path: Path) -> None:
    done = python(WAITS, str(tmp_path / "wake"))
    assert (done.stdout.split(), done.stderr) == (["False", "True", "awake"], "")


CANNOT_WATCH = """
import os, sys
from types import SimpleNamespace
import ctypes
from queuectl.runtime import SystemClock
from queuectl.worker.stop_signals import StopSignals
from queuectl.worker.wakeup import Wakeup

if sys.argv[2] == "inotify":
    library = SimpleNamespace(inotify_init1=lambda flags: os.dup(0), inotify_add_watch=lambda *_: -1)
    ctypes.CDLL = lambda *_, **__: library
wakeup = Wakeup(sys.argv[1], StopSignals(SystemClock()), lambda: None)
before = os.listdir("/proc/self/fd")
wakeup.sleep(0.1)
wakeup.sleep(0.1)
print(os.listdir("/proc/self/fd") == before)
"""


@pytest.mark.parametrize(("place", "missing"), [("wake", "inotify"), ("no-folder/wake", "file")])
def test_a_worker_that_cannot_watch_for_writers_only_polls(tmp_path: Path, place: str, missing: str) -> None:
    done = python(CANNOT_WATCH, str(tmp_path / place), missing)
    assert (done.stdout, done.stderr) == ("True\n", "")


ENDS = """
import atexit, sys, threading, time
from queuectl.__main__ import main
atexit.register(print, "at the end")
sys.argv = ["queuectl", *sys.argv[1:]]
main()
"""
WAITED_FOR = "import threading; threading.Timer(0.2, print, ['the thread']).start()\n"


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["no-such-command"], 2)])
def test_a_command_ends_with_its_code_and_exit_functions(arguments: list[str], code: int) -> None:
    done = python(ENDS, *arguments)
    assert (done.returncode, done.stdout.endswith("at the end\n")) == (code, True)


def test_a_thread_that_is_no_daemon_is_waited_for() -> None:
    assert "the thread\n" in python(WAITED_FOR + ENDS, "--version").stdout
