"""Distinguishes a job in JSON from a shell command, and decodes it.

Fields that only queuectl sets are ignored, so that a printed job can be enqueued again.
"""

import re
from typing import Any

import msgspec
from msgspec.structs import asdict

from queuectl.application.job_fields import BLANKS
from queuectl.errors import UsageError
from queuectl.store.projections import DLQ, JOBS
from queuectl.units import quoted

__all__ = [
    "MAX_JSON",
    "PRINTED",
    "AfterInput",
    "JobInput",
    "NotJsonError",
    "check_length",
    "decode_job",
    "is_json",
    "may_be_json",
    "refuse_no_command",
]

MAX_JSON = 1 << 20
"""Bytes in one job in JSON, and in one line of a file."""


class NotJsonError(UsageError):
    """The text is not JSON at all, for example because a shell removed its quotes."""


class AfterInput(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A dependency as written: a job or a batch, and the end that is waited for (`ok`, `end` or `failed`)."""

    job: str | None = None
    batch: str | None = None
    on: str = "ok"


class JobInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A job as written. A field that was not given is None. Durations given as numbers are seconds."""

    id: str | None = None
    command: str | None = None
    argv: tuple[str, ...] | None = None
    queue: str | None = None
    priority: int | None = None
    max_retries: int | None = None
    backoff_base: float | None = None
    backoff_cap: str | float | None = None
    retry_wait: str | float | None = None
    jitter: bool | None = None
    delay: str | float | None = None
    at: str | None = None
    timeout: str | float | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    secret_env: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None
    unique: str | None = None
    umask: str | None = None
    after: tuple[str | AfterInput, ...] | None = None
    if_unmet: str | None = None
    merge_output: bool | None = None
    stdin: str | None = None


OTHER_NAMES = {"run_at": "at", "unique_key": "unique"}
"""Other names that are accepted, and the fields that they mean."""
LATER = ("number", "waits", "held", "started_at", "pid", "host", "stdin_sha256", "damaged", "reason", "because_of")
"""Printed fields that are no columns of a table."""
PRINTED = frozenset((*JOBS, *DLQ, *LATER)) - {*JobInput.__struct_fields__, *OTHER_NAMES}
"""Fields of a job that only queuectl sets."""

_KEY = r'\{\s*(?:\}|"(?:[^"\\]|\\.)*"\s*:)'


def is_json(text: str) -> bool:
    """Whether a text is meant as a job in JSON. `{ cmd; }`, with a blank after the brace, is a group of the shell."""
    text = text.lstrip(BLANKS)
    return text.startswith("{") and (text[1:2] not in {*BLANKS} or re.match(_KEY, text) is not None)


def may_be_json(text: str) -> bool:
    """Whether a text may be JSON, by its first character. Most commands begin with another one."""
    return text.lstrip(BLANKS).startswith(("{", "[", "@"))


def refuse_no_command(text: str) -> None:
    """Raises UsageError for a text that is neither a job in JSON nor a shell command."""
    text = text.lstrip(BLANKS)
    if text.startswith("@"):
        name = text[1:].strip(BLANKS)
        raise UsageError(f"{quoted(text)} is not a command: to add the jobs in a file, use --file {name}")
    if not text.startswith(("[{", "[]", '["')):
        return
    try:
        msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NotJsonError(f"not an array of jobs in JSON: {error}") from None
    raise UsageError("an array of jobs must be in a file: use --file FILE (-: stdin)")


def decode_job(text: str) -> tuple[JobInput, list[str]]:
    """The job, and the fields that were left out because only queuectl sets them. Raises UsageError."""
    check_length(text.encode(errors="surrogatepass"))
    try:
        job, ignored = _decoded(text)
    except msgspec.ValidationError as error:
        from queuectl.application.wrong_types import wrong_type

        raise UsageError(f"not a job in JSON: {wrong_type(error)}") from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NotJsonError(f"not a job in JSON: {error}") from None
    # Each key has a colon, so a key can be repeated only if there are more colons than keys.
    keys = sum(value is not None for value in asdict(job).values()) + len(job.env or ()) + len(job.tags or ())
    if text.count(":") > keys:
        _refuse_twice(text)
    return job, ignored


def _decoded(text: str) -> tuple[JobInput, list[str]]:
    try:
        return msgspec.json.decode(text, type=JobInput), []
    except msgspec.ValidationError:
        fields = msgspec.json.decode(text, type=dict[str, Any])
        given = [OTHER_NAMES.get(name, name) for name in fields if name not in PRINTED]
        if given == list(fields):
            raise
    if len(set(given)) < len(given):
        raise UsageError("run_at means at, and unique_key means unique: give each only once")
    kept = {OTHER_NAMES.get(name, name): value for name, value in fields.items() if name not in PRINTED}
    return msgspec.convert(kept, JobInput), [name for name in fields if name in PRINTED]


def _refuse_twice(text: str) -> None:
    """Raises UsageError for a repeated key, because the decoder would silently use the last one."""
    import json

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen = set[str]()
        for key, _ in pairs:
            if key in seen:
                raise UsageError(f"not a job in JSON: {quoted(key)} is given twice")
            seen.add(key)

    json.loads(text, object_pairs_hook=look, parse_int=str, parse_float=str)


def check_length(raw: bytes) -> None:
    """Raises UsageError when a line, or a job, is too long."""
    if len(raw) > MAX_JSON:
        raise UsageError(f"a job in JSON, or a line of a file, can have at most {MAX_JSON} bytes")
