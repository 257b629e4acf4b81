"""The log as NDJSON, in the archive and in exports: a header line, then one event a line.

An event's `data` is written as it is stored and comes back byte for byte, because its digest covers those bytes.
"""

from typing import Annotated

import msgspec

from queuectl.store.errors import DamagedEventError
from queuectl.store.rows import FIRST_FORMAT, MAX_POSITION, NEWEST_FORMAT, Head, StoredEvent

__all__ = ["MAX_LINE", "Header", "event_line", "header_line", "read_event", "read_header"]

MAX_LINE = 16 << 20
"""Bytes in one line. An event has at most 5 MiB: a job's limit, where each control character takes six bytes."""

_encode = msgspec.json.Encoder().encode


Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_POSITION)]


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="queuectl", tag="log"):
    """Describes the lines after it: their log, and the event that the first of them follows.

    An export's header also says where it ends, so that a truncated one is noticed.
    """

    format: int
    log_id: str
    base_position: Natural
    base_digest: str
    end_position: Natural | None = None
    end_digest: str | None = None

    @property
    def base(self) -> Head:
        """The position and digest before the first event."""
        return Head(self.base_position, bytes.fromhex(self.base_digest), 0)

    @property
    def end(self) -> Head | None:
        """The position and digest of the last event, if the header has them."""
        if self.end_position is None or self.end_digest is None:
            return None
        return Head(self.end_position, bytes.fromhex(self.end_digest), 0)


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    position: Natural
    stream_id: str
    version: Natural
    type: str
    schema: Natural
    recorded_at: Natural
    actor: str
    salt: str | None
    data_digest: str | None
    digest: str
    data: msgspec.Raw


_read_header = msgspec.json.Decoder(Header).decode
_read_line = msgspec.json.Decoder(_Line).decode


def header_line(log_id: str, base: Head, end: Head | None = None, form: int = FIRST_FORMAT) -> bytes:
    """The first line of a segment or an export, with its newline. `form` is the format of an exported log."""
    header = Header(
        format=form,
        log_id=log_id,
        base_position=base.position,
        base_digest=base.digest.hex(),
        end_position=end.position if end else None,
        end_digest=end.digest.hex() if end else None,
    )
    return _encode(header) + b"\n"


def event_line(row: StoredEvent) -> bytes:
    """An event as a line, with its newline. Raises DamagedEventError when the row cannot be one line."""
    if row.data is not None and "\n" in row.data:
        raise DamagedEventError(row.position, row.stream_id, "its data is not one line")
    if not isinstance(row.digest, bytes) or isinstance(row.salt, str) or isinstance(row.data_digest, str):
        raise DamagedEventError(row.position, row.stream_id, "its salt or its digest is text")
    salt = f'"{row.salt.hex()}"' if row.salt is not None else "null"
    data_digest = f'"{row.data_digest.hex()}"' if row.data_digest is not None else "null"
    return (
        f'{{"position":{row.position},"stream_id":{_text(row.stream_id)},"version":{row.version},'
        f'"type":{_text(row.type)},"schema":{row.schema},"recorded_at":{row.recorded_at},'
        f'"actor":{_text(row.actor)},"salt":{salt},"data_digest":{data_digest},"digest":"{row.digest.hex()}",'
        f'"data":{"null" if row.data is None else row.data}}}\n'
    ).encode()


def _text(text: str) -> str:
    return _encode(text).decode()


def read_header(line: bytes) -> Header:
    """The header of a segment or an export. Raises ValueError with what is wrong."""
    try:
        header = _read_header(line)
        complete = b'"queuectl"' in line  # msgspec does not ask for a tag
        complete = complete and len(header.base.digest) == 32 and (header.end is None or len(header.end.digest) == 32)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        complete = False
    if not complete:
        raise ValueError("this is not a queuectl log")
    if header.format > NEWEST_FORMAT:
        newest = f"newer than this queuectl reads ({NEWEST_FORMAT})"
        raise ValueError(f"its format is {header.format}, {newest}: upgrade queuectl")
    return header


def read_event(line: bytes) -> StoredEvent:
    """The event of a line, its digest not checked yet. Raises ValueError with what is wrong."""
    if len(line) > MAX_LINE:
        raise ValueError(f"this is not an event: the line is longer than {MAX_LINE >> 20} MiB")
    try:
        read = _read_line(line)
        data = bytes(read.data).decode()
        row = StoredEvent(
            read.position,
            read.stream_id,
            read.version,
            read.type,
            read.schema,
            read.recorded_at,
            read.actor,
            None if data == "null" else data,
            None if read.salt is None else bytes.fromhex(read.salt),
            None if read.data_digest is None else bytes.fromhex(read.data_digest),
            bytes.fromhex(read.digest),
        )
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"this is not an event: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError("this is not an event: it is not UTF-8") from error
    except ValueError as error:
        raise ValueError("this is not an event: a digest or its salt is not hexadecimal") from error
    if len(row.digest) != 32:
        raise ValueError("this is not an event: its digest is not 64 hex digits")
    return row
