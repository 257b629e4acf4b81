"""Moments of a schedule: those of a cron expression in a time zone, or those of an interval.

cronsim calculates them and says expressions in words. Zones are read from the system's zone files. Both are loaded only
by the functions that need them. Moments are microseconds since the epoch, UTC.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count

from queuectl.units import SECOND, quoted

__all__ = [
    "NICKNAMES",
    "UnknownZoneError",
    "cron_moments",
    "five_fields",
    "in_words",
    "interval_moments",
    "local_iso",
    "own_zone",
    "stamp",
    "zone",
]

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
TAKEN = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (Sunday is 0 and 7) or SUN-SAT",
}
"""The fields of an expression, in order, and the values that each takes."""
FIELDS = 5
ZONE_FILES = "zoneinfo/"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UnknownZoneError(ValueError):
    """This machine has no time zone of that name."""


def five_fields(expression: str) -> str:
    """The five fields that a cron expression or a nickname stands for. Raises ValueError with the reason."""
    from cronsim import CronSim, CronSimError

    text = " ".join(expression.split())
    if text.startswith("@"):
        if text.lower() not in NICKNAMES:
            raise ValueError(f"{quoted(text)} is not one of {', '.join(NICKNAMES)}")
        text = NICKNAMES[text.lower()]
    fields = len(text.split())
    if fields == FIELDS + 1:
        raise ValueError(f"{quoted(text)} has six fields, cron has five: use --every for seconds")
    if fields != FIELDS:
        raise ValueError(f"{quoted(text)} has {fields} fields, cron has five: minute hour day month weekday")
    try:
        times = CronSim(text, _EPOCH)
        next(times)
    except CronSimError as error:
        raise ValueError(f"{quoted(text)}: {_what_is_bad(text.split(), str(error).lower())}") from None
    except StopIteration:
        raise ValueError(f"{quoted(text)}: there is no such day") from None
    return text


def _what_is_bad(fields: list[str], said: str) -> str:
    """cronsim's `bad hour` with the field's text and the values that it takes."""
    from cronsim import CronSim, CronSimError

    place = list(TAKEN).index(name := said.removeprefix("bad "))
    if name == "day-of-month":
        with suppress(CronSimError):
            CronSim(" ".join([*fields[:3], "*", fields[4]]), _EPOCH)
            return f"{said}: no month in {quoted(fields[3])} has a day {quoted(fields[2])}"
    return f"{said} {quoted(fields[place])}: it takes {TAKEN[name]}, and ranges from low to high"


def in_words(fields: str) -> str:
    """A cron expression of five fields in words: `At 02:00 every day`."""
    from cronsim import CronSim

    return CronSim(fields, _EPOCH).explain()


def zone(name: str) -> tzinfo:
    """The time zone of that name. Raises UnknownZoneError."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError
        raise UnknownZoneError(f"this machine has no time zone {quoted(name)}{_like(name)}") from None


def _like(name: str) -> str:
    """A name that the writer may have meant."""
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    known = {each.lower(): each for each in available_timezones()}
    found = get_close_matches(name.lower(), known, n=1)
    return f": did you mean {known[found[0]]}?" if found else ""


def own_zone(environ: Mapping[str, str], link: str = "/etc/localtime", name_file: str = "/etc/timezone") -> str | None:
    """The name of this machine's zone, by TZ or the link of /etc/localtime; None when it has no name that is known."""
    if given := environ.get("TZ", "").removeprefix(":"):
        return _known(given)
    return _known(os.path.realpath(link)) or _known(_first_line(name_file))


def _known(text: str) -> str | None:
    name = text.rpartition(ZONE_FILES)[2].removeprefix("posix/")
    if name in ("", "Etc/UTC", "Etc/UCT", "Zulu", "Universal", "GMT", "Etc/GMT"):
        return "UTC" if name else None
    try:
        zone(name)
    except UnknownZoneError:
        return None
    return name


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def cron_moments(fields: str, where: tzinfo, after: int) -> Iterator[int]:
    """The moments of a cron expression in a zone that are later than `after`, in order.

    Each moment is asked of cronsim again until it is later than the one before. Asked from the second pass of a
    repeated hour, cronsim can answer a moment of the first pass.
    """
    from cronsim import CronSim, CronSimError

    last = after
    try:
        for found in CronSim(fields, _aware(after, where)):
            moment = (found - _EPOCH) // _MICROSECOND
            if moment > last:
                yield moment
                last = moment
    except OverflowError:  # the calendar ends with the year 9999
        return
    except CronSimError as error:
        raise ValueError(f"{quoted(fields)}: {str(error).lower()}") from None


def interval_moments(every: int, start: int, after: int) -> Iterator[int]:
    """The moments `start`, `start + every`, … that are later than `after`. `every` is microseconds of elapsed time."""
    return count(start if after < start else start + ((after - start) // every + 1) * every, every)


def local_iso(moment: int, where: tzinfo) -> str:
    """A moment in a zone as `2026-11-29T02:00:00+01:00`."""
    return _aware(moment // SECOND * SECOND, where).isoformat()


def stamp(moment: int) -> str:
    """A moment in UTC as `20261129T010000Z`, which an id may contain."""
    return f"{_aware(moment, UTC):%Y%m%dT%H%M%SZ}"


def _aware(moment: int, where: tzinfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=moment)).astimezone(where)
