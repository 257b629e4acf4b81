"""`serve`: the web page and the HTTP interface of a queue."""

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from queuectl.application.access import check_not_moved
from queuectl.application.queue import Queue
from queuectl.cli.messages import say
from queuectl.cli.session import Session
from queuectl.errors import UsageError
from queuectl.runtime import caller_umask
from queuectl.units import quoted

if TYPE_CHECKING:
    from queuectl.web.server import Address
    from queuectl.web.site import Site
    from queuectl.web.verification import Verification

__all__ = ["serve"]

INSTALL = "`serve` needs the packages of the web page: in the clone of queuectl run pip install '.[web]'"


def serve(
    ctx: typer.Context,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            show_default=False,
            help="HOST:PORT (port 0: any that is free) or unix:PATH [default: 127.0.0.1:8600].",
        ),
    ] = "127.0.0.1:8600",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only show the queue: no buttons, no changes.")
    ] = False,
    allow_enqueue: Annotated[
        bool, typer.Option("--allow-enqueue", help="Also let jobs be added and edited: these are commands.")
    ] = False,
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Tokens, one a line: TOKEN or NAME TOKEN [default: a new one each start]."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Serve this Host too, as behind a proxy.")
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Let in everyone on this machine.")] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not verify the queue now and then while a page is open.")
    ] = False,
) -> None:
    """Show the queue in a browser, and serve its HTTP interface. Prints the URL to open."""
    session: Session = ctx.obj
    try:
        from queuectl.web.server import Address, read_tokens
        from queuectl.web.server import serve as serve_site
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("queuectl"):
            raise
        raise UsageError(INSTALL) from None
    if read_only and allow_enqueue:
        raise UsageError("give one of --read-only and --allow-enqueue")
    for host in allowed_host or ():
        if not host or not host.isprintable() or set(host) & set(" /"):
            raise UsageError(f"--allowed-host {quoted(host)}: write a name such as queue.example.org")
    address = Address.of(listen)
    _check_reach(address, token_file, no_token)
    tokens = [] if no_token else None if token_file is None else read_tokens(token_file)
    with _opened(session, read_only=read_only, allow_enqueue=allow_enqueue) as queue:
        if not read_only:
            check_not_moved(queue.store, session.url.name)
        site = _site(session, queue, read_only=read_only, allow_enqueue=allow_enqueue)
        if not no_verify:
            site.verification = _verification(session)
        serve_site(site, address, tokens, allowed_host or (), lambda url: print(url, flush=True))


def _opened(session: Session, *, read_only: bool, allow_enqueue: bool) -> AbstractContextManager[Queue]:
    """The queue. One that does not exist is made only when jobs can be added to it."""
    if read_only:
        return session.open_read_only(missing="refuse")
    return session.open() if allow_enqueue else session.open_existing()


def _check_reach(address: "Address", token_file: str | None, no_token: bool) -> None:
    if no_token and token_file is not None:
        raise UsageError("give one of --no-token and --token-file")
    if address.is_local:
        return
    if no_token or token_file is None:
        raise UsageError("--listen beyond this machine needs --token-file FILE")
    say("queuectl: whoever has a token of the file can change jobs, and run commands if --allow-enqueue is given")


def _verification(session: Session) -> "Verification":
    from queuectl.web.verification import Verification

    program = [sys.executable, "-P", "-m", "queuectl"]
    return Verification([*program, *session.place_for_others(), "verify", "--json", "--jobs", "1"], session.clock)


def _site(session: Session, queue: Queue, *, read_only: bool, allow_enqueue: bool) -> "Site":
    from queuectl.web.site import Rights, Site

    site = Site(queue, session.config, session.access.open, Rights(read_only, allow_enqueue), caller_umask())
    site.name = session.url.name
    return site
