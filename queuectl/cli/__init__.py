"""The command line: signatures, help, exit codes, and the composition root. One module a group of commands.

`run` is the entry point. Each command's module is imported only when that command is called.
"""

import os
import sys
from collections.abc import Sequence

from queuectl.errors import QueuectlError

__all__ = ["run"]

INTERRUPTED = 130
BROKEN_PIPE = 141


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code. Errors are one line on stderr."""
    os.umask(0o077)
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except QueuectlError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


def _call(arguments: Sequence[str] | None) -> int:
    from queuectl.cli.app import command

    try:
        result = command()(args=arguments, prog_name="queuectl", standalone_mode=False)
    except Exception as error:
        # typer's own usage errors; their common class has no public name in all the versions we allow
        if not hasattr(error, "format_message"):
            raise
        return _complain(_with_hint(error), 2)
    return result if isinstance(result, int) else 0


def _with_hint(error: Exception) -> str:
    message = str(error.format_message())  # type: ignore[attr-defined]
    path = getattr(getattr(error, "ctx", None), "command_path", "queuectl")
    return message if "\n" in message else f"{message.rstrip('.')} (see `{path} --help`)"


def _complain(message: str, code: int) -> int:
    from queuectl.render import clean

    print(clean(message) if "\n" in message else f"queuectl: {clean(message, newlines=False)}", file=sys.stderr)
    return code
