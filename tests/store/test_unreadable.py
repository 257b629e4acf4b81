"""Nothing that the log could not read again is written, whoever asks for it."""

from typing import Any

import pytest
from msgspec.structs import replace

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.errors import QueuectlError, UsageError
from queuectl.store.protocol import Change
from tests.support.builders import everything

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


def test_a_list_is_taken_for_a_tuple(store: Any) -> None:
    Queue(store, "me").enqueue([NewJob(replace(SOUND, argv=["a", "b"]), "a")])
    assert store.log.load("a").spec.argv == ("a", "b")


def test_the_public_names_are_there() -> None:
    import queuectl

    assert all(getattr(queuectl, name) for name in queuectl.__all__)
