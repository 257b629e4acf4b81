"""The projections: the columns that each move writes to `jobs` and `dlq`, and each note to `settings` and `pauses`."""

import pytest
from msgspec.structs import replace

from queuectl.domain import events as e
from queuectl.domain.job import Job
from queuectl.domain.machine import State
from queuectl.domain.names import PAUSE_ALL, SETTINGS_STREAM, queue_stream
from queuectl.domain.signature import signature
from queuectl.store.projections import DLQ, JOBS, job_row, update_of
from queuectl.store.rows import Change, Count, JobFilter
from queuectl.store.sql.job_filter import SHOWN_COLUMNS
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
    more,
    new,
    note,
    retried,
)

T = START // SECOND
"""The first event of `follow` is recorded at T + 10, the next at T + 20, and so on."""


def counts(store):
    return {(count.queue, count.state): count.jobs for count in store.tables.counts()}


# ── updates of jobs ─────────────────────────────────────────────────────────────────────────────────

RUNNING = Job(
    "a", a_spec("true", timeout=SECOND), 7, START, START, 2, State.PROCESSING, run=1, claim=claimed(), locked_at=START
)
OTHERS = {
    "state": State.DONE,
    "claim": None,
    "due_at": START + 3 * SECOND,
    "waits_from": START,
    "cancel_requested": "why",
    "last_error": "exit 7",
    "stdout": "out",
    "stderr": "err",
    "exit_code": 3,
}
"""Values for the fields of a job that are no numbers of RUNNING."""


NOT_OF_MOVES = {"id", "spec", "position", "created_at"}


