"""Every (state, trigger) pair against the table of the design, written out here by hand."""

import pytest

from queuectl.domain.events import (
    EVENT_TYPES,
    Amended,
    BatchOpened,
    Cancelled,
    CancelRequested,
    Changes,
    DependenciesMet,
    Enqueued,
    Exited,
    Purged,
    QueuePaused,
    QueueResumed,
    Released,
    Requeued,
    ResultRejected,
    ScheduleFired,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleSet,
    ScheduleSkipped,
    SettingChanged,
    WorkerLost,
    WorkerStarted,
    WorkerStopped,
    type_of,
)
from queuectl.domain.machine import ALIASES, MOVES, State, allowed, build, target
from tests.domain.scenario import (
    SECOND,
    START,
    a_job,
    buried,
    cancel,
    claim,
    claimed,
    completed,
    fails,
    given,
    purge,
    release,
    requeue,
    retried,
    succeeds,
)

LEADS_TO = {
    ("pending", "claim"): "processing",
    ("pending", "cancel"): "cancelled",
    ("processing", "complete"): "done",
    ("processing", "retry"): "pending",
    ("processing", "bury"): "dlq",
    ("processing", "release"): "pending",
    ("processing", "cancel"): "cancelled",
    ("done", "requeue"): "pending",
    ("done", "purge"): "purged",
    ("dlq", "requeue"): "pending",
    ("dlq", "purge"): "purged",
    ("cancelled", "requeue"): "pending",
    ("cancelled", "purge"): "purged",
    ("purged", "requeue"): "pending",
}
ALLOWED = {
    "pending": "claim, cancel",
    "processing": "complete, retry, bury, release, cancel",
    "done": "requeue, purge",
    "dlq": "requeue, purge",
    "cancelled": "requeue, purge",
    "purged": "requeue",
}
OFFERED = {
    "pending": "cancelled",
    "processing": "cancelled",
    "done": "retried or purged",
    "dlq": "retried or purged",
    "cancelled": "retried or purged",
    "purged": "retried",
}
"""The same, as far as it is for people to do, by their names for it."""
RECORDED_AS = {
    "claim": claimed(),
    "complete": completed(),
    "retry": retried(),
    "bury": buried(),
    "release": Released(run=1, reason="stopping"),
    "cancel": Cancelled(),
    "requeue": Requeued(),
    "purge": Purged(),
}
NOTES = [
    CancelRequested(run=1, reason="wrong day"),
    ResultRejected(run=1, outcome="completed"),
    Amended(changes=Changes(timeout=1)),
    DependenciesMet(by=7),
    SettingChanged(key="lease", value="1m"),
    QueuePaused(),
    QueueResumed(),
    WorkerStarted(host="h", pid=1, slots=2),
    WorkerStopped(jobs=3),
    WorkerLost(noticed_by="w2"),
    BatchOpened(jobs=3),
    ScheduleSet(job=a_job(), every=60),
    SchedulePaused(),
    ScheduleResumed(),
    ScheduleRemoved(),
    ScheduleFired(slot=1, job="s.1"),
    ScheduleSkipped(first=1, last=2, count=2, reason="late"),
]
STATES = list(ALLOWED)
TRIGGERS = list(RECORDED_AS)
PAIRS = [(state, trigger) for state in STATES for trigger in TRIGGERS]

REPORTS = ("complete", "retry", "bury", "release")
"""Triggers that only the run itself uses. From elsewhere than `processing` the fence refuses before the machine."""
LEGAL = list(LEADS_TO)
ILLEGAL = [pair for pair in PAIRS if pair not in LEADS_TO]
REFUSED = [pair for pair in ILLEGAL if pair[1] not in REPORTS]
FENCED = [pair for pair in ILLEGAL if pair[1] in REPORTS]


def a_job_that_is(state, **promises):
    born = a_job(**promises)
    lives = {
        "pending": [born],
        "processing": [born, claimed()],
        "done": [born, claimed(), completed()],
        "dlq": [born, claimed(), buried()],
        "cancelled": [born, Cancelled()],
        "purged": [born, Cancelled(), Purged()],
    }
    return given(*lives[state]).is_now(state)


def command_for(trigger):
    return {
        "claim": claim(),
        "complete": succeeds(),
        "retry": fails(),
        "bury": fails(),
        "release": release(),
        "cancel": cancel(),
        "requeue": requeue(),
        "purge": purge(),
    }[trigger]


