"""Random commands to one job in any order: each event is a legal move, and the counters are right."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from transitions import MachineError

from queuectl.domain.commands import decide
from queuectl.domain.events import Exited, LostWorker, NotStarted, Signalled, TimedOut, type_of
from queuectl.domain.machine import build
from queuectl.errors import RefusedError
from tests.domain.scenario import (
    SECOND,
    Given,
    a_job,
    cancel,
    claim,
    completed,
    enqueue,
    fails,
    purge,
    release,
    requeue,
    succeeds,
)

TRIGGERED_BY = {
    "claimed": "claim",
    "completed": "complete",
    "retry_scheduled": "retry",
    "dead_lettered": "bury",
    "released": "release",
    "cancelled": "cancel",
    "requeued": "requeue",
    "purged": "purge",
}
COUNTED = ("completed", "retry_scheduled", "dead_lettered")

CAUSES = st.sampled_from([Exited(1), Signalled(9), TimedOut(SECOND), NotStarted("no such file"), LostWorker("w1")])
RUNS_AGO = st.sampled_from([0, 0, 0, 0, 1, 2, -1])
"""A run counted back from the current one: mostly that one, at times one before it, or one to come."""
PROMISES = st.fixed_dictionaries(
    {
        "max_retries": st.integers(0, 4),
        "backoff_base": st.sampled_from([0.0, 0.5, 1.0, 2.0, 10.0]),
        "backoff_cap": st.sampled_from([0, 3 * SECOND, 3600 * SECOND]),
        "jitter": st.booleans(),
        "delay": st.sampled_from([0, 5 * SECOND]),
        "unique": st.sampled_from([None, "key"]),
    }
)


class Model:
    """The object that the state machine moves: it has a state and no events."""


class Life(RuleBasedStateMachine):
    """One job under random commands, compared with the state machine."""

    @initialize(promises=PROMISES)
    def begin(self, promises):
        self.spec = a_job(**promises)
        self.life = Given().and_then(*Given().when(enqueue(self.spec)).decided())
        self.model, self.machine = Model(), build()
        self.machine.add_model(self.model, initial="pending")

    def teardown(self):
        if hasattr(self, "machine"):
            self.machine.remove_model(self.model)

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────────

    @rule(microseconds=st.sampled_from([1, SECOND, 4000 * SECOND]))
    def time_passes(self, microseconds):
        self.life = self.life.later(microseconds)

    @rule()
    def claim_it(self):
        self.ask(claim())

    @rule(ago=RUNS_AGO, output=st.sampled_from(["", "text"]))
    def succeed(self, ago, output):
        self.ask(succeeds(self.life.job.run - ago, stdout=output))

    @rule(ago=RUNS_AGO, cause=CAUSES, jitter=st.floats(0, 1, exclude_max=True))
    def fail(self, ago, cause, jitter):
        self.ask(fails(self.life.job.run - ago, cause, jitter))

    @rule(ago=RUNS_AGO)
    def stop_the_worker(self, ago):
        self.ask(release(self.life.job.run - ago))

    @rule(command=st.sampled_from([cancel(), purge(), requeue()]), holder=st.sampled_from([None, "other"]))
    def order(self, command, holder):
        self.ask(command, holder)

    @rule(same=st.booleans())
    def add_it_again(self, same):
        self.ask(enqueue(self.spec if same else a_job(command="another")))

    def ask(self, command, holder=None):
        try:
            events = decide(command, self.life.job, self.life.now, holder)
        except RefusedError:
            return
        for event in events:
            self.happens(event)

    # ── what has to hold at each event ──────────────────────────────────────────────────────────────────

    def happens(self, event):
        before, kind = self.life.job, type_of(event)
        self.life = self.life.and_then(event)
        after = self.life.job
        self.move(kind)
        assert after.state == self.model.state
        assert after.version == before.version + 1
        assert after.run == before.run + (kind == "claimed")
        assert after.attempts == (0 if kind == "requeued" else before.attempts + (kind in COUNTED))
        if kind in ("retry_scheduled", "dead_lettered"):
            assert (kind == "dead_lettered") == (after.attempts == self.spec.max_retries + 1)
        if kind == "retry_scheduled":
            assert 0 <= event.wait <= self.spec.backoff_cap

    def move(self, kind):
        trigger = TRIGGERED_BY.get(kind)
        try:
            assert trigger is None or self.model.trigger(trigger)
        except MachineError as error:
            raise AssertionError(f"{kind} from a state where it cannot be: {error}") from error

    # ── what has to hold always ─────────────────────────────────────────────────────────────────────────

    @invariant()
    def it_is_due_exactly_while_it_is_pending(self):
        assert (self.life.job.due_at is not None) == (self.life.job.state == "pending")

    @invariant()
    def it_is_held_exactly_while_it_is_processing(self):
        job = self.life.job
        held = job.claim is not None, job.locked_at is not None
        assert held == (job.state == "processing",) * 2
        assert job.claim is None or job.claim.run == job.run
        assert job.cancel_requested is None or job.state == "processing"

    @invariant()
    def attempts_stay_within_the_promise(self):
        job = self.life.job
        assert 0 <= job.attempts <= min(job.run, self.spec.max_retries + 1)
        if job.state == "dlq":
            assert job.attempts == self.spec.max_retries + 1
        if job.state in ("pending", "processing"):
            assert job.attempts <= self.spec.max_retries

    @invariant()
    def what_was_promised_stays_promised(self):
        assert self.life.job.spec == self.spec


Life.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLife = Life.TestCase


def test_an_illegal_step_would_be_noticed():
    """A control: `completed` without `claimed` folds, since events are facts, but the model refuses it."""
    life = Life()
    life.begin({"max_retries": 0})
    assert life.life.and_then(completed()).job.state == "done"
    with pytest.raises(AssertionError, match="completed from a state where it cannot be"):
        life.happens(completed())
    life.teardown()
