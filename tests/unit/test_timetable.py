# ruff: noqa: E501 (a table of times)
"""The moments of cron expressions and intervals: both changes of the clocks in six zones, and expressions in words."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from queuectl.timetable import (
    NICKNAMES,
    UnknownZoneError,
    cron_moments,
    five_fields,
    in_words,
    interval_moments,
    local_iso,
    own_zone,
    stamp,
    zone,
)
from queuectl.units import DAY, HOUR, MINUTE, SECOND

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text, where="UTC"):
    """A moment as written: with an offset, or in a zone."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(where))
    return (moment - EPOCH) // timedelta(microseconds=1)


def asked(fields, where, after, count):
    found = islice(cron_moments(fields, zone(where), us(after, where)), count)
    return [local_iso(moment, zone(where)) for moment in found]


TIMES = [
    # ── Europe/Berlin: forward at 02:00 on 29 March 2026, back at 03:00 on 25 October ──
    ("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00", "2026-03-28T02:30+01:00 2026-03-29T03:00+02:00 2026-03-30T02:30+02:00"),
    ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T02:30+02:00 2026-10-26T02:30+01:00"),
    ("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:15", "2026-03-29T01:30+01:00 2026-03-29T03:00+02:00 2026-03-29T03:30+02:00"),
    (
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-10-25T02:15+02:00",
        "2026-10-25T02:30+02:00 2026-10-25T02:00+01:00 2026-10-25T02:30+01:00 2026-10-25T03:00+01:00",
    ),
    ("30 * * * *", "Europe/Berlin", "2026-10-25T01:45+02:00", "2026-10-25T02:30+02:00 2026-10-25T02:30+01:00 2026-10-25T03:30+01:00"),
    ("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T03:00+02:00 2026-03-30T02:00+02:00"),
    # asked in the second pass of 02:00 to 03:00, cronsim alone answers 02:30 of the first pass
    ("30 2,4 * * *", "Europe/Berlin", "2026-10-25T02:15+01:00", "2026-10-25T04:30+01:00 2026-10-26T02:30+01:00"),
    # ── America/New_York: forward at 02:00 on 8 March 2026, back at 02:00 on 1 November ──
    ("30 2 * * *", "America/New_York", "2026-03-07T12:00", "2026-03-08T03:00-04:00 2026-03-09T02:30-04:00"),
    ("30 1 * * *", "America/New_York", "2026-10-31T12:00", "2026-11-01T01:30-04:00 2026-11-02T01:30-05:00"),
    ("*/20 1 * * *", "America/New_York", "2026-11-01T01:30-04:00", "2026-11-01T01:40-04:00 2026-11-01T01:00-05:00"),
    # ── Australia/Lord_Howe: half an hour, forward at 02:00 on 4 October 2026, back at 02:00 on 5 April ──
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-04T02:30+11:00 2026-10-05T02:15+11:00"),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", "2026-04-05T01:45+11:00 2026-04-06T01:45+10:30"),
    (
        "*/15 * * * *",
        "Australia/Lord_Howe",
        "2026-04-05T01:40+11:00",
        "2026-04-05T01:45+11:00 2026-04-05T01:30+10:30 2026-04-05T01:45+10:30 2026-04-05T02:00+10:30",
    ),
    # ── Pacific/Apia: 30 December 2011 did not exist ──
    ("0 12 * * *", "Pacific/Apia", "2011-12-28T13:00", "2011-12-29T12:00-10:00 2011-12-31T00:00+14:00 2011-12-31T12:00+14:00"),
    ("0 */8 * * *", "Pacific/Apia", "2011-12-29T09:00", "2011-12-29T16:00-10:00 2011-12-31T00:00+14:00 2011-12-31T08:00+14:00"),
    # ── Africa/Casablanca: back one hour for Ramadan, from 15 February to 22 March 2026 ──
    ("30 2 * * *", "Africa/Casablanca", "2026-02-14T12:00", "2026-02-15T02:30+01:00 2026-02-16T02:30+00:00"),
    ("30 2 * * *", "Africa/Casablanca", "2026-03-21T12:00", "2026-03-22T03:00+01:00 2026-03-23T02:30+01:00"),
    # ── UTC, and days that not every month has ──
    ("30 2 * * *", "UTC", "2026-03-28T12:00", "2026-03-29T02:30+00:00 2026-03-30T02:30+00:00"),
    ("0 0 29 2 *", "UTC", "2026-01-01T00:00", "2028-02-29T00:00+00:00 2032-02-29T00:00+00:00"),
    ("0 0 L * *", "UTC", "2026-01-01T00:00", "2026-01-31T00:00+00:00 2026-02-28T00:00+00:00"),
    ("0 9 * * MON#1", "UTC", "2026-01-01T00:00", "2026-01-05T09:00+00:00 2026-02-02T09:00+00:00"),
    ("0 9 * * MON-FRI", "UTC", "2026-01-02T10:00", "2026-01-05T09:00+00:00 2026-01-06T09:00+00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "where", "after", "expected"), TIMES)
def test_times_when_the_clocks_change(fields, where, after, expected):
    wanted = [local_iso(us(text), zone(where)) for text in expected.split()]
    assert asked(fields, where, after, len(wanted)) == wanted


ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC")
CHANGES = (
    "2026-02-15",
    "2026-03-08",
    "2026-03-22",
    "2026-03-29",
    "2026-04-05",
    "2026-10-04",
    "2026-10-25",
    "2026-11-01",
)
FIELDS = ("30 2,3 * * *", "*/20 1-3 * * *", "15 * * * *", "0,30 0,1,2 * * *", "*/7 * * * *", "59 23 * * *")


@pytest.mark.parametrize("where", ZONES)
def test_moments_are_the_same_from_every_earlier_one(where):
    """The worker asks from the last slot and the audit continues from it, so both must get the same moments."""
    for day in CHANGES:
        for fields in FIELDS:
            start = us(f"{day}T00:00", where) - 2 * HOUR
            found = list(islice(cron_moments(fields, zone(where), start), 30))
            assert found == sorted(set(found))
            assert found[0] > start
            for place, moment in enumerate(found[:-1]):
                assert next(cron_moments(fields, zone(where), moment)) == found[place + 1], (day, fields)


def test_each_start_in_a_repeated_hour_gives_a_later_moment():
    start = us("2026-10-25T00:30", "Europe/Berlin")
    for minute in range(180):
        for fields in FIELDS:
            after = start + minute * MINUTE + 30 * SECOND
            assert next(cron_moments(fields, zone("Europe/Berlin"), after)) > after


def test_intervals_count_elapsed_time_from_their_start():
    start = us("2026-10-24T22:00")
    assert list(islice(interval_moments(DAY, start, start), 2)) == [start + DAY, start + 2 * DAY]
    assert next(interval_moments(HOUR, start, start - 1)) == start
    assert next(interval_moments(HOUR, start, start - 30 * DAY)) == start
    assert next(interval_moments(7 * SECOND, start, start + 20 * SECOND)) == start + 21 * SECOND


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 0 fields, cron has five"),
        ("0 2 * *", "has 4 fields, cron has five"),
        ("0 0 2 * * *", "has six fields, cron has five: use --every for seconds"),
        ("61 * * * *", "bad minute '61': it takes 0-59, and ranges from low to high"),
        ("0 24 * * *", "bad hour '24': it takes 0-23"),
        ("0 0 30 2 *", "bad day-of-month: no month in '2' has a day '30'"),
        ("0 0 ? * *", "bad day-of-month '[?]': it takes 1-31, L or LW"),
        ("0 0 * 13 *", "bad month '13': it takes 1-12 or JAN-DEC"),
        ("0 0 * * 8", "bad day-of-week '8': it takes 0-7"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("@fortnightly", "is not one of @hourly"),
        ("@reboot", "is not one of @hourly"),
        ("a b c d e", "bad minute"),
        ("١ * * * *", "bad minute"),
        ("0 0 31 2,4 *", "no month in '2,4' has a day '31'"),
    ],
)
def test_a_bad_expression_is_refused_with_its_reason(text, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        five_fields(text)


def test_nicknames_and_blanks():
    assert {five_fields(name) for name in NICKNAMES} == set(NICKNAMES.values())
    assert five_fields("  0\t2  * * mon ") == "0 2 * * mon"
    assert five_fields("@DAILY") == "0 0 * * *"


def test_expressions_in_words():
    assert in_words("0 2 * * *") == "At 02:00 every day"
    assert in_words("*/5 * * * *") == "Every fifth minute of every hour"


@pytest.mark.parametrize("name", ["Europe/Berln", "", "../etc/passwd", "/etc/localtime", "Mars/Base", "Europe", "a\0b"])
def test_an_unknown_zone_is_refused(name):
    with pytest.raises(UnknownZoneError, match="this machine has no time zone"):
        zone(name)


def test_a_misspelt_zone_gets_a_suggestion():
    with pytest.raises(UnknownZoneError, match="did you mean Europe/Berlin"):
        zone("europe/berln")


def test_the_machines_own_zone_has_a_name(tmp_path):
    link, named = tmp_path / "localtime", tmp_path / "timezone"
    missing = str(tmp_path / "none")
    assert own_zone({"TZ": "Europe/Berlin"}) == "Europe/Berlin"
    assert own_zone({"TZ": ":/usr/share/zoneinfo/Asia/Tokyo"}) == "Asia/Tokyo"
    assert own_zone({"TZ": "CET-1CEST"}) is None
    link.symlink_to("/usr/share/zoneinfo/Australia/Lord_Howe")
    assert own_zone({}, str(link), missing) == "Australia/Lord_Howe"
    named.write_text("Africa/Casablanca\n", encoding="utf-8")
    assert own_zone({}, missing, str(named)) == "Africa/Casablanca"
    assert own_zone({}, missing, missing) is None


def test_moments_as_texts():
    moment = us("2026-11-29T01:00:00.9+00:00")
    assert stamp(moment) == "20261129T010000Z"
    assert local_iso(moment, zone("Europe/Berlin")) == "2026-11-29T02:00:00+01:00"
