"""The signals of the programs that tests start.

A shell that runs `pytest &` from a script ignores SIGINT, and `nohup` ignores SIGHUP. What is ignored stays ignored in
every program that is started then, so Ctrl-C would reach none of them. A handler that does nothing is as good as
ignoring a signal here, and is not inherited.
"""

import signal

__all__ = ["keep_from_children"]

INHERITED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def keep_from_children() -> None:
    """Programs that are started from now on have the default action of signals that this process ignores."""
    for number in INHERITED:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _nothing)


def _nothing(number: int, frame: object) -> None:
    """Not SIG_IGN, which a program that is started would inherit."""
