"""A queue with a history, to read and to corrupt."""

import shutil
from pathlib import Path

import pytest

from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM
from tests.support.builders import SettableClock, add, buried, claimed, completed, follow, new, note, retried
from tests.support.queues import opened, random_history


@pytest.fixture(scope="session")
def _small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, clock = tmp_path_factory.mktemp("small") / "queue.db", SettableClock()
    with opened(path, clock) as store:
        add(store, new("one", max_retries=1))  # 1
        add(store, note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))  # 2
        follow(store, clock, "one", claimed(), retried(), claimed(2), buried(2))  # 3 to 6
        add(store, new("two"), new("three"))  # 7, 8
        follow(store, clock, "two", claimed(), completed())  # 9, 10
        add(store, note(store, "$queue:mail", e.QueuePaused()))  # 11
    return path


@pytest.fixture(scope="session")
def _large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, clock = tmp_path_factory.mktemp("large") / "queue.db", SettableClock()
    with opened(path, clock) as store:
        random_history(store, clock, seed=7, steps=400)
    return path


def _copy(path: Path, folder: Path) -> Path:
    shutil.copytree(path.parent, folder / "copy")
    return folder / "copy" / path.name


@pytest.fixture
def small(_small: Path, tmp_path: Path) -> Path:
    """Eleven events: `one` is in the dlq, `two` is done, `three` is pending; two events are notes."""
    return _copy(_small, tmp_path)


@pytest.fixture
def large(_large: Path, tmp_path: Path) -> Path:
    """A random history."""
    return _copy(_large, tmp_path)
