"""Changes of a job's promise by a person: how they apply to it, and which of its fields they change."""

from typing import Any

from msgspec.structs import asdict, replace

from queuectl.domain import events as e
from queuectl.domain.relations import NO_FILE

__all__ = ["amended", "between", "changed_fields", "reschedules"]

FIELDS = e.Changes.__struct_fields__
_SET_AGAIN = ("delay", "after")
"""Fields that take effect again with their old value: the job waits again."""


def given(changes: e.Changes) -> dict[str, Any]:
    """The fields that the changes set, and their values."""
    return {name: value for name, value in asdict(changes).items() if value is not None}


def reschedules(changes: e.Changes) -> bool:
    """Whether the job's due time is set again."""
    return changes.delay is not None


def amended(spec: e.Enqueued, changes: e.Changes) -> e.Enqueued:
    """The promise after the changes.

    A new due time replaces the old one, a new command its arguments, and a new backoff a fixed wait.
    """
    values = given(changes)
    if reschedules(changes):
        values.setdefault("at", None)
    if "command" in values:
        values.setdefault("argv", ())
    if "backoff_base" in values:
        values.setdefault("retry_wait", None)
    if "timeout" in values:
        values["timeout"] = values["timeout"] or None
    if values.get("stdin") == NO_FILE:
        values["stdin"] = None
    return replace(spec, **values)


def between(old: e.Enqueued, new: e.Enqueued) -> e.Changes:
    """The changes that make one promise the other, but for the due time, which counts from the change."""
    values = {name: getattr(new, name) for name in FIELDS if name not in ("delay", "at")}
    values = {name: value for name, value in values.items() if value != getattr(old, name)}
    if "timeout" in values:
        values["timeout"] = values["timeout"] or 0
    if "stdin" in values:
        values["stdin"] = values["stdin"] or NO_FILE
    if new.retry_wait is None and old.retry_wait is not None:
        values["backoff_base"] = new.backoff_base
    return e.Changes(**values)


def changed_fields(old: e.Enqueued, changes: e.Changes) -> list[str]:
    """The fields that the changes really change; a due time or dependencies that are set again count."""
    new = amended(old, changes)
    return [
        name
        for name in FIELDS
        if getattr(old, name) != getattr(new, name) or (name in _SET_AGAIN and getattr(changes, name) is not None)
    ]
