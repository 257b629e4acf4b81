"""The smoke run of the benchmarks fails on a figure that is ten times slower than the recorded one, not on noise."""

import json

import pytest

from benchmarks.last_smoke import absurd
from benchmarks.result import Result


@pytest.fixture
def page(tmp_path):
    """A recorded run with one rate, one time and one size."""
    recorded = [
        ("run", "jobs/s", 1000.0),
        ("start", "ms", 10.0),
        ("each job", "bytes", 100.0),
        ("start: 99th percentile", "ms", 10.0),
        ("2 slots, steady", "jobs/s", 1000.0),
    ]
    results = [{"case": case, "unit": unit, "queuectl": [value]} for case, unit, value in recorded]
    path = tmp_path / "smoke.json"
    path.write_text(json.dumps({"benchmarks": {"slots": results}}))
    return str(path)


@pytest.mark.parametrize(
    ("case", "unit", "value", "reported"),
    [
        ("run", "jobs/s", 99.0, True),
        ("run", "jobs/s", 101.0, False),
        ("start", "ms", 101.0, True),
        ("start", "ms", 99.0, False),
        ("each job", "bytes", 5000.0, False),
        ("a new case", "ms", 5000.0, False),
        ("start: 99th percentile", "ms", 5000.0, False),
        ("2 slots, steady", "jobs/s", 10.0, False),
    ],
)
def test_a_tenth_of_the_recorded_speed_is_reported(case, unit, value, reported, page):
    assert bool(absurd({"slots": [Result(case, unit, [value])]}, page)) is reported
