"""The general form of an error message: the message without what differs between failures of one kind.

That is data: times, numbers, ids, quoted text, paths, names of files, hosts and whatever else a word before them
announces. A part that says which error it was stays, such as a status or the class of an exception.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["RULES", "general_form"]

LONGEST = 1000
"""Characters of a line that are used. The rest of a longer line is nearly always data."""
ANY = "#"
"""Replaces everything that was left out."""

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"

_MESSAGE = r"""(?<!\w)(?:"(?:msg|message|error|err|reason)": ?|(?:msg|message|error|err|reason)=)"((?:[^"\\]|\\.)*)\""""
"""The message among the fields of a log line, in JSON or as `msg="..."`: it is not data, though it is quoted."""
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
    # ids that people read aloud: C-7KQ2MX, 4F7K2M9QX
    r"|(?<![\w-])(?:[A-Z]-(?=[A-Z]*\d)[A-Z0-9]{4,}|(?=[A-Z]*\d[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{8,})(?![\w-])"
)
_COMMIT = r"(?<=\b[0-9a-f]{7}\.\.\. ).+"
_RELEASE = r"(?:(?<!\w)[\w./@+-]+(?:[=><~]=|[:@]))?(?<![\w.])[\^~]?v?\d+\.\d+\.\d+(?:\.\d+)*(?:-[a-z][\w.]*)?(?!\.?\w)"
# A file manager adds ` (2).pdf` to a name with blanks. A full stop or colon behind a URL is not part of it.
_PATH = (
    r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>()|,;]*[^\s'\"<>()|,;:.]|\b[A-Za-z]:\\[^\s:'\"<>|,;]+"
    r"|(?:~|\.{1,2}|\b[\w.@+-]+)?/(?:[^\s:'\"<>()\[\]{}|,;=]+(?:(?: [\w-]+){0,3} ?\(\w+\)\.\w+)?)?"
)
# The name of a file or host, with a user before it or not; or of a class, unless that is the error that is reported.
_NAME = (
    r"(?:\b[\w.+-]+@)?(?<![\w.-])(?:[\w+-]*\.)*[\w+-]+\.[a-z][a-z0-9]*(?:\.\d+)*(?![\w.-]*[\w-])"
    r"|(?<=.)(?<![\w.-])(?:\w+\.)+[A-Z]\w*(?<!Error)(?<!Exception)(?![\w.])"
)
_COMMAND = r"\\[A-Za-z]+|(?<!\S)--[a-z][\w-]*|\$\{?\w+\}?"
_IDENTIFIER = (
    r"\b[\w.]+\(\)|\b[a-z][a-z0-9]*(?:_[a-zA-Z0-9]+)+\b|\b[a-z]+(?:[A-Z][a-z0-9]*)+\b"
    r"|\b[A-Z][A-Z0-9_]+(?= (?:is |was )?(?:not (?:set|defined)|unset|missing|undefined|required)\b|: unbound)"
)
_NUMBER = (
    # a number that says which error it was is kept
    r"(\b(?i:status|code|errno|HTTP|signal)\b[ :=#(\[]{0,2}\d{1,5}\b"
    r"|\b(?i:errors?)\b:? ?\d{1,5}(?=$|[^\w\s.,]|[.,]?$))"
    r"|\b(?=[A-Za-z_]*\d+[A-Za-z_]+\d)\w+\b"
    r"|\bPT?\d[\dHMS.]*\b|(?<!\w)(?:\d+[hms]){2,}(?!\w)"
    r"|(?:(?<!\w)[+^~-])?\b\d+(?:[.,]\d+)*(?:[kKMGTP]?i?[Bb]|[kKMGTP]|[munµ]?s|m|h|d|%)?\b|\d+"
)
_UNIT = r"(?<=#) (?:[kKMGTP]i?[Bb]|ms|(?:byte|second|minute|hour|day)s?)\b"
_SEVERAL = r"#(?:(?:[,.:;/x_+@=<>~^!-]{1,2}| ?, ?| and | )#)+"
_REST = r"(?:(?:::?|-|\.(?!(?:\w+\.)*[A-Z]))[\w#]+)"
# web-3, kit@1.2, torch>=2, kit:jar:1.2, libssl3, web-7d9f-x2k4q; but in sqlite3.DataError the error stays
_NUMBERED = (
    rf"\b(?:[A-Za-z]\w*(?:-\w+)*[@-]|[A-Za-z][\w.-]*[=<>~!^]=|[a-z][\w.-]*[:<>])#{_REST}*"
    rf"|#{_REST}+|(?<=[ (/])[a-z]+#[\w#]*"
)
_FIELD = r"\b(?!(?:status|code|errno|error|err|reason|cause|level|state|type|kind|signal|msg)=)([a-z_]+=)[\w.:#-]*\w"
_PROCESS = r"(?<=\w)\[#\]"
_BRACKETS = r"\[[^\[\]]*#[^\[\]]*\]|(?<= )\((?![^()]*\b(?i:status|code|errno|error)\b)[^()]*#[^()]*\)"
_LABEL = (
    "account|batch|branch|bucket|class|cluster|collection|column|container|crate|customer|database|dataset|device|feature"
    "|field|function|gem|group|host|hostname|image|index|interface|job|label|library|lookup|member|method|model|module"
    "|namespace|node|object|order|package|partition|pod|pool|product|project|queue|ref|relation|release|repo|repository"
    "|requirement|role|schema|secret|sensor|service|stage|station|step|stream|symbol|table|tag|task|tenant|topic|unit|user|variable|volume"
    "|zone"
)
_ORDINARY = (
    r"\w+(?:ed|ing|able|ible|ful)|is|are|was|were|has|have|had|does|do|did|not|no|can|could|cannot|must|may|will|would"
    "|should|in|on|of|at|by|for|from|to|with|and|or|as|the|an?|this|that|its?|if|when|full|empty|busy|missing|invalid"
    "|unknown|corrupt|lost|down|gone|dead|broken|errors?|names?|ids?|files?|key|types?|format|version|size|limit|data"
    "|already|only"
)
_FOLLOWING = (
    "is|are|was|has|had|does|do|did|not|no|on|in|of|at|for|from|to|with|after|before|because|already|failed|terminated"
    "|could|cannot|can|must|exists?|due|by|and|port|#"
)
# topic clicks is, package torch, no such user: bob, drift in payroll:, connect to db-primary
_LABELLED = (
    rf"\b((?i:{_LABEL}):? )(?:\[[\w.#+-]+\]|(?!(?i:{_ORDINARY})\b)[\w.#+-]*[\w#](?=[:;,.)]|$| (?:{_FOLLOWING})(?!\w)))"
    r"|\b((?:in|for) )\w+(?=:)|\b((?i:on|to|from|at) )[a-z]\w*(?:-\w+)+\b(?!-)"
)


class Rule(NamedTuple):
    """One step towards the general form, with a line of its own before and after it."""

    name: str
    before: str
    after: str
    pattern: str
    replacement: str | Callable[[re.Match[str]], str] = ANY


_SEVERAL_RULE = Rule("several", "got #, # and #", "got #", _SEVERAL)
RULES = (
    Rule("command that bash prints in a column of its own", "Killed          ./train.sh", "Killed", r"\s{5,}.*", ""),
    Rule("message in a field", 'level=error msg="disk full"', "level=error disk full", _MESSAGE, r"\1"),
    Rule(
        *("folder of the program that reports", "/usr/bin/curl: bad URL", "curl: bad URL"),
        *(r"^(?:/[\w.-]+)*/s?bin/(?=[\w.+-]+: )", ""),
    ),
    Rule(
        *("module that is missing, which is the fault", "No module named 'numpy.linalg'", "No module named numpy"),
        *(r"(?<=No module named )'(\w+)[\w.]*'", r"\1"),
    ),
    Rule("subject of a commit", "could not apply 1a2b3c4... Fix it", "could not apply 1a2b3c4... #", _COMMIT),
    Rule("quoted text", "can't open 'a.txt'", "can't open #", _QUOTED),
    Rule("time", "2026-11-30 07:41:02,123 ERROR lost", "# ERROR lost", _TIME),
    Rule("uuid", "no run 123e4567-e89b-12d3-a456-426614174000", "no run #", _UUID),
    Rule("hexadecimal number, address or token", "bad block 0xdeadbeef", "bad block #", _HEX),
    Rule("release", "needs torch>=2.1.0", "needs #", _RELEASE),
    Rule("path or URL", "cannot read /srv/data/a: denied", "cannot read #: denied", _PATH),
    Rule("name of a file, host or class", "report.csv is empty", "# is empty", _NAME),
    Rule("option or variable", "unknown option --colour", "unknown option #", _COMMAND),
    Rule("identifier", "undefined reference to get_user", "undefined reference to #", _IDENTIFIER),
    Rule(
        *("number, unless it says which error it was", "status 503 after 12.5s", "status 503 after #"),
        *(_NUMBER, lambda found: found[1] or ANY),
    ),
    Rule("unit", "after # seconds", "after #", _UNIT, ""),
    _SEVERAL_RULE,
    Rule("process", "sshd[#]: lost", "sshd: lost", _PROCESS, ""),
    Rule("brackets", "no space (# of # used)", "no space #", _BRACKETS),
    Rule("name with a number", "web-# is down", "# is down", _NUMBERED),
    Rule("field", "retry host=db1 now", "retry host=# now", _FIELD, rf"\1{ANY}"),
    Rule(
        *("name after the word that announces it", "topic clicks is full", "topic # is full"),
        *(_LABELLED, lambda found: f"{found[1] or found[2] or found[3]}{ANY}"),
    ),
    _SEVERAL_RULE,
    Rule(
        *("reason of a decoder, which depends on the bytes", "in position #: invalid start byte", "in position #: #"),
        r"(?<=in position #: ).+",
    ),
    Rule("blanks", "disk   full", "disk full", r"\s+", " "),
    Rule(
        *("script and line of a shell", "run.sh#: line #: #: unbound variable", "unbound variable"),
        *(r"^(?:[^:]*#[^:]*|[a-z]+): line #: (?:[\w#]+: (?=unbound variable))?", ""),
    ),
    Rule("one and many", "found # errors", "found # error", r"(?<=# )([a-z]{2,}[a-rt-z])s\b", r"\1"),
    Rule(
        *("data around the message, such as a time before it", "# disk full: #", "disk full"),
        *(r"^(?:#[:,]?\s+)+|(?:[:,]?\s+#)+\.?$", ""),
    ),
)
"""In the order of use: each works on the text that those before it have left."""

_STEPS = tuple((re.compile(rule.pattern), rule.replacement) for rule in RULES)


def general_form(line: str) -> str:
    """The line with `#` for everything that differs between failures of one kind."""
    line = general = line[:LONGEST].strip()
    for pattern, replacement in _STEPS:
        general = pattern.sub(replacement, general)
    return general or line
