"""Settings: which source wins, how values are checked, and the errors."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.config import SETTINGS, Config, check, read_dotenv
from queuectl.errors import UsageError
from queuectl.units import SECOND

ORIGINS = ("flag", "environment", ".env", "config set", "default")


def config_from(flags=None, environ=None, dotenv=None, stored=None):
    return Config(flags or {}, environ or {}, dotenv or {}, lambda: stored or {})


def store_is_not_read():
    raise AssertionError("the store was read")


@pytest.mark.parametrize("settled", range(5))
def test_the_first_source_that_has_a_value_wins(settled):
    sources = [
        {"max-retries": "11"},
        {"QUEUECTL_MAX_RETRIES": "12"},
        {"QUEUECTL_MAX_RETRIES": "13"},
        {"max-retries": "14"},
    ]
    above = [{}] * settled
    value = config_from(*above, *sources[settled:]).value("max-retries")
    assert (value.origin, value.value) == (ORIGINS[settled], [11, 12, 13, 14, 3][settled])


def test_the_store_is_not_read_if_another_source_has_a_value():
    config = Config({"lease": "5s"}, {"QUEUECTL_GRACE": "1s"}, {"QUEUECTL_TIMEOUT": "2s"}, store_is_not_read)
    assert [config["lease"], config["grace"], config["timeout"]] == [5 * SECOND, SECOND, 2 * SECOND]


def test_the_store_is_read_once():
    reads = []

    def stored():
        reads.append(1)
        return {}

    config = Config({}, {}, {}, stored)
    config.all()
    config.all()
    assert len(reads) == 1


def test_a_flag_that_was_not_given_counts_as_not_set():
    assert config_from(flags={"jitter": None}).value("jitter").origin == "default"


def test_an_empty_variable_counts_as_not_set():
    config = config_from(environ={"QUEUECTL_JITTER": ""}, dotenv={"QUEUECTL_JITTER": "on"})
    assert config.value("jitter").origin == ".env"


def test_an_empty_flag_is_an_error():
    with pytest.raises(UsageError, match=r"^--lease= \(flag\): '' is not a duration"):
        config_from(flags={"lease": ""}).value("lease")


def test_each_setting_has_its_default():
    assert [(value.key, value.value, value.text) for value in config_from().all()] == [
        ("max-retries", 3, "3"),
        ("backoff-base", 2.0, "2"),
        ("backoff-cap", 3600 * SECOND, "1h"),
        ("jitter", False, "off"),
        ("timeout", None, "none"),
        ("umask", None, "caller"),
        ("carry-env", (), "none"),
        ("max-machine-losses", 3, "3"),
        ("if-unmet", "hold", "hold"),
        ("lease", 30 * SECOND, "30s"),
        ("grace", 10 * SECOND, "10s"),
        ("stop-timeout", None, "none"),
        ("max-output", 10 << 20, "10MiB"),
        ("log-level", "info", "info"),
        ("log-format", "text", "text"),
        ("durability", "safe", "safe"),
        ("busy-timeout", 10 * SECOND, "10s"),
    ]


def test_every_setting_has_its_variable_and_one_line_of_help():
    for key, setting in SETTINGS.items():
        assert setting.key == key
        assert setting.variable == "QUEUECTL_" + key.replace("-", "_").upper()
        assert setting.help.isprintable()
        assert setting.help


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            {"environ": {"QUEUECTL_MAX_RETRIES": "many"}},
            "QUEUECTL_MAX_RETRIES=many (environment): 'many' is not a whole number from 0 to 10000",
        ),
        (
            {"dotenv": {"QUEUECTL_MAX_RETRIES": "-1"}},
            "QUEUECTL_MAX_RETRIES=-1 (.env): '-1' is not a whole number from 0 to 10000",
        ),
        (
            {"flags": {"max-retries": "x\n"}},
            r"--max-retries=x\n (flag): 'x\n' is not a whole number from 0 to 10000",
        ),
        (
            {"environ": {"QUEUECTL_MAX_RETRIES": "10001"}},
            "QUEUECTL_MAX_RETRIES=10001 (environment): '10001' is not a whole number from 0 to 10000",
        ),
    ],
)
def test_an_error_names_the_value_its_key_and_its_source(sources, message):
    with pytest.raises(UsageError) as caught:
        config_from(**sources).value("max-retries")
    assert str(caught.value) == message


def test_an_unreadable_stored_value_is_reported_and_the_default_used():
    reports = []
    config = Config({}, {}, {}, lambda: {"durability": "bullet-proof"}, reports.append)
    assert (config.value("durability").value, config.value("durability").origin) == ("safe", "default")
    why = "'bullet-proof' is not one of safe, paranoid, fast"
    what = f"durability=bullet-proof (config set): {why}; using the default safe"
    assert reports == [what] * 2


@pytest.mark.parametrize(
    ("key", "text", "normal"),
    [
        ("max-retries", " 007 ", "7"),
        ("max-retries", "10000", "10000"),
        ("backoff-base", "1.50", "1.5"),
        ("backoff-base", "-0.0", "0"),
        ("backoff-base", "1000", "1000"),
        ("backoff-cap", "90m", "1h30m"),
        ("backoff-cap", "0", "0s"),
        ("jitter", "TRUE", "on"),
        ("jitter", "0", "off"),
        ("timeout", "none", "none"),
        ("timeout", "0.25", "250ms"),
        ("lease", "3s", "3s"),
        ("lease", "24h", "1d"),
        ("grace", "0", "0s"),
        ("max-output", "8192", "8KiB"),
        ("max-output", "10000", "10000B"),
        ("max-output", "9223372036854775807", "9223372036854775807B"),
        ("log-level", "DEBUG", "debug"),
        ("log-format", "json", "json"),
        ("busy-timeout", "0", "0s"),
    ],
)
def test_check_returns_the_normal_form(key, text, normal):
    assert check(key, text) == normal


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("max-retries", "1.0"),
        ("max-retries", "1_0"),
        ("max-retries", "²"),
        ("max-retries", "9" * 5000),
        ("backoff-base", "nan"),
        ("backoff-base", "inf"),
        ("backoff-base", "-1"),
        ("backoff-base", "1000.1"),
        ("backoff-base", "1_0"),
        ("backoff-base", "two"),
        ("backoff-cap", "long"),
        ("jitter", "maybe"),
        ("timeout", "0"),
        ("timeout", "None"),
        ("lease", "2999ms"),
        ("lease", "1d1ms"),
        ("grace", "1d1ms"),
        ("max-output", "8191"),
        ("max-output", "8 KiB"),
        ("log-level", "loud"),
        ("log-format", ""),
        ("busy-timeout", "-1s"),
    ],
)
def test_check_refuses(key, text):
    with pytest.raises(UsageError, match=f"^{key}: ") as caught:
        check(key, text)
    assert str(caught.value).isprintable()


def test_an_error_names_the_allowed_range():
    with pytest.raises(UsageError, match="'1s' is not a duration from 3s to 1d"):
        check("lease", "1s")


@given(st.floats(0, 1000))
def test_the_normal_form_reads_back_as_the_same_number(number):
    assert float(check("backoff-base", repr(number))) == number


@given(st.integers(8192, 1 << 62))
def test_a_stored_size_is_exact(size):
    assert SETTINGS["max-output"].parse(check("max-output", str(size))) == size


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=12))
def test_any_text_has_a_normal_form_or_is_a_usage_error(key, text):
    try:
        normal = check(key, text)
    except UsageError as error:
        normal, message = None, str(error)
    assert message.isprintable() if normal is None else check(key, normal) == normal


def test_an_unknown_key_is_answered_with_a_similar_one():
    with pytest.raises(UsageError, match="'max_retrys' is not a setting: did you mean max-retries"):
        check("max_retrys", "3")


def test_an_unknown_key_like_no_other_is_answered_with_all():
    with pytest.raises(UsageError, match=r"'zzz' is not a setting: the settings are max-retries, .*, busy-timeout$"):
        config_from().value("zzz")


@pytest.fixture
def dotenv(tmp_path):
    def read(content):
        (tmp_path / ".env").write_bytes(content)
        return read_dotenv(str(tmp_path))

    return read


def test_only_our_names_of_a_dotenv_are_read_as_written(dotenv):
    text = b"# ours\nexport QUEUECTL_LEASE='5s'\nQUEUECTL_DB=${HOME}/q.db\nHOME=/x\nMYQUEUECTL_A=1\nQUEUECTL_GRACE\n"
    assert dotenv(text) == {"QUEUECTL_LEASE": "5s", "QUEUECTL_DB": "${HOME}/q.db"}


def test_dotenv_may_begin_with_a_byte_order_mark(dotenv):
    assert dotenv(b"\xef\xbb\xbfQUEUECTL_LEASE=5s\r\n") == {"QUEUECTL_LEASE": "5s"}


def test_dotenv_of_another_program_is_left_alone(dotenv, caplog):
    assert dotenv(b"SOME THING = that {is} 'not parsed\n") == {}
    assert not caplog.records


@pytest.mark.parametrize("line", [b"QUEUECTL_LEASE 5s", b"QUEUECTL_LEASE='5s", b"export QUEUECTL_LEASE='5s\nX"])
def test_an_invalid_line_with_one_of_our_names_is_named(dotenv, line, caplog):
    with pytest.raises(UsageError, match="line 2 cannot be read: write NAME=VALUE"):
        dotenv(b"QUEUECTL_JITTER=on\n" + line)
    assert not caplog.records


def test_a_missing_dotenv_sets_nothing(tmp_path):
    assert read_dotenv(str(tmp_path)) == {}
    assert read_dotenv(str(tmp_path / "missing")) == {}


def test_a_folder_called_dotenv_sets_nothing(tmp_path):
    (tmp_path / ".env").mkdir()
    assert read_dotenv(str(tmp_path)) == {}


def test_dotenv_is_read_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("QUEUECTL_DB=here.db")
    monkeypatch.chdir(tmp_path)
    assert read_dotenv() == {"QUEUECTL_DB": "here.db"}


def test_a_dotenv_that_is_not_utf_8_is_refused(dotenv):
    with pytest.raises(UsageError, match=r"\.env: QUEUECTL_DB is not UTF-8"):
        dotenv(b"QUEUECTL_DB=\xff\n")


def test_a_dotenv_that_cannot_be_read_sets_nothing(tmp_path):
    (tmp_path / ".env").symlink_to(".env")
    warnings = []
    assert read_dotenv(str(tmp_path), warn=warnings.append) == {}
    assert warnings == [f"{tmp_path}/.env cannot be read and is ignored: Too many levels of symbolic links"]


@pytest.mark.parametrize(
    "other", [b"NAME=caf\xe9\n# \xff", b"SOME THING = not {parsed}", b"export 'a", b"MYQUEUECTL_A b"]
)
def test_other_lines_of_a_dotenv_are_not_checked(dotenv, other):
    assert dotenv(other + b"\nQUEUECTL_LEASE=5s\n") == {"QUEUECTL_LEASE": "5s"}


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".env")
    program = [sys.executable, "-c", "from queuectl.config import read_dotenv; print(read_dotenv())"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "{}\n"
