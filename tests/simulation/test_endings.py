"""How one run ends, in virtual time: by itself, by its timeout, by a cancel, by stopping its worker."""

from itertools import pairwise

import pytest

from queuectl.domain.events import Cancelled, Exited, NotStarted, Released, RetryScheduled, Signalled, TimedOut
from tests.simulation.driver import Driver
from tests.simulation.world import FOR_EVER, SECOND, Script, WorkerProcess

STUBBORN = Script(lasts=FOR_EVER, obeys=None)
OBEDIENT = Script(lasts=FOR_EVER, obeys=SECOND // 2)


def signals(driver: Driver, job_id: str, run: int = 1) -> list[tuple[str, float]]:
    """The signals that the run's command got, with the seconds since it started (to the hundredth)."""
    process = driver.world.runs[job_id, run]
    return [(number.name, round((at - process.started) / SECOND, 2)) for number, at in process.signals]


def lasted(driver: Driver, job_id: str, run: int = 1) -> float:
    """The seconds for which the run's command lived (to the hundredth)."""
    process = driver.world.runs[job_id, run]
    return round((process.ends - process.started) / SECOND, 2)


def test_a_command_that_ends_by_itself_is_recorded_at_once() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", Script(lasts=2 * SECOND))
    driver.run(3)
    records = driver.records("a")
    assert [record.type for record in records] == ["enqueued", "claimed", "completed"]
    assert records[2].recorded_at - records[1].recorded_at < 2 * SECOND + 20_000


def test_each_end_is_an_attempt_with_its_own_cause() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", Script(cause=Exited(3)), Script(cause=Signalled(9)), Script(why_not="No such file"), Script())
    driver.run(60)
    causes = [record.event.cause for record in driver.records("a") if isinstance(record.event, RetryScheduled)]
    assert causes == [Exited(3), Signalled(9), NotStarted("No such file")]
    assert driver.state("a") == "done"


def test_retries_wait_longer_each_time_and_then_the_job_is_buried() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", Script(lasts=1000, cause=Exited(1)), max_retries=3)
    driver.run(60)
    claims = [record.recorded_at for record in driver.records("a") if record.type == "claimed"]
    assert [round((b - a) / SECOND, 1) for a, b in pairwise(claims)] == [2, 4, 8]
    assert driver.history("a")[-1] == "dead_lettered"


def test_a_timeout_is_sigterm_then_grace_then_sigkill() -> None:
    driver = Driver()
    driver.add_worker(grace=10 * SECOND)
    driver.enqueue("a", STUBBORN, timeout=5 * SECOND, max_retries=0)
    driver.run(30)
    assert signals(driver, "a") == [("SIGTERM", 5.0), ("SIGKILL", 15.0)]
    assert driver.records("a")[-1].event.cause == TimedOut(5 * SECOND)


def test_a_command_that_obeys_its_timeout_is_not_killed() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", OBEDIENT, timeout=5 * SECOND, max_retries=0)
    driver.run(30)
    assert signals(driver, "a") == [("SIGTERM", 5.0)]
    assert driver.state("a") == "dlq"


def test_a_command_that_exits_0_at_its_timeout_has_still_timed_out() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", Script(lasts=FOR_EVER, signalled=None), timeout=SECOND, max_retries=0)
    driver.run(30)
    assert driver.records("a")[-1].event.cause == TimedOut(SECOND)


def test_the_timeout_counts_from_the_start_of_the_command() -> None:
    """The timeout does not count from the start of the tick, which can be much earlier than the command's start."""
    driver = Driver()
    driver.enqueue("a", OBEDIENT, timeout=5 * SECOND)
    driver.add_worker()
    slow = iter([4 * SECOND])
    driver.fault = lambda process, point: driver.clock.advance(next(slow, 0)) if point == "begin" else None
    driver.run(4.5)
    driver.run(6)
    assert lasted(driver, "a") >= 5


def test_a_job_due_during_a_slow_round_is_not_delayed() -> None:
    driver = Driver()
    driver.add_worker(grace=2 * SECOND, lease=30 * SECOND)
    driver.enqueue("a", STUBBORN, timeout=3 * SECOND, max_retries=0)
    driver.run(2)
    slow = iter([4 * SECOND])
    driver.fault = lambda process, point: driver.clock.advance(next(slow, 0)) if point == "processing" else None
    driver.run(20)
    [(_, signalled), (_, killed)] = signals(driver, "a")
    assert signalled < 6.5
    assert killed < signalled + 2.1


def test_a_background_process_gets_sigterm_and_then_sigkill() -> None:
    driver = Driver()
    driver.add_worker(grace=10 * SECOND)
    driver.enqueue("a", Script(background=FOR_EVER, background_obeys=False))
    driver.run(5)
    assert driver.state("a") == "done"
    [left] = driver.world.living("a")
    driver.run(10)
    assert [number.name for number, _ in left.signals] == ["SIGTERM", "SIGKILL"]
    assert not driver.world.is_locked("a")


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────────


def test_cancelling_a_running_job_ends_its_command_first() -> None:
    driver = Driver()
    driver.add_worker(grace=2 * SECOND)
    driver.enqueue("a", STUBBORN)
    driver.run(3)
    driver.user.cancel(["a"], "no longer needed")
    driver.run(1)
    assert driver.history("a")[-1] == "cancel_requested"
    driver.run(3)
    assert signals(driver, "a") == [("SIGTERM", 3.0), ("SIGKILL", 5.0)]
    event = driver.records("a")[-1].event
    assert isinstance(event, Cancelled)
    assert (event.run, event.reason) == (1, "no longer needed")


def test_a_cancelled_command_that_exits_0_because_of_it_is_cancelled() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", Script(lasts=FOR_EVER, signalled=None))
    driver.run(3)
    driver.user.cancel(["a"])
    driver.run(1)
    assert driver.history("a")[-2:] == ["cancel_requested", "cancelled"]


def test_a_completion_before_the_cancel_is_handled_wins() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", Script(lasts=SECOND // 2))
    driver.run(0.3)
    driver.shared.wake = lambda: None
    driver.user.cancel(["a"])
    driver.run(1)
    assert driver.history("a")[-2:] == ["cancel_requested", "completed"]


def test_cancelling_a_pending_job_needs_no_worker() -> None:
    driver = Driver()
    driver.enqueue("a")
    driver.user.cancel(["a"])
    driver.add_worker()
    driver.run(3)
    assert driver.history("a") == ["enqueued", "cancelled"]


# ── stop ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_stop_finishes_what_runs_and_claims_no_more() -> None:
    driver = Driver()
    process = driver.add_worker()
    driver.enqueue("a", Script(lasts=5 * SECOND))
    driver.enqueue("b")
    driver.run(1)
    process.worker.stop()
    driver.run(30)
    assert not process.alive
    assert (driver.state("a"), driver.state("b")) == ("done", "pending")
    assert not driver.world.runs["a", 1].signals
    assert driver.store.workers.rows() == []


def test_the_second_stop_ends_what_runs_and_releases_it() -> None:
    driver = Driver()
    process = driver.add_worker(grace=2 * SECOND)
    driver.enqueue("a", STUBBORN)
    driver.run(1)
    process.worker.stop()
    driver.run(1)
    process.worker.stop()
    process.wants = driver.clock.monotonic()
    driver.run(10)
    assert signals(driver, "a") == [("SIGTERM", 2.0), ("SIGKILL", 4.0)]
    assert isinstance(driver.records("a")[-1].event, Released)
    job = driver.store.log.load("a")
    assert job is not None
    assert (job.state, job.attempts, job.run) == ("pending", 0, 1)
    assert not process.alive


def test_after_the_stop_timeout_what_runs_is_put_back() -> None:
    driver = Driver()
    process = driver.add_worker(slots=4, grace=10 * SECOND, stop_timeout=8 * SECOND)
    driver.enqueue("stubborn", STUBBORN)
    driver.enqueue("obedient", OBEDIENT)
    driver.enqueue("timed out", STUBBORN, timeout=5 * SECOND, max_retries=0)
    driver.enqueue("short", Script(lasts=5 * SECOND))
    driver.run(1)
    process.worker.stop()
    process.wants = driver.clock.monotonic()
    driver.run(7.9)
    assert process.alive
    driver.run(2)
    assert not process.alive
    assert signals(driver, "stubborn") == [("SIGTERM", 9.0), ("SIGKILL", 10.0)]
    assert signals(driver, "timed out") == [("SIGTERM", 5.0), ("SIGKILL", 10.0)], "its grace is shortened too"
    assert {name: driver.history(name)[-1] for name in ("stubborn", "obedient", "timed out", "short")} == {
        "stubborn": "released",
        "obedient": "released",
        "timed out": "dead_lettered",
        "short": "completed",
    }
    job = driver.store.log.load("stubborn")
    assert job is not None
    assert job.attempts == 0


def test_a_worker_is_stopped_from_another_terminal() -> None:
    driver = Driver()
    process = driver.add_worker()
    driver.enqueue("a", OBEDIENT)
    driver.run(1)
    for level in (1, 2):
        assert driver.user.store.workers.ask_to_stop(process.row.name, level)
        driver.run(6)
    assert driver.history("a")[-1] == "released"
    assert not process.alive


def test_a_command_that_ended_before_the_second_stop_is_not_repeated() -> None:
    driver = Driver()
    process = driver.add_worker()
    driver.enqueue("a", Script(lasts=SECOND))
    driver.run(0.5)
    process.worker.stop()
    driver.clock.advance(SECOND)
    process.worker.stop()
    driver.run(10)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]


def test_each_jobs_leftovers_have_their_own_grace_period() -> None:
    driver = Driver()
    driver.add_worker(grace=10 * SECOND, slots=2)
    driver.enqueue("a", Script(background=FOR_EVER, background_obeys=False))
    driver.enqueue("b", Script(lasts=9 * SECOND, background=FOR_EVER, background_obeys=False))
    driver.run(15)
    assert driver.history("b")[-1] == "completed"
    assert not driver.world.living("a")
    assert driver.world.living("b"), "killed at the end of the first one's grace period"
    assert driver.run_until(lambda: not driver.world.living("b"), 10)


def test_a_worker_that_has_to_end_kills_also_what_is_in_no_slot() -> None:
    """The command was started, and then an unexpected error occurred."""
    driver = Driver()
    process = driver.add_worker()
    driver.enqueue("a", STUBBORN)

    def fault(_: WorkerProcess | None, point: str) -> None:
        if point == "started":
            raise MemoryError

    driver.fault = fault
    with pytest.raises(MemoryError):
        driver.run(1)
    assert driver.world.living("a")
    assert not process.worker.slots
    process.worker.kill()
    assert not driver.world.living("a")
