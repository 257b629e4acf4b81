"""A store that is locked, whose commit seems to fail, or that has a damaged event: no result is lost."""

import logging
import random
from collections.abc import Callable, Sequence
from signal import SIGKILL

import pytest

from queuectl.application.queue import NewJob, Queue
from queuectl.domain.events import CancelRequested
from queuectl.domain.job import Job
from queuectl.errors import StoreBusyError, StoreError
from queuectl.runtime import Reach
from queuectl.store.rows import Change
from tests.simulation.connection import COMMIT, COMMITTED, READS, Connection
from tests.simulation.driver import Driver, spec
from tests.simulation.world import FOR_EVER, SECOND, Script, WorkerProcess

STORE = {*READS, "begin"}
JOBS = "abcdef"


def busy(driver: Driver, when: Callable[[str], bool]) -> None:
    """From now on the store is locked at the points for which `when` is true."""

    def fault(process: WorkerProcess | None, point: str) -> None:
        if process and process.steady and when(point):
            raise StoreBusyError("the store is locked by another process: try again")

    driver.fault = fault


def appended(driver: Driver, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record the jobs of each append of the worker from now on."""
    calls: list[list[str]] = []
    append = process.worker.queue.store.writer.append

    def noting(changes: Sequence[Change], actor: str) -> list[Job | None]:
        calls.append([change.stream_id for change in changes])
        return append(changes, actor)

    monkeypatch.setattr(process.worker.queue.store.writer, "append", noting, raising=False)
    return calls


@pytest.mark.parametrize("often", [0.2, 0.5, 0.8])
def test_a_store_that_is_often_busy_loses_no_result(often: float) -> None:
    driver = Driver()
    process = driver.add_worker(slots=2)
    luck = random.Random(1)
    busy(driver, lambda point: point in STORE and luck.random() < often)
    for job_id in JOBS:
        driver.enqueue(job_id)
    assert driver.run_until(lambda: all(driver.state(job_id) == "done" for job_id in JOBS), 600)
    assert process.alive
    assert [driver.history(job_id) for job_id in JOBS] == [["enqueued", "claimed", "completed"]] * len(JOBS)


def test_an_outage_and_its_end_are_reported_once_each(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    driver.add_worker(drain=True)
    driver.enqueue("a", Script(lasts=20 * SECOND))
    driver.run(1)
    caplog.set_level(logging.INFO, "queuectl.worker")
    reports: list[tuple[float, list[str]]] = []
    for seconds, away in [(0.5, True), (2, False), (30, True), (2, False)]:
        caplog.clear()
        busy(driver, lambda point, away=away: away and point in STORE)
        driver.run(seconds)
        reports += [(seconds, [record.levelname for record in caplog.records if "store" in record.getMessage()])]
    assert reports == [(0.5, []), (2, []), (30, ["WARNING"]), (2, ["INFO"])]
    assert driver.history("a")[-1] == "completed"


def test_a_long_outage_is_reported_again_every_5_minutes(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    driver.add_worker()
    driver.run(1)
    caplog.set_level(logging.INFO, "queuectl.worker")
    busy(driver, lambda point: point in STORE)
    driver.run(11 * 60)
    driver.fault = lambda process, point: None
    driver.run(1)
    lines = [record.getMessage() for record in caplog.records if "tore" in record.getMessage()]
    assert [line.split(" so far")[0] for line in lines] == [
        "Waiting for the store, for 5s",
        "Still waiting for the store, for 5m5s",
        "Still waiting for the store, for 10m5s",
        "The store can be used again after 11m",
    ]
    assert "no job starts until it is back: the store is locked" in lines[2]


def test_an_outage_of_less_than_5_s_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    driver.add_worker()
    caplog.set_level(logging.INFO, "queuectl.worker")
    for _ in range(3):
        busy(driver, lambda point: point in STORE)
        driver.run(4.5)
        driver.fault = lambda process, point: None
        driver.run(0.5)
    assert [record.getMessage() for record in caplog.records if "store" in record.getMessage()] == []


def test_a_result_waits_for_a_store_locked_longer_than_the_lease() -> None:
    driver = Driver()
    process = driver.add_worker(lease=10 * SECOND)
    driver.enqueue("a", Script(lasts=SECOND))
    driver.run(0.5)
    busy(driver, lambda point: point in STORE)
    driver.run(60)
    assert driver.history("a") == ["enqueued", "claimed"]
    driver.fault = lambda process, point: None
    driver.run(0.1)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]
    assert process.alive


def test_workers_without_heartbeats_in_a_locked_store_are_not_lost() -> None:
    driver = Driver()
    workers = [driver.add_worker(lease=5 * SECOND), driver.add_worker(lease=5 * SECOND)]
    for job_id in "ab":
        driver.enqueue(job_id, Script(lasts=90 * SECOND))
    driver.run(1)
    busy(driver, lambda point: point in STORE)
    driver.run(60)
    driver.fault = lambda process, point: None
    driver.run(60)
    assert all(process.alive for process in workers)
    assert [driver.history(job_id) for job_id in "ab"] == [["enqueued", "claimed", "completed"]] * 2


def test_a_timeout_is_enforced_while_the_store_is_locked() -> None:
    driver = Driver()
    driver.add_worker(grace=2 * SECOND)
    driver.enqueue("a", Script(lasts=FOR_EVER, obeys=None), timeout=3 * SECOND)
    driver.run(1)
    busy(driver, lambda point: point in STORE)
    driver.run(6)
    assert not driver.world.living("a")


def test_a_full_disk_does_not_make_the_first_stop_a_second_one() -> None:
    driver = Driver()
    process = driver.add_worker(grace=10 * SECOND)
    driver.enqueue("a", Script(lasts=20 * SECOND))
    driver.run(1)
    full = True

    def fault(process: WorkerProcess | None, point: str) -> None:
        if full and process and process.steady and point == COMMIT:
            raise StoreError("the disk is full")

    driver.fault = fault
    driver.run(8)
    full = False
    process.worker.stop()
    driver.run(30)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]
    assert not process.alive


def test_a_result_whose_commit_was_reported_as_failed_lands_once() -> None:
    driver = Driver()
    process = driver.add_worker()
    driver.enqueue("a", Script(lasts=SECOND))
    driver.run(0.5)
    fails = iter([True])
    busy(driver, lambda point: point == COMMITTED and next(fails, False))
    driver.run(3)
    assert driver.history("a") == ["enqueued", "claimed", "completed", "result_rejected"]
    assert process.alive


def test_a_claim_whose_commit_seemed_to_fail_is_released() -> None:
    driver = Driver()
    driver.add_worker()
    driver.run(0.1)
    fails = iter([True])
    busy(driver, lambda point: point == COMMITTED and driver.state("a") == "processing" and next(fails, False))
    driver.enqueue("a")
    driver.run(10)
    assert driver.history("a") == ["enqueued", "claimed", "released", "claimed", "completed"]
    assert "reported as failed" in driver.records("a")[2].event.reason
    assert driver.store.tables.job("a")["attempts"] == 1


def test_a_unique_key_released_during_an_enqueue_loses_no_job() -> None:
    driver = Driver()
    driver.enqueue("a", unique="key")
    asked = []

    def visit(point: str) -> None:
        asked.append(point)
        if asked.count("holder") == 2:
            driver.user.cancel(["a"])

    [receipt] = Queue(Connection(driver.shared, visit), "user").enqueue([NewJob(spec(unique="key"), "b")])
    assert driver.history(receipt.id)[0] == "enqueued"


def test_results_of_one_tick_are_one_append(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    process = driver.add_worker(slots=3)
    for job_id in "abc":
        driver.enqueue(job_id, Script(lasts=2 * SECOND))
    driver.run(1)
    calls = appended(driver, process, monkeypatch)
    driver.run(2)
    assert [call for call in calls if call] == [["a", "b", "c"]]


def test_results_wait_10_ms_for_others_while_commands_run(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    process = driver.add_worker(slots=4)
    for number, job_id in enumerate("abc"):
        driver.enqueue(job_id, Script(lasts=2 * SECOND + number * 2_000))
    driver.enqueue("long", Script(lasts=60 * SECOND))
    driver.run(1)
    calls = appended(driver, process, monkeypatch)
    driver.run(1.2)
    assert [call for call in calls if call] == [["a", "b", "c"]]


def test_a_damaged_job_does_not_delay_results_of_others() -> None:
    driver = Driver()
    process = driver.add_worker(slots=3)
    for job_id in "abc":
        driver.enqueue(job_id, Script(lasts=2 * SECOND))
    driver.run(1)
    driver.shared.wake = lambda: None
    driver.store.writer.append([Change("b", 2, [CancelRequested(run=1)], driver.store.log.load("b"))], "user@node:1")
    driver.damage("b", 1)
    driver.run(5)
    assert [record.type for record in driver.records("a")] == ["enqueued", "claimed", "completed"]
    assert [record.type for record in driver.records("c")] == ["enqueued", "claimed", "completed"]
    driver.enqueue("d")
    driver.run(5)
    assert driver.state("d") == "done"
    assert process.alive


def test_a_damaged_pending_job_is_skipped() -> None:
    driver = Driver()
    driver.enqueue("a", priority=5)
    driver.enqueue("b")
    driver.damage("a", 1)
    process = driver.add_worker()
    driver.run(5)
    assert driver.state("b") == "done"
    row = driver.store.tables.job("a")
    assert row is not None
    assert (row["state"], row["due_at"]) == ("pending", None)
    assert process.alive


def shared_store(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the store one that workers on other machines share."""
    monkeypatch.setattr(driver.store.location, "reach", Reach.SEVERAL_HOSTS)


def test_on_a_shared_store_a_job_is_killed_before_its_lease_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver()
    shared_store(driver, monkeypatch)
    process = driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", Script(lasts=FOR_EVER, obeys=None), Script())
    driver.run(10)
    busy(driver, lambda point: point in STORE)
    driver.run(10)
    assert driver.world.living("a")
    driver.run(8)
    assert not driver.world.living("a")
    assert driver.history("a") == ["enqueued", "claimed"]
    driver.fault = lambda process, point: None
    driver.run(10)
    assert driver.history("a") == ["enqueued", "claimed", "released", "claimed", "completed"]
    assert process.alive


def test_a_job_that_ended_during_an_outage_is_recorded_as_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    shared_store(driver, monkeypatch)
    driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", Script(lasts=2 * SECOND))
    driver.run(1)
    busy(driver, lambda point: point in STORE)
    driver.run(60)
    driver.fault = lambda process, point: None
    driver.run(10)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]


