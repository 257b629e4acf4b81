"""The wait before a retry, its limits, its jitter, and the arithmetic that is shown for it."""

import re

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from queuectl.config import Config
from queuectl.domain.backoff import explain, plain, wait
from queuectl.domain.events import RetryScheduled
from queuectl.units import LONGEST, parse_duration
from tests.domain import scenario
from tests.domain.scenario import HOUR, SECOND, a_job, claimed, fails

BASES = st.one_of(st.floats(0, 1000), st.integers(0, 1000).map(float), st.sampled_from([0.5, 1.0, 1.5, 2.0]))
CAPS = st.integers(0, LONGEST)
ATTEMPTS = st.integers(1, 10_000)
JITTER = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 2), (2, 4), (3, 8), (11, 2048), (12, 3600), (10_000, 3600)])
def test_base_2_waits_2_4_and_8_seconds_up_to_the_cap(attempts, seconds):
    assert wait(a_job(), attempts) == seconds * SECOND


@pytest.mark.parametrize(
    ("base", "waits"),
    [
        (0.0, [0, 0, 0]),
        (1.0, [SECOND, SECOND, SECOND]),
        (0.5, [500_000, 250_000, 125_000]),
        (1.5, [1_500_000, 2_250_000, 3_375_000]),
        (0.001, [1000, 1, 0]),
    ],
)
def test_a_base_can_be_any_number_from_0(base, waits):
    assert [wait(a_job(backoff_base=base), attempts) for attempts in (1, 2, 3)] == waits


@pytest.mark.parametrize("attempts", [1, 2, 10_000])
def test_a_fixed_wait_is_the_same_for_each_retry(attempts):
    spec = a_job(retry_wait=2 * HOUR, backoff_cap=SECOND)
    assert wait(spec, attempts) == 2 * HOUR
    assert wait(spec, attempts, 0.5) == HOUR


def test_a_cap_of_0_means_no_wait():
    assert [wait(a_job(backoff_cap=0), attempts) for attempts in (1, 2, 10_000)] == [0, 0, 0]


@settings(deadline=None)
@given(BASES, CAPS, ATTEMPTS, st.none() | JITTER)
@example(1000.0, LONGEST, 10_000, None)
@example(1000.0, LONGEST, 102, 0.9999999999999999)
@example(5e-324, 1, 10_000, 0.5)
def test_a_wait_is_whole_microseconds_from_0_to_the_cap(base, cap, attempts, jitter):
    found = wait(a_job(backoff_base=base, backoff_cap=cap), attempts, jitter)
    assert type(found) is int
    assert 0 <= found <= cap


@settings(deadline=None)
@given(st.floats(1, 1000), CAPS, ATTEMPTS)
def test_waits_never_get_shorter_with_a_base_of_1_or_more(base, cap, attempts):
    spec = a_job(backoff_base=base, backoff_cap=cap)
    assert wait(spec, attempts) <= wait(spec, attempts + 1)


# ── jitter ──────────────────────────────────────────────────────────────────────────────────────────────


def retry(factor=0.75, **promises):
    job = scenario.given(a_job(**promises), *scenario.failures(1), claimed(2))
    (event,) = job.when(fails(2, jitter=factor)).decided()
    return job.job.spec, event


def test_there_is_no_jitter_by_default():
    assert Config({}, {}, {}, dict)["jitter"] is False
    assert (retry()[1].wait, retry()[1].jitter) == (4 * SECOND, None)


@settings(deadline=None)
@given(JITTER, BASES)
def test_a_jittered_wait_is_recomputed_exactly_from_the_log(factor, base):
    spec, event = retry(factor, jitter=True, backoff_base=base)
    logged = msgspec.json.decode(msgspec.json.encode(event), type=RetryScheduled)
    assert logged.jitter == factor
    assert logged.wait == wait(spec, 2, logged.jitter) <= wait(spec, 2)


def test_jitter_scales_the_whole_wait():
    assert [retry(factor, jitter=True)[1].wait for factor in (0.0, 0.25, 0.5)] == [0, SECOND, 2 * SECOND]


# ── the arithmetic ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("promises", "attempts", "jitter", "text"),
    [
        ({}, 2, None, "2^2 s = 4s"),
        ({}, 12, None, "min(2^12 s, 1h) = 1h"),
        ({}, 10_000, None, "min(2^10000 s, 1h) = 1h"),
        ({"backoff_base": 1.5}, 2, None, "1.5^2 s = 2.25s"),
        ({"backoff_base": 0.0}, 1, None, "0^1 s = 0s"),
        ({"backoff_cap": 2_500_000}, 2, None, "min(2^2 s, 2.5s) = 2.5s"),
        ({"backoff_cap": 8 * SECOND}, 3, None, "2^3 s = 8s"),
        ({}, 3, 0.5, "0.500 × 2^3 s = 4s"),
        ({}, 12, 0.25, "0.250 × min(2^12 s, 1h) = 15m"),
        ({"backoff_base": 1000.0, "backoff_cap": 200_000 * SECOND * 60}, 2, None, "1000^2 s = 11d13h46m40s"),
        ({"retry_wait": 600 * SECOND}, 7, None, "10m"),
        ({"retry_wait": 600 * SECOND}, 7, 0.25, "0.250 × 10m = 2m30s"),
    ],
)
def test_the_shown_arithmetic(promises, attempts, jitter, text):
    assert explain(a_job(**promises), attempts, jitter) == text


@settings(deadline=None)
@given(BASES, CAPS, ATTEMPTS, st.none() | JITTER)
def test_the_arithmetic_ends_with_the_wait(base, cap, attempts, jitter):
    spec = a_job(backoff_base=base, backoff_cap=cap)
    assert parse_duration(explain(spec, attempts, jitter).partition(" = ")[2]) == wait(spec, attempts, jitter)


@settings(deadline=None)
@given(st.one_of(BASES, st.sampled_from([1.2345678, 999.9999])), st.integers(0, 24 * HOUR), st.integers(1, 12))
@example(1.2345678, 24 * HOUR, 12)
def test_the_arithmetic_shown_gives_the_wait(base, cap, attempts):
    spec = a_job(backoff_base=base, backoff_cap=cap)
    sum_shown, _, result = explain(spec, attempts).partition(" = ")
    found = re.fullmatch(r"min\(([0-9e^.+-]+) s, (\w[\w.]*)\)|([0-9e^.+-]+) s", sum_shown)
    power = eval((found[1] or found[3]).replace("^", "**")) * SECOND
    assert min(power, parse_duration(found[2] or "3653d")) == pytest.approx(parse_duration(result), abs=1)


@pytest.mark.parametrize(
    ("number", "text"), [(2.0, "2"), (2.5, "2.5"), (1e16, "10000000000000000"), (1e-05, "0.00001"), (7, "7")]
)
def test_a_number_is_written_with_all_its_digits(number, text):
    assert plain(number) == text
