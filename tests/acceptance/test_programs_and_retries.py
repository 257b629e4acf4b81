"""`enqueue` with several words, with a retry policy, with copied variables, and with merged output; its help."""

import shlex

import pytest

from tests.support.command_line import Queuectl, assert_error

AS_A_PROGRAM = [
    (["ls", "-la"], "enqueue -- ls -la"),
    (["make", "-j4", "all"], "enqueue -- make -j4 all"),
    (["tar", "-f", "x"], "enqueue -- tar -f x"),
    (["-q", "m", "--env", "A=b c", "ls", "a", "-z"], "enqueue -q m --env 'A=b c' -- ls a -z"),
    (["./backup.sh", "db1", "--queue", "mail"], "enqueue --queue mail -- ./backup.sh db1"),
    (["./backup.sh", "db1", "--queue=mail", "-v"], "enqueue -- ./backup.sh db1 --queue=mail -v"),
    (
        ["--each", "convert", "{}", "-resize", "5%", ":::", "a b", "-c"],
        "enqueue --each -- convert '{}' -resize 5% ::: 'a b' -c",
    ),
]


def test_several_words_are_a_program_and_its_arguments(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--queue", "mail", "echo", "two  blanks", "$HOME", "-")
    job = queuectl.show(job_id)
    assert (job["argv"], job["queue"]) == (["echo", "two  blanks", "$HOME", "-"], "mail")
    assert job["command"] == "echo 'two  blanks' '$HOME' -"
    assert queuectl.ok("enqueue", "--each", "--batch", "b", "echo", "{}", ":::", "x y").split() == ["b.1"]
    assert queuectl.show("b.1")["argv"] == ["echo", "x y"]


@pytest.mark.parametrize(("words", "line"), AS_A_PROGRAM)
def test_a_dash_among_words_prints_the_line_to_type(queuectl: Queuectl, words: list[str], line: str) -> None:
    done = queuectl("enqueue", *words)
    assert_error(done, 2, f"`queuectl {line}`")
    assert list(queuectl.folder.iterdir()) == []
    typed = shlex.split(line)[1:]
    assert queuectl("enqueue", "--dry-run", *typed).code == 0, "the line works as it is printed"


def test_an_option_like_ours_after_a_program_is_answered_with_both(queuectl: Queuectl) -> None:
    assert_error(queuectl("enqueue", "make", "--queu", "m"), 2, "--queue", "`queuectl enqueue -- make --queu m`")
    assert_error(queuectl("enqueue", "date", "--utc"), 2, "`queuectl enqueue -- date --utc`")


def test_several_words_that_are_no_program_are_refused(queuectl: Queuectl) -> None:
    assert_error(queuectl("enqueue", "sleep 1", "sleep 2"), 2, "one job at a time")
    assert_error(queuectl("enqueue", "{id:", "x}"), 2, "single quotes")
    assert_error(queuectl("enqueue", "true", "--file", "jobs"), 2, "--file")
    assert_error(queuectl("enqueue", "sleep 1", "--queu", "m"), 2, "No such option: --queu", "--queue")
    assert list(queuectl.folder.iterdir()) == []


def test_the_retry_policy_is_stored_with_the_job(queuectl: Queuectl) -> None:
    queuectl.add("--id", "fixed", "--retry-wait", "10m", "--jitter", "false")
    queuectl.add("--id", "capped", "--backoff-base", "3", "--backoff-cap", "20s", "--no-jitter", "false")
    queuectl.ok("config", "set", "jitter", "on")
    queuectl.add_all({"id": "json", "command": "false", "retry_wait": "90s", "jitter": False})
    assert [(each.get("retry_wait"), each["backoff_cap"], each["jitter"]) for each in queuectl.events("enqueued")] == [
        (600_000_000, 3_600_000_000, True),
        (None, 20_000_000, False),
        (90_000_000, 3_600_000_000, False),
    ]
    queuectl.ok("run", "--once")
    (retried,) = queuectl.events("retry_scheduled")
    assert retried["wait"] == round(600_000_000 * retried["jitter"])
    assert "each after 10m, each wait times a random factor" in queuectl.ok("history", "fixed")
    words = shlex.split(queuectl.ok("show", "fixed", "--as-shell"))[1:]
    assert words[words.index("--retry-wait") :][:3] == ["--retry-wait", "10m", "--jitter"]


def test_a_given_backoff_replaces_a_fixed_wait_of_the_flags(queuectl: Queuectl) -> None:
    jobs = '{"command": "true", "backoff_base": 3}\ntrue\n'
    queuectl.ok("enqueue", "--retry-wait", "1m", "--file", "-", stdin=jobs)
    assert [each.get("retry_wait") for each in queuectl.events("enqueued")] == [None, 60_000_000]


@pytest.mark.parametrize("other", [("--backoff-base", "2"), ("--backoff-cap", "5m")])
def test_a_fixed_wait_and_a_growing_one_are_refused(queuectl: Queuectl, other: tuple[str, str]) -> None:
    assert_error(queuectl("enqueue", "--retry-wait", "1m", *other, "true"), 2, "--retry-wait", "leave out")
    assert_error(queuectl("enqueue", "--retry-wait", "soon", "true"), 2, "retry_wait")
    assert_error(queuectl("enqueue", "--backoff-cap", "-1s", "true"), 2, "backoff_cap")
    assert list(queuectl.folder.iterdir()) == []


def test_the_help_of_enqueue_has_groups_defaults_and_examples(queuectl: Queuectl) -> None:
    shown = queuectl.ok("enqueue", "--help", env={"COLUMNS": "80"})
    assert "Retries (the defaults are settings: queuectl config):" in shown
    assert "with its worker's\n  environment" in shown
    options = ["--max-retries", "--backoff-base", "--backoff-cap", "--retry-wait", "--jitter", "--delay", "--timeout"]
    for option in options:
        entry = shown.partition(f"\n  {option}")[2].partition("\n  -")[0]
        assert "[default:" in entry, option
    assert shown.partition("\nExamples:\n")[2].count("queuectl enqueue") == 3
    assert "..." not in shown.partition("Arguments:")[2].partition("job:")[2], "nothing is cut"


def test_a_variable_without_a_value_is_copied(queuectl: Queuectl) -> None:
    here = {"COLOR": "red = 1", "my.prop": "x"}
    job_id = queuectl.add("--env", "COLOR", "--env", "my.prop", "--env", "a.b=c", "true", env=here)
    assert queuectl.show(job_id)["env"] == {**here, "a.b": "c"}
    assert_error(queuectl("enqueue", "--env", "COLOR", "true"), 2, "there is no variable COLOR to copy")


def test_a_name_that_shells_drop_is_noted(queuectl: Queuectl) -> None:
    assert "many shells do not pass a.b on" in queuectl("enqueue", "--env", "a.b=c", "true").err
    assert "many shells" not in queuectl("enqueue", "--env", "a.b=c", "--", "env").err
    assert "many shells" not in queuectl("enqueue", "--env", "a_b=c", "true").err


def test_the_setting_carry_env_names_variables_to_copy(queuectl: Queuectl) -> None:
    queuectl.ok("config", "set", "carry_env", "A, my.b NOT_HERE S")
    assert queuectl.ok("config", "get", "carry-env") == "A,my.b,NOT_HERE,S"
    here = {"A": "1", "my.b": "2", "S": "secret", "OTHER": "3"}
    plain = queuectl.add("true", env=here)
    own = queuectl.add("--env", "A=mine", "--secret-env", "S", "true", env=here)
    assert queuectl.show(plain)["env"] == {"A": "1", "my.b": "2", "S": "secret"}
    assert queuectl.show(own)["env"] == {"A": "mine", "my.b": "2"}
    assert_error(queuectl("config", "set", "carry-env", "A,b-c"), 2, "b-c", "not the name of a variable")
    queuectl.ok("config", "set", "carry-env", "none")
    assert queuectl.show(queuectl.add("true", env=here))["env"] == {}


def test_merged_output_is_one_file_in_order(queuectl: Queuectl) -> None:
    script = "for n in 1 2 3; do echo out $n; echo err $n >&2; done; exit 3"
    job_id = queuectl.add("--merge-output", "--max-retries", "0", script)
    queuectl.drain()
    printed = "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
    job = queuectl.show(job_id)
    assert (job["stdout"], job["stderr"], job["last_error"]) == (printed, "", "exited with code 3: err 3")
    assert queuectl("logs", job_id)[1:] == (printed, "")
    assert queuectl("logs", job_id, "--stderr").err.endswith("(--merge-output): leave out --stderr\n")
    assert "exit 3: err 3" in queuectl.ok("history", job_id)


def test_running_jobs_have_different_slots(queuectl: Queuectl) -> None:
    script = 'touch "$QUEUECTL_SLOT"; until [ -e 0 ] && [ -e 1 ] && [ -e 2 ]; do sleep 0.01; done'
    for _ in range(3):
        queuectl.add(script)
    queuectl.add("--queue", "late", "--priority", "-1", 'echo "$QUEUECTL_SLOT $QUEUECTL_QUEUE"')
    queuectl.drain("--concurrency", "3", timeout=20)
    assert queuectl.ok("logs").split()[1] == "late"
    assert {path.name for path in queuectl.folder.iterdir()} >= {"0", "1", "2"}
    assert not (queuectl.folder / "3").exists()
