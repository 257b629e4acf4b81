"""The options that say how often a job is tried again, and how long it waits before that."""

from typing import Annotated, NamedTuple

import typer

from queuectl.errors import UsageError

__all__ = ["RetryPolicy"]


class RetryPolicy(NamedTuple):
    """The options under the names that the fields of a job have."""

    max_retries: Annotated[int | None, typer.Option(metavar="N", help="Retries after the first attempt.")] = None
    backoff_base: Annotated[
        float | None, typer.Option(metavar="BASE", help="The n-th retry waits BASE ** n seconds.")
    ] = None
    backoff_cap: Annotated[str | None, typer.Option(metavar="1h", help="The longest such wait.")] = None
    retry_wait: Annotated[str | None, typer.Option(metavar="10m", help="Each retry waits this long instead.")] = None
    jitter: Annotated[bool | None, typer.Option("--jitter/--no-jitter", help="Shorten each wait at random.")] = None

    def check(self) -> None:
        """Raises UsageError when a fixed wait is given with a growing one."""
        if self.retry_wait is not None and (self.backoff_base is not None or self.backoff_cap is not None):
            raise UsageError("--retry-wait is a fixed wait: leave out --backoff-base and --backoff-cap")
