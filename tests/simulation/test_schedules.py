"""Years of schedules in virtual time: every slot is decided on once, whatever happens to the workers."""

import pytest

from queuectl.domain import events as e
from tests.simulation.schedule_mutants import advance_first, jobs_first
from tests.simulation.schedules import SimulatedYear, zones


@pytest.mark.parametrize("seed", range(4))
def test_every_slot_of_a_year_is_accounted_for(seed):
    year = SimulatedYear(seed)
    judged = year.run(0.3)
    assert judged.findings == []
    assert judged.checked["slot"] > 10
    year.close()


def test_the_years_meet_every_kind_of_note_and_kill():
    types, reasons, died, jumps = set(), set(), 0, 0
    for seed in range(6, 12):
        year = SimulatedYear(seed)
        assert year.run(0.3).findings == []
        notes = [record.event for record in year.store.history.notes("$schedule:", 1 << 60)]
        types |= {type(event) for event in notes}
        reasons |= {event.reason for event in notes if isinstance(event, e.ScheduleSkipped)}
        died, jumps = died + year.died, jumps + year.jumps
        year.close()
    assert len(types) == 6
    assert {"overlap", "late", "paused", "changed"} <= reasons
    assert died > 5
    assert jumps > 5


@pytest.mark.parametrize("put_in", [advance_first, jobs_first])
def test_the_audit_finds_jobs_and_notes_apart(put_in, monkeypatch):
    """Mutants that append them in two transactions, and may be killed in between."""
    put_in(monkeypatch)
    found = 0
    for seed in range(3):
        year = SimulatedYear(seed)
        year.mortality = 0.1
        found += year.run(0.15).found["slot"]
        year.close()
    assert found > 0


def test_there_are_forty_zones():
    assert len(set(zones())) == 40
