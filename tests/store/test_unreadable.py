"""An event that could not be read again is not written."""

from typing import Any

import pytest
from msgspec.structs import replace

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.errors import QueuectlError, UsageError
from queuectl.maintenance.import_log import import_log
from queuectl.store import open_store
from queuectl.store.codec import digest_of
from queuectl.store.errors import DamagedEventError
from queuectl.store.ndjson import event_line, header_line
from queuectl.store.rows import Change, Head, StoredEvent
from tests.support.builders import SettableClock, everything

SOUND = e.Enqueued("true", "default", 0, 3, 2, 3_600_000_000, False, "/")


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0.5},
        {"cwd": None},
        {"tags": {"a": 1}},
        {"env": {1: "a"}},
        {"command": b"true"},
        {"command": "a\0b"},
        {"command": "\udc80"},
        {"tags": {"a": "\0"}},
        {"priority": True},
        {"priority": 1 << 70},
        {"max_retries": 3.0},
        {"backoff_base": float("nan")},
        {"unique": 7},
        {"queue": 5},
        {"tags": {"a": frozenset}},
    ],
    ids=str,
)
def test_a_wrong_type_is_refused_and_nothing_is_written(store: Any, wrong: dict[str, Any]) -> None:
    before = everything(store)
    with pytest.raises(QueuectlError):
        Queue(store, "me").enqueue([NewJob(SOUND), NewJob(replace(SOUND, **wrong))])
    assert everything(store) == before
    assert store.upkeep.compare().total == 0


@pytest.mark.parametrize("job", [NewJob(None), NewJob("true"), NewJob(SOUND, 5)], ids=["none", "text", "id"])  # type: ignore[arg-type]
def test_an_unreadable_job_is_refused(store: Any, job: NewJob) -> None:
    with pytest.raises(UsageError):
        Queue(store, "me").enqueue([job])
    assert store.log.head().position == 0


@pytest.mark.parametrize(
    "event",
    [
        e.SettingChanged(key="lease", value=5),  # type: ignore[arg-type]
        e.Cancelled(reason=None),  # type: ignore[arg-type]
        e.Completed("1", 2),  # type: ignore[arg-type]
        object(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_kind_of_event_is_checked(store: Any, event: Any) -> None:
    with pytest.raises(UsageError, match="the log cannot store"):
        store.writer.append([Change("$settings", 0, [event])], "me")
    assert store.log.head().position == 0


def test_a_list_is_accepted_for_a_tuple(store: Any) -> None:
    Queue(store, "me").enqueue([NewJob(replace(SOUND, argv=["a", "b"]), "a")])
    assert store.log.load("a").spec.argv == ("a", "b")


def test_the_public_names_can_be_imported() -> None:
    import queuectl

    assert all(getattr(queuectl, name) for name in queuectl.__all__)


# ── logs that come from elsewhere ───────────────────────────────────────────────────────────────────────

UNREADABLE = {
    "another type": ('"max_retries":3', '"max_retries":0.5'),
    "no value": ('"cwd":"/"', '"cwd":null'),
    "a text for a list": ('"argv":["a"]', '"argv":"a"'),
    "no JSON": ("{", "("),
}


def forged(old: str, new: str) -> list[StoredEvent]:
    """The rows of a log in which the second event was changed before its digest was made."""
    source = open_store(":memory:", SettableClock())
    Queue(source, "me").enqueue([NewJob(replace(SOUND, argv=["a"]), name) for name in ("a", "b", "c")])
    rows, previous = [], source.log.base.digest
    for row in source.log.stored():
        data = row.data or ""
        changed = row._replace(data=data.replace(old, new, 1) if row.position == 2 else data)
        rows.append(changed._replace(digest=digest_of(changed, previous)))
        previous = rows[-1].digest
    source.close()
    return rows


def exported(rows: list[StoredEvent]) -> list[bytes]:
    """These rows as the lines of an exported log."""
    return [header_line("0" * 32, Head(0, bytes(32), 0)), *map(event_line, rows)]


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_row_with_a_right_digest_is_refused(store: Any, name: str) -> None:
    before = everything(store)
    with pytest.raises(DamagedEventError, match="event 2 of b"):
        store.writer.append_stored(forged(*UNREADABLE[name]))
    assert everything(store) == before


@pytest.mark.parametrize("name", [*UNREADABLE, "a NUL"])
def test_an_unreadable_event_is_not_imported(store: Any, name: str) -> None:
    old, new = {**UNREADABLE, "a NUL": ('"command":"true"', '"command":"a\\u0000"')}[name]
    before = everything(store)
    with pytest.raises(UsageError, match="the file is damaged at line 3: "):
        import_log(store, exported(forged(old, new)), lambda position: None)
    assert everything(store) == before


def test_a_text_that_only_looks_like_a_nul_is_imported(store: Any) -> None:
    import_log(store, exported(forged('"command":"true"', '"command":"a\\\\u0000"')), lambda position: None)
    assert store.log.load("b").spec.command == "a\\u0000"
