"""Reads durations, and reads and writes sizes and times.

Times and durations are integer microseconds, moments count from the epoch in UTC, sizes are bytes. Callers
pass `now` in; the only thing read from the surroundings is the time zone.
"""

from datetime import UTC, datetime, time, timedelta

from queuectl.durations import (
    DAY,
    DURATIONS,
    HOUR,
    MINUTE,
    SECOND,
    about,
    ago,
    format_duration,
    rounded_duration,
    short_duration,
)

__all__ = [
    "DAY",
    "HOUR",
    "LONGEST",
    "MINUTE",
    "SECOND",
    "about",
    "ago",
    "coming_moment",
    "counted",
    "format_duration",
    "format_size",
    "format_time",
    "local_time",
    "parse_duration",
    "parse_size",
    "parse_time",
    "quoted",
    "rounded_duration",
    "short_duration",
    "use_utc",
]

LONGEST = 3653 * DAY
"""Ten years: a longer duration is a typing error."""

_BINARY = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZES = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, **_BINARY}
_LARGEST = (1 << 63) - 1
_DIGITS = "0123456789."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MOMENT = 253_402_300_799_999_999
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY = "mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
_UNITS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY, "week": 7 * DAY}
_SPAN = rf"(?:([0-9]{{1,9}}) ({'|'.join(_UNITS)})s?|(an?) ({'|'.join(_UNITS)})|([0-9.wdhms]+))"
_CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?"
_DAY_AND_CLOCK = rf"(?:(yesterday|today|tomorrow|{_WEEKDAY})(?: +|$))?(?:{_CLOCK})?"
_utc: list[bool] = [False]
"""Whether times are read and written in UTC instead of the caller's zone."""


def use_utc(wanted: bool) -> None:
    """Read and write times of people in UTC from now on, instead of the caller's zone."""
    _utc[0] = wanted


def quoted(text: str) -> str:
    """The text in quotes, on one line and not too long, for an error message."""
    return repr(text if len(text) <= 60 else text[:59] + "…")


