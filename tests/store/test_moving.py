"""Logs that are migrated from other stores, and a store whose log continues elsewhere."""

import pytest

from queuectl.application.liveness import is_alive
from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM
from queuectl.errors import RefusedError, StoreBusyError, StoreError
from queuectl.maintenance import migrate as migration
from queuectl.store import StoreOptions, open_store
from tests.support.builders import a_worker, add, buried, claimed, completed, everything, follow, new, note
from tests.support.stores import SHARED, Places


@pytest.fixture(params=SHARED)
def shared(request, tmp_path, clock):
    """Opens stores that a log may be migrated to."""
    places = Places(request.param, tmp_path / "elsewhere", clock)
    yield places
    places.close()


@pytest.fixture
def lived(store, clock):
    """A store with jobs in several states, notes, and a purged job."""
    follow(store, clock, "done", new("done").events[0], claimed(), completed(stdout="out"))
    follow(store, clock, "dead", new("dead", max_retries=0).events[0], claimed(), buried())
    follow(store, clock, "gone", new("gone").events[0], e.Cancelled(), e.Purged())
    add(store, new("waits", unique="k"), note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))
    add(store, note(store, "$queue:mail", e.QueuePaused()))
    return store


def migrate_to(source, places, url, give_up=lambda: None):
    return migration.migrate(source, lambda: places.open(url), "there", is_alive, lambda position: None, give_up)


def test_a_migrated_log_is_the_same_log_with_the_same_tables(lived, shared):
    url = shared.new_url()
    before = everything(lived)
    head = migrate_to(lived, shared, url)
    target = shared.open(url)
    assert (target.log.head(), target.log.log_id) == (head, lived.log.log_id) == (lived.log.head(), lived.log.log_id)
    assert everything(target) == before
    add(target, new("next"))
    assert target.log.head().position == head.position + 1


def test_after_a_migration_the_source_is_read_only(lived, shared):
    migrate_to(lived, shared, shared.new_url())
    assert lived.location.moved_to == "there"
    before = everything(lived)
    for write in (
        lambda: add(lived, new("more")),
        lambda: lived.workers.beat(a_worker()),
        lambda: lived.upkeep.quarantine("waits"),
    ):
        with pytest.raises(StoreError, match="moved to there"):
            write()
    assert everything(lived) == before


def test_a_migration_cut_before_the_source_closed_resumes(lived, shared, monkeypatch):
    url = shared.new_url()
    with monkeypatch.context() as patch:
        patch.setattr(lived.writer, "move_to", lambda place: pytest.fail("cut off"))
        with pytest.raises(pytest.fail.Exception):
            migrate_to(lived, shared, url)
    assert lived.location.moved_to is None
    head = migrate_to(lived, shared, url)
    assert lived.location.moved_to == "there"
    assert shared.open(url).log.head() == head


def test_a_target_with_other_events_is_refused(lived, shared):
    url = shared.new_url()
    other = shared.open(url)
    add(other, new("mine"))
    before = everything(other)
    with pytest.raises(RefusedError, match="already has events"):
        migrate_to(lived, shared, url)
    assert everything(other) == before
    assert lived.location.moved_to is None


def test_a_closed_source_is_refused_as_a_target(shared):
    first, second = shared.new_url(), shared.new_url()
    add(shared.open(first), new("a"))
    migration.migrate(shared.open(first), lambda: shared.open(second), "second", is_alive, lambda position: None)
    with pytest.raises(RefusedError, match="first was closed when the queue moved to second: choose another place"):
        migration.migrate(shared.open(second), lambda: shared.open(first), "first", is_alive, lambda position: None)
    assert shared.open(second).location.moved_to is None
    add(shared.open(second), new("b"))


def test_a_queue_is_not_migrated_to_itself(shared, clock):
    """Its only copy would be closed."""
    url = shared.new_url()
    source = shared.open(url)
    add(source, new("a"))
    with pytest.raises(StoreBusyError, match="the same queue under another name"):
        migration.migrate(
            source,
            lambda: open_store(url, clock, StoreOptions(busy_timeout=100_000)),
            "there",
            is_alive,
            lambda position: None,
        )
    assert source.location.moved_to is None
    add(source, new("b"))


def test_a_source_that_grew_since_is_not_taken_for_migrated(lived, shared, monkeypatch):
    url = shared.new_url()
    with monkeypatch.context() as patch:
        patch.setattr(lived.writer, "move_to", lambda place: pytest.fail("cut off"))
        with pytest.raises(pytest.fail.Exception):
            migrate_to(lived, shared, url)
    add(lived, new("later"))
    with pytest.raises(RefusedError, match="already has events"):
        migrate_to(lived, shared, url)


@pytest.mark.parametrize("last_sign", [0, 119])
def test_a_source_with_a_worker_that_may_live_is_refused(lived, shared, clock, last_sign):
    """A worker of another host cannot be inspected: its heartbeat decides."""
    lived.workers.beat(a_worker(host="far", boot_id="other", last_heartbeat=lived.log.now() // 1_000_000 - last_sign))
    with pytest.raises(RefusedError, match="w1 may still run jobs"):
        migrate_to(lived, shared, shared.new_url())


def test_a_worker_that_was_silent_for_long_does_not_count(lived, shared):
    lived.workers.beat(a_worker(host="far", boot_id="other", last_heartbeat=lived.log.now() // 1_000_000 - 120))
    migrate_to(lived, shared, shared.new_url())


def test_a_source_with_a_job_that_may_still_run_is_refused(lived, shared, clock):
    follow(lived, clock, "runs", new("runs").events[0], claimed())
    with pytest.raises(RefusedError, match="runs may still be running"):
        migrate_to(lived, shared, shared.new_url())
    assert lived.location.moved_to is None


def test_after_a_failed_migration_the_source_can_be_used(lived, shared, monkeypatch):
    url, given_up = shared.new_url(), []
    broken = shared.open(url)
    monkeypatch.setattr(broken.upkeep, "compare", lambda: type("Differences", (), {"total": 1}))
    monkeypatch.setattr(shared, "open", lambda url: broken)
    with pytest.raises(StoreError, match="tables"):
        migrate_to(lived, shared, url, lambda: given_up.append(True))
    assert given_up == [True]
    add(lived, new("more"))
    monkeypatch.undo()
    assert shared.open(url).log.head().position == 0
