"""Jobs that a busy worker claims before it has a slot for them: how many, for how long, and when it gives them back."""

from queuectl.domain.events import RecordedEvent
from queuectl.domain.names import PAUSE_ALL
from tests.simulation.driver import Driver
from tests.simulation.world import SECOND, Script, WorkerProcess

HOUR = 3600 * SECOND
QUICK = Script(lasts=800)
MILLISECOND = 1_000
STARTED_UNSEEN = 8
"""How many of these jobs two slots start in the 2 ms between two looks at what others wrote."""


def busy(jobs: int = 100, **options: object) -> tuple[Driver, WorkerProcess]:
    """A worker of two slots that has been at work for longer than it counts starts, and has claimed ahead."""
    driver = Driver()
    for number in range(jobs):
        driver.enqueue(f"quick-{number}", QUICK)
    process = driver.add_worker(slots=2, **options)
    assert driver.run_until(lambda: len(held(driver)) > 6, 1)
    return driver, process


def held(driver: Driver) -> list[str]:
    """Jobs that are claimed and have not started."""
    held = driver.store.tables.processing()
    return sorted(job_id for job_id, run in held if (job_id, run) not in driver.world.runs)


def events(driver: Driver, kind: str) -> list[RecordedEvent]:
    return [record for record in driver.store.log.records() if record.type == kind]


def most_held(driver: Driver) -> int:
    """The most claims that were open at one moment."""
    most = now = 0
    for record in driver.store.log.records():
        now += (record.type == "claimed") - (record.type in ("completed", "released", "cancelled"))
        most = max(most, now)
    return most


# ── how much ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_busy_worker_needs_one_transaction_for_many_jobs() -> None:
    driver, process = busy(400)
    assert driver.run_until(lambda: not driver.store.tables.processing(), 60)
    records = list(driver.store.log.records())
    moments = {record.recorded_at for record in records if record.type in ("claimed", "completed")}
    assert process.worker.run_log.runs == 400
    assert len(moments) < 400 / 4
    assert not events(driver, "released")


def test_nothing_is_claimed_ahead_in_the_first_moments() -> None:
    driver = Driver()
    for number in range(40):
        driver.enqueue(f"quick-{number}", QUICK)
    driver.add_worker(slots=2)
    driver.run(0.009)
    assert events(driver, "completed")
    assert most_held(driver) == 2


def test_once_claims_one_job() -> None:
    driver = Driver()
    for job_id in "abc":
        driver.enqueue(job_id, QUICK)
    driver.add_worker(slots=4, once=True)
    driver.run(1)
    assert len(events(driver, "claimed")) == 1


def test_a_worker_whose_jobs_last_claims_none_ahead() -> None:
    driver = Driver()
    for number in range(20):
        driver.enqueue(f"slow-{number}", Script(lasts=50 * MILLISECOND))
    driver.add_worker(slots=2)
    driver.run(2)
    assert len(events(driver, "completed")) == 20
    assert most_held(driver) == 2


def test_no_more_is_claimed_ahead_than_files_can_be_opened() -> None:
    driver = Driver()
    for number in range(200):
        driver.enqueue(f"quick-{number}", QUICK)
    driver.add_worker(slots=2, ahead=3)
    most = 0

    def is_done() -> bool:
        nonlocal most
        most = max(most, len(held(driver)))
        return len(driver.world.runs) == 200

    assert driver.run_until(is_done, 2)
    assert most == 3


# ── nothing is hoarded ──────────────────────────────────────────────────────────────────────────────────


def test_an_idle_worker_gets_its_share_within_50_ms() -> None:
    driver = Driver()
    for number in range(100):
        driver.enqueue(f"quick-{number}", QUICK)
    for number in range(10):
        driver.enqueue(f"long-{number}", Script(lasts=HOUR))
    driver.add_worker(slots=2)
    assert driver.run_until(lambda: ("long-1", 1) in driver.world.runs, 5)
    busy_since = driver.clock.monotonic()
    assert held(driver)
    driver.add_worker(slots=5)
    assert driver.run_until(lambda: sum(each.startswith("long") for each, _ in driver.world.runs) == 7, 5)
    assert driver.clock.monotonic() - busy_since <= 50 * MILLISECOND
    driver.run(1)
    assert held(driver) == []


