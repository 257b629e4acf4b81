"""Events as bytes: encoding, the digest chain, decoding, which checks the digest first, and the format that each needs.

    content = position, stream_id, version, type, schema, recorded_at, actor, hex sha256(salt ‖ data), one a line
    digest  = sha256(previous digest ‖ sha256(content))

Damage can decode into a different valid event, so nothing is decoded before its digest is checked.
"""

from collections.abc import Callable, Iterator
from functools import cache, reduce
from itertools import count
from operator import or_
from typing import Any

import msgspec
from msgspec.structs import astuple

from queuectl.domain import events as e
from queuectl.domain.events import EVENT_TYPES, Event, RecordedEvent, type_of
from queuectl.errors import UsageError
from queuectl.store.errors import DamagedEventError
from queuectl.store.rows import FIRST_FORMAT, Head, StoredEvent

__all__ = [
    "COLUMNS",
    "SALT_BYTES",
    "UPCASTERS",
    "NewerEventError",
    "body_digest",
    "check_follows",
    "decode",
    "decode_columns",
    "digest_of",
    "format_of",
    "seal",
]

SALT_BYTES = 16

UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""(type, schema) -> the pure function from that schema's data to the next one's."""

_FORMATS: dict[type[Event], int] = dict.fromkeys(
    (
        *(e.ScheduleSet, e.SchedulePaused, e.ScheduleResumed, e.ScheduleRemoved, e.ScheduleFired, e.ScheduleSkipped),
        *(e.DependenciesMet, e.Amended),
    ),
    2,
)
"""Events that need this format of the log whatever they hold."""
_FIELD_FORMATS: dict[type[Event], dict[str, int]] = {
    e.Enqueued: {"retry_wait": 2, "merge_output": 2, "origin": 2, "after": 2, "stdin": 2},
    e.Requeued: {"delay": 2},
    e.BatchOpened: {"max_failures": 2},
    e.Cancelled: {"by": 2},
    e.Claimed: {"waited": 2},
    e.WorkerStarted: {"version": 2, "log_file": 2},
}
"""Fields whose event needs this format of the log when they are stored: when they do not have their defaults."""


def _defaults(event: type[Event]) -> dict[str, object]:
    return dict(zip(reversed(event.__struct_fields__), reversed(event.__struct_defaults__), strict=False))


_NEWER = {
    event: [(name, _defaults(event)[name], needed) for name, needed in fields.items()]
    for event, fields in _FIELD_FORMATS.items()
}
"""The same fields, each with its default."""

COLUMNS = StoredEvent._fields

try:
    from _sha256 import sha256 as _own_sha256  # type: ignore[import-not-found]
except ImportError:
    try:
        from _sha2 import sha256 as _own_sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256 as _own_sha256

_HASHES_OF_A_SHORT_PROCESS = 100


def _first_sha256(data: bytes, _calls: Iterator[int] = count(1)) -> Any:  # noqa: B008 (one counter for the process)
    """The interpreter's own SHA-256, which makes way for OpenSSL's after some calls.

    OpenSSL takes a third of the time for an event, but 2.5 ms to load: more than the work of a whole `enqueue`.
    """
    global sha256  # noqa: PLW0603
    if next(_calls) >= _HASHES_OF_A_SHORT_PROCESS:
        from hashlib import sha256
    return _own_sha256(data)


sha256: Callable[[bytes], Any] = _first_sha256

_encode = msgspec.json.Encoder().encode

_DAMAGE = (msgspec.MsgspecError, UnicodeError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""The errors that reading a damaged row raises: a flipped bit turns text into bytes, data may be nested too deeply."""


class NewerEventError(DamagedEventError):
    """A later version has written the event. This version treats it like a damaged one."""

    remedy = "upgrade queuectl"

    def __init__(self, position: int, stream_id: str, why: str) -> None:
        super().__init__(position, stream_id, why)
        self.args = (f"event {position} of {stream_id} cannot be read ({why})",)


def _encoded(event: Event) -> bytes:
    """An event as the log stores it. Raises UsageError for an event that the log could not read again."""
    try:
        data = _encode(event)
        known = _decoder_of(type(event))(data)
        if known != event:
            _refuse_other(event, known)
        if b"\\u0000" in data:
            _refuse_nul(msgspec.to_builtins(known))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the log cannot store this {_name_of(event)} event: {error}") from error
    return data


def _refuse_other(event: Event, known: Event) -> None:
    """Raises ValueError for a field that would be read back as another value; a list may come back as a tuple."""
    for name, value, found in zip(event.__struct_fields__, astuple(event), astuple(known), strict=True):
        if value != found and not (isinstance(value, list) and tuple(value) == found):
            raise ValueError(f"{name}={value!r} would be read back as {found!r}")


def _name_of(event: object) -> str:
    return type_of(event) if isinstance(event, Event) else type(event).__name__


def _refuse_nul(value: object) -> None:
    """Raises ValueError for a NUL in any text."""
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a text in it holds a NUL character")
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for each in value:
            _refuse_nul(each)


def format_of(event: Event) -> int:
    """The lowest format of a log that may hold this event.

    An older queuectl cannot read such an event and would set its job aside as damaged. So the first one raises the
    log's format in its transaction, and an older queuectl then refuses to write.
    """
    lowest = _FORMATS.get(type(event), FIRST_FORMAT)
    if isinstance(event, e.ScheduleSet):
        return max(lowest, format_of(event.job))
    for name, default, needed in _NEWER.get(type(event), ()):  # each event passes here, so no list is made
        if getattr(event, name) != default:
            lowest = max(lowest, needed)
    return lowest


