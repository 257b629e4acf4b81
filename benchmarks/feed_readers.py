"""Readers of the feed: `feed_readers.py URL READERS AFTER EVENTS`.

They read the events after a position. It prints a line once all have caught up, and, once each has read so many events
of jobs, how many each got. It counts them without decoding them.
"""

import json
import selectors
import socket
import sys
from urllib.parse import urlsplit

EVENT = b"id: "
OURS = b'"stream_id":"$'


def main(url: str, readers: int, after: int, events: int) -> None:
    """Connect all readers, and read until each has all events."""
    counts = dict.fromkeys((_connected(url, after) for _ in range(readers)), 0)
    ready = selectors.DefaultSelector()
    for each in counts:
        ready.register(each, selectors.EVENT_READ, bytearray())
    print("connected", flush=True)
    _read(ready, counts, events)
    print(json.dumps([*counts.values()]))


def _read(ready: selectors.BaseSelector, counts: dict[socket.socket, int], events: int) -> None:
    while min(counts.values()) < events:
        for key, _ in ready.select():
            reader, rest = key.fileobj, key.data
            assert isinstance(reader, socket.socket)
            part = reader.recv(1 << 20)
            if not part:
                raise SystemExit("the server has closed a feed")
            rest += part
            whole = rest.rfind(b"\n") + 1
            counts[reader] += rest.count(EVENT, 0, whole) - rest.count(OURS, 0, whole)
            del rest[:whole]


def _connected(url: str, after: int) -> socket.socket:
    """A reader that has read all events so far."""
    parts = urlsplit(url)
    found = socket.create_connection((parts.hostname or "", parts.port or 80))
    token = parts.query.partition("token=")[2]
    asked = (
        f"GET /api/events?from={after + 1} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    found.sendall(asked.encode())
    head = b""
    while b"event: caught_up" not in head:
        part = found.recv(1)  # no more: the events that follow are counted
        if not part:
            raise SystemExit("the server refuses the readers")
        head += part
    return found


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
