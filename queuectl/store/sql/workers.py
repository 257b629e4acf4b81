"""The workers' rows: heartbeats, stop requests, and how a worker learns that there is something to do."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from queuectl.domain.machine import State
from queuectl.store.rows import WorkerRow
from queuectl.store.sql.engine import Engine
from queuectl.store.sql.writer import Writer

if TYPE_CHECKING:
    from queuectl.store.protocol import Hints

__all__ = ["Workers"]

_COLUMNS = WorkerRow.__struct_fields__
_PROCESS = ("host", "boot_id", "pid", "pid_namespace", "pid_started_at")
"""The columns that identify a worker's process."""


class Workers:
    """Implements `protocol.Workers`. Heartbeats are not in the log."""

    def __init__(self, engine: Engine, writer: Writer, listen: Callable[[], "Hints | None"]) -> None:
        self._engine, self._writer, self._listen = engine, writer, listen

    def asked(self, worker: str) -> tuple[int, list[str]]:
        """The requests to a worker: its stop level (0: none), and the ids of its jobs that are to be cancelled."""
        stops = self._engine.run("SELECT stop_requested FROM workers WHERE name = ?", (worker,))
        cancelled = self._engine.run(
            f"SELECT id FROM jobs WHERE state = '{State.PROCESSING}' AND locked_by = ?"
            " AND cancel_requested IS NOT NULL",
            (worker,),
        )
        return (stops[0][0] if stops else 0), [row[0] for row in cancelled]

    def beat(self, worker: WorkerRow) -> bool:
        """Write a worker's heartbeat. Returns False and writes nothing when another process has its name."""
        row = msgspec.structs.asdict(worker)
        row["queues"] = msgspec.json.encode(worker.queues).decode()
        kept = ", ".join(f"{name} = excluded.{name}" for name in row if name not in ("name", "stop_requested"))
        with self._writer.transaction(durable=False):
            found = self._engine.run(f"SELECT {', '.join(_PROCESS)} FROM workers WHERE name = ?", (worker.name,))
            if found and tuple(found[0]) != tuple(row[column] for column in _PROCESS):
                return False
            self._engine.run(
                f"INSERT INTO workers ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
                f" ON CONFLICT (name) DO UPDATE SET {kept}",
                tuple(row.values()),
            )
            return True

    def forget(self, worker: WorkerRow) -> bool:
        """Delete a worker's row; False when there is none, or when another process has its name now."""
        itself = " AND ".join(f"{column} = ?" for column in ("name", *_PROCESS))
        with self._writer.transaction(durable=False):
            row = (worker.name, *(getattr(worker, column) for column in _PROCESS))
            return bool(self._engine.run(f"DELETE FROM workers WHERE {itself} RETURNING name", row))

    def ask_to_stop(self, worker: str, level: int = 1) -> bool:
        """Ask a worker to stop: 1 once it has finished its jobs, 2 at once. False when there is no such worker."""
        with self._writer.transaction(durable=False):
            found = self._engine.run("SELECT 1 FROM workers WHERE name = ?", (worker,))
            self._engine.run(
                "UPDATE workers SET stop_requested = ? WHERE name = ? AND stop_requested < ?", (level, worker, level)
            )
            self._writer.wake_workers()
        return bool(found)

    def rows(self) -> list[WorkerRow]:
        """Every worker's row, with the number of jobs that it runs: of those that it claimed, one in each slot."""
        found = self._engine.run(f"SELECT {', '.join(_COLUMNS)} FROM workers ORDER BY started_at, name")
        running = self._running() if found else {}
        return [_worker(dict(zip(_COLUMNS, row, strict=True)), running) for row in found]

    def _running(self) -> dict[str, int]:
        """The number of claimed jobs by worker."""
        counted = f"SELECT locked_by, count(*) FROM jobs WHERE state = '{State.PROCESSING}' GROUP BY locked_by"
        return dict(self._engine.run(counted))

    def hints(self) -> "Hints | None":
        """Listen to writers that cannot touch the wake file; None if there can be none."""
        with self._engine.threads:
            return self._listen()

    def changed(self) -> bool:
        """Whether another process has written since the last call."""
        return self._engine.changed()


def _worker(row: dict[str, Any], running: dict[str, int]) -> WorkerRow:
    claimed = running.get(row["name"], 0)
    runs = min(claimed, row["slots"]) if row["slots"] else claimed
    return WorkerRow(**{**row, "queues": _queues(row["queues"]), "running": runs})


def _queues(text: str) -> tuple[str, ...]:
    """The names in a worker's row; none when it is corrupt."""
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except (msgspec.MsgspecError, UnicodeError):
        return ()
