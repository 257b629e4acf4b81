"""The rules for a job: retries, cancelling, running again, unique keys, adding it once."""

import pytest

from queuectl.domain.commands import Cancel, Exit, Purge, Report, Requeue, decide
from queuectl.domain.events import (
    Cancelled,
    CancelRequested,
    Exited,
    LostWorker,
    NotStarted,
    Purged,
    Released,
    Requeued,
    ResultRejected,
    Signalled,
    TimedOut,
)
from queuectl.errors import NoSuchJobError, RefusedError
from tests.domain.scenario import (
    FAILED,
    HOUR,
    ID,
    SECOND,
    START,
    a_job,
    buried,
    cancel,
    claim,
    claimed,
    completed,
    enqueue,
    fails,
    failures,
    given,
    loses_its_worker,
    purge,
    release,
    requeue,
    retried,
    succeeds,
)

# ── retries ─────────────────────────────────────────────────────────────────────────────────────────────


def attempts_until_buried(max_retries):
    job = given(a_job(max_retries=max_retries))
    for run in range(1, 100):
        events = job.and_then(claimed(run)).when(fails(run)).decided()
        job = job.and_then(claimed(run), *events)
        if job.job.state == "dlq":
            return run, job.job.attempts
    return None


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 2), (3, 4), (10, 11)])
def test_max_retries_may_follow_the_first_attempt(max_retries, attempts):
    assert attempts_until_buried(max_retries) == (attempts, attempts)


def test_retries_wait_2_4_and_8_seconds_then_the_job_is_dead():
    job = given(a_job(max_retries=3))
    for run, wait in [(1, 2), (2, 4), (3, 8)]:
        job = job.and_then(claimed(run)).when(fails(run)).then(retried(run, wait * SECOND))
        failed_at = job.now - SECOND
        job.is_now("pending", attempts=run, due_at=failed_at + wait * SECOND)
    job.and_then(claimed(4)).when(fails(4)).then(buried(4)).is_now("dlq", attempts=4, due_at=None)


def test_a_job_whose_last_attempt_succeeds_is_done():
    given(a_job(max_retries=1), *failures(1), claimed(2)).when(succeeds(2)).then(completed(2)).is_now(
        "done", attempts=2
    )


@pytest.mark.parametrize(
    "cause", [Exited(3), Signalled(9), TimedOut(SECOND), NotStarted("no such file"), LostWorker("w1")]
)
def test_every_cause_costs_an_attempt_and_is_recorded(cause):
    wait = 0 if isinstance(cause, LostWorker) else 2 * SECOND
    given(a_job(), claimed()).when(fails(cause=cause)).then(retried(cause=cause, wait=wait)).is_now(
        "pending", attempts=1
    )
    given(a_job(max_retries=0), claimed()).when(fails(cause=cause)).then(buried(cause=cause)).is_now("dlq", attempts=1)


def test_a_lost_worker_costs_an_attempt_without_a_wait():
    job = given(a_job(max_retries=1, jitter=True), claimed()).when(loses_its_worker())
    job = job.then(retried(wait=0, cause=LostWorker("w1")))
    job.is_now("pending", attempts=1, due_at=job.now - SECOND)


def test_a_job_that_kills_every_worker_ends_in_the_dlq():
    job = given(a_job(max_retries=2))
    for run in (1, 2):
        job = job.and_then(claimed(run)).when(loses_its_worker(run)).then(retried(run, 0, LostWorker("w1")))
    job.and_then(claimed(3)).when(loses_its_worker(3)).then(buried(3, LostWorker("w1"))).is_now("dlq", attempts=3)


def test_the_next_wait_counts_the_attempt_of_a_lost_worker():
    given(a_job(), claimed(), retried(cause=LostWorker("w1"), wait=0), claimed(2)).when(fails(2)).then(
        retried(2, 4 * SECOND)
    )


def test_a_release_costs_no_attempt_and_no_wait():
    job = given(a_job(max_retries=0), claimed()).when(release(duration=5, stdout="half"))
    job = job.then(Released(run=1, reason="stopping", duration=5, stdout="half"))
    job.is_now("pending", attempts=0, run=1, due_at=job.now - SECOND, claim=None, stdout="half")
    job.when(claim()).then(claimed(2)).when(fails(2)).then(buried(2)).is_now("dlq", attempts=1)


def test_a_job_that_is_given_back_keeps_its_place():
    job = given(a_job(), claimed()).and_then(Released(run=1, reason="its worker had no free slot for it", due_at=7))
    job.is_now("pending", due_at=7, attempts=0)


