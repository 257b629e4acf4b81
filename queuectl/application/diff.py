"""The differences between two moments of a queue: jobs, settings and pauses."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from msgspec import Struct

from queuectl.application.time_travel import as_of
from queuectl.errors import UsageError
from queuectl.render import json_shapes
from queuectl.store.past import Past
from queuectl.store.protocol import Store
from queuectl.units import format_time

__all__ = ["JobChange", "changed_jobs", "diff"]


class JobChange(Struct, frozen=True):
    """A job whose row in `jobs` differs between two moments; a row is None where there is none."""

    id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def diff(store: Store, first: str, second: str) -> dict[str, Any]:
    """The differences between two moments, in the shape of `diff --json`. Raises UsageError when they are swapped."""
    with closing(as_of(store, first)) as before, closing(as_of(store, second)) as after:
        if before.position > after.position:
            raise UsageError(f"{first} (position {before.position}) is after {second} ({after.position}): swap them")
        return {
            "from": _moment(before),
            "to": _moment(after),
            "jobs": list(map(_job, changed_jobs(before, after))),
            "settings": _differences(before.tables.settings(), after.tables.settings(), "key"),
            "paused": _differences(_paused(before), _paused(after), "queue"),
        }


def changed_jobs(before: Past, after: Past) -> list[JobChange]:
    """The jobs whose rows differ, in the order of their first event between the two moments."""
    touched = dict.fromkeys(row.stream_id for row in after.log.stored(after=before.position))
    changes = [
        JobChange(each, before.tables.job(each), after.tables.job(each)) for each in touched if not each.startswith("$")
    ]
    return [change for change in changes if change.before != change.after]


def _paused(past: Past) -> dict[str, str]:
    return {queue: row["paused_by"] for queue, row in past.tables.pauses().items()}


def _moment(past: Past) -> dict[str, Any]:
    return {"position": past.position, "time": format_time(past.moment) if past.moment else None}


def _job(change: JobChange) -> dict[str, Any]:
    """`added`, `changed` or `removed`, and the columns that differ."""
    before, after = (json_shapes.job(row) if row else {} for row in (change.before, change.after))
    kind = "changed" if before and after else "added" if after else "removed"
    columns = {row.pop("column"): row for row in _differences(before, after, "column")}
    return {"id": change.id, "change": kind, "command": (after or before)["command"], "columns": columns}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    names = dict.fromkeys([*before, *after])
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return [{key: name, "old": old, "new": new} for name, old, new in pairs if old != new]
