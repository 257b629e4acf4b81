"""Imports msgspec in less time than an `import` statement."""

import sys

__all__ = ["import_msgspec"]


def import_msgspec() -> None:
    """Import msgspec without typing_extensions, which it prefers to `typing` where it is installed: it takes 7 ms."""
    name = "typing_extensions"
    if name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment] # the mark of a module that cannot be imported
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules[name]
