"""A host of the tests: a name, a connection to the one server, a folder, a clock; and how to disconnect it."""

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from signal import SIGKILL

__all__ = ["PROGRAM", "Host", "Hosts", "Remote"]

PROGRAM = str(Path(sys.executable).with_name("queuectl"))
CLOCK = """
import os, time
ahead = int(os.environ.get("CLOCK_AHEAD", "0"))
wall, wall_ns = time.time, time.time_ns
time.time = lambda: wall() + ahead
time.time_ns = lambda: wall_ns() + ahead * 1_000_000_000
"""
"""A `sitecustomize.py`: the wall clock of one host's processes, so many seconds ahead."""


class Host:
    """A host on this machine, with its own folder and a clock that is `ahead` by some seconds."""

    def __init__(self, name: str, url: str, folder: Path, ahead: int = 0) -> None:
        self.name, self.url, self.folder = name, url, folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(CLOCK)
        usual = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}
        self.env: Mapping[str, str] = {
            **usual,
            "QUEUECTL_DB": url,
            "QUEUECTL_HOME": str(folder / "home"),
            "PYTHONPATH": str(folder),
            "CLOCK_AHEAD": str(ahead),
            "ON_HOST": name,
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> list[str]:
        """The words that run a program on the host."""
        return list(words)

    def ok(self, *words: str, stdin: str = "") -> str:
        """Run a command of queuectl that must succeed; return its output without the last newline."""
        done = subprocess.run(
            self.command(PROGRAM, *words), env=self.env, cwd=self.folder, input=stdin, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.removesuffix("\n")

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a program in the background; its output goes to `log`."""
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                self.command(*words), env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._started.append(started)
        return started

    def start_workers(self, lease: str) -> None:
        """Start two workers with two slots each."""
        options = ("--name", self.name, "--concurrency", "2", "--lease", lease, "--grace", "1s")
        self.start(PROGRAM, "worker", "start", "--count", "2", *options)

    @property
    def log(self) -> Path:
        """The file with the output of the host's programs."""
        return self.folder / "log"

    def stop(self) -> None:
        """End all programs of the host, with SIGKILL if necessary."""
        for started in self._started:
            if started.poll() is None:
                started.send_signal(SIGKILL)
            started.wait(30)


class Remote(Host, ABC):
    """A host with its own connection to the server, which can be cut."""

    @abstractmethod
    def cut(self) -> None:
        """Drop all traffic to and from the server, without an error."""

    @abstractmethod
    def join(self) -> None:
        """Restore the connection."""


class Hosts(ABC):
    """One server and its hosts. `url` is the test's own connection, which is never cut."""

    url: str

    @abstractmethod
    def add(self, name: str, ahead: int = 0) -> Remote:
        """Add a host."""

    @abstractmethod
    def remove(self) -> None:
        """Remove all hosts and the server."""
