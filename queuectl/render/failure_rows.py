"""Failures grouped by signature as a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from queuectl.render.job_rows import job_table, short_error, when
from queuectl.render.tables import Column, table
from queuectl.render.terminal import clean, wrapped
from queuectl.units import SECOND, counted, parse_time

__all__ = ["failure_group", "failure_table", "failure_total", "sparkline"]

BARS = "▁▂▃▄▅▆▇"

FAILURES = (
    Column("signature", short="sig"),
    Column("jobs"),
    Column("attempts", short="tries", spare=5),
    Column("first", spare=2),
    Column("last", spare=3),
    Column("per_hour", short="per hour", spare=1),
    Column("queues", limit=30, spare=4, usual="default", middle=True),
    Column("error", limit=1000, least=24),
)


def failure_table(rows: Sequence[Mapping[str, Any]], now: int, width: int | None) -> str:
    """Rows in the shape of `failures --json`. `now`: the time in microseconds; `width`: None for whole texts."""
    highest = max(count for row in rows for count in row["per_hour"])
    once = all(row["attempts"] == row["jobs"] for row in rows)
    columns = [column for column in FAILURES if not (once and column.name == "attempts")]
    return table([_shown(row, now, width, highest) for row in rows], columns, width=width)


def failure_group(
    row: Mapping[str, Any],
    jobs: Sequence[Mapping[str, Any]],
    commands: Mapping[str, str],
    look: tuple[int, int | None, bool],
) -> str:
    """One group, its jobs as rows of `jobs`, and the commands that retry them, each after what it does.

    `look`: the time in microseconds, the terminal's width (None for whole texts), and whether states are coloured.
    """
    now, width, color = look
    first, last = (when(parse_time(row[name], 0) // SECOND * SECOND, now, width) for name in ("first", "last"))
    about = {
        "signature": row["signature"],
        "error": clean(row["error"], newlines=False),
        "jobs": f"{row['jobs']:,}, first {first}, last {last}",
    }
    parts = [_lines(about, width), job_table(jobs, now, width, color), _lines(commands, width)]
    return "\n\n".join(filter(None, parts))


def _lines(texts: Mapping[str, str], width: int | None) -> str:
    """Texts after their names, which are as wide as the longest."""
    widest = max(map(len, texts), default=0)
    return "\n".join(wrapped(f"{name:<{widest}}  {text}", width, " " * (widest + 2)) for name, text in texts.items())


def failure_total(rows: Sequence[Mapping[str, Any]], thing: str, what: str) -> str:
    """`3 signatures, 2,041 jobs in the dead-letter queue`. `thing` is what is counted, `what` says which ones."""
    number = sum(row["jobs" if thing == "job" else "attempts"] for row in rows)
    return f"{counted(len(rows), 'signature')}, {number:,} {thing}{'' if number == 1 else 's'}{what}"


def sparkline(counts: Sequence[int], highest: int) -> str:
    """A bar for each count, the highest one as tall as a line; a dot for none."""
    return "".join("·" if count == 0 else BARS[(count * len(BARS) - 1) // max(highest, 1)] for count in counts)


def _shown(row: Mapping[str, Any], now: int, width: int | None, highest: int) -> dict[str, Any]:
    times = {name: parse_time(row[name], 0) for name in ("first", "last")}
    return {
        **row,
        **{name: when(at // SECOND * SECOND, now, width) for name, at in times.items()},
        "per_hour": sparkline(row["per_hour"], highest),
        "queues": ", ".join(row["queues"]),
        "error": row["error"] if width is None else short_error(row["error"]),
    }
