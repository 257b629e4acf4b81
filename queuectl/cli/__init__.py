"""The command line: signatures, help, exit codes, and the composition root. One module a group of commands.

`run` is the entry point. Each command's module is imported only when that command is called.
"""

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from queuectl.errors import INTERRUPTED, OutputError, QueuectlError, StoreError, reason_of
from queuectl.runtime import caller_umask

__all__ = ["run"]

COMPLETING = "_QUEUECTL_COMPLETE"
"""The variable by which a shell's completion asks for candidates; its value is the shell's name."""
BROKEN_PIPE = 141


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code. Errors are one line on stderr."""
    caller_umask()
    os.umask(0o077)
    _open_standard_streams()
    if shell := os.environ.get(COMPLETING):
        _complete(shell, sys.argv[1:] if arguments is None else arguments)
    sys.exit(_exit_code(arguments))


def _complete(shell: str, words: Sequence[str]) -> NoReturn:
    from queuectl.cli.completion import print_candidates

    print_candidates(shell, words)
    sys.exit(0)


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except QueuectlError as error:
        if isinstance(error, OutputError):
            _give_up_stdout()
        return _report(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _report("interrupted", INTERRUPTED)
    except UnicodeEncodeError:
        return _report(_undecodable(sys.argv[1:] if arguments is None else arguments), 2)
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except OSError as error:
        what = "write to stdout" if _stdout_fails() else "continue"
        _give_up_stdout()
        where = f": {error.filename}" if error.filename else ""
        return _report(f"cannot {what}{where}: {reason_of(error) if where else error.strerror or error}", _code(error))
    return code


def _undecodable(arguments: Sequence[str]) -> str:
    if any("\udc80" <= each <= "\udcff" for argument in arguments for each in argument):
        return "an argument is not UTF-8"
    return "the path of a folder or a variable is not UTF-8: work in another folder, or give --db"


def _code(error: OSError) -> int:
    """The exit code. A file that cannot be written because of its disk or mode means a store that cannot be used."""
    of_a_store = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)
    return StoreError.exit_code if error.filename and of_a_store else 1


def _open_standard_streams() -> None:
    """Open those that the caller closed, and use UTF-8, as the log does."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8"))  # noqa: SIM115
        elif descriptor and hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(encoding="utf-8", errors="replace")


def _stdout_fails() -> bool:
    """Whether stdout takes no more: it keeps the text that it could not write, and fails again."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _give_up_stdout() -> None:
    """Replace stdout, because Python would try to flush it once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _call(arguments: Sequence[str] | None) -> int:
    from queuectl.cli.app import command

    try:
        result = command()(args=arguments, prog_name="queuectl", standalone_mode=False)
    except SystemExit as error:
        # typer turns a closed pipe into SystemExit before `_exit_code` can see it
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None
        raise
    except Exception as error:
        # A usage error of typer. Its class has no public name in some of the versions that we allow.
        if not hasattr(error, "format_message"):
            raise
        return _answer(error)
    return result if isinstance(result, int) else 0


def _answer(error: Exception) -> int:
    """Print the error and where the help is. A group without a command prints its help instead."""
    message = str(error.format_message())  # type: ignore[attr-defined]
    if message.startswith("Usage: "):
        print(message, file=sys.stderr)
        return 2
    path = getattr(getattr(error, "ctx", None) or error, "command_path", "queuectl")
    misplaced = path == "queuectl" and message.startswith("No such option")
    message = _in_our_words(message, [] if misplaced else _meant(error))
    hint = ": the options of a command go after its name" if misplaced else ""
    return _report(f"{message.rstrip('.')}{hint} (see `{path} --help`)", 2)


def _meant(error: Exception) -> Sequence[str]:
    """The options that the one in the error may mean; none for another error."""
    given = getattr(error, "option_name", None)
    command = getattr(getattr(error, "ctx", None), "command", None)
    if not given or command is None or not hasattr(error, "possibilities"):
        return ()
    from queuectl.cli.other_names import meant

    return meant(given, command)


def _in_our_words(message: str, similar: Sequence[str]) -> str:
    """A message of typer in plain words, with similar options as it names similar commands."""
    message = message.partition(" (Possible options: ")[0]
    message = message.replace("is not a valid int", "is not a whole number").replace("a valid float", "a number")
    return f"{message}. Did you mean {' or '.join(sorted(similar))}?" if similar else message


def _report(message: str, code: int) -> int:
    from queuectl.render.terminal import clean, terminal_width, wrapped

    line = f"queuectl: {clean(message, newlines=False)}"
    print(wrapped(line, terminal_width(sys.stderr), "  "), file=sys.stderr)
    return code
