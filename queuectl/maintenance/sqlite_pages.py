"""Reads events from the bytes of a damaged SQLite database, page by page, without SQLite. For copies, not live files.

SQLite stops at the first thing it cannot read: one wrong byte in the -wal hides every later commit. Here each page is
read on its own, in every version that the -wal still has. The rows found may be wrong; the caller checks their
digests. The format is described at sqlite.org/fileformat2.html; all queues have the same page size.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from queuectl.store.rows import StoredEvent

__all__ = ["RawDatabase"]

PAGE = 4096
_FRAME_HEADER, _WAL_HEADER, _DB_HEADER = 24, 32, 100
_LOCAL_MAX, _LOCAL_MIN = PAGE - 35, (PAGE - 12) * 32 // 255 - 23
_INTEGERS = (0, 1, 2, 3, 4, 6, 8)
_META = {"format", "log_id", "base_position", "base_digest", "moved_to"}

Values = list[Any]


class RawDatabase:
    """The events found in a database file and its -wal: every version of each, the newest first."""

    def __init__(self, db: str, wal: str) -> None:
        self._bytes = [_map_file(db), _map_file(wal)]
        self._newest_page: dict[int, tuple[int, int]] = {}
        self._cells: dict[int, list[tuple[int, int]]] = {}
        self.meta: dict[str, Any] = {}
        images = [*reversed(list(self._frames())), *self._pages()]
        for number, file, start in images:
            self._newest_page.setdefault(number, (file, start))
        for number, file, start in images:
            newest = self._newest_page[number]
            if newest == (file, start) or self._page(*newest) != self._page(file, start):
                self._read_page(file, start)

    def positions(self) -> Iterator[int]:
        """Positions at which something that looks like an event was found."""
        return iter(self._cells)

    def rows(self, position: int) -> Iterator[StoredEvent]:
        """Every version of the row that looks like the event at this position."""
        for file, start in self._cells.get(position, ()):
            found = self._cell(file, start)
            if found is not None and (row := _event(position, found[1])):
                yield row

    # ── pages ───────────────────────────────────────────────────────────────────────────────────────

    def _page(self, file: int, start: int) -> bytes:
        return self._bytes[file][start : start + PAGE]

    def _pages(self) -> Iterator[tuple[int, int, int]]:
        """(number, file, start) of the pages of the database."""
        for start in range(0, len(self._bytes[0]) - PAGE + 1, PAGE):
            yield start // PAGE + 1, 0, start

    def _frames(self) -> Iterator[tuple[int, int, int]]:
        """(number, file, start) of the committed pages in the -wal.

        Skips pages that were never committed, and those left from before the -wal was last restarted.
        """
        wal = self._bytes[1]
        starts = range(_WAL_HEADER, len(wal) - PAGE - _FRAME_HEADER + 1, PAGE + _FRAME_HEADER)
        heads = [(start, *struct.unpack_from(">II8s", wal, start)) for start in starts]
        salts = {salt for *_, salt in heads[:3]}
        salt = wal[16:24] if wal[16:24] in salts else heads[0][3] if heads else b""
        heads = [head for head in heads if head[3] == salt]
        committed = max((index for index, head in enumerate(heads) if head[2]), default=-1)
        for start, number, _, _ in heads[: committed + 1]:
            yield number, 1, start + _FRAME_HEADER

    def _read_page(self, file: int, start: int) -> None:
        """Note the cells of a table's leaf page. The page type is not checked, because that byte may be damaged."""
        data = self._bytes[file]
        head = start + (_DB_HEADER if data[start : start + 6] == b"SQLite" else 0)
        count = int.from_bytes(data[head + 3 : head + 5], "big")
        for index in range((PAGE - _DB_HEADER - 8) // 2):
            place = head + 8 + 2 * index
            offset = int.from_bytes(data[place : place + 2], "big")
            if place + 2 - start <= offset <= PAGE - 4:
                self._note_cell(file, start + offset)
            elif index >= count:
                return

    # ── cells ───────────────────────────────────────────────────────────────────────────────────────

    def _note_cell(self, file: int, start: int) -> None:
        if self._is_duplicate(file, start) or (found := self._cell(file, start)) is None:
            return
        row, values = found
        if len(values) == 2:
            if values[0] in _META:
                self.meta.setdefault(values[0], values[1])
            return
        self._cells.setdefault(row, []).append((file, start))

    def _is_duplicate(self, file: int, start: int) -> bool:
        """Whether the same cell was already found in another version of its page."""
        data = self._bytes[file]
        size, at = _varint(data, start)
        row, at = _varint(data, at)
        length = at + _local_length(size) - start
        cell = data[start : start + length]
        return any(self._bytes[other][place : place + length] == cell for other, place in self._cells.get(row, ()))

    def _cell(self, file: int, start: int) -> tuple[int, Values] | None:
        """A cell's row number and values; None when it cannot be a row of `events` or `meta`."""
        data = self._bytes[file]
        size, at = _varint(data, start)
        row, at = _varint(data, at)
        local = _local_length(size)
        payload = data[at : at + local]
        serials, head = _serials(payload)
        if head + sum(map(_length, serials)) != size or row >= 1 << 63:
            return None
        if len(serials) != 2 and (len(serials) != len(StoredEvent._fields) or serials[0] != 0):
            return None
        if local < size:
            payload = self._with_overflow(payload, data[at + local : at + local + 4], size)
        try:
            return row, _values(payload, serials, head)
        except UnicodeDecodeError:
            return None

    def _with_overflow(self, payload: bytes, link: bytes, size: int) -> bytes:
        """A long payload with its overflow pages. Those are never rewritten, so the newest version is right."""
        parts, length = [payload], len(payload)
        while length < size:
            place = self._newest_page.get(int.from_bytes(link, "big"))
            if place is None:
                return bytes(size)
            page = self._page(*place)
            link = page[:4]
            parts.append(page[4 : 4 + size - length])
            length += len(parts[-1])
        return b"".join(parts)


def _local_length(size: int) -> int:
    """How many bytes of a payload are in its cell; the rest is on overflow pages."""
    if size <= _LOCAL_MAX:
        return size
    local = _LOCAL_MIN + (size - _LOCAL_MIN) % (PAGE - 4)
    return local if local <= _LOCAL_MAX else _LOCAL_MIN


def _varint(data: Any, at: int) -> tuple[int, int]:
    """A variable-length integer, and the offset after it."""
    value = 0
    for index, byte in enumerate(data[at : at + 9]):
        if index == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return 0, at + 9


def _serials(payload: bytes) -> tuple[list[int], int]:
    """The serial types of a record's columns, and the length of its header."""
    head, at = _varint(payload, 0)
    serials: list[int] = []
    while at < head and len(serials) <= len(StoredEvent._fields):
        serial, at = _varint(payload, at)
        serials.append(serial)
    return serials, head


def _length(serial: int) -> int:
    if serial < len(_INTEGERS):
        return _INTEGERS[serial]
    return (8, 0, 0, 0, 0)[serial - 7] if serial < 12 else (serial - 12) // 2


def _values(payload: bytes, serials: Sequence[int], at: int) -> Values:
    values: Values = []
    for serial in serials:
        part = payload[at : at + _length(serial)]
        at += len(part)
        values.append(_value(serial, part))
    return values


def _value(serial: int, part: bytes) -> Any:
    if serial == 0:
        return None
    if serial in (8, 9):
        return serial - 8
    if serial < len(_INTEGERS):
        return int.from_bytes(part, "big", signed=True)
    return part.decode() if serial >= 12 and serial % 2 else bytes(part)


_TYPES = (int, str, int, str, int, int, str, str | None, bytes | None, bytes | None, bytes)


def _event(position: int, values: Values) -> StoredEvent | None:
    values = [position, *values[1:]]
    fits = all(isinstance(value, kind) for value, kind in zip(values, _TYPES, strict=True))
    return StoredEvent._make(values) if fits else None


def _map_file(path: str) -> bytes | mmap.mmap:
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""
    except FileNotFoundError:
        return b""
