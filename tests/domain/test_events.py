"""The events as the log stores them: names, immutability, encoding, and their shape as a contract."""

import json
import re
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from queuectl.domain.commands import Command, Exit
from queuectl.domain.events import (
    EVENT_TYPES,
    Cause,
    Changes,
    Completed,
    Enqueued,
    Event,
    Exited,
    RecordedEvent,
    type_of,
)
from queuectl.domain.job import Job
from queuectl.store import codec
from queuectl.store.codec import UPCASTERS
from queuectl.store.rows import FIRST_FORMAT, NEWEST_FORMAT
from tests.domain.scenario import START, a_job, buried, claimed, completed

SHAPES = Path(__file__).parent.parent / "data" / "event_shapes.json"
CAUSES = tuple(Cause.__subclasses__())
TAGGED = [*EVENT_TYPES, *CAUSES]
ANY_EVENT = Union[EVENT_TYPES]  # noqa: UP007 (a tuple of types)


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def tag(struct):
    return struct.__struct_config__.tag


def variants(kind):
    """The structs of a union, or of one struct."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("struct", [*EVENT_TYPES, RecordedEvent, Job, *Command.__subclasses__()])
def test_no_struct_of_which_there_are_many_is_tracked(struct):
    """The garbage collector would look through all of them again and again."""
    assert struct.__struct_config__.gc is False


@pytest.mark.parametrize("event", EVENT_TYPES)
def test_an_events_type_is_the_name_of_its_struct(event):
    assert type_of(event) == tag(event) == snake(event.__name__)
    assert event.__struct_config__.tag_field == "type"


def test_every_event_is_listed_once():
    defined = [each for each in Event.__subclasses__() if each.__module__ == Event.__module__]
    assert sorted(map(tag, EVENT_TYPES)) == sorted(map(tag, defined))
    assert len(set(map(tag, EVENT_TYPES))) == len(EVENT_TYPES)


def test_a_cause_names_its_kind():
    expected = {"exited", "signalled", "timed_out", "not_started", "worker_lost"}
    assert {tag(cause) for cause in CAUSES} == expected
    assert {cause.__struct_config__.tag_field for cause in CAUSES} == {"kind"}


# ── immutable, and nothing unknown in them ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("struct", [*TAGGED, *Command.__subclasses__(), Exit, Job, RecordedEvent])
def test_a_fact_and_an_intent_cannot_be_changed(struct):
    assert struct.__struct_config__.frozen


@pytest.mark.parametrize("fact", [completed(), Exited(3), a_job()], ids=repr)
def test_setting_a_field_is_an_error(fact):
    name = fact.__struct_fields__[0]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(fact, name, getattr(fact, name))


@pytest.mark.parametrize("struct", TAGGED, ids=tag)
def test_an_unknown_field_is_refused(struct):
    whole = {**minimal(struct), struct.__struct_config__.tag_field: tag(struct)}
    assert isinstance(msgspec.convert(whole, struct), struct)
    with pytest.raises(msgspec.ValidationError, match="unknown field `surprise`"):
        msgspec.convert({**whole, "surprise": 1}, struct)


def minimal(struct):
    """The fields that have no default."""
    some = {str: "x", int: 1, float: 1.5, bool: True, str | None: None, Changes: {}}
    some[Enqueued] = {"type": "enqueued", **minimal(Enqueued)} if struct is not Enqueued else None
    return {
        field.name: some.get(field.type, {"kind": "exited", "code": 1}) for field in fields(struct) if field.required
    }


@pytest.mark.parametrize(
    "data",
    [
        '{"type":"completed","run":1}',
        '{"type":"completed","run":"1","duration":0}',
        '{"type":"completed","run":1.5,"duration":0}',
        '{"type":"Completed","run":1,"duration":0}',
        '{"run":1,"duration":0}',
        '{"type":"dead_lettered","run":1,"cause":{"kind":"bad_luck"}}',
        '{"type":"dead_lettered","run":1,"cause":{"kind":"exited","code":1,"surprise":1}}',
        "[]",
        "null",
        "",
    ],
)
def test_a_line_that_is_not_an_event_is_refused(data):
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(data, type=ANY_EVENT)


# ── an event with its place ─────────────────────────────────────────────────────────────────────────────

PLACE = (7, "j", 3, START, "ann@box")


def test_an_event_has_schema_1_and_no_digest_by_default():
    record = RecordedEvent(*PLACE, completed())
    assert (record.type, record.schema, record.digest) == ("completed", 1, b"")


def test_a_copy_changes_the_named_fields_of_the_copy_only():
    record = RecordedEvent(*PLACE, completed())
    assert record.at(version=4, digest=b"d") == RecordedEvent(7, "j", 4, START, "ann@box", completed(), 1, b"d")
    assert record == RecordedEvent(*PLACE, completed())


# ── there and back ──────────────────────────────────────────────────────────────────────────────────────


def anything(kind):
    """Any value of a field's type, including odd ones, but no NUL: the commands refuse it."""
    simple = {
        str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    if kind in simple:
        return simple[kind]
    if get_origin(kind) is tuple:
        return st.lists(anything(get_args(kind)[0]), max_size=4).map(tuple)
    if get_origin(kind) is dict:
        return st.dictionaries(*map(anything, get_args(kind)), max_size=4)
    if get_args(kind):
        return st.one_of(map(anything, get_args(kind)))
    return st.builds(kind, **{field.name: anything(field.type) for field in fields(kind)})


@pytest.mark.parametrize("event", EVENT_TYPES, ids=type_of)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_an_event_is_unchanged_by_json(event, data):
    fact = data.draw(anything(event))
    text = msgspec.json.encode(fact)
    back = msgspec.json.decode(text, type=ANY_EVENT)
    assert (type(back), back) == (event, fact)
    assert msgspec.json.encode(back) == text


ODD = ["", " ", "\t\r\n", '"\\', "\x1b[31m", "\x7f\x80\x9f", "\u2028\u202e", "ä€𝄞", "\ufffd\ufeff\uffff", "x" * 70_000]


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_any_text_is_unchanged_by_json(text):
    spec = a_job(command=text, cwd=text, argv=(text, ""), env={text: text}, tags={text: ""}, unique=text)
    for fact in (spec, completed(stdout=text, stderr=text), buried(stderr=text)):
        assert msgspec.json.decode(msgspec.json.encode(fact), type=ANY_EVENT) == fact


@pytest.mark.parametrize("number", [0.1, 1e-300, 1.7976931348623157e308, 2.0, 0.30000000000000004])
def test_a_base_is_unchanged_to_the_last_bit(number):
    fact = a_job(backoff_base=number)
    assert msgspec.json.decode(msgspec.json.encode(fact), type=Enqueued).backoff_base.hex() == number.hex()


def test_default_values_are_not_written():
    assert msgspec.json.encode(completed(3)) == b'{"type":"completed","run":3,"duration":0}'
    assert b"delay" not in msgspec.json.encode(a_job())


def test_no_two_jobs_share_a_default():
    """Each event gets a new dict for a default that is a dict."""
    assert a_job().env is not a_job().env


# ── the shape is a contract ─────────────────────────────────────────────────────────────────────────────


def shape(struct):
    """A struct's fields as the file of pinned shapes has them: type, default, and the shape of nested structs."""
    return {field.name: {"type": shown(field.type), **default(field)} for field in fields(struct)}


def shown(kind):
    structs = [each for each in variants(kind) if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    if structs and all(issubclass(each, Event) for each in structs):
        return " | ".join(map(tag, structs))  # its shape is pinned where it is an event of its own
    if structs:
        return {tag(each) or each.__name__: shape(each) for each in structs}
    return kind.__name__ if type(kind) is type else str(kind)


def default(field):
    if field.required:
        return {}
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return {"default": list(value) if isinstance(value, tuple) else value}


def advice(event, pinned):
    """The advice for an event whose shape is not the pinned one; None if it is."""
    name, schema = tag(event), event.SCHEMA
    known = pinned.get(name, {})
    found = shape(event)
    if known.get(str(schema)) == found:
        return None
    entry = json.dumps({str(schema): found}, ensure_ascii=False)
    if str(schema) not in known:
        return (
            f"`{name}` has a new schema: add it to tests/data/event_shapes.json, and leave the older ones there as"
            f" they are: {entry}"
        )
    return (
        f"the shape of `{name}` changed, and logs with the old one exist: set its SCHEMA to {schema + 1}, write the"
        f" upcaster of ({name!r}, {schema}) in store/codec.py, keep a log with the old shape in tests/data/, and only"
        f" then add the new shape to tests/data/event_shapes.json; a pinned shape is never edited. It is now {entry}"
    )


@pytest.fixture(scope="module")
def pinned():
    return json.loads(SHAPES.read_text())


@pytest.mark.parametrize("event", EVENT_TYPES, ids=type_of)
def test_an_events_shape_changes_only_with_its_schema(event, pinned):
    problem = advice(event, pinned)
    assert problem is None, problem


def test_no_pinned_event_was_removed(pinned):
    assert sorted(pinned) == sorted(map(type_of, EVENT_TYPES))


@pytest.mark.parametrize("event", EVENT_TYPES, ids=type_of)
def test_every_older_schema_is_pinned_and_has_an_upcaster(event, pinned):
    older = range(1, event.SCHEMA)
    assert sorted(map(int, pinned[type_of(event)])) == [*older, event.SCHEMA]
    assert [schema for schema in older if (type_of(event), schema) not in UPCASTERS] == []


def variant(name, *new_fields, without=(), schema=1):
    """A variant of `completed` with other fields or another schema."""
    kept = [(f.name, f.type, f.default) if not f.required else (f.name, f.type) for f in fields(Completed)]
    kept = [each for each in kept if each[0] not in without]
    options = {"bases": (Event,), "tag": "completed", "kw_only": True, "frozen": True, "namespace": {"SCHEMA": schema}}
    return msgspec.defstruct(name, [*kept, *new_fields], module=__name__, **options)


@pytest.mark.parametrize(
    "change",
    [
        {"new_fields": [("host", str)]},
        {"new_fields": [("host", str, "")]},
        {"without": ("stdout",)},
        {"without": ("duration",), "new_fields": [("duration", float)]},
        {"without": ("duration",), "new_fields": [("duration", int, 0)]},
        {"without": ("stderr",), "new_fields": [("stderr", str, "-")]},
    ],
    ids=["a field more", "an optional field more", "a field less", "another type", "a new default", "another default"],
)
def test_a_changed_shape_is_noticed_with_advice(change, pinned):
    new_fields, without = change.get("new_fields", []), change.get("without", ())
    assert advice(variant("Same"), pinned) is None
    assert "set its SCHEMA to 2, write the upcaster" in advice(variant("Other", *new_fields, without=without), pinned)
    raised = variant("Raised", *new_fields, without=without, schema=2)
    assert "has a new schema: add it" in advice(raised, pinned)


def test_a_changed_cause_changes_the_events_that_have_it(pinned):
    for name in ("retry_scheduled", "dead_lettered"):
        assert pinned[name]["1"]["cause"]["type"] == {tag(cause): shape(cause) for cause in CAUSES}


def test_a_claim_identifies_the_process_of_its_worker():
    """With these fields one can tell whether the claimant is alive, even if all else is lost."""
    assert set(claimed().__struct_fields__) == {
        "run",
        "worker",
        "host",
        "boot_id",
        "pid",
        "pid_namespace",
        "pid_started_at",
        "lease",
        "uid",
        "waited",
        "clock",
    }


FIRST_FIELDS = json.loads((Path(__file__).parents[1] / "data" / "first_format.json").read_text(encoding="utf-8"))
"""The events of the first format of the log, and their fields."""
ONLY_WITH_ANOTHER = {("enqueued", "if_unmet"): "after"}


@pytest.mark.parametrize("event", EVENT_TYPES, ids=type_of)
def test_new_events_and_fields_need_a_newer_format(event):
    name = type_of(event)
    if name not in FIRST_FIELDS:
        assert codec._FORMATS[event] > FIRST_FORMAT
        return
    for field in set(event.__struct_fields__) - set(FIRST_FIELDS[name]):
        assert codec._FIELD_FORMATS[event][ONLY_WITH_ANOTHER.get((name, field), field)] > FIRST_FORMAT


def test_a_stored_field_needs_its_format_whatever_its_value():
    assert b"retry_wait" in msgspec.json.encode(a_job(retry_wait=0))
    assert codec.format_of(a_job(retry_wait=0)) > FIRST_FORMAT
    assert codec.format_of(a_job()) == FIRST_FORMAT


def test_no_event_needs_a_format_that_does_not_exist():
    needed = [*codec._FORMATS.values(), *(each for fields in codec._FIELD_FORMATS.values() for each in fields.values())]
    assert max(needed) == NEWEST_FORMAT
