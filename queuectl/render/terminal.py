"""Output for people and programs: JSON, colour, cut and wrapped text, and text without control characters.

Commands, output and errors of jobs are written by anyone; nothing of theirs may steer the terminal.
"""

import re
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
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

CODE_POINTS = 8
"""How many code points we show in a column of the terminal: an emoji of two columns may consist of a dozen."""

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


_UNFINISHED = (
    "(?:(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x08\x0a-\x1f\x80-\x9f]*+\x1b?"
    "|(?:\x1b\\[|\x9b)[0-?]*+[ -/]*+|\x1b[ -/]*+|(?<!\r)\r++)\\Z"
)
"""A terminal sequence, or a carriage return, at the end of text whose next part may complete it."""


def complete(text: str) -> tuple[str, str]:
    """The text in two parts: what can be cleaned now, and an incomplete terminal sequence at its end."""
    found = re.search(_UNFINISHED, text)
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


def is_narrow(text: str) -> bool:
    """Whether it is known without wcwidth, which takes 9 ms to load, that each character takes one column."""
    return text.isascii() or text.replace("…", "").isascii()


def display_width(text: str) -> int:
    """How many columns of the terminal a line of clean text takes: two for a CJK character and most emoji."""
    if is_narrow(text):
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


def cut_middle(text: str, width: int) -> str:
    """The text, or its beginning and end with an ellipsis between them, as much as fits in that many columns."""
    if len(text) <= width * CODE_POINTS and display_width(text) <= width:
        return text
    head = cut(text, width - width // 2).removesuffix("…")
    end = text[-width * CODE_POINTS :]
    room = width - 1 - display_width(head)
    start = bisect_left(range(len(end) + 1), -room, key=lambda begin: -display_width(end[begin:]))
    tail = end[start:]
    while tail and (display_width(tail[0]) == 0 or display_width(tail) > room):  # the first would join the ellipsis
        tail = tail[1:]
    return f"{head}…{tail}"


def cut_around(text: str, width: int, place: int) -> str:
    """The beginning of a text that is too long, and what stands around a place in it, within that many columns."""
    head = cut(text, width // 3)
    room = width - display_width(head)
    tail = text[max(place - room // 3, 0) :]
    while tail and display_width(tail[0]) == 0:  # it would join the ellipsis
        tail = tail[1:]
    return head + cut(tail, room)


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """The text, broken between words into lines no wider than that (None: not at all); `indent` before all but one.

    A command in backticks stays on one line, so that it can be copied.
    """
    if width is None or (len(text) <= width and display_width(text) <= width):
        return text
    lines, line = [], ""
    for word in re.findall(r" *(?:`[^`\n]*`|[^ ])++", text):
        if line.strip() and display_width(line + word) > width:
            lines.append(line)
            line = indent + word.lstrip(" ")
        else:
            line += word
    return "\n".join([*lines, line])


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
    """The value with U+FFFD for lone surrogates, which UTF-8 cannot encode."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, dict):
        return {_sound(key): _sound(item) for key, item in value.items()}
    return [_sound(item) for item in value] if isinstance(value, list | tuple) else value


def _printable(document: bytes) -> str:
    """The document with control characters as `\\u` escapes: the same JSON, but harmless on a terminal."""
    return re.sub(_RAW_IN_JSON, lambda match: f"\\u{ord(match[0]):04x}", document.decode())


def colored(text: str, color: str | None, enabled: bool) -> str:
    """The text between the codes of its colour; unchanged when colour is off or None."""
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if enabled and color else text


def color_enabled(choice: Literal["auto", "always", "never"], stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to colour: `auto` does so on a terminal that is not dumb.

    NO_COLOR and FORCE_COLOR (or CLICOLOR_FORCE; `0` counts as not set) overrule that, NO_COLOR before the others.
    """
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def terminal_width(stream: TextIO) -> int | None:
    """The number of columns of the terminal; None for a pipe or file, where nothing is cut."""
    return shutil.get_terminal_size((0, 0)).columns or None if stream.isatty() else None
