"""Shell completion: the candidates of each kind, and where the scripts are installed."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from queuectl.cli.completion_words import words_before
from tests.support.command_line import PROGRAM, Queuectl

COMMANDS = {"enqueue", "run", "status", "list", "show", "history", "logs", "wait", "cancel", "retry", "purge", "dlq"}


def hinted(queuectl: Queuectl, *words: str) -> dict[str, str]:
    """The candidates for the last word, with their hints, as zsh and fish are given them."""
    lines = queuectl.ok(*words, env={"_QUEUECTL_COMPLETE": "fish"}).splitlines()
    return dict(line.split("\t") for line in lines)


def found(queuectl: Queuectl, *words: str) -> list[str]:
    return list(hinted(queuectl, *words))


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def lived(queuectl: Queuectl) -> Queuectl:
    """A queue with a job in each state: `held` is pending, the others are named by their state."""
    queuectl.add("--id", "done-1", "-q", "ci", "--tag", "team=blue", "echo done")
    queuectl.add("--id", "dead-1", "-q", "ci", "--max-retries", "0", "exit 3")
    queuectl.add("true make")
    queuectl.drain()
    queuectl.add("--id", "held", "--batch", "grid", "--delay", "1h", "sleep 1")
    queuectl.add("--delay", "2h", "make install")
    return queuectl


# ── the candidates ──────────────────────────────────────────────────────────────────────────────────────


def test_commands_and_options_are_completed(queuectl: Queuectl) -> None:
    assert set(found(queuectl, "")) >= COMMANDS
    assert found(queuectl, "enq") == ["enqueue"]
    assert found(queuectl, "dlq", "") == ["list", "show", "retry", "purge"]
    assert set(found(queuectl, "config", "")) == {"show", "get", "set", "unset"}
    assert {"--id", "--queue", "--max-retries", "--unique"} <= set(found(queuectl, "enqueue", "--"))
    assert found(queuectl, "run", "--conc") == ["--concurrency"]
    assert "--json" not in found(queuectl, "rm", "--")
    assert all(hinted(queuectl, "").values())


def test_ids_fit_the_verb_and_have_a_hint(lived: Queuectl) -> None:
    number = str(lived.json("list", "--queue", "default", "--state", "done")[0]["number"])
    later = str(lived.json("list", "--state", "pending")[0]["number"])
    assert hinted(lived, "cancel", "") == {later: "pending: make install", "held": "pending: sleep 1"}
    assert set(found(lived, "retry", "")) == {"done-1", "dead-1", number}
    assert hinted(lived, "dlq", "retry", "") == {"dead-1": "dlq: exit 3"}
    assert found(lived, "show", "") == [later, "held", number, "dead-1", "done-1"]
    assert set(found(lived, "logs", "")) == {"done-1", "dead-1", number}
    assert found(lived, "show", "held", "") == found(lived, "show", "")  # it takes several
    assert found(lived, "explain", "held", "") == []


def test_the_beginning_of_a_whole_id_is_continued(lived: Queuectl) -> None:
    whole = lived.json("list", "--queue", "default", "--state", "done")[0]["id"]
    assert whole in found(lived, "show", whole[:9])
    assert found(lived, "show", "d") == ["dead-1", "done-1"]


def test_ids_older_than_the_newest_jobs_are_completed(queuectl: Queuectl) -> None:
    jobs = ("enqueue", "--each", "true {}", "--range", "1-49")
    queuectl.add("--id", "try-old", "true")
    queuectl.ok(*jobs, "--batch", "sweep")
    queuectl.add("--id", "try-new", "true")
    assert found(queuectl, "cancel", "try") == ["try-new", "try-old"]


def test_every_kind_of_value_is_completed(lived: Queuectl) -> None:
    assert found(lived, "list", "--state", "p") == ["pending", "processing"]
    assert found(lived, "list", "-s", "run") == ["running"]
    assert found(lived, "pause", "") == ["ci", "default"]
    assert found(lived, "enqueue", "--queue", "c") == ["ci"]
    assert found(lived, "list", "--tag", "") == ["team=blue"]
    assert found(lived, "wait", "--batch", "") == ["grid"]
    assert found(lived, "config", "set", "max-o") == ["max-output"]
    assert found(lived, "events", "--type", "claim") == ["claimed"]
    assert found(lived, "list", "-o", "nd") == ["ndjson"]
    assert found(lived, "graph", "--format", "m") == ["mermaid"]
    assert found(lived, "enqueue", "--after", "done") == ["done-1"]
    assert found(lived, "enqueue", "--if-unmet", "") == ["hold", "cancel"]
    assert found(lived, "export", "") == [":files"]


def test_worker_names_are_completed(queuectl: Queuectl) -> None:
    queuectl.add("true")
    queuectl.start("run", "--name", "anna")
    deadline = time.monotonic() + 20
    while found(queuectl, "worker", "stop", "") != ["anna"]:
        assert time.monotonic() < deadline


def test_schedule_names_are_completed(queuectl: Queuectl) -> None:
    queuectl.ok("schedule", "add", "backup", "@daily", "make backup")
    queuectl.ok("schedule", "add", "poll", "--every", "5m", "true")
    assert hinted(queuectl, "schedule", "show", "b") == {"backup": "make backup"}
    assert found(queuectl, "schedule", "pause", "backup", "") == ["backup", "poll"]


def test_the_queue_that_the_line_names_is_asked(lived: Queuectl, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    lived.ok("--db", other, "enqueue", "--id", "elsewhere", "true")
    assert found(lived, "--db", other, "show", "") == ["elsewhere"]
    assert found(lived, "show", f"--db={other}", "") == ["elsewhere"]


def test_completion_makes_no_file(lived: Queuectl, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    before = files(lived.folder)
    found(lived, "show", "")
    assert lived("show", "", env={"_QUEUECTL_COMPLETE": "zsh"}, cwd=empty).out == ""
    assert (files(lived.folder), files(empty)) == (before, set())


def test_a_queue_that_nobody_has_open_stays_as_it_is(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    copy = queuectl.folder / "copy.db"
    queuectl.ok("backup", str(copy))
    copies = {path for path in files(queuectl.folder) if path.name.startswith("copy.db")}
    assert found(queuectl, "--db", str(copy), "show", "") == ["a"]
    assert {path for path in files(queuectl.folder) if path.name.startswith("copy.db")} == copies


def test_trouble_prints_nothing(queuectl: Queuectl) -> None:
    for words in (["--db", "nosuch://x", "show", ""], ["nosuch", ""], ["show", "--nosuch", ""], []):
        done = queuectl(*words, env={"_QUEUECTL_COMPLETE": "fish"})
        assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("queuectl ", [""]),
        ("queuectl sh", ["sh"]),
        ("queuectl show 'a b", ["show", "a b"]),
        ('queuectl list --tag "a=', ["list", "--tag", "a="]),
        ("queuectl list --state=p", ["list", "--state=p"]),
        ("QUEUECTL_UTC=1 queuectl show ", ["show", ""]),
    ],
)
def test_a_line_is_read_up_to_the_cursor(line: str, words: list[str]) -> None:
    assert words_before(line) == words


def test_install_writes_where_the_shell_looks(queuectl: Queuectl) -> None:
    home = queuectl.folder / "home"
    home.mkdir()
    env = {name: value for name, value in queuectl.env.items() if not name.startswith("XDG_")} | {"HOME": str(home)}
    for shell in ("bash", "zsh", "fish"):
        for _ in range(2):
            subprocess.run(
                [shell, "-c", f"{PROGRAM} --install-completion; :"],
                executable="/bin/sh",
                env=env,
                cwd=home,
                check=True,
                timeout=30,
                stdout=subprocess.DEVNULL,
            )
    assert (home / ".config/fish/completions/queuectl.fish").exists()
    assert len((home / ".bashrc").read_text(encoding="utf-8").splitlines()) == 1
    assert len((home / ".zshrc").read_text(encoding="utf-8").splitlines()) == 1
    assert os.listdir(home / ".local/share/queuectl/zsh") == ["_queuectl"]
