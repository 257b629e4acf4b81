"""The installed `queuectl` as a subprocess in a folder of its own, and independent checks of the log that it leaves."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, NamedTuple, TypeVar

import apsw

from queuectl.worker.stop_signals import STOP_NOW
from tests.support.oracle import log_faults

PROGRAM = str(Path(sys.executable).with_name("queuectl"))
T = TypeVar("T")


UNSERVED = "no worker serves these queues: queuectl run\n"
"""The line on stderr after a job was added, when nobody is there to run it."""


class Done(NamedTuple):
    """The exit code and the output of a process."""

    code: int
    out: str
    err: str


class Started:
    """A process in the background. Its output goes to files, so that tests can read it while it runs."""

    def __init__(self, command: Sequence[str], folder: Path, place: Path, **options: Any) -> None:
        self.stdout, self.stderr = place.with_suffix(".out"), place.with_suffix(".err")
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                **options,
            )
        self.pid = self.process.pid

    def ended(self, timeout: float = 30) -> Done:
        """Wait until it ends."""
        code = self.process.wait(timeout)
        return Done(code, _text(self.stdout.read_bytes()), _text(self.stderr.read_bytes()))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it; if it is a worker, its jobs too."""
        for number, patience in ((SIGTERM, 0.2), (STOP_NOW, 10.0), (SIGKILL, 10.0)):
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


class Queuectl:
    """`queuectl` in a folder, without the QUEUECTL_ variables of the environment that runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "data" / "queue.db"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}
        self.env.pop("PYTHONUNBUFFERED", None)  # output must be flushed without it
        self.env["XDG_CONFIG_HOME"] = str(folder / "no-config")  # the user's contexts must not change what a test means
        self._started: list[Started] = []

    def __call__(
        self,
        *arguments: str | bytes,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 30,
    ) -> Done:
        """Run one command until it ends."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=cwd or self.folder,
            env={**self.env, **(env or {})},
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, _text(done.stdout), _text(done.stderr))

    def ok(self, *arguments: str | bytes, **options: Any) -> str:
        """Run a command that must succeed; return its stdout without the last newline."""
        done = self(*arguments, **options)
        assert done.code == 0, done
        return done.out.removesuffix("\n")

    def add_all(self, *jobs: dict[str, Any]) -> list[str]:
        """Run `enqueue --file` with jobs in JSON; return their ids."""
        return self.ok("enqueue", "--file", "-", stdin="\n".join(map(json.dumps, jobs))).splitlines()

    def json(self, *arguments: str, **options: Any) -> Any:
        """Run a reading command with `--json`; return the one document on its stdout."""
        return json.loads(self.ok(*arguments, "--json", **options))

    def add(self, *arguments: str, **options: Any) -> str:
        """Run `enqueue`; return the job's id."""
        return self.ok("enqueue", *arguments, **options)

    def drain(self, *arguments: str, **options: Any) -> Done:
        """Run all jobs that are due, with one worker."""
        done = self("run", "--drain", *arguments, **options)
        assert done.code == 0, done
        return done

    def show(self, job_id: str) -> dict[str, Any]:
        """The job as `show --json` prints it."""
        return self.json("show", job_id)  # type: ignore[no-any-return]

    def state(self, job_id: str) -> str:
        """The job's state."""
        return str(self.show(job_id)["state"])

    def types(self, job_id: str) -> list[str]:
        """The event types of a job's history."""
        return [event["type"] for event in self.json("history", job_id)]

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> Started:
        """Start a command in the background; it is stopped when the test ends."""
        return self.start_program(PROGRAM, *arguments, env=env, **options)

    def start_program(self, *command: str, env: Mapping[str, str] | None = None, **options: Any) -> Started:
        """Start any program in the background; it is stopped when the test ends."""
        place = self.folder / f"background-{len(self._started)}"
        started = Started(command, self.folder, place, env={**self.env, **(env or {})}, **options)
        self._started.append(started)
        return started

    # ── different for each kind of store ─────────────────────────────────────────────────────────────────

    @property
    def place(self) -> str:
        """The value of QUEUECTL_DB that reaches the queue from any folder."""
        return str(self.db)

    @property
    def output(self) -> Path:
        """The folder with the complete output of jobs."""
        return self.db.with_name("queue.db.output")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the queue, read without `queuectl`."""
        return query(self.db, sql)

    def stored(self) -> list[bytes]:
        """The bytes of every stored file or table of the queue."""
        return [path.read_bytes() for path in self.db.parent.rglob("*") if path.is_file()]

    def has_opened(self, pid: int) -> bool:
        """Whether a process has opened the queue."""
        return "queue.db-shm" in maps(pid)

    def check(self) -> None:
        """Assert that the log is complete and that `audit` finds no broken rule."""
        if self.db.is_file():
            check_log(self.db)

    # ────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """End every process in the background."""
        for started in self._started:
            started.stop()

    def position(self) -> int:
        """The position of the log's last event; 0 when there is no queue yet."""
        return int(query(self.db, "SELECT coalesce(max(position), 0) FROM events")[0][0]) if self.db.exists() else 0

    def events(self, kind: str, db: Path | None = None) -> list[dict[str, Any]]:
        """The data of every event of a type, in order, with its stream's id."""
        rows = query(db or self.db, f"SELECT stream_id, data FROM events WHERE type = '{kind}' ORDER BY position")
        found = [{"stream_id": stream, **json.loads(data)} for stream, data in rows]
        return [{name: value for name, value in event.items() if name != "type"} for event in found]


def query(db: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a queue, read without `queuectl`."""
    connection = apsw.Connection(str(db), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(10_000)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def check_log(db: Path) -> None:
    """Assert that the log is complete and that `audit` finds no broken rule."""
    assert log_faults(str(db)) == []


def eventually(probe: Callable[[], T], what: str, seconds: float = 15) -> T:
    """Call `probe` until it returns something true, and return that. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return answer


def maps(pid: int) -> str:
    """The files that a process has mapped; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def lines(path: Path) -> list[str]:
    """The lines of a file; none when there is no file yet."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def assert_error(done: Done, code: int, *words: str) -> None:
    """Assert an error: this exit code, nothing on stdout, and one line on stderr that has these words."""
    assert done.code == code, done
    assert done.out == "", done
    assert len(done.err.splitlines()) == 1, done
    assert done.err.startswith("queuectl: "), done
    assert "Traceback" not in done.err, done
    for word in words:
        assert word in done.err, done


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
