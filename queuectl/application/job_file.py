"""Reads a file of jobs: one a line, or one JSON document, which is an array of jobs or a single job.

A line that is only part of a command is refused, because each part would run as a job of its own.
"""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import msgspec
from msgspec.structs import replace

from queuectl.application.job_fields import BLANKS
from queuectl.application.job_input import JobReader
from queuectl.application.job_json import MAX_JSON, PRINTED, JobInput, check_length, is_json
from queuectl.application.queue import NewJob
from queuectl.errors import UsageError
from queuectl.process.shell_syntax import first_refused, is_plain

__all__ = ["read_jobs"]

MAX_DOCUMENT = 1 << 28
"""Bytes in one JSON array of jobs."""
_ONE_LINE = "write each job on one line, or all jobs as one array: [{…}, {…}]"
_JOB = 'a job is an object such as {"command": "true"}'
_FIELDS = {*JobInput.__struct_fields__, *PRINTED}
_ONLY_FOR_ITSELF = re.compile(r"[ \t]*(?:cd|export|source|\.|alias|umask|ulimit)[ \t]+[^;&|]*")

Line = tuple[int, str]
"""A line's number, from 1, and its text."""


def read_jobs(file: BinaryIO, reader: JobReader) -> list[NewJob]:
    """All jobs of a file. Raises UsageError with the number of the line that is wrong."""
    lines = _lines(file)
    first = next(lines, None)
    if first is None:
        return []
    if _begins_document(first[1]):
        return _from_document(_whole(first, file), reader)
    _refuse_csv(first)
    return _from_lines(first, lines, reader)


def _lines(file: BinaryIO) -> Iterator[Line]:
    """The lines that are neither blank nor a comment."""
    for number, raw in enumerate(iter(lambda: file.readline(MAX_JSON + 1), b""), 1):
        try:
            check_length(raw)
            line = _text(raw)
        except UsageError as error:
            raise UsageError(f"line {number}: {error}") from None
        begin = line.lstrip(BLANKS)[:1]
        if begin and begin != "#":
            yield number, line


def _text(raw: bytes) -> str:
    """The line without its line end and without a byte order mark. Blanks stay."""
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise UsageError("the file is UTF-16: save it as UTF-8")
    if raw.endswith(b"\n"):
        raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
    try:
        return raw.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise UsageError("not UTF-8: save the file as UTF-8") from None


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────


def _from_lines(first: Line, others: Iterator[Line], reader: JobReader) -> list[NewJob]:
    unsure: list[Line] = []
    try:
        jobs = [_from_line(line, reader, unsure) for line in chain([first], others)]
    except UsageError:
        _refuse_incomplete(unsure)  # an incomplete line before this one is the likelier cause
        raise
    _refuse_incomplete(unsure)
    return jobs


def _refuse_incomplete(unsure: list[Line]) -> None:
    refused = first_refused([text for _, text in unsure])
    if refused:
        index, why = refused
        advice = "write the whole command on one line, or put it in a script"
        raise UsageError(f"line {unsure[index][0]}: sh cannot read this line by itself ({why}): {advice}")


def _from_line(line: Line, reader: JobReader, unsure: list[Line]) -> NewJob:
    """The job of one line. If only the shell can say whether the command is complete, it is added to `unsure`."""
    number, text = line
    try:
        _refuse_part(text)
        job = replace(reader.from_text(text, _ONE_LINE), line=number)
    except UsageError as error:
        raise UsageError(f"line {number}: {error}") from None
    if not (is_plain(text) or is_json(text)):
        unsure.append(line)
    if _ONLY_FOR_ITSELF.fullmatch(text):
        reader.note(f"line {number}: {text.strip(BLANKS)} has no effect on other lines: each job has its own shell")
    return job


def _refuse_part(text: str) -> None:
    """Refuse a line that continues on the next one."""
    if text.endswith("\\") and (len(text) - len(text.rstrip("\\"))) % 2:
        raise UsageError("it ends in a backslash, so the command continues: write the whole command on one line")
    alone = text.strip(BLANKS)
    if alone in ("[", "{"):
        raise UsageError(f"{alone} is not a job: {_ONE_LINE}")


def _refuse_csv(first: Line) -> None:
    names = [name.strip(' \t"').lower() for name in first[1].split(",")]
    if len(names) > 1 and "command" in names and _FIELDS.issuperset(names):
        raise UsageError(f"line {first[0]}: this is CSV: write one command, or one job in JSON, on each line")


# ── a document ──────────────────────────────────────────────────────────────────────────────────────────


def _begins_document(line: str) -> bool:
    """Whether a line begins a JSON document. `[ -e FILE ]`, with a blank and no brace, is a command."""
    text = line.strip(BLANKS)
    if text.startswith("["):
        return text == "[" or text[1] in '{]"' or text[1:].lstrip(BLANKS).startswith("{")
    return text == "{" or (is_json(text) and text.endswith((",", "{", "[", ":")))


def _whole(first: Line, file: BinaryIO) -> Line:
    """The document and the number of its first line."""
    number, line = first
    rest = file.read(MAX_DOCUMENT + 1)
    if len(rest) > MAX_DOCUMENT:
        raise UsageError(f"an array of jobs has at most {MAX_DOCUMENT} bytes: write one job on each line")
    try:
        return number, f"{line}\n{rest.decode()}"
    except UnicodeDecodeError as error:
        wrong = number + 1 + rest.count(b"\n", 0, error.start)
        raise UsageError(f"line {wrong}: not UTF-8: save the file as UTF-8") from None


def _from_document(document: Line, reader: JobReader) -> list[NewJob]:
    if document[1].lstrip(BLANKS).startswith("["):
        return [_from_item(order, item, reader) for order, item in enumerate(_items(document), 1)]
    return [_from_object(document, f"line {document[0]}", reader)]


def _from_item(order: int, item: Line, reader: JobReader) -> NewJob:
    where = f"line {item[0]}, job {order}"
    if not item[1].startswith("{"):
        raise UsageError(f"{where}: {_JOB}")
    return _from_object(item, where, reader)


def _from_object(item: Line, where: str, reader: JobReader) -> NewJob:
    if not is_json(item[1]):
        raise UsageError(f"{where}: {{ is not a job: {_ONE_LINE}")
    try:
        return replace(reader.from_text(item[1], _ONE_LINE), line=item[0])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _items(document: Line) -> Iterator[Line]:
    """Each element of an array, with the number of the line on which it begins."""
    number, text = document
    place = 0
    for raw in _elements(number, text):
        item = bytes(raw).decode()
        begin = text.index(item, place)
        number += text.count("\n", place, begin)
        yield number, item
        place = begin + len(item)
        number += item.count("\n")


def _elements(number: int, text: str) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        found = re.search(r"\(byte (\d+)\)", str(error))
        read = text.encode()[: int(found[1])] if found else text.rstrip(BLANKS).encode()
        wrong = number + read.count(b"\n")
        raise UsageError(f"line {wrong}: not an array of jobs in JSON: {error}: {_ONE_LINE}") from None
