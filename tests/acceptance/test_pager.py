"""The pager: long text on a terminal goes to it, short text and pipes do not, and leaving it early is no error."""

import shutil
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM, Queuectl
from tests.support.pseudo_terminal import PseudoTerminal


@pytest.fixture
def long(queuectl: Queuectl) -> Queuectl:
    """A queue with more jobs than a terminal has lines."""
    queuectl.ok("enqueue", "--file", "-", stdin="".join(f"echo {number}\n" for number in range(60)))
    return queuectl


def on_a_terminal(queuectl: Queuectl, *arguments: str, **env: str) -> PseudoTerminal:
    return PseudoTerminal([PROGRAM, *arguments], queuectl.folder, {**queuectl.env, **env})


def marking(folder: Path) -> str:
    """A pager that marks what it prints."""
    path = folder / "marker"
    path.write_text("#!/bin/sh\necho begin\ncat\necho end\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("command", [["list"], ["events"], ["list", "--json"], ["list", "-o", "wide"]])
def test_long_text_goes_to_the_pager_on_a_terminal(command: list[str], long: Queuectl) -> None:
    with on_a_terminal(long, *command, PAGER=marking(long.folder)) as terminal:
        assert terminal.ended() == 0
        assert terminal.text.startswith("begin\n")
        assert terminal.text.endswith("end\n")
        assert "echo 49" in terminal.text


def test_the_note_comes_after_the_table(long: Queuectl) -> None:
    with on_a_terminal(long, "list", PAGER=marking(long.folder)) as terminal:
        assert terminal.ended() == 0
        assert terminal.text.splitlines()[-2:] == ["50 of 60 (--limit 0: all)", "end"]


def test_output_and_history_go_to_the_pager(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "seq 100; seq 100 >&2")
    queuectl.drain()
    for _ in range(5):
        queuectl.ok("retry", "a")
        queuectl.drain()
    for command in ("logs", "history"):
        with on_a_terminal(queuectl, command, "a", PAGER=marking(queuectl.folder)) as terminal:
            assert terminal.ended() == 0
            assert terminal.text.startswith("begin\n")
            assert terminal.text.endswith("end\n")


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["list", "-n", "3"], {}),
        (["--no-pager", "list"], {}),
        (["list"], {"QUEUECTL_PAGER": ""}),
        (["list"], {"QUEUECTL_PAGER": "cat"}),
        (["list"], {"TERM": "dumb"}),
        (["logs", "-f", "a"], {}),
    ],
)
def test_no_pager_is_started(arguments: list[str], env: dict[str, str], long: Queuectl) -> None:
    long.add("--id", "a", "--priority", "1", "seq 50")
    long.ok("run", "--once")
    with on_a_terminal(long, *arguments, **{"PAGER": marking(long.folder), **env}) as terminal:
        assert terminal.ended() == 0
        assert "begin" not in terminal.text


def test_our_variable_comes_before_the_common_one(long: Queuectl) -> None:
    with on_a_terminal(long, "list", QUEUECTL_PAGER=marking(long.folder), PAGER="false") as terminal:
        assert terminal.ended() == 0
        assert terminal.text.startswith("begin\n")


def test_the_pager_of_a_dotenv_is_not_run(long: Queuectl) -> None:
    (long.folder / ".env").write_text(f"QUEUECTL_PAGER={marking(long.folder)}\n")
    with on_a_terminal(long, "list", PAGER="cat") as terminal:
        assert terminal.ended() == 0
        assert "begin" not in terminal.text


def test_a_pager_that_is_missing_is_named(long: Queuectl) -> None:
    with on_a_terminal(long, "list", PAGER="nosuchpager") as terminal:
        assert terminal.ended() == 0
        assert "the pager nosuchpager is not installed" in terminal.text
        assert "echo 0" in terminal.text


def test_a_pipe_gets_no_pager(long: Queuectl) -> None:
    assert "begin" not in long.ok("list", env={"PAGER": marking(long.folder)})


def test_leaving_the_pager_early_is_no_error(long: Queuectl) -> None:
    with on_a_terminal(long, "events", PAGER="head -n 2") as terminal:
        assert terminal.ended() == 0
        assert len(terminal.text.splitlines()) <= 4


@pytest.mark.skipif(shutil.which("less") is None, reason="less is not installed here")
def test_less_shows_a_screen_and_q_leaves_it(long: Queuectl) -> None:
    with on_a_terminal(long, "list") as terminal:
        terminal.until("echo 9")
        assert "echo 40" not in terminal.text
        terminal.type("\x03")
        terminal.until("\x07")
        terminal.type("q")
        assert terminal.ended() == 0
