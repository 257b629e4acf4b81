"""Workers that die, are silent or return late, in virtual time: their jobs are freed, their late results rejected."""

import logging

import pytest
from msgspec.structs import replace

from queuectl.domain.events import Claimed, DeadLettered, Exited, LostWorker, Released, ResultRejected, RetryScheduled
from queuectl.errors import RefusedError
from queuectl.runtime import Reach
from tests.simulation.connection import COMMITTED
from tests.simulation.driver import Driver
from tests.simulation.world import FOR_EVER, SECOND, Script, WorkerProcess, World

LONG = Script(lasts=100 * SECOND)
SHORT = Script(lasts=SECOND)


def pause(driver: Driver, process: WorkerProcess, seconds: float = FOR_EVER) -> None:
    """Suspend a worker as SIGSTOP does."""
    process.resumes_at = driver.clock.monotonic() + round(seconds * SECOND)


def resume(driver: Driver, process: WorkerProcess) -> None:
    """Let a worker continue as SIGCONT does."""
    process.resumes_at, process.wants = None, driver.clock.monotonic()


def freed_after(driver: Driver, job_id: str) -> float:
    """Seconds from now until the job's lost run is over."""
    start = driver.clock.monotonic()
    assert driver.run_until(lambda: bool({"retry_scheduled", "released"} & set(driver.history(job_id))), 120)
    return (driver.clock.monotonic() - start) / SECOND


def with_a_lost_job(**options: object) -> tuple[Driver, WorkerProcess]:
    """A lost worker that ran the job `a`, and another worker that will notice."""
    driver = Driver()
    lost = driver.add_worker(**options)
    driver.enqueue("a", LONG, SHORT)
    driver.run(1)
    driver.add_worker(**{**options, "namespace": 1})
    driver.run(1)
    return driver, lost


def test_a_visibly_dead_workers_job_is_free_within_2_seconds() -> None:
    driver, lost = with_a_lost_job()
    lost.alive = False
    assert freed_after(driver, "a") < 2
    driver.run(5)
    assert driver.history("a") == ["enqueued", "claimed", "retry_scheduled", "claimed", "completed"]


def test_a_freed_job_is_claimed_in_the_same_round() -> None:
    driver, lost = with_a_lost_job()
    lost.alive = False
    freed_after(driver, "a")
    driver.run(0.1)
    assert driver.history("a")[-1] == "claimed"


def test_a_lost_worker_costs_an_attempt_and_no_wait() -> None:
    driver, lost = with_a_lost_job()
    lost.alive = False
    freed_after(driver, "a")
    job, event = driver.store.log.load("a"), driver.records("a")[2].event
    assert job is not None
    assert isinstance(event, RetryScheduled)
    assert (job.attempts, event.cause, event.wait) == (1, LostWorker(lost.row.name), 0)
    assert event.stdout == "a run 1"


def test_a_job_that_loses_every_worker_ends_in_the_dlq() -> None:
    driver = Driver()
    driver.enqueue("a", LONG, max_retries=2)
    for run in (1, 2, 3):
        process = driver.add_worker()
        assert driver.run_until(lambda run=run: ("a", run) in driver.world.runs, 30)
        process.alive = False
    driver.add_worker()
    driver.run(5)
    assert driver.history("a") == ["enqueued", *["claimed", "retry_scheduled"] * 2, "claimed", "dead_lettered"]


def test_no_second_attempt_starts_while_a_process_of_the_first_lives() -> None:
    driver, lost = with_a_lost_job()
    lost.alive = False
    driver.world.spawned = lambda process: pytest.fail("two at once") if driver.world.living("a") else None
    driver.run(10)
    assert driver.state("a") == "done"


def test_the_job_of_a_silent_worker_is_free_when_its_lease_is_over() -> None:
    driver, lost = with_a_lost_job(lease=20 * SECOND)
    pause(driver, lost)
    assert 15 < freed_after(driver, "a") < 25


