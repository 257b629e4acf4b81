"""Programs that tests start can be interrupted, however the tests themselves were started."""

import signal
import subprocess
import sys

import pytest

IGNORED = """
import signal, subprocess, sys
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
{keep}
child = "import signal; print(*[signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGHUP)])"
subprocess.run([sys.executable, "-c", child], check=True)
for number in (signal.SIGINT, signal.SIGHUP):
    signal.raise_signal(number)
"""


@pytest.mark.parametrize(
    ("keep", "inherited"),
    [
        ("", "True True\n"),
        ("from tests.support.signals import use_default_signals; use_default_signals()", "False False\n"),
    ],
)
def test_an_ignored_signal_is_not_inherited(keep: str, inherited: str) -> None:
    """The process itself still ignores it."""
    program = [sys.executable, "-c", IGNORED.format(keep=keep)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == inherited


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_no_test_is_run_with_a_signal_ignored(number: signal.Signals) -> None:
    assert signal.getsignal(number) != signal.SIG_IGN
