"""Commands in this process: exit codes, what goes to stdout and to stderr, and that a refused command makes nothing."""

import errno
import os
from pathlib import Path

import pytest

from queuectl import cli


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which neither a variable nor a context names a queue."""
    for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _exit_code(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_call", fail)
    monkeypatch.setattr(cli, "_give_up_stdout", lambda: None)
    return cli._exit_code(["status"])


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EROFS, 5), (errno.EACCES, 5), (errno.EPERM, 5), (errno.ENOSPC, 5), (errno.EDQUOT, 5), (errno.EIO, 1)],
)
def test_a_file_that_cannot_be_written_is_exit_code_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    assert _exit_code(monkeypatch, OSError(number, os.strerror(number), "/srv/queue.db")) == code
    advice = ": free space there and try again; nothing that was recorded is lost"
    why = {errno.ENOSPC: f"the disk is full{advice}", errno.EDQUOT: f"{os.strerror(number)}{advice}"}.get(
        number, os.strerror(number)
    )
    assert capsys.readouterr().err == f"queuectl: cannot continue: /srv/queue.db: {why}\n"


def test_a_full_stdout_is_no_fault_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _exit_code(monkeypatch, OSError(errno.ENOSPC, "No space left on device")) == 1


@pytest.mark.parametrize("options", ["--bogus", "--concurrency none", "--queue a/b", "--lease soon", "extra"])
def test_options_that_workers_refuse_make_nothing(
    empty: Path, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    assert cli._exit_code(["worker", "start", "--detach", "--count", "3", *options.split()]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert os.listdir(empty) == []


@pytest.mark.parametrize("command", ["list", "dlq list", "worker list"])
def test_an_empty_list_prints_nothing_on_stdout(empty: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli._exit_code(command.split()) == 0
    printed = capsys.readouterr()
    assert (printed.out, os.listdir(empty)) == ("", [])
    assert printed.err.splitlines()[-1].startswith("no ")
