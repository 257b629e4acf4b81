"""Appending: positions without gaps, the log's time, the digest chain, all or nothing."""

import pytest

from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM, queue_stream
from queuectl.errors import StoreError
from queuectl.store.errors import VersionConflictError
from queuectl.store.rows import GENESIS, Change, Head
from tests.support.builders import (
    ACTOR,
    HOUR,
    SECOND,
    START,
    a_spec,
    add,
    buried,
    chained,
    claimed,
    completed,
    everything,
    follow,
    more,
    new,
    note,
    retried,
    stored,
    streams_of,
)

# ── places ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_head_of_an_empty_log_is_its_base(store):
    assert store.log.head() == store.log.base == Head(0, GENESIS, 0)
    assert list(store.log.records()) == []


def test_positions_and_versions_have_no_gaps(store):
    for batch in range(20):
        jobs = add(store, *(new(f"job-{batch}-{i}") for i in range(batch % 4 + 1)))
        jobs = add(store, *(more(job, claimed(), retried()) for job in jobs))
        add(store, more(jobs[0], claimed(run=2)), note(store, queue_stream("q"), e.QueuePaused(), e.QueueResumed()))
    records = list(store.log.records())
    assert [record.position for record in records] == [*range(1, len(records) + 1)]
    assert len(records) == 20 * 3 + 3 * sum(batch % 4 + 1 for batch in range(20))
    for stream in streams_of(store).values():
        assert [record.version for record in stream] == [*range(1, len(stream) + 1)]


def test_a_batch_is_recorded_in_the_given_order(store):
    a, b = add(store, new("b"), new("a"))
    add(store, more(a, claimed(), completed()), more(b, claimed()))
    assert [(r.stream_id, r.version, r.type) for r in store.log.records()] == [
        ("b", 1, "enqueued"),
        ("a", 1, "enqueued"),
        ("b", 2, "claimed"),
        ("b", 3, "completed"),
        ("a", 2, "claimed"),
    ]


def test_append_returns_the_jobs_in_order(store):
    jobs = add(store, new("b"), note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="5s")), new("a"))
    assert jobs == [store.log.load("b"), None, store.log.load("a")]
    assert add(store, more(jobs[0], claimed())) == [store.log.load("b")]


def test_a_change_without_events_returns_its_job_and_writes_nothing(store):
    [job] = add(store, new("a"))
    before = everything(store)
    assert add(store, more(job)) == [job]
    assert everything(store) == before
    assert add(store, more(job), new("b")) == [job, store.log.load("b")]


def test_an_event_is_read_as_it_was_appended(store):
    spec = a_spec(
        "printf '%s' \"ä…\\n\u2028\"",
        argv=("printf", "ä", ""),
        timeout=5 * SECOND,
        env={"K": "v=1"},
        secret_env=("TOKEN",),
        tags={"team": "büro", "x": ""},
        unique="k",
        backoff_base=1.5,
        jitter=True,
        priority=-7,
        delay=3,
    )
    add(store, Change("a", 0, [spec]))
    [record] = store.log.records()
    assert record.event == spec
    assert (record.type, record.schema, record.actor, record.stream_id) == ("enqueued", 1, ACTOR, "a")


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_is_recorded_at_the_clocks_time(store, clock):
    clock.advance(123_456)
    add(store, new("a"), new("b"))
    clock.advance(1)
    add(store, new("c"))
    assert [record.recorded_at for record in store.log.records()] == [START + 123_456, START + 123_456, START + 123_457]
    assert store.log.head().recorded_at == START + 123_457
    assert store.log.now() == START + 123_457


def test_log_time_never_goes_back_and_a_late_wall_clock_is_noted(store, clock):
    add(store, new("a"))
    clock.turn(-HOUR)
    add(store, new("b"))
    clock.advance(5 * SECOND)
    assert (store.log.now(), store.log.wall()) == (START, START - HOUR + 5 * SECOND)
    add(store, new("c"))
    clock.turn(HOUR)
    add(store, new("d"))
    found = [(r.recorded_at, r.event.clock) for r in store.log.records()]
    behind = [(START, START - HOUR), (START, START - HOUR + 5 * SECOND)]
    assert found == [(START, None), *behind, (START + 5 * SECOND, None)]


def test_the_logs_time_follows_a_clock_that_is_ahead_of_it(store, clock):
    add(store, new("a"))
    clock.turn(-HOUR)
    add(store, new("b"))
    clock.turn(2 * HOUR)
    add(store, new("c"))
    assert [record.recorded_at for record in store.log.records()] == [START, START, START + HOUR]


def test_a_wait_ends_although_the_clock_was_set_back(store, clock):
    follow(store, clock, "a", a_spec(), claimed(), retried(wait=2 * SECOND))
    clock.turn(-HOUR)
    assert store.tables.claimable((), 1, store.log.wall(), behind_for=store.log.behind_for()) == []
    clock.advance(2 * SECOND)
    assert store.tables.claimable((), 1, store.log.wall(), behind_for=store.log.behind_for()) == ["a"]


# ── the chain ───────────────────────────────────────────────────────────────────────────────────────


