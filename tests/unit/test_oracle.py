"""The oracle of the campaigns reports nothing of a sound queue, and reports each kind of fault."""

import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from queuectl.store import open_store
from tests.support.builders import HOUR, SettableClock, add, claimed, more, new
from tests.support.command_line import eventually
from tests.support.oracle import Acknowledged, faults, log_id, orphans, rows
from tests.support.queues import TRIGGERS, random_history

Damage = Callable[[str], Acknowledged | None]


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A queue with a history."""
    path, clock = str(tmp_path / "queue.db"), SettableClock()
    old = os.umask(0o077)
    try:
        with closing(open_store(path, clock)) as store:
            add(store, new("job"))
            random_history(store, clock, 1)
    finally:
        os.umask(old)
    return path


def test_a_sound_queue_has_no_fault(place: str) -> None:
    last = rows(place)[-1]
    assert faults(place, Acknowledged(["job"], [("job", "enqueued")], [(last["position"], last["digest"].hex())])) == []


def job_lost(path: str) -> Acknowledged:
    return Acknowledged(jobs=["job", "other"])


def change_lost(path: str) -> Acknowledged:
    return Acknowledged(changes=[("job", "purged")])


def head_lost(path: str) -> Acknowledged:
    return Acknowledged(heads=[(rows(path)[-1]["position"] + 1, "00" * 32)])


def head_changed(path: str) -> Acknowledged:
    return Acknowledged(heads=[(1, "00" * 32)])


def event_changed(path: str) -> None:
    _execute(path, *(f"DROP TRIGGER {name}" for name in TRIGGERS), "UPDATE events SET actor = 'eve' WHERE position = 3")


def event_gone(path: str) -> None:
    last = rows(path)[-1]["position"]
    _execute(path, *(f"DROP TRIGGER {name}" for name in TRIGGERS), f"DELETE FROM events WHERE position = {last - 1}")


def claimed_too_early(path: str) -> None:
    with closing(open_store(path, SettableClock(HOUR))) as store:
        [job] = add(store, new("early", at=HOUR * 10**7))
        add(store, more(job, claimed()))


def table_changed(path: str) -> None:
    _execute(path, "UPDATE jobs SET attempts = attempts + 1")


def archive_changed(path: str) -> None:
    [segment] = Path(f"{path}.archive").glob("*.ndjson")
    segment.write_bytes(segment.read_bytes().replace(b'"true"', b'"fals"'))


def archive_ahead(path: str) -> None:
    [segment] = Path(f"{path}.archive").glob("*.ndjson")
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole.splitlines(keepends=True)[-1])


def file_readable(path: str) -> None:
    os.chmod(path, 0o640)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("lost: an acknowledged job", job_lost),
        ("lost: an acknowledged purged", change_lost),
        ("lost: a head", head_lost),
        ("lost: a head", head_changed),
        ("chain:", event_changed),
        ("chain:", event_gone),
        ("audit: due:", claimed_too_early),
        ("verify: table", table_changed),
        ("archive:", archive_changed),
        ("archive:", archive_ahead),
        ("private:", file_readable),
    ],
)
def test_each_kind_of_fault_is_reported(place: str, kind: str, damage: Damage) -> None:
    acknowledged = damage(place) or Acknowledged()
    assert any(fault.startswith(kind) for fault in faults(place, acknowledged)), faults(place, acknowledged)


def test_a_leftover_process_is_reported(place: str) -> None:
    environ = {**os.environ, "QUEUECTL_RUN_TOKEN": f"{log_id(place)}:1:2"}
    left = subprocess.Popen(["sleep", "300"], env=environ)
    try:
        eventually(lambda: orphans(log_id(place)) == {left.pid: "1:2"}, "it is found")
        assert "orphan: a process of a run is left" in faults(place, Acknowledged())
    finally:
        left.kill()
        left.wait()
    assert orphans(log_id(place)) == {}


def _execute(path: str, *statements: str) -> None:
    with closing(open_store(path, SettableClock())) as store:
        for statement in statements:
            store.engine.run(statement)
