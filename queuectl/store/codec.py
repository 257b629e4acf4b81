"""Events as bytes: encoding, the digest chain, and decoding, which checks the digest first.

    content = position, stream_id, version, type, schema, recorded_at, actor, hex sha256(salt ‖ data), one a line
    digest  = sha256(previous digest ‖ sha256(content))

Damage can decode into a different valid event, so nothing is decoded before its digest is checked.
"""

from collections.abc import Callable
from functools import cache, reduce
from hashlib import sha256
from operator import or_
from typing import Any

import msgspec

from queuectl.domain.events import EVENT_TYPES, Event, RecordedEvent, type_of
from queuectl.store.base import DamagedEventError, StoredEvent

__all__ = ["COLUMNS", "SALT_BYTES", "UPCASTERS", "body_digest", "decode", "digest_of", "link", "seal"]

SALT_BYTES = 16

UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""(type, schema) -> the pure function from that schema's data to the next one's."""


COLUMNS = StoredEvent._fields

_encode = msgspec.json.Encoder().encode


def seal(record: RecordedEvent, salt: bytes, previous: bytes) -> StoredEvent:
    """The row that stores an event after the event whose digest is `previous`."""
    data = _encode(record.event)
    kind, schema = type_of(record.event), record.event.SCHEMA
    digest = link(previous, _content(record, kind, schema, sha256(salt + data).hexdigest()))
    return StoredEvent(
        record.position,
        record.stream_id,
        record.version,
        kind,
        schema,
        record.recorded_at,
        record.actor,
        data.decode(),
        salt,
        None,
        digest,
    )


def _content(row: RecordedEvent | StoredEvent, kind: str, schema: int, body: str) -> bytes:
    return (
        f"{row.position}\n{row.stream_id}\n{row.version}\n{kind}\n{schema}\n{row.recorded_at}\n{row.actor}\n{body}"
    ).encode()


def link(previous: bytes, content: bytes) -> bytes:
    """The chain's next digest."""
    return sha256(previous + sha256(content).digest()).digest()


def body_digest(row: StoredEvent) -> bytes:
    """sha256(salt ‖ data), or what redaction left of it."""
    if row.data_digest is not None:
        if row.data is not None or row.salt is not None:
            raise DamagedEventError(row.position, row.stream_id, "it has both data and the digest of removed data")
        return row.data_digest
    if row.data is None or row.salt is None:
        raise DamagedEventError(row.position, row.stream_id, "its data is missing")
    return sha256(row.salt + row.data.encode()).digest()


def digest_of(row: StoredEvent, previous: bytes) -> bytes:
    """The digest that a row has after the event whose digest is `previous`. Raises DamagedEventError."""
    return link(previous, _content(row, row.type, row.schema, body_digest(row).hex()))


def decode(row: StoredEvent, previous: bytes) -> RecordedEvent:
    """The event of a row. Raises DamagedEventError when the digest, the data or the schema is not right."""
    try:
        if digest_of(row, previous) != row.digest:
            raise DamagedEventError(row.position, row.stream_id, "its digest does not match")
        event = _decode_event(row)
    except (msgspec.MsgspecError, UnicodeError, LookupError, TypeError, ValueError) as error:
        raise DamagedEventError(row.position, row.stream_id, str(error)) from error
    return RecordedEvent(
        row.position,
        row.stream_id,
        row.version,
        row.recorded_at,
        row.actor,
        event,
        row.schema,
        row.digest,
    )


def _decode_event(row: StoredEvent) -> Event:
    known = _types().get(row.type)
    if known is None or row.data is None or row.schema > known.SCHEMA:
        raise ValueError(f"this version cannot read {row.type!r} events of schema {row.schema}")
    if row.schema == known.SCHEMA:
        event = _decoder().decode(row.data)
    else:
        event = msgspec.convert(_upcast(row, known.SCHEMA), known)
    if type(event) is not known:
        raise ValueError(f"its data is not that of a {row.type!r} event")
    return event


def _upcast(row: StoredEvent, schema: int) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(row.data or "")
    for older in range(row.schema, schema):
        if (row.type, older) not in UPCASTERS:
            raise ValueError(f"this version cannot read {row.type!r} events of schema {row.schema}")
        data = UPCASTERS[row.type, older](data)
    return data


@cache
def _types() -> dict[str, type[Event]]:
    return {type_of(event): event for event in EVENT_TYPES}


@cache
def _decoder() -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(reduce(or_, EVENT_TYPES))
