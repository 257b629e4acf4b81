"""The units, crontab lines and settings of docs/service.md, tried as far as a machine without systemd running can."""

import configparser
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM as QUEUECTL
from tests.support.command_line import Queuectl, eventually

PAGE = (Path(__file__).resolve().parent.parent / "docs/service.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(ini|text|sh|dockerfile)\n(.*?)```", PAGE, re.DOTALL)
UNITS = [text for kind, text in BLOCKS if kind == "ini" and "[Service]" in text]
(PROGRAM,) = [text for kind, text in BLOCKS if kind == "ini" and "[program:" in text]
(UPGRADE,) = [text for kind, text in BLOCKS if kind == "sh" and "pip install --upgrade" in text]
(DOCKERFILE,) = [text for kind, text in BLOCKS if kind == "dockerfile"]
CRON = [line for kind, text in BLOCKS if kind == "text" for line in text.splitlines() if re.match(r"[@*\d]", line)]


@pytest.fixture
def queuectl(tmp_path):
    """A queue in a folder that is laid out as /srv/jobs on the page."""
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/bin").symlink_to(Path(sys.executable).parent)
    return Queuectl(tmp_path)


def verified(unit, folder):
    """The output of systemd for a unit; the program is one that every machine has."""
    path = folder / "queuectl.service"
    path.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={shutil.which('true')}", unit))
    kind = ["--user"] if "default.target" in unit else []
    command = ["systemd-analyze", *kind, "verify", path]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    return done.returncode, done.stderr


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=["system", "user", "postgres"])
def test_systemd_accepts_the_unit(unit, tmp_path):
    assert verified(unit, tmp_path) == (0, "")


@needs_systemd
@pytest.mark.parametrize("kind", [[], ["--user"]], ids=["system", "user"])
def test_systemd_accepts_the_unit_made_for_a_queue(kind, tmp_path):
    folder = tmp_path / "a b%c"
    folder.mkdir()
    made = Queuectl(folder)("worker", "unit", *kind, "-c", "4", "--stop-timeout", "90s")
    assert made.code == 0
    assert verified(made.out, tmp_path) == (0, "")
    assert "TimeoutStopSec=100" in made.out
    assert list(folder.iterdir()) == [], "it makes no queue"


def test_a_unit_runs_a_worker_of_its_queue(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    queuectl = Queuectl(folder)
    made = queuectl("worker", "unit", "--drain", "-q", "mail", "--name", "w")
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read_string(made.out)
    service = unit["Service"]
    assert (service["KillMode"], service["WorkingDirectory"]) == ("mixed", str(folder))
    (variable,) = shlex.split(service["Environment"])
    queuectl.add("--queue", "mail", "true")
    words = shlex.split(service["ExecStart"])
    assert words == [QUEUECTL, "run", "--drain", "-q", "mail", "--name", "w"]
    worker = queuectl.start_program(*words, env=dict([variable.split("=", 1)]))
    assert worker.ended().code == 0
    assert [row["state"] for row in queuectl.json("list")] == ["done"]
    assert "systemctl enable --now queuectl" in made.err


def test_a_unit_survives_a_job_without_memory_and_waits_for_its_disk(tmp_path):
    made = Queuectl(tmp_path)("worker", "unit", "--db", str(tmp_path / "a b/q.db"))
    assert "OOMPolicy=continue" in made.out.splitlines()
    assert f'RequiresMountsFor="{tmp_path}/a b"' in made.out.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
@pytest.mark.parametrize("there", [False, True], ids=["new queue", "queue"])
def test_a_unit_made_by_root_runs_as_the_queues_owner(tmp_path, there):
    queuectl = Queuectl(tmp_path)
    assert "User=root: its jobs run as root" in queuectl("worker", "unit").err
    if there:
        queuectl.add("true")
    for each in (tmp_path, *tmp_path.rglob("*")):
        os.chown(each, 1, -1)
    made = queuectl("worker", "unit")
    name = pwd.getpwuid(1).pw_name
    assert f"User={name}" in made.out.splitlines()
    assert f"User={name}: the queue is that user's" in made.err


def test_the_commands_for_a_user_unit_work_in_a_new_home(tmp_path):
    """Those of the page are those that are printed with the unit."""
    queuectl, home = Queuectl(tmp_path), tmp_path / "home"
    home.mkdir()
    made = queuectl("worker", "unit", "--user", "--concurrency", "4")
    steps = [line.strip() for line in made.err.splitlines() if line.startswith("  ")]
    assert "\n".join(steps) in PAGE
    lines = [line for line in steps if not line.startswith("systemctl")]
    program = {**queuectl.env, "HOME": str(home), "PATH": f"{Path(QUEUECTL).parent}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-ec", "\n".join(lines)], check=True, cwd=tmp_path, env=program, timeout=60)
    assert (home / ".config/systemd/user/queuectl.service").read_text() == made.out


