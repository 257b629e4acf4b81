"""Answers of the HTTP interface: JSON with an ETag, text, and errors with the status that their exit code means."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from queuectl.errors import QueuectlError
from queuectl.render.terminal import clean, to_ndjson

__all__ = ["STATUS", "ErrorDocument", "document", "etag", "failed", "not_modified"]

STATUS = {2: 400, 3: 404, 4: 409, 5: 503, 124: 504}
"""An exit code of the command line -> the HTTP status. Others are 500."""
ErrorDocument = dict[str, Any]


def etag(position: int) -> str:
    """The ETag of what the log up to a position says."""
    return f'"{position}"'


def not_modified(request: Request, tag: str) -> Response | None:
    """The answer to a reader who has this already, if it does."""
    given = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers={"etag": tag}) if tag in given else None


def document(found: Any, status: int = 200, tag: str | None = None) -> Response:
    """One JSON document."""
    headers = {"cache-control": "no-cache" if tag else "no-store", **({"etag": tag} if tag else {})}
    return Response(to_ndjson(found) + "\n", status, headers, "application/json")


def failed(error: Exception) -> tuple[int, ErrorDocument]:
    """The status and the document of an error."""
    if isinstance(error, QueuectlError):
        code = error.exit_code
        status = getattr(error, "status", STATUS.get(code, 500))
        return status, {
            "error": clean(str(error), newlines=False),
            "exit_code": code,
        }
    return 500, {"error": f"queuectl has a fault: {type(error).__name__}", "exit_code": 1}


Endpoint = Callable[[Request], Awaitable[Response]]


def reporting(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with errors of queuectl as JSON."""

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (QueuectlError, OSError) as error:
            status, found = failed(error)
            return document(found, status)

    return answered
