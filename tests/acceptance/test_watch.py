"""`--watch`: drawn again when something happens, within the screen, also of another size; Ctrl-C ends it with 130."""

from collections.abc import Iterator

import pytest

from tests.support.command_line import PROGRAM, Queuectl, assert_error
from tests.support.pseudo_terminal import PseudoTerminal

BACK = b"\x1b[?1049l"


@pytest.fixture
def watched(queuectl: Queuectl) -> Iterator[PseudoTerminal]:
    """`list --watch` on a terminal of 80 columns and 24 lines, after its first picture."""
    queuectl.add("--id", "first", "true")
    with PseudoTerminal([PROGRAM, "list", "--watch", "0.2s"], queuectl.folder, queuectl.env) as terminal:
        terminal.until("first")
        yield terminal


def test_a_change_is_drawn_and_ctrl_c_ends_it(queuectl: Queuectl, watched: PseudoTerminal) -> None:
    assert "second" not in watched.text
    queuectl.add("--id", "second", "true")
    watched.until("second")
    watched.type("\x03")
    assert watched.ended() == 130
    assert watched.raw.rstrip().endswith(BACK)
    assert "Traceback" not in watched.text


def test_no_more_lines_than_the_screen_has(queuectl: Queuectl, watched: PseudoTerminal) -> None:
    queuectl.ok("enqueue", "--file", "-", stdin="true\n" * 40)
    watched.until("more lines")
    watched.forget()
    watched.resize(60, 10)
    watched.until("more lines")
    picture = watched.text.split("more lines")[0]
    assert len(picture.splitlines()) == 10
    assert all(len(line) <= 60 for line in picture.splitlines()[1:])


def test_a_line_of_the_whole_width_is_drawn_to_its_end(queuectl: Queuectl) -> None:
    queuectl.add("echo " + "x" * 200 + " end")
    with PseudoTerminal([PROGRAM, "list", "--watch"], queuectl.folder, queuectl.env) as terminal:
        terminal.until("end")
        assert b" end\x1b[K" not in terminal.raw
        assert b" end\x1b[J" not in terminal.raw
        terminal.type("\x03")
        assert terminal.ended() == 130


@pytest.mark.parametrize("command", ["status", "batches", "worker list", "dlq list"])
def test_each_command_is_drawn(command: str, queuectl: Queuectl) -> None:
    queuectl.add("--max-retries", "0", "--batch", "grid", "exit 7")
    queuectl.drain()
    with PseudoTerminal([PROGRAM, *command.split(), "--watch"], queuectl.folder, queuectl.env) as terminal:
        terminal.until("redrawn on changes, at most every 1s")
        terminal.until({"status": "DLQ", "batches": "grid", "worker list": "no workers", "dlq list": "exit 7"}[command])
        terminal.type("\x03")
        assert terminal.ended() == 130


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["status", "--watch"], "needs a terminal"),
        (["list", "--watch", "--json"], "leave out"),
        (["list", "--watch", "1s", "--as-of", "1"], "leave out"),
        (["list", "--watch=soon"], "--watch"),
        (["list", "--watch", "1ms"], "the shortest interval is 100ms"),
    ],
)
def test_an_unfit_watch_is_refused(arguments: list[str], word: str, queuectl: Queuectl) -> None:
    queuectl.add("true")
    assert_error(queuectl(*arguments), 2, word)


def test_watching_no_queue_makes_none(queuectl: Queuectl) -> None:
    with PseudoTerminal([PROGRAM, "status", "--watch"], queuectl.folder, queuectl.env) as terminal:
        assert terminal.ended() == 5
        assert "there is no queue" in terminal.text
    assert list(queuectl.folder.iterdir()) == []
