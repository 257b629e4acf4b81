"""The crash tests drive the installed command line, like the acceptance tests."""

from tests.acceptance.conftest import queuectl

__all__ = ["queuectl"]
