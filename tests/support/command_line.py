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
from tests.support.oracle import misbehaved

PROGRAM = str(Path(sys.executable).with_name("queuectl"))
T = TypeVar("T")


class Done(NamedTuple):
    """The exit code and the output of a process."""

    code: int
    out: str
    err: str


class Started:
    """A process in the background; what it writes goes to files, so that it can be read while it runs."""

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
        """Wait for its end."""
        code = self.process.wait(timeout)
        return Done(code, _text(self.stdout.read_bytes()), _text(self.stderr.read_bytes()))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it and, should it be a worker, what it runs."""
        for number, patience in ((SIGTERM, 0.2), (STOP_NOW, 10.0), (SIGKILL, 10.0)):
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


class Queuectl:
    """`queuectl` in a folder, without the QUEUECTL_ variables of whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "data" / "queue.db"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}
        self._started: list[Started] = []

    def __call__(
        self,
        *arguments: str | bytes,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 30,
    ) -> Done:
        """Run one command to its end."""
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
        """Run a command that has to succeed; its stdout, without the last newline."""
        done = self(*arguments, **options)
        assert done.code == 0, done
        return done.out.removesuffix("\n")

    def add_all(self, *jobs: dict[str, Any]) -> list[str]:
        """`enqueue --file` of jobs in JSON, and their ids."""
        return self.ok("enqueue", "--file", "-", stdin="\n".join(map(json.dumps, jobs))).splitlines()

    def json(self, *arguments: str, **options: Any) -> Any:
        """The one JSON document that is all there is on a reading command's stdout."""
        return json.loads(self.ok(*arguments, "--json", **options))

    def add(self, *arguments: str, **options: Any) -> str:
        """`enqueue`, and the id of the job."""
        return self.ok("enqueue", *arguments, **options)

    def drain(self, *arguments: str, **options: Any) -> Done:
        """Run everything there is to run."""
        done = self("run", "--drain", *arguments, **options)
        assert done.code == 0, done
        return done

    def show(self, job_id: str) -> dict[str, Any]:
        """One job."""
        return self.json("show", job_id)  # type: ignore[no-any-return]

    def state(self, job_id: str) -> str:
        """The state that a job is in."""
        return str(self.show(job_id)["state"])

    def types(self, job_id: str) -> list[str]:
        """The event types of a job's history."""
        return [event["type"] for event in self.json("history", job_id)]

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> Started:
        """Run a command in the background until it ends by itself or the test does."""
        return self.start_program(PROGRAM, *arguments, env=env, **options)

    def start_program(self, *command: str, env: Mapping[str, str] | None = None, **options: Any) -> Started:
        """Run any program in the background until it ends by itself or the test does."""
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
        """The folder of the jobs' whole outputs."""
        return self.db.with_name("queue.db.output")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the queue, read without `queuectl`."""
        return query(self.db, sql)

    def stored(self) -> list[bytes]:
        """The bytes of everything that is stored of the queue."""
        return [path.read_bytes() for path in self.db.parent.rglob("*") if path.is_file()]

    def has_opened(self, pid: int) -> bool:
        """Whether a process has opened the queue."""
        return "queue.db-shm" in maps(pid)

    def check(self) -> None:
        """The log is whole, and `audit` finds no rule broken."""
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
    """The log is whole, and `audit` finds no rule broken."""
    assert misbehaved(str(db)) == []


def eventually(probe: Callable[[], T], what: str, seconds: float = 15) -> T:
    """The first true answer of the probe. Fails when there is none until the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return answer


def maps(pid: int) -> str:
    """What a process has mapped; nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether a process runs: it is there and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def lines(path: Path) -> list[str]:
    """The lines of a file; none when there is no file yet."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def complained(done: Done, code: int, *words: str) -> None:
    """An error as every one has to be: its exit code, nothing on stdout, one line on stderr with these words."""
    assert done.code == code, done
    assert done.out == "", done
    assert len(done.err.splitlines()) == 1, done
    assert done.err.startswith("queuectl: "), done
    assert "Traceback" not in done.err, done
    for word in words:
        assert word in done.err, done


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
