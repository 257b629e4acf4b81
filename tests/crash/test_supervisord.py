"""supervisord runs a named worker, which is restarted under its name after a crash and on request."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from signal import SIGKILL, SIGTERM

import pytest

from queuectl.process import procfs
from tests.support.command_line import PROGRAM, Queuectl, alive, eventually

pytestmark = pytest.mark.skipif(find_spec("supervisor") is None, reason="supervisor is not installed: '.[test]'")

SETTINGS = """
[supervisord]
nodaemon=true
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
childlogdir=%(here)s

[unix_http_server]
file=%(here)s/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://%(here)s/supervisor.sock

[program:worker]
command={program} {worker}
autorestart=true
stopsignal=TERM
stopasgroup=false
{more}
"""
RUN = ("run --name w1", "startsecs=0\nstartretries=20\nstopwaitsecs=60")
START = ("worker start --name w1", "stopwaitsecs=1")
"""The worker's command, and more settings; in the second case supervisord's usual number of tries."""


class Supervisord:
    """supervisord in the folder of a queue, with one program: the worker w1."""

    def __init__(self, queuectl: Queuectl, worker: str, more: str) -> None:
        self._queuectl = queuectl
        self._settings = queuectl.folder / "supervisord.conf"
        self._settings.write_text(SETTINGS.format(program=PROGRAM, worker=worker, more=more))
        module = (sys.executable, "-m", "supervisor.supervisord", "-c", str(self._settings))
        self.process = queuectl.start_program(*module)

    def control(self, *words: str) -> None:
        """`supervisorctl`, in the background: a restart takes as long as the worker's jobs."""
        self._queuectl.start_program(
            sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self._settings), *words
        )

    def worker(self) -> int:
        """The pid of the worker that has the name; 0 when there is none."""
        rows = [row for row in self._queuectl.json("worker", "list") if row["name"] == "w1" and alive(row["pid"])]
        return rows[0]["pid"] if rows else 0


@pytest.fixture
def supervisord(queuectl: Queuectl, request: pytest.FixtureRequest) -> Iterator[Supervisord]:
    """It is asked to end once and waited for: any other signal would end it at once and leave its worker alive."""
    started = Supervisord(queuectl, *getattr(request, "param", RUN))
    yield started
    started.process.signal(SIGTERM)
    started.process.ended()


def test_a_killed_worker_comes_back_under_its_name(queuectl: Queuectl, supervisord: Supervisord) -> None:
    job_id = queuectl.add("--backoff-base", "0", "echo $$ >> pids; [ -e go ] || exec sleep 600")
    eventually((queuectl.folder / "pids").exists, "the job runs")
    first = supervisord.worker()
    (queuectl.folder / "go").touch()
    queuectl.start_program("kill", "-KILL", str(first)).ended()
    eventually(lambda: supervisord.worker() not in (0, first), "another worker has the name", 30)
    assert queuectl("wait", job_id, "--timeout", "30s").code == 0
    assert not [line for line in (queuectl.folder / "pids").read_text().split() if alive(int(line))]


def test_a_restart_waits_for_running_jobs(queuectl: Queuectl, supervisord: Supervisord) -> None:
    job_id = queuectl.add("touch started; until [ -e go ]; do sleep 0.05; done")
    eventually((queuectl.folder / "started").exists, "the job runs")
    first = supervisord.worker()
    supervisord.control("restart", "worker")
    eventually(lambda: b"waiting for worker" in _log(queuectl), "supervisord has sent SIGTERM")
    later = queuectl.add("true")
    assert queuectl.state(later) == "pending"
    (queuectl.folder / "go").touch()
    assert queuectl("wait", job_id, later, "--timeout", "30s").code == 0
    assert supervisord.worker() not in (0, first)
    assert queuectl.types(job_id).count("claimed") == 1


@pytest.mark.parametrize("supervisord", [START], indirect=True)
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_worker_that_still_drains_is_waited_for(queuectl: Queuectl, supervisord: Supervisord, how: str) -> None:
    """The process that supervisord started is killed; its worker finishes its job and keeps the name until then."""
    job_id = queuectl.add("touch started; until [ -e go ]; do sleep 0.05; done")
    eventually((queuectl.folder / "started").exists, "the job runs")
    first = supervisord.worker()
    if how == "restart":
        supervisord.control("restart", "worker")
    else:
        (program,) = procfs.children(supervisord.process.pid)
        os.kill(program, SIGKILL)
    eventually(lambda: "is stopping: the new worker starts when it has ended" in _errors(queuectl), "it waits", 30)
    later = queuectl.add("true")
    assert (supervisord.worker(), queuectl.state(later)) == (first, "pending")
    (queuectl.folder / "go").touch()
    assert queuectl("wait", job_id, later, "--timeout", "30s").code == 0
    assert supervisord.worker() not in (0, first)
    assert queuectl.types(job_id) == ["enqueued", "claimed", "completed"]
    assert b"FATAL" not in _log(queuectl)
    assert how == "kill" or b"exit status 4" not in _log(queuectl), "a killed one's worker needs a moment to notice it"


def _errors(queuectl: Queuectl) -> str:
    """Everything that supervisord's programs wrote to stderr."""
    return "".join(path.read_text() for path in queuectl.folder.glob("worker-stderr*"))


def _log(queuectl: Queuectl) -> bytes:
    path = queuectl.folder / "supervisord.log"
    return path.read_bytes() if path.exists() else b""
