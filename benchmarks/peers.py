"""Command-line queues: how each one is started in its own folder, filled, and ended.

Each class has `add`, a command line that enqueues `true`, and `drain`, the seconds from opening a gate until the last
of some waiting jobs has ended. While jobs are added, the gate keeps every slot busy. So only running the jobs is timed,
as with a queue that was filled before its worker started.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.plan import Plan, folder
from benchmarks.process import BenchmarkError, output, running, timed

_PUEUE = """client: {{}}
daemon: {{}}
shared:
  pueue_directory: {home}/state
  runtime_directory: {home}/run
  use_unix_socket: true
"""


class TaskSpooler:
    """Debian's task-spooler; each waiting job is a client process of its own."""

    add = ("tsp", "-n", "true")

    def __init__(self, home: str, slots: int) -> None:
        self.env = {"TS_SOCKET": f"{home}/socket", "TMPDIR": home, "TS_SLOTS": str(slots), "TS_MAXCONN": "900"}
        self._home, self._slots = home, slots

    def drain(self, jobs: int) -> float:
        """All slots wait for a line; the last jobs to start, one a slot, are the last to end."""
        with _gate(self._home) as (hold, release):
            for words in [["tsp", "-n", *hold]] * self._slots + [list(self.add)] * jobs:
                output(words, env=self.env)
            started = time.perf_counter()
            release(self._slots)
            for job in range(jobs, jobs + self._slots):  # a new server numbers from 0, the slots' holders first
                timed(["tsp", "-w", str(job)], env=self.env, limit=300)
            return time.perf_counter() - started

    def stop(self) -> None:
        """Ends the server that our first command started."""
        output(["tsp", "-K"], env=self.env)


class Nq:
    """nq runs one job at a time in a folder, so slots are folders."""

    add = ("nq", "-q", "true")

    def __init__(self, home: str, slots: int) -> None:
        self._home, self._slots = home, slots
        self._lanes = [{"NQDIR": f"{home}/lane{number}"} for number in range(slots)]
        self.env = self._lanes[0]

    def drain(self, jobs: int) -> float:
        """The first job of each folder waits for a line; then all folders are waited for."""
        with _gate(self._home) as (hold, release):
            for lane in self._lanes:
                timed(["nq", "-q", *hold], env=lane)
            for number in range(jobs):
                timed(list(self.add), env=self._lanes[number % self._slots])
            started = time.perf_counter()
            release(self._slots)
            self.stop()
            return time.perf_counter() - started

    def stop(self) -> None:
        """Waits for what was added; nq has no server."""
        for lane in self._lanes:
            if os.path.isdir(lane["NQDIR"]):
                timed(["nq", "-w"], env=lane, limit=300)


class Pueue:
    """pueue with a daemon, configuration, state and socket of its own."""

    def __init__(self, home: str, slots: int) -> None:
        self.env: dict[str, str] = {}
        self._home, self._slots = home, slots
        self._base = ["pueue", "-c", f"{home}/pueue.yml"]
        self.add = (*self._base, "add", "true")

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """pueued in the foreground of a child of ours."""
        with open(f"{self._home}/pueue.yml", "w", encoding="utf-8") as file:
            file.write(_PUEUE.format(home=self._home))
        for name in ("state", "run"):
            os.mkdir(f"{self._home}/{name}")
        with running(["pueued", "-c", f"{self._home}/pueue.yml"]):
            _until_it_answers([*self._base, "status"])
            output([*self._base, "parallel", str(self._slots)])
            yield

    def drain(self, jobs: int) -> float:
        """The group is paused while it is filled."""
        output([*self._base, "pause"])
        for _ in range(jobs):
            output(list(self.add))
        started = time.perf_counter()
        output([*self._base, "start"])
        timed([*self._base, "wait", "--quiet", "--all"], limit=300)
        return time.perf_counter() - started

    def stop(self) -> None:
        """Asks the daemon to end itself and its jobs."""
        output([*self._base, "shutdown"])


@contextmanager
def installed(plan: Plan, slots: int = 1) -> Iterator[dict[str, TaskSpooler | Nq | Pueue]]:
    """The queues of this kind that are installed, each ready, in a folder of its own; all ended afterwards."""
    kinds = {"tsp": TaskSpooler, "nq": Nq, "pueue": Pueue}
    with ExitStack() as stack:
        peers = {}
        for name, kind in kinds.items():
            if plan.has_program(name):
                peer = kind(stack.enter_context(folder(name)), slots)
                if isinstance(peer, Pueue):
                    stack.enter_context(peer.daemon())
                stack.callback(peer.stop)
                peers[name] = peer
        yield peers


@contextmanager
def _gate(home: str) -> Iterator:
    """A command that blocks its slot, and the function that lets so many of them go."""
    pipe = f"{home}/gate"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        yield ["sh", "-c", f"read line < {pipe}"], lambda slots: os.write(writer, b"\n" * slots)
    finally:
        os.close(writer)
        os.unlink(pipe)


def _until_it_answers(argv: list[str], limit: float = 10) -> None:
    deadline = time.monotonic() + limit
    while not _answers(argv):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{argv[0]} does not answer after {limit:g} s")
        time.sleep(0.05)


def _answers(argv: list[str]) -> bool:
    try:
        output(argv)
    except BenchmarkError:
        return False
    return True
