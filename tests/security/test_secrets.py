"""The value of a --secret-env is in no file, no output, no message and no process's arguments, whatever is done."""

import os
from collections.abc import Iterator
from pathlib import Path

from tests.security.tour import tour
from tests.support.command_line import Queuectl, eventually

SECRET = "hunter2-7d1c93"


def holders(folder: Path) -> list[str]:
    """The files that contain the secret."""
    return [str(each) for each in folder.rglob("*") if each.is_file() and SECRET.encode() in each.read_bytes()]


def arguments_with_secret() -> Iterator[str]:
    """The arguments of every process that has the secret in them."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if SECRET.encode() in arguments:
            yield f"{pid}: {arguments!r}"


def test_a_secret_is_in_no_file_output_or_argument(queuectl: Queuectl) -> None:
    queuectl.env["TOKEN"] = SECRET
    command = '[ "$(printf %s "$TOKEN" | wc -c)" -eq 14 ] || exit 9; exec definitely-missing "${TOKEN:+set}"'
    seen = []
    for done in tour(queuectl, command, "--secret-env", "TOKEN", "--max-retries", "0"):
        assert SECRET not in done.out + done.err, done
        seen += arguments_with_secret()
    assert seen == []
    assert holders(queuectl.folder) == []
    shown = queuectl.json("show", "first")
    assert shown["state"] == "pending"
    assert "(exit 127" in queuectl.ok("history", "first")


def test_a_job_gets_the_value_of_its_secret(queuectl: Queuectl) -> None:
    """A control of the test above; a secret that a job prints itself is kept like any output."""
    queuectl.env["TOKEN"] = SECRET
    queuectl.add("--id", "a", "--secret-env", "TOKEN", 'echo "$TOKEN"; sleep 600')
    queuectl.start("run", "--once")
    eventually(lambda: holders(queuectl.folder), "the output's file")
    assert any(
        SECRET in each for each in (Path("/proc", pid, "environ").read_text(errors="replace") for pid in _running())
    )


def _running() -> list[str]:
    """The running processes of jobs."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"QUEUECTL_RUN_TOKEN=" in Path("/proc", pid, "environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found
