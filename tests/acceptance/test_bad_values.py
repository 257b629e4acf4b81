"""Each option of each command refuses values that cannot be meant: one line, its exit code, and nothing written.

The options are those of the command tree, so that a new one is tried too; the values follow from its placeholder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl.cli.app import COMMANDS, command
from tests.support.bad_values import faults, in_process, is_refused, options, run_here, stored, values
from tests.support.command_line import Queuectl


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Queuectl:
    """A queue with a done job, a dead one, one that waits for its time and one that waits for it, and a schedule."""
    made = Queuectl(tmp_path_factory.mktemp("used"))
    made.add("--id", "job", "true")
    made.add("--id", "dead", "--max-retries", "0", "exit 3")
    made.drain()
    made.add("--id", "waiting", "--delay", "1d", "true")
    made.add("--id", "behind", "--after", "waiting", "true")
    made.ok("schedule", "add", "nightly", "@daily", "true")
    (made.folder / "crontab").write_text("@daily true\n", encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with in_process(monkeypatch):
        yield


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_refuses_values_that_cannot_be_meant(
    name: str,
    used: Queuectl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = faults(name, used.folder, tmp_path, monkeypatch, capfd)
    assert not found, "\n".join(found)


def test_options_before_the_command_refuse_them_too(
    used: Queuectl, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(used.folder)
    before, wrong = stored(used.folder), []
    for option in options(command()):
        for value in values("", option):
            done = run_here([f"{option.opts[0]}={value}", "enqueue", "true"], capfd)
            if not is_refused(done, option, value) or stored(used.folder) != before:
                wrong.append((option.opts[0], value, done))
                before = stored(used.folder)
    assert not wrong, "\n".join(map(str, wrong))
