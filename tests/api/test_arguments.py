"""A wrong argument of the Python API gives one line that names the argument, whatever the method and the value."""

import inspect
import math
from datetime import datetime, timedelta

import pytest

import queuectl
from queuectl.api import JobOptions, JobQueue

NO_TEXT = [5, -1, 1.5, math.nan, 10**30, b"x", True, object(), datetime(2026, 1, 1), timedelta(1), {"a": "b"}, ["x"]]
NOT_UTF8 = ["\ud800", "a\0b"]
NO_LIST = [5, math.nan, b"x", True, object(), timedelta(1), {"a": "b"}]
NO_NUMBER = ["5", "\ud800", math.nan, b"x", True, object(), timedelta(1), {"a": 1}, [5], -(10**30), 10**30]
NO_DURATION = [
    "soon",
    "\ud800",
    "",
    b"x",
    True,
    object(),
    -1,
    math.nan,
    math.inf,
    1e300,
    [5],
    timedelta.min,
    timedelta.max,
]
NO_MOMENT = ["soon", "\ud800", "", b"x", True, object(), 1.5, [5], timedelta(1), datetime(2026, 1, 1), datetime.max]
NO_FLAG = ["no", "\ud800", 0, 1, 1.5, b"x", [], object()]
NO_MAPPING = ["a=b", "\ud800", 5, b"x", True, ["a"], {1: "b"}, {"a": 1}, {"a": "\ud800"}, object()]

OPTIONS = {
    **{name: [*NO_TEXT, *NOT_UTF8] for name in ["id", "queue", "unique", "batch", "if_unmet"]},
    **{name: [*NO_TEXT, *NOT_UTF8] for name in ["cwd", "stdin"]},
    **dict.fromkeys(["priority", "retries", "max_failures"], NO_NUMBER),
    "backoff_base": ["2", "\ud800", math.nan, math.inf, -1, 1e300, b"x", True, object(), [2]],
    **dict.fromkeys(["backoff_cap", "retry_wait", "delay", "timeout"], NO_DURATION),
    "at": NO_MOMENT,
    **dict.fromkeys(["jitter", "merge_output"], NO_FLAG),
    **dict.fromkeys(["env", "tags"], NO_MAPPING),
    "secret_env": [*NO_LIST, "A", ["\ud800"], [5], [None]],
    "after": [5, b"x", True, object(), [5], [None], [["a"]], {"a": "b"}, "\ud800", timedelta(1)],
}
"""An option of a job -> values that it does not take."""

JOB = [None, *NO_TEXT, *NOT_UTF8]
SEVERAL = [None, "a", *NO_LIST, [5], [None], ["a\0b"]]
TEXTS = [*NO_LIST, [5], [None], ["\ud800"]]
ARGUMENTS = {
    "enqueue": {
        "command": [None, 5, math.nan, b"x", True, {"a": "b"}, {"a"}, object(), [5], ["a", None], [b"x"], *NOT_UTF8]
    },
    "enqueue_many": {"jobs": [None, "a", *NO_LIST, [5], [None], [{"command": 5}], [{}]]},
    "job": {"job": JOB},
    "history": {"job": JOB},
    "jobs": {
        "state": [*TEXTS, "x"],
        "queue": [*TEXTS, "a b"],
        "tag": [*NO_LIST[:-1], "a", [5], {1: "b"}, {"a": 1}],
        "since": NO_MOMENT,
        "batch": [*NO_TEXT, *NOT_UTF8],
        "sort": [None, *NO_TEXT, *NOT_UTF8, "x"],
        "limit": [None, "5", "1; --", -1, 1.5, math.nan, True, b"x", [5], object()],
    },
    "failures": {
        "queue": [*TEXTS, "a b"],
        "tag": [*NO_LIST[:-1], "a", [5], {1: "b"}, {"a": 1}],
        "since": NO_MOMENT,
        "batch": [*NO_TEXT, *NOT_UTF8],
        "attempts": [None, *NO_FLAG],
        "flaky": [None, *NO_FLAG],
    },
    "counts": {"queue": [*NO_TEXT, *NOT_UTF8]},
    "schedules": {},
    "run_schedule": {"name": JOB},
    "wait": {"job": JOB, "timeout": NO_DURATION},
    "wait_many": {"jobs": SEVERAL, "timeout": NO_DURATION},
    "cancel": {"job": JOB, "reason": [None, *NO_TEXT, *NOT_UTF8]},
    "cancel_many": {"jobs": SEVERAL, "reason": [None, *NO_TEXT, *NOT_UTF8]},
    "retry": {"job": JOB, "reason": [None, *NO_TEXT, *NOT_UTF8]},
    "retry_many": {"jobs": SEVERAL, "reason": [None, *NO_TEXT, *NOT_UTF8]},
    "edit": {
        "job": JOB,
        "command": [5, b"x", {"a": "b"}, [5], *NOT_UTF8],
        "now": [None, *NO_FLAG],
        "unset_env": TEXTS,
        "reason": [None, *NO_TEXT, *NOT_UTF8],
    },
    "copy": {"job": JOB, "command": [5, b"x", {"a": "b"}, [5], *NOT_UTF8], "unset_env": TEXTS},
    "pause": {"queue": [*NO_TEXT, *NOT_UTF8]},
    "resume": {"queue": [*NO_TEXT, *NOT_UTF8]},
    "close": {},
}
"""A method -> its arguments -> values that they do not take."""

