"""Logs that every later version must open: functions that write and read them.

    python -m tests.integrity.fixture_logs

writes the log of this version, with every event type and odd values, and one with an invented older schema. Do not
write a released file again: a new version adds its own.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM, batch_stream, queue_stream, schedule_stream, worker_stream
from queuectl.store.rows import StoredEvent
from tests.support.builders import HOUR, SECOND, START, a_spec, buried, chained, claimed, completed, retried

DATA = Path(__file__).parent.parent / "data"
NAMES = ("log-1", "log-0")
ODD = 'ä€𝄞 \u202e\x1b[31m \ufffd "quoted" \\ \t'
BIG = 2**53 + 1

Events = list[tuple[str, e.Event]]


def every_type() -> Events:
    """A history with every event type, with odd and empty texts and the largest numbers."""
    odd = a_spec(
        ODD,
        queue="mail",
        priority=-(2**31),
        max_retries=BIG,
        backoff_base=0.30000000000000004,
        backoff_cap=BIG,
        jitter=True,
        cwd=f"/{ODD}",
        argv=("", ODD),
        timeout=1,
        at=START + HOUR,
        env={"": ODD, "EMPTY": ""},
        secret_env=("TOKEN",),
        tags={"ä": "", "z": "1", "a": "2"},
        unique=ODD,
    )
    plain = a_spec("true", delay=5 * SECOND)
    causes = (e.Exited(-1), e.Signalled(9), e.TimedOut(BIG), e.NotStarted(ODD), e.LostWorker("w\u00e4"))
    failures: Events = []
    for run, cause in enumerate(causes, 1):
        failures += [
            ("odd", claimed(run, "w\u00e4")),
            ("odd", retried(run, run, cause, jitter=0.1, stdout=ODD, stderr="")),
        ]
    return [
        (worker_stream("w1"), e.WorkerStarted(host="box", pid=10, slots=2, queues=("default", "mail"))),
        ("odd", odd),
        *failures,
        ("odd", claimed(6)),
        ("odd", buried(6, e.Exited(2**31), stderr=f"{ODD}\nlast")),
        ("plain.job-1_A", plain),
        ("plain.job-1_A", claimed()),
        ("plain.job-1_A", e.Released(run=1, reason="")),
        ("plain.job-1_A", claimed(2)),
        ("plain.job-1_A", e.CancelRequested(run=2, reason=ODD)),
        ("plain.job-1_A", e.Cancelled(run=2, reason=ODD, duration=BIG, stdout="", stderr=ODD)),
        ("plain.job-1_A", e.ResultRejected(run=1, outcome="completed")),
        (
            "plain.job-1_A",
            e.Amended(changes=e.Changes(command=ODD, argv=("", ODD), timeout=0, env={"": ODD}), reason=ODD),
        ),
        ("plain.job-1_A", e.Requeued(reason="", delay=BIG)),
        ("plain.job-1_A", claimed(3)),
        ("plain.job-1_A", completed(3, duration=0, stdout="\ufffd" * 4)),
        ("gone", a_spec("")),
        ("gone", e.Cancelled()),
        ("gone", e.Purged(reason=ODD)),
        ("waits", a_spec("true", unique="k")),
        ("waits", e.Amended(changes=e.Changes(delay=0, at=-1, priority=-BIG, tags={"ä": ""}))),
        ("later", a_spec("true", after=(e.After("waits"), e.After("grid", "end", "batch")), if_unmet="cancel")),
        ("freed", a_spec("true", after=(e.After("gone", "end"),))),
        ("freed", e.DependenciesMet(by=BIG, forced=True, reason=ODD)),
        (SETTINGS_STREAM, e.SettingChanged(key="lease", value="")),
        (SETTINGS_STREAM, e.SettingChanged(key="grace", value=ODD)),
        (SETTINGS_STREAM, e.SettingChanged(key="grace", value=None)),
        (queue_stream("*"), e.QueuePaused()),
        (queue_stream("mail"), e.QueuePaused()),
        (queue_stream("*"), e.QueueResumed()),
        (worker_stream("w\u00e4"), e.WorkerLost(noticed_by="w1")),
        (worker_stream("w1"), e.WorkerStopped(jobs=BIG)),
        (batch_stream("grid"), e.BatchOpened(jobs=1, template=ODD, sources=("", ODD), max_failures=BIG)),
        ("grid.1", a_spec("true", batch="grid", seq=BIG, origin=e.Origin("schedule", ODD, BIG, -1))),
        (
            schedule_stream("s"),
            e.ScheduleSet(job=odd, cron="*/5 * * * *", tz="Europe/Berlin", managed_by=ODD, next=BIG),
        ),
        ("s.1", a_spec("true", origin=e.Origin("schedule", "s", slot=BIG))),
        (schedule_stream("s"), e.ScheduleFired(slot=BIG, job="s.1", late=BIG, next=BIG + 1)),
        (schedule_stream("s"), e.ScheduleSkipped(first=1, last=BIG, count=BIG, reason="overlap", by="s.1")),
        (schedule_stream("s"), e.SchedulePaused()),
        (schedule_stream("s"), e.ScheduleResumed(next=BIG)),
        (schedule_stream("t"), e.ScheduleSet(job=plain, every=1, start=-1)),
        (schedule_stream("t"), e.ScheduleRemoved()),
    ]


def rows(history: Events) -> list[StoredEvent]:
    """The stored form, computed without the codec; the salt is derived from the position, so that it never changes."""
    versions: dict[str, int] = {}
    found = []
    for position, (stream, event) in enumerate(history, 1):
        versions[stream] = versions.get(stream, 0) + 1
        data, at = msgspec.json.encode(event).decode(), START + position * SECOND + position
        salt = hashlib.sha256(str(position).encode()).digest()[:16]
        kind = json.loads(data)["type"]
        found.append(
            StoredEvent(position, stream, versions[stream], kind, 1, at, "ann\u00e4@box:7", data, salt, None, b"")
        )
    return [row._replace(digest=digest) for row, digest in zip(found, chained(found), strict=True)]


def older() -> list[StoredEvent]:
    """A log as if `completed` once had its duration in seconds and called the run an attempt."""
    found = rows([("a", a_spec("true")), ("a", claimed()), ("a", completed()), ("b", a_spec("false"))])
    found[2] = found[2]._replace(schema=0, data='{"type":"completed","attempt":1,"seconds":2.5}')
    return [row._replace(digest=digest) for row, digest in zip(found, chained(found), strict=True)]


def to_seconds(data: dict[str, Any]) -> dict[str, Any]:
    """The upcaster for the older log."""
    return {"type": "completed", "run": data["attempt"], "duration": round(data["seconds"] * SECOND)}


def read(name: str) -> list[StoredEvent]:
    """The rows of a log in tests/data."""
    found = []
    for line in (DATA / f"{name}.ndjson").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.append(StoredEvent(**{**row, **{key: _bytes(row[key]) for key in ("salt", "data_digest", "digest")}}))
    return found


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def write(name: str, log: list[StoredEvent], tables: dict[str, Any]) -> None:
    """Write a log and the tables derived from it to tests/data."""
    lines = [json.dumps(row._asdict(), default=bytes.hex, ensure_ascii=False) for row in log]
    (DATA / f"{name}.ndjson").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (DATA / f"{name}.tables.json").write_text(json.dumps(tables, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    from tests.integrity.test_fixture_logs import tables_of

    write("log-1", rows(every_type()), tables_of(rows(every_type())))
    write("log-0", older(), tables_of(older(), {("completed", 0): to_seconds}))
