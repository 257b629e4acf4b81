"""`config`: five layers, the source of each value, and queued jobs that later changes do not affect."""

from typing import Any

import pytest

from tests.support.command_line import Queuectl, assert_error

DEFAULTS = {
    "max-retries": "3",
    "backoff-base": "2",
    "backoff-cap": "1h",
    "jitter": "off",
    "timeout": "none",
    "lease": "30s",
    "grace": "10s",
    "max-output": "10MiB",
    "log-level": "info",
}


def _layers(queuectl: Queuectl, **env: str) -> dict[str, tuple[Any, str]]:
    return {row["key"]: (row["value"], row["origin"]) for row in queuectl.json("config", "show", env=env)}


def test_every_setting_has_its_default(queuectl: Queuectl) -> None:
    shown = _layers(queuectl)
    assert {key: shown[key] for key in DEFAULTS} == {key: (text, "default") for key, text in DEFAULTS.items()}
    assert not queuectl.db.exists()


def test_each_layer_covers_the_one_below(queuectl: Queuectl) -> None:
    assert _layers(queuectl)["max-retries"] == ("3", "default")
    queuectl.ok("config", "set", "max-retries", "4")
    assert _layers(queuectl)["max-retries"] == ("4", "config set")
    (queuectl.folder / ".env").write_text("QUEUECTL_MAX_RETRIES=5 # said the file\nOTHER=1\n")
    assert _layers(queuectl)["max-retries"] == ("5", ".env")
    assert _layers(queuectl, QUEUECTL_MAX_RETRIES="6")["max-retries"] == ("6", "environment")
    assert _layers(queuectl, QUEUECTL_MAX_RETRIES="")["max-retries"] == ("5", ".env")
    assert queuectl.ok("config", "get", "max-retries", env={"QUEUECTL_MAX_RETRIES": "6"}) == "6"
    (shown,) = (each for each in queuectl.json("config", "show") if each["key"] == "max-retries")
    assert queuectl.json("config", "get", "max-retries") == shown
    promised = queuectl.add("true", env={"QUEUECTL_MAX_RETRIES": "6"})
    flagged = queuectl.add("--max-retries", "7", "true", env={"QUEUECTL_MAX_RETRIES": "6"})
    assert [queuectl.show(job)["max_retries"] for job in (promised, flagged)] == [6, 7]
    assert_error(queuectl("run", "--drain", "--lease", "soon", env={"QUEUECTL_LEASE": "5s"}), 2, "--lease", "flag")


def test_the_table_shows_the_source_of_each_value(queuectl: Queuectl) -> None:
    queuectl.ok("config", "set", "grace", "90s")
    lines = queuectl.ok("config", env={"QUEUECTL_JITTER": "on"}).splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert ("1m30s" in rows["grace"], "config set" in rows["grace"]) == (True, True)
    assert "environment" in rows["jitter"]
    assert "default" in rows["lease"]
    assert queuectl.json("config") == queuectl.json("config", "show")


def test_get_prints_the_bare_value(queuectl: Queuectl) -> None:
    assert queuectl("config", "get", "backoff-cap") == (0, "1h\n", "")
    queuectl.ok("config", "set", "backoff-cap", "3600s")
    assert queuectl("config", "get", "backoff-cap") == (0, "1h\n", "")


@pytest.mark.parametrize("verb", [("show",), ("get", "grace"), ("set", "grace", "1m"), ("unset", "grace")])
@pytest.mark.parametrize("option", [("--json",), ("--as-of", "1")])
def test_an_option_before_the_verb_is_refused(
    queuectl: Queuectl, option: tuple[str, ...], verb: tuple[str, ...]
) -> None:
    queuectl.ok("config", "set", "grace", "90s")
    assert_error(queuectl("config", *option, *verb), 2, f"queuectl config {verb[0]} … {option[0]}")
    assert queuectl.json("config", "--as-of", "0") == queuectl.json("config", "show", "--as-of", "0")
    assert queuectl.position() == 1


def test_set_and_unset_are_events_and_shared(queuectl: Queuectl) -> None:
    assert queuectl("config", "set", "max-retries", "1").out == ""
    queuectl.ok("config", "set", "max-retries", "1")
    assert queuectl.show(queuectl.add("true"))["max_retries"] == 1
    queuectl.ok("config", "unset", "max-retries")
    queuectl.ok("config", "unset", "max-retries")
    assert _layers(queuectl)["max-retries"] == ("3", "default")
    assert queuectl.events("setting_changed") == [
        {"stream_id": "$settings", "key": "max-retries", "value": "1"},
        {"stream_id": "$settings", "key": "max-retries", "value": None},
    ]


