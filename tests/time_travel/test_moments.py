"""The position that a time means, and the clock of the past at that position."""

import pytest

from queuectl.application.diff import changed_jobs
from queuectl.application.queue import Queue
from queuectl.application.time_travel import as_of, position_at
from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM
from queuectl.errors import NoSuchJobError, UsageError
from queuectl.runtime import Reach
from queuectl.store.rows import JobFilter
from queuectl.units import format_time
from tests.support.builders import (
    ACTOR,
    SECOND,
    START,
    a_spec,
    add,
    buried,
    claimed,
    completed,
    follow,
    new,
    note,
    retried,
)


@pytest.fixture
def dated(store, clock):
    """Positions 1 and 2 at +10 s, 3 at +20 s, 4 at +30 s; now it is +90 s."""
    clock.advance(10 * SECOND)
    add(store, new("a"), new("b"))
    follow(store, clock, "a", claimed(), completed())
    clock.advance(60 * SECOND)
    return store


@pytest.mark.parametrize(
    ("seconds", "position"),
    [(0, 0), (9.999999, 0), (10, 2), (19, 2), (20, 3), (29.999999, 3), (30, 4), (80, 4), (200, 4)],
)
def test_a_time_is_the_last_position_recorded_by_then(dated, seconds, position):
    moment = START + round(seconds * SECOND)
    assert position_at(dated.log, moment) == position
    assert as_of(dated, format_time(moment)).position == position


@pytest.mark.parametrize(
    ("text", "position", "seconds"),
    [
        ("0", 0, None),
        ("1", 1, 10),
        ("2", 2, 10),
        ("4", 4, 30),
        ("head", 4, 30),
        ("now", 4, 90),
        ("-70s", 3, 20),
        ("-65s", 3, 25),
        ("+1h", 4, 90),
    ],
)
def test_the_clock_of_the_past_stands_at_the_moment_asked_for(dated, text, position, seconds):
    past = as_of(dated, text)
    assert past.position == position
    if seconds is not None:
        assert past.log.now() == past.moment == START + seconds * SECOND


@pytest.mark.parametrize("text", ["5", "99999999999999999999999", "", "x", "-", "head!", "٣", "1.5"])
def test_a_value_neither_position_nor_time_is_refused(dated, text):
    with pytest.raises(UsageError):
        as_of(dated, text)


def test_later_events_are_not_in_the_past(dated, clock):
    add(dated, new("later"), new("latest"))
    past = Queue(as_of(dated, "4"), ACTOR)
    assert past.resolve(["a", "b"]) == ["a", "b"]
    with pytest.raises(NoSuchJobError):
        past.resolve(["late"])
    assert [record.position for record in past.store.log.records(stream_id="a")] == [1, 3, 4]
    assert Queue(as_of(dated, "5"), ACTOR).resolve(["late"]) == ["later"]


def test_the_past_of_nothing_is_empty(store):
    for text in ("0", "head", "-1h", "now"):
        past = as_of(store, text)
        assert (
            past.position,
            past.tables.jobs(JobFilter()),
            past.tables.counts(),
            past.tables.dlq(),
            past.tables.settings(),
        ) == (
            0,
            [],
            [],
            [],
            {},
        )


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────


def damage_event(store, position, data="{"):
    """Change a stored event without the store."""
    store.engine.run(
        "DROP TRIGGER events_refuse_update" + (" ON events" if store.location.reach is Reach.SEVERAL_HOSTS else "")
    )
    store.engine.run("UPDATE events SET data = ? WHERE position = ?", (data, position))


def test_a_damaged_job_shows_its_state_before_the_damage(store, clock):
    add(store, new("a"), new("b"))
    follow(store, clock, "a", claimed(), buried())
    follow(store, clock, "b", claimed(), completed())
    damage_event(store, 4)
    past = as_of(store, "head")
    rows = {row["id"]: row for row in past.tables.jobs(JobFilter())}
    assert (rows["a"]["state"], rows["b"]["state"]) == ("processing", "done")
    assert (rows["a"]["due_at"], rows["a"]["run"]) == (None, 1)
    assert "event 4 of a is damaged" in rows["a"]["last_error"]
    assert past.tables.dlq() == []


@pytest.mark.parametrize("data", ["{", "{}", '{"queue":5}', None])
def test_only_a_job_damaged_from_the_start_is_missing(store, data):
    add(store, new("a"), new("b"))
    damage_event(store, 1, data)
    past = as_of(store, "head")
    assert [row["id"] for row in past.tables.jobs(JobFilter())] == ["b"]
    assert [count.jobs for count in past.tables.counts()] == [1]


def test_a_damaged_note_is_skipped_in_the_past(store):
    for key in ("lease", "grace", "timeout"):
        add(store, note(store, SETTINGS_STREAM, e.SettingChanged(key=key, value="9s")))
    damage_event(store, 2)
    assert as_of(store, "head").tables.settings() == {"lease": "9s", "timeout": "9s"}


# ── what changed between two moments ────────────────────────────────────────────────────────────────


def difference(store, first, second):
    return {
        change.id: tuple(row and row["state"] for row in (change.before, change.after))
        for change in changed_jobs(as_of(store, str(first)), as_of(store, str(second)))
    }


def test_diff_shows_how_jobs_changed_between_two_moments(store, clock):
    add(store, new("still"), new("runs"), new("goes"))  # 1-3
    follow(store, clock, "goes", e.Cancelled())  # 4
    here = store.log.head().position
    follow(store, clock, "runs", claimed(), retried())  # 5, 6
    follow(store, clock, "goes", e.Purged())  # 7
    follow(store, clock, "comes", a_spec())  # 8
    follow(store, clock, "passes", a_spec(), e.Cancelled(), e.Purged())  # 9-11
    assert difference(store, here, "head") == {
        "runs": ("pending", "pending"),
        "goes": ("cancelled", None),
        "comes": (None, "pending"),
    }
    assert difference(store, here, here) == {}
    assert difference(store, 8, 9) == {"passes": (None, "pending")}
    assert set(difference(store, 0, "head")) == {"still", "runs", "comes"}
