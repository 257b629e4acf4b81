"""Event frames: damaged rows and lines of the log. None may be accepted as another event.

A frame is a row as the database gives it, or a line of the archive or an export. The only answer to an altered one is
DamagedEventError (a line that cannot even be read: ValueError).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from random import Random
from typing import Any, TypeAlias
from unittest.mock import patch

from queuectl.domain.events import RecordedEvent
from queuectl.store import codec
from queuectl.store.errors import DamagedEventError
from queuectl.store.ndjson import event_line, header_line, read_event, read_header
from queuectl.store.rows import Head, StoredEvent
from tests.campaign.hostile import EDGES, altered, below, event, number, text
from tests.campaign.plan import Attempt, Campaign, Control

__all__ = ["CAMPAIGN"]

EVENTS = 40
ROWS_OF_AN_EVENT, LINES_OF_AN_EVENT = 480, 100
ENDLESS = b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
ODD: tuple[Any, ...] = (None, "", b"", 0.5, float("nan"), "\ud800", b"\xff", b"\0" * 32, ENDLESS.decode())
"""A damaged column: another kind of value, or the right kind without sense."""


Sealed: TypeAlias = tuple[StoredEvent, bytes, RecordedEvent]
"""An event as stored, the digest before it, and what it says."""
Judged: TypeAlias = Iterator[tuple[str, str | None]]
"""The kind of the frame, and the fault in its handling."""


def attempt(seed: int, link: Callable[..., Any] = codec._link) -> Attempt:
    """Check the frames of forty hostile events, each altered in hundreds of ways."""
    rng = Random(seed)
    log = list(_log(rng))
    counted: Counter[str] = Counter()
    faults: list[str] = []
    with patch.object(codec, "_link", link):
        for sealed in log:
            for what, fault in chain(_rows(rng, sealed, log), _lines(rng, sealed)):
                counted[what] += 1
                faults += [fault] if fault else []
    return Attempt(counted.total(), faults, counted)


def _log(rng: Random) -> Iterator[Sealed]:
    """A valid chain of events."""
    digest = rng.randbytes(32)
    for position in range(1, EVENTS + 1):
        actor, stream = text(rng), text(rng)
        meant = RecordedEvent(position, stream, rng.randrange(1, 99), abs(number(rng)), actor, event(rng))
        row = codec.seal(meant, rng.randbytes(16), digest)
        assert codec.decode(row, digest).event == meant.event
        yield row, digest, codec.decode(row, digest)
        digest = row.digest


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(rng: Random, sealed: Sealed, log: Sequence[Sealed]) -> Judged:
    row, previous, meant = sealed
    for _ in range(ROWS_OF_AN_EVENT):
        column = below(rng, 11)
        value, before = _wrong(rng, row, column, log), previous
        if value == row[column] and type(value) is type(row[column]):
            before = rng.choice(log)[0].digest if below(rng, 2) else altered(rng, previous)
            if before == previous:
                continue
        frame = (*row[:column], value, *row[column + 1 :])
        yield "altered rows", _judged(frame, before, None)
    yield "sound rows", _judged(row, previous, meant)


def _wrong(rng: Random, row: StoredEvent, column: int, log: Sequence[Sealed]) -> Any:
    """Another value for a column, but not the same number as text, which has the same digest."""
    kind, value = below(rng, 8), row[column]
    if kind == 0:
        return rng.choice(log)[0][column]
    if kind == 1:
        return rng.choice(ODD)
    if isinstance(value, int):
        return value ^ 1 << below(rng, 63) if kind < 5 else rng.choice(EDGES)
    if isinstance(value, str):
        raw = value.encode()
        return raw if kind == 2 else altered(rng, raw).decode("utf-8", "surrogateescape")
    return altered(rng, value or b"") if kind > 2 else "text"


def _judged(frame: tuple[Any, ...], previous: bytes, meant: RecordedEvent | None) -> str | None:
    """The fault if a frame other than `meant` is accepted, or the error is not the documented one; else None."""
    try:
        found = codec.decode(frame, previous)
    except DamagedEventError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: a damaged frame must be a DamagedEventError"
    return None if found == meant else "accepted: an altered event was taken"


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────


def _lines(rng: Random, sealed: Sealed) -> Judged:
    row, previous, meant = sealed
    line, header = event_line(row), header_line("log", Head(row.position, row.digest, 0))
    for _ in range(LINES_OF_AN_EVENT):
        if below(rng, 8):
            yield "altered lines", _judged_line(altered(rng, line), previous, meant)
        else:
            yield "altered headers", _judged_header(altered(rng, header))
    yield "altered lines", _judged_line(line.partition(b'"data":')[0] + b'"data":%b}\n' % ENDLESS, previous, meant)
    yield "altered headers", _judged_header(header.rstrip(b"}\n") + b',"x":%b}\n' % ENDLESS)


def _judged_line(line: bytes, previous: bytes, meant: RecordedEvent) -> str | None:
    try:
        row = read_event(line)
    except ValueError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: a line that is no event must be a ValueError"
    return _judged(row, previous, meant)


def _judged_header(line: bytes) -> str | None:
    try:
        read_header(line)
    except ValueError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: a line that is no header must be a ValueError"
    return None


# ── the control ─────────────────────────────────────────────────────────────────────────────────────────


class _Same:
    """Equal to every digest."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


CAMPAIGN = Campaign(
    name="fuzz-frames",
    unit="frames",
    short=300_000,
    full=100_000_000,
    attempt=attempt,
    controls=(
        Control("without the digest's check altered events are accepted", partial(attempt, link=lambda *_: _Same()), 1),
    ),
)
