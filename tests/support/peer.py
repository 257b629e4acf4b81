"""Another process that uses the same store. `Peer` starts it and sends requests; as a program, this file serves them.

A request is a line of JSON, and so is its answer. `_ANSWERS` lists the requests.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from queuectl.application.queue import NewJob, Queue
from queuectl.errors import QueuectlError
from queuectl.runtime import SystemClock
from queuectl.store import StoreOptions, open_store
from queuectl.store.protocol import Store
from queuectl.store.rows import JobFilter
from tests.support.builders import ACTOR, a_spec, claimant, new

ANSWER_WITHIN = 60
ROOT = Path(__file__).resolve().parents[2]


class Peer:
    """A process that answers requests."""

    def __init__(self, **popen: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.peer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            **popen,
        )

    def ask(self, what: str, *arguments: Any) -> None:
        """Send a request without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer to the oldest unanswered request."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_WITHIN)
        assert ready, "the other process did not answer in time"
        return json.loads(self._process.stdout.readline())

    def call(self, what: str, *arguments: Any) -> Any:
        """Send a request and wait for its answer."""
        self.ask(what, *arguments)
        return self.answer()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def ask_all(peers: list[Peer], what: str, *arguments: Any) -> list[Any]:
    """Send the request to all peers, then collect their answers."""
    for peer in peers:
        peer.ask(what, *arguments)
    return [peer.answer() for peer in peers]


# ── the other side ──────────────────────────────────────────────────────────────────────────────────

_open: list[Store] = []


def _opening(url: str, busy_timeout: int = 30_000_000) -> str:
    _open.append(open_store(url, SystemClock(), StoreOptions(busy_timeout=busy_timeout)))
    return _open[-1].log.log_id


def _claim_all(worker: str) -> list[str]:
    queue, mine = Queue(_open[-1], worker), []
    while jobs := queue.claim(claimant(worker), (), 1, lambda job: True):
        mine += [job.id for job in jobs]
    return mine


def _enqueue_many(prefix: str, number: int) -> int:
    queue = Queue(_open[-1], ACTOR)
    for _ in range(number):
        queue.enqueue([NewJob(a_spec(f"echo {prefix}"))])
    return number


def _append(job_id: str) -> str:
    _open[-1].writer.append([new(job_id)], ACTOR)
    return "appended"


def _ids() -> list[str]:
    return [row["id"] for row in _open[-1].tables.jobs(JobFilter(limit=0))]


_ANSWERS: dict[str, Callable[..., Any]] = {
    "open": _opening,
    "claim all": _claim_all,
    "enqueue many": _enqueue_many,
    "append": _append,
    "ids": _ids,
    "pid": os.getpid,
}


def _answer(what: str, *arguments: Any) -> Any:
    try:
        return _ANSWERS[what](*arguments)
    except QueuectlError as error:
        return {"error": type(error).__name__, "exit_code": error.exit_code, "message": str(error)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_answer(*json.loads(line))), flush=True)
