"""The past read from both ends of the log, for further queues."""

import pytest

from tests.time_travel.test_both_ends import QUESTIONS, check_both_ends, check_it_stays, lives

__all__ = ["lives"]


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_both_ends_of_further_logs_give_one_answer(question, lives):
    for seed in range(3):
        check_both_ends(question, *lives(seed + 1))


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_past_of_further_logs_stays_as_it_was(seed):
    check_it_stays(seed)
