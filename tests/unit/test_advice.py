"""Commands that messages advise: each can be pasted into a shell, and names the queue as the caller did."""

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl.errors import command_line, runnable, set_queue_options
from queuectl.store.errors import DamagedError

PACKAGE = Path(__file__).resolve().parents[2] / "queuectl"
GENERAL = (
    "`queuectl run`: a worker that exits with 1",  # whose option it is
    "`queuectl serve` printed",  # where the URL was
    "`queuectl cancel` in the copy",  # the copy may be anywhere
    "`queuectl logs` has the output",  # of jobs to come, in whatever queue
)
"""Texts that mention a command and advise none."""


@pytest.fixture(autouse=True)
def queue_with_a_blank() -> Iterator[None]:
    set_queue_options("--db", "my queue.db")
    yield
    set_queue_options()


def test_an_advised_command_is_quoted_and_names_the_queue() -> None:
    words = ("history", "a b", "$(x)", "'")
    line = command_line(*words)
    assert shlex.split(line) == ["queuectl", "--db", "my queue.db", *words]


def test_a_stored_remedy_names_the_queue_of_its_reader() -> None:
    assert runnable("queuectl recover") == "queuectl --db 'my queue.db' recover"
    assert runnable("queuectl --db other.db recover") == "queuectl --db other.db recover"
    assert runnable("restore a backup") == "restore a backup"


def test_an_error_about_damage_names_the_queue() -> None:
    assert "run `queuectl --db 'my queue.db' recover`" in str(DamagedError("the log is damaged"))


def _texts(path: Path) -> Iterator[str]:
    """The texts of a module, without docstrings and help."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    left_out |= {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "help"
        for part in ast.walk(node.value)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


def test_no_message_spells_out_a_command_without_its_queue() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in _texts(path)
        if "`queuectl " in text and not any(each in text for each in GENERAL)
    ]
    assert found == []


def test_every_text_that_is_let_through_is_there() -> None:
    texts = [text for path in PACKAGE.rglob("*.py") for text in _texts(path)]
    assert [each for each in GENERAL if not any(each in text for text in texts)] == []
