"""The places of a shell command at which a value may be filled in: every shell reads it as a part of one word.

A value in single quotes is safe where the shell reads words, and nowhere else: in quotes, comments, here-documents and
expansions it would be changed or run. Only a place that is surely outside of these is accepted.
"""

import re
from shlex import quote

from msgspec import Struct

from queuectl.errors import UsageError

__all__ = ["MARK", "Place", "places", "quoted_value"]

MARK = "\0"
"""Stands for a value in the command that is looked at: no command holds this character."""

_QUOTES = "remove the quotes around {0}: values are quoted for you"
_TOKEN = re.compile(
    r"""
      (?P<word> '[^'\0]*'                                    # what ends for sure where it seems to end
        | "(?: [^"\\`$\0] | \\[^\0] | \$[\w@*#?$!-] | \$\{[^}'"`\\\0]*\} | \$\([^()'"`\\\0]*\) | \$(?=[\s"]) )*"
        | \\[^\0] | `(?:[^`\\\0]|\\[^\0])*` | \$\{[^{}'"`\\\0]*\} | \$(?=[\s/.,:=]|\Z) )
    | (?P<arithmetic> \$?\(\([^'"`\\\0()]*\)\) )
    | (?P<variable> \$\w+ | \$[@*#?$!-] )
    | (?P<value> \0 )
    | (?P<here> <<(?!<) )
    | (?P<between> \$?\( | <<< | [\s;&|()<>] )
    | (?P<plain> [^'"\\`$\s;&|()<>\0] )
    """,
    re.VERBOSE,
)
_COMMENT = re.compile(r"#[^\n\0]*(?=\n|\Z)")
_REASONS = (
    (re.compile(r"#"), "{0} is in a comment: leave it out there"),
    (re.compile(r"`"), "{0} is inside `...`: write $(...) instead"),
    (re.compile(r"\\"), "{0} follows a backslash: leave that out"),
    (re.compile(r"\$\{"), "{0} is inside or after a ${{...}} that cannot be read: set a variable first, as in v={0}"),
    (re.compile(r"\$?\(\("), "{0} is inside ((...)): set a variable first, as in v={0}"),
    (re.compile(r"\$['\"]"), "{0} follows $'...', which not every shell reads alike: use plain quotes before it"),
    (re.compile(r"\$"), "{0} follows a $: write a name, a blank or nothing in between"),
    (re.compile(r"\n"), "{0} is in a here-document: use `printf '%s\\n' {0} |`"),
)
_ENDS_WORD = re.compile(r"[\s;|&)/.,:@%-]|\Z")
_KEYWORDS = frozenset(
    "if then else elif fi do done case esac while until for in function select time coproc".split()  # noqa: SIM905
)


class Place(Struct, frozen=True):
    """The place of a value. `glued`: the text next to it could change what a value without quotes means."""

    glued: bool


def places(command: str, names: list[str]) -> list[Place]:
    """The places of the values in a command, in which MARK stands for each; `names` are what they are called.

    Raises UsageError for a value that cannot be filled in safely, and says what to write instead.
    """
    found: list[Place] = []
    place, before, here_document = 0, "between", False
    while place < len(command):
        token = _next_token(command, place, before)
        kind = (token and token.lastgroup) or ""
        if token is None or (here_document and token[0] == "\n"):
            if MARK in command[place:]:
                raise UsageError(_reason(command, place, names[len(found)]))
            break
        if kind == "value":
            glued = before in ("variable", "word") or command[:place].endswith("~")
            found.append(Place(glued or _ENDS_WORD.match(command, token.end()) is None))
        here_document = here_document or kind == "here"
        place, before = token.end(), kind
    return found


def _next_token(command: str, place: int, before: str) -> re.Match[str] | None:
    """The next token; None where the shell may read on in a way that is not looked into."""
    if command[place] == "#" and before in ("between", "here"):
        return _COMMENT.match(command, place)
    if command.startswith(("((", "$(("), place):
        found = _TOKEN.match(command, place)
        return found if found and found.lastgroup == "arithmetic" else None
    return _TOKEN.match(command, place)


def _reason(command: str, place: int, name: str) -> str:
    for begin, reason in _REASONS:
        if begin.match(command, place):
            return reason.format(name)
    if _is_inside(command, place):
        return _QUOTES.format(name)
    return f"{name} follows quotes that cannot be read: set a variable first, as in v={name}"


def _is_inside(command: str, place: int) -> bool:
    """Whether the next value comes before the quote that stands at `place` is closed."""
    value, end = command.index(MARK, place), command.find(command[place], place + 1)
    return end < 0 or value < end


def quoted_value(value: str, place: Place) -> str:
    """The value as one word of a shell command, or as a part of one."""
    if place.glued or "=" in value or value in _KEYWORDS:
        return "'" + value.replace("'", "'\"'\"'") + "'"
    return quote(value)
