"""The acceptance tests once more, unchanged, on a server: a few of them, or with `QUEUECTL_POSTGRES=all` all of them
that are not about files."""

import os

from tests.acceptance import (
    test_dead_letters,
    test_enqueue,
    test_enqueue_file,
    test_history,
    test_moves,
    test_reading,
    test_run,
    test_wait,
)
from tests.acceptance.test_reading import varied

__all__ = ["varied"]

SHORT = (test_history, test_wait)
LONG = (test_dead_letters, test_enqueue, test_enqueue_file, test_moves, test_reading, test_run)

ABOUT_FILES = {
    "test_a_job_can_enqueue_another",  # a URL is not handed on to jobs
    "test_cwd_is_where_it_was_enqueued",
    "test_a_url_and_a_path_are_the_same_queue",
}

for module in (*SHORT, *(LONG if os.environ.get("QUEUECTL_POSTGRES") == "all" else ())):
    for name, test in vars(module).items():
        if name.startswith("test_") and name not in ABOUT_FILES:
            assert name not in globals(), f"two tests are called {name}"
            globals()[name] = test
