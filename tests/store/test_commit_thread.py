"""Work while a commit waits for the disk, and the errors of the commit."""

import signal
import threading

import pytest

from queuectl.store.sqlite.commit_thread import CommitThread


def test_something_else_is_done_until_the_commit_is_over() -> None:
    is_enough, calls = threading.Event(), []

    def meanwhile() -> None:
        calls.append(threading.current_thread())
        if len(calls) == 3:
            is_enough.set()

    thread = CommitThread(lambda: is_enough.wait(10))
    for _ in range(2):
        calls.clear()
        is_enough.clear()
        thread.run(meanwhile)
        assert len(calls) >= 3
        assert set(calls) == {threading.current_thread()}


def test_an_error_of_the_commit_is_raised_by_who_waits() -> None:
    def fail() -> None:
        raise ValueError("the disk is full")

    thread = CommitThread(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="the disk is full"):
            thread.run(lambda: None)


def test_an_error_meanwhile_waits_for_the_commit() -> None:
    is_enough, is_over = threading.Event(), threading.Event()

    def commit() -> None:
        is_enough.wait(10)
        is_over.set()

    def fail() -> None:
        is_enough.set()
        raise KeyError

    with pytest.raises(KeyError):
        CommitThread(commit).run(fail)
    assert is_over.is_set()


def test_signals_are_left_to_the_main_thread() -> None:
    blocked: list[set[int]] = []
    CommitThread(lambda: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))).run(lambda: None)
    assert {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT} <= blocked[0]
    assert signal.SIGCHLD not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_signals_do_not_keep_other_work_from_being_done() -> None:
    is_enough, calls = threading.Event(), []

    def meanwhile() -> None:
        calls.append(1)
        if len(calls) == 200:
            is_enough.set()

    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        CommitThread(lambda: is_enough.wait(10)).run(meanwhile)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert is_enough.is_set()