def test_a_runs_output_is_recorded_with_its_end():
    said = {"duration": 7, "stdout": "out", "stderr": "err"}
    given(a_job(), claimed()).when(succeeds(**said)).then(completed(**said)).is_now("done", exit_code=0, **said)
    given(a_job(), claimed()).when(fails(**said)).then(retried(**said)).is_now("pending", exit_code=1, **said)
    last = given(a_job(max_retries=0), claimed())
    last.when(fails(**said)).then(buried(**said)).is_now("dlq", exit_code=1, **said)


def test_the_output_of_a_lost_workers_run_is_recorded():
    left = {"cause": LostWorker("w1"), "duration": 7, "stdout": "out", "stderr": "err"}
    given(a_job(), claimed()).when(fails(**left)).then(retried(wait=0, **left)).is_now("pending", stdout="out")
    given(a_job(max_retries=0), claimed()).when(fails(**left)).then(buried(**left)).is_now("dlq", stderr="err")


# ── claiming ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_has_the_number_of_its_run_and_its_worker():
    given(a_job(), *failures(2)).later(HOUR).when(claim("w9")).then(claimed(3, "w9")).is_now(
        "processing", run=3, attempts=2, claim=claimed(3, "w9"), due_at=None
    )


@pytest.mark.parametrize(
    ("promises", "due_at"),
    [
        ({}, START),
        ({"delay": 5 * SECOND}, START + 5 * SECOND),
        ({"at": START + HOUR}, START + HOUR),
        ({"at": START - HOUR}, START - HOUR),
    ],
)
def test_a_job_cannot_be_claimed_a_microsecond_too_early(promises, due_at):
    job = given(a_job(**promises)).is_now("pending", due_at=due_at)
    job.later(due_at - job.now).when(claim()).then(claimed())
    job.later(due_at - job.now - 1).when(claim()).refused("job j", "not due yet")


# ── calling off ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_pending_job_is_cancelled_at_once():
    given(a_job()).when(cancel("typo")).then(Cancelled(reason="typo")).is_now("cancelled", due_at=None)


def test_cancelling_a_running_job_records_a_request():
    given(a_job(), claimed()).when(cancel("typo")).then(CancelRequested(run=1, reason="typo")).is_now(
        "processing", cancel_requested="typo", claim=claimed()
    )


def test_cancelling_twice_has_no_further_effect():
    asked = given(a_job(), claimed(), CancelRequested(run=1, reason="first"))
    asked.when(cancel("second")).nothing().is_now("processing", cancel_requested="first")
    given(a_job(), Cancelled()).when(cancel()).refused("job j is cancelled", "cannot cancel it")


@pytest.mark.parametrize("reason", ["", "typo"])
def test_a_run_that_fails_after_a_cancel_request_is_cancelled(reason):
    asked = given(a_job(max_retries=0), claimed(), CancelRequested(run=1, reason=reason))
    said = {"duration": 9, "stdout": "o", "stderr": "e"}
    for command in (fails(**said), fails(cause=Signalled(15), **said), fails(cause=LostWorker("w1"), **said)):
        ended = asked.when(command).then(Cancelled(reason=reason, run=1, **said))
        ended.is_now("cancelled", attempts=0, claim=None, cancel_requested=None, stdout="o")
    asked.when(release()).then(Cancelled(reason=reason, run=1))


def test_a_completion_after_a_cancel_request_wins():
    given(a_job(), claimed(), CancelRequested(run=1)).when(succeeds()).then(completed()).is_now(
        "done", attempts=1, cancel_requested=None
    )


def test_a_cancel_request_is_for_one_run_only():
    done = given(a_job(), claimed(), CancelRequested(run=1), completed())
    again = done.when(requeue()).then(Requeued()).when(claim()).then(claimed(2))
    again.is_now("processing", cancel_requested=None).when(fails(2)).then(retried(2))


# ── running again ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "ending",
    [[buried(3)], [completed(3)], [Cancelled(run=3)], [buried(3), Purged()]],
    ids=["dlq", "done", "cancelled", "purged"],
)
def test_a_requeue_resets_the_attempts_but_not_the_runs(ending):
    job = given(a_job(max_retries=2), *failures(2), claimed(3), *ending).when(requeue("repaired"))
    job = job.then(Requeued(reason="repaired"))
    job.is_now("pending", attempts=0, run=3, due_at=job.now - SECOND, finished_at=None, claim=None)
    job.when(claim()).then(claimed(4)).when(fails(4)).then(retried(4, 2 * SECOND)).is_now("pending", attempts=1, run=4)


def test_the_result_of_a_run_before_a_requeue_is_fenced():
    given(a_job(), claimed(), completed(), Requeued(), claimed(2)).when(succeeds(1)).then(
        ResultRejected(run=1, outcome="completed")
    )


