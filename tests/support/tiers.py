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
    *("security/test_modes.py", "security/test_owners.py"),
    "api/test_types.py",  # mypy over the package
    *("crash/test_escapes.py", "crash/test_supervisord.py", "crash/test_workers.py"),
    *(
        f"acceptance/test_{name}.py"
        for name in (
            *(
                "audit",
                "bad_input",
                "bad_stores",
                "completion_in_shells",
                "dead_letters",
                "enqueue_and_wait",
                "full_disk",
                "long_log",
                "lost_workers",
                "many_processes",
                "migrate",
            ),
            *("moves", "origins", "output_formats", "raw_opens", "reading", "selections", "settings", "spellings"),
            *("standard_library", "surroundings", "sweeps", "wait", "what_now"),
        )
    ),
)
"""Files and folders below tests/ that take long."""


def is_full_only(item: pytest.Item) -> bool:
    """Whether a test is left out of the default tier."""
    return _is_below(item.path.relative_to(TESTS), PATHS) or _is_on_a_server(item)


def _is_below(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _is_on_a_server(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    return parameters is not None and SERVER in parameters.params.values()
