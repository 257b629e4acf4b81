"""Durations as text, written one way in all messages. Pure: microseconds in, text out."""

__all__ = [
    "DAY",
    "DURATIONS",
    "HOUR",
    "MINUTE",
    "SECOND",
    "about",
    "ago",
    "format_duration",
    "rounded_duration",
    "short_duration",
]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

DURATIONS = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 1000}
"""The units of durations by their names."""


def format_duration(us: int) -> str:
    """Microseconds as `1h30m`, `1.5s`, `250ms`, `0s`: exact, and what parse_duration reads back."""
    if us < 0:
        return "-" + format_duration(-us)
    parts = []
    for name in ("d", "h", "m"):
        count, us = divmod(us, DURATIONS[name])
        if count:
            parts.append(f"{count}{name}")
    if us or not parts:
        parts.append(_seconds(us))
    return "".join(parts)


def _seconds(us: int) -> str:
    unit, digits, name = (1000, 3, "ms") if 0 < us < SECOND else (SECOND, 6, "s")
    whole, rest = divmod(us, unit)
    return f"{whole}.{rest:0{digits}}".rstrip("0").rstrip(".") + name


def rounded_duration(us: int) -> str:
    """A measured duration: `24ms` below a second, `1.5s` with tenths below a minute, then whole seconds: `12m30s`."""
    digits = 3 if us < SECOND else 5 if us < MINUTE else 6
    return format_duration(round(us, -digits))


def about(us: int) -> str:
    """How long it still takes, in its two greatest units: `12s`, `1m14s`, `1h59m`, `2d3h`; `0s` for a moment past."""
    unit = next((each for above, each in ((DAY, HOUR), (HOUR, MINUTE)) if us >= above), SECOND)
    return format_duration(max(us, 0) // unit * unit)


def short_duration(us: int) -> str:
    """How long something took or takes, in few characters: `24ms`, `1.5s`, then `1m14s`, `2d3h`; never below `0s`."""
    return rounded_duration(max(us, 0)) if us < MINUTE else about(us)


def ago(us: int) -> str:
    """An age in microseconds in one short word: `12s`, `5m`, `3h`, `2d`; `0s` for what is yet to come."""
    for name in ("d", "h", "m"):
        if us >= DURATIONS[name]:
            return f"{us // DURATIONS[name]}{name}"
    return f"{max(us, 0) // SECOND}s"