def test_a_password_stays_out_of_the_unit(tmp_path):
    made = Queuectl(tmp_path)("worker", "unit", env={"QUEUECTL_DB": "postgresql://ada:secret@host/db"})
    assert "secret" not in made.out + made.err
    assert f"EnvironmentFile=-{tmp_path}/queuectl.env" in made.out
    assert "put QUEUECTL_DB with the password into" in made.err


@needs_systemd
def test_systemd_refuses_a_misspelled_unit(tmp_path):
    assert "KillMod" in verified(UNITS[0].replace("KillMode", "KillMod"), tmp_path)[1]


@pytest.mark.parametrize("unit", UNITS, ids=["system", "user", "postgres"])
def test_a_unit_lets_jobs_finish_and_starts_with_the_machine(unit):
    for line in ("KillMode=mixed", "OOMPolicy=continue", "TimeoutStopSec=infinity", "Restart=on-failure"):
        assert line in unit.splitlines()
    assert "WantedBy=" in unit.partition("[Install]")[2]


def test_the_page_says_what_a_user_unit_needs_to_survive_a_reboot():
    assert "loginctl enable-linger" in PAGE
    assert "systemctl --user enable --now queuectl" in PAGE


def test_supervisord_lets_jobs_finish_and_restarts_no_stopped_worker():
    parser = configparser.ConfigParser()
    parser.read_string(PROGRAM)
    program = parser["program:queuectl"]
    assert (program["stopsignal"], program["stopasgroup"], program["autorestart"]) == ("TERM", "false", "unexpected")
    assert program["exitcodes"] == "0"


def as_cron_does(line, queuectl):
    """Run a crontab line: in the home folder, with cron's environment."""
    command = re.match(r"@reboot (.*)|(?:\S+ ){5}(.*)", line)
    assert "%" not in line, "cron reads % as a newline"
    home = queuectl.folder / "home"
    home.mkdir(exist_ok=True)
    text = (command[1] or command[2]).replace("/srv/jobs", str(queuectl.folder))
    environment = {"HOME": str(home), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "jobs"}
    subprocess.run(["/bin/sh", "-c", text], check=True, cwd=home, env=environment, timeout=60, capture_output=True)
    assert not any(home.iterdir()), "a queue in the home folder, which no worker serves"


def test_the_crontab_lines_reach_the_queue_that_the_worker_serves(queuectl):
    enqueue, purge = (next(line for line in CRON if f" {word} " in line) for word in ("enqueue", "purge"))
    as_cron_does(enqueue, queuectl)
    as_cron_does(enqueue, queuectl)
    (listed,) = queuectl.json("list")
    job = queuectl.json("show", listed["id"])
    assert (job["command"], job["cwd"]) == ("./report.sh", str(queuectl.folder))
    as_cron_does(purge, queuectl)


def test_the_upgrade_keeps_a_backup_and_ends_with_a_check(queuectl):
    """The lines of queuectl; git, pip and systemctl are other programs' work."""
    queuectl.ok("enqueue", "--id", "a", "true")
    lines = re.findall(r"sudo -u jobs (queuectl .*)", UPGRADE)
    for line in lines:
        words = line.replace("/srv/jobs", str(queuectl.folder)).split()
        queuectl.ok(*words[1:])
    assert [line.split()[3] for line in lines] == ["backup", "verify"]
    assert queuectl.ok("--db", "before-upgrade.db", "head") == queuectl.ok("head")


@pytest.mark.skipif(
    subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not make pid namespaces",
)
def test_the_main_process_of_the_container_lets_jobs_finish(queuectl):
    """It is PID 1, for which signals without a handler do nothing."""
    entry, words = (json.loads(re.search(rf"^{name} (\[.*)$", DOCKERFILE, re.M)[1]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["queuectl"]
    queuectl.ok("enqueue", "--id", "a", "touch started; until [ -e go ]; do sleep 0.05; done")
    container = queuectl.start_program("unshare", "--pid", "--fork", "--mount-proc", QUEUECTL, *words)
    eventually((queuectl.folder / "started").exists, "the job runs", 30)
    (first,) = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGTERM)
    eventually(lambda: "Stopping" in container.stderr.read_text(), "it has the request")
    (queuectl.folder / "go").touch()
    assert container.ended().code == 0
    assert queuectl.json("show", "a")["state"] == "done"


def test_the_reboot_line_starts_a_worker_whose_log_can_be_rotated(queuectl):
    (start,) = [line for line in CRON if line.startswith("@reboot")]
    as_cron_does(start, queuectl)
    try:
        (log,) = (queuectl.folder / "data/queue.db.output/.workers").glob("*.log")
        eventually(lambda: log.stat().st_size > 0, "the worker has begun its log")
        os.truncate(log, 0)  # as logrotate does with copytruncate
        queuectl.ok("enqueue", "--id", "after", "true")
        queuectl.ok("wait", "after", "--timeout", "30s")
        eventually(lambda: b"after" in log.read_bytes(), "the worker continues its log")
        assert b"\0" not in log.read_bytes()
    finally:
        queuectl.ok("worker", "stop", "--timeout", "30s")
