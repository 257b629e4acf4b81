"""Every assertion of the tests can fail, as far as its text shows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def never_false(test: ast.expr) -> bool:
    """Whether an asserted expression is true whatever happens: a text, a tuple, or a condition with a bare number."""
    if isinstance(test, ast.IfExp):  # `a <= b if c else d` is `(a <= b) if c else d`
        return never_false(test.body) or never_false(test.orelse) or isinstance(test.orelse, ast.BinOp)
    truths = (ast.Constant, ast.JoinedStr, ast.GeneratorExp, ast.Lambda)
    return isinstance(test, truths) or (isinstance(test, ast.Tuple | ast.List | ast.Dict) and bool(parts_of(test)))


def parts_of(test: ast.Tuple | ast.List | ast.Dict) -> list[ast.expr]:
    """The elements of a display."""
    return test.values if isinstance(test, ast.Dict) else test.elts


def findings(source: str) -> Iterator[str]:
    """The assertions of a file that cannot fail."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and never_false(node.test):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_assertion_is_true_whatever_happens() -> None:
    found = {str(path): list(findings(path.read_text(encoding="utf-8"))) for path in TESTS.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    ["a <= 10 if b else 2 * 3", "(a, b)", "'text'", "f'{a}'", "[a]", "(a == b for a in c)", "1 if a else a == b"],
)
def test_an_assertion_that_cannot_fail_is_found(text: str) -> None:
    assert list(findings(f"assert {text}"))


@pytest.mark.parametrize("text", ["a <= (10 if b else 2)", "a == b if c else d in e", "[]", "a", "not a", "f(a)"])
def test_an_assertion_that_can_fail_is_not(text: str) -> None:
    assert not list(findings(f"assert {text}"))
