"""Options and arguments that several commands share, and how their texts are read."""

from typing import Annotated

import typer

from queuectl.errors import UsageError

__all__ = ["FAILED", "AsOf", "Id", "Ids", "Json", "Reason", "Yes", "parse_tag"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or the first part of it.")]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Job ids, or the first parts of them. If one id is wrong, nothing is done."),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="POSITION|TIME",
        help="Show it as it was at this position or time (12, head, -2h, 'yesterday 14:00').",
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why you do this; `history` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

FAILED = "failed"
"""A state for `--state` that is none of the machine's: pending after an attempt that failed."""


def parse_tag(text: str) -> tuple[str, str]:
    """A tag as `--tag` takes it. Raises UsageError."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--tag {text}: write it as NAME=VALUE")
    return key, value
