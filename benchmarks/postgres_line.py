"""The connection between the store and its server: how many round trips it makes under the log's lock, and longer
delays.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from queuectl.store.postgres.connection import Link

WAYS = ("run", "many", "copy", "script", "together", "settle")
"""The functions of a Link that send something and wait for the answer: one round trip each, but see `_goes_out`."""


@contextmanager
def longer(seconds: float) -> Iterator[None]:
    """Each round trip takes so much more time, as if the server were further away."""
    with _each(lambda link: time.sleep(seconds)):
        yield


@contextmanager
def trips() -> Iterator[list[str]]:
    """A mark for each round trip that was made with the log's lock held: nobody else can write meanwhile."""
    marks: list[str] = []
    with _each(lambda link: marks.append("trip") if link.inside else None):
        yield marks


@contextmanager
def _each(before: "Callable[[Link], None]") -> Iterator[None]:
    from queuectl.store.postgres.connection import Link

    def also(name: str, send: Callable[..., Any]) -> Callable[..., Any]:
        def sent(link: "Link", *arguments: Any) -> Any:
            if _goes_out(link, name):
                before(link)
            return send(link, *arguments)

        return sent

    with patch.multiple(Link, **{name: also(name, getattr(Link, name)) for name in WAYS}):
        yield


def _goes_out(link: "Link", name: str) -> bool:
    """There may be nothing to settle."""
    return name != "settle" or bool(link._waiting)
