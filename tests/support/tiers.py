"""The tests that only the full tier runs: folders, files, and all tests on a PostgreSQL server."""

from pathlib import Path

import pytest

__all__ = ["FULL_ONLY", "is_full_only"]

FULL_ONLY = "full_only"
"""The mark, set by path in tests/conftest.py and nowhere else."""

TESTS = Path(__file__).parents[1]
SERVER = "postgres"
PATHS = (
    *("postgres", "multi_host", "simulation/test_on_a_server.py"),  # a server
    *("campaign/test_campaigns.py", "campaign/test_reporting.py"),
    *("security/test_modes.py", "security/test_owners.py", "security/test_secrets.py"),
    "powerloss/test_more_seeds.py",
    *("time_travel/test_commands.py", "time_travel/test_more_lives.py"),
    "api/test_types.py",  # mypy over the package
    *("web/test_browser.py", "web/test_schemathesis.py", "web/test_server.py"),
    "store/test_edit_races.py",
    *("crash/test_escapes.py", "crash/test_stopping.py", "crash/test_supervisord.py", "crash/test_workers.py"),
    "store/test_many_dependencies.py",
    *("test_recorded_pages.py", "test_service_page.py"),
)
"""Files and folders below tests/ that take long."""

ACCEPTANCE = "acceptance"
COMMANDS = ("each_command", "enqueue", "enqueue_file", "run", "unknown_outcome")
"""Files of acceptance tests in the default tier: each command once, and the most used ones. A process costs 0.1 s."""


def is_full_only(item: pytest.Item) -> bool:
    """Whether a test is left out of the default tier."""
    path = item.path.relative_to(TESTS)
    return _is_below(path, PATHS) or _is_long_acceptance(path) or _is_on_a_server(item)


def _is_long_acceptance(path: Path) -> bool:
    return path.is_relative_to(ACCEPTANCE) and path.stem.removeprefix("test_") not in COMMANDS


def _is_below(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _is_on_a_server(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    return parameters is not None and SERVER in parameters.params.values()
