"""The parameters and the body of a request, checked."""

from collections.abc import Collection
from typing import TypeVar

import msgspec
from starlette.requests import Request

from queuectl.application.listing import Selection
from queuectl.application.wrong_types import wrong_type
from queuectl.errors import UsageError
from queuectl.units import parse_time

__all__ = ["MOST_BODY", "Parameters", "TooLongError", "WrongContentError", "body_of", "read_body", "whole_number"]

MOST_BODY = 16 << 20
"""Bytes of a request's body."""
MOST = (1 << 63) - 1
T = TypeVar("T")


class TooLongError(UsageError):
    """The body is longer than is read."""

    status = 413


class WrongContentError(UsageError):
    """The body is not JSON by its header."""

    status = 415


class Parameters:
    """The parameters of a URL. Raises UsageError for one that is not among `known`, and for one that is invalid."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        self._given = request.query_params
        for name in self._given:
            if name not in known:
                raise UsageError(f"there is no parameter {name}: the parameters are {', '.join(known) or 'none'}")

    def text(self, name: str) -> str | None:
        """One text; None when it is not given, or empty."""
        return self._given.get(name) or None

    def texts(self, name: str) -> tuple[str, ...]:
        """Every text that is given."""
        return tuple(filter(None, self._given.getlist(name)))

    def number(self, name: str, default: int, low: int = 0, high: int = MOST) -> int:
        """A whole number within limits."""
        text = self.text(name)
        if text is None:
            return default
        found = whole_number(text)
        if found is None or not low <= found <= high:
            raise UsageError(f"{name}={text}: it must be a whole number from {low} to {high}")
        return found

    def flag(self, name: str) -> bool:
        """Whether it is given as 1 or true."""
        return self.text(name) in ("1", "true")

    def selection(self, now: int) -> Selection:
        """The jobs that `state`, `queue`, `tag`, `since` and `batch` select."""
        return Selection(
            states=self.texts("state"),
            queues=self.texts("queue"),
            tags=dict(map(_tag, self.texts("tag"))),
            since=_moment(self.text("since"), now),
            batch=self.text("batch"),
        )


def whole_number(text: str) -> int | None:
    """The number that these digits are, perhaps after a minus; None for anything else and for very many digits."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


def _tag(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"tag={text}: write it as NAME=VALUE")
    return name, value


def _moment(text: str | None, now: int) -> int | None:
    try:
        return None if text is None else parse_time(text, now)
    except ValueError as error:
        raise UsageError(f"since: {error}") from None


async def read_body(request: Request, most: int = MOST_BODY) -> bytes:
    """The whole body. Raises UsageError when it is too long."""
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLongError(f"a request can have at most {most} bytes")
        parts.append(part)
    return b"".join(parts)


def body_of(raw: bytes, kind: type[T]) -> T:
    """The body as JSON of this type; an empty body is an empty object. Raises UsageError."""
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"not what is expected in JSON: {wrong_type(error)}") from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UsageError(f"not what is expected in JSON: {error}") from None
