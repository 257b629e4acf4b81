"""Serves a queue: the address, the tokens, and the server itself."""

import os
import re
import signal
import socket
import stat
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from types import FrameType

import uvicorn
from msgspec import Struct

from queuectl.errors import StoreError, UsageError
from queuectl.runtime import new_token
from queuectl.units import quoted
from queuectl.web.app import application
from queuectl.web.security import Door, Token
from queuectl.web.site import Site

__all__ = ["Address", "read_tokens", "serve"]

HOSTS = ("127.0.0.1", "localhost", "[::1]")
SHORTEST = 16
"""Characters that a token must have at least."""
MOST_OF_TOKENS = 1 << 20
"""Characters that are read of a file of tokens; a device such as /dev/zero has no end."""


class Address(Struct, frozen=True):
    """Where to listen: a host and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, text: str) -> "Address":
        """`127.0.0.1:8600`, `[::1]:8600` or `unix:PATH`. Raises UsageError."""
        if text.startswith("unix:") and text != "unix:":
            return cls(path=text.removeprefix("unix:"))
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):(\d{1,5})", text)
        if found is None or int(found[2]) > 65535:
            raise UsageError(f"--listen {quoted(text)}: write it as 127.0.0.1:8600, [::1]:8600 or unix:PATH")
        return cls(found[1], int(found[2]))

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def bind(self) -> socket.socket:
        """The listening socket. Raises StoreError."""
        try:
            return self._socket_at_path() if self.path else self._socket_at_port()
        except OSError as error:
            where = self.path or f"{self.host}:{self.port}"
            raise StoreError(f"cannot listen at {where}: {error.strerror}") from None

    def _socket_at_port(self) -> socket.socket:
        name = self.host.strip("[]")
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        found = socket.create_server((name, self.port), family=family)
        found.setblocking(False)
        return found

    def _socket_at_path(self) -> socket.socket:
        """A socket that only this user may connect to. One that nobody listens at any more is replaced."""
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(self.path) and stat.S_ISSOCK(os.stat(self.path).st_mode) and found.connect_ex(self.path):
            os.unlink(self.path)
        found.close()
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.bind(self.path)
        except OSError:
            found.close()
            raise
        os.chmod(self.path, 0o600)
        found.listen()
        found.setblocking(False)
        return found


def read_tokens(path: str) -> list[Token]:
    """The tokens in a file: one a line, `TOKEN` or `NAME TOKEN`; # begins a comment. Raises UsageError."""
    try:
        with open(path, encoding="utf-8") as file:
            mode, lines = os.fstat(file.fileno()).st_mode, file.read(MOST_OF_TOKENS).splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--token-file {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    if mode & 0o077:
        raise UsageError(f"--token-file {path}: others can read it: chmod 600 {path}")
    found = [_token(path, line.split()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise UsageError(f"--token-file {path}: it has no token")
    return found


def _token(path: str, words: list[str]) -> Token:
    if len(words) > 2 or len(words[-1]) < SHORTEST or not words[0].isprintable():
        raise UsageError(
            f"--token-file {path}: a line is `TOKEN` or `NAME TOKEN`, a token at least {SHORTEST} characters"
        )
    return Token(words[0] if len(words) == 2 else "", words[-1])


class Server(uvicorn.Server):
    """Announces itself once it can be stopped by a signal.

    It ends open streams when it is asked to stop: it waits for them, and they would never end.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce, self._end_streams = announce, end_streams

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop has come."""
        self._end_streams()
        super().handle_exit(sig, frame)


def serve(
    site: Site,
    address: Address,
    tokens: Sequence[Token] | None,
    allowed_hosts: Sequence[str],
    announce: Callable[[str], None],
) -> None:
    """Serve until a signal to stop. `tokens` None: a token for this start; empty: no token is needed.

    `announce` gets the URL once connections are accepted.
    """
    listening = address.bind()
    made = [Token("", new_token())] if tokens is None else tokens
    port = 0 if address.path else listening.getsockname()[1]
    own = () if address.path or not address.is_local else (address.host.lower(),)
    hosts = frozenset((*HOSTS, *own, *(host.lower() for host in allowed_hosts)))
    door = Door(hosts, made, f"queuectl-{site.log_id[:8]}-{port}", site.rights.read_only)
    config = uvicorn.Config(
        application(site, door),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    # a socket is reached through a port that is forwarded to it, as `ssh -L 8600:PATH` does
    place = "localhost:8600" if address.path else f"{address.host}:{port}"
    query = f"/?token={made[0].secret}" if tokens is None else "/"
    server = Server(config, lambda: announce(f"http://{place}{query}"), site.feed.end)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn sends itself the signal again once it has stopped
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        if address.path:
            os.unlink(address.path)
