"""Lines rewritten after a carriage return: the screen shows the last state of each, however the text is divided."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from queuectl.render.rewritten_lines import RewrittenLines

TEXT = st.text(alphabet="ab\r\n\x1b[3m\t", max_size=30)


def printed(pieces: list[str], *, live: bool) -> str:
    lines = RewrittenLines(live=live)
    return "".join([*map(lines.take, pieces), lines.end()])


def last_states(text: str) -> str:
    """The rule, written plainly."""
    return "\n".join(line.rstrip("\r").split("\r")[-1] for line in text.split("\n"))


def seen(text: str) -> str:
    """The text that a terminal shows if lines of it are erased."""
    return re.sub("[^\n]*\r\x1b\\[K", "", text)


def divided(text: str, places: list[int]) -> list[str]:
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(ends)]


@given(st.text(alphabet="ab\r\n", max_size=30), st.lists(st.integers(0, 40), max_size=4))
def test_the_last_state_of_each_line_is_left(text: str, places: list[int]) -> None:
    pieces = divided(text, places)
    assert printed(pieces, live=False) == last_states(text)
    assert seen(printed(pieces, live=True)) == last_states(text)


@given(TEXT, st.booleans())
def test_no_other_control_character_gets_through(text: str, live: bool) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f]", seen(printed([text], live=live)))


def test_a_live_line_is_rewritten_in_place() -> None:
    lines = RewrittenLines(live=True)
    assert [lines.take(piece) for piece in ("10%", "\r", "20%", "\r30%\n", "x")] == [
        "10%",
        "",
        "\r\x1b[K20%",
        "\r\x1b[K30%\n",
        "x",
    ]
    assert lines.end() == ""


def test_an_unfinished_line_comes_at_the_end_unless_live() -> None:
    lines = RewrittenLines(live=False)
    assert [lines.take("10%\r20%"), lines.take("\rx"), lines.end()] == ["", "", "x"]
