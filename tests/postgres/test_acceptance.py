"""The acceptance tests once more, unchanged, on a server: those that are not about files."""

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

MODULES = (
    test_dead_letters,
    test_enqueue,
    test_enqueue_file,
    test_history,
    test_moves,
    test_reading,
    test_run,
    test_wait,
)

OF_FILES = {}

for module in MODULES:
    for name, test in vars(module).items():
        if name.startswith("test_") and name not in OF_FILES:
            assert name not in globals(), f"two tests are called {name}"
            globals()[name] = test
