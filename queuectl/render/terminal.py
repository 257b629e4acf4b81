"""What reaches a person's eyes or another program: tables, JSON, colour, and text made harmless.

Commands, output and errors of jobs are written by anyone; nothing of theirs may steer the terminal.
"""

import re
import shutil
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TextIO

import msgspec

STATE_COLORS = {
    "pending": "blue",
    "processing": "yellow",
    "done": "green",
    "dlq": "red",
    "cancelled": "magenta",
    "purged": "gray",
}
_COLORS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "gray": 90}

LEAST = 12
"""The smallest width that a long column is cut to, in columns of the terminal."""
CODE_POINTS = 8
"""How many code points we show in a column of the terminal: an emoji of two columns may consist of a dozen."""
GAP = 2
"""Between two columns; tabulate also makes every column so much wider than its heading."""

_STEERING = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Code points of direction marks and of Unicode's own line breaks."""
_RAW_IN_JSON = f"[\x7f-\x9f{''.join(map(chr, _STEERING))}]"
_SUSPECT = f"[\0-\x08\x0b-\x1f\ud800-\udfff{_RAW_IN_JSON[1:]}"
# In this order: strings up to their terminator, CSI sequences, then escapes of two or more characters. No part
# can run across the start of another sequence, and the repeats give nothing back, so hostile text costs linear
# time. A string without its terminator loses only its introducer: it must not hide the lines after it.
_SEQUENCE = (
    "(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x08\x0a-\x1f\x80-\x9f]*+(?:\x07|\x1b\\\\|\x9c)"
    "|(?:\x1b\\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    "|\x1b[ -/]*+[0-~]"
)


_UNFINISHED = re.compile(
    "(?:(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x08\x0a-\x1f\x80-\x9f]*+\x1b?"
    "|(?:\x1b\\[|\x9b)[0-?]*+[ -/]*+|\x1b[ -/]*+|(?<!\r)\r++)\\Z"
)
"""A terminal sequence, or a carriage return, at the end of text whose next part may complete it."""


def complete(text: str) -> tuple[str, str]:
    """The text in two parts: what can be cleaned now, and an incomplete terminal sequence at its end."""
    found = _UNFINISHED.search(text)
    end = found.start() if found else len(text)
    return text[:end], text[end:]


def _notation(code: int) -> str:
    if code < 0x20 or code == 0x7F:
        return f"^{chr(code ^ 0x40)}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_NOTATION = {code: _notation(code) for code in (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *_STEERING)}


def clean(text: str, *, newlines: bool = True) -> str:
    """The text without terminal sequences, other control characters in `^[` or `\\x9b` notation.

    A carriage return starts a new line, as progress bars mean it to. With `newlines=False` the result is one
    line. No control character but newline and tab is left, whatever the text.
    """
    if re.search(_SUSPECT, text):
        text = re.sub("\r+\n?", "\n", re.sub(_SEQUENCE, "", text))
        text = re.sub("[\ud800-\udfff]", "\ufffd", text).translate(_NOTATION)
    return text if newlines else text.replace("\n", "\\n").replace("\t", " ")


def table(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    *,
    limits: Mapping[str, int] | None = None,
    color: bool = False,
) -> str:
    """The rows under upper-case headings: numbers to the right, `-` for None, one line a row.

    `limits` holds the greatest display width of a column's cells; with `color` states are coloured.
    """
    from tabulate import tabulate

    widths = limits or {}
    return tabulate(
        [[_cell(column, row.get(column), widths.get(column), color) for column in columns] for row in rows],
        headers=list(map(_heading, columns)),
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if _numeric(rows, column) else "left" for column in columns],
    )


def fitted(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    limits: Mapping[str, int],
    spare: Sequence[str],
    width: int | None,
) -> tuple[list[str], dict[str, int]]:
    """The columns and limits with which the table is no wider than that, as far as that can be; None: all, and none.

    The widest of the columns with limits are cut; should that not do, `spare` ones are left out, in that order.
    """
    if width is None:
        return list(columns), {}
    widths = {column: _width(rows, column, limits.get(column)) for column in columns}
    for column in spare:
        if _total([min(each, LEAST) if name in limits else each for name, each in widths.items()]) > width:
            del widths[column]
    while _total(widths.values()) > width and max(widths[column] for column in limits) > LEAST:
        widths[max(limits, key=widths.__getitem__)] -= 1
    return list(widths), {column: widths[column] for column in limits}


def _width(rows: Sequence[Mapping[str, object]], column: str, limit: int | None) -> int:
    cells = (display_width(_cell(column, row.get(column), limit, False)) for row in rows)
    return max([len(_heading(column)) + GAP, *cells])


def _total(widths: Collection[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _heading(column: str) -> str:
    return column.replace("_", " ").upper()


def _cell(column: str, value: object, limit: int | None, color: bool) -> str:
    if value is None:
        return "-"
    text = clean(("no", "yes")[value] if isinstance(value, bool) else str(value), newlines=False)
    if limit is not None:
        text = cut(text, limit)
    return colored(text, STATE_COLORS.get(text), color and column == "state")


def display_width(text: str) -> int:
    """How many columns of the terminal a line of clean text takes: two for a CJK character and most emoji."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth

    return wcswidth(text)


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits in that many columns with an ellipsis at its end."""
    part = text[: width * CODE_POINTS + 1]
    if len(part) == len(text) and display_width(text) <= width:
        return text
    fits = bisect_right(range(len(part) + 1), width - 1, key=lambda end: display_width(part[:end])) - 1
    return part[:fits] + "…"


def _numeric(rows: Sequence[Mapping[str, object]], column: str) -> bool:
    kinds = {type(row.get(column)) for row in rows} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def to_json(value: object) -> str:
    """The value as an indented JSON document."""
    return _printable(msgspec.json.format(_encode(value), indent=2))


def to_ndjson(value: object) -> str:
    """The value as JSON on one line, without the newline at its end."""
    return _printable(_encode(value))


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_sound(msgspec.to_builtins(value, str_keys=True)))


def _sound(value: Any) -> Any:
    """The value with U+FFFD for lone surrogates, which UTF-8 cannot hold."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, dict):
        return {_sound(key): _sound(item) for key, item in value.items()}
    return [_sound(item) for item in value] if isinstance(value, list | tuple) else value


def _printable(document: bytes) -> str:
    """The document with what could steer a terminal as `\\u` escapes: the same JSON, and safe to look at."""
    return re.sub(_RAW_IN_JSON, lambda match: f"\\u{ord(match[0]):04x}", document.decode())


def colored(text: str, color: str | None, enabled: bool) -> str:
    """The text between the color's codes, or as it is when colour is off or there is none for it."""
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if enabled and color else text


def color_enabled(choice: Literal["auto", "always", "never"], stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to colour: `auto` does so on a terminal, unless NO_COLOR is set or the terminal is dumb."""
    if choice != "auto":
        return choice == "always"
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and stream.isatty()


def terminal_width(stream: TextIO) -> int | None:
    """How many columns the terminal has; None where nothing is to be cut, as in a pipe."""
    return shutil.get_terminal_size((0, 0)).columns or None if stream.isatty() else None
