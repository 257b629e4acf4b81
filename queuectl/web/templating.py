"""The templates: every text is made harmless and escaped, whoever wrote it."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from queuectl.errors import command_line
from queuectl.render.terminal import clean
from queuectl.runtime import SystemClock
from queuectl.units import SECOND, ago, format_time, local_time, parse_time, short_duration

__all__ = ["environment"]


def environment() -> Environment:
    """The environment. Every expression is cleaned of control characters, then escaped by Jinja."""
    found = Environment(
        loader=PackageLoader("queuectl.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    filters: dict[str, Callable[..., Any]] = {
        "clock": _clock,
        "when": local_time,
        "iso": format_time,
        "span": _span,
        "ago": ago,
        "number": lambda value: f"{value:,}",
        "short": short_id,
        "from_iso": lambda text: parse_time(text, 0),
    }
    found.filters.update(filters)
    found.globals["cli"] = command_line
    return found


def _harmless(value: Any) -> Any:
    return clean(value) if type(value) is str else "" if value is None else value


def short_id(job_id: str) -> str:
    """An id as it is shown in a narrow column: of a UUID the end, which differs."""
    return f"…{job_id[-8:]}" if len(job_id) == 36 and job_id.count("-") == 4 else job_id


def _clock(moment: int | None) -> Markup:
    """A moment (microseconds) as a time of today or a date and a time, with all of it for whoever points at it."""
    if moment is None:
        return Markup("–")
    text = local_time(moment)
    pattern = '<time datetime="{}" title="{}">{}</time>'
    is_today = text[:10] == local_time(SystemClock().now())[:10]
    return Markup(pattern).format(format_time(moment), text, text[11:19] if is_today else text[5:16])


def _span(seconds: float | None) -> str:
    """A duration in seconds as text; a dash if there is none."""
    return "–" if seconds is None else short_duration(round(seconds * SECOND))
