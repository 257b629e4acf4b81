"""The pages say what the program does: links, command lines, generated parts, settings, exit codes, the digest, CI."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest

from queuectl import errors
from queuectl.application.job_json import JobInput
from queuectl.cli.app import command
from queuectl.config import SETTINGS
from queuectl.domain.events import EVENT_TYPES, type_of
from queuectl.domain.machine import MOVES, State
from tests.support.command_line import Queuectl

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def load(name):
    """A program of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


generate, record = load("generate"), load("record")
TREE = dict(generate.tree())


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", TREE)
def test_no_help_names_a_default_twice_or_apart(path):
    """typer adds `.  [default: 5]` behind a sentence that may name it already."""
    context = TREE[path].make_context(path, [], resilient_parsing=True)
    assert ".  [default" not in re.sub("\\s*\n *", "  ", TREE[path].get_help(context))


# ── the generated parts ─────────────────────────────────────────────────────────────────────────────


def test_the_manual_page_is_fresh_and_in_the_wheel():
    assert read(generate.MANUAL) == generate.manual()
    shared = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {generate.MANUAL: "share/man/man1/queuectl.1"}


def test_the_manual_page_has_every_command_and_setting():
    text = generate.manual()
    assert [
        path for path in TREE if path != "queuectl" and f'.SS "{generate.roff(path.partition(" ")[2])}' not in text
    ] == []
    assert [key for key in SETTINGS if generate.roff(key) not in text] == []
    assert text.isascii()


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_manual_page_formats_without_warnings():
    groff = ["groff", "-man", "-ww", "-Tascii", "-z"]
    done = subprocess.run(groff, check=False, input=generate.manual(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_text_is_escaped_for_roff():
    assert generate.roff('.a -b \\ … é "q"') == r"\&.a \-b \e ... \[u00E9] \(dqq\(dq"
    assert generate.roff("'a") == r"\&'a"


@pytest.mark.parametrize("page", generate.PAGES)
def test_the_generated_parts_are_there_and_fresh(page):
    assert list(generate.problems(page, read(page))) == []


@pytest.mark.parametrize(
    ("page", "before", "after", "report"),
    [
        ("docs/commands.md", "| `--drain` |", "| `--drained` |", "stale"),
        ("docs/commands.md", "<!-- generated: queuectl dlq purge -->", "", "'queuectl dlq purge' is missing"),
        ("docs/events.md", "| `backoff_cap` |", "| `backoff_lid` |", "stale"),
        ("docs/events.md", "<!-- generated: event purged -->", "", "'event purged' is missing"),
        ("docs/state-machine.md", "pending --> processing", "pending --> done", "stale"),
        ("docs/settings.md", "| `lease` |", "| `rent` |", "stale"),
        ("docs/architecture.md", "| `machine.py` |", "| `engine_room.py` |", "stale"),
        ("docs/architecture.md", "<!-- generated: files queuectl/domain -->", "", "'files queuectl/domain' is missing"),
    ],
)
def test_a_stale_page_is_noticed(page, before, after, report):
    text = read(page)
    assert before in text
    assert any(report in problem for problem in generate.problems(page, text.replace(before, after, 1)))


def test_the_table_of_files_is_the_files_there_are():
    page = read("docs/architecture.md")
    for folder, paths in generate.folders().items():
        part = page.partition(f"<!-- generated: files {folder} -->")[2].partition("<!-- end -->")[0]
        assert re.findall(r"^\| `([\w.]+)` \| \S", part, re.MULTILINE) == [path.name for path in paths]


def test_a_field_without_a_meaning_is_noticed():
    text = re.sub(r"(\| `backoff_cap` \|.*\|).*\|\n", r"\1  |\n", read("docs/events.md"))
    assert [*generate.problems("docs/events.md", text)] == [
        "docs/events.md: event enqueued: backoff_cap has no meaning"
    ]


def test_meanings_written_by_hand_are_kept():
    text = read("docs/events.md").replace("the queue's name", "where it waits")
    assert "| where it waits |" in generate.refreshed("docs/events.md", text)


def test_writing_and_checking_agree(tmp_path, monkeypatch, capsys):
    for page in generate.PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(read(page).replace("| `--drain` |", "| `--drained` |"), encoding="utf-8")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "docs/commands.md is stale" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert {page: (tmp_path / page).read_text(encoding="utf-8") for page in generate.PAGES} == {
        page: read(page) for page in generate.PAGES
    }


# ── what has to be said ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", TREE)
def test_every_command_and_option_is_in_the_reference(path):
    text = read("docs/commands.md").partition(f"<!-- generated: {path} -->")[2].partition("<!-- end -->")[0]
    missing = [
        name
        for option in TREE[path].params
        if not getattr(option, "hidden", False)
        for name in option.opts
        if name[0] == "-" and f"`{name}`" not in text
    ]
    assert text
    assert missing == []


@pytest.mark.parametrize("path", [path for path in TREE if path.count(" ") == 1])
def test_every_command_is_in_the_table_of_commands(path):
    assert f"[`{path.split()[1]}`](#{path.replace(' ', '-')})" in read("docs/commands.md")


@pytest.mark.parametrize("path", [path for path in TREE if path.count(" ") == 2])
def test_every_subcommand_is_in_the_row_of_its_command(path):
    _, group, name = path.split()
    (row,) = [line for line in read("docs/commands.md").splitlines() if line.startswith(f"| [`{group}`]")]
    assert f"`{name}`" in row


@pytest.mark.parametrize("event", EVENT_TYPES, ids=type_of)
def test_every_event_has_a_heading_and_every_field_a_row(event):
    text = read("docs/events.md").partition(f"\n### `{type_of(event)}`\n")[2].partition("\n### ")[0]
    assert text
    assert [name for name in event.__struct_fields__ if f"| `{name}` |" not in text] == []


def test_the_diagram_has_every_move_and_state():
    text = read("docs/state-machine.md")
    arrows = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", text, re.MULTILINE))
    assert arrows == {(source, move.target, move.trigger) for move in MOVES for source in move.sources}
    assert [state for state in State if f"| `{state}` |" not in text] == []


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_in_the_table_of_settings(key):
    setting = SETTINGS[key]
    assert f"| `{key}` | `{setting.default}` | `{setting.variable}` | {setting.help} |" in read("docs/settings.md")


def test_every_field_of_a_job_in_json_is_named():
    text = read("docs/commands.md").partition("The fields of a job in JSON are")[2].partition("They mean")[0]
    assert set(re.findall(r"`(\w+)`", text)) == set(JobInput.__struct_fields__)


def test_every_exit_code_is_explained():
    found = {int(code) for code in re.findall(r"^\| (\d+) \|", read("docs/commands.md"), re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {0, 130, *(kind.exit_code for kind in kinds)} <= found


def test_a_required_option_is_marked():
    assert re.search(r"^\| `--to` \|.*\| required \|$", read("docs/commands.md"), re.MULTILINE)


# ── what must not be wrong ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    broken = [target for target in links(read(page)) if not resolves(page, target)]
    assert broken == []


def test_links_that_lead_nowhere_are_found():
    text = "[a](docs/nowhere.md) [b](docs/events.md#nowhere) [c](docs/events.md#causes) [d](https://example.com)"
    assert [target for target in links(text) if not resolves("README.md", target)] == [
        "docs/nowhere.md",
        "docs/events.md#nowhere",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_footnotes_are_used_and_explained(page):
    used = re.findall(r"\[(\^\w+)\](?!:)", read(page))
    explained = re.findall(r"^\[(\^\w+)\]:", read(page), re.MULTILINE)
    assert sorted(set(used)) == sorted(explained)


def links(text):
    prose = re.sub(r"```.*?```|`[^`\n]*`", lambda code: "`code`" if "\n" not in code[0] else "", text, flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if not target.startswith("https://")]


def resolves(page, target):
    path, _, anchor = target.partition("#")
    found = (ROOT / page).parent / path if path else ROOT / page
    return found.exists() and (not anchor or anchor in anchors(found.read_text(encoding="utf-8")))


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text):
    """Every call of queuectl in the shell blocks of a page, as words."""
    for block in re.findall(r"```(?:console|sh)\n(.*?)```", text, re.DOTALL):
        console = any(line.startswith("$ ") for line in block.splitlines())
        lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")] if console else block.splitlines()
        for line in lines:
            yield from calls(line)


def calls(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    words = []
    for word in [*lexer, ";"]:
        if not set(word) <= set("|&;<>()"):
            words.append(word)
            continue
        while words and re.fullmatch(r"\w+=.*|time|\d", words[0]):
            words.pop(0)
        if words and words[0].endswith("queuectl"):
            yield words[1:]
        words = []


def options_of(path):
    return {name: option for option in TREE[path].params for name in option.opts if name[0] == "-"}


TAKING_RUN = ("queuectl worker start", "queuectl worker unit")
"""Commands that also take the options of `run`."""


def unknown(words):
    """The first word of a command line that is not in the tree; the values of options are not looked at."""
    path, rest = "queuectl", iter(words)
    for word in rest:
        options = options_of(path) | (options_of("queuectl run") if path in TAKING_RUN else {})
        if word == "--":
            return None
        if word in options:
            takes_a_value = not options[word].is_flag
            next(rest if takes_a_value else iter(()), None)
        elif f"{path} {word}" in TREE:
            path = f"{path} {word}"
        elif word not in ("-h", "--help") and (re.match(r"-\D", word) or hasattr(TREE[path], "list_commands")):
            return word
    return None


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_exist(page):
    assert [words for words in command_lines(read(page)) if unknown(words)] == []


def test_command_lines_are_read_as_a_shell_reads_them():
    line = "printf 'a; b' | X=1 queuectl enqueue --file - > ids; queuectl dlq list && echo queuectl lost"
    text = f"```console\n$ {line}\nqueuectl: not a command line\n```"
    assert list(command_lines(text)) == [["enqueue", "--file", "-"], ["dlq", "list"]]
    assert unknown(["enqueue", "--fill", "-"]) == "--fill"
    assert unknown(["dlq", "list", "--all"]) == "--all"
    assert unknown(["verily"]) == "verily"
    assert unknown(["diff", "-2h", "head"]) is None
    assert unknown(["enqueue", "--id", "x", "--", "ls", "--all"]) is None


@pytest.mark.parametrize("page", PAGES)
def test_commands_named_in_the_text_exist(page):
    prose = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    named = [words.split() for words in re.findall(r"`queuectl ([a-z][^`]*)`", prose)]
    assert [words for words in named if f"queuectl {words[0]}" not in TREE] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_the_text_exist(page):
    named = re.findall(r"`((?:[\w.]+/)+\w+\.(?:py|md|json))`", read(page))
    assert [name for name in named if not ((ROOT / name).exists() or (ROOT / "queuectl" / name).exists())] == []


# ── the digest, from the page alone ─────────────────────────────────────────────────────────────────


def block(language):
    """The first block of a language in the page about the log."""
    return re.search(rf"```{language}\n(.*?)```", read("docs/event-log.md"), re.DOTALL)[1]


def checked(log):
    """The answer of the page's own verifier for a file."""
    program = log.with_name("check_log.py")
    program.write_text(block("python"), encoding="utf-8")
    command = [sys.executable, "-I", program, log]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A queue that no test changes, and its export."""
    queuectl = Queuectl(tmp_path_factory.mktemp("exported"))
    queuectl.ok("enqueue", "--tag", "what=ü \N{GRINNING FACE}", "--env", 'A=","data":"', 'echo "a\tb" \\ %s')
    queuectl.ok("enqueue", "--max-retries", "0", "echo oops >&2; exit 3")
    queuectl.ok("config", "set", "max-retries", "5")
    queuectl.drain()
    queuectl.ok("export", "log.ndjson")
    yield queuectl
    queuectl.stop()


@pytest.fixture
def log(exported, tmp_path):
    """A copy of the export."""
    return Path(shutil.copy(exported.folder / "log.ndjson", tmp_path))


def test_the_verifier_of_the_page_needs_nothing_of_ours():
    imported = re.findall(r"^(?:import|from) (\w+)", block("python"), re.MULTILINE)
    assert set(imported) == {"hashlib", "json", "sys"}
    assert len(block("python").splitlines()) <= 25


def test_the_verifier_of_the_page_agrees_about_the_head(exported, log):
    done = checked(log)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, exported.ok("head"), "")


def test_the_verifier_of_the_page_reads_the_archive(exported, tmp_path):
    (segment,) = Path(f"{exported.db}.archive").glob("*.ndjson")
    assert checked(Path(shutil.copy(segment, tmp_path))).stdout.strip() == exported.ok("head")


@pytest.mark.parametrize(
    "field", ["position", "stream_id", "version", "type", "schema", "recorded_at", "actor", "salt", "digest", "data"]
)
def test_the_verifier_of_the_page_sees_one_changed_byte(log, field):
    lines = log.read_bytes().split(b"\n")
    at = re.search(rb'"%s":[{"]*' % field.encode(), lines[2]).end()
    lines[2] = lines[2][:at] + (b"4" if lines[2][at : at + 1] != b"4" else b"5") + lines[2][at + 1 :]
    log.write_bytes(b"\n".join(lines))
    done = checked(log)
    assert done.returncode == 1
    assert not done.stdout


@pytest.mark.parametrize("change", [lambda lines: lines[:-2], lambda lines: lines[:2] + lines[3:]], ids=["end", "gap"])
def test_the_verifier_of_the_page_sees_a_missing_event(log, change):
    log.write_bytes(b"".join(change(log.read_bytes().splitlines(keepends=True))))
    assert checked(log).returncode == 1


def test_an_example_computed_by_hand_is_right():
    page = read("docs/event-log.md")
    head, *events = block("json").splitlines()
    digest = bytes.fromhex(json.loads(head)["base_digest"])
    for line in events:
        event = json.loads(line)
        body = sha256(bytes.fromhex(event["salt"]) + line.partition(',"data":')[2][:-1].encode()).hexdigest()
        fields = ("position", "stream_id", "version", "type", "schema", "recorded_at", "actor")
        content = sha256("\n".join([*(str(event[field]) for field in fields), body]).encode()).digest()
        digest = sha256(digest + content).digest()
        assert [f"\n{step}  -\n" in page for step in (body, content.hex(), digest.hex())] == [True] * 3
        assert event["digest"] == digest.hex()
    assert f"\n{len(events)} {digest.hex()}\n" in page


# ── the README and the index ────────────────────────────────────────────────────────────────────────────────


def setting_up():
    section = README.partition("\n## Setting up\n")[2].partition("\n## ")[0]
    return [block.strip() for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]


def test_there_are_two_commands_of_one_line_each():
    run, test = setting_up()
    assert "\n" not in run + test
    assert run.endswith("queuectl run --drain")
    assert test.endswith("-m pytest")


def test_ci_runs_the_test_command_of_the_readme():
    assert setting_up()[1] in [line.strip() for line in read(".ci/run").splitlines()]


def test_the_readme_has_at_most_8_kb():
    assert len(README.encode()) <= 8000


def test_the_readme_begins_with_ten_lines_of_a_console():
    first = re.search(r"```console\n(.*?)```", README, re.DOTALL)[1]
    assert len(first.splitlines()) == 10
    assert [words[0] for words in command_lines(f"```console\n{first}```")] == ["enqueue", "run", "run", "history"]


def test_every_page_is_in_the_index():
    linked = {(ROOT / "docs" / target.partition("#")[0]).resolve() for target in links(read("docs/index.md"))}
    pages = {path.resolve() for path in ROOT.glob("docs/**/*.md")} - {ROOT / "docs/index.md"}
    assert pages <= linked


# ── recorded output ─────────────────────────────────────────────────────────────────────────────────

VARIES = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z|Z)?", "TIME"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\b(after|took) [\d.]+m?s\b", r"\1 A WHILE"),
    (r"^#\d+ +", "#POSITION "),
    (r"\w+@[\w.-]+:\d+", "ACTOR"),
    (r"(worker|by) [\w.-]+-\d+( \(pid \d+ on [\w.-]+\))?", r"\1 WORKER"),
    (r"(line|pid) \d+", r"\1 N"),
    (r" +\d+ Killed", " N Killed"),
    (r"(?<= )/\S+/data/queue.db", "PATH"),
    (r"\d+ events|(\(1-|head )\d+", "SO MANY"),
]
"""Patterns that differ from run to run, and the text that is compared in their place."""


def compared(output):
    for pattern, name in VARIES:
        output = re.sub(pattern, name, output, flags=re.MULTILINE)
    return output


def test_the_readme_shows_real_output(tmp_path):
    ((folder, commands),) = record.sessions(README)
    outputs = record.run(record.script(folder, commands, base=str(tmp_path)))
    assert [compared(output) for output in outputs] == [compared(command.output or "") for command in commands]
    assert len(commands) >= 10


def test_the_readme_is_run_as_a_reader_would(tmp_path):
    (folder, commands), *_ = record.sessions("```console\n$ echo real; exit_code=3\nfaked\n$ echo $exit_code\n```\n")
    outputs = record.run(record.script(folder, commands, base=str(tmp_path)))
    assert outputs == ["real\n", "3\n"]
    assert outputs[0] != commands[0].output


def test_a_recording_replaces_output_and_nothing_else():
    page = (
        "a\n<!-- run: true -->\n```console\n$ seq 9\n1\n…\n9\n$ true\n```\n<!-- not run -->\n```console\n$ no\nx\n```\n"
        "<!-- skip to the end -->\n```console\n$ no\nx\n```\n"
    )
    outputs = iter(["hidden", "0\n1\n2\n3\n", "new\n"])
    assert record.rewritten(page, outputs) == page.replace("1\n…\n9\n$ true\n", "0\n…\n3\n$ true\nnew\n")
    assert list(outputs) == []


def test_a_kept_block_and_a_file_are_run_and_stay_as_they_are(tmp_path):
    page = "<!-- file: a.py -->\n\n```python\nprint('%s')\n```\n<!-- keep -->\n\n```console\n$ python3 a.py\nold\n```\n"
    ((folder, commands),) = record.sessions(page)
    outputs = record.run(record.script(folder, commands, base=str(tmp_path)))
    assert outputs == ["", "%s\n"]
    assert record.rewritten(page, iter(outputs)) == page


@pytest.mark.parametrize("path", sorted(TREE))
def test_help_is_whole_on_80_columns(path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert command()(args=[*path.split()[1:], "--help"], prog_name="queuectl", standalone_mode=False) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if not line.startswith("Usage: ")]
    assert [line for line in lines if len(line) > 80 or line.endswith("...")] == []
    assert text.startswith(f"Usage: {path}")
    assert "<=x" not in text
