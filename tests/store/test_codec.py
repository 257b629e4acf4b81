"""Events as bytes, without a store: sealed events can be read, and errors name what is wrong."""

from hashlib import sha256

import pytest

from queuectl.domain.events import Exited, RecordedEvent
from queuectl.store import codec
from queuectl.store.errors import DamagedEventError
from queuectl.store.rows import Head, StoredEvent
from tests.support.builders import a_spec, buried, chained, retried

SALT = bytes(range(16))
BEFORE = bytes(32)


def recorded(event=None, digest=b""):
    place = (1, "a", 1, 1_795_490_400_000_000, "ann@box")
    return RecordedEvent(*place, event or a_spec(tags={"é": "…"}), 1, digest)


def sealed(event=None, **columns):
    """A row with these columns and the right digest for them."""
    row = codec.seal(recorded(event), SALT, BEFORE)._replace(**columns)
    return row._replace(digest=chained([row])[0]) if columns else row


def refusal(row, error=DamagedEventError):
    with pytest.raises(error) as caught:
        codec.decode(row, BEFORE)
    assert type(caught.value) is error
    assert (caught.value.position, caught.value.stream_id) == (1, "a")
    return str(caught.value)


@pytest.mark.parametrize("event", [a_spec(), retried(cause=Exited(7), stdout="é"), buried()])
def test_a_sealed_event_can_be_read_back(event):
    row = codec.seal(recorded(event), SALT, BEFORE)
    assert codec.decode(row, BEFORE) == codec.decode(tuple(row), BEFORE) == recorded(event, digest=row.digest)


def test_the_six_characters_of_an_escape_are_no_nul():
    event = a_spec(command=r"printf '\u0000'", tags={"k": r"\u0000"})
    assert codec.decode(sealed(event), BEFORE).event == event


def test_the_digest_matches_the_specification():
    assert [sealed().digest] == chained([sealed()])
    assert codec.digest_of(sealed(), BEFORE) == sealed().digest


def test_the_first_digests_are_those_of_openssl():
    assert codec._first_sha256(b"data").digest() == sha256(b"data").digest()


def test_an_event_without_a_digest_is_damaged():
    with pytest.raises(DamagedEventError, match=r"^event 1 of a is damaged \('utf-8' codec can't encode"):
        codec.digest_of(sealed()._replace(data="\ud800"), BEFORE)


def test_an_altered_row_is_damaged():
    said = "event 1 of a is damaged (its digest does not match): run `queuectl recover`"
    assert refusal(sealed()._replace(actor="eve@box")) == said


@pytest.mark.parametrize(("kind", "schema"), [("job_merged", 1), ("enqueued", 2)])
def test_an_event_of_a_later_version_asks_for_an_upgrade(kind, schema):
    said = (
        f"event 1 of a cannot be read (this version cannot read {kind!r} events of schema {schema}): upgrade queuectl"
    )
    assert refusal(sealed(type=kind, schema=schema), codec.NewerEventError) == said


def test_an_event_of_an_earlier_schema_without_an_upcaster_is_damaged():
    assert "(this version cannot read 'enqueued' events of schema 0)" in refusal(sealed(schema=0))


def test_an_older_event_is_upcast_step_by_step(monkeypatch):
    steps = {
        ("enqueued", -1): lambda data: data | {"cwd": "/old"},
        ("enqueued", 0): lambda data: data | {"queue": "new"},
    }
    monkeypatch.setattr(codec, "UPCASTERS", steps)
    event = codec.decode(sealed(schema=-1), BEFORE).event
    assert event == a_spec(tags={"é": "…"}, cwd="/old", queue="new")


def test_data_of_another_type_is_damage():
    assert "(its data is not that of a 'claimed' event)" in refusal(sealed(type="claimed"))


@pytest.mark.parametrize("data", ["{", '{"type": "enqueued"}', '"é"', "\ud800"])
def test_data_that_is_not_an_event_is_damage(data):
    row = sealed()._replace(data=data)
    assert "is damaged (" in refusal(row if data == "\ud800" else sealed(data=data))


@pytest.mark.parametrize("missing", [{"data": None}, {"salt": None}])
def test_missing_data_is_damage(missing):
    assert "(its data is missing)" in refusal(sealed()._replace(**missing))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"position": 2}, "it does not follow on event 0"),
        ({"position": 0}, "it does not follow on event 0"),
        ({"actor": "eve"}, "its digest does not match"),
    ],
)
def test_rows_must_follow_the_given_events(change, why):
    codec.check_follows(sealed(), Head(0, BEFORE, 0))
    with pytest.raises(DamagedEventError) as damage:
        codec.check_follows(sealed()._replace(**change), Head(0, BEFORE, 0))
    assert damage.value.why == why
    with pytest.raises(DamagedEventError, match="it does not follow on event 5"):
        codec.check_follows(sealed(), Head(5, BEFORE, 0))


def redacted(**columns) -> StoredEvent:
    row = sealed()
    return row._replace(data=None, salt=None, data_digest=codec.body_digest(row))._replace(**columns)


def test_redaction_keeps_the_digest():
    assert codec.digest_of(redacted(), BEFORE) == sealed().digest
    refusal(redacted(), codec.NewerEventError)


@pytest.mark.parametrize("left", [{"data": "{}"}, {"salt": SALT}, {"data": sealed().data, "salt": SALT}])
def test_a_redacted_event_has_no_data(left):
    assert "(it has both data and the digest of removed data)" in refusal(redacted(**left))
