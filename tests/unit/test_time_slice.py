"""Short time slices are for the worker's thread alone, and only where the user has chosen nothing else."""

import os
import subprocess
import sys

import pytest

from queuectl.process.time_slice import take_short_slices

RESET_ON_FORK = os.SCHED_RESET_ON_FORK


def policies(prepare: str) -> list[int]:
    """The policies, after `prepare` and the request for short slices, of that process and of its child."""
    code = (
        f"import os, subprocess, sys; {prepare}; from queuectl.process.time_slice import take_short_slices;"
        " took = take_short_slices(); print(int(took), os.sched_getscheduler(0), flush=True);"
        " subprocess.run([sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return [int(word) for word in done.stdout.split()]


def test_only_this_thread_has_short_slices() -> None:
    assert policies("pass") == [1, os.SCHED_OTHER | RESET_ON_FORK, os.SCHED_OTHER]


def test_another_policy_that_the_user_chose_stays() -> None:
    assert policies("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))") == [0, *[os.SCHED_BATCH] * 2]


def test_a_higher_priority_of_the_user_stays_with_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpriority", lambda which, who: -5)
    assert not take_short_slices()


def test_a_machine_without_a_known_number_of_the_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.18", "", "sparc64")))
    assert not take_short_slices()
