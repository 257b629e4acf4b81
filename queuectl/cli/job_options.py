"""Options that describe a job: those of `enqueue` and `schedule add`, and the retry policy of `edit` and `copy`."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import asdict

from queuectl.application.job_json import JobInput
from queuectl.errors import UsageError
from queuectl.units import quoted

__all__ = ["JobOptions", "RetryChanges", "name_values"]


def name_values(option: str, texts: list[str] | None, here: Mapping[str, str] = {}) -> dict[str, str] | None:
    """The values given as NAME=VALUE, such as `--env` and `--tag`; None without any. Raises UsageError.

    A name alone has the value that it has in `here`.
    """
    if not texts:
        return None
    for text in texts:
        if "=" not in text and text not in here:
            why = f"there is no variable {text} to copy: " if here and text else ""
            raise UsageError(f"{option} {text or quoted(text)}: {why}write it as NAME=VALUE")
    pairs = (text.partition("=") for text in texts)
    return {name: value if equals else here[name] for name, equals, value in pairs}


class RetryChanges(msgspec.Struct, frozen=True):
    """The options that give a job another retry policy, under the names that the fields of a job have."""

    max_retries: Annotated[int | None, typer.Option(metavar="N", help="Retries after the first attempt.")] = None
    backoff_base: Annotated[
        float | None, typer.Option(metavar="BASE", help="The n-th retry waits BASE ** n seconds.")
    ] = None
    backoff_cap: Annotated[str | None, typer.Option(metavar="1h", help="The longest such wait.")] = None
    retry_wait: Annotated[str | None, typer.Option(metavar="10m", help="Each retry waits this long instead.")] = None
    jitter: Annotated[bool | None, typer.Option("--jitter/--no-jitter", help="Shorten each wait at random.")] = None

    def fields(self) -> dict[str, Any]:
        """The fields of a JobInput. Raises UsageError when a fixed wait is given with a growing one."""
        if self.retry_wait is not None and (self.backoff_base is not None or self.backoff_cap is not None):
            raise UsageError("--retry-wait is a fixed wait: leave out --backoff-base and --backoff-cap")
        return asdict(self)


class JobOptions(msgspec.Struct, frozen=True):
    """The options of a new job. Their help names the defaults."""

    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="NAME", help="The queue [default: default].")
    ] = None
    priority: Annotated[
        int | None,
        typer.Option("--priority", "-p", metavar="N", help="Jobs with a higher number run first [default: 0]."),
    ] = None
    max_retries: Annotated[
        int | None, typer.Option(metavar="N", help="Retries after the first attempt [default: 3].")
    ] = None
    backoff_base: Annotated[
        float | None, typer.Option(metavar="BASE", help="The n-th retry waits BASE ** n seconds [default: 2].")
    ] = None
    backoff_cap: Annotated[
        str | None, typer.Option(metavar="1h", help="The longest such wait [default: 1h].", show_default=False)
    ] = None
    retry_wait: Annotated[
        str | None, typer.Option(metavar="10m", help="Each retry waits this long instead [default: none].")
    ] = None
    jitter: Annotated[
        bool | None, typer.Option("--jitter/--no-jitter", help="Shorten each wait at random [default: no].")
    ] = None
    timeout: Annotated[
        str | None, typer.Option(metavar="5m", help="Stop an attempt that runs longer [default: none].")
    ] = None
    cwd: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder that the job runs in [default: this one].")
    ] = None
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V|K", help="Set an environment variable for the job; without a value, copy yours."),
    ] = None
    secret_env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Pass this variable from the worker's environment; its value is not stored."),
    ] = None
    tag: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Label the job, for `list --tag`.")] = None
    unique: Annotated[
        str | None, typer.Option(metavar="KEY", help="Add nothing while a pending or running job has this key.")
    ] = None
    umask: Annotated[
        str | None,
        typer.Option(metavar="022", help="The job's umask, for the mode of files it makes [default: yours]."),
    ] = None
    merge_output: Annotated[
        bool, typer.Option("--merge-output", help="Keep stdout and stderr in one file, in order.")
    ] = False

    def input(self, here: Mapping[str, str], **others: Any) -> JobInput:
        """The job, with `others`: its other fields; `here` is the caller's environment. Raises UsageError."""
        retries = RetryChanges(self.max_retries, self.backoff_base, self.backoff_cap, self.retry_wait, self.jitter)
        return JobInput(
            **retries.fields(),
            **others,
            queue=self.queue,
            priority=self.priority,
            timeout=self.timeout,
            cwd=self.cwd,
            env=name_values("--env", self.env, here),
            secret_env=tuple(self.secret_env) if self.secret_env else None,
            tags=name_values("--tag", self.tag),
            unique=self.unique,
            umask=self.umask,
            merge_output=self.merge_output or None,
        )
