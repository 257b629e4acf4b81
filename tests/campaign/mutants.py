"""Every mutant of the pure half of queuectl: one small change to its source, as a syntax tree.

mutmut changes the bodies of functions, but not the tables outside them (moves, rows, columns), and cosmic-ray starts
pytest again for each mutant; these are few enough operators to own.
"""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

__all__ = ["HOUSE", "Mutant", "mutants"]

HOUSE = Path(__file__).parents[2] / "queuectl"
FILES = (*sorted((HOUSE / "domain").glob("*.py")), HOUSE / "store" / "codec.py", HOUSE / "store" / "projections.py")

OTHERS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
}
"""An operator -> the one that takes its place."""


class Mutant(Struct, frozen=True):
    """`name` says where and what; `number` is the change's place among those of its file."""

    file: str
    name: str
    number: int

    @property
    def module(self) -> str:
        return f"queuectl.{self.file.removesuffix('.py').replace('/', '.')}"

    def tree(self) -> ast.Module:
        """The mutated module."""
        tree = ast.parse((HOUSE / self.file).read_text(encoding="utf-8"))
        list(_changes(tree))[self.number][1]()
        return ast.fix_missing_locations(tree)


@cache
def mutants() -> list[Mutant]:
    """All mutants, shuffled, so that the first ones are a fair sample."""
    found = []
    for path in FILES:
        file, seen = path.relative_to(HOUSE).as_posix(), dict[str, int]()
        for number, (what, _) in enumerate(_changes(ast.parse(path.read_text(encoding="utf-8")))):
            seen[what] = seen.get(what, 0) + 1
            again = f" ({seen[what]})" if seen[what] > 1 else ""
            found.append(Mutant(file, f"{file} {what}{again}", number))
    Random(0).shuffle(found)
    return found


Change = tuple[str, Callable[[], object]]


def _changes(tree: ast.Module) -> Iterator[Change]:
    """Each change: its description, and the function that makes it in the tree."""
    for where, node in _nodes(tree, ""):
        for what, change in _of(node):
            yield f"{where}: {what}", change


def _nodes(node: ast.AST, where: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node with an effect and the function or class that it is in."""
    yield where, node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "bases", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _has_no_effect(child):
                inner = getattr(child, "name", "") if isinstance(child, ast.FunctionDef | ast.ClassDef) else ""
                yield from _nodes(child, f"{where}.{inner}".strip(".") if inner else where)


def _has_no_effect(node: ast.AST) -> bool:
    """Whether a node has no effect: docstrings, imports, annotations, `__all__`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.keyword):
        return node.arg in ("frozen", "kw_only")
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in ("__all__", "Values", "_Changes")
    typing = isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias"
    return typing or isinstance(node, ast.Import | ast.ImportFrom)


def _of(node: ast.AST) -> Iterator[Change]:
    text = ast.unparse(node)[:60] if isinstance(node, ast.expr | ast.stmt) else ""
    for field in ("op", "ops"):
        yield from _operators(node, field, text)
    if isinstance(node, ast.Constant):
        yield from _constants(node)
    if isinstance(node, ast.If | ast.IfExp | ast.While | ast.comprehension):
        yield from _conditions(node)
    if isinstance(node, ast.Call):
        for i, each in enumerate(node.keywords):
            yield f"without {each.arg or '**'} in {text}", lambda i=i: node.keywords.pop(i)
    if isinstance(node, ast.Dict):
        for i, key in enumerate(node.keys):
            what = ast.unparse(key) if key else "**"
            yield f"without {what} in {text}", lambda i=i: (node.keys.pop(i), node.values.pop(i))
    if isinstance(node, ast.Return) and node.value is not None and text != "return None":
        yield f"{text} -> return None", lambda: setattr(node, "value", ast.Constant(None))
    if isinstance(node, ast.Raise):
        yield f"no {text}", lambda: setattr(node, "__class__", ast.Pass)


def _operators(node: ast.AST, field: str, text: str) -> Iterator[Change]:
    found: Any = getattr(node, field, None)
    for i, each in enumerate(found if isinstance(found, list) else []):
        if other := OTHERS.get(type(each)):
            yield f"{text} with {other.__name__}", lambda i=i, other=other: found.__setitem__(i, other())
    if not isinstance(found, list) and (other := OTHERS.get(type(found))):
        yield f"{text} with {other.__name__}", lambda: setattr(node, field, other())


def _constants(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    others = {bool: lambda: not value, int: lambda: value + 1, float: lambda: value + 1, str: lambda: f"{value}X"}
    if other := others.get(type(value)):
        yield f"{value!r} -> {other()!r}", lambda: setattr(node, "value", other())


def _conditions(node: Any) -> Iterator[Change]:
    if not isinstance(node, ast.comprehension):
        yield f"if not {ast.unparse(node.test)[:60]}", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif node.ifs:
        yield f"for all, not if {ast.unparse(node.ifs[0])[:60]}", node.ifs.clear
