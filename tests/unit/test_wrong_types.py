"""The decoder's errors in plain words: the place first, and no type of the decoder's own."""

import msgspec
import pytest

from queuectl.application.job_json import JobInput
from queuectl.application.wrong_types import wrong_type


class Needed(msgspec.Struct):
    """A struct with a required field."""

    name: str


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (JobInput, '{"priority": "high"}', "priority: expected a whole number, got a string"),
        (JobInput, '{"delay": [1]}', "delay: expected a number or a string, got an array"),
        (JobInput, '{"argv": ["a", 1]}', "argv[1]: expected a string, got a whole number"),
        (JobInput, '{"tags": {"a": 1}}', "tags: expected a string as a value, got a whole number"),
        (JobInput, '{"jitter": 1}', "jitter: expected true or false, got a whole number"),
        (JobInput, '{"retries": 1}', "there is no field `retries`"),
        (JobInput, '{"after": [{"jobs": "a"}]}', "after[0]: there is no field `jobs`"),
        (JobInput, "5", "expected an object, got a whole number"),
        (Needed, "{}", "it lacks the field `name`"),
    ],
)
def test_a_wrong_value_is_named_in_plain_words(kind, text, said):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(text, type=kind)
    assert wrong_type(caught.value) == said
