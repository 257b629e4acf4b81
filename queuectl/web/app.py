"""The application: the interface, the pages and the files of the page, behind the guard."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from queuectl.errors import NoSuchJobError, QueuectlError, RefusedError
from queuectl.render.terminal import clean
from queuectl.web.answers import document, failed
from queuectl.web.api import api_routes
from queuectl.web.pages import Pages
from queuectl.web.security import Door, Guard
from queuectl.web.site import Site

__all__ = ["application"]


def application(site: Site, door: Door) -> ASGIApp:
    """The whole application. Its lifespan starts and stops the feed."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.feed.start(asyncio.get_running_loop())
        try:
            yield
        finally:
            site.feed.stop()
            if site.verification is not None:
                site.verification.end()

    handlers = {HTTPException: _refused, QueuectlError: _failed}
    return Guard(Starlette(routes=_routes(site), exception_handlers=handlers, lifespan=lifespan), door)


def _routes(site: Site) -> list[BaseRoute]:
    static = StaticFiles(directory=os.path.join(os.path.dirname(__file__), "static"))
    return [*Pages(site).routes(), *api_routes(site), Mount("/static", static)]


async def _refused(request: Request, error: Exception) -> Response:
    """The response for an unknown path or method."""
    status = getattr(error, "status_code", 500)
    where = clean(request.url.path, newlines=False)[:200]
    said = f"{request.method} {where} is not served here"
    if status != 405:
        return document(failed(NoSuchJobError(said))[1], status)
    allowed = ", ".join(_methods(request))
    answer = document(failed(RefusedError(f"{said}, but {allowed}"))[1], status)
    answer.headers["allow"] = allowed
    return answer


def _methods(request: Request) -> list[str]:
    """The methods that the path is served with. Starlette names only those of its first route."""
    routes = [each for each in request.app.routes if isinstance(each, Route)]
    found = [each.methods or () for each in routes if each.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for methods in found for method in methods})


async def _failed(request: Request, error: Exception) -> Response:
    status, found = failed(error)
    return document(found, status)
