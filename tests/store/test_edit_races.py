"""Ten thousand races of an edit with a worker that claims the job."""

from tests.store.test_edits import race


def test_ten_thousand_edits_come_before_the_claim_or_are_refused(shared):
    race(shared, 10_000)
