"""A stress test for the WAL-reset race (SQLite 3.7.0 to 3.51.2): one writer, two processes that only checkpoint.

    python tests/store/wal_reset.py SECONDS [apsw|sqlite3]

prints the findings as JSON and ends at the first damage. With the standard `sqlite3` it is the control: an affected
library loses rows or corrupts the file within seconds. Small pages and synchronous=OFF make the race likely; this test
is not about durability.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory, where nothing waits for a disk."""
ROUND_SECONDS = 2.5
CHECKPOINTERS = 2


def connect(engine: str, path: str) -> Any:
    """A connection with the given SQLite library."""
    if engine == "apsw":
        import apsw

        db: Any = apsw.Connection(path)
        db.set_busy_timeout(5000)
    else:
        import sqlite3

        db = sqlite3.connect(path, isolation_level=None, timeout=5)
    for pragma in ("page_size=512", "journal_mode=wal", "synchronous=off", "wal_autocheckpoint=0"):
        list(db.execute(f"PRAGMA {pragma}"))
    return db


def errors(engine: str) -> type[Exception]:
    return __import__(engine).Error


def checkpoint_until_stdin_ends(engine: str, path: str) -> int:
    """Checkpoint in a loop until stdin ends; return how often."""
    import select

    db, done = connect(engine, path), 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(200):
            try:
                list(db.execute("PRAGMA wal_checkpoint(PASSIVE)"))
            except errors(engine):
                continue  # a damaged file: the writer's own look at the end says what is wrong
            done += 1
    return done


def write_for(engine: str, db: Any, seconds: float, rng: random.Random) -> tuple[int, str]:
    """Insert rows in bursts, so that the -wal is often copied back completely and started again."""
    rows, end = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            for _ in range(rng.choice((1, 2, 3, 8, 30, 90))):
                db.execute("INSERT INTO t VALUES (?, ?)", (rows + 1, rng.randbytes(rng.choice((8, 60, 200)))))
                rows += 1
            if rng.random() < 0.5:
                time.sleep(rng.random() * 0.0004)  # lets a checkpoint catch up with the -wal
    except errors(engine) as error:
        return rows, repr(error)
    return rows, ""


def damage(engine: str, path: str, written: int) -> str:
    """The damage of the file; empty if there is none."""
    try:
        db = connect(engine, path)
        [(found,)] = db.execute("SELECT count(*) FROM t NOT INDEXED")
        [(check,), *_] = db.execute("PRAGMA integrity_check")
    except errors(engine) as error:
        return repr(error)
    return "" if (found, check) == (written, "ok") else f"{found} of {written} rows, {check}"


def stress(engine: str, path: str, rng: random.Random) -> dict[str, Any]:
    """Run one round on a new file."""
    db = connect(engine, path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
    db.execute("CREATE INDEX i ON t (b)")
    command = [sys.executable, __file__, "checkpoint", engine, path]
    checkpointers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(CHECKPOINTERS)
    ]
    written, error = write_for(engine, db, ROUND_SECONDS, rng)
    checkpoints = [int(checkpointer.communicate()[0]) for checkpointer in checkpointers]
    db.close()
    return {"written": written, "checkpoints": checkpoints, "damage": error or damage(engine, path, written)}


def main(seconds: float, engine: str) -> None:
    rng, end = random.Random(7), time.monotonic() + seconds
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        rounds = [stress(engine, str(Path(folder) / "0"), rng)]
        while time.monotonic() < end and not rounds[-1]["damage"]:
            rounds.append(stress(engine, str(Path(folder) / f"{len(rounds)}"), rng))
    print(json.dumps(rounds))


if __name__ == "__main__":
    if sys.argv[1] == "checkpoint":
        print(checkpoint_until_stdin_ends(*sys.argv[2:]))
    else:
        main(float(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "apsw")
