"""Changes of a job's promise in words: `timeout 5m → 1h; queue default → mail`."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict

from queuectl.domain import events as e
from queuectl.domain.amendment import amended
from queuectl.domain.backoff import plain
from queuectl.domain.dependencies import describe
from queuectl.domain.job import Job
from queuectl.units import format_duration, local_time

__all__ = ["amendments"]

_DURATIONS = ("delay", "backoff_cap", "retry_wait", "timeout")
_NOTHING = {"timeout": "none", "retry_wait": "none", "stdin": "none"}
_OBJECTS = {"env": "env", "tags": "tag"}
_NOT_SHOWN = ("delay", "at", "argv", "after", *_OBJECTS)
"""Fields that are shown in another way, or with another field."""


def amendments(changes: e.Changes, before: Job | None) -> str:
    """The changed fields with their old and new values; only the new ones if the job `before` is not known."""
    return "; ".join(_parts(changes, before.spec if before else None)) or "nothing changed"


def _parts(changes: e.Changes, old: e.Enqueued | None) -> Iterator[str]:
    yield from _due(changes)
    new = None if old is None else amended(old, changes)
    for name, value in asdict(changes).items():
        if name in _OBJECTS and value is not None:
            yield from _entries(_OBJECTS[name], {} if old is None else getattr(old, name), value)
        elif name not in _NOT_SHOWN and value is not None:
            known = "" if old is None else f"{_text(name, getattr(old, name))} "
            after = value if new is None else getattr(new, name)
            if old is None or getattr(old, name) != after:
                yield f"{name.replace('_', '-')} {known}→ {_text(name, after)}"
    if old is not None and new is not None and old.retry_wait is not None and new.retry_wait is None:
        yield f"retry-wait {_text('retry_wait', old.retry_wait)} → none"
    if changes.after is not None:
        yield _dependencies(None if old is None else old.after, changes.after)


def _due(changes: e.Changes) -> Iterator[str]:
    if changes.at is not None:
        yield f"due at {local_time(changes.at)}"
    elif changes.delay is not None:
        yield f"due in {format_duration(changes.delay)}" if changes.delay else "due now"


def _dependencies(old: tuple[e.After, ...] | None, new: tuple[e.After, ...]) -> str:
    if old == new:
        return f"waits again for {describe(new)}"
    known = "" if old is None else f"{describe(old) or 'none'} "
    return f"after {known}→ {describe(new) or 'none'}"


def _entries(thing: str, old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield f"{thing} {name} removed"
        elif old.get(name) != new[name]:
            known = f"{old[name]} " if name in old else ""
            yield f"{thing} {name} {known}→ {new[name]}"


def _text(name: str, value: Any) -> str:
    if name in _DURATIONS and value is not None:
        return format_duration(value)
    if name in _NOTHING and value is None:
        return _NOTHING[name]
    if name == "umask":
        return f"{value:03o}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return plain(value)
    return ", ".join(value) if isinstance(value, tuple) else str(value)
