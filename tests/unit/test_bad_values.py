"""The options of one command refuse values that cannot be meant. tests/acceptance/ has all commands."""

from pathlib import Path

import pytest

from tests.support.bad_values import faults, in_process
from tests.support.command_line import Queuectl


def test_the_options_of_a_command_refuse_what_cannot_be_meant(
    queuectl: Queuectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    queuectl.folder = tmp_path / "used"
    queuectl.folder.mkdir()
    (tmp_path / "empty").mkdir()
    queuectl.add("--id", "job", "true")
    with in_process(monkeypatch):
        found = faults("list", queuectl.folder, tmp_path / "empty", monkeypatch, capfd)
    assert not found, "\n".join(found)
