"""A tour of everything that writes: jobs that end in every way, all commands, damage and its repair."""

import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.command_line import Done, Queuectl, eventually

__all__ = ["tour"]

LONG = "seq 20000; seq 20000 >&2"
"""More than the tail of an event holds, so that the output has files."""


def tour(queuectl: Queuectl, command: str = "true", *options: str) -> Iterator[Done]:
    """Run commands until every kind of file was written; `command` and `options` are those of the first job."""
    yield queuectl("enqueue", "--id", "first", *options, command)
    yield queuectl("enqueue", "--id", "long", LONG)
    yield queuectl("enqueue", "--id", "dead", "--max-retries", "0", f"{LONG}; false")
    yield queuectl("enqueue", "--id", "missing", "--secret-env", "NOT_THERE", "--max-retries", "0", "true")
    yield queuectl("enqueue", "--file", "-", stdin='{"command": "exit 3", "max_retries": 1, "backoff_base": 0}\n')
    yield queuectl("run", "--drain", "--concurrency", "2", "--log-level", "debug")
    yield queuectl("enqueue", "--id", "slow", f"{LONG}; sleep 600")
    yield queuectl("worker", "start", "--detach", "--name", "w", "--log-format", "json", "--log-level", "debug")
    eventually(lambda: queuectl.state("slow") == "processing", "the job runs")
    yield from _read(queuectl)
    yield queuectl("cancel", "slow", "--reason", "enough")
    yield queuectl("wait", "slow", "--timeout", "20s")
    yield queuectl("worker", "stop", "--timeout", "20s")
    yield queuectl("retry", "first")
    yield queuectl("purge", "long", "--yes")
    yield from _carried(queuectl)
    yield from _damaged(queuectl)


def _read(queuectl: Queuectl) -> Iterator[Done]:
    for line in ("status", "list", "show first", "history first", "logs first", "dlq list", "explain first", "events"):
        yield queuectl(*line.split())
        if not line.startswith("logs"):
            yield queuectl(*line.split(), "--json")
    for line in ("config", "worker list", "doctor", "doctor --json", "verify --json", "audit", "diff 1", "head"):
        yield queuectl(*line.split())
    yield queuectl("logs", "dead", "--stderr", "--raw")
    yield queuectl("show", "nobody")
    yield queuectl("--nonsense")


def _carried(queuectl: Queuectl) -> Iterator[Done]:
    yield queuectl("export", "log")
    yield queuectl("export", "log.gz")
    yield queuectl("export", "-")
    yield queuectl("backup", "copy.db")
    yield queuectl("--db", "elsewhere/queue.db", "--archive-dir", "archives", "import", "log.gz")
    yield queuectl("--db", "copy.db", "migrate", "--yes", "--to", "moved/queue.db")
    yield queuectl("rebuild")


def _damaged(queuectl: Queuectl) -> Iterator[Done]:
    """A database that has lost its pages, recovered from the archive."""
    Path(queuectl.db).write_bytes(b"\xa5" * os.path.getsize(queuectl.db))
    for ending in ("-wal", "-shm"):
        Path(f"{queuectl.db}{ending}").unlink(missing_ok=True)
    yield queuectl("status")
    yield queuectl("doctor")
    yield queuectl("recover", "--force")
    yield queuectl("verify")
