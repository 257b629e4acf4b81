"""Imports msgspec and tabulate in less time than `import` statements: without what they would load for nothing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

__all__ = ["import_msgspec", "import_tabulate"]


def import_msgspec() -> None:
    """Import msgspec without typing_extensions, which it prefers to `typing` where it is installed: it takes 7 ms."""
    with _instead_of(typing_extensions=None):
        import msgspec  # noqa: F401


@cache  # other threads may import wcwidth later
def import_tabulate() -> Any:
    """The module tabulate, without importlib.metadata (10 ms), which it asks for its version, and wcwidth (9 ms).

    Its tables count each character as one column then: give the module wcwidth where others occur.
    """
    metadata = ModuleType("importlib.metadata")
    metadata.version = _unknown_version  # type: ignore[attr-defined]
    metadata.PackageNotFoundError = ImportError  # type: ignore[attr-defined]
    with _instead_of(**{"importlib.metadata": metadata, "wcwidth": None}):
        import tabulate
    return tabulate


def _unknown_version(name: str) -> str:
    raise ImportError(f"the version of {name} was not looked up")


@contextmanager
def _instead_of(**others: ModuleType | None) -> Iterator[None]:
    """Lets imports find these modules, by name, in place of ones that are not loaded yet; None: they find none."""
    changed = {name: other for name, other in others.items() if name not in sys.modules}
    sys.modules.update(changed)  # type: ignore[arg-type] # None marks a module that cannot be imported
    try:
        yield
    finally:
        for name in changed:
            del sys.modules[name]