def test_a_job_killed_during_a_hung_heartbeat_costs_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's thread hangs in the store; its watchdog kills the job, and then the heartbeat succeeds."""
    driver = Driver()
    shared_store(driver, monkeypatch)
    process = driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", Script(lasts=FOR_EVER, obeys=None), Script())
    driver.run(4)
    hangs = iter([True])

    def fault(_: WorkerProcess | None, point: str) -> None:
        if point == COMMIT and next(hangs, False):
            driver.clock.advance(process.commands.lives_until - driver.clock.monotonic())
            for each in driver.world.living("a"):
                each.signal(SIGKILL, driver.clock.monotonic())

    driver.fault = fault
    driver.run(20)
    assert driver.history("a") == ["enqueued", "claimed", "released", "claimed", "completed"]


def test_a_worker_without_a_lease_watchdog_claims_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver()
    shared_store(driver, monkeypatch)
    process = driver.add_worker()
    began = driver.history("$worker:w1")
    short = True

    def live_until(_: int) -> None:
        if short:
            raise StoreBusyError("nothing could end the jobs of this worker if it hung")

    monkeypatch.setattr(process.commands, "live_until", live_until)
    with pytest.raises(StoreBusyError):
        process.worker.start()
    driver.run(6)  # the beat that succeeded before is no longer new
    driver.enqueue("a")
    driver.run(10)
    assert (driver.history("$worker:w1"), driver.history("a")) == (began, ["enqueued"])
    short = False
    driver.run(10)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]


def test_on_one_host_a_job_outlives_its_lease_in_a_locked_store() -> None:
    driver = Driver()
    driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", Script(lasts=100 * SECOND))
    driver.run(1)
    busy(driver, lambda point: point in STORE)
    driver.run(60)
    assert driver.world.living("a")


def test_a_claim_answered_after_its_lease_is_released_unrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has the claim, but its answer was delayed: another machine may run the job by then."""
    driver = Driver()
    shared_store(driver, monkeypatch)
    driver.add_worker(lease=20 * SECOND)
    driver.run(0.1)
    late = iter([True])

    def fault(process: WorkerProcess | None, point: str) -> None:
        if point == COMMITTED and driver.state("a") == "processing" and next(late, False):
            driver.world.clock.advance(30 * SECOND)

    driver.fault = fault
    driver.enqueue("a", Script(), Script())
    assert driver.run_until(lambda: driver.state("a") == "done")
    assert driver.history("a") == ["enqueued", "claimed", "released", "claimed", "completed"]
    assert list(driver.world.runs) == [("a", 2)]
