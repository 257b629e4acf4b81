"""Names and spellings that people type by habit: aliases of commands, states in any case, `--db` after the name."""

import pytest

from queuectl.cli.app import ALIASES, COMMANDS, GROUPS, OF_OTHERS
from tests.support.command_line import Queuectl, assert_error


def test_the_help_groups_every_command_once(queuectl: Queuectl) -> None:
    lines = queuectl.ok("--help").splitlines()
    headings = [line.removesuffix(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options", *GROUPS]
    names = [line.split()[0] for line in lines[lines.index("Jobs:") :] if line.startswith("  ")]
    assert names == list(COMMANDS)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_command(queuectl: Queuectl, alias: str, name: str) -> None:
    assert queuectl.ok(alias, "--help").splitlines()[2:] == queuectl.ok(name, "--help").splitlines()[2:]


def test_an_alias_runs_and_is_not_in_the_help(queuectl: Queuectl) -> None:
    job_id = queuectl.ok("add", "true")
    assert job_id in queuectl.ok("ls")
    assert not {line.split()[0] for line in queuectl.ok("--help").splitlines() if line.startswith("  ")} & {*ALIASES}


def test_commands_of_a_group_have_the_aliases_too(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--max-retries", "0", "false")
    queuectl.drain()
    assert queuectl.ok("dlq", "ls") == queuectl.ok("dlq", "list")
    queuectl.ok("dlq", "rm", "a", "--yes")
    assert queuectl.ok("schedule", "add", "nightly", "@daily", "true") == "nightly"
    assert_error(queuectl("schedule", "ps"), 2, "No such command")


def test_help_with_a_command_is_its_help(queuectl: Queuectl) -> None:
    assert queuectl.ok("help") == queuectl.ok("--help")
    assert queuectl.ok("help", "worker", "start") == queuectl.ok("worker", "start", "--help")
    assert_error(queuectl("help", "nothing"), 2, "nothing")


@pytest.mark.parametrize("name", OF_OTHERS)
def test_a_command_of_another_program_is_answered(queuectl: Queuectl, name: str) -> None:
    error = queuectl(name, "x", "--y").err
    assert error == f"queuectl: there is no command {name}: try queuectl {OF_OTHERS[name]}\n"
    assert queuectl(name).code == queuectl("help", name).code == 2
    assert OF_OTHERS[name].split()[0].strip(",") in COMMANDS
    assert queuectl.ok(OF_OTHERS[name].split()[0].strip(","), "--help")


@pytest.mark.parametrize(
    "words", [("list", "-o", "name"), ("worker", "list"), ("dlq", "list"), ("config", "get", "lease")]
)
def test_db_may_follow_the_name(queuectl: Queuectl, words: tuple[str, ...]) -> None:
    (queuectl.folder / "data").mkdir(exist_ok=True)
    other = str(queuectl.folder / "other.db")
    queuectl.ok("enqueue", "--db", other, "--id", "there", "true")
    assert queuectl.ok(*words, "--db", other) == queuectl.ok("--db", other, *words)
    assert ("there" in queuectl.ok("list", "--db", other)) > ("there" in queuectl.ok("list"))


def test_utc_color_and_no_pager_may_follow_the_name(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--id", "job", "true")
    queuectl.env["TZ"] = "Asia/Tokyo"
    for words in (("history", "job"), ("worker", "list"), ("show", "job")):
        for option in (["--utc"], ["--no-pager"], ["--color", "never"], ["--color", "always"]):
            assert queuectl.ok(*words, *option) == queuectl.ok(*option, *words)
    assert "+09:00" in queuectl.ok("history", "job")
    assert "+00:00" in queuectl.ok("history", "job", "--utc")
    assert "\x1b[" in queuectl.ok("list", "--color", "always")
    assert_error(queuectl("list", "--color", "pink"), 2, "pink", "always")


@pytest.mark.parametrize("words", [("enqueue",), ("schedule", "add", "--every", "1h", "nightly")])
def test_utc_after_a_program_is_not_taken(queuectl: Queuectl, words: tuple[str, ...]) -> None:
    assert_error(queuectl(*words, "date", "--utc"), 2, "--utc")


def test_db_twice_must_be_the_same(queuectl: Queuectl) -> None:
    queuectl.ok("--db", "a.db", "enqueue", "--db", "a.db", "true")
    assert_error(queuectl("--db", "a.db", "list", "--db", "b.db"), 2, "a.db", "b.db")


def test_advice_names_the_db_that_followed_the_name(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--db", "a.db", "--id", "job", "true")
    assert "queuectl --db a.db retry job" in queuectl("cancel", "job", "--db", "a.db").err


STATES = {
    "PENDING": {"waiting", "retrying"},
    "queued": {"waiting", "retrying"},
    "failed": {"retrying", "dead"},
    "retrying": {"retrying"},
    "success": {"done"},
    "Completed": {"done"},
    "dead": {"dead"},
    "running": set(),
}


def test_states_by_the_words_that_people_know(queuectl: Queuectl) -> None:
    queuectl.add("--id", "done", "true")
    queuectl.add("--id", "dead", "--max-retries", "0", "false")
    queuectl.add("--id", "retrying", "--backoff-base", "1000", "false")
    queuectl.ok("run", "--once", "--queue", "none")
    for _ in range(3):
        queuectl.ok("run", "--once")
    queuectl.add("--id", "waiting", "--delay", "1h", "true")
    for word, ids in STATES.items():
        assert {row["id"] for row in queuectl.json("list", "--state", word)} == ids, word
    assert_error(queuectl("list", "--state", "lost"), 2, "lost", "retrying")


def test_cancel_and_purge_take_the_same_words(queuectl: Queuectl) -> None:
    queuectl.add("--id", "waiting", "--delay", "1h", "true")
    queuectl.add("--id", "done", "true")
    queuectl.ok("run", "--once")
    queuectl.ok("cancel", "--state", "QUEUED", "--yes")
    assert queuectl.state("waiting") == "cancelled"
    queuectl.ok("purge", "--state", "Success", "--yes")
    assert [row["id"] for row in queuectl.json("list")] == ["waiting"]
    assert_error(queuectl("cancel", "--state", "dead"), 2, "dead")
    assert_error(queuectl("purge", "--state", "running"), 2, "running")


def test_settings_by_their_names_with_underscores(queuectl: Queuectl) -> None:
    queuectl.ok("config", "set", "max_retries", "7")
    assert queuectl.ok("config", "get", "max_retries") == queuectl.ok("config", "get", "max-retries") == "7"
    queuectl.ok("config", "unset", "max_retries")
    assert queuectl.ok("config", "get", "max-retries") == "3"


def test_config_list_and_get_alone_show_all(queuectl: Queuectl) -> None:
    assert queuectl.ok("config", "list") == queuectl.ok("config", "get") == queuectl.ok("config", "show")
    assert queuectl.json("config", "list") == queuectl.json("config", "show")