OPENING = {
    "db": [5, 1.5, b"x", True, ["x"], {"a": "b"}, object(), *NOT_UTF8],
    "read_only": [None, *NO_FLAG],
    "as_of": [-1, 1.5, math.nan, b"x", True, [5], "soon", "\ud800", timedelta(1), datetime(2026, 1, 1), object()],
    "actor": [5, b"x", True, "", ["x"], object(), "a\nb", *NOT_UTF8],
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def queue():
    with queuectl.open_queue("queue.db") as queue:
        queue.enqueue("true", id="a")
        yield queue


def refusal(call, **arguments):
    """The message of a call with a wrong argument: one short line in plain words."""
    with pytest.raises(queuectl.QueuectlError) as caught:
        call(**arguments)
    said = str(caught.value)
    assert said.isprintable(), said
    assert len(said) < 250, said
    assert "$" not in said, said
    assert "`str" not in said, said
    assert "the log cannot" not in said, said
    return said


def required(method):
    """The arguments that a call cannot do without, with right values."""
    right = {"job": "a", "jobs": ["a"], "command": "true", "name": "nightly"}
    parameters = inspect.signature(getattr(JobQueue, method)).parameters.values()
    return {each.name: right[each.name] for each in parameters if each.name in right and each.default is each.empty}


def test_each_argument_of_each_method_is_tried():
    methods = {name: each for name, each in vars(JobQueue).items() if not name.startswith("_")}
    assert set(methods) == set(ARGUMENTS)
    for name, method in methods.items():
        plain = [
            each.name for each in inspect.signature(method).parameters.values() if each.kind is not each.VAR_KEYWORD
        ]
        assert {*plain} - {"self"} == set(ARGUMENTS[name]), name
    assert set(OPTIONS) == set(JobOptions.__annotations__)
    assert set(OPENING) == set(inspect.signature(queuectl.open_queue).parameters)


@pytest.mark.parametrize("method", ARGUMENTS)
def test_a_wrong_argument_is_named_in_one_line(method, queue):
    events = queue.history("a")
    for name, values in ARGUMENTS[method].items():
        for value in values:
            said = refusal(getattr(queue, method), **{**required(method), name: value})
            assert name.removesuffix("s") in said, (value, said)
    assert queue.history("a") == events
    assert len(queue.jobs()) == 1


@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_option_is_named_and_adds_nothing(option, queue):
    for value in OPTIONS[option]:
        more = {"batch": "grid"} if option == "max_failures" else {"after": "a"} if option == "if_unmet" else {}
        assert refusal(queue.enqueue, command="true", **{**more, option: value}).startswith(option), value
    assert len(queue.jobs()) == 1


def test_a_queue_is_not_opened_with_a_wrong_argument(queue):
    for name, values in OPENING.items():
        for value in values:
            said = refusal(lambda **given: queuectl.open_queue(**given).jobs(), **{"db": "queue.db", name: value})
            assert name in said, said