def seal(record: RecordedEvent, salt: bytes, previous: bytes) -> StoredEvent:
    """The row that stores an event after the event whose digest is `previous`. Raises UsageError: see `_encoded`."""
    data = _encoded(record.event)
    kind, schema = _kinds()[type(record.event)]
    place = (record.position, record.stream_id, record.version, kind, schema, record.recorded_at, record.actor)
    digest = _link(previous, *place, sha256(salt + data).hexdigest())
    return StoredEvent(*place, data.decode(), salt, None, digest)


def _link(  # noqa: PLR0913, PLR0917 (one call an event: a row would have to be built for it)
    previous: bytes,
    position: int,
    stream_id: str,
    version: int,
    kind: str,
    schema: int,
    recorded_at: int,
    actor: str,
    body: str,
) -> bytes:
    """The chain's next digest."""
    content = f"{position}\n{stream_id}\n{version}\n{kind}\n{schema}\n{recorded_at}\n{actor}\n{body}"
    digest: bytes = sha256(previous + sha256(content.encode()).digest()).digest()
    return digest


def body_digest(row: StoredEvent) -> bytes:
    """sha256(salt ‖ data), or the hash that redaction left in its place."""
    if row.data_digest is not None:
        if row.data is not None or row.salt is not None:
            raise DamagedEventError(row.position, row.stream_id, "it has both data and the digest of removed data")
        return row.data_digest
    if row.data is None or row.salt is None:
        raise DamagedEventError(row.position, row.stream_id, "its data is missing")
    digest: bytes = sha256(row.salt + row.data.encode()).digest()
    return digest


def digest_of(row: StoredEvent, previous: bytes) -> bytes:
    """The digest that a row has after the event whose digest is `previous`. Raises DamagedEventError."""
    try:
        return _link(previous, *row[:7], body_digest(row).hex())
    except _DAMAGE as error:
        raise DamagedEventError(row.position, row.stream_id, str(error)) from error


def check_follows(row: StoredEvent, previous: Head) -> None:
    """Raises DamagedEventError unless a row matches its digest and is the next one after `previous`."""
    if row.position != previous.position + 1:
        raise DamagedEventError(row.position, row.stream_id, f"it does not follow on event {previous.position}")
    if digest_of(row, previous.digest) != row.digest:
        raise DamagedEventError(row.position, row.stream_id, "its digest does not match")


def decode(row: StoredEvent | tuple[Any, ...], previous: bytes) -> RecordedEvent:
    """The event of a row. Raises DamagedEventError when the digest, the data or the schema is not right."""
    return decode_columns(*(*row, previous))


def decode_columns(  # noqa: PLR0913, PLR0917 (every event that is read passes here, and a row would have to be cut off)
    position: int,
    stream_id: str,
    version: int,
    kind: str,
    schema: int,
    recorded_at: int,
    actor: str,
    data: str | None,
    salt: bytes | None,
    data_digest: bytes | None,
    digest: bytes,
    previous: bytes,
) -> RecordedEvent:
    """The same for the columns of a row and the digest before it."""
    try:
        if data is not None and salt is not None and data_digest is None:
            body = sha256(salt + data.encode()).hexdigest()
        else:
            place = (position, stream_id, version, kind, schema, recorded_at, actor)
            body = body_digest(StoredEvent(*place, data, salt, data_digest, digest)).hex()
        if _link(previous, position, stream_id, version, kind, schema, recorded_at, actor, body) != digest:
            raise DamagedEventError(position, stream_id, "its digest does not match")
        known = _types().get(kind)
        if known is None or data is None or schema > known.SCHEMA:
            why = f"this version cannot read {kind!r} events of schema {schema}"
            raise NewerEventError(position, stream_id, why)
        if schema == known.SCHEMA:
            event = _decoder()(data)
        else:
            event = msgspec.convert(_upcast(kind, schema, data, known.SCHEMA), known)
        if type(event) is not known:
            raise ValueError(f"its data is not that of a {kind!r} event")
    except _DAMAGE as error:
        raise DamagedEventError(position, stream_id, str(error)) from error
    return RecordedEvent(position, stream_id, version, recorded_at, actor, event, schema, digest)


def _upcast(kind: str, schema: int, text: str, wanted: int) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(text)
    for older in range(schema, wanted):
        if (kind, older) not in UPCASTERS:
            raise ValueError(f"this version cannot read {kind!r} events of schema {schema}")
        data = UPCASTERS[kind, older](data)
    return data


@cache
def _types() -> dict[str, type[Event]]:
    return {type_of(event): event for event in EVENT_TYPES}


@cache
def _kinds() -> dict[type[Event], tuple[str, int]]:
    return {event: (type_of(event), event.SCHEMA) for event in EVENT_TYPES}


@cache
def _decoder() -> Callable[[str | bytes], Event]:
    decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(reduce(or_, EVENT_TYPES))
    return decoder.decode


@cache
def _decoder_of(event: type[Event]) -> Callable[[bytes], Event]:
    """Made in a quarter of the time of the one for all types. Raises TypeError."""
    if event not in _kinds():
        raise TypeError(f"{event.__name__} is no event type")
    return msgspec.json.Decoder(event).decode
