"""The general form of an error message: the message without what differs between failures of one kind.

That is data: times, numbers, ids, quoted text, paths, names of files, hosts and whatever else a word before them
announces. A part that says which error it was stays, such as a status or the class of an exception.
"""

import re
from collections.abc import Callable

__all__ = ["general_form"]

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
_DATA = (_COMMIT, _QUOTED, _TIME, _UUID, _HEX, _RELEASE, _PATH, _NAME, _COMMAND, _IDENTIFIER)
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
_Replacement = str | Callable[[re.Match[str]], str]

_RULES: tuple[tuple[str, _Replacement], ...] = (
    # The command that bash prints in a column of its own behind `Killed` or `Segmentation fault`.
    (r"\s{5,}.*", ""),
    (_MESSAGE, r"\1"),
    # The folder of the program that reports.
    (r"^(?:/[\w.-]+)*/s?bin/(?=[\w.+-]+: )", ""),
    # The module that is missing is the fault.
    (r"(?<=No module named )'(\w+)[\w.]*'", r"\1"),
    *((pattern, ANY) for pattern in _DATA),
    (_NUMBER, lambda found: found[1] or ANY),
    (_UNIT, ""),
    (_SEVERAL, ANY),
    (_PROCESS, ""),
    (_BRACKETS, ANY),
    (_NUMBERED, ANY),
    (_FIELD, rf"\1{ANY}"),
    (_LABELLED, lambda found: f"{found[1] or found[2] or found[3]}{ANY}"),
    (_SEVERAL, ANY),
    # The reason why a decoder stopped depends on the bytes that it met.
    (r"(?<=in position #: ).+", ANY),
    (r"\s+", " "),
    # A shell's script and line, and the variable that is not set.
    (r"^(?:[^:]*#[^:]*|[a-z]+): line #: (?:[\w#]+: (?=unbound variable))?", ""),
    # One and many: `1 error`, `2 errors`.
    (r"(?<=# )([a-z]{2,}[a-rt-z])s\b", r"\1"),
    # Data around the message that other failures of its kind may lack, such as a time before it or a file after it.
    (r"^(?:#[:,]?\s+)+|(?:[:,]?\s+#)+\.?$", ""),
)
"""Patterns and their replacements, in the order of use."""

_STEPS = tuple((re.compile(pattern), replacement) for pattern, replacement in _RULES)


def general_form(line: str) -> str:
    """The line with `#` for everything that differs between failures of one kind."""
    line = general = line[:LONGEST].strip()
    for pattern, replacement in _STEPS:
        general = pattern.sub(replacement, general)
    return general or line
