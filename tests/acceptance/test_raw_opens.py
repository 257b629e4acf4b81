"""A process with an open queue never opens its files directly: closing them would drop SQLite's locks."""

import sys

import pytest

from tests.support.command_line import Queuectl

WATCHED = """
import os, sys
db, seen = sys.argv[1], os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY, 0o600)
sys.argv = ["queuectl", *sys.argv[3:]]

def file(path):
    try:
        found = os.stat(path)
    except (OSError, TypeError, ValueError):
        return None
    return found.st_dev, found.st_ino

def watch(event, arguments):
    # Python tells of every open() and os.open(), whoever calls it; SQLite's own are not among them. With O_EXCL it is
    # a file that was not there.
    if event == "open" and not isinstance(arguments[0], int) and not arguments[2] & os.O_EXCL:
        opened = file(arguments[0])
        if opened and opened in [file(db + suffix) for suffix in ("", "-wal", "-shm")]:
            os.write(seen, f"{arguments}\\n".encode())

sys.addaudithook(watch)
"""
RUN = "from queuectl.__main__ import main\nmain()\n"

COMMANDS = (
    *("run --drain --concurrency 2", "run --once", "enqueue true", "list", "logs big", "verify", "rebuild", "doctor"),
    *("audit", "export -", "backup copy.db", "head", "purge big --yes", "events", "status --as-of 3"),
)


def raw_opens(queuectl: Queuectl, command: str, program: str = RUN) -> str:
    """The direct opens of the queue's files by Python code in a process that runs a command."""
    queuectl.add("--id", "big", "head -c 20000 /dev/zero | tr '\\0' x")
    queuectl.add("--max-retries", "1", "--backoff-base", "0", "exit 3")
    if not command.startswith("run"):
        queuectl.drain()
    seen = queuectl.folder / "seen"
    arguments = [str(queuectl.db), str(seen), *command.split()]
    done = queuectl.start_program(sys.executable, "-c", WATCHED + program, *arguments).ended(60)
    assert done.code == 0, done
    return seen.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_queues_files_are_opened_by_sqlite_alone(queuectl: Queuectl, command: str) -> None:
    assert raw_opens(queuectl, command) == ""


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_direct_open_of_one_of_them_is_noticed(queuectl: Queuectl, suffix: str) -> None:
    careless = f"from pathlib import Path\nPath(db + '{suffix}').read_bytes()\nos.close(os.open(db, os.O_RDONLY))\n"
    found = raw_opens(queuectl, "list", careless + RUN).splitlines()
    assert len(found) == 2
    assert f"queue.db{suffix}'" in found[0]
