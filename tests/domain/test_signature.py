"""Signatures of failures: what they leave out, what they keep, and how well they group the errors of real tools."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from time import process_time

import pytest

from queuectl.domain import events as e
from queuectl.domain.general_form import RULES, Rule, general_form
from queuectl.domain.signature import last_line, signature

DATA = Path(__file__).parents[1] / "data"
LINES = DATA / "stderr_lines.tsv"
"""Group, cause and last line of stderr of 2,000 failures, grouped by a person: one fix for each group."""
MORE_LINES = DATA / "more_stderr_lines.tsv"
"""The same of 1,108 failures of other tools, written by someone who had not read the rules.

A group is `fix` or `fix/message`: some faults report themselves in two ways, which no rule about one line can join.
Version 4 was made with one half of the groups (`was_read`), on which recall of the pairs with one message rose from
0.885 to 0.983, and with messages from memory; on the other half it rose from 0.905 to 0.960.
"""
CAUSES: dict[str, Callable[[str, str], str]] = {
    "exited": lambda number, line: signature(e.Exited(int(number)), line),
    "signalled": lambda number, line: signature(e.Signalled(int(number)), line),
    "timed_out": lambda number, line: signature(e.TimedOut(int(number)), line),
    "not_started": lambda _, line: signature(e.NotStarted(line)),
    "worker_lost": lambda *_: signature(e.LostWorker("w1")),
}


def grouped(file: Path) -> list[tuple[str, str]]:
    """The person's group and the signature of each line."""
    found = []
    for row in file.read_text(encoding="utf-8").splitlines():
        group, cause, line = row.split("\t")
        kind, _, number = cause.partition(":")
        found.append((group, CAUSES[kind](number, line)))
    return found


