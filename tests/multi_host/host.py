"""What a host of the tests is: a name, a way to the one server, a folder of its own, a clock; and how it is cut off."""

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
    """Where commands run: here, with a folder and a clock of its own, which is `ahead` by so many seconds."""

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
        """What runs a program there."""
        return list(words)

    def ok(self, *words: str, stdin: str = "") -> str:
        """A command of queuectl that has to succeed; its output without the last newline."""
        done = subprocess.run(
            self.command(PROGRAM, *words), env=self.env, cwd=self.folder, input=stdin, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.removesuffix("\n")

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """A program in the background; what it says goes to `log`."""
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                self.command(*words), env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._started.append(started)
        return started

    def start_workers(self, lease: str) -> None:
        """Two, of two slots each."""
        options = ("--name", self.name, "--concurrency", "2", "--lease", lease, "--grace", "1s")
        self.start(PROGRAM, "worker", "start", "--count", "2", *options)

    @property
    def log(self) -> Path:
        """What its programs have said."""
        return self.folder / "log"

    def stop(self) -> None:
        """End what was started there, by force if it still runs."""
        for started in self._started:
            if started.poll() is None:
                started.send_signal(SIGKILL)
            started.wait(30)


class Remote(Host, ABC):
    """One that reaches the server over a line of its own."""

    @abstractmethod
    def cut(self) -> None:
        """Nothing reaches the server or comes from it, and no error says so."""

    @abstractmethod
    def join(self) -> None:
        """All as before."""


class Hosts(ABC):
    """One server and the hosts that can reach it. `url` is how the test itself reaches it, whatever is cut."""

    url: str

    @abstractmethod
    def add(self, name: str, ahead: int = 0) -> Remote:
        """One more host."""

    @abstractmethod
    def remove(self) -> None:
        """Everything that was made."""
