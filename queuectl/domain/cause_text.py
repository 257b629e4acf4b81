"""The cause of a failed attempt as one line, and as an exit code."""

from signal import Signals

from queuectl.domain.causes import Cause, Exited, LostWorker, NotStarted, Signalled, TimedOut
from queuectl.durations import format_duration, rounded_duration

__all__ = ["exit_code_of", "explain_cause", "retry_in", "short_cause", "signal_name"]


def exit_code_of(cause: Cause) -> int | None:
    """The exit code of `wait` after this failure, by the shell's convention; None for a lost worker."""
    match cause:
        case Exited(code):
            return code
        case Signalled(number):
            return 128 + number
        case TimedOut():
            return 124
        case NotStarted():
            return 127
    return None


def explain_cause(cause: Cause, stderr: str = "") -> str:
    """One line on why an attempt failed, with the last line of the command's stderr."""
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    said = f": {last[:200]}" if last else ""
    match cause:
        case Exited(code):
            return f"exited with code {code}{said}"
        case Signalled(number):
            return f"ended by {signal_name(number)}{said}"
        case TimedOut(after):
            return f"timed out after {format_duration(after)}{said}"
        case NotStarted(why):
            return f"not started: {why}"
        case LostWorker(worker):
            return f"worker {worker} was lost"
    return str(cause)


def short_cause(cause: Cause, stderr: str = "") -> str:
    """The same with `exit 7` for `exited with code 7`."""
    return explain_cause(cause, stderr).replace("exited with code", "exit", 1)


def retry_in(wait: int) -> str:
    """`retry in 2s` for a wait in microseconds; `retry at once` for none."""
    return f"retry in {rounded_duration(wait)}" if wait else "retry at once"


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 99` for a number without a name."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