@pytest.mark.parametrize(("finder", "at_least", "at_most"), [(1, 0, 2), (2, 18, 24)])
def test_another_users_job_is_free_when_its_lease_expires(
    monkeypatch: pytest.MonkeyPatch, finder: int, at_least: float, at_most: float
) -> None:
    """Another user's worker cannot see its processes; a later worker of the first user can."""
    driver = Driver()
    monkeypatch.setattr(driver.store.location, "reach", Reach.SEVERAL_HOSTS)
    lost = driver.add_worker(lease=20 * SECOND, uid=1)
    driver.enqueue("a", LONG, SHORT)
    driver.run(1)
    driver.add_worker(lease=20 * SECOND, uid=finder)
    lost.alive = False
    assert at_least < freed_after(driver, "a") < at_most


@pytest.mark.parametrize(("shares_locks", "at_least", "at_most"), [(True, -1, 2), (False, 15, 25)])
def test_in_another_namespace_the_lock_tells_else_the_lease(
    monkeypatch: pytest.MonkeyPatch, shares_locks: bool, at_least: float, at_most: float
) -> None:
    monkeypatch.setattr(World, "shares_locks", shares_locks)
    driver, lost = with_a_lost_job(namespace=2, lease=20 * SECOND)
    lost.alive = False
    for process in driver.world.living("a"):
        process.signal(9, driver.clock.monotonic())
    assert at_least < freed_after(driver, "a") < at_most


def test_a_lock_holder_out_of_reach_blocks_the_job() -> None:
    driver, lost = with_a_lost_job(namespace=2, lease=20 * SECOND)
    lost.alive = False
    driver.run(90)
    assert driver.history("a") == ["enqueued", "claimed"]
    driver.run(20)
    assert driver.history("a")[2:] == ["retry_scheduled", "claimed", "completed"]


def test_a_worker_that_sends_heartbeats_keeps_its_job() -> None:
    driver, _ = with_a_lost_job(lease=5 * SECOND)
    driver.run(110)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]


@pytest.mark.parametrize(("version", "listed"), [(1, True), (2, True), (2, False)])
def test_a_lost_workers_damaged_job_is_unclaimed_and_its_tree_killed(version: int, listed: bool) -> None:
    """Also when the claim itself is damaged and no worker has its name any more."""
    driver, lost = with_a_lost_job(lease=20 * SECOND)
    store = driver.store
    store.engine.run("DROP TRIGGER events_refuse_update")
    store.engine.run("UPDATE events SET actor = 'x' WHERE stream_id = 'a' AND version = ?", (version,))
    lost.alive = False
    if not listed:
        store.workers.forget(lost.row)
    assert driver.run_until(lambda: store.tables.job("a")["locked_by"] is None, 60)
    assert "is damaged" in store.tables.job("a")["last_error"]
    assert not driver.world.living("a")
    assert not driver.user.unfinished(())


def test_setting_the_wall_clock_takes_no_job_from_another_host() -> None:
    driver = Driver(hosts=2)
    driver.add_worker(lease=30 * SECOND)
    driver.enqueue("a", LONG)
    driver.run(1)
    driver.add_worker(lease=30 * SECOND, host=1)
    for _ in range(3):
        driver.run(15)
        driver.clock.jumped += 365 * 86_400 * SECOND
    driver.run(60)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]


def test_the_job_of_a_dead_host_is_free_when_its_lease_expires() -> None:
    driver = Driver(hosts=2)
    driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", LONG, SHORT)
    driver.run(1)
    driver.add_worker(lease=20 * SECOND, host=1)
    driver.run(1)
    driver.world.reboot(driver.world.hosts[0])
    assert 15 < freed_after(driver, "a") < 25


def test_a_lost_workers_jobs_are_freed_although_its_name_is_reused() -> None:
    """The jobs were claimed at different times, and the lost worker's row is gone."""
    driver = Driver(hosts=2)
    lost = driver.add_worker(lease=20 * SECOND, slots=2)
    for job_id in "ab":
        driver.enqueue(job_id, LONG, SHORT)
        driver.run(3)
    driver.world.reboot(driver.world.hosts[0])
    driver.store.workers.forget(lost.row)
    driver.add_worker(lease=20 * SECOND, host=1)
    assert driver.run_until(lambda: all(driver.state(job_id) == "done" for job_id in "ab"), 60)