def test_a_job_that_is_given_back_costs_nothing_and_keeps_its_place() -> None:
    driver = Driver()
    for number in range(100):
        driver.enqueue(f"quick-{number}", QUICK)
    for number in range(10):
        driver.enqueue(f"long-{number}", Script(lasts=HOUR), max_retries=0)
    driver.enqueue("last", QUICK)
    driver.add_worker(slots=2)
    driver.run(2)
    given_back = events(driver, "released")
    assert given_back
    for record in given_back:
        enqueued, claimed, released = driver.records(record.stream_id)[:3]
        assert released.recorded_at - claimed.recorded_at < 30 * MILLISECOND
        assert released.event.due_at == enqueued.recorded_at
        assert driver.store.tables.job(record.stream_id)["attempts"] == 0
    line = driver.store.tables.claimable((), 20, driver.store.log.wall())
    assert line == sorted(line, key=lambda job_id: driver.store.tables.job(job_id)["position"])
    assert line[-1] == "last"


# ── priority ────────────────────────────────────────────────────────────────────────────────────────────


def test_jobs_of_higher_priority_wait_for_10_ms_and_a_slot() -> None:
    driver, _ = busy(400)
    enqueued_at = driver.clock.monotonic()
    for number in range(20):
        driver.enqueue(f"urgent-{number}", QUICK, priority=5)
    assert driver.run_until(lambda: len(starts(driver, "urgent")) == 20, 5)
    urgent = starts(driver, "urgent")
    assert min(urgent) - enqueued_at <= 10 * MILLISECOND + QUICK.lasts
    assert [moment for moment in starts(driver, "quick") if min(urgent) < moment < max(urgent)] == []


def starts(driver: Driver, kind: str) -> list[int]:
    """When the jobs whose ids begin like this were started."""
    return [run.started for (job_id, _), run in driver.world.runs.items() if job_id.startswith(kind)]


# ── pause, cancel, stop ─────────────────────────────────────────────────────────────────────────────────


def test_a_pause_gives_back_what_has_not_started() -> None:
    for queue in ("default", PAUSE_ALL):
        driver, _ = busy()
        started = len(driver.world.runs)
        driver.user.pause(queue)
        driver.run(0.02)
        assert held(driver) == []
        assert len(driver.world.runs) - started <= STARTED_UNSEEN
        assert {record.event.reason for record in events(driver, "released")} == {"its queue was paused"}
        driver.user.resume(queue)
        driver.run(2)
        assert len(events(driver, "completed")) == 100


def test_a_job_that_is_cancelled_before_it_starts_never_starts() -> None:
    driver, _ = busy()
    job_id = max(held(driver), key=lambda each: driver.store.tables.job(each)["position"])
    driver.user.cancel([job_id])
    driver.run(2)
    assert driver.state(job_id) == "cancelled"
    assert job_id not in {each for each, _ in driver.world.runs}
    assert len(events(driver, "completed")) == 99


def test_a_stopping_worker_gives_back_what_has_not_started() -> None:
    driver, process = busy()
    started = len(driver.world.runs)
    driver.user.store.workers.ask_to_stop(process.row.name, 1)
    assert driver.run_until(lambda: not process.alive, 1)
    assert held(driver) == []
    assert process.worker.run_log.runs == len(driver.world.runs) <= started + STARTED_UNSEEN


# ── started or not ──────────────────────────────────────────────────────────────────────────────────────


def test_a_killed_worker_costs_no_attempt_that_was_not_started() -> None:
    driver = Driver()
    for number in range(300):
        driver.enqueue(f"quick-{number}", QUICK, max_retries=0)
    for kills in range(5):
        process = driver.add_worker(slots=2)
        assert driver.run_until(lambda: len(held(driver)) > 4, 5), kills
        process.alive = False
    driver.add_worker(slots=2, drain=True)
    driver.run(60)
    dead = {row["id"] for row in driver.store.tables.dlq()}
    assert dead <= {job_id for job_id, _ in driver.world.runs}
    assert len(dead) <= 5 * 2
    assert len(events(driver, "completed")) == 300 - len(dead)
