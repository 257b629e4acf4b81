"""The text of a job in an editor: no character of a command ends a line but the newline."""

import pytest

from queuectl.application.edit_text import edit_of, text_of, with_error
from queuectl.domain.job import Job
from tests.support.events import a_spec

ODD = "echo a\u2028# b\x85# c\u2029d\u00a0"


def _job(command: str) -> Job:
    return Job("a", a_spec(command), 1, 0, 0, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_that_was_not_changed_is_no_edit(end: str) -> None:
    job = _job(ODD)
    assert not edit_of(job, text_of(job).replace("\n", end))


def test_a_changed_command_is_taken_as_written() -> None:
    text = text_of(_job("true")).replace('"true"', f'"{ODD}"')
    assert edit_of(_job("true"), text).wanted.command == ODD


def test_an_error_is_written_once_above_the_text() -> None:
    text = text_of(_job(ODD))
    assert with_error(with_error(text, "first"), "second") == f"# error: second\n{text}"
