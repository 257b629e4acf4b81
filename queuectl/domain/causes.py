"""Why an attempt failed. A cause is a part of the event that records the failure."""

from typing import TypeAlias

from msgspec import Struct

__all__ = ["AnyCause", "Cause", "Exited", "LostWorker", "NotStarted", "Signalled", "TimedOut"]


class Cause(Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True):
    """Why an attempt failed."""


class Exited(Cause, tag="exited", frozen=True):
    """The command ended with this exit code (not 0)."""

    code: int


class Signalled(Cause, tag="signalled", frozen=True):
    """The command was ended by this signal number."""

    signal: int


class TimedOut(Cause, tag="timed_out", frozen=True):
    """The command ran longer than its timeout (microseconds) and was ended."""

    after: int


class NotStarted(Cause, tag="not_started", frozen=True):
    """The command could not be started: its program, shell or folder is missing, or the system refused."""

    why: str


class LostWorker(Cause, tag="worker_lost", frozen=True):
    """The worker that ran it vanished or fell silent."""

    worker: str


AnyCause: TypeAlias = Exited | Signalled | TimedOut | NotStarted | LostWorker