def pairs(names: Iterable[object]) -> int:
    """How many pairs have the same name."""
    return sum(count * (count - 1) // 2 for count in Counter(names).values())


def was_read(group: str) -> bool:
    """Whether the rules were made with this group of the second file. Read no line of the others."""
    return sha256(group.partition("/")[0].encode()).digest()[-1] % 2 == 0


def scores(found: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """The precision of pairs with one fix, and the recall of pairs with one message."""
    fixes = [(group.partition("/")[0], ours) for group, ours in found]
    return pairs(fixes) / pairs(ours for _, ours in found), pairs(found) / pairs(group for group, _ in found)


@pytest.mark.parametrize(("file", "lines"), [(LINES, 2000), (MORE_LINES, 1108)])
def test_errors_of_real_tools_group_as_a_person_groups_them(file, lines):
    found = grouped(file)
    assert len(found) == lines
    precision, recall = scores(found)
    assert (precision, recall >= 0.95) == (1, True), f"precision {precision:.3f}, recall {recall:.3f}"


def test_errors_that_no_rule_was_made_for_group_mostly_too():
    precision, recall = scores([(group, ours) for group, ours in grouped(MORE_LINES) if not was_read(group)])
    assert (precision, recall >= 0.95) == (1, True), f"precision {precision:.3f}, recall {recall:.3f}"


SAME = {
    "numbers": ("worker 7 of 12 gave up", "worker 11 of 12 gave up"),
    "times": ("2026-11-29T10:00:00Z it broke", "2025-01-02T11:59:01.123Z it broke"),
    "a time in the front, or none": ("Nov 29 13:18:02 it broke", "it broke"),
    "UUIDs": ("no order 0190c7a1-0000-7000-8000-0123456789ab", "no order 1f90c7a1-0000-7000-8000-0123456789ff"),
    "hex": ("bad object 3b18e512dba79e4c8300dd08", "bad object a1b2c3d4e5f60718293a4b5c"),
    "quoted text": ("KeyError: 'user-9'", 'KeyError: "order x y"'),
    "quotes of GNU": ("ls: cannot access ‘/a’: No such file", "ls: cannot access ‘/b c/d’: No such file"),
    "folders": ("cat: /srv/a/b.txt: No such file", "cat: ./c/d: No such file"),
    "files and lines": ("main.c:12:5: error: no", "lib/other.c:7:81: error: no"),
    "hosts": ("could not resolve api.example.com", "could not resolve db-3.internal"),
    "addresses": ("dial tcp 10.0.0.3:5432: refused", "dial tcp 192.168.17.4:80: refused"),
    "colours": ("\x1b[31mfatal: no\x1b[0m", "fatal: no"),
    "units in words": ("no answer within 30s", "no answer within 0.75 seconds"),
    "long and short durations": ("gave up after 1m32s", "gave up after PT15M"),
    "addresses of devices": ("device 4c:6e:d0:ec:d9:6b is gone", "device c8:f2:ae:23:b5:19 is gone"),
    "new addresses": ("no route to fe80::1c2a:44ff:fe10:9b%eth0", "no route to 2001:db8:4f::17"),
    "releases": ("cannot find kit@v2.0.0-rc.3", "cannot find left-pad:2.7.18"),
    "tokens": ("bad key aGVsbG8gd29ybGQhISE==", "bad key Zm9vYmFyYmF6cXV4MTI="),
    "one and many": ("killed after 1 error", "killed after 12 errors"),
    "the shell's script": ("/a/run.sh: line 7: x: command not found", "bash: line 1: x: command not found"),
    "psql's file": ("psql:/a/b.sql:12: ERROR:  deadlock detected", "ERROR:  deadlock detected"),
    "commits": ("could not apply f1849ce... Add tiles", "could not apply b440318... bump"),
    "names behind the word for their kind": ("topic clicks is gone", "topic payroll is gone"),
    "names in brackets": ("index [patients] blocked", "index [web-logs] blocked"),
    "names behind a colon": ("no such user: ada", "no such user: bob"),
    "names of packages": ("E: Unable to locate package torch", "E: Unable to locate package libssl3"),
    "packages and versions": ("nothing provides torch>=2.1", "nothing provides libssl3>=3.12"),
    "coordinates": ("no com.acme:kit:jar:1.2", "no org.example:meter_readings:jar:25.04.2-lts"),
    "the subject before a colon": ("columns differ in payroll: 3", "columns differ in orders: 4"),
    "hosts of two words": ("connect to db-primary failed", "connect to web-7 failed"),
    "pods": ("pod web-6de7af404-fdyum died", "pod api-41191df35-v0k2f died"),
    "ids of orders": ("no order 4F7K2M9QX", "no order C-7KQ2MX"),
    "variables": ("DB_URL is not set", "API_KEY2 is not set"),
    "options": ("unknown option --color", "unknown option --no-pager"),
    "data in parentheses": ("killed (limit 2 GiB)", "killed (17179869184 bytes at most)"),
    "a full stop or not": ("cannot open s3://a/b: no", "cannot open /a/b: no"),
    "names with blanks": ("gzip: /a/Q3 report (final).xlsx: no", "gzip: /b.gz: no"),
    "where a decoder stopped": ("bad byte in position 3: invalid start", "bad byte in position 70: end of data"),
    "names of hosts": ("could not resolve hostname nas: no", "could not resolve hostname build-box: no"),
    "fields of a log line": ("failed: user=ada step=3", "failed: user=bob step=12"),
    "names before data": ("error in model customers (a.sql)", "error in model stg_orders (b/c.sql)"),
    "users on hosts": ("denied for 'ada'@'10.0.0.1'", "denied for 'bob'@'localhost'"),
    "days of the week": ("due Mon, 02 Jan 2024: no", "due 3 Feb 2025: no"),
    "the command behind a signal": ("Killed                  sleep 100", "Killed"),
    "earlier lines": ("one\nfatal: no\n\n", "two\nthree\nfatal: no\r\n"),
}


@pytest.mark.parametrize("what", SAME)
def test_data_of_one_job_is_left_out(what):
    one, other = (signature(e.Exited(1), text) for text in SAME[what])
    assert one == other


OTHERS = {
    "the exit code": (e.Exited(1), "no", e.Exited(2), "no"),
    "the signal": (e.Signalled(9), "", e.Signalled(11), ""),
    "the kind of cause": (e.Exited(9), "", e.Signalled(9), ""),
    "the message": (e.Exited(1), "disk full", e.Exited(1), "access denied"),
    "a status": (e.Exited(22), "returned error: 404", e.Exited(22), "returned error: 503"),
    "the class of an error": (e.Exited(1), "java.lang.A: x", e.Exited(1), "java.lang.B: x"),
    "the module that is missing": (e.Exited(1), "No module named 'numpy'", e.Exited(1), "No module named 'pandas'"),
    "the program that reports": (e.Exited(1), "/usr/bin/env: 'x': no", e.Exited(1), "/usr/bin/nice: 'x': no"),
    "the message in a log line": (
        e.Exited(1),
        'level=error msg="disk full"',
        e.Exited(1),
        'level=error msg="no route"',
    ),
    "the message in JSON": (e.Exited(1), '{"a": 1, "msg": "disk full"}', e.Exited(1), '{"a": 1, "msg": "no route"}'),
    "the error of a package with a number": (e.Exited(1), "psy2.errors.NoRoom: x", e.Exited(1), "psy2.errors.NoKey: x"),
    "the reason in a field": (e.Exited(1), "failed reason=quota", e.Exited(1), "failed reason=network"),
    "what a thing is like": (e.Exited(1), "queue full", e.Exited(1), "queue locked"),
    "a status in parentheses": (e.Exited(1), "no (status 404)", e.Exited(1), "no (status 503)"),
    "why it did not start": (e.NotStarted("the folder is gone"), "", e.NotStarted("no such program"), ""),
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_kind_of_error_is_kept(what):
    cause, line, other_cause, other_line = OTHERS[what]
    assert signature(cause, line) != signature(other_cause, other_line)


@pytest.mark.parametrize(
    ("cause", "line", "stored"),
    [
        (e.Exited(1), "KeyError: 'a'", "014bd6aa"),
        (e.Exited(2), "", "44828107"),
        (e.Signalled(9), "", "c88f9bd1"),
        (e.TimedOut(5), "x", "5c937f3c"),
        (e.NotStarted("no shell"), "", "09204ca6"),
        (e.LostWorker("w1"), "", "92fa234a"),
    ],
)
def test_a_signature_stays_the_same_within_a_version(cause, line, stored):
    assert signature(cause, line) == stored


def test_neither_the_lost_worker_nor_the_time_limit_counts():
    assert signature(e.LostWorker("w1")) == signature(e.LostWorker("w2"))
    assert signature(e.TimedOut(1), "x") == signature(e.TimedOut(2), "x")


def test_a_signature_never_changes_within_its_version():
    """They are stored, and people keep them in notes: another rule needs another version."""
    assert signature(e.Exited(1), "main.c:12:5: error: ‘x’ undeclared") == "be99d120"
    assert signature(e.Signalled(9), "") == "c88f9bd1"


ODD = ["", " ", "#", "'", "\x1b[", "\ud800", *(text * 200 for text in ('"', "a.", "1:", "a+", "module a ", "/a (b) "))]


@pytest.mark.parametrize("line", ODD)
def test_any_line_has_a_signature(line):
    assert len(signature(e.Exited(1), line)) == 8
    assert general_form(general_form(line)) == general_form(line)


@pytest.mark.parametrize("text", ['"', "a.", "a-", "1:", "[1 ", "(# ", "module a ", "/a (b) ", "$a=1 ", "\x1b]"])
def test_a_line_of_a_megabyte_takes_no_time(text):
    line, began = text * (1_000_000 // len(text)), process_time()
    signature(e.Exited(1), line)
    assert process_time() - began < 2


def test_the_last_line_is_the_last_that_is_not_blank():
    assert last_line("a\nb\n \n") == "b"
    assert last_line("10%\r20%\rdone \r") == "done"
    assert last_line("") == last_line("\n\n") == ""


@pytest.mark.parametrize("rule", dict.fromkeys(RULES), ids=lambda rule: rule.name)
def test_each_rule_does_what_its_example_says(rule: Rule) -> None:
    assert rule.before != rule.after
    assert re.sub(rule.pattern, rule.replacement, rule.before) == rule.after