def counted(number: int, thing: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def parse_duration(text: str) -> int:
    """`10s`, `1h30m`, `0.5` (bare numbers are seconds) as microseconds; smaller fractions are dropped.

    Raises ValueError when the text is no duration or is longer than ten years.
    """
    try:
        us = _duration(text.strip())
    except (ValueError, KeyError):
        raise ValueError(f"{quoted(text)} is not a duration: write 10s, 5m or 1h30m") from None
    if us > LONGEST:
        raise ValueError(f"{quoted(text)} is too long: a duration is ten years at most, such as 10s, 5m or 1h30m")
    return us


def _duration(text: str) -> int:
    number, rest = _leading(text, _DIGITS)
    return _sum(text, LONGEST) if rest else _scaled(number, SECOND)


def _sum(text: str, above: int) -> int:
    """Adds `1h`, `30m`, …; each unit must be smaller than the one `above` it."""
    number, rest = _leading(text, _DIGITS)
    name, rest = _leading(rest, "wdhms")
    unit = DURATIONS[name]
    if unit >= above:
        raise ValueError(name)
    return _scaled(number, unit) + (_sum(rest, unit) if rest else 0)


def _leading(text: str, characters: str) -> tuple[str, str]:
    rest = text.lstrip(characters)
    return text[: len(text) - len(rest)], rest


def _scaled(number: str, unit: int) -> int:
    """A decimal number times the unit, without going through a float."""
    whole, point, fraction = number.partition(".")
    if not whole or len(number) > 30 or bool(point) != bool(fraction):
        raise ValueError(number)
    parts: int = 10 ** len(fraction)
    return int(whole + fraction) * unit // parts


def parse_size(text: str) -> int:
    """`10MiB`, `4KiB`, `1MB` (decimal), `512` or `512B` as bytes. Raises ValueError for anything else."""
    number, unit = _leading(text.strip(), _DIGITS)
    try:
        size = _scaled(number, _SIZES[unit])
    except (ValueError, KeyError):
        raise ValueError(f"{quoted(text)} is not a size: write 10MiB, 64KiB, 1MB or 512") from None
    if size > _LARGEST:
        raise ValueError(f"{quoted(text)} is too large: a size is less than 8388608TiB, such as 10MiB or 512")
    return size


def format_size(size: int) -> str:
    """Bytes as `10MiB`: exact when the unit divides them, otherwise with one decimal."""
    name, unit = "B", 1
    for larger, bytes_ in _BINARY.items():
        if round(size / (bytes_ / 1024), 1) >= 1024:
            name, unit = larger, bytes_
    return f"{size / unit:.1f}{name}" if size % unit else f"{size // unit}{name}"


def parse_time(text: str, now: int) -> int:
    """A moment as microseconds since the epoch, UTC; `now` likewise.

    Takes ISO 8601 (a time without an offset is in the caller's zone), `now`, `-2h`, `+90m`, `3 minutes ago`, `in 2
    hours`, `HH:MM` of today, and `today`, `yesterday`, `tomorrow` or a weekday (the last such day) with or without
    `HH:MM`. A time that the zone skips when its clocks go forward
    is the moment at which they do; of a time that comes twice the first is meant. Raises ValueError for anything
    else, and for moments outside the years 1970 to 9999.
    """
    return _moments(text, now)[0]


def coming_moment(text: str, now: int) -> tuple[int, str]:
    """As `parse_time`, for a moment in the future, and a note when it is not simply the time that was written.

    `HH:MM` that has passed today is tomorrow's, a weekday is the next one; of a time that comes twice the next one is
    meant.
    """
    import re

    text = text.strip()
    moments = _moments(text, now, ahead=True)
    if moments[-1] < now and re.fullmatch(_CLOCK, text):
        moments = _moments(f"tomorrow {text}", now)
        return moments[0], f"that is tomorrow, {_with_offset(moments[0])}"
    moment = next((each for each in moments if each >= now), moments[0])
    return moment, _difference(text, moment, moments, now)


def _difference(text: str, moment: int, moments: list[int], now: int) -> str:
    if len(moments) > 1:
        which = "first" if moment == moments[0] else "second"
        return f"that time comes twice; the {which} is meant, {_with_offset(moment)}"
    spoken = text == "now" or text.startswith(("-", "+")) or _spoken(text) is not None
    naive = None if spoken else _calendar(text, now, ahead=True)
    if naive is None or naive.tzinfo or _on_clock(moment // SECOND) == naive.replace(microsecond=0):
        return ""
    return f"the clocks skip that time; the job runs when they go forward, {_with_offset(moment)}"


def _with_offset(us: int) -> str:
    moment = datetime.fromtimestamp(us // SECOND, UTC)
    return (moment if _utc[0] else moment.astimezone()).isoformat(" ")


def _moments(text: str, now: int, ahead: bool = False) -> list[int]:
    """The moments that a text can mean, in order: more than one when clocks go back, else one."""
    try:
        moments = _read(text.strip(), now, ahead)
    except ValueError:
        raise ValueError(
            f"{quoted(text)} is not a time: write 2026-11-24T03:20:00Z, '2026-11-24 03:20', 03:20, monday, -2h,"
            " '3 minutes ago' or now"
        ) from None
    if not 0 <= moments[0] <= moments[-1] <= _LAST_MOMENT:
        raise ValueError(f"{quoted(text)} is outside the years 1970 to 9999")
    return moments


def _read(text: str, now: int, ahead: bool) -> list[int]:
    if text == "now":
        return [now]
    if text.startswith(("-", "+")):
        span = parse_duration(text[1:])
        return [now - span if text[0] == "-" else now + span]
    if (spoken := _spoken(text)) is not None:
        return [now + spoken]
    moment = _calendar(text, now, ahead)
    return [_since_epoch(moment)] if moment.tzinfo else _local_moments(moment)


def _spoken(text: str) -> int | None:
    """`3 minutes ago` or `in 2 hours` (also `2h ago`, `in an hour`) as microseconds from now; None for another text."""
    import re

    match = re.fullmatch(rf"(in )?{_SPAN}( ago)?", text.lower())
    if match is None or bool(match[1]) == bool(match[7]):
        return None
    number, unit, _, its_unit, short = match.groups()[1:6]
    span = parse_duration(short) if short else int(number or 1) * _UNITS[unit or its_unit]
    return span if match[1] else -span


def _local_moments(moment: datetime) -> list[int]:
    """The moments at which clocks in the caller's zone show this; the one at which they skip it, if none do."""
    either = sorted({_since_epoch(moment.replace(fold=fold)) for fold in (0, 1)})
    if either[0] < 0 or len(either) == 1:
        return either
    shown = [us for us in either if _on_clock(us // SECOND) == moment.replace(microsecond=0)]
    return shown or [_change_of_clocks(either[0] // SECOND, either[1] // SECOND) * SECOND]


def _change_of_clocks(low: int, high: int) -> int:
    """The second at which the zone's offset changes, after `low` and not after `high`."""
    before = _offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle) == before else (low, middle)
    return high


def _offset(second: int) -> timedelta:
    return _on_clock(second) - datetime.fromtimestamp(second, UTC).replace(tzinfo=None)


def _on_clock(second: int) -> datetime:
    if _utc[0]:
        return datetime.fromtimestamp(second, UTC).replace(tzinfo=None)
    return datetime.fromtimestamp(second).replace(fold=0)


def _since_epoch(moment: datetime) -> int:
    """Microseconds; -1 for what the time zone pushes off the calendar (three kinds of error say so)."""
    if _utc[0] and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except (OverflowError, ValueError, OSError):
        return -1


def _calendar(text: str, now: int, ahead: bool = False) -> datetime:
    import re

    match = re.fullmatch(_DAY_AND_CLOCK, text.lower())
    if not text or not match:
        if not text.isprintable():  # the separator may be any character
            raise ValueError(text)
        return datetime.fromisoformat(text)
    day, hour, minute, second = match.groups(default="0")
    here = _on_clock(now // SECOND)
    found = datetime.combine(here.date(), time(int(hour), int(minute), int(second)))
    if day[:3] not in _WEEKDAYS:
        return found + timedelta(days=_DAYS.get(day, 0))
    found += timedelta(days=(_WEEKDAYS.index(day[:3]) - here.weekday()) % 7)
    passed = found <= here
    return found + timedelta(days=7 if passed and ahead else -7 if not passed and not ahead else 0)


def format_time(us: int) -> str:
    """Microseconds since the epoch as `2026-11-24T03:20:00Z`, with six digits after whole seconds if need be.

    A moment that no calendar holds comes back as its number: damaged events are printed too.
    """
    try:
        return (_EPOCH.replace(tzinfo=None) + timedelta(microseconds=us)).isoformat() + "Z"
    except OverflowError:
        return str(us)


def local_time(us: int) -> str:
    """Microseconds since the epoch as `2026-11-24 03:20:00+01:00` in the caller's zone, or in UTC: see `use_utc`."""
    try:
        return _with_offset(us)
    except (OverflowError, ValueError, OSError):
        return str(us)
