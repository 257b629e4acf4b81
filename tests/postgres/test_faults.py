"""Server crashes, cut connections, no connection: no acknowledged change is lost, and all processes continue.

`QUEUECTL_RESTARTS=200` says how many crashes under load, `QUEUECTL_AWAY=60` for how many seconds the server stays away
after the last one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from queuectl.application.liveness import is_alive
from queuectl.application.queue import NewJob, Queue, Receipt
from queuectl.errors import StoreBusyError, StoreError
from queuectl.maintenance.migrate import migrate
from queuectl.runtime import SystemClock, pause
from queuectl.store import StoreOptions, open_store
from queuectl.store.postgres import connection as postgres_link
from queuectl.store.sql.assembly import OpenStore
from tests.postgres.conftest import OnServer
from tests.postgres.test_order import check, cut, works
from tests.support.builders import ACTOR, a_spec, a_worker, add, new
from tests.support.command_line import Started, eventually, lines
from tests.support.postgres import CRASH, Server, binaries

RESTARTS = int(os.environ.get("QUEUECTL_RESTARTS", "2"))
AWAY = int(os.environ.get("QUEUECTL_AWAY", "1"))


@pytest.fixture(scope="module")
def fragile() -> Iterator[Server]:
    """A server that only these tests use, so that it may crash."""
    server = Server(binaries()["pypi"], max_connections="12", superuser_reserved_connections="2")
    yield server
    server.remove()


@pytest.fixture
def store(fragile: Server, home: None) -> Iterator[OpenStore]:
    store = open_store(fragile.new_url(), SystemClock(), StoreOptions(busy_timeout=5_000_000))
    assert isinstance(store, OpenStore)
    yield store
    store.close()


# ── connections ─────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_that_was_cut_is_made_again(fragile, store):
    add(store, new("a"))
    for job_id in ("b", "c"):
        cut(fragile, store)
        add(store, new(job_id))
    cut(fragile, store)
    store.workers.beat(a_worker())
    cut(fragile, store)
    assert store.log.head().position == 3
    assert len(store.workers.rows()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cut_transaction_leaves_nothing(fragile, store, when):
    def broken_off() -> None:
        with store.writer.transaction():
            if when == "after":
                add(store, new("a"))
            cut(fragile, store)
            add(store, new("b"))

    with pytest.raises(StoreBusyError):
        broken_off()
    eventually(lambda: works(store), "there is another connection")
    assert store.log.head().position == 0
    add(store, new("c"))
    check(store)


def losing_the_answer(store: OpenStore, lose: Callable[..., None]) -> None:
    """Replace the next commit by `lose`, which gets the statements."""
    real = store.engine.link.together

    def together(*statements: str) -> list[list[tuple[object, ...]]]:
        if statements[-1] == "COMMIT":
            store.engine.link.together = real  # type: ignore[method-assign]
            lose(*statements)
        return real(*statements)

    store.engine.link.together = together  # type: ignore[method-assign]


def test_a_commit_whose_answer_was_lost_is_looked_up(fragile, store):
    """The commit succeeded, so the change is acknowledged once."""

    def lose(*statements: str) -> None:
        store.engine.link.together(*statements)
        cut(fragile, store)
        raise StoreBusyError

    losing_the_answer(store, lose)
    assert Queue(store, ACTOR).enqueue([NewJob(a_spec(), "a")]) == [Receipt("a", True)]
    assert [record.stream_id for record in store.log.records()] == ["a"]
    check(store)


def test_a_commit_that_did_not_arrive_changes_nothing(fragile, store):
    losing_the_answer(store, lambda *statements: cut(fragile, store))
    with pytest.raises(StoreBusyError):
        add(store, new("a"))
    assert store.log.head().position == 0
    add(store, new("a"))
    check(store)


def test_no_retry_is_advised_when_the_server_cannot_answer(fragile, store, monkeypatch):
    """A retry could add the job twice."""

    def lose(*statements: str) -> None:
        store.engine.link.together(*statements)
        monkeypatch.setattr(store.engine.link, "_connect", refused)
        cut(fragile, store)
        raise StoreBusyError

    def refused() -> None:
        raise StoreError("cannot reach it: connection refused")

    losing_the_answer(store, lose)
    with pytest.raises(StoreBusyError, match="whether the change was made is not known"):
        add(store, new("a"))
    monkeypatch.undo()
    eventually(lambda: works(store), "the server is back")
    assert store.log.head().position == 1


def test_a_heartbeat_that_did_not_arrive_does_not_count(fragile, store):
    """A heartbeat leaves no event to look up; a worker that assumed success would outlive its lease."""
    add(store, new("a"))
    losing_the_answer(store, lambda *statements: cut(fragile, store))
    with pytest.raises(StoreBusyError):
        store.workers.beat(a_worker())
    assert store.workers.rows() == []
    store.workers.beat(a_worker())
    assert len(store.workers.rows()) == 1


def take_every_connection(server: Server, others: ExitStack) -> None:
    with suppress(psycopg.OperationalError):
        while True:
            others.enter_context(psycopg.connect(server.url()))


def test_without_a_connection_the_store_is_busy_and_recovers(fragile, store):
    add(store, new("a"))
    url = fragile.url().replace("postgres@", "plain@")
    fragile.ask("CREATE ROLE plain LOGIN")
    with ExitStack() as others:
        cut(fragile, store)
        take_every_connection(fragile, others)
        with pytest.raises(StoreBusyError):
            add(store, new("b"))
        with pytest.raises(StoreError, match="cannot reach"):
            open_store(url, SystemClock())
    eventually(lambda: works(store), "there is room again")
    add(store, new("b"))
    check(store)
    fragile.ask("DROP ROLE plain")


def test_an_unreachable_server_counts_as_busy(fragile, store):
    add(store, new("a"))
    fragile.stop()
    try:
        for _ in range(3):
            with pytest.raises(StoreBusyError):
                add(store, new("b"))
    finally:
        fragile.start()
    eventually(lambda: works(store), "the server is reached again")
    add(store, new("b"))
    check(store)


def test_workers_can_be_stopped_while_the_server_is_away(fragile: Server, tmp_path: Path, home: None) -> None:
    queuectl = OnServer(tmp_path, fragile.new_url())
    queuectl.ok("enqueue", "true")
    worker = queuectl.start("run")
    eventually(lambda: queuectl.json("status")["states"]["done"] == 1, "the job has run")
    fragile.stop()
    try:
        refused = queuectl("worker", "stop")
        assert refused.code == 5
        assert f"`kill {worker.process.pid}` stops the workers of this machine" in refused.err
        worker.process.terminate()
        eventually(lambda: "Stopping" in worker.stderr.read_text(), "the first signal is seen")
        eventually(lambda: _ended_by_signal(worker), "the second signal ends it", 60)
        assert "no worker of this queue was found on this machine" in queuectl("worker", "stop").err
    finally:
        fragile.start()
    eventually(lambda: queuectl("verify").code == 0, "the server is reached again")


def _ended_by_signal(worker: Started) -> bool:
    """Whether the worker has ended. Sends SIGTERM again: signals that arrive together count as one."""
    if worker.process.poll() is None:
        worker.process.terminate()
    return worker.process.poll() is not None


def test_waiting_too_long_for_the_lock_is_an_error(fragile, store):
    impatient = open_store(
        f"{fragile.url()}&schema={store.engine.link.schema}", SystemClock(), StoreOptions(busy_timeout=50_000)
    )
    try:
        with store.writer.transaction():
            with pytest.raises(StoreBusyError, match="locked"):
                add(impatient, new("a"))
            assert impatient.log.head().position == 0
        add(impatient, new("a"))
    finally:
        impatient.close()


def test_a_client_suspended_in_a_transaction_loses_the_lock(fragile, store, monkeypatch):
    usual = f"idle_in_transaction_session_timeout = {postgres_link.IDLE_IN_TRANSACTION}"
    monkeypatch.setattr(
        postgres_link, "_SETTLE", postgres_link._SETTLE.replace(usual, "idle_in_transaction_session_timeout = 300")
    )
    frozen = open_store(f"{fragile.url()}&schema={store.engine.link.schema}", SystemClock())

    def wakes_up_too_late() -> None:
        with frozen.writer.transaction():
            add(frozen, new("a"))
            add(store, new("b"))  # waits until the server has ended the other
            add(frozen, new("c"))

    try:
        with pytest.raises(StoreBusyError):
            wakes_up_too_late()
        assert [record.stream_id for record in store.log.records()] == ["b"]
        add(frozen, new("c"))
        check(store)
    finally:
        frozen.close()


def test_a_migration_survives_a_slow_target(fragile, store, monkeypatch, tmp_path):
    """With a large queue the connection is idle for long while the other store is checked and its archive written."""
    usual = f"idle_in_transaction_session_timeout = {postgres_link.IDLE_IN_TRANSACTION}"
    monkeypatch.setattr(
        postgres_link, "_SETTLE", postgres_link._SETTLE.replace(usual, "idle_in_transaction_session_timeout = 300")
    )
    add(store, new("a"))
    source = open_store(f"{fragile.url()}&schema={store.engine.link.schema}", SystemClock())
    target = open_store(str(tmp_path / "queue.db"), SystemClock())
    compare = target.upkeep.compare
    monkeypatch.setattr(target.upkeep, "compare", lambda: (pause(1_000_000), compare())[1])
    with closing(source):
        migrate(source, lambda: target, "there", is_alive, lambda position: None)
        assert source.location.moved_to == "there"


# ── under load ──────────────────────────────────────────────────────────────────────────────────────

JOB = """
mkdir "$F/now-$QUEUECTL_JOB_ID" || echo "$QUEUECTL_JOB_ID" >> "$F/twice"
echo "$QUEUECTL_JOB_ID" >> "$F/ran"
rmdir "$F/now-$QUEUECTL_JOB_ID"
"""


class Enqueuer(Thread):
    """Adds jobs one after the other until it is stopped; `acknowledged` has those that were acknowledged."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        self._url, self._spec = url, a_spec(JOB, env={"F": str(folder)}, cwd=str(folder))
        self.acknowledged: list[str] = []
        self.over = Event()

    def run(self) -> None:
        store = open_store(self._url, SystemClock())
        number = 0
        while not self.over.wait(0.03):
            number += 1
            try:
                Queue(store, ACTOR).enqueue([NewJob(self._spec, f"job-{number}")])
                self.acknowledged.append(f"job-{number}")
            except StoreError:
                continue
        store.close()


