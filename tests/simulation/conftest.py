"""Simulated workers log nothing: the tests read the event log."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Turn logging off: formatting lines would slow down hundreds of seeds."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
