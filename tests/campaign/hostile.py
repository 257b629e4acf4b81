"""Input of an attacker or a broken disk: texts, numbers, events, and slightly damaged bytes."""

from collections.abc import Callable, Sequence
from random import Random
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from msgspec import Struct

from queuectl.domain import events as e

__all__ = ["EDGES", "TERMINAL", "altered", "below", "event", "number", "steering", "text"]

TERMINAL = (
    *(
        "\x1b",
        "\x1b[",
        "\x1b]",
        "\x1bP",
        "\x1b\\",
        "\x07",
        "\r",
        "\n",
        "\t",
        "\x00",
        "\x08",
        "\x7f",
        "\x85",
        "\x9b",
        "\x9d",
    ),
    *(
        "\x90",
        "\x9c",
        "\u202e",
        "\u2066",
        "\u2028",
        "\u200f",
        "\u061c",
        "\x1b[31m",
        "\x1b[2J",
        "\x1b]0;t\x07",
        "\x1b]52;c;eA==",
    ),
)
"""Text that steers a terminal, or does so once its neighbours are removed."""
WORDS = (
    "",
    " ",
    "a",
    "job",
    "-",
    "--",
    "0",
    "-1",
    "1e9",
    "é",
    "日本",
    "😀",
    "\ufeff",
    "{",
    "}",
    '"',
    "'",
    "\\",
    "%s",
    "$(x)",
    "../..",
    "=",
)
EDGES = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 10**18)
ALLOWED = frozenset("\n\t")


def below(rng: Random, number: int) -> int:
    """A random number from 0 to `number` - 1, three times as fast as `randrange`; there are millions of calls."""
    return int(rng.random() * number)


def text(rng: Random, pieces: int = 4) -> str:
    """A text that an event may hold: any characters except NUL and surrogates, including terminal control."""
    chosen = [_piece(rng) for _ in range(rng.randrange(pieces + 1))]
    return "".join(chosen).replace("\0", "")


def _piece(rng: Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(TERMINAL)
    if kind == 1:
        return chr(rng.choice((rng.randrange(0x100), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))))
    return rng.choice(WORDS) if kind == 2 else "".join(rng.choices("abcxyz019._-", k=rng.randrange(1, 9)))


def number(rng: Random) -> int:
    """A whole number, often at an edge."""
    return rng.choice(EDGES) if rng.randrange(3) else rng.randrange(-1000, 10**12)


def event(rng: Random) -> e.Event:
    """An event of any type with hostile values."""
    kind = rng.choice(e.EVENT_TYPES)
    return kind(
        **{name: _value(rng, hint) for name, hint in get_type_hints(kind).items() if name in kind.__struct_fields__}
    )


def _value(rng: Random, hint: Any) -> Any:
    if get_origin(hint) is not None:
        return _compound(rng, get_origin(hint), get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Struct):
        fields = {name: kind for name, kind in get_type_hints(hint).items() if name in hint.__struct_fields__}
        return hint(**{name: _value(rng, kind) for name, kind in fields.items()})
    return _PLAIN[hint](rng)


def _compound(rng: Random, origin: Any, inside: Sequence[Any]) -> Any:
    if origin is tuple:
        return tuple(_value(rng, inside[0]) for _ in range(rng.randrange(3)))
    if origin is dict:
        return {text(rng): text(rng) for _ in range(rng.randrange(3))}
    return _value(rng, rng.choice(inside))


_PLAIN: dict[Any, Callable[[Random], Any]] = {
    str: text,
    int: number,
    float: lambda rng: rng.choice((0.0, 0.5, 2.0, 1e300, 5e-324)),
    bool: lambda rng: rng.random() < 0.5,
    NoneType: lambda rng: None,
}


def altered(rng: Random, raw: bytes) -> bytes:
    """The bytes with one change: a bit, a byte, or a piece that is removed, doubled, swapped or foreign."""
    at, kind = below(rng, len(raw) + 1), below(rng, 8)
    if kind < 3 and at < len(raw):
        return b"%b%c%b" % (raw[:at], raw[at] ^ 1 << below(rng, 8), raw[at + 1 :])
    if kind == 3 and at < len(raw):
        return b"%b%c%b" % (raw[:at], below(rng, 256), raw[at + 1 :])
    if kind == 4:
        return raw[:at] + raw[at + 1 + below(rng, 8) :]
    if kind == 5:
        return raw[: at + 1 + below(rng, 8)] + raw[at:]
    if kind == 6:
        return raw[:at]
    return raw[:at] + rng.choice(_FOREIGN) + raw[at:]


_FOREIGN = (
    b"\0",
    b"\n",
    b'"',
    b"{",
    b"}",
    b"[" * 2000,
    b"null",
    b"9" * 40,
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\\u0000",
    b",",
)


def steering(shown: str) -> set[str]:
    """The control characters in a text; cleaned text has none."""
    return {c for c in shown if c not in ALLOWED and (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in _DIRECTION)}


_DIRECTION = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
