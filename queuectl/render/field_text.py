"""A field of a job, in the shape of its JSON, as one text for people."""

import shlex
from collections.abc import Mapping
from typing import Any

from queuectl.render.json_shapes import IN_SECONDS
from queuectl.units import SECOND, format_duration, local_time, parse_time

__all__ = ["field_text"]


def field_text(name: str, value: Any) -> str:
    """Times as local ones, durations with units, yes and no, dependencies as `--after` takes them, tags as K=V."""
    if value is None:
        return ""
    if name.endswith("_at"):
        return local_time(parse_time(value, 0))
    if name in IN_SECONDS:
        return format_duration(round(value * SECOND))
    if name == "after":
        return ", ".join(map(_dependency, value))
    return shlex.join(f"{key}={text}" for key, text in value.items()) if isinstance(value, Mapping) else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dependency(each: Mapping[str, str]) -> str:
    """A dependency as `--after` takes it."""
    name = f"batch:{each['batch']}" if "batch" in each else each["job"]
    return name if each["on"] == "ok" else f"{name}:{each['on']}"
