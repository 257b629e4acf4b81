"""The hosts of the tests: kernel namespaces if they can be created, else loopback addresses; test ids say which."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.multi_host.host import Hosts
from tests.multi_host.loopback import Loopback
from tests.multi_host.namespaces import Namespaces


@cache
def kind() -> type[Hosts]:
    """The kind of hosts that this machine supports; determined once."""
    return Loopback if Namespaces.why_not() else Namespaces


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize each test with the kind of hosts, so that its id names it."""
    if "hosts" in metafunc.fixturenames:
        metafunc.parametrize("hosts", [kind()], ids=[kind().__name__.lower()], indirect=True)


@pytest.fixture
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosts]:
    """A server, and no hosts yet."""
    made: Hosts = request.param(tmp_path)
    try:
        yield made
    finally:
        made.remove()