def test_a_worker_that_lost_its_name_stops_within_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was suspended and taken for dead; its row is now another worker's, so its heartbeats no longer count."""
    driver = Driver(hosts=2)
    monkeypatch.setattr(driver.store.location, "reach", Reach.SEVERAL_HOSTS)
    robbed = driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", LONG, SHORT)
    driver.run(1)
    driver.store.workers.forget(robbed.row)
    driver.store.workers.beat(replace(robbed.row, host="elsewhere", boot_id="elsewhere"))
    assert driver.run_until(lambda: robbed.worker.failure is not None, 6)
    driver.enqueue("b")
    driver.run(1)
    assert driver.state("b") == "pending"
    driver.add_worker(lease=20 * SECOND, host=1)
    assert driver.run_until(lambda: not robbed.alive, 20)
    assert isinstance(robbed.worker.failure, RefusedError)
    assert driver.history("a")[:3] == ["enqueued", "claimed", "released"]
    assert [record.event.worker for record in driver.records("b") if isinstance(record.event, Claimed)] == ["w2"]
    assert [row.host for row in driver.store.workers.rows() if row.name == robbed.row.name] == ["elsewhere"]


def test_a_host_that_has_booted_again_frees_its_jobs_at_once() -> None:
    driver = Driver(hosts=2)
    driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", LONG, SHORT)
    driver.run(1)
    driver.world.reboot(driver.world.hosts[0])
    driver.add_worker(lease=20 * SECOND)
    assert freed_after(driver, "a") < 2


def test_only_the_fourth_loss_in_a_row_costs_an_attempt() -> None:
    driver = Driver()
    driver.enqueue("a", LONG, max_retries=0)
    for _ in range(4):
        driver.add_worker()
        driver.run(2)
        driver.world.reboot(driver.world.hosts[0])
    driver.add_worker()
    driver.run(2)
    losses = [record.event.machine_losses for record in driver.records("a") if isinstance(record.event, Released)]
    assert losses == [1, 2, 3]
    last = driver.records("a")[-1].event
    assert isinstance(last, DeadLettered)
    assert isinstance(last.cause, LostWorker)


def test_a_worker_suspended_within_its_lease_keeps_its_job() -> None:
    driver, lost = with_a_lost_job(lease=30 * SECOND)
    pause(driver, lost)
    driver.run(20)
    resume(driver, lost)
    driver.run(100)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, quiet: None) -> pytest.LogCaptureFixture:
    """Capture the warnings of workers."""
    logging.disable(logging.NOTSET)
    return caplog


