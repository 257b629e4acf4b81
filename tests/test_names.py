"""The names of tests: each says its rule in plain words, and is short enough to be read in a list."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONGEST = 60
"""Characters after `test_`."""

NOT_PLAIN = re.compile(
    r"^(what|who|whose|whoever|whatever)_"
    r"|(^|_)(told|beside|anew|wreck(ed)?|mend(s|ed)?|lament\w*|complain\w*|heed(s|ed)?|called_off|goes?_on|is_off"
    r"|signs?_of_life)(_|$)"
)
"""Words that the project does not use (docs/contributing.md)."""


def names_in(source: str) -> list[str]:
    """The names of the tests in a file, without `test_`."""
    nodes = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [name.removeprefix("test_") for name in nodes if name.startswith("test_")]


def is_short_and_plain(name: str) -> bool:
    return len(name) <= LONGEST and not NOT_PLAIN.search(name)


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.relative_to(TESTS).as_posix())
def test_names_are_short_and_plain(path: Path) -> None:
    names = names_in(path.read_text(encoding="utf-8"))
    assert [name for name in names if not is_short_and_plain(name)] == [], "say the rule in fewer, plain words"


@pytest.mark.parametrize("name", ["a" * 61, "what_is_no_time", "a_caller_is_told", "the_queue_goes_on", "it_is_off"])
def test_a_long_or_unclear_name_is_noticed(name: str) -> None:
    assert names_in(f"class Some:\n    def test_{name}(self): ...") == [name]
    assert not is_short_and_plain(name)
