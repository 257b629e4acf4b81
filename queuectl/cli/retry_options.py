"""A check of the options that say how long a job waits between its attempts."""

from queuectl.errors import UsageError

__all__ = ["refuse_two_waits"]


def refuse_two_waits(retry_wait: str | None, backoff_base: float | None, backoff_cap: str | None) -> None:
    """Raises UsageError when a fixed wait is given with a growing one."""
    if retry_wait is not None and (backoff_base is not None or backoff_cap is not None):
        raise UsageError("--retry-wait is a fixed wait: leave out --backoff-base and --backoff-cap")
