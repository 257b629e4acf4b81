"""Batches as a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from queuectl.domain.machine import State
from queuectl.domain.reactions import why_stopped
from queuectl.render.job_rows import when
from queuectl.render.tables import Column, table
from queuectl.units import SECOND, ago, parse_time

__all__ = ["batch_table"]

BATCHES = (
    Column("name", limit=1000, least=12, middle=True),
    Column("jobs"),
    Column(State.DONE),
    Column("running"),
    *map(Column, (State.PENDING, State.DLQ, State.CANCELLED)),
    Column("started", spare=1),
    Column("took/eta"),
)


def batch_table(rows: Sequence[Mapping[str, Any]], now: int, width: int | None) -> str:
    """Rows in the shape of `batches --json` as a table.

    `now`: the log's time in microseconds; `width`: the terminal's, None: nothing is cut.
    """
    return "\n".join([table([_shown(row, now, width) for row in rows], BATCHES, width=width), *_stopped(rows)])


def _stopped(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each batch whose limit of failures is exceeded."""
    return [
        f"{why_stopped(row['name'], row['max_failures'])}, so its pending jobs were cancelled"
        for row in rows
        if row["max_failures"] is not None and row[State.DLQ] > row["max_failures"]
    ]


def _shown(row: Mapping[str, Any], now: int, width: int | None) -> dict[str, Any]:
    if row["took"] is not None:
        time = ago(row["took"] * SECOND)
    else:
        time = "" if row["eta"] is None else f"~{ago(row['eta'] * SECOND)} left"
    started = when(parse_time(row["started_at"], 0), now, width)
    return {**row, "running": row[State.PROCESSING], "started": started, "took/eta": time}
