"""The signals of the programs that tests start.

A shell that runs `pytest &` from a script ignores SIGINT, and `nohup` ignores SIGHUP. A child inherits an ignored
signal, so Ctrl-C would reach no program that tests start. A handler that does nothing has the same effect in this
process and is not inherited.
"""

import signal

__all__ = ["use_default_signals"]

INHERITED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def use_default_signals() -> None:
    """Give programs that are started from now on the default action of signals that this process ignores."""
    for number in INHERITED:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _nothing)


def _nothing(number: int, frame: object) -> None:
    """Do nothing. Unlike SIG_IGN this is not inherited."""
