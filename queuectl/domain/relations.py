"""How a job is related to other things: what added it, what it waits for, and the file that it reads."""

from msgspec import Struct

__all__ = ["NO_FILE", "ORIGINS", "After", "Origin", "StdinFile"]

ORIGINS = ("schedule", "hook", "job", "copy", "mcp", "http")
"""The kinds of origins."""


class Origin(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The cause of a job's existence: a schedule, a hook, another job, a copy, or a program that asked for it.

    `kind` is `schedule`, `hook`, `job`, `copy`, `mcp` or `http`; `name` is the schedule's or the hook's name, or the
    other job's id. `position` is that of the event that caused it, `slot` the time of a schedule (microseconds).
    """

    kind: str
    name: str
    position: int | None = None
    slot: int | None = None

    @property
    def label(self) -> str:
        """`schedule:nightly`; only the kind when it has no name."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


class After(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A job or a batch that a job waits for, by its whole name; `kind` is `job` or `batch`.

    `on` is the end that it waits for: `ok` (done), `end` (any) or `failed` (in the dead-letter queue).
    """

    name: str
    on: str = "ok"
    kind: str = "job"


class StdinFile(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The file that a job reads as its stdin: an absolute path, and the SHA-256 of its content in hex.

    Both are empty in a change that takes the file away.
    """

    path: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.path} (sha256 {self.sha256[:8]})" if self.path else "none"


NO_FILE = StdinFile()
"""Stands in a change for no file."""