def test_a_purged_job_can_only_be_requeued():
    purged = given(a_job(), Cancelled()).when(purge("old")).then(Purged(reason="old")).is_now("purged", due_at=None)
    purged.when(purge()).refused("job j is purged", "can only be retried")
    purged.when(requeue()).then(Requeued()).is_now("pending")


# ── unique keys ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_whose_key_is_taken_is_not_added():
    given().when(enqueue(unique="k"), holder="other").nothing()
    given().when(enqueue(unique="k")).then(a_job(unique="k")).is_now("pending")


def test_requeueing_against_the_holder_of_its_key_is_refused():
    done = given(a_job(unique="k"), claimed(), completed())
    done.when(requeue(), holder="other").refused("job j", "unique key", "other")
    done.when(requeue()).then(Requeued())


def test_an_illegal_requeue_is_reported_before_a_taken_key():
    given(a_job(unique="k")).when(requeue(), holder="other").refused("job j is pending", "cannot retry it")


# ── adding ──────────────────────────────────────────────────────────────────────────────────────────────


def test_adding_the_same_job_again_adds_nothing():
    spec = {"env": {"A": "1"}, "tags": {"b": "2"}, "argv": ("true",), "unique": "k", "delay": SECOND}
    added = given().when(enqueue(**spec)).then(a_job(**spec))
    added.when(enqueue(**spec)).nothing()
    added.and_then(Cancelled(), Purged()).when(enqueue(**spec)).nothing().is_now("purged")


@pytest.mark.parametrize(
    "other", [{"command": "false"}, {"priority": 1}, {"max_retries": 4}, {"env": {"A": "1"}}, {"backoff_base": 3.0}]
)
def test_an_id_is_never_used_again_for_another_job(other):
    for life in ([a_job()], [a_job(), Cancelled(), Purged()]):
        given(*life).when(enqueue(**other)).refused("the id j is taken")


@pytest.mark.parametrize("command", [claim(), succeeds(), fails(), release(), cancel(), requeue(), purge()], ids=repr)
def test_a_command_for_an_unknown_job_is_refused(command):
    given().when(command).refused("no such job: j", error=NoSuchJobError)


# ── what is said, and what is not ───────────────────────────────────────────────────────────────────────

REFUSALS = {
    "never was": ([], cancel(), "no such job: j (`queuectl list` lists the jobs)"),
    "id": (
        [a_job()],
        enqueue(command="false"),
        "the id j is taken by a job with a different command (`queuectl show j`)",
    ),
    "purged id": (
        [a_job(), Cancelled(), Purged()],
        enqueue(command="false"),
        "the id j is taken by a job with a different command (`queuectl history j`)",
    ),
    "early": ([a_job(delay=HOUR)], claim(), "job j is not due yet"),
    "move": ([a_job()], purge(), "job j is pending: cannot purge it, a pending job can only be cancelled"),
}


@pytest.mark.parametrize(("life", "command", "line"), REFUSALS.values(), ids=REFUSALS)
def test_each_refusal_word_for_word(life, command, line):
    with pytest.raises((RefusedError, NoSuchJobError)) as caught:
        given(*life).when(command).decided()
    assert str(caught.value) == line


def test_the_refusal_against_a_holder_word_for_word():
    with pytest.raises(RefusedError) as caught:
        given(a_job(), Cancelled()).when(requeue(), holder="k").decided()
    assert str(caught.value) == "job j: its unique key is held by the live job k"


def test_without_a_reason_none_is_recorded():
    cancelled = given(a_job()).when(Cancel(ID)).then(Cancelled(reason=""))
    cancelled.when(Requeue(ID)).then(Requeued(reason=""))
    cancelled.when(Purge(ID)).then(Purged(reason=""))


def test_a_report_without_a_random_number_has_no_jitter():
    given(a_job(jitter=True), claimed()).when(Report(ID, 1, Exit(FAILED))).then(retried(wait=0, jitter=0.0))


def test_deciding_is_pure():
    job = given(a_job(jitter=True), *failures(1), claimed(2))
    command = fails(2, jitter=0.3)
    assert decide(command, job.job, job.now) == decide(command, job.job, job.now)
    job.is_now("processing", run=2, attempts=1)


@pytest.mark.parametrize("cause", [None, Exited(1)])
def test_an_end_says_how_many_processes_were_left_behind(cause):
    job = given(a_job(), claimed(1))
    (event,) = job.when(Report(ID, 1, Exit(cause, left_behind=2))).decided()
    assert event.left_behind == 2
