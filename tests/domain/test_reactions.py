"""The words for a batch that was stopped."""

import pytest

from queuectl.domain.reactions import why_stopped


@pytest.mark.parametrize(
    ("limit", "why"),
    [(0, "batch g: more than 0 failures"), (1, "batch g: more than 1 failure"), (3, "batch g: more than 3 failures")],
)
def test_the_reason_names_the_batch_and_its_limit(limit: int, why: str) -> None:
    assert why_stopped("g", limit) == why
