"""The log's format: raised by the first event that an older version cannot read, which then refuses to write."""

import pytest

from queuectl.domain.events import Origin
from queuectl.errors import StoreError
from queuectl.maintenance.export import export_log
from queuectl.maintenance.import_log import import_log
from queuectl.store import meta
from queuectl.store.errors import VersionConflictError
from queuectl.store.rows import FIRST_FORMAT, NEWEST_FORMAT
from tests.support.builders import add, claimed, completed, more, new

JOB = Origin("job", "parent", 3)


def older_check(form):
    """`check_format` as a version that knows the first format alone has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta, "NEWEST_FORMAT", FIRST_FORMAT)
        meta.check_format(form, "queue.db")


def test_a_log_begins_with_the_first_format(store):
    job = add(store, new("a"))[0]
    add(store, more(job, claimed(), completed()))
    assert store.log.format() == FIRST_FORMAT
    older_check(store.log.format())


def test_a_new_kind_of_event_raises_the_format(store):
    add(store, new("a"), new("b", origin=JOB))
    assert store.log.format() == NEWEST_FORMAT
    with pytest.raises(StoreError, match=f"has format {NEWEST_FORMAT}, newer than this queuectl reads"):
        older_check(store.log.format())
    add(store, new("c"))
    assert store.log.format() == NEWEST_FORMAT


def test_a_failed_append_leaves_the_format(store):
    add(store, new("a"))
    with pytest.raises(VersionConflictError):
        add(store, new("b", origin=JOB), new("a"))
    assert store.log.format() == FIRST_FORMAT
    add(store, new("c"))
    assert store.log.format() == FIRST_FORMAT


def test_a_copy_of_the_log_has_its_format(places, tmp_path):
    source, target = places.new_store(), places.new_store()
    add(source, new("a", origin=JOB))
    with open(tmp_path / "log", "wb") as file:
        export_log(source, file, lambda position: None)
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert b'"format":2' in lines[0]
    import_log(target, lines, lambda position: None)
    assert target.log.format() == source.log.format() == NEWEST_FORMAT


def test_a_format_that_is_too_low_is_found_and_repaired(store):
    add(store, new("a", origin=JOB))
    with store.writer.transaction():
        store.engine.set_meta("format", FIRST_FORMAT)
    assert "the log has events of format 2" in str(store.upkeep.compare().first[0])
    store.upkeep.rebuild()
    assert store.log.format() == NEWEST_FORMAT
    assert store.upkeep.compare().total == 0
