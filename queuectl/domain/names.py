"""The names of jobs, queues, workers and streams."""

__all__ = [
    "PAUSE_ALL",
    "SCHEDULES",
    "SETTINGS_STREAM",
    "batch_stream",
    "is_generated",
    "is_id",
    "is_stream",
    "queue_stream",
    "schedule_stream",
    "worker_stream",
]

MAX_ID = 128
_WITHOUT_MARKS = dict.fromkeys(map(ord, "._-"))
_UUID = (8, 4, 4, 4, 12)
_HEX = frozenset("0123456789abcdef")
SETTINGS_STREAM = "$settings"
SCHEDULES = "$schedule:"
"""How the streams of schedules begin."""
PAUSE_ALL = "*"
"""The name of the pause that covers every queue; `*` is not a valid queue name."""


def is_id(text: str) -> bool:
    """Whether a job, queue or worker may have this name: [A-Za-z0-9][A-Za-z0-9._-]{0,127}."""
    plain = text.translate(_WITHOUT_MARKS)  # not a regular expression: compiling it would slow down every start
    return text[:1].isalnum() and plain.isalnum() and text.isascii() and len(text) <= MAX_ID


def is_generated(job_id: str) -> bool:
    """Whether an id is one that queuectl makes for a job that is given none: a UUID of version 7."""
    parts = job_id.split("-")
    return tuple(map(len, parts)) == _UUID and parts[2][0] == "7" and _HEX.issuperset("".join(parts))


def is_stream(stream_id: str) -> bool:
    """Whether a stream may have this name: a job's id, or `$` and printable text."""
    return is_id(stream_id) or (stream_id.startswith("$") and stream_id.isprintable())


def queue_stream(queue: str) -> str:
    """The stream of a queue's notes."""
    return f"$queue:{queue}"


def batch_stream(batch: str) -> str:
    """The stream of a batch's notes."""
    return f"$batch:{batch}"


def schedule_stream(schedule: str) -> str:
    """The stream of a schedule's notes."""
    return f"{SCHEDULES}{schedule}"


def worker_stream(worker: str) -> str:
    """The stream of a worker's notes."""
    return f"$worker:{worker}"
