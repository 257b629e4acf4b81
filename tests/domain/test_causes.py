"""The sentence for each cause of a failure, and the exit code that `wait` gives for it."""

import pytest

from queuectl.domain.cause_text import exit_code_of, explain_cause
from queuectl.domain.commands import Exit
from queuectl.domain.events import Cause, Exited, LostWorker, NotStarted, Signalled, TimedOut
from tests.domain.scenario import SECOND, a_job, buried, claimed, completed, given, retried

SAYS = [
    (Exited(3), 3, "exited with code 3"),
    (Exited(127), 127, "exited with code 127"),
    (Exited(255), 255, "exited with code 255"),
    (Signalled(9), 137, "ended by SIGKILL"),
    (Signalled(15), 143, "ended by SIGTERM"),
    (Signalled(60), 188, "ended by signal 60"),
    (TimedOut(2_500_000), 124, "timed out after 2.5s"),
    (TimedOut(300 * SECOND), 124, "timed out after 5m"),
    (TimedOut(14 * 86_400 * SECOND + 1), 124, "timed out after 14d0.001ms"),
    (NotStarted("No such file or directory: /gone"), 127, "not started: No such file or directory: /gone"),
    (LostWorker("h-7"), None, "worker h-7 was lost"),
]


@pytest.mark.parametrize(("cause", "code", "sentence"), SAYS, ids=repr)
def test_each_cause_has_its_code_and_its_sentence(cause, code, sentence):
    assert (exit_code_of(cause), explain_cause(cause)) == (code, sentence)
    given(a_job(), claimed(), retried(cause=cause)).is_now("pending", exit_code=code, last_error=sentence)
    given(a_job(), claimed(), buried(cause=cause)).is_now("dlq", exit_code=code, last_error=sentence)


def test_every_cause_is_tested():
    assert {type(cause) for cause, _, _ in SAYS} == set(Cause.__subclasses__())


def test_a_cause_without_a_sentence_is_shown_by_its_fields():
    assert (exit_code_of(Cause()), explain_cause(Cause())) == (None, "Cause()")


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("", ""),
        ("\n \n", ""),
        ("boom", ": boom"),
        ("Traceback …\n  in f\nValueError: no\n\n", ": ValueError: no"),
        ("x" * 500, ": " + "x" * 200),
    ],
)
def test_the_sentence_ends_with_the_last_line_of_stderr(stderr, said):
    assert explain_cause(Exited(1), stderr) == f"exited with code 1{said}"
    given(a_job(), claimed(), buried(stderr=stderr)).is_now("dlq", last_error=f"exited with code 1{said}")


@pytest.mark.parametrize("cause", [NotStarted("no shell"), LostWorker("w1")])
def test_a_silent_run_does_not_get_an_earlier_runs_text(cause):
    assert "boom" not in explain_cause(cause, "boom")


@pytest.mark.parametrize("stderr", ["a\r\nb", "a\x1cb", "a\x85b", "a\u2028b"])
def test_an_error_is_one_line_for_any_stderr(stderr):
    assert len(explain_cause(Exited(1), stderr).splitlines()) == 1


def test_a_success_after_failures_clears_the_error():
    given(a_job(), claimed(), retried(), claimed(2), completed(2)).is_now(
        "done", exit_code=0, last_error=None, cause=None
    )


def test_no_cause_means_success():
    assert Exit().cause is None
