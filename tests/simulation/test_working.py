"""Which jobs a worker claims and when it ends, in virtual time: slots, queues, pauses, drain, once."""

import logging
from itertools import pairwise

import pytest

from queuectl.domain.events import After, Exited
from queuectl.domain.names import PAUSE_ALL
from queuectl.runtime import LogClock
from tests.simulation.driver import Driver
from tests.simulation.world import FOR_EVER, SECOND, Script

FAILING = Script(lasts=SECOND, cause=Exited(1))


def running(driver: Driver) -> list[str]:
    """The jobs whose command runs."""
    return sorted({job_id for job_id, _ in driver.world.runs if driver.world.living(job_id)})


def test_a_worker_runs_no_more_commands_than_slots() -> None:
    driver = Driver()
    driver.add_worker(slots=2)
    for job_id in "abc":
        driver.enqueue(job_id, Script(lasts=5 * SECOND))
    driver.run(1)
    assert running(driver) == ["a", "b"]
    driver.run(5)
    assert running(driver) == ["c"]


def test_two_workers_never_run_a_job_twice() -> None:
    driver = Driver()
    driver.add_worker(slots=3)
    driver.add_worker(slots=3)
    for job_id in "abcdefgh":
        driver.enqueue(job_id)
    driver.run(10)
    assert [driver.history(job_id) for job_id in "abcdefgh"] == [["enqueued", "claimed", "completed"]] * 8


def test_a_worker_takes_from_its_queues_alone() -> None:
    driver = Driver()
    driver.add_worker(queues=frozenset({"mail"}))
    driver.enqueue("a", queue="mail")
    driver.enqueue("b", queue="slow")
    driver.run(10)
    assert (driver.state("a"), driver.state("b")) == ("done", "pending")


def test_a_start_that_the_machine_refuses_costs_no_attempt() -> None:
    driver = Driver()
    driver.add_worker(slots=2, drain=True)
    full = Script(shortage="Resource temporarily unavailable")
    driver.enqueue("a", full, full, full, Script())
    driver.enqueue("b", full, full, full, Script())
    driver.run(20)
    for job_id in "ab":
        assert driver.history(job_id) == ["enqueued", *["claimed", "released"] * 3, "claimed", "completed"]
        waits = [record.recorded_at for record in driver.records(job_id) if record.type == "claimed"]
        assert [round((b - a) / SECOND) for a, b in pairwise(waits)] == [1, 2, 4]


def test_a_job_is_claimed_when_it_is_due_and_not_before() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", delay=7 * SECOND)
    driver.run(20)
    enqueued, claimed, _ = driver.records("a")
    assert 7 * SECOND <= claimed.recorded_at - enqueued.recorded_at < 7 * SECOND + 10_000


def test_a_wall_clock_that_is_set_back_delays_nothing() -> None:
    driver = Driver()
    driver.add_worker()
    driver.enqueue("a", FAILING, Script())
    driver.run(2)
    driver.clock.jumped = -3600 * SECOND
    driver.run(10)
    assert driver.state("a") == "done"


