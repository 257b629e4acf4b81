"""Times without an offset, on days on which clocks change, in five zones."""

import time
from datetime import UTC, datetime

import pytest

from queuectl.units import MINUTE, SECOND, coming_moment, format_time, parse_time


@pytest.fixture
def zone(monkeypatch):
    def enter(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield enter
    monkeypatch.undo()
    time.tzset()


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


# zone as POSIX rules, so that no zone files are needed: a day on which clocks go forward and one on which they go back
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"
LORD_HOWE = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"
SANTIAGO = "<-04>4<-03>,M9.1.6/24,M4.1.6/24"
SYDNEY = "AEST-10AEDT,M10.1.0,M4.1.0/3"

GAPS = [
    (BERLIN, "2026-03-29 02:30", "2026-03-29T01:00:00Z"),
    (BERLIN, "2026-03-29 02:00", "2026-03-29T01:00:00Z"),
    (BERLIN, "2026-03-29 02:59:59", "2026-03-29T01:00:00Z"),
    (NEW_YORK, "2026-03-08 02:15", "2026-03-08T07:00:00Z"),
    (LORD_HOWE, "2026-10-04 02:10", "2026-10-03T15:30:00Z"),
    (SANTIAGO, "2026-09-06 00:00", "2026-09-06T04:00:00Z"),
    (SANTIAGO, "2026-09-06 00:45", "2026-09-06T04:00:00Z"),
    (SYDNEY, "2026-10-04 02:30", "2026-10-03T16:00:00Z"),
]


@pytest.mark.parametrize(("name", "text", "moment"), GAPS)
def test_a_skipped_time_is_the_moment_after_the_gap(zone, name, text, moment):
    zone(name)
    now = parse_time(moment, 0) - 90 * MINUTE
    found, note = coming_moment(text, now)
    assert format_time(found) == moment
    assert "skip" in note


TWICE = [
    (BERLIN, "2026-10-25 02:30", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
    (NEW_YORK, "2026-11-01 01:30", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
    (LORD_HOWE, "2026-04-05 01:45", "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"),
    (SANTIAGO, "2026-04-04 23:30", "2026-04-05T02:30:00Z", "2026-04-05T03:30:00Z"),
    (SYDNEY, "2026-04-05 02:30", "2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z"),
]


@pytest.mark.parametrize(("name", "text", "first", "second"), TWICE)
def test_a_repeated_time_is_the_next_one(zone, name, text, first, second):
    zone(name)
    one, two = parse_time(first, 0), parse_time(second, 0)
    clock = text.split()[1]
    for now, expected, word in ((one - 5 * MINUTE, one, "first"), (one + 5 * MINUTE, two, "second")):
        for written in (text, clock):
            found, note = coming_moment(written, now)
            assert (format_time(found), word in note) == (format_time(expected), True)
    assert parse_time(text, one) == one


@pytest.mark.parametrize("name", [BERLIN, NEW_YORK, LORD_HOWE, SANTIAGO, SYDNEY])
@pytest.mark.parametrize("month", [3, 4, 9, 10, 11])
def test_the_order_of_written_times_is_the_order_of_runs(zone, name, month):
    zone(name)
    for day in range(1, 30):
        written = [f"2026-{month:02}-{day:02} {hour:02}:{minute:02}" for hour in range(24) for minute in (0, 20, 40)]
        before = utc(f"2026-{month:02}-01 00:00:00") - 3 * 1440 * MINUTE
        moments = [coming_moment(text, before)[0] for text in written]
        assert moments == sorted(moments)


def test_two_minutes_before_a_gap_its_first_minute_is_near(zone):
    zone(BERLIN)
    now = utc("2026-03-29 00:58:00")  # 01:58 in Berlin
    found, note = coming_moment("02:00", now)
    assert (found - now, note) == (2 * MINUTE, note)
    assert "2026-03-29 03:00:00+02:00" in note


def test_a_time_that_is_as_written_has_no_note(zone):
    zone(BERLIN)
    now = utc("2026-03-28 12:00:00")
    for text in ("23:59", "tomorrow 03:00", "2026-03-29 01:59", "2026-03-29T02:30:00+01:00", "+1h", "now", "-5m"):
        assert coming_moment(text, now)[1] == "", text


def test_a_clock_time_of_tomorrow_says_so(zone):
    zone(BERLIN)
    found, note = coming_moment("11:00", utc("2026-03-28 12:00:00"))
    assert format_time(found) == "2026-03-29T09:00:00Z"
    assert note == "that is tomorrow, 2026-03-29 11:00:00+02:00"