def test_a_server_that_crashes_under_load_loses_no_job(fragile: Server, tmp_path: Path, home: None) -> None:
    url = fragile.new_url()
    queuectl, enqueuer = OnServer(tmp_path, url), Enqueuer(url, tmp_path)
    workers = [queuectl.start("run", "--name", f"w{number}", "--concurrency", "2") for number in range(2)]
    eventually(lambda: len(queuectl.json("worker", "list")) == 2, "both workers are there")
    enqueuer.start()
    try:
        for away in (*[0] * (RESTARTS - 1), AWAY):
            ran = len(lines(tmp_path / "ran"))
            eventually(lambda so_far=ran: len(lines(tmp_path / "ran")) > so_far + 5, "jobs run", 90)
            fragile.stop(CRASH)
            pause(away * 1_000_000)
            fragile.start()
        enqueuer.over.set()
        enqueuer.join(60)
        eventually(lambda: ended(queuectl) >= set(enqueuer.acknowledged), "all acknowledged jobs have run", 120)
        gone = [worker for worker in workers if worker.process.poll() is not None]
        assert not gone, gone[0].stderr.read_text()[-2000:]
        assert lines(tmp_path / "twice") == []
        assert set(enqueuer.acknowledged) <= set(lines(tmp_path / "ran"))
    finally:
        enqueuer.over.set()
        queuectl.stop()
    queuectl.check()
    assert queuectl.ok("verify").startswith("clean")


def ended(queuectl: OnServer) -> set[str]:
    return {row[0] for row in queuectl.query("SELECT id FROM jobs WHERE state = 'done'")}
