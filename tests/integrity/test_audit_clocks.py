"""`audit` of waits that a clock which was ahead recorded: they count from when a later event shows a right clock."""

import pytest
from msgspec.structs import replace

from queuectl.checks.audit import audit
from queuectl.domain import events as e
from tests.support.builders import HOUR, SECOND, START, a_spec, claimed, retried

STARTED = ("$worker:w1", e.WorkerStarted(host="box", pid=10, slots=1))
NOTE = ("$settings", e.SettingChanged(key="lease", value="1m"))
AHEAD = HOUR // SECOND
"""Seconds."""
LATE = ("late", a_spec(delay=4 * SECOND))
CLAIMED = ("late", claimed())

Step = tuple[str, e.Event]


def saw(seconds: float) -> Step:
    """The claim of a worker that knew the job to have waited for so long."""
    return "late", replace(claimed(), waited=round(seconds * SECOND))


def found(*steps: tuple[float, Step]) -> list[str]:
    """The findings of the rule `due` in a log of these steps, each with what the wall clock showed, in seconds."""
    versions: dict[str, int] = {}
    records = list[e.RecordedEvent]()
    for position, (seconds, (stream, event)) in enumerate(steps, 1):
        clock = START + round(seconds * SECOND)
        when = max(clock, records[-1].recorded_at if records else clock)
        versions[stream] = versions.get(stream, 0) + 1
        fact = replace(event, clock=clock) if clock < when else event
        records.append(e.RecordedEvent(position, stream, versions[stream], when, "w1", fact))
    judged = audit(records)
    assert judged.found.keys() <= {"due"}, judged.findings
    return [each.what for each in judged.findings]


@pytest.mark.parametrize(("claimed_at", "early"), [(0, 4), (2, 2), (2.9, 1.1)])
def test_a_claim_before_the_wait_was_over_is_found(claimed_at: float, early: float) -> None:
    steps = [(AHEAD, LATE), (0, STARTED), (claimed_at, CLAIMED)]
    assert found(*steps) == [f"claimed {round(early * SECOND)} us before it was due"]


@pytest.mark.parametrize("claimed_at", [3, 4, 100])
def test_a_claim_after_the_wait_is_sound_within_the_clocks_accuracy(claimed_at: int) -> None:
    assert found((AHEAD, LATE), (0, STARTED), (claimed_at, CLAIMED)) == []


def test_a_worker_that_had_started_before_may_have_seen_the_wait() -> None:
    assert found((0, STARTED), (AHEAD, LATE), (1, CLAIMED)) == []
    assert found((AHEAD, LATE), (1, NOTE), (1, CLAIMED)) == []
    assert found((AHEAD, LATE), (1, ("$worker:w2", STARTED[1])), (1, CLAIMED)) == []


def test_a_worker_that_started_with_the_wrong_clock_may_have_too() -> None:
    assert found((AHEAD, LATE), (AHEAD + 1, STARTED), (1, CLAIMED)) == []


def test_a_wait_counts_from_the_earliest_clock_after_it() -> None:
    assert found((AHEAD, LATE), (1, NOTE), (5, STARTED), (5, CLAIMED)) == []
    assert found((AHEAD, LATE), (9, NOTE), (1, NOTE), (3, NOTE), (5, STARTED), (5, CLAIMED)) == []
    assert found((0, NOTE), (9, NOTE), (1, NOTE), (AHEAD, LATE), (8, STARTED), (8, CLAIMED)) != []
    assert found((AHEAD, LATE), (7, NOTE), (6, NOTE), (8, STARTED), (8, CLAIMED)) != []


def test_a_clock_set_back_twice_between_two_events_is_no_fault() -> None:
    """The worker starts at 2, the clock is set from 3 to -1 with no event, and four seconds later it shows 3 again."""
    assert found((AHEAD, LATE), (2, STARTED), (3, saw(5))) == []
    assert found((AHEAD, LATE), (2, STARTED), (3, CLAIMED)) == ["claimed 3000000 us before it was due"]


def test_a_claim_that_says_it_waited_too_little_is_found() -> None:
    for steps in ([(AHEAD, LATE), (0, STARTED)], [(0, STARTED), (AHEAD, LATE)], [(AHEAD, LATE), (AHEAD, STARTED)]):
        assert found(*steps, (0, NOTE), (2, saw(2))) == ["claimed 2000000 us before it was due"]
        assert found(*steps, (0, NOTE), (2, saw(4))) == []
    assert found((AHEAD, LATE), (0, STARTED), (5, saw(2))) == []


def test_the_wait_of_a_retry_counts_in_the_same_way() -> None:
    job = [(AHEAD, ("late", a_spec())), (AHEAD, CLAIMED), (AHEAD + 1, ("late", retried(wait=2 * SECOND)))]
    again = ("late", claimed(2))
    assert found(*job, (0, STARTED), (2, again)) == []
    assert found(*job, (0, STARTED), (0.5, again)) == ["claimed 1500000 us before it was due"]


def test_a_given_time_is_checked_as_ever() -> None:
    late = ("late", a_spec(at=START + 4 * SECOND))
    assert found((AHEAD, NOTE), (0, late), (3, CLAIMED)) == ["claimed 1000000 us before it was due"]
    assert found((AHEAD, NOTE), (0, late), (4, CLAIMED)) == []
