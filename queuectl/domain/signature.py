"""The signature of a failure: eight hex digits that are the same for failures of one kind.

It is made from the cause (its kind, and the exit code or signal) and the last line of stderr, without what differs
from job to job: times, numbers, ids, quoted text, paths, names of files and hosts. Its rules have a version, because
signatures are stored: other rules need another `VERSION` here, and another one of the tables to compute them again.
"""

import re
from hashlib import sha256

from queuectl.domain import events as e

__all__ = ["VERSION", "general_form", "last_line", "signature"]

VERSION = 2

LONGEST = 1000
"""Characters of a line that are used. The rest of a longer line is nearly always data."""
ANY = "#"
"""Replaces everything that was left out."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"

# An apostrophe within a word is not a quote: `can't open`.
_QUOTED = r"""(?<!\w)[bruf]?'[^']*'(?!\w)|[bruf]?"(?:[^"\\]|\\.)*"|`[^`']*[`']|‘[^’]*’|“[^”]*”|«[^»]*»"""
_TIME = (
    rf"(?:\b{_DAY},? )?\b\d{{1,2}}[ /-]{_MONTH}[ /-]\d{{2,4}}\b"
    rf"|(?:\b{_DAY},? )?\b{_MONTH} +\d{{1,2}}\b(?:,? \d{{4}}\b)?"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)\b)?"
    r"|(?<![\w.:])\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[AP]M\b)?(?![\d:])"
)
_UUID = r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"
_HEX = (
    r"\b(?:0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,}|(?=[a-f]*\d)[0-9a-f]{7})\b"
    # addresses of networks and of their devices
    r"|(?<![\w.:])(?=[^ ]*?(?:\d|::))(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?:%\w+)?(?![\w:])"
    # tokens: base64, or long with small and capital letters and digits
    r"|\b[A-Za-z0-9+/]{12,}={1,2}(?!\w)|\b(?=\w*\d)(?=\w*[A-Z])(?=\w*[a-z])[A-Za-z0-9]{16,}\b"
)
_COMMIT = r"(?<=\b[0-9a-f]{7}\.\.\. ).+"
_RELEASE = r"(?:(?<!\w)[\w./@+-]+(?:[=><~]=|[:@]))?(?<![\w.])[\^~]?v?\d+\.\d+\.\d+(?:\.\d+)*(?:-[a-z][\w.]*)?(?!\.?\w)"
_PATH = (
    r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>()|,;]+|\b[A-Za-z]:\\[^\s:'\"<>|,;]+"
    r"|(?:~|\.{1,2}|\b[\w.@+-]+)?/(?:[^\s:'\"<>()\[\]{}|,;=]+)?"
)
# The name of a file or host, with a user before it or not; or of a class, unless that is the error that is reported.
_NAME = (
    r"(?:\b[\w.+-]+@)?(?<![\w.-])(?:[\w+-]*\.)*[\w+-]+\.[a-z][a-z0-9]*(?:\.\d+)*(?![\w.-]*[\w-])"
    r"|(?<=.)(?<![\w.-])(?:\w+\.)+[A-Z]\w*(?<!Error)(?<!Exception)(?![\w.])"
)
_COMMAND = r"\\[A-Za-z]+"
_IDENTIFIER = r"\b[\w.]+\(\)|\b[a-z][a-z0-9]*(?:_[a-zA-Z0-9]+)+\b|\b[a-z]+(?:[A-Z][a-z0-9]*)+\b"

_DATA = tuple(map(re.compile, (_COMMIT, _QUOTED, _TIME, _UUID, _HEX, _RELEASE, _PATH, _NAME, _COMMAND, _IDENTIFIER)))
"""Each is replaced in this order."""
_NUMBER = re.compile(
    # a number that says which error it was is kept
    r"(?P<kept>\b(?i:status|code|errno|HTTP|signal)\b[ :=#(\[]{0,2}\d{1,5}\b"
    r"|\b(?i:errors?)\b:? ?\d{1,5}(?=$|[^\w\s.,]|[.,]?$))"
    r"|\b(?=[A-Za-z_]*\d+[A-Za-z_]+\d)\w+\b"
    r"|\bPT?\d[\dHMS.]*\b|(?<!\w)(?:\d+[hms]){2,}(?!\w)"
    r"|(?:(?<!\w)[+^~-])?\b\d+(?:[.,]\d+)*(?:[kKMGTP]?i?[Bb]|[kKMGTP]|[munµ]?s|m|h|d|%)?\b|\d+"
)
_UNIT = re.compile(r"(?<=#) (?:[kKMGTP]i?[Bb]|ms|(?:byte|second|minute|hour|day)s?)\b")
_SEVERAL = re.compile(r"#(?:(?:[,.:;/x_+-]| ?, ?| and | )#)+")
_NUMBERED = re.compile(r"\b[A-Za-z]\w*(?:-\w+)*(?:==|@|-)#|(?P<process>(?<=\w)\[#\])|\[[^\[\]]*#[^\[\]]*\]")
"""A name with a number or version, the number of a process, brackets with data: `web-3`, `make[2]`, `[a.c:7: b]`."""
_COLUMN = re.compile(r"\s{5,}.*")
"""The command that bash prints in a column of its own behind `Killed` or `Segmentation fault`."""
_ENDS = re.compile(r"^(?:#[:,]?\s+)+|(?:[:,]?\s+#)+\.?$")
"""Data around the message that other failures of its kind may lack, such as a time before it or a file after it."""
_SHELL = re.compile(r"^(?:[^:]*#[^:]*|[a-z]+): line #: (?:[\w#]+: (?=unbound variable))?")
"""A shell's script and line, and the variable that is not set."""
_INPUT = re.compile(r"^[a-z]+:#: (?=[A-Z])")
"""The program and its line of input, as psql names them before the server's message."""
_PLURAL = re.compile(r"(?<=# )([a-z]{2,}[a-rt-z])s\b")
_BLANKS = re.compile(r"\s+")


def signature(cause: e.AnyCause, stderr: str = "") -> str:
    """The signature of a failed attempt."""
    match cause:
        case e.Exited(code):
            parts = ("exited", str(code), general_form(last_line(stderr)))
        case e.Signalled(number):
            parts = ("signalled", str(number), general_form(last_line(stderr)))
        case e.TimedOut():
            parts = ("timed_out", "", general_form(last_line(stderr)))
        case e.NotStarted(why):
            parts = ("not_started", "", general_form(why))
        case e.LostWorker():
            parts = ("worker_lost", "", "")
    return sha256("\n".join((str(VERSION), *parts)).encode(errors="replace")).hexdigest()[:8]


def last_line(text: str) -> str:
    """The last line that is not blank, without escape sequences; empty when there is none."""
    return next((line.strip() for line in reversed(_ESCAPE.sub("", text).splitlines()) if line.strip()), "")


def general_form(line: str) -> str:
    """The line with `#` for everything that differs between failures of one kind."""
    line = _COLUMN.sub("", line[:LONGEST])
    for pattern in _DATA:
        line = pattern.sub(ANY, line)
    line = _UNIT.sub("", _NUMBER.sub(lambda found: found["kept"] or ANY, line))
    line = _NUMBERED.sub(lambda found: "" if found["process"] else ANY, _SEVERAL.sub(ANY, line))
    line = _BLANKS.sub(" ", _SEVERAL.sub(ANY, line)).strip()
    line = _PLURAL.sub(r"\1", _INPUT.sub("", _SHELL.sub("", line)))
    return _ENDS.sub("", line) or line