def job_and_command(trigger, state):
    """A job in the state, and a command that can only lead to this trigger."""
    job = a_job_that_is(state, max_retries=0 if trigger == "bury" else 3)
    if (trigger, state) == ("cancel", "processing"):  # a running job's processes end first, then its worker cancels
        return job.when(cancel()).then(CancelRequested(run=1)).when(fails())
    return job.when(command_for(trigger))


def expected(trigger, state):
    cancelled_while_it_ran = (trigger, state) == ("cancel", "processing")
    return Cancelled(run=1) if cancelled_while_it_ran else RECORDED_AS[trigger]


def test_this_table_has_all_states_and_triggers():
    assert sorted(STATES) == sorted(State)
    assert sorted(TRIGGERS) == sorted(move.trigger for move in MOVES)
    assert (len(LEGAL), len(REFUSED), len(FENCED)) == (14, 14, 20)


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_the_machine_allows_exactly_the_moves_of_the_table(state, trigger):
    assert target(State(state), trigger) == LEADS_TO.get((state, trigger))


@pytest.mark.parametrize(("state", "trigger"), LEGAL)
def test_a_legal_command_records_its_event_and_changes_the_state(state, trigger):
    job_and_command(trigger, state).then(expected(trigger, state)).is_now(LEADS_TO[state, trigger])


@pytest.mark.parametrize(("state", "trigger"), REFUSED)
def test_an_illegal_command_is_refused_with_the_moves_allowed(state, trigger):
    verb = "retry" if trigger == "requeue" else trigger
    job_and_command(trigger, state).refused(
        f"job j is {state}", f"cannot {verb} it", f"a {state} job can only be {OFFERED[state]}"
    )


@pytest.mark.parametrize(("state", "trigger"), FENCED)
def test_a_result_of_an_idle_job_is_recorded_and_changes_nothing(state, trigger):
    outcome = {"complete": "completed", "release": "released"}.get(trigger, "exited")
    job_and_command(trigger, state).then(ResultRejected(run=1, outcome=outcome)).is_now(state)


@pytest.mark.parametrize("state", STATES)
def test_each_state_allows_its_moves(state):
    assert ", ".join(allowed(State(state))) == ALLOWED[state]


def test_the_machine_has_only_these_triggers():
    assert sorted(build().events) == sorted(TRIGGERS)
    assert [name for name in build().events if name.startswith("to_")] == []


def test_the_machine_has_these_states_and_no_model():
    assert (sorted(build().states), build().models) == (sorted(STATES), [])


def test_two_states_have_an_alias():
    names = {"completed": "done", "success": "done", "dead": "dlq", "running": "processing", "queued": "pending"}
    assert names == ALIASES


@pytest.mark.parametrize("event", EVENT_TYPES, ids=type_of)
def test_a_move_event_has_exactly_one_trigger_and_a_note_none(event):
    moves = {type(recorded): trigger for trigger, recorded in RECORDED_AS.items()}
    assert (event in moves) + (event in map(type, NOTES)) + (event is Enqueued) == 1
    found = [move.trigger for move in MOVES if move.event == type_of(event)]
    assert found == ([moves[event]] if event in moves else [])


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("note", NOTES, ids=type_of)
def test_a_note_changes_no_state(state, note):
    job = a_job_that_is(state)
    job.and_then(note).is_now(state, version=job.job.version + 1, attempts=job.job.attempts, due_at=job.job.due_at)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_an_event_folds_from_any_state(state, trigger):
    """`evolve` never refuses: a recorded event has happened, even if the rules would refuse it today."""
    goes_to = {to for (_, by), to in LEADS_TO.items() if by == trigger}
    assert {a_job_that_is(state).and_then(RECORDED_AS[trigger]).job.state} == goes_to


def test_an_unknown_trigger_is_an_error():
    with pytest.raises(AttributeError, match="to_done"):
        target(State("pending"), "to_done")


def test_a_failure_is_retried_or_buried_never_both():
    a_job_that_is("processing", max_retries=1).when(fails(cause=Exited(2))).then(retried(cause=Exited(2)))
    a_job_that_is("processing", max_retries=0).when(fails(cause=Exited(2))).then(buried(cause=Exited(2)))


def test_a_purge_is_the_last_change_of_a_job():
    given(a_job(), claimed(), completed(), Purged()).is_now("purged", version=4, updated_at=START + 3 * SECOND)
