"""Words that make sentences hard to read stay out of the program and its pages.

`python -m tests.test_words` prints how often each folder uses them.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*"), *ROOT.glob("benchmarks/*.md"), *ROOT.rglob("queuectl/**/*.py")]
)

MODULES = sorted(
    path for folder in ("queuectl", "tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)

BETTER = {
    r"told": "acknowledged, reported, asked",
    r"beside": "next to; of two logs: diverged",
    r"anew": "again",
    r"wreck(s|ed|ing)?": "corrupt, damaged",
    r"mend(s|ed|ing)?": "repair, remedy",
    r"lament(s|ed|ing)?": "report",
    r"complain(s|ed|ing)?": "report, raise",
    r"heed(s|ed|ing)?": "handle, obey",
    r"chance": "random, randomness",
    r"(call(s|ed|ing)?) off": "cancel",
    r"(goes|go|going) on": "is resumed, continues",
    r"sign(s)? of life": "heartbeat",
    r"(look(s|ed|ing)?) after": "watch, manage",
    r"keeper(s)?": "sync, archive",
    r"so-manyth": "every n-th",
    r"forever|for ever": "without end, endless",
}
"""Patterns that are not used, and what to write."""

ALLOWED: dict[tuple[str, str], str] = {}
"""(file, text of the line) of each exception, and its reason."""


def findings(path):
    """(line number, word, line) of every word of the list in a file."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for pattern in BETTER:
            for found in re.finditer(rf"\b({pattern})\b", line, re.IGNORECASE):
                yield number, found[0].lower(), line.strip()


def allowed(name, line):
    return any(name == where and part in line for where, part in ALLOWED)


def unexplained():
    """Every use that no exception explains: file, line, word."""
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in (".py", ".md"):
            yield from (f"{name}:{n}: {word}" for n, word, line in findings(path) if not allowed(name, line))


def test_no_page_and_no_module_uses_a_word_of_the_list():
    assert list(unexplained()) == []


def test_every_exception_is_still_needed():
    unneeded = [(name, part) for name, part in ALLOWED if not any(part in line for _, _, line in findings(ROOT / name))]
    assert unneeded == []


RIDDLE = re.compile(r"(?:^|[a-z0-9)`]\. )(?:What|Who|Whose) [^.?]*(?:[.:]|$)")
"""A sentence that begins with one of these words and is no question."""


def docstrings(source):
    """(line number, text on one line) of every docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, " ".join(node.value.value.split())


def paragraphs(page):
    """(line number, text on one line) of every paragraph of a page, without code, headings and tables."""
    text = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), page, flags=re.DOTALL)
    for found in re.finditer(r"^(?![#|<])(?:[-*] |\d+\. )?(\S(?:[^\n]|\n(?!\s*\n|[-*] |\d+\. ))*)", text, re.MULTILINE):
        yield text.count("\n", 0, found.start()) + 1, " ".join(found[1].split()).replace("*", "")


def test_no_page_has_a_sentence_that_begins_with_what():
    pages = [path for path in FILES if path.suffix == ".md" and path.name != "results.md"]  # that one is measured
    found = [
        f"{path.relative_to(ROOT)}:{number}: {text}"
        for path in pages
        for number, text in paragraphs(path.read_text(encoding="utf-8"))
        if RIDDLE.search(text)
    ]
    assert found == []


def test_paragraphs_leave_out_code_headings_and_tables():
    page = "# What it is\n\nOne.\nTwo.\n\n- **What** is\n  left.\n- b\n\n```\nWhat is code.\n```\n| What |\n"
    assert [text for _, text in paragraphs(page)] == ["One. Two.", "What is left.", "b"]


def test_no_docstring_has_a_sentence_that_begins_with_what():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {text}"
        for path in MODULES
        for number, text in docstrings(path.read_text(encoding="utf-8"))
        if RIDDLE.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("What a job waits for.", True),
        ("Read it. Who wrote it is not known.", True),
        ("Whose lock it is", True),
        ("What was changed? The log says it.", False),
        ("The file that says what was changed.", False),
    ],
)
def test_sentences_that_begin_with_what_are_found(text, is_found):
    assert [bool(RIDDLE.search(line)) for _, line in docstrings(f'"""{text}"""')] == [is_found]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("It is told anew.", ["told", "anew"]),
        ("The claim goes on; signs of life", ["goes on", "signs of life"]),
        ("Mended, and called off", ["mended", "called off"]),
        ("mendacious besides retold", []),
    ],
)
def test_the_list_is_found_as_whole_words(line, words, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(line)
    assert [word for _, word, _ in findings(path)] == words


if __name__ == "__main__":
    counts = Counter(str(Path(each.partition(":")[0]).parent) for each in unexplained())
    print("\n".join(f"{count:4} {folder}" for folder, count in sorted(counts.items())))
