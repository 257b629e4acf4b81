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
    """A QUEUECTL_HOME for queues without their own folder, also in other processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUEUECTL_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(params=KINDS)
def places(request: pytest.FixtureRequest, tmp_path: Path, clock: SettableClock) -> Iterator[Places]:
    """Opens new stores of each kind."""
    places = Places(request.param, tmp_path, clock)
    yield places
    places.close()


@pytest.fixture
def store(places: Places) -> Store:
    return places.new_store()


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path, clock: SettableClock) -> Iterator[Places]:
    """Like `places`, for the kinds that several processes can open."""
    places = Places(request.param, tmp_path, clock)
    yield places
    places.close()


@pytest.fixture
def url(shared: Places) -> str:
    """The URL of a log that several connections open."""
    return shared.new_url()


@pytest.fixture
def in_a_file(path: str, clock: SettableClock) -> Iterator[Store]:
    """A SQLite queue at `path`: the `store` of tests about SQLite only."""
    store = open_store(path, clock)
    yield store
    store.close()


@pytest.fixture
def bare(in_a_file: Store, path: str) -> Iterator[apsw.Connection]:
    """A plain connection to the file of `in_a_file`, as another program has it."""
    db = apsw.Connection(path)
    yield db
    db.close()
