"""Contexts: names of queues in the user's config.toml, by a flag, a variable, or `context use`."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from queuectl.application.queue_url import Place, queue_place
from queuectl.errors import UsageError
from tests.support.command_line import Done, Queuectl, assert_error


class Named:
    """`queuectl` with a file of two contexts, `home` and `work`."""

    def __init__(self, queuectl: Queuectl) -> None:
        self.queuectl = queuectl
        self.file = Path(queuectl.env["XDG_CONFIG_HOME"]) / "queuectl" / "config.toml"
        self.urls = {name: str(queuectl.folder / f"{name} queue.db") for name in ("home", "work")}
        self.file.parent.mkdir(parents=True)
        self.write("# mine\n" + "".join(f'[contexts.{name}]\ndb = "{url}"\n' for name, url in self.urls.items()))

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def __call__(self, *words: str, **env: str) -> Done:
        return self.queuectl(*words, env=env)

    def queue(self, *words: str, **env: str) -> tuple[str, str]:
        """The queue that a call means, and its origin."""
        row = self.queuectl.json(*words, "context", "show", env=env)
        return row["queue"], row["origin"]


@pytest.fixture
def named(queuectl: Queuectl) -> Named:
    return Named(queuectl)


def test_the_first_that_names_the_queue_wins(named: Named) -> None:
    home, work = named.urls.values()
    db = str(named.queuectl.db)
    assert named.queue() == (db, "default")
    named.queuectl.ok("context", "use", "home")
    assert named.queue() == (home, "context use")
    (named.queuectl.folder / ".env").write_text("QUEUECTL_CONTEXT=work\n")
    assert named.queue() == (work, ".env")
    assert named.queue(QUEUECTL_CONTEXT="home") == (home, "environment")
    assert named.queue(QUEUECTL_CONTEXT="home", QUEUECTL_DB=db) == (db, "environment")
    assert named.queue("--context", "work", QUEUECTL_DB=db) == (work, "flag")
    assert named.queue("--db", db, "--context", "work") == (db, "flag")


@pytest.mark.parametrize("settled", range(4))
def test_without_contexts_the_order_is_as_before(settled: int, tmp_path: Path) -> None:
    sources = ["a.db", {"QUEUECTL_DB": "b.db", "XDG_CONFIG_HOME": str(tmp_path)}, {"QUEUECTL_DB": "c.db"}]
    nothing = [None, {"XDG_CONFIG_HOME": str(tmp_path)}, {}]
    flag, environ, dotenv = [*nothing[:settled], *sources[settled:]]
    expected = [("a.db", "flag"), ("b.db", "environment"), ("c.db", ".env"), ("./data/queue.db", "default")]
    assert queue_place(flag, None, environ, dotenv) == Place(*expected[settled])  # type: ignore[arg-type]


def test_use_changes_one_line_and_none_takes_it_back(named: Named) -> None:
    before = named.file.read_text()
    assert named("context", "use", "home").err == "the context is home\n"
    assert named.file.read_text() == f'context = "home"\n{before}'
    named.queuectl.ok("context", "use", "work")
    assert [row["used"] for row in named.queuectl.json("context", "list")] == [False, True]
    named.queuectl.ok("context", "use", "--none")
    assert named.file.read_text() == before
    assert [path.name for path in named.file.parent.iterdir()] == ["config.toml"]


def test_an_unknown_context_is_answered_with_the_known(named: Named) -> None:
    before = named.file.read_text()
    for words in (("--context", "hme", "list"), ("list", "--context", "hme"), ("context", "use", "hme")):
        assert_error(named(*words), 2, "no context hme", "home, work")
    assert_error(named("list", QUEUECTL_CONTEXT="hme"), 2, "no context hme")
    assert_error(named("context", "use"), 2, "--none")
    assert named.file.read_text() == before


DAMAGED = {
    "[contexts.home]\ndb = /x\n": 2,
    '# one\n[contexts.home]\ndb = "x': 3,
    '# one\n[contexts.home]\ndb = "x"\n': 2,
    '[contexts.work]\ndb = "/home"\n\n[contexts.home]\nbd = "/x"\n': 4,
    '\n[context.home]\ndb = "/x"\n': 2,
    "other = 1\n": 1,
    "contexts = 3\n": 1,
}


@pytest.mark.parametrize(("text", "line"), DAMAGED.items())
def test_a_damaged_file_is_reported_with_its_line(named: Named, text: str, line: int) -> None:
    named.write(text)
    assert_error(named("list"), 2, f"config.toml, line {line}: ")
    assert_error(named("context", "use", "home"), 2, f"line {line}: ")
    assert named("--db", "other.db", "list").code == 0
    assert named.file.read_text() == text


def test_bytes_that_are_not_utf_8_are_reported(named: Named) -> None:
    named.file.write_bytes(b"# one\n# \xff\n")
    assert_error(named("list"), 2, "line 2: it is not UTF-8")


def test_advice_names_the_context(named: Named) -> None:
    named.queuectl.ok("--context", "home", "enqueue", "--id", "a", "true")
    advised = named("cancel", "a", "--context", "home").err.partition("(undo: ")[2].rstrip(")\n")
    assert advised == "queuectl --context home retry a"
    named.queuectl.ok(*shlex.split(advised)[1:])
    assert named.queuectl.json("--db", named.urls["home"], "show", "a")["state"] == "pending"
    named.queuectl.ok("context", "use", "home")
    assert "(undo: queuectl retry a)" in named("cancel", "a").err


def test_jobs_and_workers_have_the_queue_of_the_context(named: Named) -> None:
    named.queuectl.ok("--context", "home", "enqueue", "--id", "a", f"{sys.executable} -m queuectl context show -o csv")
    named.queuectl.ok("--context", "home", "run", "--drain", env={"QUEUECTL_CONTEXT": "work"})
    assert named.urls["home"] in named.queuectl.json("--context", "home", "show", "a")["stdout"]


def test_the_file_of_another_user_is_not_followed(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:  # root's files are trusted
        os.chown(named.file, 54321, -1)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    environ = {"XDG_CONFIG_HOME": named.queuectl.env["XDG_CONFIG_HOME"]}
    assert queue_place(None, None, environ, {}).origin == "default"
    with pytest.raises(UsageError, match="another user"):
        queue_place(None, "home", environ, {})


def test_without_a_file_nothing_is_made(queuectl: Queuectl) -> None:
    assert queuectl.json("context", "show")["origin"] == "default"
    assert queuectl.json("context", "list") == []
    assert_error(queuectl("context", "use", "home"), 2, "no context home", "config.toml")
    assert_error(queuectl("--context", "home", "enqueue", "true"), 2, "no context home")
    assert list(queuectl.folder.iterdir()) == []


def test_a_password_is_not_shown(named: Named) -> None:
    named.write('[contexts.lab]\ndb = "postgresql://ada:secret@db.example.org/jobs"\n')
    shown = [named("context", "list"), named("--context", "lab", "context", "show")]
    assert [done.code for done in shown] == [0, 0]
    assert all("ada@db.example.org" in done.out and "secret" not in done.out for done in shown)


def test_completion_knows_the_contexts(named: Named) -> None:
    env = {"_QUEUECTL_COMPLETE": "fish"}
    for words in (("--context", "h"), ("context", "use", "h")):
        assert named(*words, **env).out.startswith("home\t")
