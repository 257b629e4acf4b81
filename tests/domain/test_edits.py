"""Edits: a change of a job's promise, who may make it, and what it leaves as it was."""

import msgspec
import pytest

from queuectl.domain.amendment import amended, between, changed_fields
from queuectl.domain.commands import Amend, Requeue
from queuectl.domain.events import After, Amended, Cancelled, Changes, DependenciesMet, Requeued, StdinFile
from tests.domain.scenario import (
    HOUR,
    ID,
    SECOND,
    a_job,
    buried,
    cancel,
    claim,
    claimed,
    completed,
    enqueue,
    fails,
    given,
    retried,
)

MINUTE = 60 * SECOND


def edit(reason="", **changes) -> Amend:
    return Amend(ID, Changes(**changes), reason)


def change(**changes) -> Amended:
    return Amended(changes=Changes(**changes))


# ── pending jobs ────────────────────────────────────────────────────────────────────────────────────────


def test_a_pending_job_is_amended_and_stays_pending():
    job = given(a_job(timeout=5 * MINUTE)).when(edit("too short", timeout=HOUR))
    job = job.then(Amended(changes=Changes(timeout=HOUR), reason="too short"))
    job.is_now("pending", spec=a_job(timeout=HOUR), original=a_job(timeout=5 * MINUTE), attempts=0, run=0)


def test_an_edit_needs_no_reason():
    given(a_job()).when(Amend(ID, Changes(priority=5))).then(Amended(changes=Changes(priority=5), reason=""))


def test_a_job_that_waits_for_a_retry_keeps_its_wait():
    job = given(a_job(), claimed(), retried())
    due_at = job.job.due_at
    job.when(edit(priority=5)).then(change(priority=5)).is_now("pending", attempts=1, due_at=due_at)


def test_the_original_is_the_first_promise_after_several_edits():
    job = given(a_job(), change(priority=1), change(priority=2), change(queue="mail"))
    job.is_now("pending", spec=a_job(priority=2, queue="mail"), original=a_job())
    assert job.job.promised == a_job()


@pytest.mark.parametrize("changes", [{}, {"priority": 0}, {"timeout": 0}, {"argv": ()}])
def test_an_edit_that_changes_nothing_writes_nothing(changes):
    given(a_job()).when(edit(**changes)).nothing()


def test_a_new_delay_counts_from_the_edit():
    job = given(a_job(delay=20 * HOUR)).when(edit(delay=MINUTE)).then(change(delay=MINUTE))
    edited_at = job.now - SECOND
    job.is_now("pending", due_at=edited_at + MINUTE, waits_from=edited_at)


def test_a_new_time_replaces_the_delay_and_has_no_wait():
    at = 10**18
    job = given(a_job(delay=HOUR)).when(edit(delay=0, at=at)).then(change(delay=0, at=at))
    job.is_now("pending", due_at=at, waits_from=None, spec=a_job(at=at))


def test_now_makes_a_job_due_at_once():
    job = given(a_job(at=10**18)).when(edit(delay=0)).then(change(delay=0))
    job.is_now("pending", due_at=job.now - SECOND, spec=a_job())


def test_fewer_retries_than_attempts_end_with_the_next_failure():
    job = given(a_job(max_retries=5), claimed(), retried(), claimed(2), retried(2, 4 * SECOND), change(max_retries=0))
    job.and_then(claimed(3)).when(fails(3)).then(buried(3)).is_now("dlq", attempts=3)


# ── other jobs ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_running_job_is_not_edited():
    given(a_job(), claimed()).when(edit(timeout=1)).refused(
        "processing", f"(cancel it, or `queuectl retry {ID} --set FIELD=VALUE` when it has ended)"
    )


@pytest.mark.parametrize("end", [completed(), buried()])
def test_an_ended_job_is_not_edited_but_retried_with_changes(end):
    job = given(a_job(), claimed(), end)
    job.when(edit(timeout=1)).refused(
        f"only a pending job can be edited (`queuectl retry {ID} --set FIELD=VALUE` changes it and runs it again)"
    )
    job = job.when(Requeue(ID, "fixed", changes=Changes(timeout=HOUR)))
    job = job.then(Amended(changes=Changes(timeout=HOUR), reason="fixed"), Requeued(reason="fixed"))
    job.is_now("pending", attempts=0, spec=a_job(timeout=HOUR), original=a_job())


def test_a_retry_with_the_same_values_is_only_requeued():
    given(a_job(), claimed(), completed()).when(Requeue(ID, changes=Changes(priority=0))).then(Requeued())


