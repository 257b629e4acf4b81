"""No text of a job or a person can control the terminal; tables and JSON contain what they were given."""

import io
import json
import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuectl.render.tables import table
from queuectl.render.terminal import (
    STATE_COLORS,
    clean,
    color_enabled,
    colored,
    cut,
    cut_middle,
    display_width,
    to_json,
    to_ndjson,
    wrapped,
)

BIDI = "\u202a\u202e\u2066\u2069\u200e\u200f\u061c"
PIECES = ["\x1b", "\x1b[", "\x1b]", "\x1bP", "\x9b", "\x9d", "\x90", "\x9c", "\x1b\\", "\x07", "\r", "\n", "\t", "m"]
HOSTILE = st.lists(st.sampled_from([*PIECES, "31;1", " ", "0", "\ud800", "\u202e", "\0"]) | st.characters()).map(
    "".join
)


def is_harmless(text):
    return not any(
        (ord(c) < 0x20 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 or c in BIDI
        for c in text
    )


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b[?25l\x1b[2Jx\x1b[1 q", "x"),
        ("\x9b31mred\x9bm", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://a.b\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;title\x9cx", "x"),
        ("\x1bPq#0\x1b\\\x1bXa\x1b\\\x1b^b\x1b\\\x1b_c\x9cx", "x"),
        ("\x90a\x9c\x98b\x9c\x9ec\x1b\\\x9fd\x07x", "x"),
        ("\x1b(B\x1b7\x1bcx\x1b%G", "x"),
        ("\x1b", "^["),
        ("\x1b\x1b[m[31m", "^[[31m"),
        ("\x1b[31", "31"),
        ("\x1b]0;no end\nnext\x07", "0;no end\nnext^G"),
        ("\x9b", "\\x9b"),
        ("\x00\x07\x0b\x0c\x7f\x85", "^@^G^K^L^?\\x85"),
        ("a\r\nb", "a\nb"),
        ("10%\r20%\r", "10%\n20%\n"),
        ("10%\r\x1b[K\r\nx", "10%\nx"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("\u061c\u200f\u2028", "\\u061c\\u200f\\u2028"),
        ("a\ud800b", "a\ufffdb"),
        ("grüße 日本 😀 \u200d", "grüße 日本 😀 \u200d"),
    ],
)
def test_clean_removes_what_controls_a_terminal(text, cleaned):
    assert clean(text) == cleaned


def test_clean_can_keep_to_one_line():
    assert clean("a\tb\r\nc\rd\n", newlines=False) == "a b\\nc\\nd\\n"


@given(HOSTILE | st.text(st.characters(codec=None)), st.booleans())
@example("\x1b]0;\x1b[31m\x07", True)
def test_no_control_character_is_left(text, newlines):
    cleaned = clean(text, newlines=newlines)
    assert is_harmless(cleaned)
    assert newlines or not set(cleaned) & {"\n", "\t"}


@given(HOSTILE)
def test_clean_text_stays_as_it_is(text):
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_harmless_text_is_left_alone(text):
    assert clean(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "\x1b",
        "\x1b[",
        "\x1b]",
        "\x1bP",
        "\x9b",
        "\x9d",
        "\x90",
        "\x1b[0",
        "\x1b]a",
        "\x9da",
        "\x1b ",
        "0",
        "\r",
        "\x1b\\",
        "\x1b[ ",
        "\u202e",
        "\udfff",
    ],
)
@pytest.mark.parametrize("start", ["\x1b[", "\x1b]", "\x9d", "\x1b "])
def test_clean_takes_linear_time(start, piece):
    def seconds(characters):
        text = start + piece * (characters // len(piece))
        began = time.process_time()
        clean(text)
        return time.process_time() - began

    # Ten times the text: ten times the time when linear, a hundred times when quadratic.
    assert seconds(50_000) < 40 * max(seconds(5_000), 0.005)


def test_a_table_has_aligned_columns():
    rows = [
        {"id": "0012", "attempts": 3, "state": "done", "last_error": None},
        {"id": "1e5", "attempts": 12, "state": "dlq", "last_error": "exit\n1\x1b[31m", "more": "not shown"},
    ]
    assert table(rows, ["id", "attempts", "last_error"]).splitlines() == [
        "ID    ATTEMPTS  LAST ERROR",
        "0012         3  -",
        "1e5         12  exit\\n1",
    ]


def test_a_table_without_rows_is_its_headings():
    assert table([], ["id", "state"]) == "ID  STATE"


def test_a_column_of_numbers_may_have_gaps_and_a_mixed_one_stays_left():
    rows = [{"a": 1, "b": 1}, {"a": None, "b": "x"}, {"a": 1.5, "b": True}]
    assert table(rows, ["a", "b"]).splitlines() == ["  A  B", "  1  1", "  -  x", "1.5  yes"]


@given(st.text(st.sampled_from("a日🎉\u0301\u200d\ufe0f👩💻")), st.integers(1, 20))
def test_cut_text_fits_and_begins_the_text(text, width):
    shown = cut(text, width)
    assert display_width(shown) <= width
    assert shown == text if display_width(text) <= width else text.startswith(shown.removesuffix("…"))


def test_a_character_with_endless_accents_is_cut_too():
    assert len(cut("e" + "\u0301" * 100_000, 10)) < 100


@given(st.text(st.sampled_from("a日🎉\u0301\u200d\ufe0f👩💻")), st.integers(3, 20))
@example("\u0301\u0301\u200d\u200d日日", 3)
def test_text_cut_in_the_middle_fits_and_keeps_its_ends(text, width):
    shown = cut_middle(text, width)
    if display_width(text) <= width:
        assert shown == text
    else:
        head, _, tail = shown.partition("…")
        assert display_width(head) + display_width(tail) < width
        assert text.startswith(head)
        assert text.endswith(tail)


def test_beginning_and_end_of_a_cut_command_are_shown():
    assert cut_middle("python train.py --lr 0.1 --seed 7", 20) == "python tr…1 --seed 7"
    assert len(cut_middle("e" + "\u0301" * 100_000, 10)) < 200


WORDS = st.text(st.sampled_from("ab日🎉 `"), max_size=80)


@given(WORDS, st.integers(10, 40))
def test_wrapped_text_has_the_same_words(text, width):
    shown = wrapped(text, width, "  ")
    assert shown.split() == text.split()
    whole = [line for line in shown.split("\n") if "`" not in line and len(line.split()) > 1]
    assert all(display_width(line) <= width for line in whole)


def test_prose_is_broken_between_words_and_never_in_a_command():
    text = "there is no queue here: run `queuectl --db 'my queue.db' recover` to get it back"
    assert wrapped(text, 40, "  ").split("\n") == [
        "there is no queue here: run",
        "  `queuectl --db 'my queue.db' recover`",
        "  to get it back",
    ]
    assert wrapped(text, None) == text
    assert wrapped("日本語 日本語 日本語", 14) == "日本語 日本語\n日本語"


def test_colored_states_do_not_shift_the_columns():
    rows = [{"state": "done", "id": "a"}, {"state": "processing", "id": "done"}]
    plain = table(rows, ["state", "id"])
    painted = table(rows, ["state", "id"], color=True)
    assert painted != plain
    assert clean(painted) == plain
    assert painted.count("\x1b[32m") == 1


def test_a_cell_cannot_bring_its_own_colour():
    assert "\x1b" not in table([{"state": "\x1b[32mdone"}], ["state"])


@given(st.lists(st.fixed_dictionaries({"id": HOSTILE, "n": st.none() | st.integers()}), max_size=4))
def test_a_table_has_one_harmless_line_a_row(rows):
    shown = table(rows, ["id", "n"])
    assert is_harmless(shown)
    assert len(shown.split("\n")) == len(rows) + 1


class Point(msgspec.Struct):
    x: int
    label: str


def test_json_documents_are_indented_and_lines_are_not():
    assert to_json([Point(1, "ä")]) == '[\n  {\n    "x": 1,\n    "label": "ä"\n  }\n]'
    assert to_ndjson(Point(1, "a\nb")) == '{"x":1,"label":"a\\nb"}'


def test_lone_surrogates_do_not_break_json():
    value = {"\ud800": [Point(1, "a\udfff"), ("\ud800", 1.5, None, True)]}
    expected = {"\ufffd": [{"x": 1, "label": "a\ufffd"}, ["\ufffd", 1.5, None, True]]}
    assert json.loads(to_json(value)) == json.loads(to_ndjson(value)) == expected


@given(st.dictionaries(st.text(), HOSTILE))
def test_json_has_no_control_character_and_reads_back(value):
    value = {key: text.encode("utf-8", "replace").decode() for key, text in value.items()}
    for document in (to_json(value), to_ndjson(value)):
        assert is_harmless(document)
        assert json.loads(document) == value
    assert "\n" not in to_ndjson(value)


def test_color_can_be_switched_off():
    assert colored("done", "green", True) == "\x1b[32mdone\x1b[0m"
    assert colored("done", "green", False) == colored("done", None, True) == "done"


def test_every_state_has_a_color_that_exists():
    assert [clean(colored(state, color, True)) for state, color in STATE_COLORS.items()] == list(STATE_COLORS)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("choice", "stream", "environ", "enabled"),
    [
        ("auto", Terminal(), {}, True),
        ("auto", Terminal(), {"NO_COLOR": ""}, True),
        ("auto", Terminal(), {"NO_COLOR": "1"}, False),
        ("auto", Terminal(), {"TERM": "dumb"}, False),
        ("auto", io.StringIO(), {}, False),
        ("auto", io.StringIO(), {"FORCE_COLOR": "1"}, True),
        ("auto", io.StringIO(), {"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True),
        ("auto", io.StringIO(), {"FORCE_COLOR": "0", "CLICOLOR_FORCE": "0"}, False),
        ("auto", Terminal(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("never", Terminal(), {"FORCE_COLOR": "1"}, False),
        ("always", io.StringIO(), {"NO_COLOR": "1"}, True),
        ("never", Terminal(), {}, False),
    ],
)
def test_color_depends_on_choice_terminal_and_no_color(choice, stream, environ, enabled):
    assert color_enabled(choice, stream, environ) is enabled
