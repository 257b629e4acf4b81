"""Durations, sizes and times read back as written; other text is refused with one line that shows the form."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuectl.units import (
    DAY,
    HOUR,
    LONGEST,
    MINUTE,
    SECOND,
    about,
    ago,
    coming_moment,
    counted,
    format_duration,
    format_size,
    format_time,
    local_time,
    parse_duration,
    parse_size,
    parse_time,
    quoted,
    rounded_duration,
    short_duration,
    use_utc,
)

NOW = 1_795_490_400 * SECOND  # 2026-11-24T03:20:00Z
LAST = 253_402_300_799_999_999


def assert_number_or_line(read, text, most):
    try:
        outcome = read(text)
    except ValueError as error:
        outcome = str(error)
    assert outcome.isprintable() if isinstance(outcome, str) else 0 <= outcome <= most


@pytest.fixture
def zone(monkeypatch):
    def enter(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    enter("CET-1CEST,M3.5.0,M10.5.0/3")
    yield enter
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("10s", 10 * SECOND),
        ("5m", 5 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("2d", 2 * DAY),
        ("1w", 7 * DAY),
        ("500ms", SECOND // 2),
        ("5m500ms", 5 * MINUTE + SECOND // 2),
        ("1.5s", 1_500_000),
        ("0.001ms", 1),
        ("1w2d3h4m5s6ms", 9 * DAY + 3 * HOUR + 4 * MINUTE + 5 * SECOND + 6000),
        ("30", 30 * SECOND),
        ("0.5", SECOND // 2),
        ("0", 0),
        ("0s", 0),
        (" 10s\n", 10 * SECOND),
        ("0.0000019", 1),
        ("3653d", LONGEST),
    ],
)
def test_durations_are_read(text, us):
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "10x",
        "-1s",
        "+1s",
        "1m1h",
        "1s1s",
        "1h 30m",
        "10 s",
        "1.s",
        ".5",
        "1.2.3s",
        "1h30",
        "1e3",
        "١s",
        "10S",
        "1msm",
        "nan",
        "9" * 5000,
        "9" * 5000 + "s",
        "1s\x1b[31m\n2",
        "\ud800",
    ],
)
def test_an_invalid_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a duration: write 10s, 5m or 1h30m$") as caught:
        parse_duration(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["3653d1ms", "99999d", "522w", "9" * 18 + "w", "9" * 18])
def test_more_than_ten_years_is_refused(text):
    with pytest.raises(ValueError, match=f"^'{text}' is too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0s"),
        (4 * SECOND, "4s"),
        (10 * SECOND, "10s"),
        (SECOND // 4, "250ms"),
        (1_500_000, "1.5s"),
        (90 * MINUTE, "1h30m"),
        (HOUR + 1, "1h0.001ms"),
        (10 * DAY, "10d"),
        (-90 * MINUTE, "-1h30m"),
    ],
)
def test_durations_are_written_short(us, text):
    assert format_duration(us) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0s"),
        (23_600, "24ms"),
        (999_600, "1s"),
        (1_549_999, "1.5s"),
        (10 * SECOND, "10s"),
        (99_960_000, "1m40s"),
        (12 * MINUTE + 30 * SECOND + 400_000, "12m30s"),
    ],
)
def test_measured_durations_are_rounded(us, text):
    assert rounded_duration(us) == text


@given(st.integers(0, LONGEST))
@example(LONGEST)
def test_a_duration_reads_back(us):
    assert parse_duration(format_duration(us)) == us


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text):
    assert_number_or_line(parse_duration, text, LONGEST)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("512B", 512),
        ("0", 0),
        ("4KiB", 4096),
        ("10MiB", 10 << 20),
        ("1GiB", 1 << 30),
        ("2TiB", 2 << 40),
        ("1kB", 1000),
        ("1MB", 1_000_000),
        ("1.5MiB", 3 << 19),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "10 MiB", "10M", "10mib", "1KB", "1e3", "10MiBs", "9" * 5000])
def test_an_invalid_size_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a size: write 10MiB, 64KiB, 1MB or 512$"):
        parse_size(text)


def test_the_largest_size():
    assert parse_size(str(2**63 - 1)) == 2**63 - 1
    with pytest.raises(ValueError, match="too large"):
        parse_size(str(2**63))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (1025 << 10, "1.0MiB"),
        (10 << 20, "10MiB"),
        ((1 << 20) - 1, "1.0MiB"),
        (972 << 10, "972KiB"),
        (5 << 50, "5120TiB"),
    ],
)
def test_sizes_are_written_short(size, text):
    assert format_size(size) == text


@given(st.integers(0, 1 << 62))
def test_a_size_reads_back_within_its_one_decimal(size):
    text = format_size(size)
    assert abs(parse_size(text) - size) <= (size * 0.051 if "." in text else 0)


@given(st.integers(1, 1023), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_a_size_in_whole_units_is_exact(count, unit):
    assert format_size(parse_size(f"{count}{unit}")) == f"{count}{unit}"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", "2026-11-24T03:20:00Z"),
        ("-2h", "2026-11-24T01:20:00Z"),
        ("+90m", "2026-11-24T04:50:00Z"),
        ("-30", "2026-11-24T03:19:30Z"),
        ("2026-11-24T03:20:00Z", "2026-11-24T03:20:00Z"),
        ("2026-11-24T03:20:00.000001+02:00", "2026-11-24T01:20:00.000001Z"),
        ("2026-11-24 03:20", "2026-11-24T02:20:00Z"),
        ("2026-07-01 12:00:30.5", "2026-07-01T10:00:30.500000Z"),
        ("2026-11-24", "2026-11-23T23:00:00Z"),
        ("03:20", "2026-11-24T02:20:00Z"),
        ("3:20:07", "2026-11-24T02:20:07Z"),
        ("today", "2026-11-23T23:00:00Z"),
        ("today 18:05", "2026-11-24T17:05:00Z"),
        ("yesterday", "2026-11-22T23:00:00Z"),
        ("yesterday 18:05", "2026-11-23T17:05:00Z"),
        (" tomorrow  00:00 ", "2026-11-24T23:00:00Z"),
        ("1970-01-01T00:00Z", "1970-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_read(zone, text, moment):
    assert format_time(parse_time(text, NOW)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("04:20", "2026-11-24T03:20:00Z"),
        ("04:19", "2026-11-25T03:19:00Z"),
        (" 4:19:59 ", "2026-11-25T03:19:59Z"),
        ("04:21", "2026-11-24T03:21:00Z"),
        ("today 04:19", "2026-11-24T03:19:00Z"),
        ("yesterday 04:21", "2026-11-23T03:21:00Z"),
        ("2026-11-24 04:19", "2026-11-24T03:19:00Z"),
        ("-1s", "2026-11-24T03:19:59Z"),
        ("now", "2026-11-24T03:20:00Z"),
    ],
)
def test_a_clock_time_in_the_past_means_tomorrow(zone, text, moment):
    assert format_time(coming_moment(text, NOW)[0]) == moment


def test_a_time_tomorrow_follows_tomorrows_utc_offset(zone):
    changing = parse_time("2026-10-24T12:00:00Z", NOW)  # the day before summer time ends
    assert format_time(coming_moment("12:00", changing)[0]) == "2026-10-25T11:00:00Z"


def test_an_invalid_coming_time_is_refused(zone):
    with pytest.raises(ValueError, match="is not a time"):
        coming_moment("25:00", NOW)


def test_now_is_exact():
    assert parse_time("now", NOW + 1) == NOW + 1


def test_days_are_those_of_the_callers_zone(zone):
    late = NOW + 20 * HOUR  # 23:20 UTC, past midnight in Berlin
    assert format_time(parse_time("today", late)) == "2026-11-24T23:00:00Z"


def test_a_day_before_the_clocks_change_keeps_its_hour(zone):
    changed = parse_time("2026-10-25T12:00:00Z", NOW)  # the day that summer time ends
    assert format_time(parse_time("yesterday 12:00", changed)) == "2026-10-24T10:00:00Z"
    assert format_time(parse_time("tomorrow 12:00", changed)) == "2026-10-26T11:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "25:00",
        "12:60",
        "today 25:00",
        "today18:05",
        "yesterdaynow",
        "2026-13-01",
        "2026-02-30",
        "-",
        "-2x",
        "+-2h",
        "-99999d",
        "10000-01-01",
        "2026-11-24\n\x1b[2J",
        "2026-11-24\ud80003:20",
        "2026-11-24\x1b03:20",
        "1:2:3:4",
    ],
)
def test_an_invalid_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a time: write 2026-11-24T03:20:00Z,") as caught:
        parse_time(text, NOW)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("zone_name", ["XXX-14", "XXX12", "UTC"])
@pytest.mark.parametrize("text", ["0001-01-01", "0001-01-01T00:00+14:00", "1969-12-30", "9999-12-31T23:59:59-14:00"])
def test_times_outside_the_calendar_are_refused(zone, zone_name, text):
    zone(zone_name)
    with pytest.raises(ValueError, match="is outside the years 1970 to 9999"):
        parse_time(text, NOW)


def test_a_duration_that_leaves_the_calendar_is_refused():
    with pytest.raises(ValueError, match="outside"):
        parse_time("-1d", HOUR)
    with pytest.raises(ValueError, match="outside"):
        parse_time("+1d", LAST)


@given(st.text() | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}([+-][0-9]{2}:[0-9]{2})?)?\Z"))
def test_any_text_is_a_time_or_a_value_error(text):
    assert_number_or_line(lambda text: parse_time(text, NOW), text, LAST)


@given(st.integers(0, LAST))
@example(LAST)
def test_a_time_reads_back(us):
    assert parse_time(format_time(us), NOW) == us


def test_a_time_has_a_fraction_only_when_it_needs_one():
    assert format_time(NOW) == "2026-11-24T03:20:00Z"
    assert format_time(NOW + 100) == "2026-11-24T03:20:00.000100Z"


def test_a_local_time_has_the_zones_offset(zone):
    assert local_time(NOW + 999_999) == "2026-11-24 04:20:00+01:00"
    zone("XXX12")
    assert local_time(NOW) == "2026-11-23 15:20:00-12:00"


def test_people_may_read_and_write_utc(zone):
    use_utc(True)
    try:
        assert local_time(NOW) == "2026-11-24 03:20:00+00:00"
        assert parse_time("2026-11-24 03:20", NOW) == parse_time("03:20", NOW) == NOW
    finally:
        use_utc(False)
    assert parse_time("04:20", NOW) == NOW


@pytest.mark.parametrize(
    ("text", "past", "coming"),
    [
        ("tuesday 03:00", "2026-11-24T03:00Z", "2026-12-01T03:00Z"),
        ("Tue 03:21", "2026-11-17T03:21Z", "2026-11-24T03:21Z"),
        ("monday", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
        ("sun 23:59", "2026-11-22T23:59Z", "2026-11-29T23:59Z"),
        ("3 minutes ago", "2026-11-24T03:17Z", "2026-11-24T03:17Z"),
        ("an hour ago", "2026-11-24T02:20Z", "2026-11-24T02:20Z"),
        ("2h ago", "2026-11-24T01:20Z", "2026-11-24T01:20Z"),
        ("in 2 days", "2026-11-26T03:20Z", "2026-11-26T03:20Z"),
        ("in 1h30m", "2026-11-24T04:50Z", "2026-11-24T04:50Z"),
    ],
)
def test_weekdays_and_spoken_times(text, past, coming):
    use_utc(True)
    try:
        assert parse_time(text, NOW) == parse_time(past, NOW)
        assert coming_moment(text, NOW)[0] == parse_time(coming, NOW)
    finally:
        use_utc(False)


@pytest.mark.parametrize("text", ["ago", "in", "3 minutes", "in 3 minutes ago", "1000000000 weeks ago", "monda"])
def test_a_text_that_is_no_spoken_time_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a time"):
        parse_time(text, NOW)


def test_a_time_outside_the_calendar_is_printed_as_a_number():
    assert format_time(2**63 - 1) == local_time(2**63 - 1) == str(2**63 - 1)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (-5 * SECOND, "0s"),
        (999_999, "0s"),
        (12 * SECOND, "12s"),
        (MINUTE - 1, "59s"),
        (5 * MINUTE, "5m"),
        (4 * HOUR - 1, "3h"),
        (2 * DAY, "2d"),
    ],
)
def test_ages_are_written_short(us, text):
    assert ago(us) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (-SECOND, "0s"),
        (12_900_000, "12s"),
        (74 * SECOND, "1m14s"),
        (2 * HOUR - 1, "1h59m"),
        (DAY + HOUR - 1, "1d"),
        (51 * HOUR + MINUTE, "2d3h"),
    ],
)
def test_times_to_come_have_two_units(us, text):
    assert about(us) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (-SECOND, "0s"),
        (23_600, "24ms"),
        (1_520_000, "1.5s"),
        (59_900_000, "59.9s"),
        (MINUTE, "1m"),
        (74_900_000, "1m14s"),
        (51 * HOUR + MINUTE, "2d3h"),
    ],
)
def test_short_durations_have_tenths_below_a_minute(us, text):
    assert short_duration(us) == text


def test_quoted_is_one_short_line():
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted("x" * 5000) == "'" + "x" * 59 + "…'"


def test_the_plural_depends_on_the_number():
    assert [counted(number, "event") for number in range(3)] == ["0 events", "1 event", "2 events"]
