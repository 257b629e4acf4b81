"""An event as a line of JSON, and back byte for byte."""

import json

import pytest

from queuectl.store.codec import decode, digest_of
from queuectl.store.errors import DamagedEventError
from queuectl.store.ndjson import MAX_LINE, event_line, header_line, read_event, read_header
from queuectl.store.rows import Head, StoredEvent

ROW = StoredEvent(
    7, "job-1", 2, "claimed", 1, 1_795_490_400_000_000, "ann@box:1", '{"type":"x"}', b"s" * 16, None, b"d" * 32
)
ROWS = [
    ROW,
    ROW._replace(actor='ann "the \\ box" ü'),
    ROW._replace(data='{"b":1, "a":  [1.0,2e3],"b":"\\u0041ü\\n"}'),
    ROW._replace(data='{"data":{"data":null},"text":"\\"data\\":"}'),
    ROW._replace(data=None, salt=None, data_digest=b"x" * 32),
    ROW._replace(position=2**62, stream_id="$queue:a"),
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_unchanged_by_encoding_and_decoding(row):
    assert read_event(event_line(row)) == row


def test_a_line_is_json_in_column_order_with_the_data_last():
    line = event_line(ROW)
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == [
        "position", "stream_id", "version", "type", "schema", "recorded_at", "actor", "salt", "data_digest", "digest",
        "data",
    ]  # fmt: skip
    assert json.loads(line)["data"] == {"type": "x"}
    assert json.loads(line)["recorded_at"] == 1_795_490_400_000_000


@pytest.mark.parametrize("data", [b'{"type":"x"}', '{"x":' + "[" * 5000 + "]" * 5000 + "}", 7])
def test_a_wrong_type_or_endless_nesting_is_damage(data):
    row = ROW._replace(data=data)
    with pytest.raises(DamagedEventError):
        decode(row, digest_of(row, bytes(32)))
    if isinstance(data, str):
        with pytest.raises(DamagedEventError, match="recursion"):
            decode(row._replace(digest=digest_of(row, bytes(32))), bytes(32))


def test_data_that_is_not_one_line_is_not_written():
    with pytest.raises(DamagedEventError, match="one line"):
        event_line(ROW._replace(data='{"type":\n"x"}'))


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-2],
        lambda line: line[:40],
        lambda line: b"",
        lambda line: line + b"{}",
        lambda line: line.replace(b'"position":7', b'"position":"7"'),
        lambda line: line.replace(b'"position":7', b'"position":7.5'),
        lambda line: line.replace(b'"position":7', b'"position":-7'),
        lambda line: line.replace(b'"position":7', b'"position":%d' % (1 << 63)),
        lambda line: line.replace(b'"salt":', b'"pepper":'),
        lambda line: line.replace(b'"salt":', b'"extra":1,"salt":'),
        lambda line: line.replace(b'"digest":"64', b'"digest":"zz'),
        lambda line: line.replace(b'"digest":"64', b'"digest":"'),
        lambda line: line.replace(b'{"type":"x"}', b'{"type":"x"'),
        lambda line: line.replace(b'{"type":"x"}', b'{"type":"\xff"}'),
        lambda line: line.replace(b'{"type":"x"}', b"[" * 5000 + b"]" * 5000),
        lambda line: line.replace(b'{"type":"x"}', b'"%b"' % (b"x" * MAX_LINE)),
    ],
)
def test_anything_else_is_not_an_event(change):
    line = change(event_line(ROW))
    assert line != event_line(ROW)
    with pytest.raises(ValueError, match="this is not an event: "):
        read_event(line)


def test_a_header_names_the_log_its_start_and_an_exports_end():
    base, end = Head(0, bytes(32), 0), Head(9, b"e" * 32, 0)
    assert json.loads(header_line("abc", base)) == {
        "queuectl": "log", "format": 1, "log_id": "abc", "base_position": 0, "base_digest": "00" * 32,
    }  # fmt: skip
    header = read_header(header_line("abc", base, end))
    assert (header.log_id, header.base, header.end) == ("abc", base, end)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not a queuectl log"),
        (b"{}\n", "not a queuectl log"),
        (b'{"id": 1}\n', "not a queuectl log"),
        (b'{"queuectl":"log","x":' + b"[" * 5000 + b"]" * 5000 + b"}", "not a queuectl log"),
        (b"\x1f\x8b\x08", "not a queuectl log"),
        (header_line("a", Head(0, b"short", 0)), "not a queuectl log"),
        (header_line("a", Head(-5, bytes(32), 0)), "not a queuectl log"),
        (header_line("a", Head(0, bytes(32), 0)).replace(b'"format":1', b'"format":3'), "upgrade queuectl"),
    ],
)
def test_a_line_that_is_not_a_header_is_refused(line, why):
    with pytest.raises(ValueError, match=why):
        read_header(line)