def a_log(store, clock):
    follow(
        store, clock, "a", a_spec("printf ä", tags={"k": "ö"}), claimed(), retried(stderr="é"), claimed(2), buried(2)
    )
    add(store, new("b"), new("c"), note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))


def test_every_digest_matches_the_specification(store, clock):
    a_log(store, clock)
    rows = stored(store)
    assert [row.digest for row in rows] == chained(rows)
    assert [record.digest for record in store.log.records()] == chained(rows)


def test_the_head_is_the_digest_of_the_last_event(store, clock):
    a_log(store, clock)
    last = stored(store)[-1]
    assert store.log.head() == Head(last.position, last.digest, last.recorded_at)
    assert store.log.head() == Head(8, chained(stored(store))[-1], START + 50 * SECOND)


def test_every_event_has_its_own_salt(store, clock):
    a_log(store, clock)
    salts = [row.salt for row in stored(store)]
    assert {len(salt) for salt in salts} == {16}
    assert len(set(salts)) == len(salts)
    assert {row.data_digest for row in stored(store)} == {None}


def test_the_head_under_the_lock_includes_new_events(store):
    with store.writer.transaction():
        add(store, new("a"))
        assert store.log.head().position == 1
        add(store, new("b"))
        inside = store.log.head()
    assert store.log.head() == inside == Head(2, chained(stored(store))[-1], START)


# ── all or nothing ──────────────────────────────────────────────────────────────────────────────────


def stale(store):
    return Change("old", 1, [e.Cancelled()], store.log.load("old"))


def one_too_far(store):
    job = store.log.load("old")
    return Change("old", job.version + 1, [completed()], job)


def taken_id(store):
    return new("old")


def stream_that_is_not_there(store):
    return Change("nowhere", 2, [a_spec()])


def taken_key(store):
    return new("fresh", unique="mail")


def requeue_with_a_taken_key(store):
    return more(store.log.load("first-holder"), e.Requeued())


def stale_note(store):
    return Change(SETTINGS_STREAM, 0, [e.SettingChanged(key="grace", value="1s")])


CONFLICTS = [
    stale,
    one_too_far,
    taken_id,
    stream_that_is_not_there,
    taken_key,
    requeue_with_a_taken_key,
    stale_note,
]


@pytest.fixture
def lived_in(store):
    """A store with a job that has moved on, a unique key that is taken (and was before), and a setting."""
    _, first = add(store, new("old"), new("first-holder", unique="mail"))
    add(store, more(store.log.load("old"), claimed()), more(first, e.Cancelled()))
    add(store, new("holder", unique="mail"), note(store, SETTINGS_STREAM, e.SettingChanged(key="grace", value="9s")))
    return store


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_nothing_of_a_batch_is_written_when_one_change_conflicts(lived_in, conflict):
    before = everything(lived_in)
    changes = [new("x"), more(lived_in.log.load("holder"), claimed()), conflict(lived_in), new("y", unique="other")]
    with pytest.raises(VersionConflictError):
        add(lived_in, *changes)
    assert everything(lived_in) == before


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_a_conflict_keeps_the_rest_of_its_transaction(lived_in, conflict):
    with lived_in.writer.transaction():
        add(lived_in, new("before"))
        with pytest.raises(VersionConflictError):
            add(lived_in, new("x"), conflict(lived_in), new("y"))
        add(lived_in, new("after"))
    streams = streams_of(lived_in)
    assert streams.keys() & {"before", "x", "y", "after"} == {"before", "after"}
    assert lived_in.tables.job("x") is None
    rows = stored(lived_in)
    assert [row.position for row in rows] == [*range(1, len(rows) + 1)]
    assert [row.digest for row in rows] == chained(rows)


def test_one_batch_cannot_take_a_key_twice(store):
    before = everything(store)
    with pytest.raises(VersionConflictError):
        add(store, new("a", unique="k"), new("b", unique="k"))
    assert everything(store) == before


def test_one_batch_cannot_add_an_id_twice(store):
    before = everything(store)
    with pytest.raises(VersionConflictError):
        add(store, new("a"), new("a"))
    assert everything(store) == before


def test_a_key_is_free_again_when_its_holder_has_ended(store):
    [job] = add(store, new("a", unique="k"))
    assert store.tables.holder("k") == "a"
    [job] = add(store, more(job, claimed()))
    assert store.tables.holder("k") == "a"
    add(store, more(job, completed()))
    assert store.tables.holder("k") is None
    add(store, new("b", unique="k"))
    assert store.tables.holder("k") == "b"


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9b"])
def test_control_characters_are_refused_in_ids_and_actors(store, character):
    before = everything(store)
    for changes, actor in (
        ([new(f"a{character}b")], ACTOR),
        ([new("x"), new(f"{character}y")], ACTOR),
        ([new("z")], f"ann{character}"),
    ):
        with pytest.raises(StoreError, match="control character") as refusal:
            store.writer.append(changes, actor)
        assert str(refusal.value).isprintable()
    assert everything(store) == before


def test_an_actor_may_have_letters_of_any_script(store):
    store.writer.append([new("a")], "Zoë Ωmega@büro (pid 12)")
    [record] = store.log.records()
    assert record.actor == "Zoë Ωmega@büro (pid 12)"
