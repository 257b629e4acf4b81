"""A row of docs/reliability.md says what a commit's code did, or is not written."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign import __main__ as command
from tests.campaign import reporting
from tests.campaign.plan import Attempt, Campaign

OLD = "| `luck` | nothing yet |"
FIGURES = "luck: 3 throws from 3 seeds"


class Clone:
    """A repository of its own, with a campaign whose seed 2 fails. `during` is what happens while it runs."""

    sixes = 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("queuectl/program.py", "tests/data/failed_seeds.json", "docs/reliability.md"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}\n")
        self.page.write_text(f"{OLD}\n")
        self.git("init", "--quiet")
        self.commit()

    @property
    def page(self) -> Path:
        return self.folder / "docs/reliability.md"

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@box", "-c", "commit.gpgsign=false"]
        return subprocess.check_output(["git", "-C", self.folder, *who, *arguments], text=True).strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "so far")

    def change(self) -> None:
        (self.folder / "queuectl/program.py").write_text("pass\n")

    def during(self) -> None:
        """Nothing."""

    def attempt(self, seed: int) -> Attempt:
        self.during()
        return Attempt(1, ["bad: luck"] if seed == 2 else [], met={"a one": 1, "a six": self.sixes})


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    clone = Clone(tmp_path)
    monkeypatch.setattr(reporting, "ROOT", tmp_path)
    monkeypatch.setattr(reporting, "PAGE", clone.page)
    monkeypatch.setattr(reporting, "FAILED", tmp_path / "tests/data/failed_seeds.json")
    luck = Campaign("luck", "throws", 1, 3, clone.attempt, to_meet=("a one", "a six"), met_within=3)
    monkeypatch.setattr(command, "campaign", lambda _: luck)
    monkeypatch.setattr(sys, "argv", ["campaign", "kill"])  # any of the names
    return clone


def test_a_row_names_the_commit(clone: Clone) -> None:
    assert command.main() == 1
    assert clone.page.read_text().startswith("| `luck` | 3 throws; 2 of 2 points met, the rarest 3 times | 1 |")
    assert f"`{clone.git('rev-parse', '--short', 'HEAD')}` |" in clone.page.read_text()


def test_an_unmet_point_is_a_fault_of_the_run_and_of_no_seed(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.sixes = 0
    command.main()
    printed = capsys.readouterr().out
    assert "2 faults\n  3 at a one\n  0 at a six\n" in printed
    assert "1 × unmet: a six [of the whole run]" in printed
    assert clone.page.read_text().startswith("| `luck` | 3 throws; 1 of 2 points met, the rarest 0 times | 2 |")
    assert "unmet" not in (clone.folder / "tests/data/failed_seeds.json").read_text()


def test_a_short_run_need_not_meet_everything(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.sixes = 0
    monkeypatch.setattr(sys, "argv", ["campaign", "kill", "--seeds", "2", "--dry"])
    assert command.main() == 0


def test_files_that_campaigns_write_do_not_count_as_changes(clone: Clone) -> None:
    command.main()
    first = clone.page.read_text()
    assert "bad: luck" in (clone.folder / "tests/data/failed_seeds.json").read_text()
    clone.page.write_text(f"{OLD}\n")
    command.main()
    assert clone.page.read_text().split("|")[1:6] == first.split("|")[1:6]


@pytest.mark.parametrize("name", ["queuectl/program.py", "queuectl/new.py", "tests/new.py"])
def test_altered_code_gets_no_row(name: str, clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    (clone.folder / name).write_text("pass\n")
    command.main()
    printed = capsys.readouterr()
    assert FIGURES in printed.out
    assert f"no row is written: {name} is not as in commit" in printed.err
    assert clone.page.read_text() == f"{OLD}\n"


def test_code_that_changes_meanwhile_gets_no_row(clone: Clone) -> None:
    clone.during = clone.change  # type: ignore[method-assign]
    command.main()
    assert clone.page.read_text() == f"{OLD}\n"


def test_code_that_is_committed_meanwhile_gets_no_row(clone: Clone) -> None:
    def during() -> None:
        clone.change()
        clone.git("commit", "--quiet", "--all", "--allow-empty", "--message", "better")

    clone.during = during  # type: ignore[method-assign]
    command.main()
    assert clone.page.read_text() == f"{OLD}\n"


def test_a_page_that_is_committed_meanwhile_changes_no_code(clone: Clone) -> None:
    clone.during = lambda: clone.git("commit", "--quiet", "--allow-empty", "--message", "a page")  # type: ignore
    command.main()
    assert clone.page.read_text() != f"{OLD}\n"


def test_a_dry_run_does_not_use_git(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reporting, "_git", None)
    monkeypatch.setattr(sys, "argv", ["campaign", "kill", "--dry"])
    command.main()
    assert FIGURES in capsys.readouterr().out
