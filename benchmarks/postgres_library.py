"""One queue's Python API on PostgreSQL, in a process of its own: `… -m benchmarks.postgres_library NAME STEP N URL`.

The process connects, says `ready`, waits for a line, does the step, and says when it ended: moments of the monotonic
clock, which every process of a machine shares.

| step | what |
|---|---|
| `install` | makes the schema |
| `each`, `batch` | adds N jobs that do nothing: one at a time, each on disk before the next; as many at once as N |
| `hundreds` | adds N times a hundred jobs |
| `work` | takes and finishes jobs, N at a time where the library can, until none is left |
| `wait` | an idle worker that runs what comes, until it is ended |
| `ask` | adds N jobs now and then, and waits until each runs; says the milliseconds that each took |
"""

import asyncio
import json
import os
import random
import select
import sys
import time
from contextlib import nullcontext
from typing import Any

from benchmarks.postgres_line import longer
from benchmarks.postgres_peers import PEERS, Peer

PIPE = "QUEUECTL_BENCHMARK_PIPE"
"""The named pipe at which `ask` waits for a job's word that it runs."""

DISTANCE = "QUEUECTL_BENCHMARK_DISTANCE"
"""Seconds by which each round trip of ours is made longer, as if the server were far away."""


async def _step(peer: Peer, step: str, count: int) -> Any:
    if step == "each":
        for _ in range(count):
            await peer.add()
    elif step == "batch":
        await peer.add_all(count)
    elif step == "hundreds":
        for _ in range(count):
            await peer.add_all(100)
    elif step == "work":
        await peer.work(count)
    elif step == "wait":
        await peer.work_for_ever()
    elif step == "ask":
        return await _ask(peer, count)
    return time.monotonic()


async def _ask(peer: Peer, count: int) -> list[float]:
    """Milliseconds from the call until the job's first instruction; the first job does not count."""
    path = os.environ[PIPE]
    reader, found = os.open(path, os.O_RDWR), []
    for _ in range(count + 1):
        time.sleep(random.uniform(0.15, 0.25))  # out of step with polling, and longer than any pause between hints
        called = time.perf_counter()
        await peer.add_telling(path)
        if not select.select([reader], [], [], 30)[0]:
            raise TimeoutError("no worker has run the job")
        os.read(reader, 1)
        found.append(1000 * (time.perf_counter() - called))
    return found[1:]


async def _main(name: str, step: str, count: int, url: str) -> None:
    async with PEERS[name](url) as peer:
        if step == "install":
            await peer.install()
            return
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(await _step(peer, step, count)), flush=True)


if __name__ == "__main__":
    _name, _what, _count, _url = sys.argv[1:]
    _away = float(os.environ.get(DISTANCE, "0"))
    with longer(_away) if _away else nullcontext():
        asyncio.run(_main(_name, _what, int(_count), _url))
