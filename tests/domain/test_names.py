"""The names of jobs, queues, workers and streams."""

import string

import pytest

from queuectl.domain.names import is_generated, is_id, is_stream, queue_stream, worker_stream
from queuectl.domain.relations import ORIGINS


@pytest.mark.parametrize("name", [*string.ascii_letters, *string.digits, "a.b", "a-", "0_", "a" * 128])
def test_a_name_begins_with_a_letter_or_a_digit(name):
    assert is_id(name)
    assert is_stream(name)


@pytest.mark.parametrize("name", ["", ".a", "-a", "_", "a b", "a\n", "é", "a/b", "$a", "a" * 129])
def test_other_names_are_refused(name):
    assert not is_id(name)


@pytest.mark.parametrize(
    ("name", "valid"), [("$settings", True), ("$queue:a b", True), ("$a\n", False), ("a b", False)]
)
def test_streams_of_notes_begin_with_a_dollar_sign(name, valid):
    assert is_stream(name) is valid


def test_each_queue_and_each_worker_has_a_stream():
    assert (queue_stream("a"), worker_stream("a")) == ("$queue:a", "$worker:a")


@pytest.mark.parametrize(
    ("name", "generated"),
    [
        ("01a22731-ce72-7e09-801e-718bf853bad4", True),
        ("01a22731-ce72-4e09-801e-718bf853bad4", False),
        ("01a22731-ce72-7e09-801e-718bf853badg", False),
        ("01a22731-ce72-7e09-801e718bf853bad4", False),
    ],
)
def test_a_uuid_of_version_7_is_an_id_that_was_generated(name, generated):
    assert is_generated(name) is generated


def test_the_kinds_of_origins_have_these_names():
    assert ORIGINS == ("schedule", "hook", "job", "copy", "mcp", "http")
