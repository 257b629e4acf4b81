"""All tests: the surroundings that they expect, and which of them are in the default tier.

`python -m pytest` without a path runs the default tier: every kind of test, in three minutes on two cores, and nothing
that needs a server. `python -m pytest -m ''` runs everything, and so does a path for what is below it.
"""

import pytest

from tests.support import postgres
from tests.support.signals import keep_from_children
from tests.support.tiers import FULL_ONLY, is_full_only

keep_from_children()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Run all that is below a path that was given; see to it that the default tier starts no server."""
    if hasattr(config, "workerinput"):
        return  # a process of xdist has the choice of the one that started it
    if config.args_source is pytest.Config.ArgsSource.ARGS and config.option.markexpr == f"not {FULL_ONLY}":
        config.option.markexpr = ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is not in the default tier."""
    postgres.allowed = config.option.markexpr != f"not {FULL_ONLY}"
    for item in items:
        if is_full_only(item):
            item.add_marker(FULL_ONLY)