@pytest.mark.parametrize("field", sorted(set(Job.__struct_fields__) - NOT_OF_MOVES))
def test_an_update_has_the_columns_that_a_field_decides(field):
    value = OTHERS[field] if field in OTHERS else (getattr(RUNNING, field) or 0) + 5 * SECOND
    other = replace(RUNNING, **{field: value})
    before, after = job_row(RUNNING), job_row(other)
    update = update_of(RUNNING, other)
    assert update.columns == tuple(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    assert update.pick(after) == (*(after[i] for i in update.columns), "a")


def test_other_changes_of_a_job_compare_whole_rows():
    assert update_of(None, RUNNING) is None
    assert update_of(RUNNING, replace(RUNNING, spec=a_spec("false"))) is None
    assert update_of(RUNNING, replace(RUNNING, position=8)) is None


def test_a_move_that_changes_other_tables_compares_whole_rows():
    dead = replace(RUNNING, state=State.DLQ, claim=None, locked_at=None)
    assert update_of(RUNNING, dead) is update_of(dead, replace(dead, state=State.PENDING)) is None
    assert update_of(dead, replace(dead, state=State.PURGED)) is None


# ── the public columns ──────────────────────────────────────────────────────────────────────────────


def test_the_public_columns_of_jobs_keep_their_names_and_order():
    assert JOBS[:13] == (
        "id",
        "command",
        "state",
        "attempts",
        "max_retries",
        "next_run_at",
        "locked_at",
        "locked_by",
        "stdout",
        "stderr",
        "last_error",
        "created_at",
        "updated_at",
    )
    assert {"version", "run", "queue", "priority", "timeout", "exit_code", "tags", "due_at"} <= set(JOBS)
    assert DLQ[:6] == ("id", "command", "attempts", "last_error", "moved_at", "original_created_at")


def test_the_row_of_an_enqueued_job(store, clock):
    clock.advance(600_001)
    spec = a_spec("echo hi", queue="mail", priority=5, delay=1_500_000, timeout=2_500_000, tags={"b": "2", "a": "1"})
    add(store, Change("a", 0, [spec]))
    row = store.tables.job("a")
    assert row is not None
    assert tuple(row) == SHOWN_COLUMNS
    assert row == dict.fromkeys(SHOWN_COLUMNS) | {
        "waits": 0,
        "held": 0,
        "id": "a",
        "command": "echo hi",
        "state": "pending",
        "attempts": 0,
        "max_retries": 3,
        "next_run_at": T + 3,  # T + 0.600001 s + 1.5 s, up to the next whole second
        "due_at": START + 600_001 + 1_500_000,
        "stdout": "",
        "stderr": "",
        "created_at": T,  # whole seconds, down
        "updated_at": T,
        "version": 1,
        "run": 0,
        "queue": "mail",
        "priority": 5,
        "timeout": 2.5,
        "tags": '{"a":"1","b":"2"}',
        "position": 1,
    }


def test_next_run_at_is_never_before_due_at(store, clock):
    add(store, new("on-the-second"))
    clock.advance(1)
    add(store, new("just-after"), new("named", at=START + 5 * SECOND))
    assert [store.tables.job(job_id)["next_run_at"] for job_id in ("on-the-second", "just-after", "named")] == [
        T,
        T + 1,
        T + 5,
    ]


FAILED = {"exit_code": 1, "last_error": "exited with code 1: boom", "stderr": "boom\n", "duration": 1.0}
FREE = {"locked_at": None, "locked_by": None}
NOT_DUE = {"next_run_at": None, "due_at": None}


def due(second):
    return {"next_run_at": T + second, "due_at": START + second * SECOND}


MOVES = {
    "claimed": (
        [claimed()],
        {"state": "processing", "run": 1, "locked_at": T + 20, "locked_by": "w1", "attempts": 0, **NOT_DUE},
    ),
    "completed": (
        [claimed(), completed(stdout="out", duration=1_500_000)],
        {"state": "done", "attempts": 1, "exit_code": 0, "last_error": None, "stdout": "out", "duration": 1.5}
        | {"finished_at": T + 30, **FREE, **NOT_DUE},
    ),
    "retry_scheduled": (
        [claimed(), retried(stderr="boom\n", wait=2 * SECOND)],
        {"state": "pending", "attempts": 1, "finished_at": None, **FAILED, **FREE, **due(32)},
    ),
    "dead_lettered": (
        [claimed(), buried(stderr="boom\n")],
        {"state": "dlq", "attempts": 1, "finished_at": T + 30, **FAILED, **FREE, **NOT_DUE},
    ),
    "released": (
        [claimed(), e.Released(run=1, reason="stopping", stdout="half")],
        {"state": "pending", "attempts": 0, "run": 1, "stdout": "half", **FREE, **due(30)},
    ),
    "cancelled, pending": (
        [e.Cancelled()],
        {"state": "cancelled", "attempts": 0, "finished_at": T + 20, **FREE, **NOT_DUE},
    ),
    "cancel_requested": (
        [claimed(), e.CancelRequested(run=1, reason="why")],
        {"state": "processing", "cancel_requested": "why", "locked_by": "w1"},
    ),
    "cancelled, processing": (
        [claimed(), e.CancelRequested(run=1), e.Cancelled(run=1, stdout="half")],
        {"state": "cancelled", "cancel_requested": None, "stdout": "half", "finished_at": T + 40, **FREE, **NOT_DUE},
    ),
    "result_rejected": (
        [claimed(), e.ResultRejected(run=0, outcome="completed")],
        {"state": "processing", "run": 1, "attempts": 0, "locked_at": T + 20, "updated_at": T + 30, "version": 3},
    ),
    "requeued, done": (
        [claimed(), completed(), e.Requeued()],
        {"state": "pending", "attempts": 0, "run": 1, "finished_at": None, **FREE, **due(40)},
    ),
    "requeued, dlq": ([claimed(), buried(), e.Requeued()], {"state": "pending", "attempts": 0, "run": 1, **due(40)}),
    "requeued, cancelled": ([e.Cancelled(), e.Requeued()], {"state": "pending", **due(30)}),
    "requeued, purged": (
        [claimed(), buried(), e.Purged(), e.Requeued()],
        {"state": "pending", "attempts": 0, "run": 1, "version": 5, "created_at": T + 10, "position": 1, **due(50)},
    ),
    "second attempt": (
        [claimed(), retried(), claimed(2), completed(2)],
        {"state": "done", "attempts": 2, "run": 2, "exit_code": 0, "last_error": None, "version": 5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
def test_a_move_writes_its_columns(store, clock, move):
    events, expected = MOVES[move]
    follow(store, clock, "a", a_spec(), *events)
    row = store.tables.job("a")
    assert {name: row[name] for name in expected} == expected
    assert row["updated_at"] == T + 10 * len(events) + 10
    assert row["created_at"] == T + 10
    assert counts(store) == {("default", row["state"]): 1}


@pytest.mark.parametrize("move", MOVES)
def test_a_job_has_a_row_in_dlq_exactly_in_that_state(store, clock, move):
    events, expected = MOVES[move]
    follow(store, clock, "a", a_spec(), *events)
    assert [row["id"] for row in store.tables.dlq()] == (["a"] if expected["state"] == "dlq" else [])


def test_the_row_of_a_dead_letter(store, clock):
    follow(store, clock, "a", a_spec("false"), claimed(), buried(cause=e.Signalled(9)))
    expected = {
        "id": "a",
        "command": "false",
        "attempts": 1,
        "last_error": "ended by SIGKILL",
        "moved_at": T + 30,
        "original_created_at": T + 10,
        "signature": signature(e.Signalled(9)),
    }
    assert store.tables.dlq() == store.tables.dlq("a") == [expected]
    assert tuple(store.tables.dlq()[0]) == DLQ
    assert store.tables.dlq("b") == []


def test_dead_letters_are_listed_oldest_first(store, clock):
    for job_id in ("b", "c", "a"):
        follow(store, clock, job_id, a_spec(), claimed(), buried())
    assert [row["id"] for row in store.tables.dlq()] == ["b", "c", "a"]


@pytest.mark.parametrize("ending", [[claimed(), buried()], [claimed(), completed()], [e.Cancelled()]])
def test_purging_removes_rows_and_requeueing_adds_them(store, clock, ending):
    add(store, new("other"))
    follow(store, clock, "a", a_spec("echo hi", tags={"k": "v"}), *ending)
    row = store.tables.job("a")
    job = follow(store, clock, "a", e.Purged(reason="old"))
    assert job.state is State.PURGED
    assert (store.tables.job("a"), store.tables.dlq(), counts(store)) == (None, [], {("default", "pending"): 1})
    assert [found["id"] for found in store.tables.jobs(JobFilter())] == ["other"]
    follow(store, clock, "a", e.Requeued())
    kept = ("id", "command", "max_retries", "created_at", "position", "queue", "tags", "run")
    back = store.tables.job("a")
    assert {name: back[name] for name in kept} == {name: row[name] for name in kept}
    assert (back["state"], back["attempts"]) == ("pending", 0)
    assert counts(store) == {("default", "pending"): 2}


def test_many_jobs_in_one_batch_have_a_row_each(store):
    jobs = add(store, *(new(f"job-{i:03}", queue=f"q{i % 3}", priority=i % 2) for i in range(100)))
    add(store, *(more(job, claimed()) for job in jobs[:50]))
    add(store, *(more(store.log.load(job.id), buried()) for job in jobs[:25]))
    assert len(store.tables.jobs(JobFilter(limit=0))) == 100
    assert [row["id"] for row in store.tables.dlq()] == [f"job-{i:03}" for i in range(25)]
    assert sum(count.jobs for count in store.tables.counts()) == 100
    assert sum(count.jobs for count in store.tables.counts() if count.state is State.PROCESSING) == 25


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────


def test_counts_are_per_queue_and_state(store):
    jobs = add(store, new("a"), new("b", priority=3), new("c", queue="mail"), new("d", queue="mail"))
    add(store, more(jobs[2], claimed()))
    assert store.tables.counts() == [
        Count("default", State.PENDING, 2),
        Count("mail", State.PENDING, 1),
        Count("mail", State.PROCESSING, 1),
    ]


def test_a_count_of_zero_is_not_listed(store):
    [job] = add(store, new("a"))
    [job] = add(store, more(job, e.Cancelled()))
    assert store.tables.counts() == [Count("default", State.CANCELLED, 1)]
    add(store, more(job, e.Purged()))
    assert store.tables.counts() == []


# ── notes ───────────────────────────────────────────────────────────────────────────────────────────


def set_to(key, value):
    return e.SettingChanged(key=key, value=value)


def test_a_setting_is_the_last_value_of_its_key(store):
    add(store, note(store, SETTINGS_STREAM, set_to("lease", "1m"), set_to("grace", "5s"), set_to("lease", "2m")))
    assert store.tables.settings() == {"grace": "5s", "lease": "2m"}
    add(store, note(store, SETTINGS_STREAM, set_to("grace", None), set_to("never-set", None)))
    assert store.tables.settings() == {"lease": "2m"}


def test_a_pause_has_its_time_and_actor(store, clock):
    clock.advance(1_999_999)
    store.writer.append([note(store, queue_stream("mail"), e.QueuePaused())], "bob@box")
    add(store, note(store, queue_stream(PAUSE_ALL), e.QueuePaused()))
    assert store.tables.pauses() == {
        PAUSE_ALL: {"paused_at": T + 1, "paused_by": ACTOR},
        "mail": {"paused_at": T + 1, "paused_by": "bob@box"},
    }
    add(store, note(store, queue_stream(PAUSE_ALL), e.QueueResumed()))
    assert list(store.tables.pauses()) == ["mail"]


def test_a_queues_name_may_have_a_colon(store):
    add(store, note(store, queue_stream("eu:mail"), e.QueuePaused()))
    assert list(store.tables.pauses()) == ["eu:mail"]
    add(store, note(store, queue_stream("eu:mail"), e.QueueResumed()))
    assert store.tables.pauses() == {}


def test_notes_make_no_jobs(store):
    add(
        store,
        note(store, SETTINGS_STREAM, set_to("lease", "1m")),
        note(store, queue_stream("q"), e.QueuePaused()),
        note(store, "$worker:w1", e.WorkerStarted(host="box", pid=1, slots=2), e.WorkerStopped()),
    )
    assert (store.tables.jobs(JobFilter()), store.tables.counts(), store.tables.dlq()) == ([], [], [])