def test_a_late_result_is_rejected_and_recorded(warnings: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    late = driver.add_worker(lease=5 * SECOND)
    driver.enqueue("a", SHORT, LONG)
    driver.run(0.5)
    driver.fault = lambda process, point: stall(driver) if point == "begin" and process is late else None
    driver.clock.advance(SECOND)
    driver.tick(late)
    assert driver.history("a") == ["enqueued", "claimed", "retry_scheduled", "claimed", "result_rejected"]
    assert driver.records("a")[-1].event == ResultRejected(run=1, outcome="completed", duration=SECOND)
    assert "job a run 1: its result was rejected, run 2 is current" in warnings.messages
    assert late.worker.run_log.summary() == "no runs"
    driver.run(120)
    assert driver.history("a")[-1] == "completed"


def test_a_late_result_does_not_count_as_a_done_job(warnings: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    late = driver.add_worker(lease=5 * SECOND)
    driver.enqueue("a", SHORT, max_retries=0)
    driver.run(0.5)
    driver.fault = lambda process, point: stall(driver) if point == "begin" and process is late else None
    driver.clock.advance(SECOND)
    driver.tick(late)
    assert driver.history("a") == ["enqueued", "claimed", "dead_lettered", "result_rejected"]
    assert "job a run 1: its result was rejected, the job is dlq" in warnings.messages
    assert late.worker.run_log.summary() == "no runs"


def stall(driver: Driver) -> None:
    """Suspend the late worker at this point; another worker frees its job and claims it."""
    driver.fault = lambda process, point: None
    driver.add_worker(lease=5 * SECOND)
    driver.run_until(lambda: "claimed" in driver.history("a")[2:], 30)


@pytest.mark.parametrize("where", ["rows", "processing"])
def test_a_worker_that_returns_keeps_its_new_claims(where: str) -> None:
    """Its new claim is not freed because of an outdated view of its heartbeat."""
    driver = Driver()
    back = driver.add_worker(lease=5 * SECOND)
    other = driver.add_worker(lease=5 * SECOND, queues=frozenset({"none"}))
    driver.run(1)
    pause(driver, back)
    driver.enqueue("b", LONG)
    driver.clock.advance(7 * SECOND)
    driver.tick(other)

    def fault(process: WorkerProcess | None, point: str) -> None:
        if process is other and point == where and not driver.shared.locked:
            driver.fault = lambda process, point: None
            resume(driver, back)
            driver.tick(back)

    driver.clock.advance(SECOND)
    driver.fault = fault
    driver.tick(other)
    resume(driver, back)
    driver.run(3)
    assert driver.history("b") == ["enqueued", "claimed"]


def test_a_worker_killed_between_claim_and_start_blocks_nothing() -> None:
    driver = Driver()
    lost = driver.add_worker(lease=5 * SECOND)
    driver.enqueue("a", SHORT)

    def fault(process: WorkerProcess | None, point: str) -> None:
        if process is lost and point == "start":
            stall(driver)

    driver.fault = fault
    driver.tick(lost)
    assert not lost.alive
    assert driver.history("a")[:4] == ["enqueued", "claimed", "released", "claimed"]


def test_a_dead_workers_leftovers_do_not_block_their_job() -> None:
    driver = Driver()
    lost = driver.add_worker()
    driver.enqueue("a", Script(cause=Exited(1), background=FOR_EVER, background_obeys=False), SHORT)
    driver.run(1.1)
    assert driver.history("a") == ["enqueued", "claimed", "retry_scheduled"]
    lost.alive = False
    driver.add_worker()
    driver.run(60)
    assert driver.state("a") == "done"


def test_a_lost_worker_is_forgotten_and_the_log_says_so() -> None:
    driver, lost = with_a_lost_job()
    lost.alive = False
    driver.run(5)
    assert lost.row.name not in [row.name for row in driver.store.workers.rows()]
    assert driver.history(f"$worker:{lost.row.name}") == ["worker_started", "worker_lost"]


def test_a_host_with_our_name_and_another_boot_id_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clones of a virtual machine, or containers on two machines: the worker is alive and sends heartbeats."""
    driver = Driver(hosts=2)
    monkeypatch.setattr(driver.store.location, "reach", Reach.SEVERAL_HOSTS)
    here, there = driver.world.hosts
    there.name, there.boots = here.name, 7
    driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", LONG)
    driver.run(1)
    driver.add_worker(lease=20 * SECOND, host=1)
    driver.run(110)
    assert driver.history("a") == ["enqueued", "claimed", "completed"]


def test_a_host_that_slept_ends_jobs_that_others_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its monotonic clock stood still, so no lease has expired there."""
    driver = Driver(hosts=2)
    monkeypatch.setattr(driver.store.location, "reach", Reach.SEVERAL_HOSTS)
    sleeper = driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", Script(lasts=FOR_EVER), SHORT)
    driver.run(1)
    driver.add_worker(lease=20 * SECOND, host=1)
    pause(driver, sleeper)
    driver.run(60)
    assert driver.state("a") == "done"
    driver.world.hosts[0].booted_at += 60 * SECOND
    resume(driver, sleeper)
    driver.run(6)
    assert not driver.world.living("a")
    assert driver.history("a")[-2:] == ["completed", "result_rejected"]


def test_a_claim_older_than_its_lease_is_given_back() -> None:
    """Its worker slept between the claim and the start, so another host may have freed and started the job."""
    driver = Driver(hosts=2)
    slow = driver.add_worker(lease=20 * SECOND)
    driver.enqueue("a", SHORT)
    slept = []

    def sleep(process: WorkerProcess | None, point: str) -> None:
        if point == COMMITTED and driver.history("a") == ["enqueued", "claimed"]:
            slept.append(process)
            driver.clock.advance(20 * SECOND)

    driver.fault = sleep
    driver.run(0.1)
    driver.fault = lambda process, point: None
    assert slept == [slow]
    driver.run(30)
    assert driver.history("a") == ["enqueued", "claimed", "released", "claimed", "completed"]
    assert [run for _, run in driver.world.runs] == [2]
