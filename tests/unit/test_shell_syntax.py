"""The question to the shell whether commands are complete, when the shell cannot answer."""

import errno
import subprocess

import pytest

from queuectl.errors import QueuectlError
from queuectl.process import shell_syntax

INCOMPLETE = ["echo 1", 'git commit -m "first']


def _fails(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)


def test_the_first_incomplete_command_is_found() -> None:
    refused = shell_syntax.first_refused(INCOMPLETE)
    assert refused is not None
    assert refused[0] == 1


@pytest.mark.parametrize(
    "command", ["echo 'a", 'echo "a', 'a"', "a'", 'echo "a\\"', 'x "a" \'b', "echo $(", "a;b", "if a"]
)
def test_a_command_that_may_be_incomplete_is_not_plain(command: str) -> None:
    assert not shell_syntax.is_plain(command)


@pytest.mark.parametrize(
    "command", ["echo 'a' b", 'echo "a $b \\" c" d', "a \\' b", "python x.py --lr 0.1", "échо $HOME"]
)
def test_words_and_closed_quotes_are_plain(command: str) -> None:
    assert shell_syntax.is_plain(command)


def test_without_a_shell_commands_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    _fails(monkeypatch, FileNotFoundError(errno.ENOENT, "No such file or directory"))
    assert shell_syntax.first_refused(INCOMPLETE) is None


def test_a_shell_that_cannot_be_started_now_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _fails(monkeypatch, BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"))
    with pytest.raises(QueuectlError, match="Resource temporarily unavailable"):
        shell_syntax.first_refused(INCOMPLETE)
