"""Tables for people: columns that line up by display width, fitted to a terminal, and whole where there is none."""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from queuectl.imports import import_tabulate
from queuectl.render.terminal import (
    STATE_COLORS,
    clean,
    colored,
    cut,
    cut_around,
    cut_middle,
    display_width,
    is_narrow,
)

__all__ = ["Column", "table"]

LEAST = 12
"""The smallest width that a long column is cut to, in columns of the terminal."""
GAP = 2
"""Between two columns."""

Row = Mapping[str, object]
Rows = Sequence[Row]


class Column(Struct, frozen=True):
    """A column of a table, and how it gives way on a terminal that is too narrow for the whole table.

    `limit`: the greatest width of its cells (0: they are never cut); `least`: they are not cut below that;
    `middle`: out of the middle, so that beginning and end stay, or what differs from rows that would look the same.
    `spare`: it is left out when there is no room, 1 before 2; 0: it stays. `usual`: a value that says nothing: the
    column is left out when it is in the only row, or when all of several rows have the same. An empty column is left
    out too, unless a person has `chosen` it. `short`: the heading on a terminal.
    """

    name: str
    limit: int = 0
    least: int = LEAST
    middle: bool = False
    spare: int = 0
    usual: object = None
    short: str | None = None
    chosen: bool = False


def table(rows: Rows, columns: Sequence[Column | str], *, width: int | None = None, color: bool = False) -> str:
    """The rows under upper-case headings: numbers to the right, `-` for None, one line a row.

    `width`: of the terminal, to which the table is fitted; None: it is whole. With `color` states are coloured.
    """
    wanted = [Column(each) if isinstance(each, str) else each for each in columns]
    if width is None:
        return _drawn(rows, wanted, {each.name: 0 for each in wanted}, False, color)
    telling = [each for each in wanted if each.chosen or _tells(rows, each)]
    shown, limits = _fitted(rows, telling, width)
    return _drawn(rows, shown, limits, True, color)


def _drawn(rows: Rows, columns: Sequence[Column], limits: Mapping[str, int], fitted: bool, color: bool) -> str:
    cells = [_cells(column, rows, limits[column.name], color) for column in columns]
    tabulate = import_tabulate()
    tabulate.MIN_PADDING = 0
    if tabulate.wcwidth is None and not all(is_narrow(cell) for column in cells for cell in column):
        import wcwidth

        tabulate.wcwidth, tabulate.WIDE_CHARS_MODE = wcwidth, True
    drawn: str = tabulate.tabulate(
        [*zip(*cells, strict=True)],
        headers=[_heading(column, fitted) for column in columns],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if _numeric(rows, column.name) else "left" for column in columns],
    )
    return drawn


def _tells(rows: Rows, column: Column) -> bool:
    """Whether a column has different values, or an unusual one."""
    values = [row.get(column.name) for row in rows]
    if all(value is None for value in values):
        return False
    if column.usual is None or any(value != values[0] for value in values):
        return True
    return len(values) == 1 and values[0] != column.usual


def _fitted(rows: Rows, columns: Sequence[Column], width: int) -> tuple[list[Column], dict[str, int]]:
    """The columns, and the greatest width of each, with which the table is no wider than that, as far as can be.

    Spare columns are left out, then the widest of those with a limit is cut, again and again.
    """
    widths = {column.name: _width(rows, column) for column in columns}
    kept = list(columns)
    for column in sorted((each for each in columns if each.spare), key=lambda each: each.spare):
        if _total([_narrowest(each, widths) for each in kept]) > width:
            kept.remove(column)
    widths = {column.name: widths[column.name] for column in kept}
    while _total(widths.values()) > width and (wide := [c for c in kept if c.limit and widths[c.name] > c.least]):
        widths[max(wide, key=lambda column: widths[column.name] - column.least).name] -= 1
    return kept, {column.name: widths[column.name] if column.limit else 0 for column in kept}


def _narrowest(column: Column, widths: Mapping[str, int]) -> int:
    return min(widths[column.name], column.least) if column.limit else widths[column.name]


def _width(rows: Rows, column: Column) -> int:
    cells = (display_width(_cell(column, row, column.limit, False)) for row in rows)
    return max([len(_heading(column, True)), *cells])


def _total(widths: Collection[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _heading(column: Column, fitted: bool) -> str:
    return (column.short if fitted and column.short else column.name).replace("_", " ").upper()


def _cells(column: Column, rows: Rows, limit: int, color: bool) -> list[str]:
    """The cells of a column. Different texts whose beginning and end are the same are cut so that they differ."""
    cells = [_cell(column, row, limit, color) for row in rows]
    if not (column.middle and limit):
        return cells
    texts = [_cell(column, row, 0, False) for row in rows]
    shown = dict(zip(texts, cells, strict=True))
    for alike in _alike(shown):
        shown |= _cut_apart(alike, limit)
    return [shown[text] for text in texts]


def _alike(shown: Mapping[str, str]) -> list[list[str]]:
    """The texts that look the same as others, together with these. `shown`: each text as it is cut."""
    found: dict[str, list[str]] = {}
    for text, cell in shown.items():
        found.setdefault(cell, []).append(text)
    return [texts for texts in found.values() if len(texts) > 1]


def _cut_apart(texts: Sequence[str], limit: int) -> dict[str, str]:
    """Each text, cut around the place where it differs from the others, or from those that still look the same."""
    place = _first_difference(texts)
    shown = {text: cut_around(text, limit, place) for text in texts}
    for alike in _alike(shown):
        if len(alike) < len(texts):
            shown |= _cut_apart(alike, limit)
    return shown


def _first_difference(texts: Collection[str]) -> int:
    """The index of the first character that is not the same in all texts."""
    low, high = min(texts), max(texts)
    pairs = enumerate(zip(low, high, strict=False))
    return next((place for place, (one, other) in pairs if one != other), len(low))


def _cell(column: Column, row: Row, limit: int, color: bool) -> str:
    value = row.get(column.name)
    if value is None:
        return "-"
    text = clean(("no", "yes")[value] if isinstance(value, bool) else str(value), newlines=False)
    if limit:
        text = cut_middle(text, limit) if column.middle else cut(text, limit)
    return colored(text, STATE_COLORS.get(text), color and column.name == "state")


def _numeric(rows: Rows, column: str) -> bool:
    kinds = {type(row.get(column)) for row in rows} - {type(None)}
    return bool(kinds) and kinds <= {int, float}