def test_a_queued_job_keeps_its_settings(queuectl: Queuectl) -> None:
    for key, value in {"max-retries": "1", "backoff-base": "0.1", "timeout": "1h"}.items():
        queuectl.ok("config", "set", key, value)
    job_id = queuectl.add("false")
    for key, value in {"max-retries": "0", "backoff-base": "1000", "timeout": "1ms", "jitter": "on"}.items():
        queuectl.ok("config", "set", key, value)
    queuectl.drain(env={"QUEUECTL_MAX_RETRIES": "9", "QUEUECTL_TIMEOUT": "2ms"})
    job = queuectl.show(job_id)
    assert (job["attempts"], job["max_retries"], job["backoff_base"], job["timeout"]) == (2, 1, 0.1, 3600.0)
    assert [event["wait"] for event in queuectl.events("retry_scheduled")] == [100_000]


def test_the_database_has_its_layers_too(queuectl: Queuectl) -> None:
    (queuectl.folder / ".env").write_text("QUEUECTL_DB=dotenv.db\n")
    queuectl.add("true")
    queuectl.add("true", env={"QUEUECTL_DB": "environment.db"})
    queuectl.ok("--db", "flag.db", "enqueue", "true", env={"QUEUECTL_DB": "environment.db"})
    for name in ("dotenv", "environment", "flag"):
        assert len(queuectl.json("--db", f"{name}.db", "list")) == 1, name
    assert not queuectl.db.exists()


def test_only_queuectl_variables_of_a_dotenv_count(queuectl: Queuectl) -> None:
    (queuectl.folder / ".env").write_text("OTHER=1\nQUEUECTL_MAX_RETRIES=0\nPATH=/nowhere\n")
    job_id = queuectl.add("env")
    queuectl.drain()
    job = queuectl.show(job_id)
    assert (job["state"], job["max_retries"]) == ("done", 0)
    assert "OTHER=" not in job["stdout"]


def test_flags_of_run_override_settings(queuectl: Queuectl) -> None:
    queuectl.add("true")
    queuectl.drain("--lease", "7s", env={"QUEUECTL_LEASE": "8s"})
    queuectl.add("true")
    queuectl.drain(env={"QUEUECTL_LEASE": "8s"})
    assert [event["lease"] for event in queuectl.events("claimed")] == [7_000_000, 8_000_000]


WRONG_VALUES = [
    ("max-retries", "-1"),
    ("max-retries", "99999999999"),
    ("max-retries", "many"),
    ("backoff-base", "nan"),
    ("backoff-base", "-1"),
    ("backoff-cap", "10000y"),
    ("jitter", "maybe"),
    ("timeout", "0"),
    ("lease", "1s"),
    ("max-output", "1"),
    ("max-output", "10 parsecs"),
    ("log-level", "loud"),
]


def test_an_invalid_value_is_refused(queuectl: Queuectl) -> None:
    for key, value in WRONG_VALUES:
        assert_error(queuectl("config", "set", "--", key, value), 2, key, value)
    assert queuectl.position() == 0


@pytest.mark.parametrize(("key", "value"), [("max-retries", "-1"), ("lease", "1s")])
def test_an_invalid_value_is_named_with_its_source(queuectl: Queuectl, key: str, value: str) -> None:
    variable = "QUEUECTL_" + key.upper().replace("-", "_")
    assert_error(queuectl("config", "show", env={variable: value}), 2, variable, "environment")
    (queuectl.folder / ".env").write_text(f"{variable}={value}\n")
    assert_error(queuectl("config", "get", key), 2, variable, ".env")


def test_a_negative_number_is_a_value_and_not_an_option(queuectl: Queuectl) -> None:
    assert_error(queuectl("config", "set", "max-retries", "-1"), 2, "max-retries", "whole number")


def test_an_unknown_setting_is_refused_with_a_hint(queuectl: Queuectl) -> None:
    for verb in ("get", "set", "unset"):
        value = ("1",) if verb == "set" else ()
        assert_error(queuectl("config", verb, "max_retry", *value), 2, "max-retries")
        assert_error(queuectl("config", verb, "colour", *value), 2, "backoff-base")
    assert queuectl.position() == 0
