"""The part of an `amended` event that says which fields of a job's promise changed."""

from msgspec import Struct

from queuectl.domain.relations import After, StdinFile

__all__ = ["Changes"]


class Changes(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The changes that a person made to a job's promise. A null field is unchanged.

    `delay` is set whenever the due time is set again: it counts from the event's clock, or is 0 next to an `at`. It is
    the first field, by which the store finds such events in SQL.
    An empty `after` means that the job waits for no other any more.
    """

    delay: int | None = None
    at: int | None = None
    command: str | None = None
    argv: tuple[str, ...] | None = None
    queue: str | None = None
    priority: int | None = None
    max_retries: int | None = None
    backoff_base: float | None = None
    backoff_cap: int | None = None
    retry_wait: int | None = None
    jitter: bool | None = None
    timeout: int | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    secret_env: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None
    umask: int | None = None
    merge_output: bool | None = None
    after: tuple[After, ...] | None = None
    stdin: StdinFile | None = None
    if_unmet: str | None = None
