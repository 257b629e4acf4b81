"""The command line in an empty folder, as the acceptance tests have it."""

from tests.acceptance.conftest import queuectl

__all__ = ["queuectl"]
