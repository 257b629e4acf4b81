"""The place of each seed's queue: memory, and for every fourth seed a PostgreSQL server of the tests' own."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["of_postgres", "place"]

EVERY = 4


def of_postgres(seed: int) -> bool:
    """Whether the seed's queue is on the server."""
    return seed % EVERY == EVERY - 1


@contextmanager
def place(seed: int) -> Iterator[str]:
    """The URL of an empty queue, which is dropped at the end."""
    if not of_postgres(seed):
        yield ":memory:"
        return
    from tests.support.postgres import server  # importing it needs psycopg; the default tier has no server

    url = server().new_url()
    try:
        yield url
    finally:
        server().drop(url)
