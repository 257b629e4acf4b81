"""The events that follow from others, and the words for a batch that was stopped."""

import pytest

from queuectl.domain.events import Cancelled, DependenciesMet
from queuectl.domain.reactions import Freed, Lost, reactions, why_stopped


class OneOfEach:
    """A job that can start, one that is to be cancelled, and one that is both."""

    def freed(self) -> list[Freed]:
        return [Freed("a", 3), Freed("b", 4)]

    def lost(self) -> list[Lost]:
        return [Lost("b", "no use", 5), Lost("c", "no use", 0)]


def test_a_consequence_names_the_event_that_led_to_it() -> None:
    met, gone, unknown = DependenciesMet(by=3), Cancelled(reason="no use", by=5), Cancelled(reason="no use")
    assert reactions(OneOfEach()) == [("a", met), ("b", gone), ("c", unknown)]


@pytest.mark.parametrize(
    ("limit", "why"),
    [(0, "batch g: more than 0 failures"), (1, "batch g: more than 1 failure"), (3, "batch g: more than 3 failures")],
)
def test_the_reason_names_the_batch_and_its_limit(limit: int, why: str) -> None:
    assert why_stopped("g", limit) == why