def test_a_worker_warns_once_of_a_log_that_is_ahead(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    driver = Driver()
    driver.clock.jumped = 3600 * SECOND
    driver.enqueue("a")
    driver.clock.jumped = 0
    driver.add_worker()
    driver.run(60)
    assert driver.state("a") == "done"
    [said] = [record.getMessage() for record in caplog.records]
    assert "1h ahead of the clock: a clock was wrong when it was recorded, or is wrong now (`queuectl doctor`)" in said


@pytest.mark.parametrize("ahead", [7200 * SECOND, 400 * 86_400 * SECOND])
def test_short_lived_workers_serve_a_wait_of_a_clock_ahead(ahead: int) -> None:
    """`run --once` every few seconds: no process lives as long as the wait."""
    driver = Driver()
    driver.clock.jumped = ahead
    driver.enqueue("a", delay=20 * SECOND)
    driver.clock.jumped = 0
    for moment in range(0, 28, 7):
        assert driver.history("a") == ["enqueued"]
        driver.store.log.clock = LogClock(driver.clock)  # each is a new process
        process = driver.add_worker(once=True)
        driver.run(7)
        assert not process.alive
        assert (driver.state("a") == "done") is (moment >= 20)


def test_a_paused_queue_starts_no_job_until_it_is_resumed() -> None:
    driver = Driver()
    driver.add_worker()
    driver.user.pause("mail")
    driver.enqueue("a", queue="mail")
    driver.enqueue("b")
    driver.run(10)
    assert (driver.state("a"), driver.state("b")) == ("pending", "done")
    driver.user.resume("mail")
    driver.run(3)
    assert driver.state("a") == "done"


def test_a_pause_also_stops_a_worker_with_cached_due_times() -> None:
    driver = Driver()
    driver.add_worker()
    for job_id in "abcd":
        driver.enqueue(job_id, Script(lasts=2_000))
    driver.run(0.003)
    driver.user.pause()
    before = driver.store.log.head().position
    driver.run(10)
    assert "claimed" not in [record.type for record in driver.store.log.records(after=before)]


def test_a_blocked_due_job_does_not_make_workers_spin() -> None:
    driver = Driver()
    driver.add_worker(grace=10 * SECOND)
    driver.add_worker(grace=10 * SECOND)
    driver.enqueue("a", Script(cause=Exited(1), background=FOR_EVER, background_obeys=False))
    driver.run(4)
    ticks = []
    driver.fault = lambda process, point: ticks.append(point) if point == "ended" else None
    driver.run(5)
    assert driver.state("a") == "pending"
    assert len(ticks) < 2 * 5 * 30
    driver.fault = lambda process, point: None
    driver.run(6)
    assert driver.history("a").count("claimed") == 2


# ── drain and once ──────────────────────────────────────────────────────────────────────────────────


def test_a_drain_waits_for_retries() -> None:
    driver = Driver()
    process = driver.add_worker(drain=True)
    driver.enqueue("a", FAILING, FAILING, Script())
    driver.run(4)
    assert process.alive
    assert driver.run_until(lambda: not process.alive, 60)
    assert driver.state("a") == "done"


def test_a_drain_waits_for_delays() -> None:
    driver = Driver()
    process = driver.add_worker(drain=True)
    driver.enqueue("a", delay=300 * SECOND)
    driver.run(299)
    assert process.alive
    assert driver.run_until(lambda: not process.alive, 10)
    assert driver.state("a") == "done"


def test_a_drain_waits_for_what_another_worker_runs() -> None:
    driver = Driver()
    driver.enqueue("a", Script(lasts=50 * SECOND))
    driver.add_worker()
    driver.run(1)
    process = driver.add_worker(drain=True)
    driver.run(40)
    assert process.alive
    assert driver.run_until(lambda: not process.alive, 15)


def test_a_drain_does_not_wait_for_paused_queues() -> None:
    for paused in ("mail", PAUSE_ALL):
        driver = Driver()
        driver.user.pause(paused)
        driver.enqueue("a", queue="mail")
        process = driver.add_worker(drain=True)
        assert driver.run_until(lambda process=process: not process.alive, 5)
        assert driver.state("a") == "pending"


def test_a_drain_does_not_wait_for_other_queues() -> None:
    driver = Driver()
    driver.enqueue("a", queue="mail")
    process = driver.add_worker(drain=True, queues=frozenset({"slow"}))
    assert driver.run_until(lambda: not process.alive, 5)


def test_a_drain_says_which_other_queue_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    driver = Driver()
    driver.enqueue("a", queue="slow")
    driver.enqueue("b", after=(After("a"),))
    process = driver.add_worker(drain=True, queues=frozenset({"default"}))
    driver.run(60)
    assert process.alive
    [said] = [record.getMessage() for record in caplog.records]
    assert said == "job b waits for a in queue slow, which no worker serves: queuectl run --queue slow"
    driver.add_worker(queues=frozenset({"slow"}))
    assert driver.run_until(lambda: not process.alive, 10)
    assert driver.state("b") == "done"


def test_a_drain_of_an_empty_queue_ends_at_once() -> None:
    driver = Driver()
    process = driver.add_worker(drain=True)
    driver.tick_next()
    assert not process.alive


def test_once_is_one_run() -> None:
    driver = Driver()
    process = driver.add_worker(once=True, slots=4)
    driver.enqueue("a", FAILING)
    driver.enqueue("b")
    assert driver.run_until(lambda: not process.alive, 5)
    assert driver.history("a") == ["enqueued", "claimed", "retry_scheduled"]
    assert driver.history("b") == ["enqueued"]


def test_once_does_not_wait_for_a_job() -> None:
    driver = Driver()
    driver.enqueue("a", delay=SECOND)
    process = driver.add_worker(once=True)
    driver.tick_next()
    assert not process.alive
    assert driver.history("a") == ["enqueued"]
