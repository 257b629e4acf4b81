"""The acceptance tests, unchanged, on a server: a few of them, or with `QUEUECTL_POSTGRES=all` all that are not about
files."""

import os
from importlib import import_module
from pathlib import Path

from tests import acceptance

SHORT = ("test_bad_input", "test_history", "test_wait")
ABOUT_FILES = {
    "test_bad_stores": "paths that cannot hold a queue",
    "test_bad_values": "runs its commands in this process, on a file",
    "test_full_disk": "the disk of a file",
    "test_raw_opens": "the descriptors of a file",
    "test_unknown_outcome": "the syncs of a file",
}
"""Module -> why it applies to files only. test_opening.py and test_faults.py have the tests for a server."""

ABOUT_A_FILE = {
    "test_a_bulk_purge_names_the_jobs_that_it_left": "damages a file",
    "test_the_queue_its_export_and_its_archive_have_one_verdict": "reads a segment next to the file",
    "test_a_refused_migration_changes_neither_store": "two files",
    "test_cwd_is_where_it_was_enqueued": "--db PATH",
    "test_a_url_and_a_path_are_the_same_queue": "--db PATH",
    "test_a_worker_outlasts_a_locked_store": "holds a file's lock",
    "test_a_worker_starts_while_the_store_is_locked": "holds a file's lock",
    "test_the_database_has_its_layers_too": "QUEUECTL_DB of .env",
    "test_schedules_go_along_with_the_log": "two files",
    "test_a_job_enqueues_into_its_own_queue_wherever_it_runs": "paths, also relative ones",
}


def _modules() -> list[str]:
    if os.environ.get("QUEUECTL_POSTGRES") != "all":
        return [*SHORT]
    [folder] = acceptance.__path__
    return sorted(path.stem for path in Path(folder).glob("test_*.py") if path.stem not in ABOUT_FILES)


def _add_tests_of(module: str) -> None:
    """Add a module's tests and the fixtures that they use to this one."""
    for name, value in vars(import_module(f"tests.acceptance.{module}")).items():
        if name.startswith("test_") and name not in ABOUT_A_FILE:
            assert name not in globals(), f"two tests are called {name}"
            globals()[name] = value
        elif type(value).__name__ == "FixtureFunctionDefinition":
            globals()[name] = value


for each in _modules():
    _add_tests_of(each)
