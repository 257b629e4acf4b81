"""The progress bar is for people: on a terminal, and for commands that take a while."""

import io
from contextlib import redirect_stderr

import pytest

from queuectl.cli import progress_bar
from queuectl.cli.progress_bar import progress


class Terminal(io.StringIO):
    """A text file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command takes long, and the terminal is an ordinary one."""
    monkeypatch.setattr(progress_bar, "SHOW_AFTER", 0)
    monkeypatch.setattr(progress_bar, "REDRAW_AFTER", 0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def shown(*numbers: int, total: int = 2000, hidden: bool = False, stderr: io.StringIO | None = None) -> str:
    """The text that a command writes to stderr for these numbers of events."""
    with redirect_stderr(stderr or Terminal()) as written, progress("checking", total, hidden=hidden) as reached:
        for number in numbers:
            reached(number)
    return written.getvalue()


def test_a_terminal_shows_how_far_it_is():
    written = shown(500, 1500)
    assert "checking" in written
    assert " 500/2000" in written
    assert "1500/2000" in written


def test_the_number_of_all_events_may_be_unknown():
    assert "1500/?" in shown(1500, total=0)


def test_events_added_meanwhile_do_not_exceed_the_total():
    assert "2000/2000" in shown(2500)


def test_the_line_is_cleared_in_the_end():
    assert shown(500).endswith("\x1b[1A\x1b[2K")


def test_a_short_command_shows_none(monkeypatch):
    monkeypatch.setattr(progress_bar, "SHOW_AFTER", 60_000_000)
    assert not shown(500)


def test_there_is_none_with_json():
    assert not shown(500, hidden=True)


def test_there_is_none_without_a_terminal():
    assert not shown(500, stderr=io.StringIO())
