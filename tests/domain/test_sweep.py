"""Sweeps: sources and their product, placeholders, and values that a real shell gives back byte for byte."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from queuectl.domain.shell_places import MARK, Place, places, quoted_value
from queuectl.domain.sweep import MAX_JOBS, Source, Template, named_source, names_of, number_of_jobs, rows_of
from queuectl.errors import UsageError

SHELLS = [shell for shell in ("/bin/sh", shutil.which("bash"), shutil.which("busybox")) if shell]


def source(*values, linked=False):
    return named_source(values, ":::", linked=linked)


def filled(text, *values, names=None, shell=True, number=1):
    return Template.parse(text, names or [None] * len(values), shell=shell).fill(values, number)


def refusal(call, *arguments, **options):
    with pytest.raises(UsageError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def script(shell, text, folder="/"):
    words = [shell, "sh"] if shell.endswith("busybox") else [shell]
    return subprocess.run(
        [*words, "-c", text], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30
    )


# ── sources ─────────────────────────────────────────────────────────────────────────────────────────


def test_all_combinations_and_the_last_source_varies_fastest():
    sources = [source("a", "b"), source("1", "2", "3"), source("x", "y")]
    expected = [(one, two, three) for one in "ab" for two in "123" for three in "xy"]
    assert list(rows_of(sources)) == expected
    assert number_of_jobs(sources) == 12


def test_a_name_at_every_value_is_removed_from_all():
    assert source("seed=0", "seed=1", "seed=2") == Source(("seed",), [("0",), ("1",), ("2",)], ":::")
    assert source("lr=0.1", "0.2", "lr=3").rows == [("0.1",), ("0.2",), ("lr=3",)]
    assert source("a", "a=1").rows == [("a",), ("a=1",)]


def test_a_linked_source_is_not_multiplied():
    sources = [source("a", "b"), source("1", "2", linked=True), source("x", "y")]
    assert list(rows_of(sources)) == [("a", "1", "x"), ("a", "1", "y"), ("b", "2", "x"), ("b", "2", "y")]
    assert number_of_jobs(sources) == 4


def test_links_that_cannot_be_are_refused():
    assert "2 values cannot be linked to 3" in refusal(number_of_jobs, [source(*"abc"), source("1", "2", linked=True)])
    assert "no source before it" in refusal(number_of_jobs, [source("1", linked=True)])


def test_the_first_value_can_name_its_source():
    named = source("lr=0.1", "0.01", "a=b")
    assert (named.names, named.rows) == (("lr",), [("0.1",), ("0.01",), ("a=b",)])
    assert source("1x=2").names == (None,)
    assert source("x=").rows == [("",)]
    assert source("https://a/?b=c").names == (None,)


def test_names_are_given_once_and_are_identifiers():
    assert names_of([source("a=1"), source("2"), Source(("b", "c"), [("3", "4")], "t.csv")]) == ["a", None, "b", "c"]
    assert "the name a is given twice" in refusal(names_of, [source("a=1"), source("a=2")])
    assert "'a b' is not a name" in refusal(names_of, [Source(("a b",), [("1",)], "t.csv")])
    assert "t.csv: line 3: 'a b' is not" in refusal(names_of, [Source(("a b",), [("1",)], "t.csv", line=3)])
    assert "'' is not a name" in refusal(names_of, [Source(("",), [("1",)], "t.csv")])


def test_an_empty_source_is_refused():
    assert refusal(source) == "the source ::: has no values"


def test_a_sweep_has_at_most_a_million_jobs():
    thousand = source(*map(str, range(1000)))
    assert number_of_jobs([thousand, thousand]) == MAX_JOBS
    assert "1001000 jobs" in refusal(number_of_jobs, [thousand, source(*map(str, range(1001)))])


# ── placeholders ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cp {} x", "cp 'dir/a b.tar.gz' 2.5 x"),
        ("{1} {2} {1}", "'dir/a b.tar.gz' 2.5 'dir/a b.tar.gz'"),
        ("{path} {n}", "'dir/a b.tar.gz' 2.5"),
        ("{1.}", "'dir/a b.tar'"),
        ("{path/}", "'a b.tar.gz'"),
        ("{path//}", "dir"),
        ("{1/.}.png", "'a b.tar'.png"),
        ("{.}", "'dir/a b.tar' 2"),
        ("{#} {n}", "7 2.5"),
        ("echo {{}} {{1}} {n} }}", "echo {} {1} 2.5 }"),
    ],
)
def test_placeholders(text, expected):
    assert filled(text, "dir/a b.tar.gz", "2.5", names=["path", "n"], number=7) == expected


@pytest.mark.parametrize(
    ("value", "without", "name", "folder"),
    [
        ("a.txt", "a", "a.txt", "."),
        ("a", "a", "a", "."),
        ("X.gz", "X", "X.gz", "."),
        (".bashrc", ".bashrc", ".bashrc", "."),
        ("..", "..", "..", "."),
        ("d.x/a", "d.x/a", "a", "d.x"),
        ("/a.b", "/a", "a.b", "/"),
        ("/", "/", "/", "/"),
        ("d/e/", "d/e/", "e", "d"),
        ("d//e", "d//e", "e", "d"),
        ("", "", "", "."),
        ("a.", "a", "a.", "."),
    ],
)
def test_parts_of_a_path(value, without, name, folder):
    assert [filled(f"{{{part}}}", value, shell=False) for part in (".", "/", "//")] == [without, name, folder]


def test_arguments_are_filled_in_as_they_are():
    assert filled("a {} '{}'", "x y $z", shell=False) == "a x y $z 'x y $z'"
    assert filled("{}", "a b", "c", shell=False) == "a b c"


@pytest.mark.parametrize("path", ["dir/.profile", "a.d/file", "file", "dir/..", ".profile"])
def test_a_path_whose_name_has_no_extension_stays(path):
    assert filled("{.}", path) == path


@pytest.mark.parametrize("text", ["{x}", "{0}", "{3}", "{01}", "{lr#}", "{print $1}", "{ }", "{1..3}", "{../}", "{³}"])
def test_an_unknown_placeholder_names_those_there_are(text):
    said = refusal(filled, text, "1", "2", names=["lr", None])
    assert "is not a placeholder here: use {}, {1}, {2}, {lr}, {#}, and {{ and }} for braces" in said


def test_a_comment_ends_with_its_line():
    assert filled("true # it's one\necho {}", "a b") == "true # it's one\necho 'a b'"


@pytest.mark.parametrize("text", ["{", "}", "a { b", "}} }", "{{ {"])
def test_a_single_brace_is_refused(text):
    assert "a single" in refusal(filled, text, "1")


# ── quoting ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"{}.png"', "remove the quotes around {}: values are quoted for you"),
        ("'{1}'", "remove the quotes around {1}"),
        ("it's {}", "remove the quotes around {}"),
        ('"$(cat {})"', "remove the quotes around {}"),
        ('"$(echo "{}")"', "{} follows quotes that cannot be read: set a variable first, as in v={}"),
        ('"$(echo ")")" {}', "{} follows quotes that cannot be read"),
        ("echo \\{}", "follows a backslash"),
        ("echo `cat {}`", "write $(...) instead"),
        ("true # {}", "in a comment"),
        ("# ' \n# {}", "in a comment"),
        ("cat <<END\n{}\nEND", "in a here-document"),
        ("cat <<-END >x\nEND\necho {}", "in a here-document"),
        ("echo ${}", "follows a $"),
        ("echo ${{x:-{}}}", "inside or after a ${...}"),
        ("echo $(({} + 1))", "inside ((...))"),
        ("((x = {}))", "inside ((...))"),
        ("echo $'a\\'' {}", "which not every shell reads alike"),
        ('a\\\n#"\n{}\n"', "remove the quotes around {}"),
    ],
)
def test_a_place_where_no_value_can_be_quoted_is_refused(text, said):
    assert said in refusal(filled, text, "v")


def test_a_refusal_of_quotes_ends_with_its_reason():
    assert refusal(filled, "'{1}'", "v").endswith("remove the quotes around {1}: values are quoted for you")


@pytest.mark.parametrize(
    ("before", "glued"),
    [("echo ", False), ("'a'", True), ('"$x"', True), ("$x", True), ("~", True), ("a", False), ("$(a)", False)],
)
def test_a_value_behind_quotes_or_a_variable_is_always_quoted(before, glued):
    assert places(before + MARK, ["{}"]) == [Place(glued)]


def test_a_quote_in_a_part_of_a_word_is_quoted():
    assert quoted_value("it's", Place(glued=True)) == """'it'"'"'s'"""


@pytest.mark.parametrize(
    "word",
    [
        *("if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in", "function"),
        *("select", "time", "coproc"),
    ],
)
def test_a_keyword_of_the_shell_is_quoted(word):
    assert quoted_value(word, Place(glued=False)) == f"'{word}'"
    assert quoted_value(f"{word}s", Place(glued=False)) == f"{word}s"


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("p {}", "a", "p a"),
        ("p {}>f", "2", "p '2'>f"),
        ("p {} >f", "2", "p 2 >f"),
        ("p $x{}", "y", "p $x'y'"),
        ("p ~{}", "root", "p ~'root'"),
        ("{}=1 p", "x", "'x'=1 p"),
        ("{} p", "A=1", "'A=1' p"),
        ("{}", "if", "'if'"),
        ("p {}", "", "p ''"),
        ("p x{}y", "a", "p x'a'y"),
        ("p a#{}", "b", "p a#b"),
        ("case {} in a) p;; esac", "a", "case a in a) p;; esac"),
        ("p <<<{}", "a", "p <<<a"),
        ('p "$x" {}', "a", 'p "$x" a'),
    ],
)
def test_a_value_is_data_whatever_stands_next_to_it(text, value, expected):
    assert filled(text, value) == expected


WILD = st.text(
    st.one_of(
        st.sampled_from("'\"\\$`(){}[]<>|&;*?!#~=- \t\n%\r/.,:a0"),
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    ),
    max_size=20,
)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(WILD, min_size=100, max_size=100))
@example(
    values=[
        "",
        " ",
        "-n",
        "-e \\n",
        "$(id)",
        "`id`",
        "a\nb",
        "a\n",
        "'",
        "''",
        '"',
        "\\",
        "é",
        "\N{GRINNING FACE}",
        "%s",
        "if",
    ]
)
def test_values_come_back_from_the_shell_byte_for_byte(shell, values):
    """10,000 values through `printf %s {}`, a hundred commands in each call of the shell."""
    commands = [filled("printf %s {}", value) for value in values]
    done = script(shell, "; printf '\\0'\n".join([*commands, ""]))
    assert done.stderr == b""
    assert done.stdout == b"".join(value.encode() + b"\0" for value in values)


PIECES = (
    *("{}", "{}", "{}", " ", "x", "p ", "'", '"', "\\", "$", "`", "(", ")", "$(", "((", "$((", "))", "#", "\n", ";"),
    *(
        "<<E",
        "\nE\n",
        "<<<",
        ">f",
        "<",
        "|",
        "&&",
        "${{v}}",
        "${{v:-",
        "}}",
        "=",
        "~",
        "$v",
        "case ",
        " in ",
        "a)",
        "esac",
    ),
    *("if ", "then ", "fi", "$'", '$"', "{{ ", "!", "2"),
)
CANARY = "a'b\"c$(touch hacked)`touch hacked`\\\n;touch hacked;\n#) touch hacked\nE\ntouch hacked\n}))"


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=12))
def test_no_accepted_template_lets_a_value_run(shell, pieces, tmp_path):
    text = "".join(pieces)
    try:
        command = filled(text, CANARY)
    except UsageError:
        return
    script(shell, f'p() {{ printf %s "$@"; }}\nv=w\n{command}', tmp_path)
    assert not (tmp_path / "hacked").exists(), command


def test_the_canary_runs_where_it_is_not_quoted(tmp_path):
    script("/bin/sh", f'echo "{CANARY}', tmp_path)
    assert Path(tmp_path, "hacked").exists()
    assert os.listdir(tmp_path) == ["hacked"]


def test_a_source_is_not_linked_unless_asked():
    assert not named_source(["a"], ":::").linked
    assert named_source(["a"], ":::+", linked=True).linked
