"""An error of the system becomes one line and an exit code, in whatever command it happens."""

import errno
import os

import pytest

from queuectl import cli


def _exit_code(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_call", fail)
    monkeypatch.setattr(cli, "_give_up_stdout", lambda: None)
    monkeypatch.setattr(os, "umask", lambda _: 0)
    with pytest.raises(SystemExit) as ended:
        cli.run(["status"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EROFS, 5), (errno.EACCES, 5), (errno.EPERM, 5), (errno.ENOSPC, 5), (errno.EDQUOT, 5), (errno.EIO, 1)],
)
def test_a_file_that_cannot_be_written_is_exit_code_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    assert _exit_code(monkeypatch, OSError(number, os.strerror(number), "/srv/queue.db")) == code
    assert capsys.readouterr().err == f"queuectl: cannot continue: {os.strerror(number)}: /srv/queue.db\n"


def test_a_full_stdout_is_no_fault_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _exit_code(monkeypatch, OSError(errno.ENOSPC, "No space left on device")) == 1
