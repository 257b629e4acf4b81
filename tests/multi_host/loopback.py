"""Hosts without namespaces: each has a loopback address, and a line to the server that can be cut.

Weaker than namespaces: all share one name, boot and process table, so a worker can see that another is alive.
"""

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.multi_host.host import Hosts, Remote
from tests.support.postgres import Server, binaries

__all__ = ["Loopback"]

PIECE = 1 << 16


class Loopback(Hosts):
    """See the module's docstring."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._hosts = folder, list[Neighbour]()
        self._postgres = Server(binaries()["pypi"])
        self.url = self._postgres.url()

    def add(self, name: str, ahead: int = 0) -> Remote:
        """See Hosts."""
        line = Line(f"127.0.0.{len(self._hosts) + 2}", str(self._postgres.folder / ".s.PGSQL.5432"))
        self._hosts.append(Neighbour(name, self._folder / name, ahead, line))
        return self._hosts[-1]

    def remove(self) -> None:
        """See Hosts."""
        for host in self._hosts:
            host.stop()
            host.line.close()
        self._postgres.remove()


class Neighbour(Remote):
    """One host with a loopback address."""

    def __init__(self, name: str, folder: Path, ahead: int, line: "Line") -> None:
        super().__init__(name, f"postgresql://postgres@{line.address}/postgres", folder, ahead)
        self.line = line

    def command(self, *words: str) -> list[str]:
        """See Host."""
        return list(words)

    def cut(self) -> None:
        """See Remote."""
        self.line.cut.set()

    def join(self) -> None:
        """See Remote."""
        self.line.cut.clear()


class Line:
    """Copies bytes between a TCP address and the server's socket. While it is cut, it copies none."""

    def __init__(self, host: str, server: str) -> None:
        self._server, self.cut, self._over = server, threading.Event(), threading.Event()
        self._listening = socket.create_server((host, 0))
        self.address = f"{host}:{self._listening.getsockname()[1]}"
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._carry, name=f"line {host}")
        self._thread.start()

    def _carry(self) -> None:
        while not self._over.is_set():
            waiting = [] if self.cut.is_set() else [self._listening, *self._pairs]
            for ready in select.select(waiting, [], [], 0.02)[0]:
                if ready is self._listening:
                    self._connect(ready.accept()[0])
                elif ready in self._pairs:
                    self._pass_on(ready, self._pairs[ready])

    def _connect(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        self._pairs |= {client: server, server: client}

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = source.recv(PIECE)
            target.sendall(data)
        if not data:
            for end in (source, target):
                del self._pairs[end]
                end.close()

    def close(self) -> None:
        """Close all sockets."""
        self._over.set()
        self._thread.join()
        for end in (self._listening, *self._pairs):
            end.close()
