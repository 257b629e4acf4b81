"""A store of each engine with a clock that tests set, and the installed command line."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from queuectl.store import open_store
from queuectl.store.protocol import Store
from tests.support.builders import SettableClock
from tests.support.stores import KINDS


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest, clock: SettableClock, tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(KINDS[request.param](tmp_path, 1), clock)) as opened:
        yield opened
