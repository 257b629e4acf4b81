"""Adding 200,000 jobs at once, compared with inserting the same rows with SQLite alone."""

import time
from functools import partial

from benchmarks import library, queue
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.result import Result, at_least

COPIED = ("events", "jobs")


def measure(plan: Plan) -> list[Result]:
    """The whole process of `enqueue --file`, and the use case in a process of its own, compared with `executemany`."""
    jobs = plan.size(200_000, 500)
    with folder("bulk") as home:
        lines = f"{home}/jobs.txt"
        with open(lines, "w", encoding="utf-8") as file:
            file.writelines(f"echo {number}\n" for number in range(jobs))
        model = f"{home}/model.db"
        queue.enqueue_file(model, lines)
        sides = {
            "executemany": partial(_bare, _dumped(model)),
            "enqueue --file": partial(_enqueue_file, lines),
            "Python": partial(library.seconds, "queuectl", "batch", jobs),
        }
        rates = {name: [jobs / seconds for seconds in times] for name, times in in_turn(sides, plan.rounds(3)).items()}
    bare = rates["executemany"]
    return [
        Result(f"{jobs:,} jobs, whole process", "jobs/s", rates["enqueue --file"], "executemany", bare, at_least(0.5)),
        Result(f"{jobs:,} jobs, in process", "jobs/s", rates["Python"], "executemany", bare),
    ]


def _enqueue_file(lines: str) -> float:
    with folder("queue") as home:
        return queue.enqueue_file(f"{home}/queue.db", lines)


def _dumped(db: str) -> tuple[list[str], dict[str, list[tuple]]]:
    """The schema and the rows of a queue, read with the SQLite that made it."""
    import apsw

    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    schema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
    statements = [row[0] for row in connection.execute(schema)]
    rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in COPIED}
    connection.close()
    return statements, rows


def _bare(dumped: tuple[list[str], dict[str, list[tuple]]]) -> float:
    """Seconds of one durable transaction that inserts the rows; making the schema is not counted."""
    import apsw

    statements, tables = dumped
    with folder("bare") as home:
        connection = apsw.Connection(f"{home}/bare.db")
        connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        for statement in statements:
            connection.execute(statement)
        started = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in tables.items():
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.execute("COMMIT")
        elapsed = time.perf_counter() - started
        connection.close()
    return elapsed
