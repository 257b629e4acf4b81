"""The stores under test, one parameter each."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.builders import SettableClock
from tests.support.stores import KINDS, SHARED, Places


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where queues without a folder of their own keep their archives, also those of other processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUEUECTL_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(params=KINDS)
def places(request: pytest.FixtureRequest, tmp_path: Path, clock: SettableClock) -> Iterator[Places]:
    """Empty stores of each kind, as many as a test asks for."""
    places = Places(request.param, tmp_path, clock)
    yield places
    places.close()


@pytest.fixture
def store(places: Places) -> Store:
    return places.new_store()


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path, clock: SettableClock) -> Iterator[Places]:
    """Like `places`, of the kinds that can be opened more than once."""
    places = Places(request.param, tmp_path, clock)
    yield places
    places.close()


@pytest.fixture
def url(shared: Places) -> str:
    """A place for one log that several open."""
    return shared.new_url()


@pytest.fixture
def in_a_file(path: str, clock: SettableClock) -> Iterator[Store]:
    """A SQLite queue at `path`: the `store` of what is tested of SQLite alone."""
    store = open_store(path, clock)
    yield store
    store.close()


@pytest.fixture
def bare(in_a_file: Store, path: str) -> Iterator[apsw.Connection]:
    """Another program that has the file of `in_a_file` open, and none of our code."""
    db = apsw.Connection(path)
    yield db
    db.close()