def test_a_requeued_job_waits_for_its_delay():
    job = given(a_job(), claimed(), buried()).when(Requeue(ID, delay=MINUTE)).then(Requeued(delay=MINUTE))
    job.is_now("pending", due_at=job.now - SECOND + MINUTE, waits_from=job.now - SECOND)
    job.when(claim()).refused("not due yet")


def test_a_cancelled_job_that_is_requeued_to_wait_has_no_due_time():
    job = given(a_job(delay=HOUR), Cancelled(), change(after=(After("x"),)), Requeued())
    job.is_now("pending", due_at=None, waits_from=None)


def test_a_retry_that_is_refused_changes_nothing():
    given(a_job()).when(Requeue(ID, changes=Changes(timeout=1))).refused("pending")
    given(a_job(unique="k"), claimed(), buried()).when(Requeue(ID, changes=Changes(timeout=1)), holder="b").refused("b")


# ── what stays as it was ────────────────────────────────────────────────────────────────────────────────


def test_the_same_enqueue_compares_with_the_first_promise():
    job = given(a_job(priority=1), change(priority=9))
    job.when(enqueue(a_job(priority=1))).nothing()
    job.when(enqueue(a_job(priority=9))).refused("different priority")


def test_a_cancelled_job_keeps_its_changes():
    given(a_job(), change(priority=9)).when(cancel()).decided()
    given(a_job(), change(priority=9), claimed(), completed()).is_now("done", spec=a_job(priority=9))


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────────

SPECS = [
    a_job(),
    a_job(priority=3, queue="mail", max_retries=0, timeout=HOUR, cwd="/x", env={"A": "1"}, tags={"t": "1"}),
    a_job(argv=("true",), command="true", retry_wait=MINUTE, jitter=True, merge_output=True, umask=0o77),
    a_job(stdin=StdinFile("/a", "00")),
    a_job(stdin=StdinFile("/a", "11"), priority=1),
    a_job(backoff_base=3.0, backoff_cap=HOUR, secret_env=("TOKEN",), env={}),
]


@pytest.mark.parametrize("old", SPECS)
@pytest.mark.parametrize("new", SPECS)
def test_the_changes_between_two_promises_make_one_the_other(old, new):
    assert amended(old, between(old, new)) == new
    assert (between(old, new) == Changes()) is (old == new)
    assert (changed_fields(old, between(old, new)) == []) is (old == new)


def test_the_same_dependencies_are_no_change():
    job = given(a_job(after=(After("build"),)))
    job.when(Amend(ID, Changes(after=(After("build"),), priority=5))).then(Amended(changes=Changes(priority=5)))


def test_changes_hold_only_what_is_changed():
    assert msgspec.json.encode(Changes(delay=0, priority=1)) == b'{"delay":0,"priority":1}'
    with pytest.raises(msgspec.ValidationError, match="priorty"):
        msgspec.json.decode(b'{"priorty":1}', type=Changes)
    with pytest.raises(TypeError):
        Changes(1)
    with pytest.raises(AttributeError):
        Changes().priority = 1


def test_a_new_command_has_no_arguments():
    assert amended(a_job(argv=("true",)), Changes(command="false")).argv == ()


def test_a_new_base_replaces_a_fixed_wait():
    assert amended(a_job(retry_wait=MINUTE), Changes(backoff_base=2.0)).retry_wait is None


def test_a_timeout_of_0_is_none():
    assert amended(a_job(timeout=HOUR), Changes(timeout=0)).timeout is None


def test_dependencies_that_are_edited_decide_when_the_job_is_due():
    wait = (After("build"),)
    late = given(a_job(delay=HOUR))
    state = late.job
    assert state is not None
    assert state.due_at is not None
    late.when(edit(after=wait)).then(change(after=wait, delay=0, at=state.due_at))
    given(a_job(at=late.now)).when(edit(after=wait)).then(change(after=wait))
    given(a_job(at=late.now + 1)).when(edit(after=wait)).then(change(after=wait, delay=0, at=late.now + 1))
    waiting = given(a_job(delay=MINUTE, after=wait))
    waiting.when(edit(after=())).then(change(after=(), delay=MINUTE))
    given(a_job(after=wait)).when(edit(after=wait)).then()
    given(a_job()).when(edit(after=())).then()
    given(a_job(after=wait), DependenciesMet(by=1)).when(edit(after=wait)).then(change(after=wait))
