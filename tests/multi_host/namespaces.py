"""Hosts as kernel namespaces: each has its own network, name, processes and boot id.

The server has a namespace too, with a veth pair to each host and to nothing else. All of it is removed with the
namespaces; this machine's own network is not affected.
"""

import ctypes
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.multi_host.host import Hosts, Remote
from tests.support.postgres import Server, binaries

__all__ = ["Namespaces"]

BOOT_ID = "/proc/sys/kernel/random/boot_id"
MOVE_IN = f'mount --bind "$1" {BOOT_ID} && hostname "$2" && shift 2 && exec "$@"'
CLONE_NEWNET = 0x40000000


class Namespaces(Hosts):
    """See the module's docstring."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made, self._hosts = folder, list[str](), list[Namespace]()
        self._prefix = f"queuectl-{os.getpid()}"
        self._server = self._namespace("server")
        try:
            self._postgres = self._start_server()
        except BaseException:
            self._remove_namespaces()
            raise
        self.url = self._postgres.url()

    def _start_server(self) -> Server:
        with _inside(self._server):
            server = Server(binaries()["pypi"], listen_addresses="'*'")
        with (server.data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.203.0.0/16 trust\n")
        server.ask("SELECT pg_reload_conf()")
        return server

    @staticmethod
    def why_not() -> str:
        """Why namespaces cannot be created here; empty if they can."""
        name = f"queuectl-{os.getpid()}-try"
        try:
            for words in (["ip", "netns", "add", name], ["unshare", *_UNSHARED, "true"]):
                _call(*words)
        except (OSError, AssertionError) as error:
            return str(error)
        finally:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        return ""

    def add(self, name: str, ahead: int = 0) -> Remote:
        """See Hosts."""
        number, namespace = len(self._hosts) + 1, self._namespace(name)
        _call("ip", "link", "add", name, "netns", self._server, "type", "veth", "peer", "server", "netns", namespace)
        for place, line, end in ((self._server, name, 1), (namespace, "server", 2)):
            _call("ip", "-n", place, "address", "add", f"10.203.{number}.{end}/30", "dev", line)
            _call("ip", "-n", place, "link", "set", line, "up")
        url = f"postgresql://postgres@10.203.{number}.1/postgres"
        self._hosts.append(Namespace(name, url, self._folder / name, ahead, namespace, self._server, number))
        return self._hosts[-1]

    def remove(self) -> None:
        """See Hosts."""
        for host in self._hosts:
            host.stop()
        self._postgres.remove()
        self._remove_namespaces()

    def _remove_namespaces(self) -> None:
        for name in self._made:
            _call("ip", "netns", "del", name)

    def _namespace(self, name: str) -> str:
        made = f"{self._prefix}-{name}"
        _call("ip", "netns", "add", made)
        self._made.append(made)
        return made


class Namespace(Remote):
    """One host. Its monotonic clock started at another time than the others', as after its own boot."""

    def __init__(self, name: str, url: str, folder: Path, ahead: int, namespace: str, server: str, number: int) -> None:
        super().__init__(name, url, folder, ahead)
        self._namespace, self._server, self._number = namespace, server, number
        self._boot = folder / "boot_id"
        self._boot.write_text(f"{uuid.uuid4()}\n")

    def command(self, *words: str) -> list[str]:
        """See Host."""
        clock = ["--time", "--monotonic", str(100_000 * self._number)] if os.path.exists("/proc/self/ns/time") else []
        inside = ["sh", "-c", MOVE_IN, "sh", str(self._boot), self.name]
        return ["ip", "netns", "exec", self._namespace, "unshare", *_UNSHARED, *clock, *inside, *words]

    def cut(self) -> None:
        """See Remote."""
        _call("ip", "-n", self._server, "link", "set", self.name, "down")

    def join(self) -> None:
        """See Remote."""
        _call("ip", "-n", self._server, "link", "set", self.name, "up")


_UNSHARED = ["--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """Processes that this thread starts meanwhile are in that network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{namespace}", "rb") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
